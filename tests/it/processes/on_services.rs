//! The five roles on the Pub/Sub emulator and Cassandra, checked with `ecom_facts` and plain CQL.

use ecom_bus::{Bus, Message};
use ecom_bus_pubsub::{Pubsub, PubsubSettings};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::Row;

use super::program::{Running, TestDir, eventually};
use crate::services::{emulator, keyspace, unique};

/// A folder with a config file, a Pub/Sub project and a keyspace for one test. [`Self::end`] drops the
/// keyspace.
struct Deployment {
    dir: TestDir,
    project: String,
    emulator: String,
    keyspace: String,
    cql: Session,
}

impl Deployment {
    /// Returns `None` without the services.
    async fn new() -> Option<Self> {
        let emulator = emulator()?;
        let shared = keyspace().await?;
        let cql = SessionBuilder::new().known_nodes(&shared.contact_points).build().await.unwrap();
        let (dir, project) = (TestDir::new(), unique("processes"));
        // Leftovers of failed runs have the prefix of the shared keyspace, and are dropped with it.
        let keyspace = unique(&shared.keyspace).replace('-', "_");
        dir.write(
            "services.toml",
            format!(
                "[bus]\nkind = \"pubsub\"\n\
                 [bus.pubsub]\nproject = \"{project}\"\nemulator_host = \"{emulator}\"\nack_deadline = \"10s\"\n\
                 [store]\nkind = \"cassandra\"\n\
                 [store.cassandra]\ncontact_points = {:?}\nkeyspace = \"{keyspace}\"\n\
                 [consumer]\nstreams = 1\norder_grace = \"500ms\"\n\
                 [dead_letters]\nfirst_retry = \"500ms\"\nmax_backoff = \"2s\"\n\
                 [shop.processor]\npayment_delay = \"100ms\"\ncompletion_delay = \"1s\"\n\
                 [shop.notifier]\nfolder = \"mail\"\n",
                shared.contact_points
            ),
        );
        let deployment = Self { dir, project, emulator, keyspace, cql };
        let missing = deployment.program("ecom_setup", &["--check"]).await.with(3);
        assert!(missing.stdout.contains("✗ "), "{}", missing.stdout);
        deployment.program("ecom_setup", &[]).await.with(0);
        deployment.program("ecom_setup", &[]).await.with(0);
        let there = deployment.program("ecom_setup", &["--check"]).await.with(0);
        assert!(!there.stdout.contains("✗ "), "{}", there.stdout);
        // The identity of a role may look up only what it uses.
        let of_role = deployment.program("order_consumer", &["--check"]).await.with(0);
        let on_bus = |line: &&str| line.contains(&format!("projects/{}/", deployment.project));
        let on_bus: Vec<&str> = of_role.stdout.lines().filter(on_bus).collect();
        let own = ["topics/dlq_payments_data", "subscriptions/orders_data-sub"];
        assert!(own.iter().all(|name| of_role.stdout.contains(name)) && on_bus.len() == 2, "{on_bus:?}");
        Some(deployment)
    }

    async fn program(&self, name: &'static str, args: &[&str]) -> super::program::ProgramOutput {
        self.dir.run(name, &[&["-c", "services.toml"], args].concat()).await
    }

    fn start(&self, name: &'static str) -> Running {
        self.dir.start(name, &["-c", "services.toml"])
    }

    /// Starts a consumer again. The emulator continues to send messages to streams
    /// that are closed, until their ack deadline passes; many new streams leave few messages to the old one.
    fn start_again(&self, name: &'static str) -> Running {
        self.dir.start(name, &["-c", "services.toml", "--streams", "16"])
    }

    /// Starts the three consumers, each receiving before anything is published.
    async fn consumers(&self) -> [Running; 3] {
        let consumers = ["order_consumer", "payment_consumer", "dlq_handler"].map(|name| self.start(name));
        let [mut orders, mut payments, mut dead_letters] = consumers;
        for consumer in [&mut orders, &mut payments, &mut dead_letters] {
            let line = consumer.says("using ").await;
            assert!(line.contains(&self.emulator) && line.contains(&self.project), "{line}");
            assert!(line.contains(&self.keyspace), "{line}");
        }
        [orders, payments, dead_letters]
    }

    /// The rows of a query on the keyspace.
    async fn rows<T>(&self, select: &str, from: &str) -> Vec<T>
    where
        T: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
    {
        let query = format!("SELECT {select} FROM {}.{from}", self.keyspace);
        let answer = self.cql.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
        answer.rows::<T>().unwrap().collect::<Result<_, _>>().unwrap()
    }

    async fn count(&self, what: &str, from: &str) -> i64 {
        self.rows::<(i64,)>(&format!("count({what})"), from).await[0].0
    }

    /// Publishes a message without attributes, as another program would.
    async fn publish_bare(&self, topic: &str, body: String) {
        let bus =
            Pubsub::connect(PubsubSettings::new(&self.project).on_emulator(&self.emulator)).await.unwrap();
        let publisher = bus.publisher(topic, 1).await.unwrap();
        publisher.publish(Message { body: body.into(), ..Message::default() }).await.await.unwrap();
        bus.close().await;
    }

    async fn end(self) {
        self.cql.query_unpaged(format!("DROP KEYSPACE {}", self.keyspace), ()).await.unwrap();
    }
}

#[tokio::test]
async fn the_reference_data_ends_as_80_rows_80_payments_and_420_dead_letters() {
    let Some(deployment) = Deployment::new().await else { return };
    let consumers = deployment.consumers().await;
    let orders = ["--preset", "reference", "--count", "160", "--rate", "max", "--manifest", "orders.json"];
    deployment.program("orders_producer", &orders).await.with(0);
    deployment.program("ecom_facts", &["verify", "--manifest", "orders.json", "--wait", "60s"]).await.with(0);
    let payments = ["--preset", "reference", "--rate", "max", "--manifest", "payments.json"];
    deployment.program("payments_producer", &payments).await.with(0);
    let both = ["verify", "--manifest", "orders.json", "--manifest", "payments.json", "--wait", "100s"];
    let verified = deployment.program("ecom_facts", &both).await.with(0);
    assert!(verified.stdout.contains("✓ 80 rows as published: 0 lost, 0 mixed"), "{}", verified.stdout);

    assert_eq!(deployment.count("*", "orders_payments_facts").await, 80);
    assert_eq!(deployment.count("payment_id", "orders_payments_facts").await, 80);
    let odd = "payment_id, card_last_four, payment_datetime, creation_date";
    let odd = deployment
        .rows::<(i64, String, String, String)>(odd, "orders_payments_facts WHERE order_id = 80")
        .await;
    let (card, time, day) = ("0080".into(), "2024-01-21T80:01:30Z".into(), "2024-01-21".into());
    assert_eq!(odd, [(1_080, card, time, day)], "an impossible time is stored as it was received");
    assert_eq!(deployment.count("*", "dead_letters").await, 420);
    let dead_letters =
        deployment.rows::<(String, Option<String>, i64)>("reason, state, order_id", "dead_letters").await;
    for (reason, state, order_id) in &dead_letters {
        assert_eq!((reason.as_str(), state.as_deref()), ("order_not_found", None), "order {order_id}");
    }
    let missing: std::collections::BTreeSet<i64> =
        dead_letters.iter().map(|(_, _, order_id)| *order_id).collect();
    assert_eq!((missing.first(), missing.last(), missing.len()), (Some(&81), Some(&500), 420));
    let report = ["report", "--format", "json", "--fail-on-open"];
    let report = deployment.program("dlq_handler", &report).await.with(3).json();
    assert_eq!(report["open"], 420, "{report}");

    messages_without_attributes_are_joined(&deployment).await;
    for consumer in consumers {
        consumer.drained().await.with(0);
    }
    deployment.end().await;
}

/// Asserts that a payment and its order without any attribute are joined in this order of arrival.
async fn messages_without_attributes_are_joined(deployment: &Deployment) {
    let payment = "{\"payment_id\":77,\"order_id\":9001,\"payment_method\":\"PayPal\",\
                   \"payment_status\":\"Completed\",\"payment_datetime\":\"yesterday\",\"note\":[1]}";
    let order = "{\"order_id\":9001,\"customer_id\":5,\"item\":\"Lamp\",\"quantity\":2,\"price\":3,\
                 \"shipping_address\":\"x\",\"order_status\":\"New\",\"creation_date\":\"today\"}";
    deployment.publish_bare("payments_data", payment.to_owned()).await;
    deployment.publish_bare("orders_data", order.to_owned()).await;
    let columns = "customer_id, payment_id, payment_method, payment_datetime";
    let joined = eventually("they are joined", async || {
        let found = "orders_payments_facts WHERE order_id = 9001";
        let rows = deployment
            .rows::<(Option<i64>, Option<i64>, Option<String>, Option<String>)>(columns, found)
            .await;
        rows.into_iter().find(|row| row.1.is_some())
    })
    .await;
    assert_eq!(joined, (Some(5), Some(77), Some("PayPal".into()), Some("yesterday".into())));
    let cards = deployment.rows::<Row>("card_last_four", "orders_payments_facts WHERE order_id = 9001").await;
    assert!(cards[0].columns[0].is_none(), "a missing card is null: {cards:?}");
}

#[tokio::test]
async fn five_thousand_mixed_events_survive_a_restart_and_a_kill() {
    let Some(deployment) = Deployment::new().await else { return };
    let [orders, payments, dead_letters] = deployment.consumers().await;
    let events = ["-c", "services.toml", "--order-ids", "1-2400", "--rate", "400/s", "--late-by", "300"];
    let produce =
        |name, manifest| deployment.dir.start(name, &[&events[..], &["--manifest", manifest]].concat());
    let producers =
        [produce("orders_producer", "orders.json"), produce("payments_producer", "payments.json")];

    // While events are consumed, one consumer is killed and one is drained; then both are started again.
    let rows = "orders_payments_facts";
    let reaches = async |what, least| (deployment.count(what, rows).await >= least).then_some(());
    eventually("orders are recorded", async || reaches("customer_id", 300).await).await;
    orders.kill();
    let recorded = deployment.count("customer_id", rows).await;
    eventually("payments are joined", async || reaches("payment_id", 200).await).await;
    let drained = payments.drained().await.with(0);
    assert!(drained.stderr.contains("draining "), "{}", drained.stderr);
    let orders = deployment.start_again("order_consumer");
    let payments = deployment.start_again("payment_consumer");

    for producer in producers {
        producer.ended().await.with(0);
    }
    let both = ["verify", "--manifest", "orders.json", "--manifest", "payments.json"];
    let both = [&both[..], &["--wait", "100s", "--format", "json"]].concat();
    let found = deployment.program("ecom_facts", &both).await.with(0).json();
    let count = |stream: &str, name: &str| found[stream][name].as_i64().unwrap();
    let published =
        ["orders", "payments"].map(|stream| count(stream, "published") + count(stream, "duplicates"));
    assert!(published.iter().sum::<i64>() >= 5_000, "{found}");
    assert_eq!(found["faults"], serde_json::json!({}), "{found}");
    assert_eq!(deployment.count("*", rows).await, found["rows"].as_i64().unwrap());
    let all = deployment.count("customer_id", rows).await;
    assert!(
        recorded < all,
        "{recorded} of {all} orders were recorded before the kill: it interrupted nothing"
    );
    for consumer in [orders, payments, dead_letters] {
        consumer.drained().await.with(0);
    }
    deployment.program("ecom_facts", &both).await.with(0);
    for producer in ["orders_producer", "payments_producer"] {
        // A producer connects to the store in the background, for its heartbeats alone.
        let mut producing = deployment.dir.start(producer, &["-c", "services.toml", "--rate", "10/s"]);
        producing.says("using ").await;
        let of = format!("role_heartbeats WHERE role = '{producer}'");
        let is_seen = async || (deployment.count("newest_event_at", &of).await == 1).then_some(());
        eventually(&format!("{producer} writes a heartbeat"), is_seen).await;
        producing.drained().await.with(0);
    }
    let mut seen = deployment.rows::<(String,)>("role", "role_heartbeats").await;
    seen.sort_unstable();
    let roles = ["dlq_handler", "order_consumer", "orders_producer", "payment_consumer", "payments_producer"];
    assert_eq!(seen, roles.map(|role| (role.to_owned(),)));
    assert_eq!(deployment.count("newest_event_at", "role_heartbeats").await, 5);
    deployment.end().await;
}

#[tokio::test]
async fn a_producer_runs_without_the_store_and_logs_nothing_about_it() {
    let Some(deployment) = Deployment::new().await else { return };
    let nowhere = ["--set", "store.cassandra.contact_points=127.0.0.1:1"];
    let events = ["--order-ids", "1-20", "--rate", "10/s"];
    let produced = deployment.program("orders_producer", &[&events[..], &nowhere].concat()).await.with(0);
    assert!(produced.stderr.contains("published"), "{}", produced.stderr);
    for word in ["WARN", "ERROR", "assandra", "127.0.0.1:1"] {
        let said = produced.stderr.replace(&deployment.emulator, "");
        assert!(!said.contains(word), "{word} in {}", produced.stderr);
    }
    deployment.end().await;
}

#[tokio::test]
async fn setup_creates_an_embedded_bus_beside_a_keyspace() {
    let Some(shared) = keyspace().await else { return };
    let (dir, keyspace) = (TestDir::new(), unique(&shared.keyspace).replace('-', "_"));
    let nodes = &shared.contact_points;
    let store = format!(
        "[store]\nkind = \"cassandra\"\n[store.cassandra]\ncontact_points = {nodes:?}\nkeyspace = \"{keyspace}\"\n"
    );
    dir.write("mixed.toml", store);
    let flags = ["-c", "mixed.toml"];
    let created = dir.run("ecom_setup", &flags).await.with(0);
    assert!(created.stdout.contains("/data/ecom_store.db created"), "{}", created.stdout);
    assert!(created.stdout.contains(&format!("keyspace {keyspace} created")), "{}", created.stdout);
    let there = dir.run("ecom_setup", &[&flags[..], &["--check"]].concat()).await.with(0);
    assert!(there.stdout.contains("/data/ecom_store.db present"), "{}", there.stdout);
    let cql = SessionBuilder::new().known_nodes(nodes).build().await.unwrap();
    cql.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await.unwrap();
}

/// The shop on the services, where the API requires keys.
#[cfg(feature = "shop-cassandra")]
async fn shop(deployment: &Deployment) -> super::shop::Place {
    let refused = deployment.program("api_service", &["--listen", "127.0.0.1:0"]).await.with(2);
    assert!(refused.error().contains("shop.api.keys_file is not set"), "{}", refused.stderr);
    let key = deployment.program("api_service", &["key", "--role", "shop"]).await.with(0);
    deployment.dir.write("keys", key.stderr.lines().last().unwrap());
    super::shop::Place {
        flags: ["-c", "services.toml"].map(str::to_owned).into(),
        api: ["--keys-file", "keys"].map(str::to_owned).into(),
        key: Some(key.stdout.trim().to_owned()),
    }
}

#[cfg(feature = "shop-cassandra")]
#[tokio::test]
async fn an_order_of_the_api_is_a_row_of_the_table_on_the_services() {
    let Some(deployment) = Deployment::new().await else { return };
    let place = shop(&deployment).await;
    super::shop::an_order_becomes_a_row(&deployment.dir, &place).await;
    deployment.end().await;
}

#[cfg(feature = "shop-cassandra")]
#[tokio::test]
async fn killed_apis_and_processors_lose_and_double_nothing_on_the_services() {
    let Some(deployment) = Deployment::new().await else { return };
    let place = shop(&deployment).await;
    // More restarts of a subscription's consumers are more than the emulator bears.
    super::shop::nothing_is_lost_or_doubled(&deployment.dir, &place, 20, 100, 2).await;
    deployment.end().await;
}
