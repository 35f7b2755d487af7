//! Refused starts, and commands that only read.

use crate::processes::program::TestDir;
#[cfg(feature = "embedded")]
use crate::processes::table::Table;

/// Returns a closed port of this host.
#[cfg(all(feature = "pubsub", feature = "cassandra"))]
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn commands_that_only_read_never_create_a_data_folder() {
    use ecom_scenario::{EventSource, Manifest, Mixture, ScenarioPlan, Streams};
    let dir = TestDir::new();
    let plan = ScenarioPlan::try_new(1, 1..=3, Mixture::PLAIN).unwrap();
    let manifest = Manifest::new(Streams::Both, EventSource::Scenario(plan), "run".into(), 1);
    manifest.write(&dir.path("manifest.json")).unwrap();
    let cases: [(&'static str, &[&str]); 9] = [
        ("dlq_handler", &["triage"]),
        ("dlq_handler", &["list"]),
        ("dlq_handler", &["show", "20260131-07-0123456789abcdef0123456789abcdef"]),
        ("dlq_handler", &["explain", "1"]),
        ("dlq_handler", &["report"]),
        ("dlq_handler", &["history"]),
        ("ecom_facts", &["show", "1"]),
        ("ecom_facts", &["verify", "--manifest", "manifest.json", "--wait", "1s"]),
        ("ecom_facts", &["export", "--out", "facts.csv"]),
    ];
    for (name, args) in cases {
        let ended = dir.run(name, args).await.with(1);
        assert!(ended.stderr.contains("error: there is no "), "{}", ended.stderr);
        assert!(ended.stderr.contains("data/ecom_store.db"), "{}", ended.stderr);
        assert!(ended.stderr.contains("hint: "), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        assert!(!dir.path("data").exists(), "{name} {args:?} created the folder");
    }
    for name in ["order_consumer", "orders_producer", "dlq_handler", "ecom_setup"] {
        let ended = dir.run(name, &["--check"]).await.with(3);
        assert!(ended.stdout.contains("✗ ") && ended.stdout.contains("fix: ecom_setup"), "{}", ended.stdout);
        assert!(!dir.path("data").exists(), "{name} --check created the folder");
    }
    dir.run("ecom_setup", &[]).await.with(0);
    let ended = dir.run("order_consumer", &["--check"]).await.with(0);
    assert!(ended.stdout.starts_with("✓ embedded at "), "{}", ended.stdout);
    let ended = dir.run("ecom_facts", &["show", "1"]).await.with(3);
    assert!(ended.stderr.contains("error: no row for order 1 in embedded at "), "{}", ended.stderr);
    assert_eq!(ended.stdout, "", "an error is not data");
}

#[cfg(all(feature = "pubsub", feature = "cassandra"))]
#[tokio::test]
async fn a_bus_that_is_down_is_named_with_a_hint() {
    let dir = TestDir::new();
    let host = format!("127.0.0.1:{}", closed_port());
    dir.write(
        "down.toml",
        format!(
            "[bus]\nkind = \"pubsub\"\n[bus.pubsub]\nproject = \"shop\"\nemulator_host = \"{host}\"\n\
             [store]\nkind = \"cassandra\"\n"
        ),
    );
    for name in ["orders_producer", "order_consumer", "payment_consumer", "dlq_handler", "ecom_setup"] {
        let ended = dir.run(name, &["-c", "down.toml", "--connect-timeout", "1s"]).await.with(1);
        let error = ended.error();
        assert!(error.contains(&host), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains("\nhint: start an emulator there: "), "{name}: {}", ended.stderr);
    }
    assert!(!dir.path("data").exists(), "a bus that is down is never replaced by a folder");
}

#[cfg(all(feature = "pubsub", feature = "cassandra"))]
#[tokio::test]
async fn a_store_that_is_down_is_named_with_a_hint() {
    let dir = TestDir::new();
    let host = format!("127.0.0.1:{}", closed_port());
    let contact_points = format!("contact_points = [\"{host}\"]");
    dir.write("down.toml", format!("[store]\nkind = \"cassandra\"\n[store.cassandra]\n{contact_points}\n"));
    let cases: [(&'static str, &[&str]); 3] =
        [("dlq_handler", &["report"]), ("ecom_facts", &["show", "1"]), ("order_consumer", &[])];
    for (name, args) in cases {
        let args = [args, &["-c", "down.toml", "--connect-timeout", "1s"]].concat();
        let ended = dir.run(name, &args).await.with(1);
        let error = ended.error();
        assert!(error.contains(&host), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains("\nhint: start Cassandra: "), "{name}: {}", ended.stderr);
    }
}

#[cfg(all(feature = "pubsub", feature = "cassandra"))]
#[tokio::test]
async fn a_start_that_waits_for_its_store_names_it_and_can_be_stopped() {
    let dir = TestDir::new();
    let host = format!("127.0.0.1:{}", closed_port());
    let store = ["--set", "store.kind=cassandra", "--set", &format!("store.cassandra.contact_points={host}")];
    let mut waiting =
        dir.start("dlq_handler", &[&store[..], &["--connect-timeout", "10m", "report"]].concat());
    let line = waiting.says("trying for 10m").await;
    assert!(line.contains(&host), "{line}");
    let ended = waiting.drained().await.with(1);
    assert!(ended.stderr.contains("error: stopped before bus and store were reached"), "{}", ended.stderr);
}

/// Creates the subscription of this name on another topic, so that its own topic has none.
#[cfg(feature = "embedded")]
async fn without_subscription(dir: &TestDir, subscription: &str) {
    use ecom_embedded::{Options, Route, open};
    let elsewhere = vec![Route::new("elsewhere", subscription)];
    open(&dir.path("data"), Options::new(elsewhere)).unwrap().close().await;
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn consumers_refuse_to_start_without_a_subscription_on_the_dead_letter_topic() {
    let dir = TestDir::new();
    without_subscription(&dir, "dlq_payments_data-sub").await;
    for name in ["payment_consumer", "order_consumer"] {
        let ended = dir.run(name, &["--exit-on-idle", "30s"]).await.with(1);
        let lost = "error: topic dlq_payments_data on embedded at ";
        assert!(ended.stderr.contains(lost), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains("has no subscription: what is published there is lost"));
        assert!(ended.stderr.contains("\nhint: create it: ecom_setup"), "{name}: {}", ended.stderr);
    }
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn producers_refuse_a_topic_without_a_subscription() {
    for (name, topic) in [("orders_producer", "orders_data"), ("payments_producer", "payments_data")] {
        let dir = TestDir::new();
        without_subscription(&dir, &format!("{topic}-sub")).await;
        let args = ["--order-ids", "1-3", "--manifest", "manifest.json"];
        let ended = dir.run(name, &args).await.with(1);
        assert!(ended.stderr.contains(&format!("error: topic {topic} on embedded at ")), "{}", ended.stderr);
        assert!(ended.stderr.contains("\nhint: create it: ecom_setup"), "{}", ended.stderr);
        assert!(!dir.path("manifest.json").exists(), "refused before the manifest is written");
    }
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn a_manifest_of_an_unbounded_run_is_refused_before_anything_is_published() {
    let dir = TestDir::new();
    let endless = ["--loop", "--manifest", "manifest.json"];
    let ended = dir.run("orders_producer", &endless).await.with(2);
    assert!(ended.stderr.contains("hint: add --count N"), "{}", ended.stderr);
    let piped = ["--from", "-", "--manifest", "manifest.json"];
    let ended = dir.run("orders_producer", &piped).await.with(2);
    assert!(ended.stderr.contains("hint: put the lines into a file"), "{}", ended.stderr);
    let absent = ["--from", "no-such-file"];
    let ended = dir.run("orders_producer", &absent).await.with(2);
    assert!(ended.stderr.contains("could not read no-such-file"), "{}", ended.stderr);
    assert!(!dir.path("manifest.json").exists());
    assert_eq!(Table::of(&dir).await.published(), 0);
}

#[cfg(all(feature = "shop", feature = "embedded"))]
#[tokio::test]
async fn a_check_of_the_shop_finds_faults_of_its_settings_and_creates_nothing() {
    let dir = TestDir::new();
    let webhook = &["--check", "--channel", "webhook"][..];
    for (name, args, fault) in [
        ("notifier", webhook, "shop.notifier.webhook.url is required"),
        ("api_service", &["--check", "--listen", "0.0.0.0:0"], "shop.api.keys_file is not set"),
    ] {
        let ended = dir.run(name, args).await.with(2);
        assert!(ended.error().contains(fault), "{}", ended.stderr);
    }
    for name in ["api_service", "payment_processor", "notifier"] {
        dir.run(name, &["--check"]).await.with(3);
        assert!(!dir.path("data").exists(), "{name} --check created the folder");
    }
}
