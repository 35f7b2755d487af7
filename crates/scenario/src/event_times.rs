//! The event times of published messages, read from an archive of the topics.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use crate::units::body_hash;
use ecom_codec::envelope::parse_rfc3339;
use ecom_codec::screen::{ScreenedBody, screen};
use ecom_domain::dead_letter::{EventKind, StoredBody};
use ecom_domain::event_time::{EventTime, Stamp};

/// The event times of published messages, by the hash of kind and body.
#[derive(Clone, Default, Debug)]
pub struct EventTimes {
    times: HashMap<u64, Vec<EventTime>>,
}

/// A line of an archive: a message as Pub/Sub writes it in JSON, with its topic.
#[derive(Deserialize)]
struct Line {
    topic: String,
    message: Message,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(default)]
    data: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    message_id: String,
    publish_time: String,
}

impl EventTimes {
    /// Reads an archive of JSON lines. `kind_of` returns the kind of events of a topic, given by its full name;
    /// messages of other topics are skipped.
    ///
    /// # Errors
    /// If the archive cannot be read, or a line is not a message; the error names the line.
    pub fn read(archive: impl BufRead, kind_of: impl Fn(&str) -> Option<EventKind>) -> io::Result<Self> {
        let mut times = Self::default();
        for (number, line) in (1..).zip(archive.lines()) {
            let line = line?;
            times.add(&line, &kind_of).map_err(|problem| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {problem}"))
            })?;
        }
        Ok(times)
    }

    fn add(&mut self, line: &str, kind_of: impl Fn(&str) -> Option<EventKind>) -> Result<(), String> {
        let Line { topic, message } = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let Some(kind) = kind_of(&topic) else { return Ok(()) };
        let body = BASE64_STANDARD.decode(&message.data).map_err(|error| format!("data: {error}"))?;
        let published = parse_rfc3339(&message.publish_time).ok_or("publishTime is not RFC 3339")?;
        let claimed = message.attributes.get("event_time_us").map(String::as_str);
        let t = EventTime::of(&Stamp::source(published, &message.message_id, claimed));
        let body = match screen(&Bytes::from(body)) {
            ScreenedBody::Masked { body, .. } => body.into_bytes(),
            ScreenedBody::Clean(body) => body.into_bytes(),
        };
        let times = self.times.entry(body_hash(kind, &StoredBody::keep(&body))).or_default();
        if !times.contains(&t) {
            times.push(t);
        }
        Ok(())
    }

    /// Returns whether a message with this hash of kind and body has this event time.
    pub(crate) fn has(&self, body: u64, t: EventTime) -> bool {
        self.times.get(&body).is_some_and(|times| times.contains(&t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(topic: &str) -> Option<EventKind> {
        topic.ends_with("orders").then_some(EventKind::Order)
    }

    fn line(topic: &str, data: &str, attributes: &str) -> String {
        format!(
            r#"{{"topic":"{topic}","message":{{"data":"{data}","attributes":{attributes},"messageId":"1042","publishTime":"2026-01-01T00:00:00.250Z"}}}}"#
        )
    }

    #[test]
    fn the_event_times_are_those_of_the_messages() {
        let body = BASE64_STANDARD.encode(b"a body");
        let archive = [
            line("orders", &body, r#"{"event_time_us":"1767225599000001"}"#),
            line("orders", &body, "{}"),
            line("payments", "????", "{}"),
        ];
        let times = EventTimes::read(archive.join("\n").as_bytes(), kind_of).expect("an archive");
        let hash = |kind| body_hash(kind, &StoredBody::keep(&Bytes::from_static(b"a body")));
        let has = |kind, micros| times.has(hash(kind), EventTime::stored(micros));
        assert!(has(EventKind::Order, 1_767_225_599_000_001));
        assert!(has(EventKind::Order, 1_767_225_600_250_042), "the publish time and the slot");
        assert!(!has(EventKind::Order, 1_767_225_600_250_043));
        assert!(!has(EventKind::Payment, 1_767_225_599_000_001));
    }

    #[test]
    fn a_line_that_is_no_message_is_named() {
        for (bad, named) in [
            ("{}".to_owned(), "line 2: missing field `topic`"),
            (line("orders", "????", "{}"), "line 2: data: "),
            (line("orders", "", "{}").replace("T00:", "?00:"), "line 2: publishTime is not RFC 3339"),
        ] {
            let archive = format!("{}\n{bad}", line("orders", "", "{}"));
            let error = EventTimes::read(archive.as_bytes(), kind_of).expect_err("not a message");
            assert!(error.to_string().starts_with(named), "{error}");
        }
    }
}
