//! `docs/runbook.md`, executed: its walkthrough command by command, and the commands of every alert. Ids,
//! times, durations and numbers vary; everything else must be printed as written.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use ecom_bus::{Attributes, Bus, Message};
use ecom_clock::Clock;
use ecom_domain::dead_letter::DeadLetterId;
use ecom_embedded::Options;

use super::PLAIN;
use super::program::{PROGRAMS, Running, TestDir, eventually};
use super::table::{Table, consume};
use crate::metrics::file;

/// The length of a dead letter's id.
const ID: usize = "20260131-07-0123456789abcdef0123456789abcdef".len();
/// The heading of the walkthrough.
const PAGE: &str = "## Walkthrough of an on-call page\n";
/// The configuration files of a command in an alert's section.
const CONFIG: &str = " -c config/gcp.toml -c my.toml";

fn runbook() -> String {
    file("docs/runbook.md")
}

/// A command of the walkthrough with its output.
struct Step {
    command: String,
    printed: Vec<String>,
}

/// The commands of the walkthrough.
fn walkthrough(runbook: &str) -> Vec<Step> {
    let section = runbook.split(PAGE).nth(1).unwrap().split("\n## ").next().unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.to_owned(), printed: Vec::new() }),
                None => steps.last_mut().unwrap().printed.push(line.to_owned()),
            }
        }
    }
    steps
}

/// A line with its varying words masked, and the ids of the dead letters in it.
fn masked(line: &str) -> (String, Vec<String>) {
    let mut ids = Vec::new();
    // A role's newest event is known only from its second heartbeat on.
    let mut rest = line.replace('█', "").split("; newest event").next().unwrap_or_default().to_owned();
    for store in ["Cassandra at ", "embedded at "] {
        if let Some((before, after)) = rest.clone().split_once(store) {
            let ends = [after.find(", 20"), after.find(": ")].into_iter().flatten();
            let cut = ends.min().unwrap_or(after.len());
            rest = format!("{before}STORE{}", &after[cut..]);
        }
    }
    let mut text = String::new();
    while let Some(next) = rest.chars().next() {
        if let Some(id) = rest.get(..ID).and_then(DeadLetterId::parse) {
            ids.push(id.as_str().to_owned());
            text.push_str("ID");
            rest.drain(..ID);
        } else {
            text.push(next);
            rest.drain(..next.len_utf8());
        }
    }
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let word = match bare {
            _ if bare.is_empty() => word.to_owned(),
            _ if is_varying(bare) => word.replace(bare, "VARIES"),
            _ if words.last().is_some_and(|last| last == "on") => word.replace(bare, "HOST"),
            _ => word.to_owned(),
        };
        let repeats = word.starts_with("VARIES") && words.last().is_some_and(|last| last == "VARIES");
        match words.last_mut() {
            Some(last) if repeats => *last = word,
            _ => words.push(word),
        }
    }
    (words.join(" "), ids)
}

/// Returns whether a word is a time, a duration, an operation id or a number of two digits or more.
fn is_varying(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_duration = word.strip_suffix("ms").or_else(|| word.strip_suffix(['d', 'h', 'm', 's']));
    is_duration.is_some_and(|number| number.parse::<u32>().is_ok())
        || digits >= 2 && word.bytes().all(|b| b.is_ascii_digit() || b",.%:TZ-abcdef".contains(&b))
}

/// The ids of this test's dead letters by the ids in the runbook.
#[derive(Default)]
struct Ids(BTreeMap<String, String>);

impl Ids {
    /// A command of the runbook with the ids of this test.
    fn in_command(&self, command: &str) -> String {
        self.0.iter().fold(command.to_owned(), |text, (written, ours)| text.replace(written, ours))
    }

    /// Fails if the output differs from the runbook, where `…` stands for any number of lines. Returns the lines
    /// that were printed in place of those of the runbook.
    fn compare(&mut self, step: &Step, printed: &str) -> Vec<String> {
        let mut lines = printed.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let (mut may_skip, mut shown) = (false, Vec::new());
        for written in step.printed.iter().map(|line| line.trim()) {
            if written.is_empty() || written == "…" {
                may_skip |= written == "…";
                shown.push(written.to_owned());
                continue;
            }
            let (expected, their_ids) = masked(written);
            let found =
                lines.by_ref().find(|line| !may_skip || masked(line).0 == expected).unwrap_or_default();
            let (line, our_ids) = masked(found);
            assert_eq!(line, expected, "$ {}\n{printed}", step.command);
            for (theirs, ours) in their_ids.into_iter().zip(our_ids) {
                let known = self.0.entry(theirs.clone()).or_insert_with(|| ours.clone());
                assert_eq!(
                    *known, ours,
                    "{theirs} is another dead letter in this test\n$ {}\n{printed}",
                    step.command
                );
            }
            shown.push(found.to_owned());
            may_skip = false;
        }
        let more: Vec<&str> = lines.collect();
        assert!(may_skip || more.is_empty(), "$ {} prints more:\n{}", step.command, more.join("\n"));
        shown
    }
}

/// The incident of the walkthrough: `order_consumer` has stopped, 1,000 payments arrived before their orders,
/// 50 payments have none, five bodies are not payments, and two payments have one event time.
struct Incident {
    // Dropped first: the roles write into the folder.
    _roles: [Running; 2],
    dir: TestDir,
}

impl Incident {
    async fn new() -> Self {
        let dir = TestDir::new();
        let produce = async |role, ids: &str| {
            let events = [&["--order-ids", ids, "--rate", "max", "--quiet"][..], &PLAIN].concat();
            dir.run(role, &events).await.with(0);
        };
        produce("orders_producer", "2001-2200").await;
        produce("payments_producer", "2001-2200").await;
        consume(&dir, "order_consumer", &[]).await;
        // The handler leaves all retries to the operator.
        let no_retries = ["dead_letters.max_backoff=7d", "dead_letters.first_retry=7d"];
        let handler = dir.start("dlq_handler", &["--set", no_retries[0], "--set", no_retries[1]]);
        let payments = dir.start("payment_consumer", &["--order-grace", "0s"]);
        let table = Table::of(&dir).await;
        let paid = "SELECT count(payment_id) FROM orders_payments_facts";
        eventually("the first payments are recorded", async || (table.number(paid) == 200).then_some(()))
            .await;
        produce("orders_producer", "1-1000").await;
        produce("payments_producer", "1-1000").await;
        produce("payments_producer", "5001-5050").await;
        for (number, body) in POISON.into_iter().enumerate() {
            let name = format!("poison-{number}");
            dir.write(&name, format!("{body}\n"));
            dir.run("payments_producer", &["--from", &name]).await.with(0);
            let arrived = || table.dead_letters() == 1051 + number as i64;
            eventually("the dead letter is in the dead-letter store", async || arrived().then_some(())).await;
        }
        let bus = ecom_embedded::open(&dir.path("data"), Options::new(Vec::new())).unwrap();
        let publisher = bus.publisher("payments_data", 1).await.unwrap();
        let time = Clock::System.now_us().to_string();
        for (number, status) in [(7001, "Completed"), (7002, "Failed")] {
            let body = payment(number, 2200, status);
            let attributes: Attributes = [("event_time_us", time.clone())].into_iter().collect();
            publisher.publish(Message { body: body.into(), attributes }).await.await.unwrap();
            let shown = || table.number(paid) == 200 && table.backlog("payments_data") == 0;
            eventually("it is acked", async || shown().then_some(())).await;
        }
        eventually("the tie is in the dead-letter store", async || {
            (table.dead_letters() == 1056).then_some(())
        })
        .await;
        // Removes the heartbeats of the producers, and makes that of order_consumer ten minutes old.
        table.execute(
            "DELETE FROM role_heartbeats WHERE role LIKE '%producer';
             UPDATE role_heartbeats SET seen_at = seen_at - 600000000 WHERE role = 'order_consumer'",
        );
        Self { _roles: [handler, payments], dir }
    }

    /// Runs a command line, and returns its stdout and stderr together with its exit code.
    fn run(&self, line: &str) -> (String, Option<i32>) {
        let folder = Path::new(PROGRAMS[0].1).parent().unwrap().display().to_string();
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {line}")])
            .env_clear()
            .env("PATH", format!("{folder}:/usr/bin:/bin"))
            .env("HOME", self.dir.path("."))
            .env("ECOM_ACTOR", "ada")
            .env("RUST_LOG", "warn")
            .current_dir(self.dir.path("."))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    }
}

fn payment(number: i64, order: i64, status: &str) -> String {
    format!(
        "{{\"payment_id\": {number}, \"order_id\": {order}, \"payment_method\": \"PayPal\", \
         \"card_last_four\": null, \"payment_status\": \"{status}\", \
         \"payment_datetime\": \"2026-11-21T10:00:00Z\"}}"
    )
}

/// Bodies that are not payments.
const POISON: [&str; 5] = [
    r#"{"payment_id": 9001, "order_id": 2001, "payment_method": "Credit Card", "card_last_four": "12", "payment_status": "Completed", "payment_datetime": "2026-11-21T10:00:00Z"}"#,
    r#"{"payment_id": 9002, "order_id": 2002, "payment_method": "PayPal", "payment_status": "Completed"}"#,
    r#"{"payment_id": "x", "order_id": 2003, "payment_method": "PayPal", "payment_status": "Completed", "payment_datetime": "2026-11-21T10:00:00Z"}"#,
    "not json at all",
    r#"{"payment_id": 9005, "order_id": 2005, "payment_method": "Credit Card", "card_last_four": "1111", "payment_status": "Completed", "payment_datetime": "2026-11-21T10:00:00Z", "note": "4111 1111 1111 1111"}"#,
];

/// Replaces an output in the runbook by what was printed, with another folder in place of the test's.
fn update(runbook: &str, step: &Step, shown: &[String], dir: &TestDir) -> String {
    let block = |lines: &[String]| format!("$ {}\n{}", step.command, lines.join("\n"));
    let shown = block(shown).replace(&dir.path("data").display().to_string(), "/home/ada/ecom/data");
    runbook.replacen(&block(&step.printed), &shown, 1)
}

/// With `UPDATE_RUNBOOK=1` it also writes what was printed into the runbook.
#[tokio::test]
async fn the_walkthrough_of_the_runbook_prints_what_is_written() {
    let incident = Incident::new().await;
    let table = Table::of(&incident.dir).await;
    let mut ids = Ids::default();
    let mut roles = Vec::new();
    let mut updated = runbook();
    let steps = walkthrough(&updated);
    assert!(steps.len() >= 10, "{} commands", steps.len());
    for step in &steps {
        if step.command.starts_with("order_consumer ") {
            roles.push(incident.dir.start("order_consumer", &[]));
            let orders = || table.facts() == 1_200;
            eventually("the orders are recorded", async || orders().then_some(())).await;
            continue;
        }
        let (printed, code) = incident.run(&ids.in_command(&step.command));
        assert_eq!(code, Some(0), "$ {}\n{printed}", step.command);
        let shown = ids.compare(step, &printed);
        updated = update(&updated, step, &shown, &incident.dir);
    }
    if std::env::var_os("UPDATE_RUNBOOK").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook.md");
        std::fs::write(path, ids.in_command(&updated)).unwrap();
    }
    let of =
        |state: &str| table.number(&format!("SELECT count(*) FROM dead_letters WHERE state = '{state}'"));
    let open = table.number("SELECT count(*) FROM dead_letters_open");
    assert_eq!((of("recovered"), of("discarded"), open), (1_000, 6, 50));
    assert_eq!(table.number("SELECT count(payment_id) FROM orders_payments_facts"), 1_200);
    assert_eq!(table.number("SELECT payment_id FROM orders_payments_facts WHERE order_id = 2001"), 9001);
}

#[tokio::test]
async fn the_commands_of_every_alert_in_the_runbook_run_as_written() {
    let incident = Incident::new().await;
    let table = Table::of(&incident.dir).await;
    let some = table.rows("SELECT id FROM dead_letters ORDER BY id LIMIT 1", |row| row.get::<_, String>(0));
    let runbook = runbook();
    let mut ran = 0;
    // The sections of the alerts follow the walkthrough.
    for section in runbook.split(PAGE).nth(1).unwrap().split("\n## ").skip(1) {
        let commands: Vec<String> = section
            .replace('\n', " ")
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|text| text.ends_with(CONFIG))
            .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ").replace(CONFIG, ""))
            .collect();
        assert!(commands.len() >= 2, "{section}");
        for command in commands {
            let line = command.replace("ORDER_ID", "2200").replace("ID", &some[0]);
            let flag = if line.contains(" retry ") { " --dry-run" } else { "" };
            let (printed, code) = incident.run(&format!("{line}{flag}"));
            assert_eq!(code, Some(0), "$ {line}\n{printed}");
            ran += 1;
        }
    }
    assert!(ran >= 40, "{ran} commands");
}

#[test]
fn varying_words_are_masked_and_others_are_not() {
    let (line, ids) = masked(
        "[1] 20261121-07-f2002bc80d965239dc0cf3d255a4fd79  payment 7002, parked 2m 31s ago on vm at 2026-11-21T18:15:04.256Z",
    );
    assert_eq!(line, "[1] ID payment VARIES, parked VARIES ago on HOST at VARIES");
    assert_eq!(ids, ["20261121-07-f2002bc80d965239dc0cf3d255a4fd79"]);
    let of = |line: &str| masked(line).0;
    assert_eq!(of("Cassandra at 127.0.0.1:9042, keyspace k, 2026-11-21T18:15:33Z"), "STORE, VARIES");
    assert_eq!(of("embedded at /tmp/x/data/ecom_store.db, 2026-11-21T18:15:33Z"), "STORE, VARIES");
    assert_eq!(
        of(
            "retry in Cassandra at h:9042, keyspace k: run 20261121T181751-4c8210cd finished, 226 dead letters"
        ),
        "retry in STORE: run VARIES finished, VARIES dead letters"
    );
    assert_eq!(of("poison  5"), "poison 5");
}
