//! The addresses of the services, and names that are unique to a test.
//!
//! A test without its service prints `skipped: … is not set` and passes, or fails with `REQUIRE_SERVICES=1`.

/// Returns the `host:port` of the Pub/Sub emulator.
#[cfg(feature = "pubsub")]
pub fn emulator() -> Option<String> {
    address("PUBSUB_EMULATOR_HOST")
}

/// Returns the superuser's settings on a Cassandra node that asks for logins, encrypts where `CASSANDRA_LOGIN_CA_FILE` is
/// set, and asks for a client certificate where `CASSANDRA_LOGIN_CERT_FILE` is.
#[cfg(all(feature = "embedded", feature = "pubsub"))]
pub fn superuser(keyspace: &str) -> Option<ecom_store_cassandra::CassandraSettings> {
    let node = address("CASSANDRA_LOGIN_CONTACT_POINTS")?;
    let file =
        |name: &str| std::env::var_os(format!("CASSANDRA_LOGIN_{name}_FILE")).map(std::path::PathBuf::from);
    let ca_file = file("CA");
    Some(ecom_store_cassandra::CassandraSettings {
        contact_points: vec![node],
        keyspace: keyspace.to_owned(),
        user: Some("cassandra".into()),
        password: ecom_config::Secret::new("cassandra"),
        tls: ca_file.is_some(),
        ca_file,
        cert_file: file("CERT"),
        key_file: file("KEY"),
        request_timeout: std::time::Duration::from_secs(20),
        connect_timeout: std::time::Duration::from_secs(20),
        ..Default::default()
    })
}

/// Returns the settings of this process's keyspace, which the first call creates.
pub async fn keyspace() -> Option<ecom_store_cassandra::CassandraSettings> {
    static CREATED: tokio::sync::OnceCell<ecom_store_cassandra::CassandraSettings> =
        tokio::sync::OnceCell::const_new();
    let contact_points = address("CASSANDRA_CONTACT_POINTS")?;
    let create = || async {
        let settings = ecom_store_cassandra::CassandraSettings {
            contact_points: contact_points.split(',').map(|point| point.trim().to_owned()).collect(),
            keyspace: format!("{KEYSPACES}{}", std::process::id()),
            ..Default::default()
        };
        drop_leftovers(&settings.contact_points).await;
        ecom_store_cassandra::provision::apply(&settings).await.unwrap();
        settings
    };
    Some(CREATED.get_or_init(create).await.clone())
}

/// Creates a keyspace for one test, which reads all dead letters.
#[cfg(feature = "embedded")]
pub async fn own_keyspace(test: &str) -> Option<ecom_store_cassandra::CassandraSettings> {
    let shared = keyspace().await?;
    let settings =
        ecom_store_cassandra::CassandraSettings { keyspace: format!("{}_{test}", shared.keyspace), ..shared };
    ecom_store_cassandra::provision::apply(&settings).await.unwrap();
    Some(settings)
}

/// Returns a name that no other test of any running process has.
#[cfg(feature = "pubsub")]
pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};

    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The prefix of the keyspaces of test runs, before the process id.
const KEYSPACES: &str = "ecom_it_";

/// Drops the keyspaces of earlier runs: a test binary has no hook after its last test. Does nothing on a node
/// of another host, where the process ids mean nothing.
async fn drop_leftovers(contact_points: &[String]) {
    let is_local = |point: &String| point.starts_with("127.") || point.starts_with("localhost");
    if !contact_points.iter().all(is_local) || !std::path::Path::new("/proc/self").exists() {
        return;
    }
    let session = scylla::client::session_builder::SessionBuilder::new()
        .known_nodes(contact_points)
        .build()
        .await
        .unwrap();
    let found = session.query_unpaged("SELECT keyspace_name FROM system_schema.keyspaces", ()).await.unwrap();
    for row in found.into_rows_result().unwrap().rows::<(String,)>().unwrap() {
        let (name,) = row.unwrap();
        let Some(pid) = name.strip_prefix(KEYSPACES).and_then(|rest| rest.split('_').next()) else {
            continue;
        };
        let own = pid == std::process::id().to_string();
        if own || !std::path::Path::new("/proc").join(pid).exists() {
            session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {name}"), ()).await.unwrap();
        }
    }
}

fn address(variable: &str) -> Option<String> {
    use std::io::Write;

    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let required = std::env::var("REQUIRE_SERVICES").is_ok_and(|flag| !matches!(flag.as_str(), "" | "0"));
        assert!(!required, "REQUIRE_SERVICES is set, but {variable} is not");
        // Not `eprintln!`: the harness captures it, and does not show it if the test passes.
        writeln!(std::io::stderr(), "skipped: {variable} is not set").ok();
    }
    value
}
