//! CSV. A null is an empty cell, an empty text is `""`, and formulas can be defused.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;

use serde::ser::{Error as _, SerializeStruct, Serializer};
use serde::{Serialize, ser};

use super::exit::CliError;

/// The treatment of texts that a spreadsheet would take for a formula.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Formulas {
    /// Texts are written as they are.
    Kept,
    /// Texts that begin as a formula does get an apostrophe in front.
    Defused,
}

/// The first characters of what spreadsheets take for a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

impl Formulas {
    /// The treatment with or without `--spreadsheet-safe`.
    pub(crate) fn of(spreadsheet_safe: bool) -> Self {
        if spreadsheet_safe { Self::Defused } else { Self::Kept }
    }

    fn text<'t>(self, text: &'t str) -> Cow<'t, str> {
        match self == Self::Defused && text.starts_with(FORMULA) {
            true => format!("'{text}").into(),
            false => text.into(),
        }
    }
}

/// Writes the names of columns.
pub(crate) fn header(sink: &mut impl Write, names: &[&str]) -> Result<(), CliError> {
    line(sink, names.iter().map(|name| Some(*name)))
}

/// Writes a flat struct as one line.
pub(crate) fn record(
    sink: &mut impl Write,
    row: &impl Serialize,
    formulas: Formulas,
) -> Result<(), CliError> {
    let mut cells = Cells { cells: Vec::new(), names: Vec::new(), formulas };
    row.serialize(&mut cells)?;
    line(sink, cells.cells.iter().map(Option::as_deref))
}

/// Writes flat structs of one type below their field names.
pub(crate) fn table<'r, T: Serialize + 'r>(
    rows: impl IntoIterator<Item = &'r T>,
    formulas: Formulas,
) -> Result<Vec<u8>, CliError> {
    let mut csv = Vec::new();
    for (index, row) in rows.into_iter().enumerate() {
        if index == 0 {
            header(&mut csv, &names(row)?)?;
        }
        record(&mut csv, row, formulas)?;
    }
    Ok(csv)
}

/// The field names of a flat struct.
pub(crate) fn names(row: &impl Serialize) -> Result<Vec<&'static str>, CliError> {
    let mut cells = Cells { cells: Vec::new(), names: Vec::new(), formulas: Formulas::Kept };
    row.serialize(&mut cells)?;
    Ok(cells.names)
}

fn line<'c>(sink: &mut impl Write, cells: impl Iterator<Item = Option<&'c str>>) -> Result<(), CliError> {
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            sink.write_all(b",")?;
        }
        match cell {
            None => {}
            Some(text) if text.is_empty() || text.contains([',', '"', '\n', '\r']) => {
                write!(sink, "\"{}\"", text.replace('"', "\"\""))?;
            }
            Some(text) => sink.write_all(text.as_bytes())?,
        }
    }
    Ok(sink.write_all(b"\n")?)
}

/// The cells of a row; `None` for a null.
struct Cells {
    cells: Vec<Option<String>>,
    names: Vec<&'static str>,
    formulas: Formulas,
}

impl Cells {
    fn push(&mut self, value: impl Display) {
        self.cells.push(Some(value.to_string()));
    }
}

/// A row that is not flat.
#[derive(Debug)]
pub(crate) struct RowError(String);

impl Display for RowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RowError {}

impl ser::Error for RowError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl From<RowError> for CliError {
    fn from(error: RowError) -> Self {
        Self::failed(format!("could not write CSV: {error}"))
    }
}

/// Implements the methods for values that `Display` writes as CSV has them.
macro_rules! displayed {
    ($($method:ident: $value:ty),+) => {
        $(fn $method(self, value: $value) -> Result<(), RowError> {
            self.push(value);
            Ok(())
        })+
    };
}

/// Refuses what a flat row does not have.
macro_rules! refused {
    ($($method:ident($($argument:ident: $type:ty),*) -> $result:ty),+ $(,)?) => {
        $(fn $method(self, $($argument: $type),*) -> Result<$result, RowError> {
            $(let _ = $argument;)*
            Err(RowError::custom("a cell holds one value"))
        })+
    };
}

impl Serializer for &mut Cells {
    type Ok = ();
    type Error = RowError;
    type SerializeSeq = ser::Impossible<(), RowError>;
    type SerializeTuple = ser::Impossible<(), RowError>;
    type SerializeTupleStruct = ser::Impossible<(), RowError>;
    type SerializeTupleVariant = ser::Impossible<(), RowError>;
    type SerializeMap = ser::Impossible<(), RowError>;
    type SerializeStruct = Self;
    type SerializeStructVariant = ser::Impossible<(), RowError>;

    displayed!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_char: char
    );

    fn serialize_f32(self, value: f32) -> Result<(), RowError> {
        self.serialize_f64(value.into())
    }

    /// Writes the shortest text that reads back as the same number, as JSON has it.
    fn serialize_f64(self, value: f64) -> Result<(), RowError> {
        match serde_json::Number::from_f64(value) {
            Some(number) => self.push(number),
            None => self.push(value),
        }
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), RowError> {
        let text = self.formulas.text(text).into_owned();
        self.cells.push(Some(text));
        Ok(())
    }

    fn serialize_none(self) -> Result<(), RowError> {
        self.cells.push(None);
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), RowError> {
        self.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), RowError> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), RowError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), RowError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), RowError> {
        value.serialize(self)
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self, RowError> {
        Ok(self)
    }

    refused!(
        serialize_bytes(bytes: &[u8]) -> (),
        serialize_unit_struct(name: &'static str) -> (),
        serialize_seq(len: Option<usize>) -> Self::SerializeSeq,
        serialize_tuple(len: usize) -> Self::SerializeTuple,
        serialize_tuple_struct(name: &'static str, len: usize) -> Self::SerializeTupleStruct,
        serialize_map(len: Option<usize>) -> Self::SerializeMap,
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> Self::SerializeTupleVariant,
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> Self::SerializeStructVariant,
    );
}

impl SerializeStruct for &mut Cells {
    type Ok = ();
    type Error = RowError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), RowError> {
        self.names.push(name);
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), RowError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row<'t> {
        id: i64,
        price: Option<f64>,
        item: Option<&'t str>,
    }

    fn csv(rows: &[Row<'_>], formulas: Formulas) -> String {
        String::from_utf8(table(rows, formulas).unwrap()).unwrap()
    }

    #[test]
    fn a_null_and_an_empty_text_differ_and_a_standard_reader_reads_the_rest_back() {
        let rows = [
            Row { id: 1, price: None, item: None },
            Row { id: -2, price: Some(9.5), item: Some("") },
            Row { id: 3, price: Some(1e300), item: Some("a \"b\", c\nd") },
        ];
        let text = csv(&rows, Formulas::Kept);
        assert_eq!(text, "id,price,item\n1,,\n-2,9.5,\"\"\n3,1e+300,\"a \"\"b\"\", c\nd\"\n");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let items: Vec<String> = reader.records().map(|row| row.unwrap()[2].to_owned()).collect();
        assert_eq!(items, ["", "", "a \"b\", c\nd"]);
    }

    #[test]
    fn formulas_are_defused_and_numbers_are_not() {
        for (text, defused) in [
            ("=1+1", "'=1+1"),
            ("+49 30", "'+49 30"),
            ("-x", "'-x"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\rx", "\"'\rx\""),
            ("=a,\"b\"", "\"'=a,\"\"b\"\"\""),
            ("a=1", "a=1"),
        ] {
            let rows = [Row { id: -1, price: Some(-2.5), item: Some(text) }];
            assert_eq!(csv(&rows, Formulas::Defused), format!("id,price,item\n-1,-2.5,{defused}\n"));
        }
    }
}
