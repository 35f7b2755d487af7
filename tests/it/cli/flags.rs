//! Every flag in every mode: it has an effect there, or it is refused.

use std::collections::BTreeSet;

use crate::processes::program::{PROGRAMS, TestDir};

const ID: &str = "20240121-07-0123456789abcdef0123456789abcdef";
const OPERATION: &str = "20240121T100130-ffffffff";

/// Flags that only roles have a use for.
const OF_ROLES: &[&str] = &["--admin-listen", "--summary"];
/// Flags of generated events.
const MIXTURE: &[&str] = &[
    "--duplicates",
    "--invalid",
    "--late-by",
    "--late-orders",
    "--missing-orders",
    "--order-updates",
    "--second-payments",
];
/// Flags of the configured backends; these tests run on the embedded ones.
const OF_PUBSUB: &[&str] = &["--project"];
/// Flags of bus and store, which a client of the API does not use.
#[cfg(feature = "shop-embedded")]
const WITHOUT_BACKENDS: &[&str] = &["--embedded", "--data-dir", "--connect-timeout"];
/// Flags of CSV, which is not the default format.
const OF_CSV: &[&str] = &["--spreadsheet-safe"];
/// Flags of a consumer, which a subcommand of `dlq_handler` takes behind its name.
const OF_RUN: &[&str] =
    &["--count", "--duration", "--exit-on-idle", "--max-in-flight", "--once", "--streams"];

/// A mode of a program: the arguments that select it, and the flags of its `--help` that are refused in it.
struct Mode {
    program: &'static str,
    args: &'static [&'static str],
    refused: Vec<&'static [&'static str]>,
}

fn mode(
    program: &'static str,
    args: &'static [&'static str],
    refused: impl IntoIterator<Item = &'static [&'static str]>,
) -> Mode {
    Mode { program, args, refused: refused.into_iter().chain([OF_PUBSUB]).collect() }
}

/// The table: program, mode, flags that are refused. Every other flag of the program's help is accepted.
fn modes() -> Vec<Mode> {
    let mut modes = vec![
        mode("order_consumer", &[], [&["--streams"][..]]),
        mode("payment_consumer", &[], [&["--streams"][..]]),
        mode("dlq_handler", &[], [&["--streams"][..]]),
        mode("dlq_handler", &["run"], [&["--streams"][..]]),
        mode("ecom_demo", &[], []),
        mode("ecom_setup", &[], [OF_ROLES]),
        mode("ecom_setup", &["--print", "cql"], [OF_ROLES, &["--check", "--connect-timeout"]]),
        mode("ecom_facts", &["show", "1"], [OF_ROLES, OF_CSV]),
        mode("ecom_facts", &["verify", "--manifest", "m.json"], [OF_ROLES]),
        mode("ecom_facts", &["export"], [OF_ROLES]),
        mode("dlq_handler", &["show", ID], [OF_ROLES]),
        mode("dlq_handler", &["show", ID, "--body"], [OF_ROLES, &["--format"]]),
        mode("dlq_handler", &["retry", "--all"], [OF_ROLES, &["--resume"]]),
        mode("dlq_handler", &["retry", "--resume", OPERATION], [OF_ROLES, &["--all", "--dry-run", "--note"]]),
        mode("dlq_handler", &["discard", ID, "--note", "x"], [OF_ROLES, &["--resume"]]),
        mode("dlq_handler", &["reopen", ID], [OF_ROLES, &["--resume"]]),
        mode("dlq_handler", &["correct", ID, "--with", "body.json"], [OF_ROLES]),
    ];
    for args in [&["triage"][..], &["explain", "1"], &["report"]] {
        modes.push(mode("dlq_handler", args, [OF_ROLES]));
    }
    modes.push(mode("ecom_facts", &["export", "--format", "json"], [OF_ROLES, OF_CSV]));
    modes.push(mode("dlq_handler", &["list", "--format", "csv"], [OF_ROLES]));
    for args in [&["list"][..], &["history"]] {
        modes.push(mode("dlq_handler", args, [OF_ROLES, OF_CSV]));
    }
    #[cfg(feature = "shop-embedded")]
    modes.extend([
        mode("api_service", &[], []),
        mode("api_service", &["key", "--role", "shop"], [OF_ROLES, &["--check"][..]]),
        mode("payment_processor", &[], [&["--streams"][..]]),
        mode("notifier", &[], [&["--streams"][..]]),
        mode("transaction_generator", &[], [WITHOUT_BACKENDS, &["--think", "--spawn-rate"][..]]),
        mode("transaction_generator", &["--users", "5"], [WITHOUT_BACKENDS, &["--interval"][..]]),
        mode(
            "transaction_generator",
            &["--users", "5", "--creates", "orders"],
            [WITHOUT_BACKENDS, &["--interval", "--min-amount", "--max-amount", "--currencies"][..]],
        ),
        mode(
            "transaction_generator",
            &["verify", "--manifest", "m.jsonl"],
            [WITHOUT_BACKENDS, OF_ROLES, &["--check"][..]],
        ),
        mode("ecom_facts", &["verify", "--shop"], [OF_ROLES]),
        mode("ecom_demo", &["--shop"], [MIXTURE, &["--orders", "--seed"][..]]),
    ]);
    for program in ["orders_producer", "payments_producer"] {
        modes.extend([
            mode(program, &[], [&["--skip"][..]]),
            mode(program, &["--loop"], [&["--skip", "--preset", "--from"][..]]),
            mode(
                program,
                &["--preset", "reference"],
                [MIXTURE, &["--skip", "--from", "--loop", "--order-ids"]],
            ),
            mode(
                program,
                &["--from", "lines.jsonl"],
                [MIXTURE, &["--loop", "--order-ids", "--preset", "--seed"]],
            ),
        ]);
    }
    modes
}

/// A value for a flag of a program's help; `None` if it takes none.
fn value(help: &str, flag: &str) -> Option<&'static str> {
    let line = help.lines().find(|line| names(line).contains(&flag)).unwrap();
    let after = line.split_once(flag).unwrap().1.trim_start();
    if !after.starts_with('<') {
        return None;
    }
    Some(match flag {
        "--config" => "empty.toml",
        "--set" => "log.filter=info",
        "--log-format" => "json",
        "--admin-listen" | "--listen" => "127.0.0.1:0",
        "--success-rate" => "0.5",
        "--role" => "reader",
        "--channel" => "webhook",
        "--creates" => "both",
        "--currencies" => "USD,EUR",
        "--api" => "http://127.0.0.1:1",
        "--order-ids" => "1-2",
        "--rate" => "5/s",
        "--preset" => "reference",
        "--print" => "cql",
        "--format" => "json",
        "--table" => "superseded",
        "--state" => "open",
        "--reason" => "invalid",
        "--class" => "poison",
        "--verdict" => "poison",
        "--resume" => OPERATION,
        "--late-orders" | "--missing-orders" | "--duplicates" | "--order-updates" | "--second-payments"
        | "--invalid" => "0.1",
        "--duration" | "--exit-on-idle" | "--connect-timeout" | "--order-grace" | "--watch" | "--wait"
        | "--since" | "--until" | "--payment-delay" | "--completion-delay" => "5s",
        "--from" | "--with" => "lines.jsonl",
        "--data-dir" | "--project" | "--summary" | "--manifest" | "--out" | "--note" => "x",
        _ => "1",
    })
}

/// The long flags that a line of a help text describes.
fn names(line: &str) -> Vec<&str> {
    let line = line.trim_start();
    if !line.starts_with('-') {
        return Vec::new();
    }
    let words = line.split([' ', ',']).take_while(|word| !word.starts_with('<'));
    words.filter(|word| word.starts_with("--")).map(|word| word.trim_end_matches("...")).collect()
}

#[tokio::test]
async fn a_flag_has_an_effect_in_every_mode_or_is_refused() {
    let dir = TestDir::new();
    dir.write("empty.toml", "");
    dir.write("lines.jsonl", "{}\n");
    let mut wrong = Vec::new();
    let mut cells = 0;
    for Mode { program, args, refused } in modes() {
        let subcommand: Vec<&str> =
            args.iter().take(1).copied().filter(|word| !word.starts_with('-')).collect();
        let help = dir.run(program, &[&subcommand[..], &["--help"]].concat()).await.with(0).stdout;
        let flags: BTreeSet<&str> = help.lines().flat_map(names).collect();
        let refused: BTreeSet<&str> = refused.into_iter().flatten().copied().collect();
        let unknown: Vec<_> = refused.difference(&flags).collect();
        assert!(unknown.is_empty(), "{program} {args:?} has no {unknown:?}");
        for flag in flags {
            // The first two end the program; the others are there already. Printing runs nothing.
            if ["--help", "--version", "--print-config"].contains(&flag) || args.contains(&flag) {
                continue;
            }
            let given: Vec<&str> = [flag].into_iter().chain(value(&help, flag)).collect();
            let ended = dir.run(program, &[args, &given[..], &["--print-config"]].concat()).await;
            let expected = if refused.contains(flag) { Some(2) } else { Some(0) };
            cells += 1;
            if ended.code != expected {
                wrong.push(format!("{program} {args:?} {given:?}: exit {:?}\n{}", ended.code, ended.stderr));
            } else if expected == Some(2) && !ended.stderr.contains(flag) {
                wrong.push(format!("{program} {args:?} {given:?} is not named\n{}", ended.stderr));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cells} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cells > 500, "only {cells} flags were tried");
    let programs: BTreeSet<&str> = modes().iter().map(|mode| mode.program).collect();
    assert_eq!(programs, PROGRAMS.iter().map(|(name, _)| *name).collect(), "every program is in the table");
}

#[tokio::test]
async fn flags_before_a_subcommand_and_beside_completions_are_refused() {
    let dir = TestDir::new();
    for flag in OF_RUN {
        let takes = match *flag {
            "--once" => None,
            "--duration" | "--exit-on-idle" => Some("1s"),
            _ => Some("1"),
        };
        let before: Vec<&str> = [*flag].into_iter().chain(takes).collect();
        for subcommand in [&["run", "--print-config"][..], &["triage"]] {
            let ended = dir.run("dlq_handler", &[&before[..], subcommand].concat()).await.with(2);
            assert!(ended.stderr.contains(&format!("{flag} has no effect before a subcommand")), "{flag}");
        }
    }
    for args in [&["--print", "cql"][..], &["--check"], &["--data-dir", "x"], &["-v"], &["--print-config"]] {
        dir.run("ecom_setup", &[args, &["completions", "bash"]].concat()).await.with(2);
    }
    dir.run("ecom_facts", &["export", "--format", "table"]).await.with(2);
    let services =
        ["--set", "bus.kind=pubsub", "--set", "bus.pubsub.project=p", "--set", "store.kind=cassandra"];
    let folder = ["--data-dir", "x", "--print-config"];
    dir.run("order_consumer", &[&services[..], &folder].concat()).await.with(2);
    dir.run(
        "order_consumer",
        &[&services[..], &["--project", "q", "--streams", "3", "--print-config"]].concat(),
    )
    .await
    .with(0);
    dir.run("ecom_setup", &["--print", "gcloud", "--project", "p"]).await.with(0);
}

#[tokio::test]
async fn a_producer_publishes_count_messages_at_rate_in_every_mode() {
    use crate::processes::table::Table;
    let lines: String = (1..=20).map(|id| format!("{{\"order_id\":{id}}}\n")).collect();
    for program in ["orders_producer", "payments_producer"] {
        for source in [
            &["--order-ids", "1-20"][..],
            &["--loop"],
            &["--preset", "reference"],
            &["--from", "lines.jsonl"],
        ] {
            for manifest in [&[][..], &["--manifest", "m.json"]] {
                let dir = TestDir::new();
                dir.write("lines.jsonl", &lines);
                let bounded = ["--count", "5", "--rate", "50/s", "--summary", "s.json"];
                let ended = dir.run(program, &[source, &bounded, manifest].concat()).await.with(0);
                let published = Table::of(&dir).await.published();
                assert_eq!(published, 5, "{program} {source:?} {manifest:?}\n{}", ended.stderr);
                let read = |name: &str| -> serde_json::Value {
                    serde_json::from_slice(&std::fs::read(dir.path(name)).unwrap()).unwrap()
                };
                assert!(read("s.json")["elapsed_seconds"].as_f64() >= Some(0.08), "{program} {source:?}");
                if manifest.is_empty() {
                    continue;
                }
                let manifest = ecom_scenario::Manifest::read(&dir.path("m.json")).unwrap();
                let kind = match program {
                    "orders_producer" => ecom_domain::dead_letter::EventKind::Order,
                    _ => ecom_domain::dead_letter::EventKind::Payment,
                };
                assert_eq!(manifest.events(kind).unwrap().count(), 5, "{program} {source:?}");
            }
        }
    }
}
