//! Bad messages between good ones: each gets its reason, and none blocks its neighbours.

use std::collections::BTreeMap;

use ecom_bus::{Attributes, Bus, Message};
use ecom_embedded::{Embedded, Options, open};

use super::program::{Running, TestDir, eventually};
use super::table::Table;

const UNDECODABLE: &str = "undecodable";
const INVALID: &str = "invalid";
/// The bytes that the dead-letter store keeps of a body over 1 MiB.
const KEPT: usize = 64 * 1024;

fn order(id: i64) -> String {
    format!(
        "{{\"order_id\":{id},\"customer_id\":7,\"item\":\"Book\",\"quantity\":1,\"price\":12.5,\
         \"shipping_address\":\"1 Main St\",\"order_status\":\"Pending\",\"creation_date\":\"2024-01-21\"}}"
    )
}

fn payment(id: i64) -> String {
    format!(
        "{{\"payment_id\":{},\"order_id\":{id},\"payment_method\":\"Credit Card\",\"card_last_four\":\"1234\",\
         \"payment_status\":\"Completed\",\"payment_datetime\":\"2024-01-21T80:01:30Z\"}}",
        id + 1_000
    )
}

/// Broken variants of a body of any kind, each with its reason.
fn broken(whole: &str) -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str, close: &str| open.repeat(10_000) + &close.repeat(10_000);
    let field = |value: &str| whole.replacen('{', &format!("{{\"note\":{value},"), 1).into_bytes();
    vec![
        (UNDECODABLE, whole.as_bytes()[..whole.len() / 2].to_vec()),
        (UNDECODABLE, [&whole.as_bytes()[..whole.len() - 2], b"\xff\"}"].concat()),
        (UNDECODABLE, deep("[", "]").into_bytes()),
        (UNDECODABLE, field(&deep("[", "]"))),
        (UNDECODABLE, field(&deep("{\"a\":", "}").replacen("}", "1}", 1))),
        (UNDECODABLE, format!("[{whole}]").into_bytes()),
        (UNDECODABLE, b"\"text\"".to_vec()),
        (UNDECODABLE, b"null".to_vec()),
        (UNDECODABLE, format!("\u{feff}{whole}").into_bytes()),
        (UNDECODABLE, format!("{whole}{whole}").into_bytes()),
        (UNDECODABLE, format!("{whole}\0").into_bytes()),
        (UNDECODABLE, field("\"a\0b\"")),
        (INVALID, b"{}".to_vec()),
        (INVALID, field(&format!("\"{}\"", "x".repeat(10_000_000)))),
    ]
}

/// A body with one field's value replaced.
fn with(whole: &str, field: &str, value: &str) -> Vec<u8> {
    let start = whole.find(&format!("\"{field}\":")).unwrap() + field.len() + 3;
    let length = whole[start..].find([',', '}']).unwrap();
    format!("{}{value}{}", &whole[..start], &whole[start + length..]).into_bytes()
}

fn without(whole: &str, field: &str) -> Vec<u8> {
    String::from_utf8(with(whole, field, "0")).unwrap().replace(&format!("\"{field}\":0,"), "").into_bytes()
}

fn bad_ids(whole: &str, field: &str) -> Vec<(&'static str, Vec<u8>)> {
    let values = ["\"7\"", "7.5", "7.0", "0", "-1", "9223372036854775808", "1e400", "null", "true", "[7]"];
    let mut bad: Vec<_> = values.map(|value| (INVALID, with(whole, field, value))).into();
    bad.push((INVALID, without(whole, field)));
    bad.push((INVALID, whole.replacen('{', &format!("{{\"{field}\":7,"), 1).into_bytes()));
    bad
}

fn bad_orders() -> Vec<(&'static str, Vec<u8>)> {
    let whole = order(500);
    let mut bad = broken(&whole);
    bad.extend(bad_ids(&whole, "order_id"));
    bad.extend(bad_ids(&whole, "customer_id"));
    bad.push((UNDECODABLE, with(&whole, "price", "NaN")));
    for price in ["1e400", "\"12.5\"", "-1", "null"] {
        bad.push((INVALID, with(&whole, "price", price)));
    }
    bad.push((INVALID, with(&whole, "quantity", "0")));
    bad.push((INVALID, with(&whole, "item", "null")));
    bad
}

fn bad_payments() -> Vec<(&'static str, Vec<u8>)> {
    let whole = payment(500);
    let mut bad = broken(&whole);
    bad.extend(bad_ids(&whole, "payment_id"));
    bad.extend(bad_ids(&whole, "order_id"));
    for card in ["\"123\"", "\"12345\"", "\"\u{ff11}\u{ff12}\u{ff13}\u{ff14}\"", "1234", "\"\"", "\"12a4\""] {
        bad.push((INVALID, with(&whole, "card_last_four", card)));
    }
    bad.push((INVALID, without(&whole, "payment_method")));
    bad
}

/// The bad lines, each after a good one, and a good one at the end.
fn corpus(bad: &[(&str, Vec<u8>)], good: fn(i64) -> String) -> Vec<u8> {
    let lines = bad.iter().zip(1..).flat_map(|((_, body), id)| [good(id).into_bytes(), body.clone()]);
    let mut text: Vec<u8> = lines.flat_map(|line| [line, b"\n".to_vec()].concat()).collect();
    text.extend(good(i64::try_from(bad.len()).unwrap() + 1).into_bytes());
    text
}

/// Counts of (kind, body as far as the dead-letter store keeps it, reason).
type Reasons = BTreeMap<(String, Vec<u8>, String), usize>;

fn expected(kind: &str, bad: &[(&str, Vec<u8>)]) -> Reasons {
    let mut reasons = Reasons::new();
    for (reason, body) in bad {
        let kept = if body.len() > 1024 * 1024 { &body[..KEPT] } else { body };
        *reasons.entry((kind.to_owned(), kept.to_vec(), (*reason).to_owned())).or_default() += 1;
    }
    reasons
}

fn in_dead_letter_store(table: &Table) -> Reasons {
    let dead_letters = table.rows(
        "SELECT kind, body, reason FROM dead_letters JOIN dead_letter_bodies ON dead_letter_id = id",
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    );
    let mut reasons = Reasons::new();
    for dead_letter in dead_letters {
        *reasons.entry(dead_letter).or_default() += 1;
    }
    reasons
}

/// Starts the three consumers.
fn consumers(dir: &TestDir) -> [Running; 3] {
    ["order_consumer", "payment_consumer", "dlq_handler"].map(|role| dir.start(role, &[]))
}

async fn all_are_running(consumers: [Running; 3]) {
    for mut consumer in consumers {
        assert!(consumer.is_running(), "{}", consumer.stderr());
        consumer.drained().await.with(0);
    }
}

#[tokio::test]
async fn bad_bodies_are_dead_lettered_with_their_reason_and_the_good_ones_between_them_are_applied() {
    let dir = TestDir::new();
    let (orders, payments) = (bad_orders(), bad_payments());
    dir.write("orders.txt", corpus(&orders, order));
    dir.write("payments.txt", corpus(&payments, payment));
    let consumers = consumers(&dir);
    // The orders of all payments, whichever of the two corpora is longer.
    let more: Vec<String> = (1..=i64::try_from(payments.len()).unwrap() + 1).map(order).collect();
    dir.write("more.txt", more.join("\n"));
    for (producer, file, manifest) in [
        ("orders_producer", "orders.txt", "orders.json"),
        ("orders_producer", "more.txt", "more.json"),
        ("payments_producer", "payments.txt", "payments.json"),
    ] {
        let args = ["--from", file, "--rate", "max", "--manifest", manifest];
        dir.run(producer, &args).await.with(0);
    }

    let table = Table::of(&dir).await;
    let mut wanted = expected("order", &orders);
    wanted.append(&mut expected("payment", &payments));
    let count = i64::try_from(orders.len() + payments.len()).unwrap();
    eventually("every bad body is a dead letter", async || (table.dead_letters() >= count).then_some(()))
        .await;
    table.is_drained().await;
    let found = in_dead_letter_store(&table);
    for (key, count) in &wanted {
        let (kind, body, reason) = key;
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]);
        assert_eq!(found.get(key), Some(count), "{kind} {reason}: {shown}");
    }
    assert_eq!(found.len(), wanted.len(), "no other dead letters");
    let rows = orders.len().max(payments.len()) + 1;
    assert_eq!(table.facts(), i64::try_from(rows).unwrap());
    let paid = table.number("SELECT count(*) FROM facts WHERE customer_id = 7 AND card_last_four = '1234'");
    assert_eq!(paid, i64::try_from(payments.len()).unwrap() + 1);
    assert_eq!(
        table.number(
            "SELECT count(*) FROM dead_letters WHERE body_length > 10000000 AND body_sha256 IS NOT NULL"
        ),
        2,
        "of a huge body, length and hash are kept"
    );
    let named = "SELECT count(*) FROM dead_letters WHERE reason = 'invalid' AND detail NOT LIKE '%: %'";
    assert_eq!(table.number(named), 0, "every detail names field and cause");
    let manifests =
        ["verify", "--manifest", "orders.json", "--manifest", "more.json", "--manifest", "payments.json"];
    dir.run("ecom_facts", &manifests).await.with(0);
    all_are_running(consumers).await;
}

/// Publishes a message as another program would.
async fn publish(bus: &Embedded, topic: &str, body: &str, attributes: &[(&str, &str)]) {
    let attributes: Attributes =
        attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let publisher = bus.publisher(topic, 1).await.unwrap();
    publisher.publish(Message { body: body.to_owned().into(), attributes }).await.await.unwrap();
}

#[tokio::test]
async fn empty_and_blank_bodies_of_other_programs_are_undecodable() {
    let dir = TestDir::new();
    let consumers = consumers(&dir);
    let table = Table::of(&dir).await;
    let bus = open(&dir.path("data"), Options::existing()).unwrap();
    // Producers skip blank lines.
    let blank = [(UNDECODABLE, Vec::new()), (UNDECODABLE, b"   ".to_vec())];
    let mut wanted = expected("order", &blank);
    wanted.append(&mut expected("payment", &blank));
    for topic in ["orders_data", "payments_data"] {
        for (_, body) in &blank {
            publish(&bus, topic, std::str::from_utf8(body).unwrap(), &[]).await;
        }
    }
    eventually("all are dead letters", async || (table.dead_letters() == 4).then_some(())).await;
    assert_eq!(in_dead_letter_store(&table), wanted);
    assert_eq!(table.facts(), 0);
    all_are_running(consumers).await;
}

#[tokio::test]
async fn unusable_event_times_are_replaced_by_the_publish_time() {
    let dir = TestDir::new();
    let consumers = consumers(&dir);
    let table = Table::of(&dir).await;
    let bus = open(&dir.path("data"), Options::existing()).unwrap();
    let far = "4102444800000000";
    let times = [
        None,
        Some(""),
        Some("-1"),
        Some("0"),
        Some("9223372036854775808"),
        Some("soon"),
        Some(far),
        Some("1"),
        Some("1700000000"),
        Some("1700000000000"),
    ];
    let before = now_us();
    for (time, id) in times.iter().zip(1..) {
        let attributes: Vec<(&str, &str)> = time.iter().map(|time| ("event_time_us", *time)).collect();
        publish(&bus, "orders_data", &order(id), &attributes).await;
        publish(&bus, "payments_data", &payment(id), &attributes).await;
    }
    // Any time since 2000 is accepted.
    publish(&bus, "orders_data", &order(100), &[("event_time_us", "946684800000000")]).await;
    let after = now_us();
    eventually("all are recorded", async || (table.progress() == 21).then_some(())).await;
    let second = 1_000_000;
    for (time, id) in times.iter().zip(1i64..) {
        for group in ["order_ts", "payment_ts"] {
            let t = table.number(&format!("SELECT {group} FROM facts WHERE order_id = {id}"));
            let ahead = if *time == Some(far) { 5 * second } else { 0 };
            let window = before - 2_000 + ahead..=after + 2_000 + ahead;
            assert!(window.contains(&t), "{group} of {time:?} is {t}, not in {window:?}");
        }
    }
    assert_eq!(table.number("SELECT order_ts FROM facts WHERE order_id = 100"), 946_684_800_000_000);

    // An event dated 2100 does not win forever: a later one with the same date is newer.
    let newer = order(7).replace("Pending", "Shipped");
    publish(&bus, "orders_data", &newer, &[("event_time_us", far)]).await;
    let shipped = "SELECT count(*) FROM facts WHERE order_id = 7 AND order_status = 'Shipped'";
    eventually("the newer one wins", async || (table.number(shipped) == 1).then_some(())).await;
    all_are_running(consumers).await;
}

fn now_us() -> i64 {
    ecom_clock::Clock::System.now_us()
}

#[tokio::test]
async fn attributes_beyond_the_limits_of_pubsub_are_dropped_from_the_dead_letter_and_counted() {
    let dir = TestDir::new();
    let consumers = consumers(&dir);
    let table = Table::of(&dir).await;
    let bus = open(&dir.path("data"), Options::existing()).unwrap();
    let huge = "v".repeat(5_000);
    let names: Vec<String> = (0..120).map(|n| format!("name-{n:03}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "value")).collect();
    let large: Vec<(&str, &str)> = names[..10].iter().map(|name| (name.as_str(), huge.as_str())).collect();
    let own = [("event_time_us", "1700000000000000"), ("event_id", "mine"), ("googclient_x", "1")];

    publish(&bus, "orders_data", &order(1), &many).await;
    publish(&bus, "orders_data", &order(2), &large).await;
    publish(&bus, "orders_data", "{", &[&many[..], &own].concat()).await;
    publish(&bus, "payments_data", "[", &[&large[..], &own].concat()).await;
    publish(&bus, "payments_data", "", &own).await;
    eventually("all are recorded or dead-lettered", async || (table.progress() == 5).then_some(())).await;
    assert_eq!((table.facts(), table.dead_letters()), (2, 3), "attributes do not make a message bad");

    let dead_letters = table.rows(
        "SELECT body, reason, t, attributes FROM dead_letters JOIN dead_letter_bodies ON dead_letter_id = id",
        |row| {
            let attributes: String = row.get(3)?;
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, attributes))
        },
    );
    for (body, reason, t, attributes) in dead_letters {
        let shown = String::from_utf8_lossy(&body).into_owned();
        assert_eq!((reason.as_str(), t), (UNDECODABLE, 1_700_000_000_000_000), "{shown}");
        let attributes: BTreeMap<String, String> = serde_json::from_str(&attributes).unwrap();
        assert!(attributes.len() <= 100, "{shown} has {}", attributes.len());
        assert!(attributes.values().all(|value| value.len() <= 1_024), "{shown}");
        assert_eq!(attributes["event_id"], "mine", "{shown}");
        assert!(!attributes.contains_key("googclient_x"), "{shown}");
        let dropped = attributes.get("dlq_attributes_dropped").map(|count| count.parse::<usize>().unwrap());
        match shown.as_str() {
            "{" => assert_eq!(
                dropped.map(|dropped| dropped + attributes.len()),
                Some(120 + 2 + 10),
                "{attributes:?}"
            ),
            "[" => assert_eq!(dropped, Some(10)),
            _ => assert_eq!(dropped, None),
        }
    }
    all_are_running(consumers).await;
}
