//! The contract of the store ports on Cassandra, in one keyspace for all cases of a run. Skipped unless
//! `CASSANDRA_CONTACT_POINTS` is set.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use ecom_store::contract::{Open, Subject, service_address};
use ecom_store::{DeadLetterStore, FactStore, OperationsStore};
use ecom_store_cassandra::{CassandraSettings, CassandraStore, provision};
use futures_util::FutureExt;
use scylla::client::session_builder::SessionBuilder;
use tokio::sync::OnceCell;

/// The share of the random schedules to run, in percent.
const EFFORT: u64 = 10;
/// The prefix of the keyspaces of these tests, before the process id.
const KEYSPACES: &str = "ecom_contract_";

async fn facts() -> Option<Subject<dyn FactStore>> {
    let open: Open<dyn FactStore> = opener(settings().await?, |store| store);
    Some(Subject::new(open, EFFORT, ()).await)
}

async fn all_payments() -> Option<Subject<dyn FactStore>> {
    let settings = CassandraSettings { record_all_payments: true, ..settings().await? };
    let open: Open<dyn FactStore> = opener(settings, |store| store);
    Some(Subject::new(open, EFFORT, ()).await)
}

async fn dead_letters() -> Option<Subject<dyn DeadLetterStore>> {
    let open: Open<dyn DeadLetterStore> = opener(settings().await?, |store| store);
    Some(Subject::new(open, EFFORT, ()).await)
}

async fn operations() -> Option<Subject<dyn OperationsStore>> {
    let open: Open<dyn OperationsStore> = opener(settings().await?, |store| store);
    Some(Subject::new(open, EFFORT, ()).await)
}

fn opener<P: ?Sized + Send + Sync + 'static>(
    settings: CassandraSettings,
    as_port: fn(Arc<CassandraStore>) -> Arc<P>,
) -> Open<P> {
    Arc::new(move || {
        let settings = settings.clone();
        async move { as_port(Arc::new(CassandraStore::connect(&settings).await.unwrap())) }.boxed()
    })
}

/// Returns the settings of this process's keyspace, which the first call creates.
async fn settings() -> Option<CassandraSettings> {
    static CREATED: OnceCell<CassandraSettings> = OnceCell::const_new();
    let contact_points = service_address("CASSANDRA_CONTACT_POINTS")?;
    let create = || async {
        let settings = CassandraSettings {
            contact_points: contact_points.split(',').map(|point| point.trim().to_owned()).collect(),
            keyspace: format!("{KEYSPACES}{}", std::process::id()),
            ..CassandraSettings::default()
        };
        drop_leftovers(&settings.contact_points).await;
        provision::apply(&settings).await.unwrap();
        settings
    };
    Some(CREATED.get_or_init(create).await.clone())
}

/// Drops the keyspaces of earlier runs: a test binary has no hook after its last test. Does nothing on a node
/// of another host, where the process ids mean nothing.
async fn drop_leftovers(contact_points: &[String]) {
    let is_local = |point: &String| point.starts_with("127.") || point.starts_with("localhost");
    if !contact_points.iter().all(is_local) || !std::path::Path::new("/proc/self").exists() {
        return;
    }
    let session = SessionBuilder::new().known_nodes(contact_points).build().await.unwrap();
    let found = session.query_unpaged("SELECT keyspace_name FROM system_schema.keyspaces", ()).await.unwrap();
    for row in found.into_rows_result().unwrap().rows::<(String,)>().unwrap() {
        let (name,) = row.unwrap();
        let Some(pid) = name.strip_prefix(KEYSPACES) else { continue };
        let is_own = pid == std::process::id().to_string();
        if is_own || !std::path::Path::new("/proc").join(pid).exists() {
            session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {name}"), ()).await.unwrap();
        }
    }
}

mod fact_store {
    ecom_store::fact_store_contract_tests!(super::facts);
}

/// With `record_all_payments`.
mod recording_all_payments {
    ecom_store::fact_store_contract_tests!(super::all_payments);
    ecom_store::unseen_payment_contract_tests!(super::all_payments);
}

mod dead_letter_store {
    ecom_store::dead_letter_store_contract_tests!(super::dead_letters);
}

mod operations_store {
    ecom_store::operations_store_contract_tests!(super::operations);
}
