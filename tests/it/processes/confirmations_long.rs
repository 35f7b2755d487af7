//! Confirmations to foreign peers: a mail server and a receiver of webhooks, both in Python. `cargo xtask shop` runs these.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::confirmations::{Asked, at_rest, orders};
use super::program::{Running, TestDir, eventually};
use super::shop::{ApiProcess, Place};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/processes");
const OTHERS: [&str; 4] = ["payment_processor", "order_consumer", "payment_consumer", "dlq_handler"];
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// The file of what the peers received, an object a line.
const KEPT: &str = "kept.jsonl";
/// The file of the mail server's answers.
const PLAN: &str = "plan.json";

/// A peer in Python, on a port of its own. It ends with its test.
struct Peer {
    process: Child,
}

impl Peer {
    /// Starts a script and waits until it listens.
    fn start(script: &str, port: u16, args: &[&Path]) -> Self {
        let folder = std::env::var_os("SHOP_PYTHON").expect("SHOP_PYTHON is not set: run `cargo xtask shop`");
        let mut process = Command::new(PathBuf::from(folder).join("bin/python"))
            .arg(Path::new(SCRIPTS).join(script))
            .arg(port.to_string())
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{script} did not start");
        Self { process }
    }

    fn mail_server(dir: &TestDir, port: u16) -> Self {
        Self::start("mail_server.py", port, &[&dir.path(KEPT), &dir.path(PLAN)])
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The shop with a notifier that sends to a port.
struct Shop {
    dir: TestDir,
    place: Place,
    api: ApiProcess,
    _others: Vec<Running>,
    notifier: Running,
}

impl Shop {
    async fn start(settings: &str) -> Self {
        let (dir, mut place) = (TestDir::new(), Place::embedded());
        dir.write("secret", SECRET);
        dir.write("notifier.toml", settings);
        dir.write(PLAN, "{}");
        dir.write(KEPT, "");
        place.flags.extend(["-c", "notifier.toml"].map(str::to_owned));
        let api = ApiProcess::start(&dir, &place).await;
        let others = OTHERS.map(|role| place.start(&dir, role)).into();
        let notifier = place.start(&dir, "notifier");
        Self { dir, place, api, _others: others, notifier }
    }

    async fn with_mail_server(port: u16, concurrency: usize) -> Self {
        Self::start(&format!(
            "[shop.notifier]\nchannel = \"smtp\"\nfrom = \"Shop <shop@example.com>\"\n\
             concurrency = {concurrency}\n\
             [shop.notifier.smtp]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n"
        ))
        .await
    }

    /// Kills the notifier as `kill -9` does, and starts it again.
    fn kill_notifier(&mut self) {
        let started = self.place.start(&self.dir, "notifier");
        std::mem::replace(&mut self.notifier, started).kill();
    }

    fn kept(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path(KEPT)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn at_rest(&self, asked: &[Asked]) -> Value {
        at_rest(&self.dir, &self.place, asked).await
    }
}

/// Returns the mails by the order that each confirms, and checks that each is right.
fn mails_by_order(kept: &[Value], asked: &[Asked]) -> BTreeMap<i64, usize> {
    let by_id: BTreeMap<String, &Asked> =
        asked.iter().map(|order| (format!("<{}.confirmed@example.com>", order.id), order)).collect();
    let mut mails = BTreeMap::new();
    for mail in kept {
        let order = by_id[mail["message_id"].as_str().unwrap()];
        *mails.entry(order.id).or_default() += 1;
        assert_eq!(mail["from"], "shop@example.com");
        assert_eq!(mail["to"], json!([format!("customer-{}@example.com", order.total - 1_000)]));
        assert_eq!(mail["auto_submitted"], "auto-generated");
        let text = mail["text"].as_str().unwrap();
        assert!(text.contains(&format!("Total: {}.00 USD", order.total)), "{text}");
        assert!(text.contains("1 × Läptop"), "{text}");
        let subject = mail["subject"].as_str().unwrap();
        let number = subject.strip_prefix("Order ").unwrap().strip_suffix(" is confirmed").unwrap();
        assert!(text.contains(number), "{text}");
    }
    mails
}

fn ids(asked: &[Asked], is_paid: impl Fn(&Asked) -> bool) -> BTreeSet<i64> {
    asked.iter().filter(|order| is_paid(order)).map(|order| order.id).collect()
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask shop"]
async fn long_confirmations_of_300_orders_with_a_mail_server_that_is_away_for_10_s() {
    let port = free_port();
    let shop = Shop::with_mail_server(port, 4).await;
    let server = Peer::mail_server(&shop.dir, port);
    let mut asked = orders(&shop.api.client, 1..176).await;
    eventually("some mails have arrived", async || (shop.kept().len() > 20).then_some(())).await;
    drop(server);
    asked.extend(orders(&shop.api.client, 176..351).await);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let _server = Peer::mail_server(&shop.dir, port);
    let found = shop.at_rest(&asked).await;
    let paid = ids(&asked, |order| order.is_paid);
    assert_eq!(paid.len(), 300);
    assert_eq!(found["shop"]["notices"], json!({"sent": 300}), "{found}");
    let mails = mails_by_order(&shop.kept(), &asked);
    assert_eq!(mails.keys().copied().collect::<BTreeSet<_>>(), paid, "0 lost, and none for unpaid orders");
    // One that was accepted while the server was killed may come again.
    let again = mails.values().filter(|count| **count > 1).count();
    println!("300 paid orders, server away for 10 s: {} mails, {again} of them twice", shop.kept().len());
    assert!(again <= 4, "as many as were being sent at most: {mails:?}");
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask shop"]
async fn long_confirmations_that_are_deferred_and_refused() {
    let port = free_port();
    let shop = Shop::with_mail_server(port, 4).await;
    let plan = json!({
        "customer-1@example.com": ["451 4.7.1 greylisted", "451 4.7.1 greylisted"],
        "customer-2@example.com": ["550 5.1.1 <customer-2@example.com>: no such user", null],
    });
    shop.dir.write(PLAN, plan.to_string());
    let _server = Peer::mail_server(&shop.dir, port);
    let asked = orders(&shop.api.client, 1..351).await;
    let found = shop.at_rest(&asked).await;
    assert_eq!(found["shop"]["notices"], json!({"sent": 299, "undeliverable": 1}), "{found}");
    let mails = mails_by_order(&shop.kept(), &asked);
    let expected = ids(&asked, |order| order.is_paid && order.total != 1_002);
    assert_eq!(mails.keys().copied().collect::<BTreeSet<_>>(), expected);
    assert!(mails.values().all(|count| *count == 1), "each once: {mails:?}");
    let said = shop.notifier.stderr();
    assert!(said.contains("451 4.7.1 greylisted; retrying until it succeeds"), "{said}");
    assert!(said.contains("is undeliverable: the mail server refused the recipient: 550"), "{said}");
    assert!(!said.contains("customer-2@example.com"), "an address is no matter for a log: {said}");
    println!("300 paid orders, one answered 451 twice, one 550: {} mails, each once", mails.len());
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask shop"]
async fn long_confirmations_by_notifiers_that_are_killed_10_times() {
    for concurrency in [1, 4] {
        confirm_and_kill(10, concurrency).await;
    }
}

/// Kills the notifier as often as this while it sends that many at the same time.
async fn confirm_and_kill(kills: usize, concurrency: usize) {
    let port = free_port();
    let mut shop = Shop::with_mail_server(port, concurrency).await;
    let _server = Peer::mail_server(&shop.dir, port);
    let client = shop.api.client.clone();
    let asking = tokio::spawn(async move {
        let mut asked = Vec::new();
        for batch in 0..35 {
            asked.extend(orders(&client, batch * 10..(batch + 1) * 10).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        asked
    });
    let mut dice = ChaCha8Rng::seed_from_u64(5);
    let mut before = 0;
    for _ in 0..kills {
        // In the middle of its work.
        eventually("mails arrive", async || (shop.kept().len() > before).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..200))).await;
        shop.kill_notifier();
        before = shop.kept().len();
    }
    let asked = asking.await.unwrap();
    shop.at_rest(&asked).await;
    let mails = mails_by_order(&shop.kept(), &asked);
    assert_eq!(mails.keys().copied().collect::<BTreeSet<_>>(), ids(&asked, |order| order.is_paid), "0 lost");
    // The equal Message-ID is what they were counted by.
    let again: usize = mails.values().map(|count| count - 1).sum();
    let sent = shop.kept().len();
    println!("300 paid orders, {kills} kills, {concurrency} at a time: {sent} mails, {again} of them again");
    assert!(again <= kills * concurrency, "as many as were being sent at each kill: {mails:?}");
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask shop"]
async fn long_confirmations_by_a_webhook_are_verified_by_its_receiver() {
    let port = free_port();
    let shop = Shop::start(&format!(
        "[shop.notifier]\nchannel = \"webhook\"\n\
         [shop.notifier.webhook]\nurl = \"http://127.0.0.1:{port}/orders\"\nsecret_file = \"secret\"\n"
    ))
    .await;
    let _receiver = Peer::start("webhook_receiver.py", port, &[&shop.dir.path(KEPT), Path::new(SECRET)]);
    let asked = orders(&shop.api.client, 1..351).await;
    let found = shop.at_rest(&asked).await;
    assert_eq!(found["shop"]["notices"], json!({"sent": 300}), "{found}");
    let kept = shop.kept();
    let by_id: BTreeMap<i64, &Asked> = asked.iter().map(|order| (order.id, order)).collect();
    let mut confirmed = BTreeSet::new();
    for request in &kept {
        let event = &request["event"];
        let order = by_id[&event["data"]["order_id"].as_i64().unwrap()];
        assert_eq!(request["id"], format!("{}-confirmed", order.id));
        assert_eq!((&event["type"], &event["data"]["currency"]), (&json!("order.confirmed"), &json!("USD")));
        assert_eq!(event["data"]["total"].as_f64().unwrap(), order.total as f64);
        assert!(confirmed.insert(order.id), "each once");
    }
    assert_eq!(confirmed, ids(&asked, |order| order.is_paid));
    println!("300 paid orders: {} requests, each verified by its receiver", kept.len());
}
