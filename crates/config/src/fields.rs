//! Types of fields, for `#[serde(deserialize_with = "…")]`: each parses a value and holds it to its range.
//!
//! A value of another form or out of range is an error that continues the sentence that begins with the key:
//! `must be 1 to 64, is 0`.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};

use super::hosts;

/// Bound of a [`duration`]: one millisecond.
pub const MS: u64 = 1;
/// Bound of a [`duration`]: one second.
pub const SECOND: u64 = 1_000 * MS;
/// Bound of a [`duration`]: one minute.
pub const MINUTE: u64 = 60 * SECOND;
/// Bound of a [`duration`]: one hour.
pub const HOUR: u64 = 60 * MINUTE;
/// Bound of a [`duration`]: one day.
pub const DAY: u64 = 24 * HOUR;

/// Units of [`size`], the longest suffix first.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
    ("", 1),
];

/// Reads a whole number from `LOW` to `HIGH`.
pub fn number<'de, D, T, const LOW: i64, const HIGH: i64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    let given = i64::deserialize(deserializer)?;
    let number =
        Some(given).filter(|given| (LOW..=HIGH).contains(given)).and_then(|given| given.try_into().ok());
    number.ok_or_else(|| D::Error::custom(format!("must be {LOW} to {HIGH}, is {given}")))
}

/// Reads a whole number from 0 to `HIGH`; `None` for 0, which stands for automatic.
pub fn number_or_automatic<'de, D, const HIGH: i64>(deserializer: D) -> Result<Option<usize>, D::Error>
where
    D: Deserializer<'de>,
{
    number::<D, usize, 0, HIGH>(deserializer).map(|number| Some(number).filter(|number| *number > 0))
}

/// Reads a share, 0.0 to 1.0.
pub fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let given = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&given) {
        return Ok(given);
    }
    Err(D::Error::custom(format!("must be 0.0 to 1.0, is {given}")))
}

/// Reads a duration such as `"30s"`, from `LOW` to `HIGH` milliseconds.
pub fn duration<'de, D, const LOW: u64, const HIGH: u64>(deserializer: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    checked(deserializer, |text| duration_within(&text, LOW, HIGH, ""))
}

/// Reads a duration from `LOW` to `HIGH` milliseconds; `None` for `"0s"`, which stands for off.
pub fn duration_or_off<'de, D, const LOW: u64, const HIGH: u64>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    checked(deserializer, |text| match parse_duration(&text)? {
        Duration::ZERO => Ok(None),
        _ => duration_within(&text, LOW, HIGH, ", or \"0s\" for off").map(Some),
    })
}

/// Reads a size such as `"64MiB"`, at least one byte.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    checked(deserializer, |text| bytes(&text))
}

/// Reads text that may be empty; `None` for empty text.
pub fn none_if_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: From<String>,
{
    checked(deserializer, |text| Ok(Some(text).filter(|text| !text.is_empty()).map(T::from)))
}

/// Reads text that must not be empty.
pub fn not_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: From<String>,
{
    checked(deserializer, |text| match text.as_str() {
        "" => Err("must not be empty".to_owned()),
        _ => Ok(T::from(text)),
    })
}

/// Reads a path that must not be empty. It need not be UTF-8.
pub fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    path_or_none(deserializer)?.ok_or_else(|| D::Error::custom("must not be empty"))
}

/// Reads a path, which need not be UTF-8; `None` for empty text.
pub fn path_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    deserializer.deserialize_byte_buf(PathVisitor)
}

struct PathVisitor;

impl Visitor<'_> for PathVisitor {
    type Value = Option<PathBuf>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<PathBuf>, E> {
        Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    #[cfg(unix)]
    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Option<PathBuf>, E> {
        use std::os::unix::ffi::OsStrExt;
        Ok(Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes))))
    }
}

/// Reads `host:port`; `None` for empty text.
pub fn host_and_port_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |text| match text.as_str() {
        "" => Ok(None),
        text => hosts::host_and_port(text).map(Some),
    })
}

/// Reads a list of `host` or `host:port`; the error names every entry that is neither.
pub fn host_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let given = Vec::<String>::deserialize(deserializer)?;
    let faults: Vec<String> = given.iter().filter_map(|host| hosts::host(host).err()).collect();
    if faults.is_empty() { Ok(given) } else { Err(D::Error::custom(faults.join(", and "))) }
}

/// Reads text as its `FromStr` does.
pub fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    checked(deserializer, |text| text.parse().map_err(|why: T::Err| why.to_string()))
}

/// Reads text and applies a rule, whose error continues the sentence that begins with the key.
pub fn checked<'de, D, T>(
    deserializer: D,
    rule: impl FnOnce(String) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    rule(String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn bytes(text: &str) -> Result<usize, String> {
    SIZE_UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .and_then(|(number, factor)| number.trim().parse::<u64>().ok()?.checked_mul(*factor))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("must be a size such as \"64MiB\", or a number of bytes, is \"{text}\""))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("must be a duration such as \"30s\", is \"{text}\" ({error})"))
}

fn duration_within(text: &str, low: u64, high: u64, or: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if (Duration::from_millis(low)..=Duration::from_millis(high)).contains(&duration) {
        return Ok(duration);
    }
    Err(format!("must be {} to {}{or}, is \"{text}\"", bound(low), bound(high)))
}

/// Returns a bound in its largest whole unit: `366d`, not `1year 18h`.
fn bound(ms: u64) -> String {
    let units = [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", MS)];
    let whole = units.into_iter().find(|(_, unit)| ms.is_multiple_of(*unit));
    whole.map_or_else(String::new, |(name, unit)| format!("{}{name}", ms / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_none() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("1 KB"), Ok(1000));
        assert_eq!(bytes("17B"), Ok(17));
        assert_eq!(bytes("65536"), Ok(65536));
        for bad in ["", "0", "MiB", "-1", "1.5GiB", "64mib", "99999999999GiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_are_shown_in_their_largest_whole_unit() {
        let shown = [MS, 1_500 * MS, 90 * SECOND, 10 * MINUTE, HOUR, 366 * DAY].map(bound);
        assert_eq!(shown, ["1ms", "1500ms", "90s", "10m", "1h", "366d"]);
    }

    #[test]
    fn a_duration_just_below_its_range_is_refused() {
        assert!(duration_within("999us", MS, HOUR, "").is_err());
        assert!(duration_within("1h 1us", MS, HOUR, "").is_err());
        assert_eq!(duration_within("1h", MS, HOUR, ""), Ok(Duration::from_hours(1)));
    }
}
