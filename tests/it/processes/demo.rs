//! `ecom_demo`, and `ecom_facts verify` after changes to its table.

use super::admin::get;
use super::program::TestDir;
use super::table::Table;

const VERIFY: [&str; 5] = ["--data-dir", "data/demo", "verify", "--manifest", "data/demo/manifest.json"];

#[tokio::test]
async fn the_demo_ends_verified_and_changed_deleted_and_invented_rows_are_found() {
    let dir = TestDir::new();
    let ended = dir.run("ecom_demo", &["--orders", "2000", "--format", "json"]).await.with(0);
    let shown = ended.json();
    assert_eq!(shown["clean"], true, "{shown}");
    assert_eq!(shown["verification"]["faults"], serde_json::json!({}), "{shown}");
    for stream in ["orders", "payments"] {
        let counts = &shown["verification"][stream];
        let count = |name: &str| counts[name].as_u64().unwrap();
        assert_eq!(
            count("published"),
            count("current") + count("superseded") + count("dead_letter_store"),
            "{stream}: {counts}"
        );
        assert!(
            count("superseded") > 0 && count("dead_letter_store") > 0 && count("duplicates") > 0,
            "{stream}: {counts}"
        );
    }
    dir.run("ecom_facts", &VERIFY).await.with(0);

    let table = Table::in_folder(&dir.path("data/demo")).await;
    let seen = "SELECT role FROM role_heartbeats WHERE newest_event_at IS NOT NULL ORDER BY role";
    let roles = table.rows(seen, |row| row.get::<_, String>(0));
    let all = ["dlq_handler", "order_consumer", "orders_producer", "payment_consumer", "payments_producer"];
    assert_eq!(roles, all, "each has a newest event time");
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
    let verified = dir.run("ecom_facts", &VERIFY).await.with(3);
    for order in [mixed, lost, invented] {
        assert!(verified.stdout.contains(&order.to_string()), "order {order}: {}", verified.stdout);
    }
    assert!(verified.stdout.contains("✗ "), "{}", verified.stdout);
    let as_json = [&VERIFY[..], &["--format", "json"]].concat();
    let found = dir.run("ecom_facts", &as_json).await.with(3).json();
    let faults = &found["faults"];
    assert_eq!((&faults["mixed"], &faults["invented"]), (&1.into(), &1.into()), "{found}");
    assert!(faults["lost"].as_u64() >= Some(2), "order and payment are gone: {found}");
}

#[tokio::test]
async fn the_demo_starts_afresh_and_leaves_other_stores_alone() {
    let dir = TestDir::new();
    for seed in ["1", "2"] {
        let ended = dir.run("ecom_demo", &["--orders", "50", "--seed", seed]).await.with(0);
        assert!(
            ended.stdout.contains(&format!("rows as seed {seed} says: 0 lost, 0 mixed")),
            "{}",
            ended.stdout
        );
        assert!(ended.stdout.contains("\nnext:\n"), "{}", ended.stdout);
    }
    dir.run("ecom_setup", &["--data-dir", "mine"]).await.with(0);
    let refused = dir.run("ecom_demo", &["--orders", "50", "--data-dir", "mine"]).await.with(2);
    assert!(refused.stderr.contains("holds a store that no demo made"), "{}", refused.stderr);
    assert_eq!(Table::in_folder(&dir.path("mine")).await.published(), 0, "the other store is untouched");
}

#[tokio::test]
async fn the_demo_prints_the_settings_it_runs_with() {
    let dir = TestDir::new();
    let printed = async |args: &[&str]| {
        dir.run("ecom_demo", &[args, &["--print-config"]].concat()).await.with(0).stdout
    };
    for (args, lines) in [
        (
            &["--orders", "70"][..],
            [
                "data_dir = \"data/demo\"  # from ecom_demo",
                "late_by = 70  # from ecom_demo",
                "order_grace = \"250ms\"  # from ecom_demo",
                "kind = \"embedded\"  # from ecom_demo",
            ],
        ),
        (
            &[
                "--data-dir",
                "here",
                "--late-by",
                "7",
                "--set",
                "consumer.order_grace=1s",
                "--set",
                "bus.kind=pubsub",
            ],
            [
                "data_dir = \"here\"  # from --data-dir",
                "late_by = 7  # from --late-by",
                "order_grace = \"1s\"  # from --set",
                "kind = \"embedded\"  # from ecom_demo",
            ],
        ),
    ] {
        let text = printed(args).await;
        for line in lines {
            assert!(text.lines().any(|printed| printed == line), "no line {line} in\n{text}");
        }
        assert_eq!(text.matches("kind = \"embedded\"").count(), 2, "{text}");
    }
    assert!(!dir.path("data").exists() && !dir.path("here").exists(), "printing touches nothing");
}

/// Runs a demo with late orders, and returns the number of payments dead-lettered as `order_not_found`.
async fn dead_lettered(dir: &TestDir, args: &[&str]) -> u64 {
    let common = ["--orders", "400", "--late-orders", "0.5", "--missing-orders", "0", "--invalid", "0"];
    let args = [&common[..], &["--summary", "summary.json", "--format", "json"], args].concat();
    assert_eq!(dir.run("ecom_demo", &args).await.with(0).json()["clean"], true);
    let summary = std::fs::read(dir.path("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    let roles: Vec<_> =
        summary.as_array().unwrap().iter().map(|role| role["role"].as_str().unwrap()).collect();
    let expected =
        ["orders_producer", "payments_producer", "order_consumer", "payment_consumer", "dlq_handler"];
    assert_eq!(roles, expected, "{summary}");
    assert!(summary[0]["published"].as_u64() >= Some(400), "{summary}");
    summary[3]["dead_lettered"]["order_not_found"].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn the_demo_buffers_payments_for_the_configured_grace_period_and_has_a_summary_of_each_role() {
    let dir = TestDir::new();
    let by_default = dead_lettered(&dir, &[]).await;
    assert!(by_default > 100, "late orders arrive after all payments: {by_default}");
    let patient = ["--late-by", "1", "--set", "consumer.order_grace=20s"];
    assert_eq!(dead_lettered(&dir, &patient).await, 0, "late orders arrive one position later");
}

#[tokio::test]
async fn the_demo_serves_the_metrics_of_every_role() {
    let dir = TestDir::new();
    let args = ["--orders", "500", "--set", "consumer.order_grace=10m", "--admin-listen", "127.0.0.1:0"];
    let mut demo = dir.start("ecom_demo", &args);
    let admin = demo.serves().await;
    let metrics = get(&admin, "/metrics").await;
    for role in ["orders_producer", "payments_producer", "order_consumer", "payment_consumer", "dlq_handler"]
    {
        let role = format!("role=\"{role}\"");
        assert!(metrics.contains(&role), "no {role} in {metrics}");
    }
    demo.signal("TERM");
    demo.ended().await.with(1);
}

#[tokio::test]
async fn the_demo_is_embedded_whatever_else_is_configured() {
    let dir = TestDir::new();
    let demo = dir.program("ecom_demo", &["--orders", "50", "--format", "json"]);
    let demo = demo.env("PUBSUB_EMULATOR_HOST", "localhost:1").env("GOOGLE_CLOUD_PROJECT", "shop");
    let shown = demo.env("K_SERVICE", "x").run().await.with(0).json();
    assert_eq!(shown["clean"], true, "{shown}");
}
