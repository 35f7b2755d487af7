//! `docs/analysts.md`, executed: its commands and its Python on the data of a small demo, and its CQL on Cassandra.
//! `…` stands for what varies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::program::{PROGRAMS, TestDir};
use crate::metrics::file;

const PAGE: &str = "docs/analysts.md";
/// The packages that the Python of the page imports.
const PACKAGES: [&str; 3] = ["duckdb==2.0.1", "pandas==3.1.1", "pyarrow==26.0.1"];
/// Printed between the outputs of two blocks of Python.
const NEXT: &str = "=== next ===";

/// A fenced block of the page.
struct Block {
    language: String,
    lines: Vec<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    for part in page.split("```").skip(1).step_by(2) {
        let mut lines = part.lines().map(str::to_owned);
        blocks.push(Block { language: lines.next().unwrap_or_default(), lines: lines.collect() });
    }
    blocks
}

/// Returns whether a line is as written, where `…` stands for anything.
fn is_as_written(line: &str, written: &str) -> bool {
    let mut parts = written.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The page, and what its blocks print in this test.
struct Page {
    text: String,
    differences: Vec<String>,
}

impl Page {
    fn open() -> Self {
        Self { text: file(PAGE), differences: Vec::new() }
    }

    /// Compares the output of a command or of a block, which stands below `above`.
    fn compare(&mut self, above: &str, written: &[String], printed: &str) {
        let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let as_written = |(line, written): (&&str, &String)| is_as_written(line, written.trim_end());
        if printed.len() == written.len() && printed.iter().zip(written).all(as_written) {
            return;
        }
        let shown = |lines: Vec<&str>| format!("{above}\n{}", lines.join("\n")).trim_end().to_owned();
        let written = shown(written.iter().map(String::as_str).collect());
        let printed = shown(printed);
        self.text = self.text.replacen(&written, &printed, 1);
        self.differences.push(format!("--- written\n{written}\n--- printed\n{printed}"));
    }

    /// Fails if anything was printed that is not written. With `UPDATE_DOCS=1` it is written into the page.
    fn finish(self) {
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE), &self.text).unwrap();
        }
        assert!(self.differences.is_empty(), "{}", self.differences.join("\n"));
    }
}

/// Runs command lines in a folder, with the variables that earlier ones exported.
struct Shell<'d> {
    dir: &'d TestDir,
    exported: BTreeMap<String, String>,
}

impl Shell<'_> {
    fn run(&mut self, line: &str) -> Output {
        if let Some((name, value)) = line.strip_prefix("export ").and_then(|line| line.split_once('=')) {
            self.exported.insert(name.to_owned(), value.to_owned());
        }
        let folder = Path::new(PROGRAMS[0].1).parent().unwrap().display().to_string();
        Command::new("sh")
            .args(["-c", line])
            .env_clear()
            .env("PATH", format!("{folder}:/usr/bin:/bin"))
            .env("HOME", self.dir.path("."))
            .env("LC_ALL", "C")
            .envs(&self.exported)
            .current_dir(self.dir.path("."))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

fn text(output: &Output, of: &str) -> String {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{of}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

fn is_required() -> bool {
    std::env::var("REQUIRE_SERVICES").is_ok_and(|flag| !matches!(flag.as_str(), "" | "0"))
}

fn skipped(what: &str) {
    use std::io::Write;
    assert!(!is_required(), "REQUIRE_SERVICES is set, but {what}");
    writeln!(std::io::stderr(), "skipped: {what}").ok();
}

/// Returns a Python that has the packages; where it is required, one that has been installed below the target
/// folder.
fn python() -> Option<PathBuf> {
    let imports = ["-c", "import duckdb, pandas, pyarrow"];
    let has_them = |python: &Path| {
        Command::new(python).args(imports).output().is_ok_and(|output| output.status.success())
    };
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("analysts").join("bin/python");
    let known = [PathBuf::from("python3"), installed.clone()];
    if let Some(python) = known.into_iter().find(|python| has_them(python)) {
        return Some(python);
    }
    if is_required() {
        let venv = installed.parent().unwrap().parent().unwrap();
        let made = Command::new("python3").args(["-m", "venv"]).arg(venv).output().unwrap();
        text(&made, "python3 -m venv");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        text(&Command::new(&installed).args(pip).args(PACKAGES).output().unwrap(), "pip install");
        return Some(installed);
    }
    skipped("no python3 has duckdb, pandas and pyarrow");
    None
}

#[test]
fn the_commands_and_the_python_of_the_page_for_analysts_print_what_is_written() {
    if Command::new("sqlite3").arg("-version").output().is_err() {
        return skipped("there is no sqlite3");
    }
    let dir = TestDir::new();
    let mut shell = Shell { dir: &dir, exported: BTreeMap::new() };
    let mut page = Page::open();
    let blocks = blocks(&page.text);
    let mut commands = 0;
    for block in blocks.iter().filter(|block| block.language == "console") {
        let starts: Vec<usize> =
            (0..block.lines.len()).filter(|at| block.lines[*at].starts_with("$ ")).collect();
        for (nth, start) in starts.iter().enumerate() {
            let end = starts.get(nth + 1).copied().unwrap_or(block.lines.len());
            let line = &block.lines[*start];
            let printed = text(&shell.run(&line[2..]), line);
            page.compare(line, &block.lines[start + 1..end], &printed);
            commands += 1;
        }
    }
    assert!(commands >= 18, "{commands} commands");
    if let Some(python) = python() {
        let with_output = |(at, block): (usize, &Block)| (block.language == "python").then_some(at);
        let scripts: Vec<usize> = blocks.iter().enumerate().filter_map(with_output).collect();
        assert!(scripts.len() >= 3, "{} blocks of Python", scripts.len());
        let script = |at: &usize| blocks[*at].lines.join("\n");
        let all: Vec<String> = scripts.iter().map(script).collect();
        let script = all.join(&format!("\nprint({NEXT:?})\n"));
        let ran = Command::new(python).args(["-c", &script]).current_dir(dir.path(".")).output().unwrap();
        let printed = text(&ran, &script);
        for (at, printed) in scripts.iter().zip(printed.split(&format!("{NEXT}\n"))) {
            let last = blocks[*at].lines.last().unwrap();
            page.compare(&format!("{last}\n```\n\n```text"), &blocks[at + 1].lines, printed);
        }
    }
    page.finish();
}

#[cfg(feature = "cassandra")]
#[tokio::test]
async fn the_cql_of_the_page_for_analysts_finds_rows() {
    use ecom_domain::event_time::EventTime;
    use ecom_domain::fact::SupersededPayment;
    use ecom_domain::order::{Order, OrderId};
    use ecom_domain::payment::Payment;
    use ecom_store::FactStore;

    let Some(settings) = crate::services::own_keyspace("analysts").await else { return };
    let store = ecom_store_cassandra::CassandraStore::connect(&settings).await.unwrap();
    let order = Order {
        order_id: OrderId(1),
        customer_id: 27_084,
        item: "Laptop".into(),
        quantity: 1,
        price: 1_200.5,
        shipping_address: "1 Main Street".into(),
        order_status: "Pending".into(),
        creation_date: "2024-08-29".into(),
    };
    let payment = |payment_id| Payment {
        payment_id,
        order_id: OrderId(1),
        payment_method: "PayPal".into(),
        card_last_four: None,
        payment_status: "Completed".into(),
        payment_datetime: "2024-08-29".into(),
    };
    let t = |micros: i64| EventTime::stored(1_705_831_290_000_000 + micros);
    store.record_order(&order, t(0)).await.unwrap();
    let lost = SupersededPayment { order_id: OrderId(1), t: t(1), payment: (&payment(30)).into() };
    store.record_superseded(&lost).await.unwrap();
    store.record_payment(&payment(31), t(2)).await.unwrap();
    let session = scylla::client::session_builder::SessionBuilder::new()
        .known_nodes(&settings.contact_points)
        .build()
        .await
        .unwrap();
    let in_keyspace = |cql: &str| cql.replace("ecom_store.", &format!("{}.", settings.keyspace));
    let indexes = file("cql/indexes.cql");
    let code: String = indexes.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    for cql in code.split(';').map(str::trim).filter(|cql| cql.starts_with("CREATE INDEX")) {
        session.query_unpaged(in_keyspace(cql), ()).await.unwrap();
    }
    session.await_schema_agreement().await.unwrap();
    let mut queries = 0;
    for block in blocks(&file(PAGE)).iter().filter(|block| block.language == "cql") {
        for cql in block.lines.join("\n").split(';').map(str::trim).filter(|cql| !cql.is_empty()) {
            // An index can be asked once it is built.
            super::program::eventually(cql, async || {
                let rows = session.query_unpaged(in_keyspace(cql), ()).await.ok()?;
                (rows.into_rows_result().unwrap().rows_num() == 1).then_some(())
            })
            .await;
            queries += 1;
        }
    }
    assert!(queries >= 5, "{queries} queries");
    // The exports read token ranges.
    let dir = TestDir::new();
    let points = format!("store.cassandra.contact_points={}", settings.contact_points.join(","));
    let keyspace = format!("store.cassandra.keyspace={}", settings.keyspace);
    let store = ["--set", "store.kind=cassandra", "--set", &points, "--set", &keyspace];
    let export = ["export", "--format", "parquet", "--out", "facts"];
    let said = dir.run("ecom_facts", &[&export[..], &store].concat()).await.with(0);
    assert!(said.stderr.contains("exported 1 rows to 16 files in facts"), "{}", said.stderr);
    let export = ["export", "--table", "superseded", "--format", "json"];
    let superseded = dir.run("ecom_facts", &[&export[..], &store].concat()).await.with(0).json();
    assert_eq!((&superseded["payment_id"], &superseded["superseded_by"]), (&30.into(), &31.into()));
}

#[test]
fn what_varies_may_be_left_out() {
    for (line, written, fits) in [
        ("a", "a", true),
        ("a", "b", false),
        ("ab", "a", false),
        ("order 17 at noon", "order … at noon", true),
        ("order 17 at noon", "order … at …", true),
        ("order 17 at noon", "order … by …", false),
        ("order 17", "…", true),
    ] {
        assert_eq!(is_as_written(line, written), fits, "{line} as {written}");
    }
}
