//! What a producer is about to publish, in a file written before the first publish. From it alone
//! the messages are found again.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::generate::{Plan, order_events, order_ids, payment_events};
use super::planned::{Content, Planned};
use super::reference::Reference;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;

/// The version this build writes, and the only one it reads. It changes with the file's form, and with
/// what a seed means.
pub const VERSION: u32 = 2;

/// A producer's run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`] of the build that wrote it.
    pub version: u32,
    /// Which topics it publishes to.
    pub kind: Streams,
    /// What it publishes.
    pub source: Source,
    /// Names the run.
    pub run_id: String,
    /// When it began by the producer's clock, microseconds since the epoch: no event of the run
    /// has an earlier time.
    pub started_at_us: i64,
    /// How far it came, where it ended before its plan did; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
}

/// How many messages of each stream were published: the first so many of the plan, and no others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// On the orders topic.
    pub orders: u64,
    /// On the payments topic.
    pub payments: u64,
}

/// Which topics a run publishes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Streams {
    /// Orders.
    Orders,
    /// Payments.
    Payments,
    /// Both, from one process.
    Both,
}

/// Where a run's messages come from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// A seeded scenario.
    Scenario(Plan),
    /// The reference's streams.
    Reference(Reference),
    /// Bodies from elsewhere, as they are.
    Bodies {
        /// In order of publishing.
        bodies: Vec<Body>,
    },
}

/// A body in a manifest: text where it is UTF-8, else `{"hex": "…"}`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "BodyText", into = "BodyText")]
pub struct Body(pub Bytes);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum BodyText {
    Text(String),
    Hex { hex: String },
}

/// Why a manifest could not be written, read or used.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum ManifestError {
    /// No such file, or no access.
    #[error("could not read manifest {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not known whether the file was written; nothing may be published.
    #[error("could not write manifest {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no manifest.
    #[error("{} is not a manifest: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Field and place.
        source: serde_json::Error,
    },
    /// The file says something that cannot be.
    #[error("{}: {field} {problem}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The run goes on for ever, so nothing can be said about its end.
    #[error(
        "run {run_id} cycles without an end: give it --count, or end it first so that it notes how far it came"
    )]
    Unbounded {
        /// The run.
        run_id: String,
    },
}

impl Manifest {
    /// A manifest of this version.
    pub fn new(kind: Streams, source: Source, run_id: String, started_at_us: i64) -> Self {
        Self { version: VERSION, kind, source, run_id, started_at_us, published: None }
    }

    /// The messages of one stream, in order of publishing; none where the run does not have it.
    pub fn events(
        &self,
        kind: EventKind,
    ) -> Result<Box<dyn Iterator<Item = Planned> + Send + '_>, ManifestError> {
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

    /// Writes the file as a whole or not at all, durably.
    pub fn write(&self, path: &Path) -> Result<(), ManifestError> {
        let failed = |source| ManifestError::Write { path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let written = (|| {
            let mut file = std::fs::File::create(&beside)?;
            std::io::Write::write_all(&mut file, &text)?;
            file.sync_all()?;
            std::fs::rename(&beside, path)
        })();
        written.map_err(failed)
    }

    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let text =
            std::fs::read(path).map_err(|source| ManifestError::Read { path: path.to_owned(), source })?;
        let malformed = |source| ManifestError::Malformed { path: path.to_owned(), source };
        let field = |field, problem| ManifestError::Field { path: path.to_owned(), field, problem };
        let version: VersionOnly = serde_json::from_slice(&text).map_err(malformed)?;
        if version.version != VERSION {
            let problem = format!("is {}, and this build reads {VERSION}", version.version);
            return Err(field("version", problem));
        }
        let manifest: Self = serde_json::from_slice(&text).map_err(malformed)?;
        if manifest.kind == Streams::Both && matches!(manifest.source, Source::Bodies { .. }) {
            return Err(field("kind", "is both, but bodies belong to one topic".to_owned()));
        }
        Ok(manifest)
    }
}

/// Enough of a manifest to say that the rest cannot be read.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl Streams {
    /// Whether messages of this kind are among them.
    pub fn includes(self, kind: EventKind) -> bool {
        match self {
            Self::Orders => kind == EventKind::Order,
            Self::Payments => kind == EventKind::Payment,
            Self::Both => true,
        }
    }
}

impl Source {
    /// The messages of one stream, in order of publishing.
    pub fn events(&self, kind: EventKind) -> Box<dyn Iterator<Item = Planned> + Send + '_> {
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

    /// The order that each message of one stream is about, in order of publishing.
    pub fn order_ids(&self, kind: EventKind) -> Box<dyn Iterator<Item = Option<OrderId>> + Send + '_> {
        match self {
            Self::Scenario(plan) => Box::new(order_ids(plan, kind).map(Some)),
            Self::Reference(_) | Self::Bodies { .. } => {
                Box::new(self.events(kind).map(|planned| planned.order_id))
            }
        }
    }

    /// Whether this stream ends by itself.
    pub fn is_bounded(&self, kind: EventKind) -> bool {
        match (self, kind) {
            (Self::Scenario(plan), _) => plan.is_bounded(),
            (Self::Reference(reference), EventKind::Order) => reference.count.is_some(),
            (Self::Reference(_), EventKind::Payment) | (Self::Bodies { .. }, _) => true,
        }
    }
}

fn foreign(kind: EventKind, sequence: u64, body: &Bytes) -> Planned {
    let content = Content::Foreign;
    Planned { kind, order_id: None, body: body.clone(), content, sequence, event: sequence }
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

impl From<Body> for BodyText {
    fn from(body: Body) -> Self {
        match std::str::from_utf8(&body.0) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex { hex: body.0.iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }
}

impl TryFrom<BodyText> for Body {
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

    fn scenario() -> Plan {
        Plan::try_new(42, 1..=100, Mixture::default()).expect("a sound plan")
    }

    fn manifest(source: Source) -> Manifest {
        Manifest::new(Streams::Both, source, "run-1".to_owned(), 1_700_000_000_000_000)
    }

    fn refused(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.json");
        std::fs::write(&path, text).expect("written");
        let message = Manifest::read(&path).expect_err("refused").to_string();
        assert!(message.contains("run.json"), "{message}");
        message
    }

    #[test]
    fn a_manifest_says_again_what_was_published() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.json");
        let bodies = vec![Body(Bytes::from_static(b"{}")), Body(Bytes::from_static(b"\xff\x00{"))];
        for (kind, source) in [
            (Streams::Both, Source::Scenario(scenario())),
            (Streams::Both, Source::Reference(Reference { seed: 1, count: Some(3) })),
            (Streams::Payments, Source::Bodies { bodies }),
        ] {
            let manifest = Manifest { kind, ..manifest(source) };
            manifest.write(&path).expect("written");
            let read = Manifest::read(&path).expect("read");
            assert_eq!(read, manifest);
            for kind in EventKind::ALL {
                let events: Vec<Planned> = manifest.events(kind).expect("bounded").collect();
                assert_eq!(events, read.events(kind).expect("bounded").collect::<Vec<_>>());
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[test]
    fn an_endless_run_is_refused_until_it_says_how_far_it_came() {
        let mut manifest = manifest(Source::Scenario(scenario().cycling()));
        let refusal = manifest.events(EventKind::Order).err().expect("refused").to_string();
        assert!(refusal.contains("--count"), "{refusal}");
        manifest.published = Some(Published { orders: 250, payments: 10 });
        assert_eq!(manifest.events(EventKind::Order).expect("bounded").count(), 250);
        assert_eq!(manifest.events(EventKind::Payment).expect("bounded").count(), 10);
        let reference = self::manifest(Source::Reference(Reference { seed: 1, count: None }));
        assert!(reference.events(EventKind::Order).is_err());
        assert_eq!(reference.events(EventKind::Payment).expect("bounded").count(), 500);
    }

    #[test]
    fn a_refusal_names_file_and_field() {
        assert!(refused("{").contains("not a manifest"));
        let sound = serde_json::to_string(&manifest(Source::Scenario(scenario()))).expect("json");
        assert!(refused(&sound.replace("\"run_id\":\"run-1\",", "")).contains("run_id"));
        assert!(refused(&sound.replace("\"seed\":42,", "")).contains("seed"));
        assert!(refused(&sound.replace("\"version\":2", "\"version\":1")).contains("version is 1"));
        let late = refused(&sound.replace("\"late_orders\":0.05", "\"late_orders\":5"));
        assert!(late.contains("late_orders is 5"), "{late}");
        assert!(refused(&sound.replace("\"first\":1,", "\"first\":0,")).contains("order ids"));
        let bodies = serde_json::to_string(&manifest(Source::Bodies { bodies: vec![] })).expect("json");
        assert!(refused(&bodies).contains("kind is both"));
    }
}
