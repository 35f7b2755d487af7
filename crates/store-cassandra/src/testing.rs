//! A separate keyspace for each test that needs a real Cassandra.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ecom_config::Secret;
use ecom_store::contract::service_address;
use scylla::client::session::Session;

use super::provision;
use super::session::open;
use super::settings::CassandraSettings;
use super::store::CassandraStore;

/// Returns the settings of the test's keyspace; `None` where `CASSANDRA_CONTACT_POINTS` is not set.
pub(super) fn settings(keyspace: &str) -> Option<CassandraSettings> {
    settings_of("CASSANDRA_CONTACT_POINTS", keyspace)
}

/// Returns the superuser's settings on a node that asks for logins, encrypts where `CASSANDRA_LOGIN_CA_FILE` is set, and asks
/// for a client certificate where `CASSANDRA_LOGIN_CERT_FILE` is; `None` where `CASSANDRA_LOGIN_CONTACT_POINTS` is not set.
pub(super) fn superuser(keyspace: &str) -> Option<CassandraSettings> {
    let settings = settings_of("CASSANDRA_LOGIN_CONTACT_POINTS", keyspace)?;
    let file = |name: &str| std::env::var_os(format!("CASSANDRA_LOGIN_{name}_FILE")).map(PathBuf::from);
    let ca_file = file("CA");
    Some(CassandraSettings {
        user: Some("cassandra".into()),
        password: Secret::new("cassandra"),
        tls: ca_file.is_some(),
        ca_file,
        cert_file: file("CERT"),
        key_file: file("KEY"),
        ..settings
    })
}

fn settings_of(variable: &str, keyspace: &str) -> Option<CassandraSettings> {
    let nodes = service_address(variable)?;
    Some(CassandraSettings {
        contact_points: nodes.split(',').map(str::to_owned).collect(),
        keyspace: format!("ecom_test_{keyspace}_{}", std::process::id()),
        request_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
        ..CassandraSettings::default()
    })
}

/// A store in a separate keyspace, with a session for statements that the store does not have.
pub(super) struct Scratch {
    pub(super) settings: CassandraSettings,
    pub(super) store: CassandraStore,
    session: Session,
}

impl Scratch {
    /// Runs a statement, with the test's keyspace in place of `ecom_store`.
    pub(super) async fn cql(&self, cql: &str) {
        let cql = cql.replace("ecom_store", &self.settings.keyspace);
        let done = self.session.query_unpaged(cql.as_str(), ()).await;
        done.map(drop).unwrap_or_else(|error| panic!("{cql}: {error}"));
    }

    /// Returns the number of rows of a table.
    pub(super) async fn count(&self, table: &str) -> usize {
        let cql = format!("SELECT * FROM {}.{table}", self.settings.keyspace);
        let response = self.session.query_unpaged(cql, ()).await.expect("a table of the schema");
        response.into_rows_result().expect("rows").rows_num()
    }
}

/// Runs a test in a keyspace that is dropped afterwards, even where the test fails.
pub(super) async fn in_keyspace<F>(keyspace: &str, test: impl FnOnce(Arc<Scratch>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(settings) = settings(keyspace) else { return };
    provision::apply(&settings).await.expect("the schema applies");
    let session = open(&settings).await.expect("the node answers");
    let store = CassandraStore::connect(&settings).await.expect("the schema is there");
    let scratch = Arc::new(Scratch { settings, store, session });
    let outcome = tokio::spawn(test(Arc::clone(&scratch))).await;
    scratch.cql("DROP KEYSPACE ecom_store").await;
    if let Err(error) = outcome {
        resume_unwind(error.into_panic());
    }
}
