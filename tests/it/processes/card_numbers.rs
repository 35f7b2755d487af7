//! Card numbers through the real programs: none gets into the fact table, the dead-letter store, the
//! dead-letter topic or the logs. Bodies, addresses and passwords are not logged, either.

use std::sync::Arc;

use ecom_bus::{Attributes, Bus, Message, Publisher};
use ecom_embedded::{Embedded, Options, Route, open};
use futures_util::StreamExt;
use futures_util::stream;

use super::program::{ProgramOutput, Running, TestDir, eventually};
use super::table::Table;
use crate::exposed::{self, Exposed, Numbers, exposed};

/// The number of card numbers: every brand in every place some fifty times, in random spellings.
const COUNT: usize = 10_000;
/// Texts in bodies, attributes and settings that must not be logged.
const SENTINELS: [&str; 5] =
    ["sentinel-item", "Sentinel Street", "sentinel-method", "sentinel-attribute", "sentinel-password"];

/// Starts a program that logs at the most detailed level.
fn start_verbose(dir: &TestDir, role: &'static str) -> Running {
    let args = ["--embedded", "-vvv", "--set", "consumer.order_grace=0s"];
    let program = dir.program(role, &args).env("RUST_LOG", "trace");
    program.env("ECOM__STORE__CASSANDRA__PASSWORD", "sentinel-password").start()
}

fn assert_nothing_logged_of(ended: &ProgramOutput, numbers: &Numbers) {
    for line in ended.stderr.lines().chain(ended.stdout.lines()) {
        assert!(!numbers.are_in(line.as_bytes()), "{line}");
        assert!(!SENTINELS.iter().any(|sentinel| line.contains(sentinel)), "{line}");
    }
}

async fn publish_all(bus: &Embedded, topic: &str, messages: impl Iterator<Item = Message>) {
    let publisher: Arc<dyn Publisher> = bus.publisher(topic, 512).await.unwrap();
    stream::iter(messages)
        .map(|message| {
            let publisher = Arc::clone(&publisher);
            async move { publisher.publish(message).await.await.unwrap() }
        })
        .buffer_unordered(512)
        .for_each(|_| std::future::ready(()))
        .await;
}

fn message(exposed: &Exposed) -> Message {
    let mut attributes = exposed.attributes.clone();
    attributes.insert("origin", "sentinel-attribute");
    Message { body: exposed.body.clone(), attributes }
}

fn bodies(texts: &[String]) -> impl Iterator<Item = Message> {
    texts.iter().map(|text| Message { body: text.clone().into(), attributes: Attributes::new() })
}

/// The contents of the tables and of the dead-letter topic, row by row.
fn everything(table: &Table) -> Vec<String> {
    let dead_letter =
        "SELECT id || '|' || reason || '|' || coalesce(detail, '') || '|' || coalesce(order_id, '') || '|'
         || attributes || '|' || CAST(body AS TEXT)
         FROM dead_letters JOIN dead_letter_bodies ON dead_letter_id = id";
    let history =
        "SELECT dead_letter_id || '|' || coalesce(correction_body, '') || '|' || coalesce(note, '') || '|'
         || coalesce(replaced, '') FROM dead_letter_history";
    let fact =
        "SELECT order_id || '|' || item || '|' || quantity || '|' || price || '|' || shipping_address || '|'
         || order_status || '|' || creation_date || '|' || coalesce(payment_method, '') || '|'
         || coalesce(payment_status, '') || '|' || coalesce(payment_datetime, '') FROM facts";
    let topic = "SELECT attributes || '|' || CAST(body AS TEXT) FROM messages
         JOIN subscriptions ON subscriptions.id = subscription JOIN topics ON topics.id = topic
         WHERE topics.name = 'dlq_payments_data' AND attributes LIKE '%dlq_reason%'";
    [dead_letter, history, fact, topic]
        .iter()
        .flat_map(|sql| {
            table.rows(sql, |row| {
                row.get_ref(0)
                    .map(|value| String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned())
            })
        })
        .collect()
}

#[tokio::test]
async fn card_numbers_in_every_field_and_form_stay_out_of_table_dead_letter_store_topic_and_logs() {
    let dir = TestDir::new();
    let consumers =
        ["order_consumer", "payment_consumer", "dlq_handler"].map(|role| start_verbose(&dir, role));
    let table = Table::of(&dir).await;
    // A second subscription without a consumer keeps all messages of the dead-letter topic.
    let kept = Options::new(vec![Route::new("dlq_payments_data", "kept-sub")]);
    let bus = open(&dir.path("data"), kept).unwrap();

    let all: Vec<Exposed> = (0..COUNT).map(|nth| exposed(nth, 10)).collect();
    let numbers = Numbers::of(&all);
    let sound: Vec<String> = (1..=9).map(|id| exposed::order_with("note", "\"\"", id)).collect();
    publish_all(&bus, "orders_data", bodies(&sound)).await;
    for (kind, topic) in [("order", "orders_data"), ("payment", "payments_data")] {
        let of_kind = all.iter().filter(|exposed| exposed.kind.as_str() == kind);
        publish_all(&bus, topic, of_kind.map(message)).await;
    }
    // Unmasked messages that another program publishes on the dead-letter topic.
    publish_all(&bus, "dlq_payments_data", all.iter().take(198).map(message)).await;

    let dead_letters = i64::try_from(COUNT).unwrap();
    eventually("all are dead letters", async || (table.dead_letters() >= dead_letters).then_some(())).await;
    eventually("all are acked", async || {
        let waiting = table.backlog("orders_data") + table.backlog("payments_data");
        (waiting == 0 && table.leased("dlq_payments_data") == 0).then_some(())
    })
    .await;
    assert_eq!(table.facts(), 9, "no event with a card number in it is a row");
    let rows = everything(&table);
    assert!(rows.len() > 3 * COUNT, "dead letters, history and topic: {}", rows.len());
    for row in &rows {
        assert!(!numbers.are_in(row.as_bytes()), "{row}");
    }
    let in_body = all.iter().filter(|exposed| !exposed.place.is_attribute()).count();
    let detected = "SELECT count(*) FROM dead_letters WHERE reason = 'pan_detected'";
    assert!(table.number(detected) >= i64::try_from(in_body).unwrap());
    let others = "SELECT count(*) FROM dead_letters WHERE reason NOT IN ('pan_detected', 'order_not_found')";
    assert_eq!(table.number(others), 0);
    for consumer in consumers {
        let ended = consumer.drained().await.with(0);
        assert!(ended.stderr.contains("using "), "nothing was logged");
        assert_nothing_logged_of(&ended, &numbers);
    }
}

#[tokio::test]
async fn errors_are_logged_without_the_contents_of_messages() {
    let dir = TestDir::new();
    let mut consumer = start_verbose(&dir, "order_consumer");
    let table = Table::of(&dir).await;
    consumer.says("using ").await;
    let bus = open(&dir.path("data"), Options::existing()).unwrap();
    let card = "4111111111111111";
    let numbers = Numbers::of(&[Exposed { number: card.to_owned(), ..exposed(0, 1) }]);
    // Invalid attributes, as only another program can write them.
    for attributes in [format!("{{\"card\":{card}}}"), format!("[\"sentinel-attribute {card}\"]")] {
        let order = exposed::order_with("note", "\"\"", 1);
        table.execute(&format!(
            "INSERT INTO messages (subscription, id, attempt, publish_time, attributes, body)
             SELECT subscriptions.id, last_message + 1, 0, 1705831290000000, '{attributes}', CAST('{order}' AS BLOB)
             FROM topics JOIN subscriptions ON topic = topics.id WHERE topics.name = 'orders_data';
             UPDATE topics SET last_message = last_message + 1 WHERE name = 'orders_data'"
        ));
    }
    consumer.says("attributes are not a JSON object of strings").await;
    // An outage with messages in flight, then a statement that is refused permanently.
    let order = exposed::order_with("note", "\"\"", 2).replace("\"order_id\":2,", "\"order_id\":%d,");
    table.execute(&format!(
        "WITH RECURSIVE ids (id) AS (SELECT 1000 UNION ALL SELECT id + 1 FROM ids WHERE id < 3000)
         INSERT INTO messages (subscription, id, attempt, publish_time, attributes, body)
         SELECT subscriptions.id, last_message + ids.id, 0, 1705831290000000, '{{}}',
             CAST(printf('{order}', ids.id) AS BLOB)
         FROM ids, topics JOIN subscriptions ON topic = topics.id WHERE topics.name = 'orders_data';
         UPDATE topics SET last_message = last_message + 3000 WHERE name = 'orders_data'"
    ));
    let locked = table.block_writers();
    consumer.says("database is locked").await;
    drop(locked);
    table.execute(
        "CREATE TRIGGER refuses BEFORE INSERT ON facts WHEN NEW.order_id = 3
         BEGIN SELECT RAISE(ABORT, 'refused for good'); END",
    );
    publish_all(&bus, "orders_data", bodies(&[exposed::order_with("note", "\"\"", 3)])).await;
    let ended = consumer.ended().await.with(1);
    assert!(ended.stderr.contains("refused for good"), "{}", ended.stderr);
    assert_nothing_logged_of(&ended, &numbers);
}
