//! Columns of rows as values of the domain.

use std::fmt::Display;

use ecom_embedded::rusqlite::types::{Type, ValueRef};
use ecom_embedded::rusqlite::{self, Row, RowIndex};

use ecom_domain::payment::CardLastFour;
use ecom_shop_domain::identity::RequestKey;
use ecom_shop_domain::money::Currency;

/// Reads a column whose text `parse` converts.
pub(super) fn parsed<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    parse(text).ok_or_else(|| invalid(row, column, format_args!("{text:?} is not a known value")))
}

/// Reads the columns of the request that created the record.
pub(super) fn request(row: &Row<'_>) -> rusqlite::Result<RequestKey> {
    Ok(RequestKey { account: row.get("account")?, key: row.get("idempotency_key")? })
}

/// Reads the column of the currency.
pub(super) fn currency(row: &Row<'_>) -> rusqlite::Result<Currency> {
    parsed(row, "currency", Currency::try_new)
}

/// Reads the column of the last four digits of a card. A value that is not four digits is not repeated in the
/// error: it may be a card number.
pub(super) fn card_last_four(row: &Row<'_>) -> rusqlite::Result<Option<CardLastFour>> {
    let Some(text) = row.get_ref("card_last_four")?.as_str_or_null()? else { return Ok(None) };
    let card = CardLastFour::try_new(text);
    card.map(Some).ok_or_else(|| invalid(row, "card_last_four", "it is not four digits"))
}

/// Returns the error of a value in this column, with the id or SKU of its row, which is in the first column.
pub(super) fn invalid(row: &Row<'_>, column: &'static str, fault: impl Display) -> rusqlite::Error {
    let id = match row.get_ref(0) {
        Ok(ValueRef::Integer(id)) => id.to_string(),
        Ok(ValueRef::Text(sku)) => String::from_utf8_lossy(sku).into_owned(),
        Ok(_) | Err(_) => "a row without an id".to_owned(),
    };
    let index = column.idx(row.as_ref()).unwrap_or_default();
    let error = format!("the {column} of {id}: {fault}");
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error.into())
}
