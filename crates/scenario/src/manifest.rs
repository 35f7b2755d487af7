//! Manifests: a file, written before the first publish, from which all messages of a run can be recomputed.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::generate::{ScenarioPlan, order_events, order_ids, payment_events};
use crate::planned::{EventContent, PlannedEvent};
use crate::reference::Reference;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;

/// The version of manifests that this build reads and writes. It changes with the file format and with the
/// events that a seed generates.
pub const VERSION: u32 = 2;

/// The manifest of a producer's run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The [`VERSION`] of the build that wrote it.
    pub version: u32,
    /// The topics that the run publishes to.
    pub kind: Streams,
    /// The source of the events.
    pub source: EventSource,
    /// The id of the run.
    pub run_id: String,
    /// The start of the run by the producer's clock, in microseconds since the epoch. No event of the run has
    /// an earlier event time.
    pub started_at_us: i64,
    /// The number of published messages, if the run ended before its plan; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<PublishedCounts>,
}

/// The number of messages of each stream that were published, from the beginning of the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedCounts {
    /// The number of messages on the orders topic.
    pub orders: u64,
    /// The number of messages on the payments topic.
    pub payments: u64,
}

/// The topics that a run publishes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Streams {
    /// The orders topic.
    Orders,
    /// The payments topic.
    Payments,
    /// Both topics, from one process.
    Both,
}

/// The source of a run's events.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventSource {
    /// A seeded scenario.
    Scenario(ScenarioPlan),
    /// The streams of the reference producers.
    Reference(Reference),
    /// Bodies from a file, published as they are.
    Bodies {
        /// The bodies in publishing order.
        bodies: Vec<ManifestBody>,
    },
}

/// A body in a manifest: text if it is UTF-8, else `{"hex": "…"}`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "BodyText", into = "BodyText")]
pub struct ManifestBody(pub Bytes);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum BodyText {
    Text(String),
    Hex { hex: String },
}

/// An error of writing, reading or using a manifest.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum ManifestError {
    /// The file could not be read.
    #[error("could not read manifest {}: {source}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The file could not be written durably. Nothing may be published without it.
    #[error("could not write manifest {}: {source}", path.display())]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The file is not a manifest.
    #[error("{} is not a manifest: {source}", path.display())]
    Malformed {
        /// The path of the file.
        path: PathBuf,
        /// The JSON error, with field and position.
        source: serde_json::Error,
    },
    /// A field of the file has an invalid value.
    #[error("{}: {field} {problem}", path.display())]
    Field {
        /// The path of the file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// The problem, as the rest of a sentence that begins with the field.
        problem: String,
    },
    /// The run never ends, so the set of its events is unknown.
    #[error(
        "run {run_id} cycles without end: start it with --count, or stop it first, so that the manifest has the number of published messages"
    )]
    Unbounded {
        /// The id of the run.
        run_id: String,
    },
}

impl Manifest {
    /// Creates a manifest of this version.
    pub fn new(kind: Streams, source: EventSource, run_id: String, started_at_us: i64) -> Self {
        Self { version: VERSION, kind, source, run_id, started_at_us, published: None }
    }

    /// Returns the messages of one stream in publishing order; none if the run does not publish to it.
    ///
    /// # Errors
    /// [`Unbounded`](ManifestError::Unbounded) if the stream never ends.
    pub fn events(
        &self,
        kind: EventKind,
    ) -> Result<Box<dyn Iterator<Item = PlannedEvent> + Send + '_>, ManifestError> {
        if !self.kind.includes(kind) {
            return Ok(Box::new(std::iter::empty()));
        }
        let events = self.source.events(kind);
        match (self.published, kind) {
            (Some(published), EventKind::Order) => Ok(Box::new(events.take(to_usize(published.orders)))),
            (Some(published), EventKind::Payment) => Ok(Box::new(events.take(to_usize(published.payments)))),
            (None, _) if self.source.is_bounded(kind) => Ok(events),
            (None, _) => Err(ManifestError::Unbounded { run_id: self.run_id.clone() }),
        }
    }

    /// Writes the file durably and atomically.
    ///
    /// # Errors
    /// [`Write`](ManifestError::Write) with the cause.
    pub fn write(&self, path: &Path) -> Result<(), ManifestError> {
        let failed = |source| ManifestError::Write { path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let written = (|| {
            let mut file = std::fs::File::create(&temporary)?;
            std::io::Write::write_all(&mut file, &text)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)
        })();
        written.map_err(failed)
    }

    /// Reads and validates a file.
    ///
    /// # Errors
    /// If the file cannot be read, is not a manifest, has another version, or is inconsistent.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let text =
            std::fs::read(path).map_err(|source| ManifestError::Read { path: path.to_owned(), source })?;
        let malformed = |source| ManifestError::Malformed { path: path.to_owned(), source };
        let field = |field, problem| ManifestError::Field { path: path.to_owned(), field, problem };
        let version: VersionOnly = serde_json::from_slice(&text).map_err(malformed)?;
        if version.version != VERSION {
            let problem = format!("is {}, but this build reads version {VERSION}", version.version);
            return Err(field("version", problem));
        }
        let manifest: Self = serde_json::from_slice(&text).map_err(malformed)?;
        if manifest.kind == Streams::Both && matches!(manifest.source, EventSource::Bodies { .. }) {
            return Err(field("kind", "is both, but a run of bodies publishes to one topic".to_owned()));
        }
        Ok(manifest)
    }
}

/// The version of a manifest, which is checked before the other fields are parsed.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl Streams {
    /// Returns whether messages of this kind are published.
    pub fn includes(self, kind: EventKind) -> bool {
        match self {
            Self::Orders => kind == EventKind::Order,
            Self::Payments => kind == EventKind::Payment,
            Self::Both => true,
        }
    }
}

impl EventSource {
    /// Returns the messages of one stream in publishing order.
    pub fn events(&self, kind: EventKind) -> Box<dyn Iterator<Item = PlannedEvent> + Send + '_> {
        match (self, kind) {
            (Self::Scenario(plan), EventKind::Order) => Box::new(order_events(plan)),
            (Self::Scenario(plan), EventKind::Payment) => Box::new(payment_events(plan)),
            (Self::Reference(reference), EventKind::Order) => Box::new(reference.order_events()),
            (Self::Reference(reference), EventKind::Payment) => Box::new(reference.payment_events()),
            (Self::Bodies { bodies }, _) => {
                Box::new((0..).zip(bodies).map(move |(sequence, body)| foreign(kind, sequence, &body.0)))
            }
        }
    }

    /// Returns the order id of each message of one stream in publishing order, `None` for bodies from a file.
    pub fn order_ids(&self, kind: EventKind) -> Box<dyn Iterator<Item = Option<OrderId>> + Send + '_> {
        match self {
            Self::Scenario(plan) => Box::new(order_ids(plan, kind).map(Some)),
            Self::Reference(_) | Self::Bodies { .. } => {
                Box::new(self.events(kind).map(|planned| planned.order_id))
            }
        }
    }

    /// Returns whether this stream ends.
    pub fn is_bounded(&self, kind: EventKind) -> bool {
        match (self, kind) {
            (Self::Scenario(plan), _) => plan.is_bounded(),
            (Self::Reference(reference), EventKind::Order) => reference.count.is_some(),
            (Self::Reference(_), EventKind::Payment) | (Self::Bodies { .. }, _) => true,
        }
    }
}

fn foreign(kind: EventKind, sequence: u64, body: &Bytes) -> PlannedEvent {
    let content = EventContent::Foreign;
    PlannedEvent { kind, order_id: None, body: body.clone(), content, sequence, event: sequence }
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

impl From<ManifestBody> for BodyText {
    fn from(body: ManifestBody) -> Self {
        match std::str::from_utf8(&body.0) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex { hex: body.0.iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }
}

impl TryFrom<BodyText> for ManifestBody {
    type Error = &'static str;

    fn try_from(body: BodyText) -> Result<Self, &'static str> {
        match body {
            BodyText::Text(text) => Ok(Self(text.into())),
            BodyText::Hex { hex } => bytes_of(&hex).map(Self).ok_or("hex: not pairs of hex digits"),
        }
    }
}

fn bytes_of(hex: &str) -> Option<Bytes> {
    let digits: Option<Vec<u8>> =
        hex.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixture::Mixture;

    fn scenario() -> ScenarioPlan {
        ScenarioPlan::try_new(42, 1..=100, Mixture::default()).expect("a valid plan")
    }

    fn manifest(source: EventSource) -> Manifest {
        Manifest::new(Streams::Both, source, "run-1".to_owned(), 1_700_000_000_000_000)
    }

    fn read_error(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.json");
        std::fs::write(&path, text).expect("written");
        let message = Manifest::read(&path).expect_err("an error").to_string();
        assert!(message.contains("run.json"), "{message}");
        message
    }

    #[test]
    fn a_manifest_reproduces_the_published_events() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.json");
        let bodies =
            vec![ManifestBody(Bytes::from_static(b"{}")), ManifestBody(Bytes::from_static(b"\xff\x00{"))];
        for (kind, source) in [
            (Streams::Both, EventSource::Scenario(scenario())),
            (Streams::Both, EventSource::Reference(Reference { seed: 1, count: Some(3) })),
            (Streams::Payments, EventSource::Bodies { bodies }),
        ] {
            let manifest = Manifest { kind, ..manifest(source) };
            manifest.write(&path).expect("written");
            let read = Manifest::read(&path).expect("read");
            assert_eq!(read, manifest);
            for kind in EventKind::ALL {
                let events: Vec<PlannedEvent> = manifest.events(kind).expect("bounded").collect();
                assert_eq!(events, read.events(kind).expect("bounded").collect::<Vec<_>>());
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[test]
    fn an_endless_run_is_an_error_until_its_manifest_has_the_published_counts() {
        let mut manifest = manifest(EventSource::Scenario(scenario().cycling()));
        let error = manifest.events(EventKind::Order).err().expect("refused").to_string();
        assert!(error.contains("--count"), "{error}");
        manifest.published = Some(PublishedCounts { orders: 250, payments: 10 });
        assert_eq!(manifest.events(EventKind::Order).expect("bounded").count(), 250);
        assert_eq!(manifest.events(EventKind::Payment).expect("bounded").count(), 10);
        let reference = self::manifest(EventSource::Reference(Reference { seed: 1, count: None }));
        assert!(reference.events(EventKind::Order).is_err());
        assert_eq!(reference.events(EventKind::Payment).expect("bounded").count(), 500);
    }

    #[test]
    fn an_error_names_file_and_field() {
        assert!(read_error("{").contains("not a manifest"));
        let valid = serde_json::to_string(&manifest(EventSource::Scenario(scenario()))).expect("json");
        assert!(read_error(&valid.replace("\"run_id\":\"run-1\",", "")).contains("run_id"));
        assert!(read_error(&valid.replace("\"seed\":42,", "")).contains("seed"));
        assert!(read_error(&valid.replace("\"version\":2", "\"version\":1")).contains("version is 1"));
        let late = read_error(&valid.replace("\"late_orders\":0.05", "\"late_orders\":5"));
        assert!(late.contains("late_orders is 5"), "{late}");
        assert!(read_error(&valid.replace("\"first\":1,", "\"first\":0,")).contains("order ids"));
        let bodies = serde_json::to_string(&manifest(EventSource::Bodies { bodies: vec![] })).expect("json");
        assert!(read_error(&bodies).contains("kind is both"));
    }
}
