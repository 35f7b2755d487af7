//! Columns of rows as values of the domain.

use scylla::value::CqlTimestamp;

use super::errors::StatementError;

/// Converts a time in microseconds since the epoch to a CQL timestamp, in milliseconds.
pub(super) fn timestamp(micros: i64) -> CqlTimestamp {
    CqlTimestamp(micros.div_euclid(1_000))
}

/// Converts a CQL timestamp to microseconds since the epoch.
pub(super) fn micros(timestamp: CqlTimestamp) -> i64 {
    timestamp.0.saturating_mul(1_000)
}

/// Parses a word of a closed set; `id` names the row.
pub(super) fn word<T>(
    id: &str,
    column: &'static str,
    value: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StatementError> {
    parse(value).ok_or_else(|| StatementError::Word { id: id.to_owned(), column, value: value.to_owned() })
}

/// Reads a cell with a word of a closed set, or null.
pub(super) fn optional_word<T>(
    id: &str,
    column: &'static str,
    value: Option<&str>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, StatementError> {
    value.map(|value| word(id, column, value, parse)).transpose()
}

/// Reads a counting cell; null is 0.
pub(super) fn count(cell: Option<i64>) -> u32 {
    cell.map_or(0, |count| u32::try_from(count.max(0)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_is_kept_to_the_millisecond() {
        assert_eq!(micros(timestamp(1_705_831_290_123_456)), 1_705_831_290_123_000);
        assert_eq!(micros(timestamp(-1)), -1_000);
    }
}
