//! Loading as a whole: layers, origins, and all faults at once.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::IgnoredAny;
use toml::{Table, Value};

use super::*;

/// Every section; those of adapters untyped.
pub(super) type TestConfig = Config<Table, Table, Table, Table>;

impl Section for Table {}

/// A config file that lives as long as the test.
pub(super) struct Written {
    folder: tempfile::TempDir,
}

impl Written {
    pub(super) fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.toml"), text).unwrap();
        Self { folder }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("x.toml")
    }
}

pub(super) fn env(pairs: &[(&str, &str)]) -> Vec<(String, OsString)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect()
}

pub(super) fn sets(texts: &[&str]) -> Vec<Set> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Loads one file's text; its path is shown as `x.toml` in faults.
pub(super) fn load_text(text: &str) -> Result<Loaded<TestConfig>, String> {
    let written = Written::new(text);
    let sources = Sources { files: vec![written.path()], ..Sources::default() };
    load(&sources)
        .map_err(|faults| faults.to_string().replace(&written.path().display().to_string(), "x.toml"))
}

pub(super) fn load_env(pairs: &[(&str, &str)]) -> Result<Loaded<TestConfig>, String> {
    load(&Sources { env: env(pairs), ..Sources::default() }).map_err(|faults| faults.to_string())
}

pub(super) fn load_sets(texts: &[&str]) -> Result<Loaded<TestConfig>, String> {
    load(&Sources { sets: sets(texts), ..Sources::default() }).map_err(|faults| faults.to_string())
}

fn shown_origin(loaded: &Loaded<TestConfig>, key: &str) -> String {
    loaded.origin(key).unwrap().to_string()
}

#[test]
fn the_defaults_are_sound_and_embedded() {
    let config: TestConfig = load(&Sources::default()).unwrap().config;
    assert_eq!(config.bus.kind, BusKind::Embedded);
    assert_eq!(config.store.kind, StoreKind::Embedded);
    assert_eq!(config.embedded["data_dir"], Value::from("data"));
    assert_eq!(config.bus.topics.orders, "orders_data");
    assert_eq!(config.bus.subscriptions.dead_letters, "dlq_payments_data-sub");
    assert_eq!(config.consumer.order_grace, Some(Duration::from_secs(2)));
    assert_eq!(config.consumer.early_payment_bytes, 64 << 20);
    assert_eq!(config.dead_letters.retention, Duration::from_hours(90 * 24));
    assert_eq!(config.admin.listen, None);
}

#[test]
fn every_key_of_the_defaults_has_one_comment_line() {
    let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
    for (index, line) in
        lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#'))
    {
        assert!(lines[index - 1].starts_with("# "), "no comment above: {line}");
        assert!(!lines[index - 2].starts_with('#'), "more than one comment line above: {line}");
    }
}

#[test]
fn later_layers_win_and_say_who_they_are() {
    let first = Written::new(
        "[consumer]\nstreams = 5\nmax_in_flight = 50\nearly_payment_limit = 500\norder_grace = \"5s\"",
    );
    let second =
        Written::new("[consumer]\nmax_in_flight = 60\nearly_payment_limit = 600\norder_grace = \"6s\"");
    let sources = Sources {
        files: vec![first.path(), second.path()],
        env: env(&[("ECOM__CONSUMER__EARLY_PAYMENT_LIMIT", "700"), ("ECOM__CONSUMER__ORDER_GRACE", "7s")]),
        sets: vec![Set::flag("--order-grace", "consumer.order_grace", "8s")],
    };
    let loaded: Loaded<TestConfig> = load(&sources).unwrap();
    let consumer = &loaded.config.consumer;
    assert_eq!((consumer.streams, consumer.max_in_flight, consumer.early_payment_limit), (Some(5), 60, 700));
    assert_eq!(consumer.order_grace, Some(Duration::from_secs(8)));
    assert_eq!(shown_origin(&loaded, "consumer.early_payment_bytes"), "default");
    assert_eq!(shown_origin(&loaded, "consumer.streams"), first.path().display().to_string());
    assert_eq!(shown_origin(&loaded, "consumer.max_in_flight"), second.path().display().to_string());
    assert_eq!(
        shown_origin(&loaded, "consumer.early_payment_limit"),
        "environment ECOM__CONSUMER__EARLY_PAYMENT_LIMIT"
    );
    assert_eq!(shown_origin(&loaded, "consumer.order_grace"), "--order-grace");
}

#[test]
fn the_variable_names_files_below_those_of_the_flag() {
    let named = Written::new("[consumer]\nstreams = 5\nmax_in_flight = 50");
    let passed = Written::new("[consumer]\nmax_in_flight = 60");
    let sources = Sources {
        files: vec![passed.path()],
        env: env(&[("ECOM_CONFIG", named.path().to_str().unwrap())]),
        sets: vec![],
    };
    let consumer = load::<TestConfig>(&sources).unwrap().config.consumer;
    assert_eq!((consumer.streams, consumer.max_in_flight), (Some(5), 60));
}

#[test]
fn variables_of_other_tools_lie_between_files_and_our_own() {
    let file =
        Written::new("[bus]\nkind = \"pubsub\"\npubsub.project = \"from-file\"\n[log]\nfilter = \"warn\"");
    let theirs = [
        ("PUBSUB_EMULATOR_HOST", "localhost:8085"),
        ("GOOGLE_CLOUD_PROJECT", "from-theirs"),
        ("RUST_LOG", "debug"),
        ("NO_COLOR", "1"),
    ];
    let ours = [("ECOM__BUS__PUBSUB__PROJECT", "from-ours"), ("ECOM__LOG__FILTER", "error")];
    let with = |pairs: &[(&str, &str)]| {
        load::<TestConfig>(&Sources { files: vec![file.path()], env: env(pairs), sets: vec![] }).unwrap()
    };

    let below = with(&theirs);
    assert_eq!(below.config.bus.pubsub["project"], Value::from("from-theirs"));
    assert_eq!(below.config.bus.pubsub["emulator_host"], Value::from("localhost:8085"));
    assert_eq!(below.config.log.filter, "debug");
    assert_eq!(below.config.log.color, Color::Never);
    assert_eq!(shown_origin(&below, "bus.pubsub.project"), "environment GOOGLE_CLOUD_PROJECT");

    let above = with(&[ours, [theirs[1], theirs[2]]].concat());
    assert_eq!(above.config.bus.pubsub["project"], Value::from("from-ours"));
    assert_eq!(above.config.log.filter, "error");

    let empty = with(&[("PUBSUB_EMULATOR_HOST", ""), ("NO_COLOR", "")]);
    assert_eq!(empty.config.bus.pubsub["emulator_host"], Value::from(""));
    assert_eq!(empty.config.log.color, Color::Auto);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_key() {
    let faults = load_text("[store.cassandra]\nkeyspace = \"k\"\ncontact_point = [\"h:1\"]\n").unwrap_err();
    assert_eq!(
        faults,
        "x.toml:3: unknown key store.cassandra.contact_point, did you mean store.cassandra.contact_points?"
    );
    let faults = load_env(&[("ECOM__STORE__CASSANDRA__CONTACT_POINT", "h:1")]).unwrap_err();
    assert!(faults.ends_with(
        "unknown key store.cassandra.contact_point, did you mean ECOM__STORE__CASSANDRA__CONTACT_POINTS?"
    ));
    let faults = load_sets(&["consumer.steams=4"]).unwrap_err();
    assert_eq!(faults, "--set: unknown key consumer.steams, did you mean consumer.streams?");
    let faults = load_text("bus = \"pubsub\"").unwrap_err();
    assert_eq!(faults, "x.toml:1: bus is a section, not a key, did you mean bus.kind?");
    let faults = load_text("[stores]\n").unwrap_err();
    assert!(faults.starts_with("x.toml:1: unknown key stores"), "{faults}");
}

#[test]
fn a_variable_with_too_few_underscores_is_not_ignored() {
    let faults = load_env(&[("ECOM_CONSUMER__STREAMS", "4")]).unwrap_err();
    assert_eq!(faults, "ECOM_CONSUMER__STREAMS: sets nothing, did you mean ECOM__CONSUMER__STREAMS?");
    let others = load_env(&[("ECOM_SERVICE_HOST", "10.0.0.1"), ("ECOM_HOME", "x")]).unwrap();
    assert_eq!(others.warnings, Vec::<String>::new());
    let warned = load_env(&[("ECOM_CONSUMER_STREAMS", "4")]).unwrap().warnings;
    assert_eq!(warned, ["ECOM_CONSUMER_STREAMS sets nothing, did you mean ECOM__CONSUMER__STREAMS?"]);
}

#[test]
fn all_faults_are_listed_at_once() {
    let file =
        Written::new("[bus]\nkind = \"kafka\"\n[consumer]\nmax_in_flight = 0\nstreams = \"4\"\nnonsense = 1");
    let sources = Sources {
        files: vec![file.path()],
        env: env(&[("ECOM__PRODUCER__SEED", "many"), ("ECOM__PRODUCER__LATE_ORDERS", "1.5")]),
        sets: sets(&["dead_letters.first_retry=1h", "shutdown.grace_period=0s", "log.color=red"]),
    };
    let faults = load::<TestConfig>(&sources).unwrap_err();
    let mut lines: Vec<String> = faults
        .0
        .iter()
        .map(|fault| fault.to_string().replace(&file.path().display().to_string(), "x.toml"))
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "--set: dead_letters.first_retry must not exceed dead_letters.max_backoff, is 1h above 10m",
            "--set: log.color must be \"auto\", \"always\" or \"never\", is \"red\"",
            "--set: shutdown.grace_period must be 1ms to 1h, is \"0s\"",
            "ECOM__PRODUCER__LATE_ORDERS: producer.late_orders must be 0.0 to 1.0, is 1.5",
            "ECOM__PRODUCER__SEED: producer.seed expects a whole number, is \"many\"",
            "x.toml:2: bus.kind must be \"embedded\" or \"pubsub\", is \"kafka\"",
            "x.toml:4: consumer.max_in_flight must be 1 to 65536, is 0",
            "x.toml:5: consumer.streams expects a whole number, is text",
            "x.toml:6: unknown key consumer.nonsense, the keys of consumer are streams, max_in_flight, order_grace, early_payment_limit, early_payment_bytes",
        ]
    );
    assert_eq!(faults.to_string().lines().count(), lines.len());
}

#[test]
fn files_that_are_missing_or_not_toml_are_faults_with_their_path() {
    let broken = Written::new("[bus]\nkind = \n");
    let sources = Sources { files: vec!["no/such.toml".into(), broken.path()], ..Sources::default() };
    let faults = load::<TestConfig>(&sources).unwrap_err();
    assert_eq!(faults.0.len(), 2, "{faults}");
    assert!(faults.0[0].to_string().starts_with("could not read config file no/such.toml: "), "{faults}");
    assert_eq!(faults.0[1].place, Some(format!("{}:2", broken.path().display())));
}

#[test]
fn a_key_that_could_not_be_set_is_not_called_missing() {
    let faults = load_text("[bus]\nkind = \"pubsub\"\npubsub.project = 123").unwrap_err();
    assert_eq!(faults, "x.toml:3: bus.pubsub.project expects text, is a whole number");
}

#[test]
fn text_from_the_environment_stays_text() {
    let loaded =
        load_env(&[("ECOM__BUS__PUBSUB__PROJECT", "123"), ("ECOM__STORE__CASSANDRA__USER", "true")]).unwrap();
    assert_eq!(loaded.config.bus.pubsub["project"], Value::from("123"));
    assert!(loaded.print().contains("project = \"123\"  # from environment ECOM__BUS__PUBSUB__PROJECT\n"));
    assert!(loaded.print().contains("user = \"true\""));
}

#[test]
fn durations_have_units_and_bounds_and_zero_is_off() {
    let loaded =
        load_sets(&["consumer.order_grace=0s", "dead_letters.first_retry=1m 30s", "connect.timeout=1500ms"])
            .unwrap();
    assert_eq!(loaded.config.consumer.order_grace, None);
    assert_eq!(loaded.config.dead_letters.first_retry, Duration::from_secs(90));
    assert_eq!(loaded.config.connect.timeout, Duration::from_millis(1500));
    for (set, why) in [
        ("dead_letters.retention=0s", "must be 1s to 3660d, is \"0s\""),
        ("dead_letters.max_age=367d", "must be 1ms to 366d"),
        ("consumer.order_grace=31m", "must be 1ms to 30m, or \"0s\" for off, is \"31m\""),
        ("connect.timeout=5", "must be a duration such as \"30s\", is \"5\""),
        ("connect.timeout=soon", "must be a duration"),
    ] {
        let faults = load_sets(&[set]).unwrap_err();
        assert!(faults.contains(why), "{faults}");
    }
    let faults = load_text("[connect]\ntimeout = 30").unwrap_err();
    assert_eq!(faults, "x.toml:2: connect.timeout expects text such as \"30s\", is a whole number");
}

#[test]
fn early_payment_bytes_take_a_size_or_a_number() {
    for text in ["[consumer]\nearly_payment_bytes = 1048576", "[consumer]\nearly_payment_bytes = \"1MiB\""] {
        assert_eq!(load_text(text).unwrap().config.consumer.early_payment_bytes, 1 << 20);
    }
    assert_eq!(
        load_sets(&["consumer.early_payment_bytes=1048576"]).unwrap().config.consumer.early_payment_bytes,
        1 << 20
    );
}

#[test]
fn a_rule_over_several_keys_is_not_applied_to_a_value_that_was_not_meant() {
    let faults =
        load_sets(&["dead_letters.first_retry=20m", "dead_letters.max_backoff=1 fortnight"]).unwrap_err();
    assert!(faults.starts_with("--set: dead_letters.max_backoff must be a duration"), "{faults}");
    assert_eq!(faults.lines().count(), 1, "{faults}");
}

#[test]
fn without_an_adapter_its_keys_are_known_and_its_values_are_not_read() {
    type Bare = Config<IgnoredAny, IgnoredAny, IgnoredAny, IgnoredAny>;
    let with = |texts: &[&str]| load::<Bare>(&Sources { sets: sets(texts), ..Sources::default() });
    let loaded = with(&["store.cassandra.keyspace=Any Thing", "embedded.ack_deadline=soon"]).unwrap();
    assert!(loaded.print().contains("keyspace = \"Any Thing\"  # from --set\n"));
    let faults = with(&["bus.pubsub.projekt=p", "store.cassandra.password=hunter2"]).unwrap_err().to_string();
    assert!(faults.starts_with("--set: unknown key bus.pubsub.projekt, did you mean bus.pubsub.project?\n"));
    assert!(faults.contains("--set: store.cassandra.password is a secret"), "{faults}");
    let env = env(&[("ECOM__STORE__CASSANDRA__PASSWORD", "hunter2")]);
    let printed = load::<Bare>(&Sources { env, ..Sources::default() }).unwrap().print();
    assert!(printed.contains("\n# password = \"***\"  # from "), "{printed}");
    assert!(!printed.contains("hunter2"));
}
