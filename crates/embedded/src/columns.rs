//! Columns of rows as values of the domain.

use rusqlite::types::Type;
use rusqlite::{Row, RowIndex};
use serde::de::DeserializeOwned;

/// Reads a column with a word of a closed set.
pub(super) fn word<T>(
    row: &Row<'_>,
    column: impl RowIndex,
    parse: fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let column = column.idx(row.as_ref())?;
    let text = row.get_ref(column)?.as_str()?;
    parse(text).ok_or_else(|| {
        let error = format!("{text:?} is not a known value");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    })
}

/// Reads a column with a word of a closed set, or null.
pub(super) fn optional_word<T>(
    row: &Row<'_>,
    column: impl RowIndex,
    parse: fn(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let column = column.idx(row.as_ref())?;
    match row.get_ref(column)?.as_str_or_null()? {
        Some(_) => word(row, column, parse).map(Some),
        None => Ok(None),
    }
}

/// Reads a column with JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// Reads a column with JSON, or null.
pub(super) fn optional_json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)?.as_str_or_null()? {
        Some(_) => json(row, column).map(Some),
        None => Ok(None),
    }
}
