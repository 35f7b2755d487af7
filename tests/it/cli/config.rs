//! Configuration on the command line: faults, the guard, and `--print-config`.

use crate::processes::program::{PROGRAMS, TestDir};

#[tokio::test]
async fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_key() {
    let dir = TestDir::new();
    dir.write("x.toml", "[consumer]\nstreams = 2\nmax_in_fligth = 5\n");
    let ended = dir.run("order_consumer", &["-c", "x.toml"]).await.with(2);
    assert_eq!(
        ended.stderr,
        "error: x.toml:3: unknown key consumer.max_in_fligth, did you mean consumer.max_in_flight?\n"
    );
}

#[tokio::test]
async fn all_faults_are_reported_at_once() {
    let dir = TestDir::new();
    dir.write("a.toml", "[bus]\nkind = \"kafka\"\n[consumer]\nstreams = \"four\"\n");
    dir.write("b.toml", "[store.cassandra]\nkeyspace = \"Ecom\"\n");
    let args = ["-c", "a.toml", "-c", "b.toml", "--set", "producer.rate=fast", "--early-payment-limit", "0"];
    let program = dir.program("payment_consumer", &args).env("ECOM__EMBEDDED__ACK_DEADLINE", "1 year");
    let ended = program.run().await.with(2);
    let faults = ended.stderr.lines().collect::<Vec<_>>();
    insta::assert_snapshot!(faults.join("\n"));
    assert!(faults.iter().all(|fault| fault.starts_with("error: ")), "{faults:?}");
    assert!(!dir.path("data").exists());
}

#[tokio::test]
async fn a_missing_config_file_is_an_error_and_never_the_default() {
    let dir = TestDir::new();
    let missing = "error: could not read config file no/such.toml: No such file or directory (os error 2)\n";
    for (name, _) in PROGRAMS {
        let args: &[&str] = match name {
            "ecom_facts" => &["-c", "no/such.toml", "show", "1"],
            _ => &["-c", "no/such.toml"],
        };
        assert_eq!(dir.run(name, args).await.with(2).stderr, missing, "{name}");
    }
    let by_variable = dir.program("order_consumer", &[]).env("ECOM_CONFIG", "no/such.toml");
    assert_eq!(by_variable.run().await.with(2).stderr, missing);
    assert!(!dir.path("data").exists());
}

#[tokio::test]
async fn the_embedded_default_is_refused_if_the_environment_names_another_backend() {
    let dir = TestDir::new();
    for (variable, value) in [
        ("PUBSUB_EMULATOR_HOST", "localhost:8085"),
        ("GOOGLE_CLOUD_PROJECT", "shop"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("K_SERVICE", "orders"),
        ("ECOM__BUS__PUBSUB__PROJECT", "shop"),
        ("ECOM__STORE__CASSANDRA__KEYSPACE", "shop"),
    ] {
        let refused = dir.program("order_consumer", &[]).env(variable, value).run().await.with(2);
        assert_eq!(
            refused.stderr,
            format!(
                "error: embedded is only the default, but {variable} is set\n\
                 hint: pass --config FILE or set ECOM_CONFIG; to mean it: --embedded\n"
            )
        );
        assert!(!dir.path("data").exists());
    }
    let cases: [(&'static str, &[&str]); 6] = [
        ("orders_producer", &[]),
        ("payments_producer", &[]),
        ("payment_consumer", &[]),
        ("dlq_handler", &["report"]),
        ("ecom_facts", &["show", "1"]),
        ("ecom_setup", &[]),
    ];
    for (name, args) in cases {
        let program = dir.program(name, args).env("K_SERVICE", "orders");
        let refused = program.run().await.with(2);
        assert!(refused.stderr.contains("embedded is only the default"), "{name}: {}", refused.stderr);
    }
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn an_explicit_choice_of_embedded_passes_the_guard() {
    let dir = TestDir::new();
    dir.write("mine.toml", "[bus]\nkind = \"embedded\"\n[store]\nkind = \"embedded\"\n");
    for flags in [&["--embedded"][..], &["-c", "mine.toml"]] {
        let args = [flags, &["--order-ids", "1-3", "--rate", "max"]].concat();
        let program = dir.program("orders_producer", &args).env("PUBSUB_EMULATOR_HOST", "localhost:1");
        let ended = program.run().await.with(0);
        let folder = std::path::absolute(dir.path("data")).unwrap();
        let said = format!("using embedded at {}", folder.display());
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn the_printed_configuration_loads_as_the_same_values() {
    let dir = TestDir::new();
    dir.write(
        "mine.toml",
        "[consumer]\nstreams = 9\n[store.cassandra]\ncontact_points = [\"a:1\", \"b:2\"]\n",
    );
    let args =
        ["-c", "mine.toml", "--set", "log.filter=ecom=debug", "--order-grace", "750ms", "--print-config"];
    let program = dir.program("payment_consumer", &args).env("ECOM__CONSUMER__MAX_IN_FLIGHT", "17");
    let first = program.run().await.with(0).stdout;
    for line in [
        "streams = 9  # from mine.toml",
        "max_in_flight = 17  # from environment ECOM__CONSUMER__MAX_IN_FLIGHT",
        "order_grace = \"750ms\"  # from --order-grace",
        "filter = \"ecom=debug\"  # from --set",
        "ack_deadline = \"30s\"  # from default",
    ] {
        assert!(first.lines().any(|printed| printed == line), "no line {line} in\n{first}");
    }
    dir.write("printed.toml", &first);
    let second = dir.run("dlq_handler", &["-c", "printed.toml", "--print-config"]).await.with(0).stdout;
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # from ").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(values(&first), values(&second));
    assert!(!dir.path("data").exists(), "printing touches nothing");
}

#[tokio::test]
async fn a_password_is_masked_and_never_taken_from_the_command_line() {
    let dir = TestDir::new();
    let shown = dir
        .program("order_consumer", &["--embedded", "--print-config"])
        .env("ECOM__STORE__CASSANDRA__USER", "ecom")
        .env("ECOM__STORE__CASSANDRA__PASSWORD", "hunter2");
    let shown = shown.run().await.with(0).stdout;
    assert!(shown.contains("\n# password = \"***\""), "{shown}");
    assert!(!shown.contains("hunter2"));
    let refused = dir.run("order_consumer", &["--set", "store.cassandra.password=hunter2"]).await.with(2);
    assert!(refused.stderr.contains("is a secret"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("hunter2"));
}

#[tokio::test]
async fn a_variable_that_sets_nothing_is_named_with_the_one_that_was_meant() {
    let dir = TestDir::new();
    for (name, meant) in [
        ("ECOM_CONSUMER_STREAMS", "ECOM__CONSUMER__STREAMS"),
        ("ECOM_STORE_CASSANDRA_CONTACT_POINT", "ECOM__STORE__CASSANDRA__CONTACT_POINTS"),
        ("ecom_consumer_streams", "ECOM__CONSUMER__STREAMS"),
        ("ECOM_CONFG", "ECOM_CONFIG"),
    ] {
        let warned = dir.program("ecom_setup", &["--embedded"]).env(name, "4").run().await.with(0);
        let warning = format!("{name} sets nothing, did you mean {meant}?");
        assert!(warned.stderr.contains(&warning), "{}", warned.stderr);
        let printed = dir
            .program("order_consumer", &["--embedded", "--print-config"])
            .env(name, "4")
            .run()
            .await
            .with(0);
        assert!(printed.stderr.contains(&warning), "{}", printed.stderr);
    }
    for name in ["ECOM_SERVICE_HOST", "ECOM_PORT_8080_TCP", "ECOM_HOME", "ECOM_ACTOR"] {
        let silent = dir.program("ecom_setup", &["--embedded"]).env(name, "4").run().await.with(0);
        assert!(!silent.stderr.contains("did you mean"), "{}", silent.stderr);
    }
}

#[tokio::test]
async fn an_unknown_key_gets_a_suggestion_only_if_one_is_near() {
    let dir = TestDir::new();
    let refused = async |set: &str| dir.run("order_consumer", &["--set", set]).await.with(2).stderr;
    let far = refused("foo=1").await;
    assert!(far.starts_with("error: --set: unknown key foo, the sections are bus, bus.topics, "), "{far}");
    let of_section = refused("log.nonsense=1").await;
    assert_eq!(
        of_section,
        "error: --set: unknown key log.nonsense, the keys of log are format, filter, color\n"
    );
    let near = refused("log.colour=never").await;
    assert_eq!(near, "error: --set: unknown key log.colour, did you mean log.color?\n");
}

#[tokio::test]
async fn a_log_filter_that_is_none_is_blamed_on_its_origin() {
    let dir = TestDir::new();
    dir.write("x.toml", "[log]\nfilter = \"!!\"\n");
    let variable = dir.program("ecom_setup", &["--embedded"]).env("RUST_LOG", "!!").run().await.with(2);
    assert!(
        variable.stderr.starts_with("error: RUST_LOG: log.filter is not a filter: "),
        "{}",
        variable.stderr
    );
    let file = dir.run("ecom_setup", &["--embedded", "-c", "x.toml"]).await.with(2);
    assert!(file.stderr.starts_with("error: x.toml:2: log.filter is not a filter: "), "{}", file.stderr);
    let flag = dir.run("ecom_setup", &["--embedded", "--set", "log.filter=!!"]).await.with(2);
    assert!(flag.stderr.starts_with("error: --set: log.filter is not a filter: "), "{}", flag.stderr);
}

#[cfg(all(unix, feature = "embedded"))]
#[tokio::test]
async fn a_path_may_have_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let dir = TestDir::new();
    let folders = || {
        let mut names: Vec<Vec<u8>> = std::fs::read_dir(dir.path("."))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.file_name().as_bytes().to_owned())
            .collect();
        names.sort();
        names
    };
    let by_flag = dir.program("ecom_setup", &["--data-dir"]).arg(OsStr::from_bytes(b"flag\xff"));
    by_flag.run().await.with(0);
    let by_variable = dir.program("ecom_setup", &[]);
    by_variable.env_os("ECOM__EMBEDDED__DATA_DIR", OsStr::from_bytes(b"env\xff")).run().await.with(0);
    let by_set = dir.program("ecom_setup", &["--set"]).arg(OsStr::from_bytes(b"embedded.data_dir=set\xff"));
    by_set.run().await.with(0);
    std::fs::write(dir.path(".").join(OsStr::from_bytes(b"c\xff.toml")), "[embedded]\ndata_dir = \"file\"\n")
        .unwrap();
    let by_file = dir.program("ecom_setup", &[]);
    by_file.env_os("ECOM_CONFIG", OsStr::from_bytes(b"c\xff.toml")).run().await.with(0);
    assert_eq!(folders(), [&b"env\xff"[..], b"file", b"flag\xff", b"set\xff"]);

    let triage = dir.program("dlq_handler", &["triage", "--data-dir"]).arg(OsStr::from_bytes(b"flag\xff"));
    let triage = triage.run().await.with(0).stdout;
    assert!(triage.contains(r"--data-dir $'flag\xff'"), "{triage}");
    let printed =
        dir.program("ecom_setup", &["--print-config", "--data-dir"]).arg(OsStr::from_bytes(b"a\xff"));
    let printed = printed.run().await.with(0).stdout;
    assert!(printed.contains("\n# not UTF-8: data_dir = \"a\u{fffd}\"  # from --data-dir\n"), "{printed}");
    let refused = dir.program("ecom_setup", &["--set"]).arg(OsStr::from_bytes(b"bus.pubsub.project=a\xff"));
    let refused = refused.run().await.with(2).stderr;
    assert_eq!(refused, "error: --set: bus.pubsub.project must be UTF-8, is \"a\u{fffd}\"\n");
}
