//! `--help`, `--version`, completions, and flags that do not exist.

use crate::processes::program::{PROGRAMS, TestDir};

/// Returns the help without trailing spaces.
async fn help(name: &'static str, args: &[&str]) -> String {
    let ended = TestDir::new().run(name, args).await.with(0);
    assert_eq!(ended.stderr, "", "help is data");
    ended.stdout.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[tokio::test]
async fn the_help_of_every_binary_is_as_reviewed() {
    for (name, _) in PROGRAMS {
        insta::assert_snapshot!(name, help(name, &["--help"]).await);
    }
}

#[tokio::test]
async fn the_help_of_every_subcommand_is_as_reviewed() {
    for (name, command) in [
        ("dlq_handler", "run"),
        ("dlq_handler", "triage"),
        ("dlq_handler", "list"),
        ("dlq_handler", "show"),
        ("dlq_handler", "explain"),
        ("dlq_handler", "retry"),
        ("dlq_handler", "correct"),
        ("dlq_handler", "discard"),
        ("dlq_handler", "reopen"),
        ("dlq_handler", "report"),
        ("dlq_handler", "history"),
        ("ecom_facts", "show"),
        ("ecom_facts", "verify"),
        ("ecom_facts", "export"),
        ("ecom_setup", "completions"),
        #[cfg(feature = "shop")]
        ("api_service", "key"),
        #[cfg(feature = "shop")]
        ("transaction_generator", "verify"),
    ] {
        insta::assert_snapshot!(format!("{name}_{command}"), help(name, &[command, "--help"]).await);
    }
}

#[tokio::test]
async fn the_help_of_every_binary_has_examples_environment_variables_and_exit_codes() {
    for (name, _) in PROGRAMS {
        let help = help(name, &["--help"]).await;
        for part in ["Examples:", "Exit codes:", "ECOM__", "ECOM_CONFIG", "--print-config", "--data-dir"] {
            assert!(help.contains(part), "{name} --help does not say {part}");
        }
        let width = help.lines().map(|line| line.chars().count()).max();
        assert!(width.is_some_and(|width| width <= 100), "{name} --help is {width:?} wide");
    }
}

#[tokio::test]
async fn unknown_flags_and_invalid_values_are_usage_errors() {
    let dir = TestDir::new();
    for (name, _) in PROGRAMS {
        let ended = dir.run(name, &["--no-such-flag"]).await.with(2);
        assert!(ended.stderr.contains("--no-such-flag"), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    let cases: [(&'static str, &[&str]); 13] = [
        ("orders_producer", &["--order-ids", "5-1"]),
        ("orders_producer", &["--preset", "reference", "--loop"]),
        ("payments_producer", &["--count", "-1"]),
        ("order_consumer", &["--exit-on-idle", "soon"]),
        ("payment_consumer", &["--set", "consumer.order_grace"]),
        ("ecom_facts", &["verify"]),
        ("ecom_demo", &["--orders", "0"]),
        ("dlq_handler", &["-v", "-q"]),
        ("dlq_handler", &["show", "20260131-07-01"]),
        ("dlq_handler", &["list", "--verdict", "orphan"]),
        ("dlq_handler", &["list", "--since", "yesterday"]),
        ("dlq_handler", &["explain", "first"]),
        ("dlq_handler", &["report", "--format", "yaml"]),
    ];
    for (name, args) in cases {
        let ended = dir.run(name, args).await.with(2);
        assert!(ended.stderr.starts_with("error: "), "{name} {args:?}: {}", ended.stderr);
    }
    assert!(!dir.path("data").exists(), "a usage error creates nothing");
}

#[cfg(unix)]
#[tokio::test]
async fn one_file_is_every_program_by_its_name() {
    let (dir, file) = (TestDir::new(), env!("CARGO_BIN_EXE_ecom"));
    let run = |program: &std::path::Path, args: &[&str]| {
        let mut command = std::process::Command::new(program);
        let output = command.args(args).env("COLUMNS", "100").current_dir(dir.path(".")).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        (output.status.code(), stdout, stderr)
    };
    for (name, _) in PROGRAMS {
        let help = dir.run(name, &["--help"]).await.with(0).stdout;
        std::os::unix::fs::symlink(file, dir.path(name)).unwrap();
        let expected = (Some(0), help, String::new());
        assert_eq!(run(&dir.path(name), &["--help"]), expected);
        assert_eq!(run(file.as_ref(), &[name, "--help"]), expected);
    }
    let list = run(file.as_ref(), &[]);
    insta::assert_snapshot!("ecom", list.1);
    assert_eq!(run(file.as_ref(), &["--help"]), list);
    let (code, stdout, stderr) = run(file.as_ref(), &["order-consumer"]);
    let refusal = "error: there is no program order-consumer\nhint: see what there is: ecom --help\n";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(2), "", refusal));
}

#[tokio::test]
async fn completions_cover_every_binary() {
    let dir = TestDir::new();
    for shell in ["bash", "zsh", "fish"] {
        let ended = dir.run("ecom_setup", &["completions", shell]).await.with(0);
        for (name, _) in PROGRAMS {
            assert!(ended.stdout.contains(name), "{shell}: no completions for {name}");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn completions_load_in_zsh_from_fpath_and_in_fish() {
    let dir = TestDir::new();
    let shell = async |shell: &str, file: &str, args: &[&str]| {
        let script = dir.run("ecom_setup", &["completions", shell]).await.with(0).stdout;
        dir.write(file, script);
        let mut command = std::process::Command::new(shell);
        command.args(args).current_dir(dir.path(".")).env("HOME", dir.path("."));
        match command.output() {
            Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
            Err(_) => {
                eprintln!("skipped: found no {shell}");
                None
            }
        }
    };
    let names =
        PROGRAMS.map(|(name, _)| format!("print {name} $_comps[{name}] $+functions[_ecom]\n")).concat();
    let script = format!("fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D\n{names}");
    if let Some(found) = shell("zsh", "_ecom", &["-f", "-c", &script]).await {
        let expected = PROGRAMS.map(|(name, _)| format!("{name} _ecom 1\n")).concat();
        assert_eq!(found, expected);
    }
    let complete = "source ecom.fish; complete -C 'ecom_setup completions '; complete -C 'dlq_handler tri'";
    if let Some(found) = shell("fish", "ecom.fish", &["--no-config", "-c", complete]).await {
        let first: Vec<&str> = found.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(first, ["bash", "elvish", "fish", "powershell", "zsh", "triage"], "{found}");
    }
}
