//! The connection: settings, TLS, login, and the checks made before the first statement.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{PoolSize, SelfIdentity};
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, MetadataError,
    NewSessionError,
};
use scylla::frame::types::Consistency;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;

use super::ledger::Days;
use super::provision;
use super::statements::Statements;
use crate::store::StoreError;

/// How often an idle connection is asked whether it still lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Where Cassandra is and how to talk to it.
#[derive(Clone, Debug)]
pub struct CassandraSettings {
    /// Nodes to ask first, as `host` or `host:port` (9042 when absent).
    pub contact_points: Vec<String>,
    /// Whose nodes are used, and whose quorum is meant.
    pub local_datacenter: String,
    /// `^[a-z][a-z0-9_]{0,47}$`.
    pub keyspace: String,
    /// How the keyspace is created; a keyspace that exists is left as it is.
    pub replication: Replication,
    /// Absent where the cluster asks for none.
    pub credentials: Option<Credentials>,
    /// Whether connections are encrypted, and who vouches for the nodes.
    pub tls: Tls,
    /// A statement's; more than the server's own write timeout of 2 s.
    pub request_timeout: Duration,
    /// Until a node answers, at the start and when reconnecting.
    pub connect_timeout: Duration,
    /// Connections to each node.
    pub connections_per_node: NonZeroUsize,
}

impl Default for CassandraSettings {
    fn default() -> Self {
        Self {
            contact_points: vec!["127.0.0.1:9042".to_owned()],
            local_datacenter: "datacenter1".to_owned(),
            keyspace: "ecom_store".to_owned(),
            replication: Replication::Everywhere(1),
            credentials: None,
            tls: Tls::Off,
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            connections_per_node: NonZeroUsize::MIN,
        }
    }
}

/// Copies of each row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replication {
    /// As many in every datacenter there is when the keyspace is created.
    Everywhere(u8),
    /// By datacenter.
    Datacenters(Vec<(String, u8)>),
}

impl Replication {
    /// `3`, or `dc1:3,dc2:3`.
    pub fn parse(text: &str) -> Option<Self> {
        let factor = |text: &str| text.trim().parse::<u8>().ok().filter(|factor| *factor > 0);
        if let Some(factor) = factor(text) {
            return Some(Self::Everywhere(factor));
        }
        let datacenter = |part: &str| {
            let (name, copies) = part.split_once(':')?;
            let name = name.trim();
            let sound = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
            (sound && !name.is_empty()).then_some((name.to_owned(), factor(copies)?))
        };
        text.split(',').map(datacenter).collect::<Option<Vec<_>>>().map(Self::Datacenters)
    }

    /// The map of `WITH replication =`.
    pub(super) fn cql(&self) -> String {
        let factors = match self {
            Self::Everywhere(factor) => format!("'replication_factor': {factor}"),
            Self::Datacenters(factors) => {
                let factors: Vec<String> =
                    factors.iter().map(|(name, factor)| format!("'{name}': {factor}")).collect();
                factors.join(", ")
            }
        };
        format!("{{'class': 'NetworkTopologyStrategy', {factors}}}")
    }
}

/// A login.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// A text that `Debug` does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Encryption of the connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tls {
    /// None: the password goes in clear.
    Off,
    /// Nodes must show a certificate for their IP address, vouched for by one of this PEM file.
    Ca(PathBuf),
}

/// Why there is no store to use.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings cannot be right; nothing was contacted.
    #[error("the settings for Cassandra cannot be right: {0}")]
    Settings(String),
    /// No certificate could be read; nothing was contacted.
    #[error("could not read the CA certificates of Cassandra from {}: {cause}", path.display())]
    CaFile {
        /// The configured file.
        path: PathBuf,
        /// What went wrong.
        cause: String,
    },
    /// No node answered; one may later.
    #[error("could not reach Cassandra at {contact_points}: {cause}")]
    Unreachable {
        /// The nodes asked.
        contact_points: String,
        /// What the last of them did.
        cause: String,
    },
    /// A node answered and did not let us in.
    #[error("Cassandra at {contact_points} refused the login{}: {cause}", user.as_ref().map(|user| format!(" of {user}")).unwrap_or_default())]
    Login {
        /// The nodes asked.
        contact_points: String,
        /// The role, where one was given.
        user: Option<String>,
        /// What the node said.
        cause: String,
    },
    /// A node's certificate is not vouched for by the CA file, or is not for its IP address.
    #[error("Cassandra at {contact_points} is not trusted: {cause}")]
    Untrusted {
        /// The nodes asked.
        contact_points: String,
        /// What is wrong with the certificate.
        cause: String,
    },
    /// No node belongs to the local datacenter.
    #[error("Cassandra at {contact_points} has no datacenter {wanted:?}, only {present}")]
    Datacenter {
        /// The nodes asked.
        contact_points: String,
        /// The configured one.
        wanted: String,
        /// The cluster's.
        present: String,
    },
    /// The tables are not the ones of `schema.cql`.
    #[error("{on} lacks what the pipeline needs: {}; run ecom_setup", troubles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Schema {
        /// The store.
        on: String,
        /// Each thing that is not as it should be.
        troubles: Vec<Trouble>,
    },
    /// A statement failed on the way.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ConnectError {
    /// Whether trying again may succeed.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Store(error) => error.is_outage(),
            Self::Settings(_)
            | Self::CaFile { .. }
            | Self::Login { .. }
            | Self::Untrusted { .. }
            | Self::Datacenter { .. }
            | Self::Schema { .. } => false,
        }
    }
}

/// One difference between `schema.cql` and a cluster; every name is with its keyspace and table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// There is no such keyspace, or this role may not see it.
    NoKeyspace(String),
    /// There is no such table.
    NoTable(String),
    /// There is no such column.
    NoColumn {
        /// Keyspace, table and column.
        name: String,
        /// The type it should have.
        wanted: String,
    },
    /// The column has another type, or another part in the key.
    OtherColumn {
        /// Keyspace, table and column.
        name: String,
        /// Type and kind in `schema.cql`.
        wanted: String,
        /// Type and kind there.
        found: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeyspace(name) => write!(f, "keyspace {name} is missing"),
            Self::NoTable(name) => write!(f, "table {name} is missing"),
            Self::NoColumn { name, .. } => write!(f, "column {name} is missing"),
            Self::OtherColumn { name, wanted, found } => write!(f, "column {name} is {found}, not {wanted}"),
        }
    }
}

/// The store on Cassandra: fact table and ledger.
pub struct CassandraStore {
    pub(super) session: Session,
    pub(super) statements: Statements,
    pub(super) days: Days,
    pub(super) name: String,
}

impl CassandraStore {
    /// Connects, checks datacenter and schema, and prepares every statement. Never runs DDL.
    pub async fn connect(settings: &CassandraSettings) -> Result<Self, ConnectError> {
        let session = open(settings).await?;
        let name = settings.name();
        within(settings, async {
            let troubles = provision::troubles(&session, settings).await?;
            if !troubles.is_empty() {
                return Err(ConnectError::Schema { on: name, troubles });
            }
            let statements = Statements::prepare(&session, &settings.keyspace)
                .await
                .map_err(|cause| cause.at("prepare its statements", &name))?;
            Ok(Self { session, statements, days: Days::default(), name })
        })
        .await
    }
}

impl fmt::Debug for CassandraStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraStore").field("name", &self.name).finish_non_exhaustive()
    }
}

impl CassandraSettings {
    /// What people call the store: kind, hosts and keyspace.
    pub(super) fn name(&self) -> String {
        format!("Cassandra at {}, keyspace {}", self.hosts(), self.keyspace)
    }

    /// The contact points, each with its port.
    pub(super) fn hosts(&self) -> String {
        let with_port =
            |host: &String| if host.contains(':') { host.clone() } else { format!("{host}:9042") };
        self.contact_points.iter().map(with_port).collect::<Vec<_>>().join(", ")
    }

    /// The first setting that cannot be right.
    pub(super) fn fault(&self) -> Option<String> {
        let keyspace = self.keyspace.as_bytes();
        let sound = (1..=48).contains(&keyspace.len())
            && keyspace[0].is_ascii_lowercase()
            && keyspace.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !sound {
            return Some(format!("keyspace {:?} is not ^[a-z][a-z0-9_]{{0,47}}$", self.keyspace));
        }
        self.contact_points.is_empty().then(|| "there is no contact point".to_owned())
    }
}

/// Bounds a step of connecting by the connect timeout of every contact point.
async fn within<T>(
    settings: &CassandraSettings,
    connecting: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let nodes = u32::try_from(settings.contact_points.len()).unwrap_or(u32::MAX).max(1);
    let limit = settings.connect_timeout.saturating_mul(nodes);
    tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_elapsed| {
        Err(ConnectError::Unreachable {
            contact_points: settings.hosts(),
            cause: format!("no answer within {} s", limit.as_secs()),
        })
    })
}

/// A session that has reached the local datacenter.
pub(super) async fn open(settings: &CassandraSettings) -> Result<Session, ConnectError> {
    if let Some(fault) = settings.fault() {
        return Err(ConnectError::Settings(fault));
    }
    let policy = DefaultPolicy::builder()
        .token_aware(true)
        .prefer_datacenter(settings.local_datacenter.clone())
        .permit_dc_failover(false)
        .build();
    // Callers retry with the same T; a second layer below them would only hide outages from them.
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .request_timeout(Some(settings.request_timeout))
        .load_balancing_policy(policy)
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&settings.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        .pool_size(PoolSize::PerHost(settings.connections_per_node))
        .connection_timeout(settings.connect_timeout)
        .hostname_resolution_timeout(Some(settings.connect_timeout))
        .metadata_request_clientside_timeout(settings.request_timeout)
        .keepalive_interval(KEEPALIVE_INTERVAL)
        .keepalive_timeout(settings.request_timeout)
        .keyspaces_to_fetch([settings.keyspace.as_str()])
        .fetch_full_schema_metadata(false)
        .driver_config_reporting(false)
        .custom_identity(
            SelfIdentity::new()
                .with_application_name(env!("CARGO_PKG_NAME"))
                .with_application_version(env!("CARGO_PKG_VERSION")),
        );
    if let Some(login) = &settings.credentials {
        builder = builder.user(&login.user, &login.password.0);
    }
    if let Tls::Ca(file) = &settings.tls {
        builder = builder.tls_context(Some(client_config(file)?));
    }
    let build = async { builder.build().await.map_err(|error| refused(settings, &error)) };
    let session = within(settings, build).await?;
    check_datacenter(&session, settings)?;
    Ok(session)
}

/// TLS that trusts the certificates of this file and nobody else.
fn client_config(file: &PathBuf) -> Result<Arc<ClientConfig>, ConnectError> {
    let fault = |cause: String| ConnectError::CaFile { path: file.clone(), cause };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| fault(error.to_string()))? {
        let certificate = certificate.map_err(|error| fault(error.to_string()))?;
        roots.add(certificate).map_err(|error| fault(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fault("there is no certificate in it".to_owned()));
    }
    // Another client in the process may bring a second provider: name ours, or rustls panics.
    let provider =
        CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn check_datacenter(session: &Session, settings: &CassandraSettings) -> Result<(), ConnectError> {
    let state = session.get_cluster_state();
    let mut present: Vec<&str> =
        state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    present.sort_unstable();
    present.dedup();
    if present.contains(&settings.local_datacenter.as_str()) {
        return Ok(());
    }
    Err(ConnectError::Datacenter {
        contact_points: settings.hosts(),
        wanted: settings.local_datacenter.clone(),
        present: present.join(", "),
    })
}

/// What a failed start means.
fn refused(settings: &CassandraSettings, error: &NewSessionError) -> ConnectError {
    let contact_points = settings.hosts();
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error,
    })) = error
    else {
        return ConnectError::Unreachable { contact_points, cause: lower_first(&error.to_string()) };
    };
    if let Some(cause) = login_fault(last_connection_error) {
        let user = settings.credentials.as_ref().map(|login| login.user.clone());
        return ConnectError::Login { contact_points, user, cause };
    }
    let cause = lower_first(&last_connection_error.to_string());
    match last_connection_error {
        ConnectionError::IoError(error) if is_certificate_fault(error) => {
            ConnectError::Untrusted { contact_points, cause }
        }
        _ => ConnectError::Unreachable { contact_points, cause },
    }
}

fn login_fault(error: &ConnectionError) -> Option<String> {
    let ConnectionError::ConnectionSetupRequestError(error) = error else { return None };
    match error.get_error() {
        ConnectionSetupRequestErrorKind::DbError(
            DbError::AuthenticationError | DbError::Unauthorized,
            reason,
        ) => Some(reason.clone()),
        ConnectionSetupRequestErrorKind::MissingAuthentication => {
            Some("it asks for a user and a password, and none are configured".to_owned())
        }
        _ => None,
    }
}

fn is_certificate_fault(error: &std::io::Error) -> bool {
    let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(rustls, Some(rustls::Error::InvalidCertificate(_)))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let settings = CassandraSettings {
            credentials: Some(Credentials { user: "ingest".into(), password: Secret("hunter2".into()) }),
            ..CassandraSettings::default()
        };
        let text = format!("{settings:?}");
        assert!(text.contains("ingest") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn only_plain_keyspace_names_are_accepted() {
        let fault =
            |keyspace: &str| CassandraSettings { keyspace: keyspace.into(), ..Default::default() }.fault();
        for good in ["ecom_store", "a", "k2"] {
            assert_eq!(fault(good), None, "{good:?}");
        }
        for bad in ["", "2k", "_k", "Ks", "k s", "k;DROP", "k\"", "é", &"k".repeat(49)] {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn replication_is_a_number_or_a_number_by_datacenter() {
        let cql = |text| Replication::parse(text).map(|replication| replication.cql());
        let strategy = "{'class': 'NetworkTopologyStrategy', ";
        assert_eq!(cql("3"), Some(format!("{strategy}'replication_factor': 3}}")));
        assert_eq!(cql("dc1:3, dc2:2"), Some(format!("{strategy}'dc1': 3, 'dc2': 2}}")));
        for bad in ["", "0", "dc1", "dc1:0", "d'c:1", ":1", "dc1:3,"] {
            assert_eq!(cql(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn settings_that_cannot_be_right_are_refused_before_anything_is_contacted() {
        let no_node = CassandraSettings { contact_points: vec![], ..Default::default() };
        let error = CassandraStore::connect(&no_node).await.expect_err("nowhere to connect to");
        assert!(matches!(error, ConnectError::Settings(_)), "{error}");
        let no_file = CassandraSettings { tls: Tls::Ca("no-such-file.pem".into()), ..Default::default() };
        let error = CassandraStore::connect(&no_file).await.expect_err("no certificates");
        assert!(error.to_string().contains("no-such-file.pem"), "{error}");
        assert!(!error.is_outage());
    }

    #[tokio::test]
    async fn an_unreachable_node_is_an_outage_that_names_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let node = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let settings = CassandraSettings { contact_points: vec![node.clone()], ..Default::default() };
        let error = CassandraStore::connect(&settings).await.expect_err("nobody listens");
        assert!(error.is_outage());
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("could not reach Cassandra at {node}: connection refused")),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_never_answers_is_given_up_in_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let node = listener.local_addr().expect("bound").to_string();
        let settings = CassandraSettings { contact_points: vec![node], ..Default::default() };
        let error = CassandraStore::connect(&settings).await.expect_err("it never speaks");
        assert!(error.is_outage(), "{error}");
    }
}
