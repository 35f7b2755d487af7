//! A login that is refused at the start or while a role runs, a missing right, and lost connections, on a Cassandra node
//! that asks for logins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecom_config::Secret;
use ecom_store_cassandra::{CassandraSettings, provision};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::PLAIN;
use super::program::{TestDir, eventually};
use crate::services::{login_node, unique};

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

/// Creates a keyspace; returns the node's address, the keyspace's name and the superuser's session.
async fn own_keyspace(prefix: &str) -> Option<(String, String, Session)> {
    let node = login_node()?;
    let name = unique(prefix).replace('-', "_");
    let settings = CassandraSettings {
        contact_points: vec![node.clone()],
        keyspace: name.clone(),
        user: Some("cassandra".into()),
        password: Secret::new("cassandra"),
        request_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
        ..CassandraSettings::default()
    };
    provision::apply(&settings).await.unwrap();
    let root = SessionBuilder::new().known_node(&node).user("cassandra", "cassandra").build().await.unwrap();
    Some((node, name, root))
}

/// The number of rows of the fact table.
async fn rows(root: &Session, keyspace: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {keyspace}.orders_payments_facts");
    let response = root.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
    response.single_row::<(i64,)>().unwrap().0
}

#[tokio::test]
async fn a_changed_password_is_read_again_and_a_lasting_refusal_ends_the_consumer_without_loss() {
    let Some((node, name, root)) = own_keyspace("login").await else { return };
    let cql = async |cql: String| root.query_unpaged(cql, ()).await.map(drop).unwrap();
    cql(format!("CREATE ROLE {name} WITH LOGIN = true AND PASSWORD = 'one'")).await;
    cql(format!("GRANT MODIFY ON KEYSPACE {name} TO {name}")).await;

    let (dir, relay) = (TestDir::new(), Relay::to(node).await);
    dir.write("password", "one\n");
    let config = format!(
        "[bus]\nkind = \"embedded\"\n[store]\nkind = \"cassandra\"\n[connect]\nrefusal_timeout = \"3s\"\n\
         [store.cassandra]\ncontact_points = [\"{}\"]\nkeyspace = \"{name}\"\nuser = \"{name}\"\n\
         password_file = \"password\"\n",
        relay.address
    );
    dir.write("login.toml", config);
    let publish = async |ids: &str| {
        let events = ["--embedded", "--order-ids", ids, "--rate", "max"];
        dir.run("orders_producer", &[&events[..], &PLAIN].concat()).await.with(0);
    };
    let recorded = async |wanted: i64| {
        let found = async || (rows(&root, &name).await == wanted).then_some(());
        eventually(&format!("{wanted} orders are recorded"), found).await;
    };

    // Cassandra lets a password be changed only every five seconds.
    let change_password = async |password: &str| {
        let change = format!("ALTER ROLE {name} WITH PASSWORD = '{password}'");
        eventually("the password is changed", async || root.query_unpaged(change.as_str(), ()).await.ok())
            .await;
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
    let error = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(error.contains("could not record an order on Cassandra at"), "{}", ended.stderr);
    assert!(error.contains(": it refuses the login: "), "{}", ended.stderr);

    dir.write("password", "three\n");
    dir.run("order_consumer", &["-c", "login.toml", "--exit-on-idle", "2s"]).await.with(0);
    recorded(60).await;
    cql(format!("DROP KEYSPACE {name}")).await;
    cql(format!("DROP ROLE {name}")).await;
}

#[tokio::test]
async fn a_wrong_login_and_a_missing_right_each_end_a_consumer_with_a_line_that_names_it() {
    let Some((node, name, root)) = own_keyspace("named").await else { return };
    let cql = async |cql: String| root.query_unpaged(cql, ()).await.map(drop).unwrap();
    cql(format!("CREATE ROLE {name} WITH LOGIN = true AND PASSWORD = 'right'")).await;

    let dir = TestDir::new();
    let publish = ["--embedded", "--order-ids", "1-20", "--rate", "max"];
    dir.run("orders_producer", &[&publish[..], &PLAIN].concat()).await.with(0);
    let ends = async |login: &str, code: i32| {
        let config = format!(
            "[bus]\nkind = \"embedded\"\n[store]\nkind = \"cassandra\"\n\
             [store.cassandra]\ncontact_points = [\"{node}\"]\nkeyspace = \"{name}\"\n{login}"
        );
        dir.write("named.toml", config);
        let consumer = dir.run("order_consumer", &["-c", "named.toml", "--exit-on-idle", "2s"]);
        let stderr = consumer.await.with(code).stderr;
        stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default().to_owned()
    };
    let right = format!("user = \"{name}\"\npassword = \"right\"\n");

    let error = ends(&right.replace("\"right\"", "\"wrong\""), 1).await;
    assert!(error.contains(&format!("refused the login of {name}: ")), "{error}");
    let error = ends("", 1).await;
    assert!(error.contains("asks for a user and a password, but none are configured"), "{error}");
    let error = ends(&right, 1).await;
    let table = format!("MODIFY permission on <table {name}.orders_payments_facts>");
    assert!(error.contains(&table), "{error}");

    cql(format!("GRANT MODIFY ON TABLE {name}.orders_payments_facts TO {name}")).await;
    assert_eq!(ends(&right, 0).await, "");
    assert_eq!(rows(&root, &name).await, 20);
    cql(format!("DROP KEYSPACE {name}")).await;
    cql(format!("DROP ROLE {name}")).await;
}

#[tokio::test]
async fn a_verification_that_waits_outlasts_a_store_that_is_away() {
    let Some((node, name, root)) = own_keyspace("away").await else { return };
    let (dir, mut relay) = (TestDir::new(), Relay::to(node.clone()).await);
    let publish = ["--embedded", "--order-ids", "1-20", "--rate", "max", "--manifest", "orders.json"];
    dir.run("orders_producer", &[&publish[..], &PLAIN].concat()).await.with(0);
    for (file, contact) in [("node.toml", &node), ("relay.toml", &relay.address)] {
        let config = format!(
            "[bus]\nkind = \"embedded\"\n[store]\nkind = \"cassandra\"\n[store.cassandra]\n\
             contact_points = [\"{contact}\"]\nkeyspace = \"{name}\"\n\
             user = \"cassandra\"\npassword = \"cassandra\"\n"
        );
        dir.write(file, config);
    }
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
    root.query_unpaged(format!("DROP KEYSPACE {name}"), ()).await.unwrap();
}
