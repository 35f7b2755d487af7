//! Traces of real processes, as a real collector receives them.

use super::Place;
use crate::processes::{CONFIGURATION, free_ports, remove_variables, signal, wait_until};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The sources of the collector.
const COLLECTOR: &str = "xtask/src/ops/otel";
/// The time limit of a program, and of the collector's start.
const LIMIT: Duration = Duration::from_secs(120);
/// The order that is published after its payment was dead-lettered.
const LATE: i64 = 21;
/// The flags of producers for one order and one payment each, without any irregularity.
const PLAIN: &str =
    "--late-orders 0 --missing-orders 0 --duplicates 0 --order-updates 0 --second-payments 0 --invalid 0";

/// Runs the pipeline with traces of everything, and checks what the collector has received.
pub(super) fn received(place: &Place<'_>) -> Result<bool> {
    let (collector, programs) = (place.go_module(COLLECTOR, ".")?, place.tested_programs()?);
    let dir = place.root.join("target/ops/traces");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).with_context(|| format!("could not create {}", dir.display()))?;
    let collector = Collector::start(&collector, &dir)?;
    let run = |line: String| run(&programs, &dir, &line);
    let traced = |line: &str| {
        run(format!("{line} --set traces.otlp_endpoint={} --set traces.sample_ratio=1", collector.endpoint))
    };
    traced(&format!("orders_producer --order-ids 1-{} --rate max {PLAIN}", LATE - 1))?;
    traced(&format!("payments_producer --order-ids 1-{LATE} --rate max {PLAIN}"))?;
    traced("order_consumer --exit-on-idle 1s")?;
    traced("payment_consumer --exit-on-idle 1s --order-grace 0s")?;
    traced("dlq_handler run --once")?;
    traced(&format!("orders_producer --order-ids {LATE}-{LATE} --rate max {PLAIN}"))?;
    traced("order_consumer --exit-on-idle 1s")?;
    traced("dlq_handler run --once")?;
    let (rows, letters) = (
        run("ecom_facts export --format json".to_owned())?,
        run("dlq_handler list --format json".to_owned())?,
    );
    let text = collector.finish()?;
    let spans = Spans::of(&text)?;
    let faults = [spans.faults(), quoted(&text, &rows)?, open(&letters)?].concat();
    for fault in &faults {
        println!("{fault}");
    }
    println!("{} spans in {} traces", spans.0.len(), spans.traces().len());
    Ok(faults.is_empty())
}

/// Runs one of our programs to its end, which has to be a success, and returns its output.
fn run(programs: &Path, dir: &Path, line: &str) -> Result<String> {
    let mut words = line.split(' ');
    let name = words.next().context("a line has a program")?;
    let mut command = Command::new("timeout");
    command.arg(LIMIT.as_secs().to_string()).arg(programs.join(name)).args(words).arg("--embedded");
    remove_variables(&mut command, &CONFIGURATION);
    let output = command.current_dir(dir).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("could not start {name}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{line} failed\n{log}");
    ensure!(!log.contains("spans are lost") && !log.contains("not sent"), "{line} has lost spans\n{log}");
    String::from_utf8(output.stdout).with_context(|| format!("{line} printed no text"))
}

/// A running collector.
struct Collector {
    child: Child,
    endpoint: String,
    received: PathBuf,
}

impl Collector {
    /// Starts it; it writes what it receives into a file in `dir`.
    fn start(program: &Path, dir: &Path) -> Result<Self> {
        let [port] = free_ports()?;
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "yaml:{{ receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: '{address}' }} }} }} }}, \
             exporters: {{ lines: {{}} }}, service: {{ telemetry: {{ metrics: {{ level: none }} }}, \
             pipelines: {{ traces: {{ receivers: [otlp], exporters: [lines] }} }} }} }}"
        );
        let received = dir.join("received.jsonl");
        let log = dir.join("collector.log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(["--config", &config]);
        command.stdin(Stdio::null()).stdout(File::create(&received)?).stderr(File::create(&log)?);
        let child = command.spawn().context("could not start the collector")?;
        let mut collector = Self { child, endpoint: format!("http://{address}"), received };
        let is_up = wait_until(LIMIT, || {
            TcpStream::connect(&address).is_ok() || !matches!(collector.child.try_wait(), Ok(None))
        });
        let is_up = is_up && matches!(collector.child.try_wait(), Ok(None));
        ensure!(is_up, "the collector does not start\n{}", fs::read_to_string(&log).unwrap_or_default());
        Ok(collector)
    }

    /// Ends it, and returns what it has received: a line of OTLP JSON for each batch.
    fn finish(mut self) -> Result<String> {
        signal(self.child.id(), Signal::TERM)?;
        if !wait_until(LIMIT, || !matches!(self.child.try_wait(), Ok(None))) {
            bail!("the collector does not end");
        }
        fs::read_to_string(&self.received).context("could not read what the collector has received")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A span, with the program that sent it.
#[derive(Debug)]
struct Span {
    program: String,
    trace: String,
    id: String,
    parent: String,
    name: String,
    order: Option<i64>,
}

/// All spans.
struct Spans(Vec<Span>);

impl Spans {
    /// Reads the lines of the collector.
    fn of(text: &str) -> Result<Self> {
        let mut spans = Vec::new();
        for line in text.lines() {
            let batch: Value = serde_json::from_str(line).context("a line of the collector is not JSON")?;
            for resource in list(&batch["resourceSpans"]) {
                let program = attribute(&resource["resource"], "service.name").unwrap_or_default();
                for span in list(&resource["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
                    let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
                    spans.push(Span {
                        program: program.clone(),
                        trace: text("traceId"),
                        id: text("spanId"),
                        parent: text("parentSpanId"),
                        name: text("name"),
                        order: attribute(span, "order.id").and_then(|id| id.parse().ok()),
                    });
                }
            }
        }
        Ok(Self(spans))
    }

    /// Returns the ids of the traces.
    fn traces(&self) -> Vec<&str> {
        let mut traces: Vec<&str> = self.0.iter().map(|span| span.trace.as_str()).collect();
        traces.sort_unstable();
        traces.dedup();
        traces
    }

    /// Returns the spans of the trace in which a program has processed this order.
    fn trace(&self, program: &str, order: i64) -> Vec<&Span> {
        let known = self.0.iter().find(|span| span.program == program && span.order == Some(order));
        self.0.iter().filter(|span| known.is_some_and(|known| known.trace == span.trace)).collect()
    }

    /// Returns what is not as it has to be.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for order in 1..=LATE {
            let lines = tree(&self.trace("order_consumer", order));
            let expected = [
                "orders_producer: publish orders_data",
                "order_consumer: process orders_data-sub < publish orders_data",
                "order_consumer: record_order < process orders_data-sub",
            ];
            differ(&mut faults, &format!("order {order}"), &lines, &expected);
        }
        for order in 1..LATE {
            let lines = tree(&self.trace("payment_consumer", order));
            let expected = [
                "payments_producer: publish payments_data",
                "payment_consumer: process payments_data-sub < publish payments_data",
                "payment_consumer: payment_slot < process payments_data-sub",
                "payment_consumer: record_payment < process payments_data-sub",
            ];
            differ(&mut faults, &format!("payment of order {order}"), &lines, &expected);
        }
        let lines = tree(&self.trace("payment_consumer", LATE));
        let expected = [
            "payments_producer: publish payments_data",
            "payment_consumer: process payments_data-sub < publish payments_data",
            "payment_consumer: payment_slot < process payments_data-sub",
            "payment_consumer: publish dlq_payments_data < process payments_data-sub",
            "dlq_handler: process dlq_payments_data-sub < publish payments_data",
            "dlq_handler: record_dead_letter < process dlq_payments_data-sub",
            "dlq_handler: retry < publish payments_data",
            "dlq_handler: payment_slot < retry",
            "dlq_handler: record_payment < retry",
            "dlq_handler: apply_update < retry",
        ];
        differ(&mut faults, "the payment before its order", &lines, &expected);
        let expected = usize::try_from(2 * LATE).unwrap_or_default();
        if self.traces().len() != expected {
            faults.push(format!("{} traces, and {expected} events", self.traces().len()));
        }
        faults
    }
}

/// Returns the spans of a trace, each with the program that sent it and its parent, sorted; alike ones once.
fn tree(spans: &[&Span]) -> Vec<String> {
    let parent = |span: &Span| match spans.iter().find(|other| other.id == span.parent) {
        Some(parent) => format!(" < {}", parent.name),
        None if span.parent.is_empty() => String::new(),
        None => " < a span that was not received".to_owned(),
    };
    let mut lines: Vec<String> =
        spans.iter().map(|span| format!("{}: {}{}", span.program, span.name, parent(span))).collect();
    lines.sort();
    lines.dedup();
    lines
}

fn differ(faults: &mut Vec<String>, what: &str, lines: &[String], expected: &[&str]) {
    let mut expected: Vec<&str> = expected.to_vec();
    expected.sort_unstable();
    if lines != expected {
        faults.push(format!("{what}: its trace is {lines:#?}, expected {expected:#?}"));
    }
}

/// Returns a fault for each value of a row that a span quotes. Ids may be quoted, and short values say nothing.
fn quoted(text: &str, rows: &str) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut values = 0;
    for line in rows.lines() {
        let row: Value = serde_json::from_str(line).context("an exported row is not JSON")?;
        for (column, value) in row.as_object().into_iter().flatten() {
            let Some(value) = value.as_str().filter(|value| value.len() >= 8) else { continue };
            values += 1;
            if text.contains(value) {
                faults.push(format!("a span quotes {column}: {value}"));
            }
        }
    }
    ensure!(values > 0, "no row has a value to look for");
    Ok(faults)
}

/// Returns a fault for each dead letter that is not recovered.
fn open(letters: &str) -> Result<Vec<String>> {
    let listed: Value = serde_json::from_str(letters).context("the list of dead letters is not JSON")?;
    let letters = listed["dead_letters"].as_array().context("the list of dead letters has none")?;
    let open = letters.iter().filter(|letter| letter["state"] != "recovered");
    Ok(open.map(|letter| format!("a dead letter is not recovered: {letter}")).collect())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns an attribute as text.
fn attribute(of: &Value, name: &str) -> Option<String> {
    let attribute = list(&of["attributes"]).iter().find(|attribute| attribute["key"] == name)?;
    // A 64-bit number is text, too.
    attribute["value"].as_object()?.values().find_map(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(spans: &str) -> String {
        let service = r#"{"attributes":[{"key":"service.name","value":{"stringValue":"order_consumer"}}]}"#;
        format!(r#"{{"resourceSpans":[{{"resource":{service},"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
    }

    #[test]
    fn spans_are_read_with_their_program_their_parent_and_their_order() {
        let text = line(
            r#"{"traceId":"t","spanId":"a","name":"process","attributes":[{"key":"order.id","value":{"intValue":"7"}}]},
               {"traceId":"t","spanId":"b","parentSpanId":"a","name":"record_order"},
               {"traceId":"u","spanId":"c","parentSpanId":"x","name":"other"}"#,
        );
        let spans = Spans::of(&text.replace('\n', "")).unwrap();
        assert_eq!(spans.traces(), ["t", "u"]);
        let lines = tree(&spans.trace("order_consumer", 7));
        assert_eq!(lines, ["order_consumer: process", "order_consumer: record_order < process"]);
        assert!(spans.trace("order_consumer", 8).is_empty());
        let lost = tree(&spans.0.iter().filter(|span| span.trace == "u").collect::<Vec<_>>());
        assert_eq!(lost, ["order_consumer: other < a span that was not received"]);
        assert!(!spans.faults().is_empty());
    }

    #[test]
    fn a_value_of_a_row_in_a_span_is_a_fault() {
        let rows = r#"{"order_id":7,"shipping_address":"1 Sentinel Street","item":"Mug"}"#;
        assert!(quoted("order 7, Mug", rows).unwrap().is_empty());
        assert_eq!(quoted("to 1 Sentinel Street", rows).unwrap().len(), 1);
        assert!(quoted("", "").is_err());
    }

    #[test]
    fn an_open_dead_letter_is_a_fault() {
        let listed = |state: &str| format!("{{\"dead_letters\":[{{\"state\":\"{state}\"}}]}}");
        assert!(open(&listed("recovered")).unwrap().is_empty());
        assert_eq!(open(&listed("waiting")).unwrap().len(), 1);
    }
}
