//! Bulk operations on the command line: confirmed at a terminal, refused without one, killed and resumed,
//! each with its exit code.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::PLAIN;
use super::program::{PROGRAMS, ProgramOutput, TestDir, eventually};
use super::table::{Table, consume};

/// A folder with this many dead letters of payments, each waiting for its order.
async fn waiting(count: u32) -> TestDir {
    let dir = TestDir::new();
    let ids = format!("1-{count}");
    let events = [&["--order-ids", &ids, "--rate", "max"][..], &PLAIN].concat();
    dir.run("payments_producer", &events).await.with(0);
    consume(&dir, "payment_consumer", &["--order-grace", "0s"]).await;
    dir.run("dlq_handler", &["--once"]).await.with(0);
    assert_eq!(Table::of(&dir).await.dead_letters(), i64::from(count));
    dir
}

/// Records the orders of these ids.
async fn orders(dir: &TestDir, ids: &str) {
    let events = [&["--order-ids", ids, "--rate", "max"][..], &PLAIN].concat();
    dir.run("orders_producer", &events).await.with(0);
    consume(dir, "order_consumer", &[]).await;
}

async fn dlq_handler(dir: &TestDir, args: &[&str]) -> ProgramOutput {
    dir.run("dlq_handler", args).await
}

/// Runs a command with this text as its stdin.
async fn piped(dir: &TestDir, args: &[&str], stdin: &str) -> ProgramOutput {
    dir.write("stdin", stdin);
    dir.program("dlq_handler", args).stdin(&dir.path("stdin")).run().await
}

async fn operations(dir: &TestDir) -> Vec<serde_json::Value> {
    let history = dlq_handler(dir, &["history", "--format", "json"]).await.with(0).json();
    history["operations"].as_array().unwrap().clone()
}

/// The number of recovered and of discarded dead letters.
async fn states(dir: &TestDir) -> (i64, i64) {
    let table = Table::of(dir).await;
    let of =
        |state: &str| table.number(&format!("SELECT count(*) FROM dead_letters WHERE state = '{state}'"));
    (of("recovered"), of("discarded"))
}

async fn first_ids(dir: &TestDir, count: usize) -> Vec<String> {
    let table = Table::of(dir).await;
    table.rows(&format!("SELECT id FROM dead_letters ORDER BY id LIMIT {count}"), |row| row.get(0))
}

#[tokio::test]
async fn without_a_selection_or_a_terminal_nothing_is_changed() {
    let dir = waiting(3).await;
    for (args, error) in [
        (&["retry"][..], "error: no dead letters selected to retry"),
        (&["retry", "--yes"], "error: no dead letters selected to retry"),
        (&["discard", "--note", "x"], "error: no dead letters selected to discard"),
        (&["reopen", "--yes"], "error: no dead letters selected to reopen"),
        (&["retry", "--all"], "error: confirmation required, but stdin is not a terminal; pass --yes"),
        (&["discard", "--state", "open", "--note", "x"], "error: confirmation required"),
        (&["reopen", "--state", "parked"], "error: confirmation required"),
        (&["retry", "--all", "--order", "1", "--yes"], "error: --all selects all open dead letters"),
        (&["discard", "--state", "open", "--yes"], "error: the following required arguments"),
        (&["discard", "--state", "open", "--yes", "--note", "<why>"], "the note says nothing"),
        (
            &["retry", "--resume", "20240121T100130-ffffffff", "--reason", "invalid"],
            "error: --resume continues",
        ),
    ] {
        let ended = dlq_handler(&dir, args).await.with(2);
        assert!(ended.stderr.contains(error), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{args:?}");
    }
    let hinted = dlq_handler(&dir, &["retry", "--all"]).await;
    assert!(hinted.stderr.contains("hint: see what would happen with --dry-run"), "{}", hinted.stderr);
    assert_eq!((states(&dir).await, operations(&dir).await.len()), ((0, 0), 0));
}

#[tokio::test]
async fn a_dry_run_predicts_the_outcome_and_changes_nothing() {
    let dir = waiting(30).await;
    orders(&dir, "1-20").await;
    let dry = dlq_handler(&dir, &["retry", "--all", "--dry-run", "--format", "json"]).await.with(0).json();
    assert_eq!(dry["verdicts"], serde_json::json!({"applies_now": 20, "still_waiting": 10}), "{dry}");
    assert_eq!(dry["takes_seconds"], 0.6, "{dry}");
    let dry = dlq_handler(&dir, &["retry", "--all", "--dry-run"]).await.with(0);
    assert!(dry.stdout.contains("applied, then recovered"), "{}", dry.stdout);
    assert!(
        dry.stdout.contains("at 50/s; the first 20 dead letters must end as predicted"),
        "{}",
        dry.stdout
    );
    assert_eq!((states(&dir).await, operations(&dir).await.len()), ((0, 0), 0), "a dry run stores nothing");

    let all = ["retry", "--all", "--yes", "--rate", "max", "--note", "after the outage", "--format", "json"];
    let done = dir.program("dlq_handler", &all).env("ECOM_ACTOR", "ada").run().await.with(0).json();
    assert_eq!(done["outcomes"], serde_json::json!({"recovered": 20, "waiting": 10}), "{done}");
    assert_eq!((&done["state"], &done["differed"]), (&"finished".into(), &0.into()), "{done}");
    let [operation] = &operations(&dir).await[..] else { panic!("one operation") };
    assert_eq!(
        (&operation["actor"], &operation["kind"], &operation["dead_letters"]),
        (&"ada".into(), &"retry".into(), &30.into())
    );
    assert_eq!(
        (&operation["note"], &operation["operation_id"]),
        (&"after the outage".into(), &done["operation_id"]),
        "{operation}"
    );
    let shown = dlq_handler(&dir, &["show", &first_ids(&dir, 1).await[0]]).await.with(0);
    assert!(shown.stdout.contains("after the outage"), "{}", shown.stdout);
}

#[tokio::test]
async fn ids_come_from_stdin_and_none_is_not_all() {
    let dir = waiting(5).await;
    orders(&dir, "1-5").await;
    let none = piped(&dir, &["retry", "-", "--yes"], "\n\n").await.with(0);
    assert!(none.stderr.contains("no ids on stdin: nothing to do"), "{}", none.stderr);
    let header = piped(&dir, &["retry", "-", "--yes"], "id,state\n").await.with(2);
    assert!(
        header.stderr.contains("error: line 1 of stdin does not begin with a dead-letter ID"),
        "{}",
        header.stderr
    );
    assert_eq!(states(&dir).await, (0, 0));
    let two = first_ids(&dir, 2).await;
    let lines = format!("{} waiting\n{}\n{}\n", two[0], two[1], two[0]);
    let done = piped(&dir, &["retry", "-", "--yes", "--format", "json"], &lines).await.with(0).json();
    assert_eq!((&done["dead_letters"], states(&dir).await), (&2.into(), (2, 0)), "each once");
    let never = "20240121-07-0123456789abcdef0123456789abcdef";
    let missing = dlq_handler(&dir, &["retry", never, "--yes"]).await.with(3);
    assert!(missing.stdout.contains("not found: 1 dead letter"), "{}", missing.stdout);
}

#[tokio::test]
async fn a_discard_is_undone_by_reopening_and_a_discarded_dead_letter_is_not_retried() {
    let dir = waiting(3).await;
    let ids = first_ids(&dir, 2).await;
    let discard = ["discard", &ids[0], &ids[1], "--yes", "--note", "a test order"];
    let done = dlq_handler(&dir, &discard).await.with(0);
    assert!(done.stdout.contains("discarded             2"), "{}", done.stdout);
    orders(&dir, "1-3").await;
    let retried = dlq_handler(&dir, &["retry", &ids[0], "--yes"]).await.with(3);
    assert!(retried.stdout.contains("left alone: 1 discarded (reopen it first)"), "{}", retried.stdout);
    assert_eq!(states(&dir).await, (0, 2));
    let reopened = dlq_handler(&dir, &["reopen", &ids[0], "--yes"]).await.with(0);
    assert!(reopened.stdout.contains("waiting             1"), "{}", reopened.stdout);
    let next = reopened.stderr.lines().find(|line| line.starts_with("next: ")).unwrap();
    assert!(next.ends_with(&format!("dlq_handler retry {}", ids[0])), "{next}");
    dlq_handler(&dir, &["retry", &ids[0], "--yes"]).await.with(0);
    assert_eq!(states(&dir).await, (1, 1));
    let kinds: Vec<_> =
        operations(&dir).await.into_iter().map(|operation| operation["kind"].clone()).collect();
    assert_eq!(kinds, ["retry", "reopen", "discard"], "the audit log, newest first");
}

#[tokio::test]
async fn a_retry_killed_in_the_middle_is_resumed_with_exact_counts() {
    const DEAD_LETTERS: i64 = 400;
    const APPLY: i64 = 320;
    let dir = waiting(400).await;
    orders(&dir, "1-320").await;
    let table = Table::of(&dir).await;
    let done = || {
        table.number(
            "SELECT count(DISTINCT dead_letter_id) FROM dead_letter_history WHERE operation_outcome IS NOT NULL",
        )
    };
    let begin = ["retry", "--all", "--yes", "--rate", "400/s", "--note", "after the outage"];
    let mut retry = dir.start("dlq_handler", &begin);
    let mut kills = 0;
    let resume = loop {
        let (before, goal) = (done(), 60);
        eventually("it is in the middle", async || {
            let further = done() > before + goal;
            (further || !retry.is_running()).then_some(())
        })
        .await;
        assert!(retry.is_running(), "it ended before it was killed: {}", retry.stderr());
        retry.kill();
        kills += 1;
        let [begun] = &operations(&dir).await[..] else { panic!("one operation") };
        assert_eq!(
            (&begun["state"], &begun["dead_letters"]),
            (&"begun".into(), &DEAD_LETTERS.into()),
            "{begun}"
        );
        let operation_id = begun["operation_id"].as_str().unwrap().to_owned();
        if kills == 3 {
            break operation_id;
        }
        retry = dir.start("dlq_handler", &["retry", "--resume", &operation_id, "--rate", "400/s"]);
    };
    let left = DEAD_LETTERS - done();
    assert!(left > 0, "nothing was left after {kills} kills");
    let ended = dlq_handler(&dir, &["retry", "--resume", &resume, "--rate", "max", "--format", "json"]).await;
    let ended = ended.with(0).json();
    let expected = serde_json::json!({"recovered": APPLY, "waiting": DEAD_LETTERS - APPLY});
    assert_eq!((&ended["outcomes"], &ended["done"]), (&expected, &DEAD_LETTERS.into()), "{ended}");
    assert_eq!((&ended["state"], &ended["differed"]), (&"finished".into(), &0.into()), "{ended}");
    assert_eq!(states(&dir).await, (APPLY, 0));
    let [operation] = &operations(&dir).await[..] else { panic!("one operation") };
    assert_eq!(
        (&operation["outcomes"], &operation["note"]),
        (&expected, &"after the outage".into()),
        "{operation}"
    );
    let once =
        "SELECT count(*) FROM (SELECT dead_letter_id FROM dead_letter_history WHERE action = 'recovered'
        GROUP BY dead_letter_id HAVING count(*) > 1)";
    assert_eq!(table.number(once), 0, "applied twice");
    let again = dlq_handler(&dir, &["retry", "--resume", &resume]).await.with(0);
    assert!(again.stderr.contains("the operation was already finished: nothing to do"), "{}", again.stderr);
    let other = dlq_handler(&dir, &["discard", "--resume", &resume]).await.with(2);
    assert!(other.stderr.contains(&format!("retry --resume {resume}")), "{}", other.stderr);
}

#[tokio::test]
async fn a_signal_stops_an_operation_cleanly_and_it_prints_how_to_resume() {
    let dir = waiting(60).await;
    orders(&dir, "1-60").await;
    let mut retry = dir.start("dlq_handler", &["retry", "--all", "--yes", "--rate", "10/s"]);
    let table = Table::of(&dir).await;
    let recovered = || table.number("SELECT count(*) FROM dead_letters WHERE state = 'recovered'");
    eventually("it is in the middle", async || (recovered() > 2).then_some(())).await;
    retry.signal("INT");
    retry.says("stopping after the dead letters in flight").await;
    let stopped = retry.ended().await.with(1);
    assert!(stopped.stdout.contains(" stopped, "), "{}", stopped.stdout);
    let hint = stopped.stderr.lines().find_map(|line| line.strip_prefix("hint: resume it: ")).unwrap();
    let words: Vec<&str> = hint.split(' ').skip(1).collect();
    assert_eq!(words[..2], ["retry", "--resume"], "{hint}");
    assert_eq!(operations(&dir).await[0]["state"], "stopped");
    let on = dlq_handler(&dir, &[&words[..], &["--rate", "max", "--format", "json"]].concat())
        .await
        .with(0)
        .json();
    assert_eq!(on["outcomes"], serde_json::json!({"recovered": 60}), "{on}");
}

#[tokio::test]
async fn a_corrected_order_is_published_applied_and_recovers_its_payments() {
    let dir = waiting(2).await;
    let broken = "{\"order_id\": 1, \"customer_id\": 9, \"item\": \"Book\", \"quantity\": \"two\", \"price\": 5, \
                  \"shipping_address\": \"x\", \"order_status\": \"Pending\", \"creation_date\": \"2026-01-31\"}";
    dir.write("broken.jsonl", format!("{broken}\n"));
    dir.run("orders_producer", &["--from", "broken.jsonl"]).await.with(0);
    consume(&dir, "order_consumer", &[]).await;
    dir.run("dlq_handler", &["--once"]).await.with(0);
    let table = Table::of(&dir).await;
    let [id] =
        &table.rows("SELECT id FROM dead_letters WHERE kind = 'order'", |row| row.get::<_, String>(0))[..]
    else {
        panic!("one order dead letter")
    };
    dir.write("other.json", broken.replace("\"two\"", "2").replace("\"order_id\": 1", "\"order_id\": 2"));
    dir.write("fixed.json", broken.replace("\"two\"", "2"));
    dir.write("same.json", broken);
    for (file, error) in [
        ("same.json", "error: the corrected body is not a valid order: quantity: "),
        ("other.json", "error: the dead letter is about order 1, but the corrected body is about order 2"),
        ("none.json", "error: could not read none.json"),
    ] {
        let ended = dlq_handler(&dir, &["correct", id, "--with", file, "--yes"]).await.with(2);
        assert!(ended.stderr.contains(error), "{}", ended.stderr);
    }
    let asked = dlq_handler(&dir, &["correct", id, "--with", "fixed.json"]).await.with(2);
    assert!(asked.stderr.contains("error: confirmation required"), "{}", asked.stderr);
    let dry = dlq_handler(&dir, &["correct", id, "--with", "fixed.json", "--dry-run"]).await.with(0);
    assert!(dry.stdout.contains("  - quantity: \"two\"\n  + quantity: 2\n"), "{}", dry.stdout);
    assert!(dry.stdout.contains("it applies now"), "{}", dry.stdout);
    assert_eq!(operations(&dir).await.len(), 0);

    let mut consumer = dir.start("order_consumer", &[]);
    consumer.says("using ").await;
    let correct = ["correct", id, "--with", "-", "--yes", "--note", "two it was"];
    let done = piped(&dir, &correct, &broken.replace("\"two\"", "2")).await.with(0);
    assert!(done.stdout.contains("the order was applied: the row of order 1 shows it"), "{}", done.stdout);
    assert!(done.stdout.contains(&format!("dead letter {id} is discarded")), "{}", done.stdout);
    assert_eq!(states(&dir).await, (1, 1), "its payment was recovered at once");
    // A corrected dead letter does not look like a lost one.
    let shown = dlq_handler(&dir, &["show", id]).await.with(0);
    assert!(shown.stdout.contains("discarded: corrected by message "), "{}", shown.stdout);
    assert!(!shown.stdout.contains("verdict if it were open"), "{}", shown.stdout);
    let explained = dlq_handler(&dir, &["explain", "1"]).await.with(0);
    assert!(explained.stdout.contains("order, discarded: corrected by message "), "{}", explained.stdout);
    let report = dlq_handler(&dir, &["report"]).await.with(0);
    assert!(report.stdout.contains("\ncorrected: 1 of 1 discarded"), "{}", report.stdout);
    let report = dlq_handler(&dir, &["report", "--format", "json"]).await.with(0).json();
    assert_eq!(report["corrected"], 1, "{report}");
    assert_eq!(table.number("SELECT count(payment_id) FROM orders_payments_facts WHERE quantity = 2"), 1);
    let again = piped(&dir, &correct, &broken.replace("\"two\"", "2")).await.with(0);
    assert!(again.stderr.contains("was already corrected by message"), "{}", again.stderr);
    let other = piped(&dir, &correct, &broken.replace("\"two\"", "3")).await.with(3);
    assert!(other.stderr.contains("hint: reopen it first: "), "{}", other.stderr);
    consumer.drained().await.with(0);
}

/// `dlq_handler` at a pseudo-terminal, made by `script`.
struct Terminal {
    child: Child,
    shown: std::path::PathBuf,
}

impl Terminal {
    fn start(dir: &TestDir, args: &[&str]) -> Self {
        let shown = dir.path("terminal");
        let (_, executable) = PROGRAMS.iter().find(|(name, _)| *name == "dlq_handler").unwrap();
        let child = Command::new("script")
            .args(["-qefc", &format!("exec {executable} {}", args.join(" ")), "/dev/null"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", dir.path("."))
            .env("TERM", "dumb")
            .current_dir(dir.path("."))
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(&shown).unwrap())
            .spawn()
            .unwrap();
        Self { child, shown }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.shown).unwrap()).into_owned()
    }

    /// Types the answer once the question is shown; returns the exit code and the terminal's contents.
    async fn answered(mut self, answer: &str) -> (Option<i32>, String) {
        eventually("it asks", async || self.shown().contains("[y/N]").then_some(())).await;
        self.child.stdin.as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
        let status = eventually("it ends", async || self.child.try_wait().unwrap()).await;
        (status.code(), self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail if it has ended, which is fine.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn at_a_terminal_only_a_yes_confirms() {
    let dir = waiting(2).await;
    orders(&dir, "1-2").await;
    let (code, shown) = Terminal::start(&dir, &["retry", "--all"]).answered("n\n").await;
    assert_eq!(code, Some(3), "{shown}");
    assert!(
        shown.contains("retry 2 dead letters? [y/N]") && shown.contains("nothing was changed"),
        "{shown}"
    );
    assert_eq!((states(&dir).await, operations(&dir).await.len()), ((0, 0), 0));
    let (code, shown) = Terminal::start(&dir, &["retry", "--all"]).answered("\x03").await;
    assert_eq!(code, Some(1), "Ctrl-C at the question: {shown}");
    assert!(shown.contains("stopped before anything was changed"), "{shown}");
    assert_eq!(operations(&dir).await.len(), 0);
    let (code, shown) = Terminal::start(&dir, &["retry", "--all"]).answered("y\n").await;
    assert_eq!((code, states(&dir).await), (Some(0), (2, 0)), "{shown}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_question_about_one_dead_letter_names_its_order_and_payment() {
    let dir = waiting(2).await;
    let table = Table::of(&dir).await;
    let found = table.rows("SELECT id, payment_id FROM dead_letters WHERE order_id = 2", |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    });
    let [(id, payment)] = &found[..] else { panic!("{found:?}") };
    let question = format!("discard 1 dead letter, payment {payment} of order 2 ({id})? [y/N]");
    for selection in [["--order", "2"], ["--payment", &payment.to_string()]] {
        let args = [&["discard", "--note", "x"], &selection[..]].concat();
        let (code, shown) = Terminal::start(&dir, &args).answered("n\n").await;
        assert_eq!(code, Some(3), "{shown}");
        assert!(shown.contains(&question), "{shown}");
    }
    let fixed = "{\"payment_id\":9,\"order_id\":2,\"payment_method\":\"Transfer\",\
                 \"payment_status\":\"Completed\",\"payment_datetime\":\"2026-01-31\"}";
    dir.write("fixed.json", fixed);
    let args = ["correct", id, "--with", "fixed.json"];
    let (code, shown) = Terminal::start(&dir, &args).answered("n\n").await;
    assert_eq!(code, Some(3), "{shown}");
    let question =
        format!("publish payment {payment} of order 2 as corrected, and discard dead letter {id}? [y/N]");
    assert!(shown.contains(&question), "{shown}");
    assert_eq!((states(&dir).await, operations(&dir).await.len()), ((0, 0), 0));
}
