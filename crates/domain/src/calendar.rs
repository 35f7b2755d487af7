//! The times that have a date: every id, every attribute and every table writes them with a year of four digits.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};

/// The times from 1970 to the end of 9999, in microseconds since the epoch. A time that another program claims is
/// unusable outside of them.
pub const DATED: RangeInclusive<i64> = 0..=253_402_300_799_999_999;

/// Returns the date and time of `micros`, in microseconds since the epoch; of a time outside of [`DATED`], those of
/// the nearest time in it.
pub fn date_time(micros: i64) -> DateTime<Utc> {
    let dated = micros.clamp(*DATED.start(), *DATED.end());
    DateTime::from_timestamp_micros(dated).expect("every time up to 9999 has a date")
}
