//! Rows by the names of their columns: those of a table, and the answers of conditional statements, whose columns depend on
//! what happened.

use scylla::deserialize::row::{ColumnIterator, DeserializeRow};
use scylla::deserialize::value::DeserializeValue;
use scylla::deserialize::{DeserializationError, TypeCheckError};
use scylla::frame::response::result::{ColumnSpec, ColumnType, NativeType};

use ecom_store_cassandra::StatementError;

/// A cell of one of the types of the shop's tables and of answers.
enum Cell {
    Number(i64),
    Text(String),
    Truth(bool),
}

/// The cells of a row that are not null, by column. Each is taken once. Columns of types that the shop's tables do not
/// have are left out: somebody added them.
pub(super) struct Cells {
    /// The name of the row, for errors.
    row: String,
    cells: Vec<(String, Cell)>,
}

impl<'frame, 'metadata> DeserializeRow<'frame, 'metadata> for Cells {
    fn type_check(_: &[ColumnSpec<'_>]) -> Result<(), TypeCheckError> {
        Ok(())
    }

    fn deserialize(row: ColumnIterator<'frame, 'metadata>) -> Result<Self, DeserializationError> {
        let mut cells = Vec::new();
        for column in row {
            let column = column?;
            let (typ, slice) = (column.spec.typ(), column.slice);
            let cell = match typ {
                ColumnType::Native(NativeType::BigInt) => {
                    Option::<i64>::deserialize(typ, slice)?.map(Cell::Number)
                }
                ColumnType::Native(NativeType::Text) => {
                    Option::<String>::deserialize(typ, slice)?.map(Cell::Text)
                }
                ColumnType::Native(NativeType::Boolean) => {
                    Option::<bool>::deserialize(typ, slice)?.map(Cell::Truth)
                }
                _ => None,
            };
            cells.extend(cell.map(|cell| (column.spec.name().to_owned(), cell)));
        }
        Ok(Self { cells, ..Self::default() })
    }
}

impl Default for Cells {
    /// Returns an answer without cells.
    fn default() -> Self {
        Self { row: "the answer".to_owned(), cells: Vec::new() }
    }
}

impl Cells {
    /// Names the row in errors by its kind and its key.
    pub(super) fn named(mut self, kind: &str, key: &str) -> Self {
        let id = self.cells.iter().find_map(|(column, cell)| match cell {
            Cell::Number(id) if column == key => Some(*id),
            _ => None,
        });
        self.row = id.map_or_else(|| format!("an {kind} without {key}"), |id| format!("{kind} {id}"));
        self
    }

    /// Names the row in errors.
    pub(super) fn called(mut self, row: String) -> Self {
        self.row = row;
        self
    }

    fn take(&mut self, column: &str) -> Option<Cell> {
        let at = self.cells.iter().position(|(name, _)| name == column)?;
        Some(self.cells.swap_remove(at).1)
    }

    /// Returns the error about a cell: what is wrong with it.
    pub(super) fn fault(&self, column: &'static str, fault: impl Into<String>) -> StatementError {
        StatementError::Cell { id: self.row.clone(), column, fault: fault.into() }
    }

    /// Takes a number, or null.
    pub(super) fn optional_number(&mut self, column: &'static str) -> Result<Option<i64>, StatementError> {
        match self.take(column) {
            None => Ok(None),
            Some(Cell::Number(number)) => Ok(Some(number)),
            Some(Cell::Text(_) | Cell::Truth(_)) => Err(self.fault(column, "is not a number")),
        }
    }

    /// Takes a text, or null.
    pub(super) fn optional_text(&mut self, column: &'static str) -> Result<Option<String>, StatementError> {
        match self.take(column) {
            None => Ok(None),
            Some(Cell::Text(text)) => Ok(Some(text)),
            Some(Cell::Number(_) | Cell::Truth(_)) => Err(self.fault(column, "is not a text")),
        }
    }

    /// Takes a number.
    pub(super) fn number(&mut self, column: &'static str) -> Result<i64, StatementError> {
        let number = self.optional_number(column)?;
        number.ok_or_else(|| self.fault(column, "is null"))
    }

    /// Takes a text.
    pub(super) fn text(&mut self, column: &'static str) -> Result<String, StatementError> {
        let text = self.optional_text(column)?;
        text.ok_or_else(|| self.fault(column, "is null"))
    }

    /// Takes a word of a closed set.
    pub(super) fn word<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StatementError> {
        let word = self.text(column)?;
        parse(&word).ok_or_else(|| StatementError::Word { id: self.row.clone(), column, value: word })
    }

    /// Takes whether a conditional statement was applied.
    pub(super) fn is_applied(&mut self) -> Result<bool, StatementError> {
        const COLUMN: &str = "[applied]";
        match self.take(COLUMN) {
            Some(Cell::Truth(is_applied)) => Ok(is_applied),
            None | Some(Cell::Number(_) | Cell::Text(_)) => Err(self.fault(COLUMN, "is missing")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells() -> Cells {
        let cells = [
            ("order_id", Cell::Number(7)),
            ("state", Cell::Text("lost".into())),
            ("[applied]", Cell::Truth(false)),
        ];
        let cells = cells.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect();
        Cells { row: String::new(), cells }.named("order", "order_id")
    }

    #[test]
    fn a_cell_that_cannot_be_used_is_an_error_that_names_row_and_column() {
        let error = |read: fn(&mut Cells) -> Result<(), StatementError>| {
            read(&mut cells()).expect_err("it cannot be used").to_string()
        };
        assert_eq!(
            error(|cells| cells.number("revision").map(drop)),
            "order 7 cannot be read: column revision is null"
        );
        assert_eq!(
            error(|cells| cells.text("order_id").map(drop)),
            "order 7 cannot be read: column order_id is not a text"
        );
        assert_eq!(
            error(|cells| cells.word("state", |_| None::<()>)),
            r#"order 7 has the unknown value "lost" in column state"#
        );
    }

    #[test]
    fn an_answer_says_whether_it_was_applied() {
        let mut answer = cells();
        assert!(!answer.is_applied().unwrap());
        assert!(answer.is_applied().is_err(), "it was taken");
        assert_eq!(answer.number("order_id").unwrap(), 7);
    }
}
