//! `transaction_generator` as a process, on an API that is killed, and the proof from its manifest.

use std::time::Duration;

use ecom_shop_load::client::ApiClient;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::admin::get;
use super::program::{Program, Running, TestDir, eventually};
use super::shop::serve_api;

/// The API on the embedded default, at an address that it is started at again.
struct Served {
    process: Running,
    address: String,
}

impl Served {
    async fn start(dir: &TestDir, flags: &[&str]) -> Self {
        let (process, address) = serve_api(dir, "127.0.0.1:0", flags).await;
        Self { process, address }
    }

    /// Kills it as `kill -9` does, and starts it again.
    async fn kill_and_start(self, dir: &TestDir) -> Self {
        self.process.kill();
        let (process, address) = serve_api(dir, &self.address, &[]).await;
        Self { process, address }
    }

    fn generator(&self, dir: &TestDir, args: &[&str]) -> Program {
        let api = format!("http://{}", self.address);
        dir.program("transaction_generator", &[args, &["--api", &api]].concat())
    }

    async fn verify(&self, dir: &TestDir, code: i32) -> Value {
        let verify = ["verify", "--manifest", "m.jsonl", "--format", "json"];
        self.generator(dir, &verify).run().await.with(code).json()
    }

    /// The number of entries on all pages of a list.
    async fn listed(&self, list: &str) -> usize {
        let client = ApiClient::try_new(&format!("http://{}", self.address), None).unwrap();
        let (mut count, mut next) = (0, String::new());
        loop {
            let page = client.get(&format!("/api/v1/{list}?page_size=500{next}")).await.unwrap().body;
            count += page[list].as_array().unwrap().len();
            match page["next_page_token"].as_str() {
                Some(token) => next = format!("&page_token={token}"),
                None => return count,
            }
        }
    }
}

const MANY: [&str; 12] = [
    "--users",
    "50",
    "--think",
    "0..100ms",
    "--creates",
    "both",
    "--send-twice",
    "--cut",
    "0.05",
    "--manifest",
    "m.jsonl",
    "--format=json",
];

#[tokio::test]
async fn every_key_is_recorded_once_while_the_api_is_killed_again_and_again() {
    let dir = TestDir::new();
    let mut api = Served::start(&dir, &[]).await;
    let generator = api.generator(&dir, &[&MANY[..], &["--count", "1200"]].concat()).start();
    let mut dice = ChaCha8Rng::seed_from_u64(5);
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(dice.random_range(100..600))).await;
        api = api.kill_and_start(&dir).await;
    }
    let ended = generator.ended().await.with(0);
    let report = ended.json();
    assert_eq!((&report["requests"], &report["recorded"]), (&json!(1_200), &json!(1_200)), "{report}");
    assert!(report["repeated"].as_u64() > Some(0) && report["cut"].as_u64() > Some(20), "{report}");
    assert!(ended.stderr.contains("verify --manifest m.jsonl"), "{}", ended.stderr);
    let found = api.verify(&dir, 0).await;
    let proven = |kind: &str| found[kind]["proven"].as_u64().unwrap();
    assert_eq!(proven("orders") + proven("transactions"), 1_200, "{found}");
    let (orders, transactions) = (api.listed("orders").await, api.listed("transactions").await);
    assert!(orders > 400 && transactions > 400, "{orders} orders, {transactions} transactions");
    assert_eq!(orders + transactions, 1_200, "as many records as keys");
}

#[tokio::test]
async fn a_manifest_of_generators_that_were_killed_is_proven() {
    let dir = TestDir::new();
    let api = Served::start(&dir, &[]).await;
    for _ in 0..3 {
        let generator = api.generator(&dir, &MANY).start();
        let size = || std::fs::metadata(dir.path("m.jsonl")).map_or(0, |file| file.len());
        let begins_at = size();
        eventually("it has sent", async || (size() > begins_at + 50_000).then_some(())).await;
        generator.kill();
    }
    let found = api.verify(&dir, 0).await;
    let of_both = |count: &str| {
        ["orders", "transactions"].iter().map(|kind| found[kind][count].as_u64().unwrap()).sum::<u64>()
    };
    assert!(of_both("proven") > 100 && of_both("proven") == of_both("answered"), "{found}");
    let listed = api.listed("orders").await + api.listed("transactions").await;
    assert_eq!(of_both("proven") + of_both("unanswered_recorded"), listed as u64, "{found}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_manifest_of_requests_that_were_not_sent_or_not_answered_is_proven() {
    let dir = TestDir::new();
    let Served { process, address } = Served::start(&dir, &[]).await;
    let api = format!("http://{address}");
    let asked_and_killed = async |expected: usize| {
        let generator = dir.start("transaction_generator", &[&MANY[..], &["--api", &api]].concat());
        eventually("every user has asked", async || {
            let text = std::fs::read_to_string(dir.path("m.jsonl")).unwrap_or_default();
            (text.matches("\"asked\"").count() == expected).then_some(())
        })
        .await;
        generator.kill();
    };
    // A frozen API takes connections and does not answer.
    process.signal("STOP");
    asked_and_killed(50).await;
    process.signal("CONT");
    // One that is down takes none.
    process.kill();
    asked_and_killed(100).await;
    // Killed within a line.
    let mut text = std::fs::read(dir.path("m.jsonl")).unwrap();
    text.extend(br#"{"n":51,"asked":{"key":"#);
    dir.write("m.jsonl", text);
    let (process, address) = serve_api(&dir, &address, &[]).await;
    let api = Served { process, address };
    let of_both = |found: &Value, count: &str| {
        ["orders", "transactions"].iter().map(|kind| found[kind][count].as_u64().unwrap()).sum::<u64>()
    };
    let found = api.verify(&dir, 0).await;
    assert_eq!((of_both(&found, "keys"), of_both(&found, "unanswered")), (100, 100), "{found}");
    let listed = api.listed("orders").await + api.listed("transactions").await;
    assert_eq!(of_both(&found, "unanswered_recorded"), listed as u64, "{found}");
    // The next run begins on a line of its own.
    api.generator(&dir, &[&MANY[..], &["--count", "60"]].concat()).run().await.with(0);
    let found = api.verify(&dir, 0).await;
    assert_eq!((of_both(&found, "proven"), &found["incomplete_lines"]), (60, &json!(1)), "{found}");
    let said = api.generator(&dir, &["verify", "--manifest", "m.jsonl"]).run().await.with(0).stdout;
    assert!(said.contains("1 line not written to the end: its process was killed"), "{said}");
    assert!(said.contains("100 requests had no answer"), "{said}");
}

#[tokio::test]
async fn a_manifest_that_was_tampered_with_is_said_to_differ() {
    let dir = TestDir::new();
    let api = Served::start(&dir, &[]).await;
    let send = ["--interval", "1ms", "--count", "20", "--manifest", "m.jsonl"];
    api.generator(&dir, &send).run().await.with(0);
    let text = std::fs::read_to_string(dir.path("m.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let first_answer = lines.iter().position(|line| line.contains("\"answered\"")).unwrap();
    let answered: Value = serde_json::from_str(lines[first_answer]).unwrap();
    let (key, id) = (answered["answered"]["key"].as_str().unwrap(), answered["answered"]["id"].to_string());
    let changed = text.replace(&format!("\"id\":{id}"), "\"id\":7000000000000001");
    let removed = text.replace(&format!("{}\n", lines[first_answer]), "");
    let of_key = text.lines().filter(|line| line.contains(&format!("\"{key}\""))).collect::<Vec<_>>();
    let unasked = of_key.iter().fold(text.clone(), |text, line| text.replace(&format!("{line}\n"), ""));
    for (text, expected) in [
        (changed, format!("{key}: answered as 7000000000000001, recorded as {id}")),
        (removed, format!("line {} of m.jsonl has the number", first_answer + 1)),
        (unasked, format!("{key}: transaction {id} is recorded, and no line asks for it")),
    ] {
        dir.write("m.jsonl", text);
        let ended = api.generator(&dir, &["verify", "--manifest", "m.jsonl"]).run().await.with(3);
        assert!(ended.stdout.contains(&format!("✗ {expected}")), "{expected}\n{}", ended.stdout);
        assert!(api.verify(&dir, 3).await["faults"].to_string().contains(&expected));
    }
    dir.write("m.jsonl", &text);
    let ended = api.generator(&dir, &["verify", "--manifest", "m.jsonl"]).run().await.with(0);
    assert!(
        ended.stdout.contains("✓ 20 answered requests are recorded once each, as asked"),
        "{}",
        ended.stdout
    );
    // Another API, without the records.
    let other = TestDir::new();
    other.write("m.jsonl", &text);
    let found = Served::start(&other, &[]).await.verify(&other, 3).await;
    assert_eq!(found["transactions"]["lost"], 20, "{found}");
}

#[tokio::test]
async fn the_interval_comes_from_the_environment_and_is_kept_until_a_signal() {
    let dir = TestDir::new();
    let api = Served::start(&dir, &[]).await;
    let tenth = |args: &[&str]| api.generator(&dir, args).env("TRANSACTION_INTERVAL", "0.1");
    let report = tenth(&["--duration", "3s", "--format", "json"]).run().await.with(0).json();
    let requests = report["requests"].as_u64().unwrap();
    assert!((26..=31).contains(&requests), "{report}");
    assert_eq!((report["recorded"].as_u64(), &report["measured_from"]), (Some(requests), &json!("schedule")));
    // A flag is stronger than the environment, and a signal ends it.
    let generator = tenth(&["--interval", "10ms"]).start();
    eventually("it has sent", async || (api.listed("transactions").await > 60).then_some(())).await;
    let ended = generator.drained().await.with(0);
    assert!(ended.stderr.contains("transaction_generator: ") && ended.stdout.is_empty(), "{}", ended.stderr);
    let invalid = tenth(&[]).env("TRANSACTION_INTERVAL", "often").run().await.with(2);
    assert!(
        invalid.stderr.contains("often") && invalid.stderr.contains("TRANSACTION_INTERVAL"),
        "{}",
        invalid.stderr
    );
}

#[tokio::test]
async fn missed_thresholds_and_an_api_that_refuses_are_exit_code_3() {
    let dir = TestDir::new();
    let api = Served::start(&dir, &[]).await;
    let few = ["--users", "2", "--think", "0", "--count", "10"];
    let slow = api.generator(&dir, &[&few[..], &["--max-p99", "1us"]].concat()).run().await.with(3);
    assert!(slow.error().contains("above --max-p99 1us"), "{}", slow.stderr);
    api.generator(&dir, &[&few[..], &["--max-p99", "100s"]].concat()).run().await.with(0);
    drop(api);
    let key = dir.run("api_service", &["key", "--role", "shop"]).await.with(0);
    dir.write("keys", format!("{}\n", key.stderr.lines().last().unwrap()));
    dir.write("key", key.stdout);
    let api = Served::start(&dir, &["--keys-file", "keys"]).await;
    let refused = api.generator(&dir, &few).run().await.with(3);
    assert!(refused.error().contains("10 failures, more than --max-failures 0"), "{}", refused.stderr);
    assert!(refused.stderr.contains("401"), "{}", refused.stderr);
    api.generator(&dir, &[&few[..], &["--max-failures", "10"]].concat()).run().await.with(0);
    let checked = api.generator(&dir, &["--check"]).run().await.with(3);
    assert!(checked.stdout.contains("401"), "{}", checked.stdout);
    for args in [&["--check", "--key-file", "key"][..], &[&few[..], &["--key-file", "key"]].concat()] {
        api.generator(&dir, args).run().await.with(0);
    }
    for (file, said) in
        [("none", "could not read the key file none"), ("keys", "does not have one API key alone")]
    {
        let refused = dir.run("transaction_generator", &["--key-file", file]).await.with(2);
        assert!(refused.error().contains(said), "{}", refused.stderr);
    }
    drop(api);
    // Without an API: it tries for as long as it may.
    let silent = [&few[..], &["--duration", "1s", "--set", "shutdown.grace_period=1s"]].concat();
    let silent =
        dir.run("transaction_generator", &[&silent[..], &["--api", "http://127.0.0.1:1"]].concat()).await;
    let silent = silent.with(3);
    assert!(silent.error().contains("2 failures"), "{}", silent.stderr);
    for said in
        ["WARN no answer to POST /api/v1/transactions: ", "2 requests had no answer; last attempt: no answer"]
    {
        assert!(silent.stderr.contains(said), "{said}\n{}", silent.stderr);
    }
    let checked = dir.run("transaction_generator", &["--check", "--api", "http://127.0.0.1:1"]).await.with(3);
    assert!(
        checked.stdout.contains("start api_service, or name its address with --api"),
        "{}",
        checked.stdout
    );
}

#[tokio::test]
async fn the_admin_port_serves_the_counts_of_the_load() {
    let dir = TestDir::new();
    let api = Served::start(&dir, &[]).await;
    let args = ["--interval", "10ms", "--admin-listen", "127.0.0.1:0", "--summary", "s.json"];
    let mut generator = api.generator(&dir, &args).start();
    let address = generator.serves().await;
    let value = |metrics: &str, series: &str| -> f64 {
        let mut values = metrics.lines().filter_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        values.next().unwrap_or(f64::NAN)
    };
    let metrics = eventually("requests are counted", async || {
        let metrics = get(&address, "/metrics").await;
        (value(&metrics, "ecom_load_requests_total{outcome=\"recorded\"}") >= 2.0).then_some(metrics)
    })
    .await;
    for series in ["ecom_load_http_requests_total", "ecom_load_latency_seconds{quantile=\"0.99\"}"] {
        assert!(value(&metrics, series) > 0.0, "{series}\n{metrics}");
    }
    for series in [
        "ecom_load_requests_total{outcome=\"failed\"} 0",
        "ecom_load_requests_total{outcome=\"unanswered\"} 0",
        "ecom_load_repetitions_total 0",
        "ecom_build_info{",
    ] {
        assert!(metrics.contains(series), "{series}\n{metrics}");
    }
    assert!(get(&address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    generator.drained().await.with(0);
    let summary: Value = serde_json::from_slice(&std::fs::read(dir.path("s.json")).unwrap()).unwrap();
    assert!(summary["recorded"].as_u64() >= Some(2), "{summary}");
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_sent_that_a_full_disk_keeps_out_of_the_manifest() {
    let dir = TestDir::new();
    let api = Served::start(&dir, &[]).await;
    let args = ["--interval", "1ms", "--manifest", "m.jsonl"];
    let full = api.generator(&dir, &args).with_file_limit(8).run().await.with(1);
    assert!(full.error().contains("could not write the manifest m.jsonl"), "{}", full.stderr);
    let found = api.verify(&dir, 0).await;
    assert!(found["transactions"]["keys"].as_u64() > Some(10), "{found}");
    assert_eq!(found["incomplete_lines"], 1, "{found}");
}
