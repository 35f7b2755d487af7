//! The id of a dead letter, derived from its content.

use std::fmt::Write;

use chrono::Datelike;
use sha2::{Digest, Sha256};

use super::EventKind;
use super::body::hex;
use crate::calendar::date_time;
use crate::event_time::EventTime;

/// The number of buckets per day. Fixed: the bucket is part of every id and partition key.
pub const BUCKETS: u8 = 64;

/// The id of a dead letter: `yyyymmdd-bb-` and 32 hex digits of a hash of kind, event time and body.
///
/// Every copy of one message therefore has the same id, and the id names the partition it is stored in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeadLetterId(String);

impl DeadLetterId {
    /// The length of an id, in bytes.
    const LENGTH: usize = 8 + 1 + 2 + 1 + 32;

    /// Returns the id of the dead letter with this kind, event time and body as published.
    pub fn of(kind: EventKind, t: EventTime, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(kind.as_str().as_bytes());
        hash.update([0]);
        hash.update(t.micros().to_be_bytes());
        hash.update(body);
        let digest = hash.finalize();
        let mut id = String::with_capacity(Self::LENGTH);
        write!(id, "{:08}-{:02}-", day_of(t), digest[31] % BUCKETS).expect("a string accepts all text");
        id.extend(hex(&digest[..16]));
        Self(id)
    }

    /// Parses an id; `None` where `text` is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (day, rest) = text.split_once('-')?;
        let (bucket, hash) = rest.split_once('-')?;
        let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
        let hex = hash.len() == 32 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_id = digits(day, 8) && digits(bucket, 2) && bucket.parse::<u8>().ok()? < BUCKETS && hex;
        is_id.then(|| Self(text.to_owned()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the UTC day of the event time as the number `yyyymmdd`: one half of the partition key.
    pub fn day(&self) -> i32 {
        self.0.split('-').next().and_then(|day| day.parse().ok()).unwrap_or_default()
    }

    /// Returns the bucket within the day, below [`BUCKETS`]: the other half of the partition key.
    pub fn bucket(&self) -> i16 {
        self.0.split('-').nth(1).and_then(|bucket| bucket.parse().ok()).unwrap_or_default()
    }
}

/// The beginning of an id: day, bucket and at least four hex digits, so that it names one partition. The whole
/// id is a prefix, too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterIdPrefix(DeadLetterId);

impl DeadLetterIdPrefix {
    /// The length of the shortest prefix, in bytes.
    const SHORTEST: usize = 8 + 1 + 2 + 1 + 4;
    /// The length of the prefix that stands for an id on a narrow screen, in bytes: of a million dead letters in
    /// one partition two share it once in a thousand cases.
    pub const SHOWN: usize = 8 + 1 + 2 + 1 + 8;

    /// Parses a prefix; `None` where `text` is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let padded = DeadLetterId::parse(&format!("{text:0<width$}", width = DeadLetterId::LENGTH));
        padded.filter(|_| text.len() >= Self::SHORTEST).map(|_| Self(DeadLetterId(text.to_owned())))
    }

    /// Returns the id if this is the whole of one.
    pub fn whole(&self) -> Option<&DeadLetterId> {
        Some(&self.0).filter(|id| id.0.len() == DeadLetterId::LENGTH)
    }

    /// Returns the prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }

    /// Returns the text that sorts behind every id that begins with this, and before all later ones.
    pub fn end(&self) -> String {
        format!("{}g", self.0.0)
    }

    /// Returns the day of the partition.
    pub fn day(&self) -> i32 {
        self.0.day()
    }

    /// Returns the bucket of the partition.
    pub fn bucket(&self) -> i16 {
        self.0.bucket()
    }
}

impl std::fmt::Display for DeadLetterIdPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the UTC day of `t` as the number `yyyymmdd`.
fn day_of(t: EventTime) -> i64 {
    let time = date_time(t.micros());
    i64::from(time.year()) * 10_000 + i64::from(time.month() * 100 + time.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_of_a_dead_letter_has_one_id_that_names_its_partition() {
        let t = EventTime::stored(1_705_831_290_000_000);
        let id = DeadLetterId::of(EventKind::Payment, t, b"{}");
        assert_eq!(id, DeadLetterId::of(EventKind::Payment, t, b"{}"));
        assert_ne!(id, DeadLetterId::of(EventKind::Order, t, b"{}"));
        assert_ne!(id, DeadLetterId::of(EventKind::Payment, t.correction(0), b"{}"));
        assert_eq!(id.day(), 20_240_121);
        assert!((0..i16::from(BUCKETS)).contains(&id.bucket()));
        assert_eq!(DeadLetterId::parse(id.as_str()), Some(id));
    }

    #[test]
    fn text_that_is_not_an_id_is_refused() {
        for bad in
            ["", "20240121", "20240121-99-00000000000000000000000000000000", "20240121-01-xyz", "2024'--"]
        {
            assert_eq!(DeadLetterId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_names_the_partition_and_has_four_digits_of_the_hash() {
        let id = "20240121-07-0123456789abcdef0123456789abcdef";
        for length in DeadLetterIdPrefix::SHORTEST..=id.len() {
            let prefix = DeadLetterIdPrefix::parse(&id[..length]).unwrap();
            assert_eq!((prefix.as_str(), prefix.day(), prefix.bucket()), (&id[..length], 20_240_121, 7));
            assert!(prefix.as_str() <= id && prefix.end().as_str() > id);
            assert_eq!(prefix.whole().is_some(), length == id.len());
        }
        for bad in [&id[..15], "", "20240121-07", "20240121-64-0123", "20240121-07-012G", &format!("{id}0")] {
            assert_eq!(DeadLetterIdPrefix::parse(bad), None, "{bad:?}");
        }
    }
}
