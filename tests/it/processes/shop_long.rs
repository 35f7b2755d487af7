//! The shop under long loads on both backends: races for the last units, 1,000 users, the load test of the reference order
//! API, and schemathesis. `cargo xtask shop` installs the foreign programs, starts the services and runs these.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::program::{Running, TestDir};
use super::shop::{ApiProcess, Place, ROLES, nothing_is_lost_or_doubled};
use super::shop_race::{Race, run, sold_out};
use super::shop_replay::replay;
use crate::services::{keyspace, unique};

/// The load test of the reference order API.
const LOCUSTFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/processes/reference_locustfile.py");
/// The folder with the settings and hooks of schemathesis.
const SCHEMATHESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/shop-api");
/// A timeout that many statements of a busy node exceed, although they are applied.
const SHORT_TIMEOUT: [&str; 2] = ["--set", "store.cassandra.request_timeout=20ms"];

/// Returns a program of the Python environment of `cargo xtask shop`.
fn foreign(name: &str) -> Command {
    let folder = std::env::var_os("SHOP_PYTHON").expect("SHOP_PYTHON is not set: run `cargo xtask shop`");
    Command::new(PathBuf::from(folder).join("bin").join(name))
}

/// The shop on Cassandra, with an API that requires a key. The bus is the embedded one: the emulator delivers nothing for a
/// while after its clients are killed.
async fn on_cassandra(dir: &TestDir) -> Place {
    let shared = keyspace().await.expect("CASSANDRA_CONTACT_POINTS is not set: run `cargo xtask shop`");
    let keyspace = unique(&shared.keyspace).replace('-', "_");
    let config = format!(
        "[store]\nkind = \"cassandra\"\n[store.cassandra]\ncontact_points = {:?}\nkeyspace = \"{keyspace}\"\n\
         [connect]\ntimeout = \"60s\"\n[shop.api]\nrate = 100000\nburst = 100000\n",
        shared.contact_points
    );
    dir.write("cassandra.toml", config);
    let mut place = Place::embedded();
    place
        .flags
        .extend(["-c", "cassandra.toml", "--set", "shop.processor.success_rate=0.8"].map(str::to_owned));
    let flags: Vec<&str> = place.flags.iter().map(String::as_str).collect();
    dir.run("ecom_setup", &flags).await.with(0);
    let key = dir.run("api_service", &["key", "--role", "shop"]).await.with(0);
    dir.write("keys", key.stderr.lines().last().unwrap());
    place.api = ["--keys-file", "keys"].map(str::to_owned).into();
    place.key = Some(key.stdout.trim().to_owned());
    place
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask shop"]
async fn long_races_on_cassandra() {
    for round in 1..=3 {
        println!("Cassandra, round {round}");
        let dir = TestDir::new();
        let place = on_cassandra(&dir).await;
        let race = Race { processor: &SHORT_TIMEOUT, ..Race::of_one_product(30, 10, Duration::from_secs(3)) };
        let outcome = run(&dir, &place, &race).await;
        sold_out(&outcome);
        println!("{} processors had statements with unknown outcomes", outcome.with_outages);
        assert!(outcome.with_outages > 0, "no statement timed out");
    }
    let dir = TestDir::new();
    let place = on_cassandra(&dir).await;
    let race = Race { processor: &SHORT_TIMEOUT, ..Race::of_three_products(30, 10, Duration::from_secs(3)) };
    run(&dir, &place, &race).await;
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask shop"]
async fn long_load_of_1000_users_while_the_api_is_killed() {
    let dir = TestDir::new();
    nothing_is_lost_or_doubled(&dir, &Place::embedded(), 1_000, 5_000, 10).await;
    let dir = TestDir::new();
    let place = on_cassandra(&dir).await;
    nothing_is_lost_or_doubled(&dir, &place, 1_000, 5_000, 10).await;
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask shop"]
async fn long_replay_of_2000_orders() {
    replay(&TestDir::new(), &Place::embedded(), 2_000).await;
    let dir = TestDir::new();
    let place = on_cassandra(&dir).await;
    replay(&dir, &place, 2_000).await;
}

/// Starts every process of the shop.
async fn start_all(dir: &TestDir, place: &Place) -> (ApiProcess, Vec<Running>) {
    let api = ApiProcess::start(dir, place).await;
    (api, ROLES.map(|role| place.start(dir, role)).into())
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask shop"]
async fn long_load_test_of_the_reference_system() {
    for is_cassandra in [false, true] {
        let dir = TestDir::new();
        let place = if is_cassandra { on_cassandra(&dir).await } else { Place::embedded() };
        let (api, _roles) = start_all(&dir, &place).await;
        // It knows no keys; Locust sends the password of the URL.
        let credentials = place.key.as_ref().map(|key| format!("load:{key}@")).unwrap_or_default();
        let mut locust = foreign("locust");
        locust.args(["--headless", "-u", "1000", "-r", "10", "-t", "2m", "--only-summary", "-f", LOCUSTFILE]);
        locust.args(["--json", "--host", &format!("http://{credentials}{}", api.listen)]);
        let output = tokio::task::spawn_blocking(move || locust.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect(&said);
        for entry in summary.as_array().unwrap() {
            println!(
                "{}: {} {} {} requests, {} failures",
                if is_cassandra { "Cassandra" } else { "embedded" },
                entry["method"],
                entry["name"],
                entry["num_requests"],
                entry["num_failures"]
            );
            assert_eq!(entry["num_failures"], 0, "{said}");
            assert!(entry["num_requests"].as_u64().unwrap() > 1_000, "{summary}");
        }
        assert!(output.status.success(), "{said}");
        let found = place.verify(&dir).await;
        assert_eq!(found["faults"], json!({}), "{found}");
    }
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask shop"]
async fn long_schemathesis_on_every_operation() {
    for is_cassandra in [false, true] {
        let dir = TestDir::new();
        let place = if is_cassandra { on_cassandra(&dir).await } else { Place::embedded() };
        let (api, _roles) = start_all(&dir, &place).await;
        let mut schemathesis = foreign("schemathesis");
        schemathesis.args(["run", &format!("http://{}/openapi.json", api.listen), "--checks", "all"]);
        schemathesis.args(["--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure"]);
        schemathesis
            .args(place.key.iter().flat_map(|key| ["-H".to_owned(), format!("Authorization: Bearer {key}")]));
        schemathesis.current_dir(SCHEMATHESIS);
        let output = tokio::task::spawn_blocking(move || schemathesis.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        println!(
            "{}",
            said.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        );
        assert!(output.status.success(), "{said}");
    }
}
