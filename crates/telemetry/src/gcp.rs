//! Log lines as Google Cloud Logging reads them: JSON objects with `severity`, `message` and `time`, and the trace that a
//! line belongs to.

use std::fmt::{self, Debug};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::{stderr, traces};

/// Formats log lines. Their fields, and those of their spans, are top-level keys.
pub(crate) struct GcpFormat {
    project: Option<String>,
}

impl GcpFormat {
    /// A format whose lines link to traces of this project. Without a project they link to none.
    pub(crate) fn new(project: Option<String>) -> Self {
        Self { project }
    }

    /// Adds the keys that Cloud Logging moves out of the line into the log entry. They replace fields of the same name.
    fn insert_special(&self, line: &mut Map<String, Value>, event: &Event<'_>) {
        let metadata = event.metadata();
        line.insert("time".to_owned(), stderr::now().into());
        line.insert("severity".to_owned(), severity(*metadata.level()).into());
        line.insert("target".to_owned(), metadata.target().into());
        line.entry("message").or_insert_with(|| metadata.name().into());
        if let (Some(file), Some(number)) = (metadata.file(), metadata.line()) {
            // A 64-bit number is text in the JSON of Google's APIs.
            let location = json!({ "file": file, "line": number.to_string() });
            line.insert("logging.googleapis.com/sourceLocation".to_owned(), location);
        }
        if let (Some(span), Some(project)) = (traces::current(), &self.project) {
            let trace = format!("projects/{project}/traces/{}", span.trace_id);
            line.insert("logging.googleapis.com/trace".to_owned(), trace.into());
            line.insert("logging.googleapis.com/spanId".to_owned(), span.span_id.into());
            line.insert("logging.googleapis.com/trace_sampled".to_owned(), true.into());
        }
    }
}

impl<S> FormatEvent<S, JsonFields> for GcpFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>().map(|fields| fields.fields.as_str());
            if let Some(Ok(fields)) = fields.map(serde_json::from_str::<Map<String, Value>>) {
                line.extend(fields);
            }
            line.insert("span".to_owned(), span.name().into());
        }
        event.record(&mut Fields(&mut line));
        self.insert_special(&mut line, event);
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Returns the name of a level in Cloud Logging.
fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

/// Collects the fields of an event.
struct Fields<'l>(&'l mut Map<String, Value>);

impl Fields<'_> {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::format::FmtSpan;

    use super::*;

    /// The bytes written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that are logged meanwhile.
    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_span_events(FmtSpan::CLOSE)
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(GcpFormat::new(None))
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_a_severity_a_message_a_time_and_its_fields_beside_them() {
        let lines = lines(|| {
            let error = std::io::Error::other("it is \"down\"\nfor good");
            tracing::warn!(role = "order_consumer", attempt = 3, share = 0.5, is_last = true, "{error}");
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line["severity"], "WARNING");
        assert_eq!(line["message"], "it is \"down\"\nfor good");
        assert!(
            line["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.contains('T')),
            "{line}"
        );
        assert_eq!(line["role"], "order_consumer");
        assert_eq!((&line["attempt"], &line["share"]), (&json!(3), &json!(0.5)));
        assert_eq!(line["is_last"], true);
        let location = &line["logging.googleapis.com/sourceLocation"];
        assert!(location["file"].as_str().is_some_and(|file| file.ends_with("gcp.rs")), "{line}");
        assert!(location["line"].as_str().is_some_and(|line| line.parse::<u32>().is_ok()), "{line}");
    }

    #[test]
    fn every_level_has_its_severity() {
        let lines = lines(|| {
            tracing::error!("1");
            tracing::warn!("2");
            tracing::info!("3");
            tracing::debug!("4");
            tracing::trace!("5");
        });
        let severities: Vec<_> = lines.iter().map(|line| line["severity"].as_str().unwrap()).collect();
        assert_eq!(severities, ["ERROR", "WARNING", "INFO", "DEBUG", "DEBUG"]);
    }

    #[test]
    fn fields_of_the_spans_are_fields_of_the_line_and_take_no_place_of_its_own_keys() {
        let lines = lines(|| {
            let span = tracing::debug_span!("delivery", message.id = "7", time = "never", severity = "NONE");
            span.in_scope(|| tracing::info!(message.id = "8", "first"));
        });
        let [first, closed] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&first["span"], &first["message.id"]), (&json!("delivery"), &json!("8")));
        assert_eq!((&closed["message"], &closed["message.id"]), (&json!("close"), &json!("7")));
        for line in &lines {
            assert_ne!((&line["time"], &line["severity"]), (&json!("never"), &json!("NONE")));
        }
    }

    #[test]
    fn a_line_without_a_message_has_the_name_of_its_event() {
        let lines = lines(|| tracing::info!(summary = ?Some(1)));
        assert!(lines[0]["message"].as_str().is_some_and(|name| name.starts_with("event ")), "{lines:?}");
        assert_eq!(lines[0]["summary"], "Some(1)");
    }
}
