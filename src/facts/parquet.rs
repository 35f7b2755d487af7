//! Rows as Parquet columns, with types: ids and quantities are 64-bit integers, prices doubles, all else text,
//! also what looks like a number, such as the last four digits of a card.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::row::SupersededRow;
use ecom_domain::fact::Fact;

/// A row of a table that can be exported.
pub(super) trait Columns: Sized {
    /// The columns, in Parquet's words.
    const SCHEMA: &'static str;

    /// Writes all columns of these rows, in the order of the schema.
    fn write<W: Write + Send>(rows: &[Self], group: &mut SerializedRowGroupWriter<'_, W>) -> Result<()>;
}

impl Columns for Fact {
    const SCHEMA: &'static str = "message orders_payments_facts {
        REQUIRED INT64 order_id;
        OPTIONAL INT64 customer_id;
        OPTIONAL BYTE_ARRAY item (STRING);
        OPTIONAL INT64 quantity;
        OPTIONAL DOUBLE price;
        OPTIONAL BYTE_ARRAY shipping_address (STRING);
        OPTIONAL BYTE_ARRAY order_status (STRING);
        OPTIONAL BYTE_ARRAY creation_date (STRING);
        OPTIONAL INT64 payment_id;
        OPTIONAL BYTE_ARRAY payment_method (STRING);
        OPTIONAL BYTE_ARRAY card_last_four (STRING);
        OPTIONAL BYTE_ARRAY payment_status (STRING);
        OPTIONAL BYTE_ARRAY payment_datetime (STRING);
    }";

    fn write<W: Write + Send>(rows: &[Self], group: &mut SerializedRowGroupWriter<'_, W>) -> Result<()> {
        required(group, rows.iter().map(|row| row.order_id.0))?;
        optional::<Int64Type, _>(group, rows.iter().map(|row| row.order.customer_id))?;
        texts(group, rows.iter().map(|row| row.order.item.as_deref()))?;
        optional::<Int64Type, _>(group, rows.iter().map(|row| row.order.quantity))?;
        optional::<DoubleType, _>(group, rows.iter().map(|row| row.order.price))?;
        texts(group, rows.iter().map(|row| row.order.shipping_address.as_deref()))?;
        texts(group, rows.iter().map(|row| row.order.order_status.as_deref()))?;
        texts(group, rows.iter().map(|row| row.order.creation_date.as_deref()))?;
        optional::<Int64Type, _>(group, rows.iter().map(|row| row.payment.payment_id))?;
        texts(group, rows.iter().map(|row| row.payment.payment_method.as_deref()))?;
        texts(group, rows.iter().map(|row| row.payment.card_last_four.as_deref()))?;
        texts(group, rows.iter().map(|row| row.payment.payment_status.as_deref()))?;
        texts(group, rows.iter().map(|row| row.payment.payment_datetime.as_deref()))
    }
}

impl Columns for SupersededRow {
    const SCHEMA: &'static str = "message superseded_payments {
        REQUIRED INT64 order_id;
        OPTIONAL INT64 payment_id;
        OPTIONAL BYTE_ARRAY payment_method (STRING);
        OPTIONAL BYTE_ARRAY card_last_four (STRING);
        OPTIONAL BYTE_ARRAY payment_status (STRING);
        OPTIONAL BYTE_ARRAY payment_datetime (STRING);
        OPTIONAL INT64 event_time (TIMESTAMP(MICROS,true));
        OPTIONAL INT64 superseded_by;
    }";

    fn write<W: Write + Send>(rows: &[Self], group: &mut SerializedRowGroupWriter<'_, W>) -> Result<()> {
        required(group, rows.iter().map(|row| row.order_id))?;
        optional::<Int64Type, _>(group, rows.iter().map(|row| row.payment_id))?;
        texts(group, rows.iter().map(|row| row.payment_method.as_deref()))?;
        texts(group, rows.iter().map(|row| row.card_last_four.as_deref()))?;
        texts(group, rows.iter().map(|row| row.payment_status.as_deref()))?;
        texts(group, rows.iter().map(|row| row.payment_datetime.as_deref()))?;
        optional::<Int64Type, _>(group, rows.iter().map(|row| Some(row.event_time_us)))?;
        optional::<Int64Type, _>(group, rows.iter().map(|row| row.superseded_by))
    }
}

/// Begins a file of rows.
pub(super) fn begin<T: Columns, W: Write + Send>(file: W) -> Result<SerializedFileWriter<W>> {
    let schema = Arc::new(parse_message_type(T::SCHEMA)?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    SerializedFileWriter::new(file, schema, Arc::new(properties))
}

/// Writes rows as a row group.
pub(super) fn write<T: Columns, W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    rows: &[T],
) -> Result<()> {
    let mut group = file.next_row_group()?;
    T::write(rows, &mut group)?;
    group.close().map(drop)
}

fn required<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: impl Iterator<Item = i64>,
) -> Result<()> {
    let cells: Vec<i64> = cells.collect();
    column::<Int64Type, W>(group, &cells, None)
}

fn optional<D: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: impl Iterator<Item = Option<D::T>>,
) -> Result<()> {
    let (mut present, mut values) = (Vec::new(), Vec::new());
    for cell in cells {
        present.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    column::<D, W>(group, &values, Some(&present))
}

fn texts<'r, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: impl Iterator<Item = Option<&'r str>>,
) -> Result<()> {
    optional::<ByteArrayType, W>(group, cells.map(|cell| cell.map(ByteArray::from)))
}

fn column<D: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[D::T],
    present: Option<&[i16]>,
) -> Result<()> {
    let missing = || ParquetError::General("the schema has fewer columns than the rows".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<D>().write_batch(values, present, None)?;
    column.close()
}
