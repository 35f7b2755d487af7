//! Pages of lists and scans: each begins behind a place in an index, and is bounded in rows and in bytes.

use ecom_embedded::rusqlite::types::ValueRef;
use ecom_embedded::rusqlite::{self, Row, Rows};

use ecom_shop_store::{Cursor, Page};

/// The most rows of a page of a scan.
pub(super) const ROWS: usize = 1_000;
/// The size of texts at which a page ends early: 4 MiB.
const BYTES: usize = 4 * 1024 * 1024;

/// The place before every row of a list that is sorted by time, newest first.
pub(super) const NEWEST: Cursor = Cursor { at: i64::MAX, id: i64::MAX };

/// Returns the number of rows that a statement reads for a page of `limit`: one more, which tells whether
/// others follow.
pub(super) fn rows_for(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// Reads a page of at most `limit` records; fewer where they are large, but at least one.
pub(super) fn page<R, C>(
    mut rows: Rows<'_>,
    limit: usize,
    record: fn(&Row<'_>) -> rusqlite::Result<R>,
    place: fn(&R) -> C,
) -> rusqlite::Result<Page<R, C>> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if records.len() >= limit || bytes >= BYTES {
            let next = records.last().map(place);
            return Ok(Page { records, next });
        }
        bytes += size(row)?;
        records.push(record(row)?);
    }
    Ok(Page { records, next: None })
}

/// Returns the place of a row whose columns are a time and an id.
pub(super) fn cursor(row: &Row<'_>) -> rusqlite::Result<Cursor> {
    Ok(Cursor { at: row.get(0)?, id: row.get(1)? })
}

/// Returns the size of the texts of a row, in bytes.
fn size(row: &Row<'_>) -> rusqlite::Result<usize> {
    let mut bytes = 0;
    for column in 0..row.as_ref().column_count() {
        if let ValueRef::Text(text) | ValueRef::Blob(text) = row.get_ref(column)? {
            bytes += text.len();
        }
    }
    Ok(bytes)
}
