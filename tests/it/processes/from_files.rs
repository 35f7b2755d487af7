//! Producers that publish the lines of files and stdin: read to their end, or a failure that says where.

use std::io::Write;
use std::time::Duration;

use super::program::{Program, ProgramOutput, TestDir, eventually};
use super::table::Table;

/// The published bodies in publishing order.
fn bodies(table: &Table) -> Vec<String> {
    table.rows("SELECT CAST(body AS TEXT) FROM messages ORDER BY id", |row| row.get(0))
}

async fn publish(dir: &TestDir, args: &[&str]) -> ProgramOutput {
    dir.run("orders_producer", &[&["--rate", "max"], args].concat()).await
}

fn numbered(numbers: std::ops::RangeInclusive<u32>) -> String {
    numbers.map(|number| format!("{{\"order_id\":{number}}}\n")).collect()
}

/// The N of the `--skip N` that a run printed.
fn printed_skip(ended: &ProgramOutput) -> String {
    let rest = ended.stderr.rsplit("--skip ").next().unwrap();
    rest.chars().take_while(char::is_ascii_digit).collect()
}

#[tokio::test]
async fn an_input_that_cannot_be_read_to_its_end_is_a_failure_that_names_file_and_line() {
    let dir = TestDir::new();
    dir.run("ecom_setup", &[]).await.with(0);
    std::fs::create_dir(dir.path("folder")).unwrap();
    let folder = publish(&dir, &["--from", "folder"]).await.with(2);
    assert!(folder.stderr.contains("error: could not read folder: it is a folder"), "{}", folder.stderr);
    dir.write("orders.jsonl", numbered(1..=3));
    let absent = publish(&dir, &["--from", "orders.jsonl", "absent.jsonl"]).await.with(2);
    assert!(absent.stderr.contains("error: could not read absent.jsonl: "), "{}", absent.stderr);
    assert_eq!(Table::of(&dir).await.published(), 0, "nothing is published of an input that is not complete");

    // Its first page is not mapped, so that reading it is an I/O error.
    let broken = publish(&dir, &["--from", "orders.jsonl", "--from", "/proc/self/mem"]).await.with(1);
    let error = "error: could not read line 1 of /proc/self/mem: ";
    assert!(broken.stderr.contains(error), "{}", broken.stderr);
    assert!(broken.stderr.contains("\nhint: "), "{}", broken.stderr);
    assert_eq!(printed_skip(&broken), "3");
    assert_eq!(Table::of(&dir).await.published(), 3, "what comes before the error is published");
    let manifest = ["--from", "orders.jsonl", "/proc/self/mem", "--manifest", "m.json"];
    let broken = publish(&dir, &manifest).await.with(1);
    assert!(broken.stderr.contains(error), "{}", broken.stderr);
    assert!(!dir.path("m.json").exists());
    assert_eq!(Table::of(&dir).await.published(), 3, "a manifest is complete, or nothing is published");
}

#[tokio::test]
async fn several_files_are_published_in_order_without_marks_line_ends_and_blank_lines() {
    let dir = TestDir::new();
    dir.write("a.jsonl", "\u{feff}{\"order_id\":1}\r\n\r\n{\"order_id\":2}\r\n");
    dir.write("b.jsonl", "\n  \t\n{\"order_id\":3}\n\n{\"order_id\":4}");
    dir.write("c.jsonl", "\u{feff}");
    publish(&dir, &["--from", "a.jsonl", "b.jsonl", "c.jsonl", "--manifest", "m.json"]).await.with(0);
    let all: Vec<String> = (1..=4).map(|number| format!("{{\"order_id\":{number}}}")).collect();
    let table = Table::of(&dir).await;
    assert_eq!(bodies(&table), all);
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path("m.json")).unwrap()).unwrap();
    assert_eq!(manifest["source"]["bodies"], serde_json::json!(all));
}

#[tokio::test]
async fn a_run_that_was_bounded_or_stopped_says_where_and_the_next_one_continues_there() {
    let dir = TestDir::new();
    dir.write("a.jsonl", numbered(1..=400));
    dir.write("b.jsonl", format!("\n{}", numbered(401..=3_000)));
    let files = ["--from", "a.jsonl", "b.jsonl"];
    let counted = publish(&dir, &[&files[..], &["--count", "402"]].concat()).await.with(0);
    assert!(counted.stderr.contains("published up to line 3 of b.jsonl"), "{}", counted.stderr);
    let skip = printed_skip(&counted);
    assert_eq!(skip, "403", "of both files, with the blank line");

    let args = [&files[..], &["--skip", &skip, "--rate", "1000/s", "--manifest", "m.json"]].concat();
    let producer = dir.start("orders_producer", &args);
    let table = Table::of(&dir).await;
    eventually("it is in the middle", async || (table.published() > 500).then_some(())).await;
    let stopped = producer.drained().await.with(1);
    assert!(stopped.stderr.contains("error: stopped after line "), "{}", stopped.stderr);
    assert!(
        stopped.stderr.contains(" of b.jsonl, before the end of the input\nhint: "),
        "{}",
        stopped.stderr
    );
    assert!(table.published() < 3_000, "it ended before the signal");
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path("m.json")).unwrap()).unwrap();
    assert_eq!(
        manifest["published"]["orders"],
        table.published() - 402,
        "the manifest has what was published"
    );

    let rest = publish(&dir, &[&files[..], &["--skip", &printed_skip(&stopped)]].concat()).await.with(0);
    assert!(!rest.stderr.contains("--skip"), "nothing is left: {}", rest.stderr);
    let none = publish(&dir, &[&files[..], &["--skip", "3001"]].concat()).await.with(0);
    assert!(none.stderr.contains("nothing is left of the input after --skip 3001"), "{}", none.stderr);
    let all: Vec<String> = (1..=3_000).map(|number| format!("{{\"order_id\":{number}}}")).collect();
    assert_eq!(bodies(&table), all);
}

/// A producer of stdin, and the writing end of its pipe.
fn piped(dir: &TestDir, args: &[&str]) -> (Program, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let args = [&["--rate", "max", "--from", "-"], args].concat();
    (dir.program("orders_producer", &args).stdin_from(reader.into()), writer)
}

#[tokio::test]
async fn an_over_long_line_is_a_reported_reject_and_the_lines_behind_it_are_published_in_bounded_memory() {
    let dir = TestDir::new();
    let (producer, mut pipe) = piped(&dir, &[]);
    let producer = producer.start();
    let writing = std::thread::spawn(move || {
        pipe.write_all(b"{\"order_id\":1}\n").unwrap();
        let part = vec![b'x'; 1024 * 1024];
        (0..300).for_each(|_| pipe.write_all(&part).unwrap());
        pipe.write_all(b"\n{\"order_id\":2}\n").unwrap();
        pipe
    });
    let table = Table::of(&dir).await;
    eventually("the line behind it is published", async || (table.published() == 2).then_some(())).await;
    assert!(producer.peak_memory_mib() < 150, "{} MiB", producer.peak_memory_mib());
    let mut pipe = writing.join().unwrap();
    // A line of the limit is published.
    pipe.write_all(&vec![b'y'; 16 * 1024 * 1024]).unwrap();
    drop(pipe);
    let ended = producer.ended().await.with(3);
    let error =
        "error: line 2 of stdin is rejected: it has 314,572,800 bytes, at most 16,777,216 are published";
    assert!(ended.stderr.contains(error), "{}", ended.stderr);
    assert!(ended.stderr.contains("error: 1 line of the input could not be published"), "{}", ended.stderr);
    assert_eq!(table.published(), 3);
}

#[tokio::test]
async fn a_producer_of_a_silent_pipe_publishes_each_line_at_once_and_ends_on_a_signal() {
    let dir = TestDir::new();
    let (producer, mut pipe) = piped(&dir, &[]);
    let producer = producer.start();
    for number in 1..=3 {
        pipe.write_all(format!("{{\"order_id\":{number}}}\n").as_bytes()).unwrap();
        let table = Table::of(&dir).await;
        eventually("the line is published", async || (table.published() == number).then_some(())).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(20), producer.drained()).await;
    let ended = ended.expect("the pipe is open, and it does not wait for it").with(1);
    assert!(ended.stderr.contains("error: stopped after line 3 of stdin, before the end of the input"));
    assert_eq!(printed_skip(&ended), "3");
    drop(pipe);
}
