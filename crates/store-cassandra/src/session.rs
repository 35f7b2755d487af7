//! The connection: TLS, login, and the checks made before the first statement.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
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

use super::dead_letters::Days;
use super::provision;
use super::settings::{CassandraSettings, Tls};
use super::statements::Statements;
use ecom_store::StoreError;

/// How often an idle connection is asked whether it still lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Where the systems keep the authorities they trust; the first that is there counts.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

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

/// The store on Cassandra: fact table and dead-letter store.
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
    let connections = NonZeroUsize::new(settings.connections_per_node).unwrap_or(NonZeroUsize::MIN);
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
        .pool_size(PoolSize::PerHost(connections))
        .connection_timeout(settings.connect_timeout)
        .hostname_resolution_timeout(Some(settings.connect_timeout))
        // The driver warns unless the client's patience exceeds the server's, which Cassandra is not told.
        .metadata_request_serverside_timeout(settings.request_timeout)
        .metadata_request_clientside_timeout(settings.request_timeout + Duration::from_secs(1))
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
    match &settings.tls {
        Tls::Off => {}
        Tls::Ca(file) => builder = builder.tls_context(Some(client_config(file)?)),
        Tls::System => {
            let present = SYSTEM_AUTHORITIES.iter().map(Path::new).find(|file| file.exists());
            let file = present.unwrap_or(Path::new(SYSTEM_AUTHORITIES[0]));
            builder = builder.tls_context(Some(client_config(file)?));
        }
    }
    let build = async { builder.build().await.map_err(|error| refused(settings, &error)) };
    let session = within(settings, build).await?;
    check_datacenter(&session, settings)?;
    Ok(session)
}

/// TLS that trusts the certificates of this file and nobody else.
fn client_config(file: &Path) -> Result<Arc<ClientConfig>, ConnectError> {
    let fault = |cause: String| ConnectError::CaFile { path: file.to_owned(), cause };
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
    if settings.tls == Tls::Off && hung_up(last_connection_error) {
        let cause = format!("it hung up at the first request, as nodes do that ask for TLS ({cause})");
        return ConnectError::Unreachable { contact_points, cause };
    }
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

fn hung_up(error: &ConnectionError) -> bool {
    let ConnectionError::ConnectionSetupRequestError(error) = error else { return false };
    matches!(error.get_error(), ConnectionSetupRequestErrorKind::BrokenConnection(_))
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

    #[tokio::test]
    async fn a_node_that_hangs_up_at_once_may_ask_for_tls() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let node = listener.local_addr().expect("bound").to_string();
        let hanging_up = tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        let settings = CassandraSettings { contact_points: vec![node], ..Default::default() };
        let error = CassandraStore::connect(&settings).await.expect_err("it hangs up");
        assert!(error.is_outage() && error.to_string().contains("ask for TLS"), "{error}");
        hanging_up.abort();
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
