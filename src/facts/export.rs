//! `ecom_facts export`: all rows of a table, as CSV or JSON in one stream, or as Parquet in parts.

use std::io::Write;

use futures_util::stream::{BoxStream, TryStreamExt};
use serde::Serialize;

use super::row::{Row, SupersededRow};
use crate::cli::{ExportArgs, ExportFormat, ExportTable};
use crate::context::Context;
use crate::csv_record::{self, Formulas};
use crate::exit::{CliError, Exit};
use crate::inspect::Progress;
use crate::output;
use crate::wiring::{self, DataFolder};
use ecom_domain::fact::Fact;
use ecom_store::StoreError;
use ecom_telemetry::stderr;

/// Runs `ecom_facts export`.
pub(super) async fn export(context: &Context, args: &ExportArgs) -> Result<Exit, CliError> {
    if args.format == ExportFormat::Parquet {
        return parquet(context, args).await;
    }
    let (format, formulas) = (args.format, Formulas::of(args.spreadsheet_safe));
    let store = wiring::store(context, DataFolder::MustExist).await?;
    let mut sink = output::sink(args.out.as_deref())?;
    let progress = Progress::of_rows();
    let written = match args.table {
        ExportTable::Facts => {
            let write = |out: &mut _, fact: &Fact, nth| write(out, &Row::from(fact), format, formulas, nth);
            stream(&mut sink, store.facts.facts(), &progress, write).await
        }
        ExportTable::Superseded => {
            let write = |out: &mut _, row: &SupersededRow, nth| write(out, row, format, formulas, nth);
            stream(&mut sink, SupersededRow::all(store.facts.as_ref()), &progress, write).await
        }
    };
    progress.done();
    match written.and_then(|rows| sink.flush().map(|()| rows).map_err(CliError::from)) {
        Ok(rows) => stderr::say(format_args!("exported {} rows", output::count(rows))),
        Err(error) if error.is_closed_pipe() => {}
        Err(error) => return Err(error),
    }
    Ok(Exit::Done)
}

#[cfg(feature = "parquet")]
async fn parquet(context: &Context, args: &ExportArgs) -> Result<Exit, CliError> {
    super::parts::export(context, args).await
}

#[cfg(not(feature = "parquet"))]
async fn parquet(_: &Context, _: &ExportArgs) -> Result<Exit, CliError> {
    Err(CliError::usage("this binary was built without the feature parquet")
        .hint("build with default features: cargo build --release"))
}

/// Writes each row with its position.
async fn stream<W: Write, T>(
    sink: &mut W,
    mut rows: BoxStream<'_, Result<T, StoreError>>,
    progress: &Progress,
    write: impl Fn(&mut W, &T, u64) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let mut count = 0;
    while let Some(row) = rows.try_next().await? {
        write(sink, &row, count)?;
        count += 1;
        progress.at(count);
    }
    Ok(count)
}

fn write(
    sink: &mut impl Write,
    row: &impl Serialize,
    format: ExportFormat,
    formulas: Formulas,
    nth: u64,
) -> Result<(), CliError> {
    match format {
        ExportFormat::Csv | ExportFormat::Parquet => {
            if nth == 0 {
                csv_record::header(sink, &csv_record::names(row)?)?;
            }
            csv_record::record(sink, row, formulas)?;
        }
        ExportFormat::Json => writeln!(sink, "{}", serde_json::to_string(row)?)?,
    }
    Ok(())
}
