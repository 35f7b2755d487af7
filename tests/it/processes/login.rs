//! A consumer whose login is refused while it runs, on a Cassandra node that asks for logins.

use std::sync::{Arc, Mutex};

use ecom_config::Secret;
use ecom_store_cassandra::{CassandraSettings, provision};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::PLAIN;
use super::program::{TestDir, eventually};
use crate::services::{login_node, unique};

/// A relay to a node. Cutting its connections is to its clients what a restart of the node is.
struct Relay {
    address: String,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Relay {
    async fn to(node: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let accepted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let node = node.clone();
                accepted.lock().unwrap().spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(node).await {
                        tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                    }
                });
            }
        });
        Self { address, connections }
    }

    fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }
}

/// The number of rows of the fact table.
async fn rows(root: &Session, keyspace: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {keyspace}.orders_payments_facts");
    let response = root.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
    response.single_row::<(i64,)>().unwrap().0
}

#[tokio::test]
async fn a_changed_password_is_read_again_and_a_lasting_refusal_ends_the_consumer_without_loss() {
    let Some(node) = login_node() else { return };
    let name = unique("login").replace('-', "_");
    let settings = CassandraSettings {
        contact_points: vec![node.clone()],
        keyspace: name.clone(),
        user: Some("cassandra".into()),
        password: Secret::new("cassandra"),
        ..CassandraSettings::default()
    };
    provision::apply(&settings).await.unwrap();
    let root = SessionBuilder::new().known_node(&node).user("cassandra", "cassandra").build().await.unwrap();
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
