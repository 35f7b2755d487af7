//! Five processes on the embedded default, killed with `kill -9` at random moments.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::program::{Running, TestDir, eventually};
use super::table::Table;

/// A short ack deadline, so that messages of a killed process are redelivered soon, and short delays.
const QUICK: [&str; 6] = [
    "--set",
    "embedded.ack_deadline=1s",
    "--set",
    "consumer.order_grace=200ms",
    "--set",
    "dead_letters.max_backoff=2s",
];
const KILLS: usize = 8;
const VERIFY: [&str; 9] = [
    "verify",
    "--manifest",
    "orders.json",
    "--manifest",
    "payments.json",
    "--wait",
    "60s",
    "--format",
    "json",
];

/// A role that may be killed, and the topic it consumes.
type Role = (&'static str, &'static str);
const ORDERS: Role = ("order_consumer", "orders_data");
const PAYMENTS: Role = ("payment_consumer", "payments_data");
const DEAD_LETTERS: Role = ("dlq_handler", "dlq_payments_data");

#[tokio::test]
async fn five_processes_lose_nothing_when_consumers_are_killed_at_random_moments() {
    let seed = 20_240_121;
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let dir = TestDir::new();
    let events = ["--order-ids", "1-1200", "--rate", "400/s", "--late-by", "200"];
    let orders = ["--manifest", "orders.json"];
    let payments = ["--manifest", "payments.json"];

    // In random order, with two more payment consumers or handlers.
    let mut processes =
        ["orders", "payments", "order_consumer", "payment_consumer", "dlq_handler", "twice", "twice"];
    processes.shuffle(rng);
    let (mut producers, mut consumers) = (Vec::new(), Vec::new());
    let start = |role: Role| (role, dir.start(role.0, &QUICK));
    for process in processes {
        match process {
            "orders" => producers.push(dir.start("orders_producer", &[&events[..], &orders].concat())),
            "payments" => producers.push(dir.start("payments_producer", &[&events[..], &payments].concat())),
            "order_consumer" => consumers.push(start(ORDERS)),
            "payment_consumer" => consumers.push(start(PAYMENTS)),
            "dlq_handler" => consumers.push(start(DEAD_LETTERS)),
            _ => consumers.push(start(if rng.random() { PAYMENTS } else { DEAD_LETTERS })),
        }
    }

    let table = Table::of(&dir).await;
    let mut left_behind = 0;
    for _ in 0..KILLS {
        let moment = table.progress() + rng.random_range(20..200);
        eventually("the consumers make progress", async || (table.progress() >= moment).then_some(())).await;
        let at = rng.random_range(0..consumers.len());
        let (role, consumer) = consumers.swap_remove(at);
        consumer.kill();
        left_behind += table.leased(role.1);
        consumers.push(start(role));
    }
    // The last kill hits every payment consumer while payments are leased: frozen, none can ack them before it. Their
    // successors are not killed and must get these payments redelivered.
    let (victims, others): (Vec<_>, Vec<_>) = consumers.into_iter().partition(|(role, _)| *role == PAYMENTS);
    consumers = others;
    let signal_all = |signal| victims.iter().for_each(|(_, victim)| victim.signal(signal));
    let leased = eventually("payments are leased", async || {
        signal_all("STOP");
        let leased = table.leased(PAYMENTS.1);
        if leased == 0 {
            signal_all("CONT");
        }
        (leased > 0).then_some(leased)
    });
    left_behind += leased.await;
    for (role, consumer) in victims {
        consumer.kill();
        consumers.push(start(role));
    }
    assert!(left_behind > 0, "no kill interrupted anything (seed {seed})");

    for producer in producers {
        producer.ended().await.with(0);
    }
    let found = dir.run("ecom_facts", &VERIFY).await.with(0).json();
    assert_eq!(found["faults"], serde_json::json!({}), "{found}");
    assert!(
        found["payments"]["dead_letter_store"].as_u64() > Some(0),
        "missing orders leave dead letters: {found}"
    );
    table.is_drained().await;
    let redelivered = drained(&dir, consumers).await;
    assert!(
        redelivered > 0,
        "{left_behind} messages were left behind by kills, and none was redelivered (seed {seed})"
    );
    dir.run("ecom_facts", &VERIFY).await.with(0);
}

/// Drains the consumers, and returns the sum of the redeliveries in their summaries.
async fn drained(dir: &TestDir, consumers: Vec<(Role, Running)>) -> u64 {
    let mut redelivered = 0;
    for (_, consumer) in consumers {
        let ended = consumer.drained().await.with(0);
        let count = ended.stderr.lines().last().and_then(|line| {
            let (before, _) = line.split_once(" redelivered")?;
            before.rsplit(' ').next()?.parse::<u64>().ok()
        });
        redelivered += count.unwrap_or_default();
    }
    assert!(dir.path("data").join(ecom_embedded::FILE_NAME).exists());
    redelivered
}

#[tokio::test]
async fn producers_killed_and_started_again_with_the_same_seed_lose_nothing() {
    let dir = TestDir::new();
    let consumers: Vec<Running> =
        [ORDERS, PAYMENTS, DEAD_LETTERS].map(|role| dir.start(role.0, &QUICK)).into_iter().collect();
    let table = Table::of(&dir).await;
    let events = |rate| ["--order-ids", "1-600", "--seed", "7", "--late-by", "100", "--rate", rate];
    for (name, manifest) in [("orders_producer", "orders.json"), ("payments_producer", "payments.json")] {
        let manifest = ["--manifest", manifest];
        let before = table.published();
        let killed = dir.start(name, &[&events("200/s")[..], &manifest].concat());
        eventually("it is in the middle", async || (table.published() > before + 150).then_some(())).await;
        killed.kill();
        let again = dir.run(name, &[&events("max")[..], &manifest].concat()).await.with(0);
        assert!(again.stderr.contains("published"), "{}", again.stderr);
    }
    let found = dir.run("ecom_facts", &VERIFY).await.with(0).json();
    assert_eq!(found["orders"]["lost"], 0, "{found}");
    table.is_drained().await;
    for consumer in consumers {
        consumer.drained().await.with(0);
    }
    dir.run("ecom_facts", &VERIFY).await.with(0);
}
