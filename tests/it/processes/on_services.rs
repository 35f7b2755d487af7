//! The five binaries on the Pub/Sub emulator and Cassandra, checked by `ecom_facts` and by plain CQL.

use ecom_bus::{Bus, Message};
use ecom_bus_pubsub::{Pubsub, PubsubSettings};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::Row;

use super::program::{Running, Site, eventually};
use crate::services::{emulator, keyspace, unique};

/// What the keyspaces of these tests are called, before the process id.
const KEYSPACES: &str = "ecom_processes_";

/// A folder with a config file, a project and a keyspace of its own; the keyspace is dropped at the end.
struct Place {
    site: Site,
    project: String,
    emulator: String,
    keyspace: String,
    cql: Session,
}

impl Place {
    /// None where the services are not there.
    async fn new() -> Option<Self> {
        let emulator = emulator()?;
        let contact_points = keyspace().await?.contact_points;
        let cql = SessionBuilder::new().known_nodes(&contact_points).build().await.unwrap();
        drop_leftovers(&cql).await;
        let (site, project) = (Site::new(), unique("processes"));
        let keyspace = unique(&format!("{KEYSPACES}{}", std::process::id())).replace('-', "_");
        site.write(
            "services.toml",
            format!(
                "[bus]\nkind = \"pubsub\"\n\
                 [bus.pubsub]\nproject = \"{project}\"\nemulator_host = \"{emulator}\"\nlease = \"10s\"\n\
                 [store]\nkind = \"cassandra\"\n\
                 [store.cassandra]\ncontact_points = {contact_points:?}\nkeyspace = \"{keyspace}\"\n\
                 [consumer]\nstreams = 1\norder_grace = \"500ms\"\n\
                 [dead_letters]\nfirst_retry = \"500ms\"\nmax_backoff = \"2s\"\n"
            ),
        );
        let place = Self { site, project, emulator, keyspace, cql };
        let missing = place.program("ecom_setup", &["--check"]).await.with(3);
        assert!(missing.stdout.contains("✗ "), "{}", missing.stdout);
        place.program("ecom_setup", &[]).await.with(0);
        place.program("ecom_setup", &[]).await.with(0);
        let there = place.program("ecom_setup", &["--check"]).await.with(0);
        assert!(!there.stdout.contains("✗ "), "{}", there.stdout);
        Some(place)
    }

    async fn program(&self, name: &'static str, args: &[&str]) -> super::program::OperationReport {
        self.site.run(name, &[&["-c", "services.toml"], args].concat()).await
    }

    fn start(&self, name: &'static str) -> Running {
        self.site.start(name, &["-c", "services.toml"])
    }

    /// Starts a consumer in the place of one that ended. The emulator goes on handing messages to streams
    /// that are gone, until their lease ends: many new streams leave few messages to the old one.
    fn start_again(&self, name: &'static str) -> Running {
        self.site.start(name, &["-c", "services.toml", "--streams", "16"])
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

    /// Publishes as a stranger's program does: without any attribute.
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

/// Drops the keyspaces of runs that failed and are over.
async fn drop_leftovers(cql: &Session) {
    let found = cql.query_unpaged("SELECT keyspace_name FROM system_schema.keyspaces", ()).await.unwrap();
    for row in found.into_rows_result().unwrap().rows::<(String,)>().unwrap() {
        let (name,) = row.unwrap();
        let Some(pid) = name.strip_prefix(KEYSPACES).and_then(|rest| rest.split('_').next()) else {
            continue;
        };
        let processes = std::path::Path::new("/proc");
        if processes.join("self").exists() && !processes.join(pid).exists() {
            cql.query_unpaged(format!("DROP KEYSPACE IF EXISTS {name}"), ()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_reference_data_ends_as_80_rows_80_payments_and_420_dead_letters() {
    let Some(place) = Place::new().await else { return };
    let consumers = place.consumers().await;
    let orders = ["--preset", "reference", "--count", "160", "--rate", "max", "--manifest", "orders.json"];
    place.program("orders_producer", &orders).await.with(0);
    place.program("ecom_facts", &["verify", "--manifest", "orders.json", "--wait", "60s"]).await.with(0);
    let payments = ["--preset", "reference", "--rate", "max", "--manifest", "payments.json"];
    place.program("payments_producer", &payments).await.with(0);
    let both = ["verify", "--manifest", "orders.json", "--manifest", "payments.json", "--wait", "100s"];
    let told = place.program("ecom_facts", &both).await.with(0);
    assert!(told.stdout.contains("✓ 80 rows as published: 0 lost, 0 mixed"), "{}", told.stdout);

    assert_eq!(place.count("*", "orders_payments_facts").await, 80);
    assert_eq!(place.count("payment_id", "orders_payments_facts").await, 80);
    let odd = "payment_id, card_last_four, payment_datetime, creation_date";
    let odd =
        place.rows::<(i64, String, String, String)>(odd, "orders_payments_facts WHERE order_id = 80").await;
    let (card, time, day) = ("0080".into(), "2024-01-21T80:01:30Z".into(), "2024-01-21".into());
    assert_eq!(odd, [(1_080, card, time, day)], "a time that is none is stored as it came");
    assert_eq!(place.count("*", "dead_letters").await, 420);
    let dead_letters =
        place.rows::<(String, Option<String>, i64)>("reason, state, order_id", "dead_letters").await;
    for (reason, state, order_id) in &dead_letters {
        assert_eq!((reason.as_str(), state.as_deref()), ("order_not_found", None), "order {order_id}");
    }
    let missing: std::collections::BTreeSet<i64> =
        dead_letters.iter().map(|(_, _, order_id)| *order_id).collect();
    assert_eq!((missing.first(), missing.last(), missing.len()), (Some(&81), Some(&500), 420));
    let report = ["report", "--format", "json", "--fail-on-open"];
    let report = place.program("dlq_handler", &report).await.with(3).json();
    assert_eq!(report["open"], 420, "{report}");

    strangers_are_joined(&place).await;
    for consumer in consumers {
        consumer.drained().await.with(0);
    }
    place.end().await;
}

/// Messages without any attribute, the payment first: joined as ours are.
async fn strangers_are_joined(place: &Place) {
    let payment = "{\"payment_id\":77,\"order_id\":9001,\"payment_method\":\"PayPal\",\
                   \"payment_status\":\"Completed\",\"payment_datetime\":\"yesterday\",\"note\":[1]}";
    let order = "{\"order_id\":9001,\"customer_id\":5,\"item\":\"Lamp\",\"quantity\":2,\"price\":3,\
                 \"shipping_address\":\"x\",\"order_status\":\"New\",\"creation_date\":\"today\"}";
    place.publish_bare("payments_data", payment.to_owned()).await;
    place.publish_bare("orders_data", order.to_owned()).await;
    let columns = "customer_id, payment_id, payment_method, payment_datetime";
    let joined = eventually("the strangers are joined", async || {
        let found = "orders_payments_facts WHERE order_id = 9001";
        let rows =
            place.rows::<(Option<i64>, Option<i64>, Option<String>, Option<String>)>(columns, found).await;
        rows.into_iter().find(|row| row.1.is_some())
    })
    .await;
    assert_eq!(joined, (Some(5), Some(77), Some("PayPal".into()), Some("yesterday".into())));
    let cards = place.rows::<Row>("card_last_four", "orders_payments_facts WHERE order_id = 9001").await;
    assert!(cards[0].columns[0].is_none(), "no card is null: {cards:?}");
}

#[tokio::test]
async fn five_thousand_mixed_events_survive_a_restart_and_a_kill() {
    let Some(place) = Place::new().await else { return };
    let [orders, payments, dead_letters] = place.consumers().await;
    let events = ["-c", "services.toml", "--order-ids", "1-2400", "--rate", "400/s", "--late-by", "300"];
    let produce = |name, manifest| place.site.start(name, &[&events[..], &["--manifest", manifest]].concat());
    let producers =
        [produce("orders_producer", "orders.json"), produce("payments_producer", "payments.json")];

    // In the middle of the work one is killed and one is asked to end; then both are started again.
    let rows = "orders_payments_facts";
    let reaches = async |what, least| (place.count(what, rows).await >= least).then_some(());
    eventually("orders are recorded", async || reaches("customer_id", 300).await).await;
    orders.kill();
    let recorded = place.count("customer_id", rows).await;
    eventually("payments are joined", async || reaches("payment_id", 200).await).await;
    let drained = payments.drained().await.with(0);
    assert!(drained.stderr.contains("draining "), "{}", drained.stderr);
    let orders = place.start_again("order_consumer");
    let payments = place.start_again("payment_consumer");

    for producer in producers {
        producer.ended().await.with(0);
    }
    let both = ["verify", "--manifest", "orders.json", "--manifest", "payments.json"];
    let both = [&both[..], &["--wait", "100s", "--format", "json"]].concat();
    let found = place.program("ecom_facts", &both).await.with(0).json();
    let count = |stream: &str, name: &str| found[stream][name].as_i64().unwrap();
    let published =
        ["orders", "payments"].map(|stream| count(stream, "published") + count(stream, "duplicates"));
    assert!(published.iter().sum::<i64>() >= 5_000, "{found}");
    assert_eq!(found["faults"], serde_json::json!({}), "{found}");
    assert_eq!(place.count("*", rows).await, found["rows"].as_i64().unwrap());
    let all = place.count("customer_id", rows).await;
    assert!(
        recorded < all,
        "{recorded} of {all} orders were recorded before the kill: it interrupted nothing"
    );
    for consumer in [orders, payments, dead_letters] {
        consumer.drained().await.with(0);
    }
    place.program("ecom_facts", &both).await.with(0);
    for producer in ["orders_producer", "payments_producer"] {
        // It is connected to the store beside its work, and goes on without it.
        let mut producing = place.site.start(producer, &["-c", "services.toml", "--rate", "10/s"]);
        producing.says("using ").await;
        let of = format!("role_heartbeats WHERE role = '{producer}'");
        let word = async || (place.count("newest_event_at", &of).await == 1).then_some(());
        eventually(&format!("{producer} leaves word"), word).await;
        producing.drained().await.with(0);
    }
    let mut seen = place.rows::<(String,)>("role", "role_heartbeats").await;
    seen.sort_unstable();
    let roles = ["dlq_handler", "order_consumer", "orders_producer", "payment_consumer", "payments_producer"];
    assert_eq!(seen, roles.map(|role| (role.to_owned(),)));
    assert_eq!(place.count("newest_event_at", "role_heartbeats").await, 5);
    place.end().await;
}

#[tokio::test]
async fn a_producer_runs_without_the_store_and_does_not_speak_of_it() {
    let Some(place) = Place::new().await else { return };
    let nowhere = ["--set", "store.cassandra.contact_points=127.0.0.1:1"];
    let events = ["--order-ids", "1-20", "--rate", "10/s"];
    let produced = place.program("orders_producer", &[&events[..], &nowhere].concat()).await.with(0);
    assert!(produced.stderr.contains("published"), "{}", produced.stderr);
    for word in ["WARN", "ERROR", "assandra", "127.0.0.1:1"] {
        let said = produced.stderr.replace(&place.emulator, "");
        assert!(!said.contains(word), "{word} in {}", produced.stderr);
    }
    place.end().await;
}
