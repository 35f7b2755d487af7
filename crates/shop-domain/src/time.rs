//! Times as texts.

use chrono::SecondsFormat;

use ecom_domain::calendar::date_time;

/// Returns a time in microseconds since the epoch as RFC 3339 in UTC, with microseconds.
pub fn rfc3339(micros: i64) -> String {
    date_time(micros).to_rfc3339_opts(SecondsFormat::Micros, true)
}
