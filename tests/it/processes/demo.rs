//! `ecom_demo`, and what `ecom_facts` says once somebody tampers with its table.

use super::program::Site;
use super::table::Table;

const VERIFY: [&str; 5] = ["--data-dir", "data/demo", "verify", "--manifest", "data/demo/manifest.json"];

#[tokio::test]
async fn the_demo_ends_with_proof_and_tampering_is_found() {
    let site = Site::new();
    let ended = site.run("ecom_demo", &["--orders", "2000", "--format", "json"]).await.with(0);
    let shown = ended.json();
    assert_eq!(shown["clean"], true, "{shown}");
    assert_eq!(shown["verification"]["faults"], serde_json::json!({}), "{shown}");
    for stream in ["orders", "payments"] {
        let counts = &shown["verification"][stream];
        let count = |name: &str| counts[name].as_u64().unwrap();
        assert_eq!(
            count("published"),
            count("current") + count("superseded") + count("ledger"),
            "{stream}: {counts}"
        );
        assert!(
            count("superseded") > 0 && count("ledger") > 0 && count("duplicates") > 0,
            "{stream}: {counts}"
        );
    }
    site.run("ecom_facts", &VERIFY).await.with(0);

    let table = Table::in_folder(&site.path("data/demo")).await;
    let paid = |nth: i64| {
        let paid = "SELECT order_id FROM facts WHERE payment_id IS NOT NULL AND customer_id IS NOT NULL";
        table.number(&format!("{paid} ORDER BY order_id LIMIT 1 OFFSET {nth}"))
    };
    let (mixed, lost, invented) = (paid(0), paid(1), 999_999);
    table.execute(&format!(
        "UPDATE facts SET payment_method = 'Barter' WHERE order_id = {mixed};
         DELETE FROM facts WHERE order_id = {lost};
         INSERT INTO facts (order_id, customer_id, order_ts) VALUES ({invented}, 1, 1);"
    ));
    let told = site.run("ecom_facts", &VERIFY).await.with(3);
    for order in [mixed, lost, invented] {
        assert!(told.stdout.contains(&order.to_string()), "order {order}: {}", told.stdout);
    }
    assert!(told.stdout.contains("✗ "), "{}", told.stdout);
    let as_json = [&VERIFY[..], &["--format", "json"]].concat();
    let found = site.run("ecom_facts", &as_json).await.with(3).json();
    let faults = &found["faults"];
    assert_eq!((&faults["mixed"], &faults["invented"]), (&1.into(), &1.into()), "{found}");
    assert!(faults["lost"].as_u64() >= Some(2), "order and payment are gone: {found}");
}

#[tokio::test]
async fn the_demo_starts_afresh_and_leaves_other_stores_alone() {
    let site = Site::new();
    for seed in ["1", "2"] {
        let ended = site.run("ecom_demo", &["--orders", "50", "--seed", seed]).await.with(0);
        assert!(
            ended.stdout.contains(&format!("rows as seed {seed} says: 0 lost, 0 mixed")),
            "{}",
            ended.stdout
        );
        assert!(ended.stdout.contains("\nnext:\n"), "{}", ended.stdout);
    }
    site.run("ecom_setup", &["--data-dir", "mine"]).await.with(0);
    let refused = site.run("ecom_demo", &["--orders", "50", "--data-dir", "mine"]).await.with(2);
    assert!(refused.stderr.contains("holds a store that no demo made"), "{}", refused.stderr);
}

#[tokio::test]
async fn the_demo_is_embedded_whatever_else_is_configured() {
    let site = Site::new();
    let demo = site.program("ecom_demo", &["--orders", "50", "--format", "json"]);
    let demo = demo.env("PUBSUB_EMULATOR_HOST", "localhost:1").env("GOOGLE_CLOUD_PROJECT", "shop");
    let shown = demo.env("K_SERVICE", "x").run().await.with(0).json();
    assert_eq!(shown["clean"], true, "{shown}");
}
