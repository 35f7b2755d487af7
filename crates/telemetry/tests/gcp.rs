//! The lines of a process that logs for Google Cloud Logging: log lines, other lines and the line of a panic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

use ecom_telemetry::logs::{self, LineFormat};
use ecom_telemetry::stderr;
use serde_json::{Value, json};

/// Set in the process whose lines are read.
const INSIDE: &str = "ECOM_TEST_INSIDE";

fn write_lines() {
    logs::init("info", 0, LineFormat::Gcp { project: None }).unwrap();
    tracing::error!(target: "ecom", { order.id = 7 }, "the server says: 4111 1111 1111 1111");
    tracing::debug!(target: "ecom", "not at this level");
    stderr::say_with("all done", "summary", json!({ "applied": 3 }));
    stderr::error("could not\nend", Some("begin"));
    panic!("at the end");
}

/// Runs a test in a process of its own and returns the lines that it writes to stderr.
fn run_inside(test: &str) -> Vec<Value> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(INSIDE, "1").env("RUST_BACKTRACE", "1");
    let written = String::from_utf8(command.output().unwrap().stderr).unwrap();
    written.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{written}"))).collect()
}

#[test]
fn every_line_is_an_object_that_cloud_logging_reads() {
    if std::env::var_os(INSIDE).is_some() {
        write_lines();
    }
    let lines = run_inside("every_line_is_an_object_that_cloud_logging_reads");
    for line in &lines {
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }
    let [logged, said, error, panic] = &lines[..] else { panic!("{lines:?}") };
    let of = |line: &Value| (line["severity"].clone(), line["message"].clone());
    assert_eq!(of(logged), (json!("ERROR"), json!("the server says: **** **** **** 1111")));
    assert_eq!((of(said), &said["summary"]), ((json!("INFO"), json!("all done")), &json!({ "applied": 3 })));
    assert_eq!((of(error), &error["hint"]), ((json!("ERROR"), json!("could not\nend")), &json!("begin")));
    let message = panic["message"].as_str().unwrap();
    assert_eq!(panic["severity"], "ERROR");
    assert!(
        message.starts_with("panicked at ") && message.contains(": at the end\n"),
        "with its backtrace: {message}"
    );
}

#[cfg(feature = "testing")]
mod traces {
    use super::*;
    use ecom_domain::attributes::Attributes;
    use ecom_telemetry::traces::{self, ReceivedSpan, testing::CollectedSpans};

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn log_in_a_span() {
        logs::init("info", 0, LineFormat::Gcp { project: Some("shop".to_owned()) }).unwrap();
        let (collected, started) = CollectedSpans::start(0.0);
        let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let attributes = Attributes::from_iter([("traceparent", traceparent)]);
        let received =
            ReceivedSpan { subscription: "orders_data-sub", id: "1", attempt: 1, attributes: &attributes };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let span = traces::delivery(received);
        runtime.block_on(span.scope().run(async { tracing::warn!(target: "ecom", "in the span") }));
        drop(span);
        tracing::warn!(target: "ecom", "behind it");
        let spans = collected.finish(started);
        stderr::say_with("done", "span_id", spans[0].span_id.clone().into());
    }

    #[test]
    fn a_line_within_a_span_names_it_and_its_trace() {
        if std::env::var_os(INSIDE).is_some() {
            return log_in_a_span();
        }
        let written = run_inside("traces::a_line_within_a_span_names_it_and_its_trace");
        let [within, behind, done] = &written[..] else { panic!("{written:?}") };
        assert_eq!(within["logging.googleapis.com/trace"], format!("projects/shop/traces/{TRACE}"));
        assert_eq!(within["logging.googleapis.com/spanId"], done["span_id"]);
        assert_eq!(within["logging.googleapis.com/trace_sampled"], true);
        assert_eq!(behind["message"], "behind it");
        assert!(behind["logging.googleapis.com/trace"].is_null(), "{behind}");
    }
}
