//! The session: TLS, login and the check of the datacenter.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{PoolSize, SelfIdentity};
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, MetadataError, NewSessionError,
};
use scylla::frame::types::Consistency;
use scylla::policies::load_balancing::{DefaultPolicy, LoadBalancingPolicy};
use scylla::policies::retry::FallthroughRetryPolicy;

use super::connect_error::ConnectError;
use super::connection_fault::{ConnectionFault, is_internal_error};
use super::credentials::Credentials;
use super::settings::CassandraSettings;
use super::tls;

/// The interval of keepalive requests on an idle connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Bounds a step of connecting by the connect timeout times the number of contact points.
pub(super) async fn within<T>(
    settings: &CassandraSettings,
    connecting: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let nodes = u32::try_from(settings.contact_points.len()).unwrap_or(u32::MAX).max(1);
    let limit = settings.connect_timeout.saturating_mul(nodes);
    tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_elapsed| {
        Err(ConnectError::Unreachable {
            contact_points: settings.hosts(),
            cause: format!("no response within {} s", limit.as_secs()),
        })
    })
}

/// Opens a session and checks that the cluster has the local datacenter.
pub(super) async fn open(settings: &CassandraSettings) -> Result<Session, ConnectError> {
    if let Some(fault) = settings.fault() {
        return Err(ConnectError::Settings(fault));
    }
    let connections = NonZeroUsize::new(settings.connections_per_node).unwrap_or(NonZeroUsize::MIN);
    // Callers retry with the same arguments; retries in the driver would hide outages from them.
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .request_timeout(Some(settings.request_timeout))
        .load_balancing_policy(policy(settings))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&settings.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        .pool_size(PoolSize::PerHost(connections))
        .connection_timeout(settings.connect_timeout)
        .hostname_resolution_timeout(Some(settings.connect_timeout))
        // The driver warns unless the client-side timeout exceeds the server-side one.
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
    if let Some(credentials) = Credentials::of(settings) {
        builder = builder.authenticator_provider(Arc::new(credentials));
    }
    if settings.tls {
        builder = builder.tls_context(Some(tls::client_config(settings)?));
    }
    let build = async { builder.build().await.map_err(|error| connect_error(settings, &error)) };
    let session = within(settings, build).await?;
    let state = session.get_cluster_state();
    check_datacenter(state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()), settings)?;
    Ok(session)
}

/// Returns the policy of requests: replicas of the local datacenter first, and no other datacenter.
pub(super) fn policy(settings: &CassandraSettings) -> Arc<dyn LoadBalancingPolicy> {
    DefaultPolicy::builder()
        .token_aware(true)
        .prefer_datacenter(settings.local_datacenter.clone())
        .permit_dc_failover(false)
        .build()
}

/// Checks that the local datacenter is among those of the nodes. There are none where the driver could not read its metadata,
/// as from a node that is overloaded: it opens a session all the same.
fn check_datacenter<'n>(
    of_nodes: impl Iterator<Item = &'n str>,
    settings: &CassandraSettings,
) -> Result<(), ConnectError> {
    let present: BTreeSet<&str> = of_nodes.collect();
    if present.contains(settings.local_datacenter.as_str()) {
        return Ok(());
    }
    let contact_points = settings.hosts();
    if present.is_empty() {
        let cause = "the nodes of the cluster could not be read".to_owned();
        return Err(ConnectError::Unreachable { contact_points, cause });
    }
    Err(ConnectError::Datacenter {
        contact_points,
        wanted: settings.local_datacenter.clone(),
        present: present.into_iter().collect::<Vec<_>>().join(", "),
    })
}

/// Classifies the error of a session that could not be opened.
fn connect_error(settings: &CassandraSettings, error: &NewSessionError) -> ConnectError {
    let contact_points = settings.hosts();
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error,
    })) = error
    else {
        return ConnectError::Unreachable { contact_points, cause: lower_first(&error.to_string()) };
    };
    match ConnectionFault::of(last_connection_error) {
        Some(ConnectionFault::Login(cause)) => {
            return ConnectError::Login { contact_points, user: settings.user.clone(), cause };
        }
        Some(ConnectionFault::Untrusted(cause)) => return ConnectError::Untrusted { contact_points, cause },
        Some(ConnectionFault::ClientCertificate(cause)) => {
            return ConnectError::ClientCertificate { contact_points, cause };
        }
        Some(ConnectionFault::NoTls) => return ConnectError::NoTls { contact_points },
        None => {}
    }
    let cause = lower_first(&last_connection_error.to_string());
    let cause = if !settings.tls && closed_at_once(last_connection_error) {
        format!(
            "the node closed the connection at the first request; if it asks for TLS, set \
             store.cassandra.tls to true ({cause})"
        )
    } else if settings.cert_file.is_some() && is_internal_error(last_connection_error) {
        format!(
            "the node broke off the TLS handshake; if it does not trust the certificate of store.cassandra.cert_file, add \
             its authority to the truststore of the nodes ({cause})"
        )
    } else {
        cause
    };
    ConnectError::Unreachable { contact_points, cause }
}

fn closed_at_once(error: &ConnectionError) -> bool {
    let ConnectionError::ConnectionSetupRequestError(error) = error else { return false };
    matches!(error.get_error(), ConnectionSetupRequestErrorKind::BrokenConnection(_))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::CassandraStore;

    #[tokio::test]
    async fn invalid_settings_are_refused_before_any_node_is_contacted() {
        let no_node = CassandraSettings { contact_points: vec![], ..Default::default() };
        let error = CassandraStore::connect(&no_node).await.expect_err("no contact point");
        assert!(matches!(error, ConnectError::Settings(_)), "{error}");
        let no_file =
            CassandraSettings { tls: true, ca_file: Some("no-such-file.pem".into()), ..Default::default() };
        let error = CassandraStore::connect(&no_file).await.expect_err("no certificates");
        assert!(error.to_string().contains("no-such-file.pem"), "{error}");
        assert!(!error.is_outage());
    }

    #[test]
    fn a_missing_datacenter_is_a_fault_and_unknown_ones_are_an_outage() {
        let settings = CassandraSettings { local_datacenter: "dc2".into(), ..Default::default() };
        let check = |nodes: &[&'static str]| check_datacenter(nodes.iter().copied(), &settings);
        assert!(check(&["dc1", "dc2"]).is_ok());
        let fault = check(&["dc3", "dc1", "dc3"]).expect_err("no dc2");
        assert!(fault.to_string().ends_with("only dc1, dc3") && !fault.is_outage(), "{fault}");
        let outage = check(&[]).expect_err("nothing is known");
        assert!(outage.is_outage(), "{outage}");
    }

    #[tokio::test]
    async fn an_unreachable_node_is_an_outage_that_names_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let node = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let settings = CassandraSettings { contact_points: vec![node.clone()], ..Default::default() };
        let error = CassandraStore::connect(&settings).await.expect_err("the port is closed");
        assert!(error.is_outage());
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("could not reach Cassandra at {node}: connection refused")),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_node_that_closes_the_connection_at_once_may_ask_for_tls() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let node = listener.local_addr().expect("bound").to_string();
        let closing = tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        let settings = CassandraSettings { contact_points: vec![node], ..Default::default() };
        let error = CassandraStore::connect(&settings).await.expect_err("the node closes the connection");
        assert!(error.is_outage() && error.to_string().contains("asks for TLS"), "{error}");
        closing.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_never_responds_times_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let node = listener.local_addr().expect("bound").to_string();
        let settings = CassandraSettings { contact_points: vec![node], ..Default::default() };
        let error = CassandraStore::connect(&settings).await.expect_err("the node never responds");
        assert!(error.is_outage(), "{error}");
    }
}
