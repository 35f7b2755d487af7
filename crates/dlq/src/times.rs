//! Times in serialised values: microseconds since the epoch in memory, RFC 3339 outside.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use ecom_codec::envelope::rfc3339;

/// Whole seconds from a time to a later one, both in microseconds; 0 if the first is later.
pub(crate) fn age_seconds(at: i64, now: i64) -> i64 {
    now.saturating_sub(at).max(0) / 1_000_000
}

pub(crate) fn serialize<S: Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    rfc3339(*at).serialize(serializer)
}

/// Returns the UTC day of a time as `yyyy-mm-dd`.
pub fn day_of(at: i64) -> String {
    rfc3339(at).chars().take_while(|c| *c != 'T').collect()
}

/// The day alone.
pub(crate) fn day<S: Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    day_of(*at).serialize(serializer)
}

/// The same for a time that may be absent.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(at: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(rfc3339).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let micros = |text: String| {
            let time = chrono::DateTime::parse_from_rfc3339(&text).map_err(D::Error::custom)?;
            Ok(time.timestamp_micros())
        };
        text.map(micros).transpose()
    }
}
