//! `dlq_handler list`: rows are written one by one, so that memory stays bounded.

use std::io::{IsTerminal, Write};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use super::super::cli::{Format, ListArgs};
use super::super::context::Context;
use super::super::csv_record::{self, Formulas};
use super::super::exit::{CliError, Exit};
use super::super::output;
use super::progress::Progress;
use super::{identified, open, unless_stopped};
use crate::render::counted;
use crate::render::rows::{heading, line};
use crate::render::screen::Screen;
use ecom_codec::envelope::rfc3339;
use ecom_dlq::DeadLetterQueue;
use ecom_dlq::row::{Bodies, DeadLetterRow};
use ecom_dlq::selection::{Detail, SelectedDeadLetter, Selection};
use ecom_store::StoreError;
use ecom_telemetry::stderr;

/// Runs `dlq_handler list`.
pub(crate) async fn list(context: &Context, args: &ListArgs) -> Result<Exit, CliError> {
    let formulas = Formulas::of(args.spreadsheet_safe);
    let queue = open(context).await?;
    let now = queue.clock.now_us();
    let ids = identified(context, &queue, &args.ids).await?;
    let selection = args.filters.selection(now, ids);
    let bodies = if args.bodies { Bodies::Included } else { Bodies::Omitted };
    // Rows that go to the terminal while others are read would mix with a progress bar.
    let is_mixed = args.limit == 0 && args.out.is_none() && std::io::stdout().is_terminal();
    let progress = if is_mixed { Progress::silent() } else { Progress::new() };
    let dead_letters = dead_letters(context, &queue, &selection, args.limit, bodies, &progress).await?;
    let mut rows = Rows {
        sink: output::sink(args.out.as_deref())?,
        format: args.format,
        formulas,
        screen: output::screen_of(args.out.as_deref()),
        bodies,
        now,
        store: queue.facts.describe(),
        written: 0,
    };
    let written = tokio::select! {
        biased;
        () = context.stop.cancelled() => Err(CliError::failed("stopped before every dead letter was written")),
        written = rows.write_all(dead_letters) => written,
    };
    progress.done();
    match written {
        Ok(()) => stderr::say(rows.summary(args.limit)),
        Err(stop) if stop.is_closed_pipe() => {}
        Err(stop) => return Err(stop),
    }
    Ok(Exit::Done)
}

/// The dead letters in the order in which they are written.
async fn dead_letters<'d>(
    context: &Context,
    queue: &'d DeadLetterQueue,
    selection: &'d Selection,
    limit: usize,
    bodies: Bodies,
    progress: &'d Progress,
) -> Result<BoxStream<'d, Result<SelectedDeadLetter, StoreError>>, CliError> {
    if limit > 0 {
        let newest =
            unless_stopped(context, queue.newest(selection, limit, &|seen| progress.at(seen))).await?;
        progress.done();
        return Ok(queue.with_bodies(newest));
    }
    let detail = if bodies == Bodies::Included { Detail::Judged } else { Detail::Brief };
    let all = queue.select(selection, detail);
    let counted = all.enumerate().map(move |(index, dead_letter)| {
        progress.at(index as u64 + 1);
        dead_letter
    });
    Ok(counted.boxed())
}

/// The rows written so far, and where to.
struct Rows<W> {
    sink: W,
    format: Format,
    formulas: Formulas,
    screen: Screen,
    bodies: Bodies,
    now: i64,
    store: String,
    written: u64,
}

impl<W: Write> Rows<W> {
    async fn write_all(
        &mut self,
        mut dead_letters: BoxStream<'_, Result<SelectedDeadLetter, StoreError>>,
    ) -> Result<(), CliError> {
        self.begin()?;
        while let Some(selected) = dead_letters.try_next().await? {
            self.write(&selected)?;
            self.written += 1;
        }
        self.end()?;
        self.sink.flush()?;
        Ok(())
    }

    fn begin(&mut self) -> Result<(), CliError> {
        match self.format {
            Format::Table => {
                write!(self.sink, "{}, {}\n\n{}", self.store, rfc3339(self.now), heading(self.screen))?
            }
            Format::Json => {
                let (store, at) = (serde_json::json!(self.store), serde_json::json!(rfc3339(self.now)));
                write!(self.sink, "{{\"store\": {store}, \"at\": {at}, \"dead_letters\": [")?;
            }
            Format::Csv => {
                let mut header = DeadLetterRow::COLUMNS.to_vec();
                if self.bodies == Bodies::Included {
                    header.extend(DeadLetterRow::BODY_COLUMNS);
                }
                csv_record::header(&mut self.sink, &header)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, selected: &SelectedDeadLetter) -> Result<(), CliError> {
        let row = || DeadLetterRow::of(selected, self.now, self.bodies);
        match self.format {
            Format::Table => write!(self.sink, "{}", line(selected, self.now, self.bodies, self.screen))?,
            Format::Json => {
                let separator = if self.written == 0 { "" } else { "," };
                write!(self.sink, "{separator}\n{}", serde_json::to_string(&row())?)?;
            }
            Format::Csv => csv_record::record(&mut self.sink, &row(), self.formulas)?,
        }
        Ok(())
    }

    /// Ends the JSON; an incomplete list is left incomplete.
    fn end(&mut self) -> Result<(), CliError> {
        if self.format == Format::Json {
            writeln!(self.sink, "\n]}}")?;
        }
        Ok(())
    }

    /// The number of dead letters, and a note if there may be more; the store, unless the rows name it.
    fn summary(&self, limit: usize) -> String {
        let more = match limit > 0 && self.written == limit as u64 {
            true => format!(", the newest {limit}; --limit 0 for all"),
            false => String::new(),
        };
        let from = match self.format {
            Format::Table | Format::Json => String::new(),
            Format::Csv => format!(", from {}", self.store),
        };
        format!("{}{more}{from}", counted(self.written, "dead letter"))
    }
}
