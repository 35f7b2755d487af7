//! A login that is refused at the start or while a role runs, missing rights, and lost connections, on a Cassandra node
//! with TLS, client certificates and logins.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecom_store_cassandra::{CassandraSettings, provision};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::PLAIN;
use super::program::{TestDir, eventually};
use crate::services::{superuser, unique};

/// A relay to a node. Cutting its connections is to its clients what a restart of the node is.
struct Relay {
    node: String,
    address: String,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepting: JoinHandle<()>,
}

impl Relay {
    async fn to(node: String) -> Self {
        Self::at("127.0.0.1:0", node).await
    }

    async fn at(address: &str, node: String) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let (accepted, to) = (Arc::clone(&connections), node.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let node = to.clone();
                accepted.lock().unwrap().spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(node).await {
                        tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                    }
                });
            }
        });
        Self { node, address, connections, accepting }
    }

    /// Refuses connections for two seconds.
    async fn away(self) -> Self {
        self.cut();
        self.accepting.abort();
        self.accepting.await.unwrap_err();
        seconds(2).await;
        Self::at(&self.address, self.node).await
    }

    fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }
}

async fn seconds(count: u64) {
    let until = tokio::time::Instant::now() + Duration::from_secs(count);
    tokio::time::interval_at(until, Duration::from_secs(1)).tick().await;
}

/// A keyspace on the node, and a role of the same name with a password.
struct Keyspace {
    settings: CassandraSettings,
    root: Session,
}

impl Keyspace {
    async fn create(prefix: &str) -> Option<Self> {
        let settings = superuser(&unique(prefix).replace('-', "_"))?;
        provision::apply(&settings).await.unwrap();
        let root = session(&settings).await;
        let created = Self { settings, root };
        created.cql("CREATE ROLE KS WITH LOGIN = true AND PASSWORD = 'one'").await;
        Some(created)
    }

    fn name(&self) -> &str {
        &self.settings.keyspace
    }

    fn node(&self) -> &str {
        &self.settings.contact_points[0]
    }

    /// Runs a statement, with the name of keyspace and role in place of `KS`.
    async fn cql(&self, cql: &str) {
        let cql = cql.replace("KS", self.name());
        self.root
            .query_unpaged(cql.as_str(), ())
            .await
            .map(drop)
            .unwrap_or_else(|error| panic!("{cql}: {error}"));
    }

    /// Returns a configuration of this store and the embedded bus, with these further lines.
    fn config(&self, contact_point: &str, lines: &str) -> String {
        let CassandraSettings { tls, ca_file, cert_file, key_file, .. } = &self.settings;
        let files = [("ca_file", ca_file), ("cert_file", cert_file), ("key_file", key_file)];
        let files = files.map(|(key, file)| file.as_ref().map(|file| format!("{key} = {file:?}\n")));
        format!(
            "[bus]\nkind = \"embedded\"\n[store]\nkind = \"cassandra\"\n[connect]\nrefusal_timeout = \"3s\"\n\
             [store.cassandra]\ncontact_points = [\"{contact_point}\"]\nkeyspace = \"{}\"\ntls = {tls}\n{}{lines}",
            self.name(),
            files.into_iter().flatten().collect::<String>()
        )
    }

    /// Returns the lines of a login as the role.
    fn login(&self, password: &str) -> String {
        format!("user = \"{}\"\npassword = \"{password}\"\n", self.name())
    }

    /// The number of rows of the fact table.
    async fn rows(&self) -> i64 {
        let query = format!("SELECT count(*) FROM {}.orders_payments_facts", self.name());
        let response = self.root.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
        response.single_row::<(i64,)>().unwrap().0
    }

    async fn drop(self) {
        self.cql("DROP KEYSPACE KS").await;
        self.cql("DROP ROLE KS").await;
    }
}

/// Opens a session of the driver.
async fn session(settings: &CassandraSettings) -> Session {
    let mut builder =
        SessionBuilder::new().known_nodes(&settings.contact_points).user("cassandra", "cassandra");
    if let Some(file) = &settings.ca_file {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let config = match (&settings.cert_file, &settings.key_file) {
            (Some(certificate), Some(key)) => {
                let certificate = CertificateDer::from_pem_file(certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
            _ => config.with_no_client_auth(),
        };
        builder = builder.tls_context(Some(Arc::new(config)));
    }
    builder.build().await.unwrap()
}

#[tokio::test]
async fn a_changed_password_is_read_again_and_a_lasting_refusal_ends_the_consumer_without_loss() {
    let Some(keyspace) = Keyspace::create("login").await else { return };
    keyspace.cql("GRANT MODIFY ON KEYSPACE KS TO KS").await;

    let (dir, relay) = (TestDir::new(), Relay::to(keyspace.node().to_owned()).await);
    dir.write("password", "one\n");
    let login = format!("user = \"{}\"\npassword_file = \"password\"\n", keyspace.name());
    dir.write("login.toml", keyspace.config(&relay.address, &login));
    let publish = async |ids: &str| {
        let events = ["--embedded", "--order-ids", ids, "--rate", "max"];
        dir.run("orders_producer", &[&events[..], &PLAIN].concat()).await.with(0);
    };
    let recorded = async |wanted: i64| {
        let found = async || (keyspace.rows().await == wanted).then_some(());
        eventually(&format!("{wanted} orders are recorded"), found).await;
    };

    // Cassandra lets a password be changed only every five seconds.
    let change_password = async |password: &str| {
        let change = format!("ALTER ROLE {} WITH PASSWORD = '{password}'", keyspace.name());
        let changed = async || keyspace.root.query_unpaged(change.as_str(), ()).await.ok();
        eventually("the password is changed", changed).await;
    };

    let mut consumer = dir.start("order_consumer", &["-c", "login.toml"]);
    consumer.says("using ").await;
    publish("1-20").await;
    recorded(20).await;

    change_password("two").await;
    dir.write("password", "two\n");
    relay.cut();
    publish("21-40").await;
    recorded(40).await;
    assert!(consumer.is_running());

    change_password("three").await;
    relay.cut();
    publish("41-60").await;
    let ended = consumer.ended().await.with(1);
    let error = ended.error();
    assert!(error.contains("could not record an order on Cassandra at"), "{}", ended.stderr);
    assert!(error.contains(": it refuses the login: "), "{}", ended.stderr);

    dir.write("password", "three\n");
    dir.run("order_consumer", &["-c", "login.toml", "--exit-on-idle", "2s"]).await.with(0);
    recorded(60).await;
    keyspace.drop().await;
}

#[tokio::test]
async fn a_wrong_login_ends_a_consumer_with_a_line_that_names_it() {
    let Some(keyspace) = Keyspace::create("wrong").await else { return };
    let dir = TestDir::new();
    for (login, names) in [
        (keyspace.login("wrong"), format!("refused the login of {}: ", keyspace.name())),
        (String::new(), "asks for a user and a password, but none are configured".to_owned()),
    ] {
        dir.write("login.toml", keyspace.config(keyspace.node(), &login));
        let ended = dir.run("order_consumer", &["-c", "login.toml", "--exit-on-idle", "2s"]).await.with(1);
        assert!(ended.error().contains(&names), "{}", ended.stderr);
    }
    keyspace.drop().await;
}

/// A right of a role in `cql/roles.cql`, and a run of its binary that needs it.
type Needs = (&'static str, &'static str, &'static [&'static str]);

/// Every right of the roles of consumers and handler but that to write heartbeats, without which they work.
const NEEDS: [(&str, &[Needs]); 3] = [
    ("order_consumer", &[("MODIFY", "orders_payments_facts", CONSUME)]),
    (
        "payment_consumer",
        &[
            ("SELECT", "orders_payments_facts", CONSUME),
            ("MODIFY", "orders_payments_facts", CONSUME),
            ("MODIFY", "superseded_payments", CONSUME),
        ],
    ),
    (
        "dlq_handler",
        &[
            ("MODIFY", "dead_letter_partitions", RUN),
            ("MODIFY", "dead_letters", RUN),
            ("MODIFY", "dead_letter_history", RUN),
            ("MODIFY", "dead_letters_by_order", RUN),
            ("SELECT", "orders_payments_facts", RUN),
            ("MODIFY", "orders_payments_facts", RUN),
            // What could not be retried is recorded now.
            ("SELECT", "dead_letter_partitions", &["list"]),
            ("SELECT", "dead_letters", &["list"]),
            ("SELECT", "dead_letters_by_order", &["explain", "21"]),
            ("SELECT", "dead_letter_history", &["explain", "21"]),
            ("SELECT", "role_heartbeats", &["report"]),
            ("SELECT", "bulk_operations", &["history"]),
            ("MODIFY", "bulk_operations", &["retry", "--all", "--yes"]),
            ("MODIFY", "bulk_operation_batches", &["retry", "--all", "--yes"]),
            ("SELECT", "bulk_operation_batches", &["retry", "--all", "--yes"]),
            ("MODIFY", "superseded_payments", RUN),
        ],
    ),
];
const CONSUME: &[&str] = &["--exit-on-idle", "2s"];
const RUN: &[&str] = &["run", "--once"];

#[tokio::test]
async fn each_missing_right_is_named_by_the_role_that_needs_it() {
    let Some(keyspace) = Keyspace::create("named").await else { return };
    let (dir, login) = (TestDir::new(), keyspace.login("one"));
    dir.write("named.toml", keyspace.config(keyspace.node(), &login));
    let publish = async |producer, ids| {
        let events = ["--embedded", "--order-ids", ids, "--rate", "max", "--second-payments", "1"];
        let plain = ["--late-orders", "0", "--missing-orders", "0", "--duplicates", "0", "--invalid", "0"];
        dir.run(producer, &[&events[..], &plain].concat()).await.with(0);
    };
    // Payments of the orders 1 to 20 come after them, those of 21 to 40 before.
    publish("orders_producer", "1-20").await;
    publish("payments_producer", "1-40").await;
    for (role, needs) in NEEDS {
        let granted = roles_cql(role);
        let named: BTreeSet<_> =
            needs.iter().map(|(right, table, _)| ((*right).to_owned(), (*table).to_owned())).collect();
        assert_eq!(granted, named, "{role}");
        for (right, table) in &granted {
            keyspace.cql(&format!("GRANT {right} ON TABLE KS.{table} TO KS")).await;
        }
        for (right, table, run) in needs {
            keyspace.cql(&format!("REVOKE {right} ON TABLE KS.{table} FROM KS")).await;
            let ended = dir.run(role, &[run, &["-c", "named.toml"][..]].concat()).await.with(1);
            let missing = format!("{right} permission on <table {}.{table}>", keyspace.name());
            assert!(ended.error().contains(&missing), "{role} {run:?} without {missing}:\n{}", ended.stderr);
            keyspace.cql(&format!("GRANT {right} ON TABLE KS.{table} TO KS")).await;
        }
        let run = if role == "dlq_handler" { RUN } else { CONSUME };
        dir.run(role, &[run, &["-c", "named.toml"][..]].concat()).await.with(0);
        if role == "order_consumer" {
            assert_eq!(keyspace.rows().await, 20);
        }
        if role == "payment_consumer" {
            publish("orders_producer", "21-40").await;
            dir.run("order_consumer", &["-c", "named.toml", "--exit-on-idle", "2s"]).await.with(0);
        }
        for (right, table) in &granted {
            keyspace.cql(&format!("REVOKE {right} ON TABLE KS.{table} FROM KS")).await;
        }
    }
    keyspace.drop().await;
}

/// Returns the rights to tables that `cql/roles.cql` grants to a role, but for that to write heartbeats.
fn roles_cql(role: &str) -> BTreeSet<(String, String)> {
    let right = |line: &str| {
        let (right, rest) = line.strip_prefix("GRANT ")?.split_once(" ON TABLE ecom_store.")?;
        let table = rest.strip_suffix(&format!(" TO {role};"))?;
        (right, table).ne(&("MODIFY", "role_heartbeats")).then(|| (right.to_owned(), table.to_owned()))
    };
    include_str!("../../../cql/roles.cql").lines().filter_map(right).collect()
}

#[tokio::test]
async fn a_verification_that_waits_outlasts_a_store_that_is_away() {
    let Some(keyspace) = Keyspace::create("away").await else { return };
    let (dir, mut relay) = (TestDir::new(), Relay::to(keyspace.node().to_owned()).await);
    let publish = ["--embedded", "--order-ids", "1-20", "--rate", "max", "--manifest", "orders.json"];
    dir.run("orders_producer", &[&publish[..], &PLAIN].concat()).await.with(0);
    let login = "user = \"cassandra\"\npassword = \"cassandra\"\n";
    dir.write("node.toml", keyspace.config(keyspace.node(), login));
    dir.write("relay.toml", keyspace.config(&relay.address, login));
    let verify = ["-c", "relay.toml", "verify", "--manifest", "orders.json", "--wait", "100s"];
    let mut verification = dir.start("ecom_facts", &verify);
    // Sooner or later the store goes away when it has connected.
    for connecting in [1, 2, 4, 8, 16] {
        seconds(connecting).await;
        relay = relay.away().await;
        assert!(verification.is_running(), "{}", verification.stderr());
        if verification.stderr().contains("; reading again") {
            break;
        }
    }
    verification.says("; reading again").await;
    dir.run("order_consumer", &["-c", "node.toml", "--exit-on-idle", "2s"]).await.with(0);
    verification.ended().await.with(0);
    keyspace.drop().await;
}
