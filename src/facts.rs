//! `ecom_facts`: show, verify, export.

use std::io::Write;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use tokio::time::Instant;

use super::cli::{ExportArgs, Facts, FactsCommand, Format, ShowArgs, VerifyArgs};
use super::context::Context;
use super::csv_record::{self, Formulas};
use super::exit::{CliError, Exit};
use super::output;
use super::setup::{self, Rights};
use super::wiring::{self, DataFolder};
use crate::render::screen::Screen;
use crate::render::table::{Column, table};
use ecom_codec::envelope::rfc3339;
use ecom_domain::fact::Fact;
use ecom_domain::order::OrderId;
use ecom_scenario::{EventContent, Manifest, StreamCounts, Units, Verification, verify};
use ecom_telemetry::stderr;

/// The interval of `verify --wait`.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Runs `ecom_facts`.
pub(crate) async fn main(context: Context, cli: &Facts) -> Result<Exit, CliError> {
    if context.common.check {
        return setup::check(&context, Rights::Reader).await;
    }
    match &cli.command {
        FactsCommand::Show(args) => show(&context, args).await,
        FactsCommand::Verify(args) => verify_manifests(&context, args).await,
        FactsCommand::Export(args) => export(&context, args).await,
    }
}

/// The 13 columns of the fact table.
#[derive(Serialize)]
struct Row<'f> {
    order_id: i64,
    customer_id: Option<i64>,
    item: Option<&'f str>,
    quantity: Option<i64>,
    price: Option<f64>,
    shipping_address: Option<&'f str>,
    order_status: Option<&'f str>,
    creation_date: Option<&'f str>,
    payment_id: Option<i64>,
    payment_method: Option<&'f str>,
    card_last_four: Option<&'f str>,
    payment_status: Option<&'f str>,
    payment_datetime: Option<&'f str>,
}

impl<'f> From<&'f Fact> for Row<'f> {
    fn from(fact: &'f Fact) -> Self {
        let (order, payment) = (&fact.order, &fact.payment);
        Self {
            order_id: fact.order_id.0,
            customer_id: order.customer_id,
            item: order.item.as_deref(),
            quantity: order.quantity,
            price: order.price,
            shipping_address: order.shipping_address.as_deref(),
            order_status: order.order_status.as_deref(),
            creation_date: order.creation_date.as_deref(),
            payment_id: payment.payment_id,
            payment_method: payment.payment_method.as_deref(),
            card_last_four: payment.card_last_four.as_deref(),
            payment_status: payment.payment_status.as_deref(),
            payment_datetime: payment.payment_datetime.as_deref(),
        }
    }
}

/// One row with its write timestamps.
#[derive(Serialize)]
struct RowDetails<'f> {
    #[serde(flatten)]
    row: Row<'f>,
    order_written_at: Option<String>,
    payment_written_at: Option<String>,
}

impl RowDetails<'_> {
    /// Names and values, in the order of the table's columns.
    fn cells(&self) -> Vec<[String; 2]> {
        let row = &self.row;
        let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
        let number = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let cells = [
            ("order_id", row.order_id.to_string()),
            ("customer_id", number(row.customer_id)),
            ("item", text(row.item)),
            ("quantity", number(row.quantity)),
            ("price", row.price.map_or_else(|| "-".to_owned(), |price| price.to_string())),
            ("shipping_address", text(row.shipping_address)),
            ("order_status", text(row.order_status)),
            ("creation_date", text(row.creation_date)),
            ("order_written_at", text(self.order_written_at.as_deref())),
            ("payment_id", number(row.payment_id)),
            ("payment_method", text(row.payment_method)),
            ("card_last_four", text(row.card_last_four)),
            ("payment_status", text(row.payment_status)),
            ("payment_datetime", text(row.payment_datetime)),
            ("payment_written_at", text(self.payment_written_at.as_deref())),
        ];
        cells.map(|(name, value)| [name.to_owned(), value]).into()
    }
}

async fn show(context: &Context, args: &ShowArgs) -> Result<Exit, CliError> {
    let formulas = Formulas::of(args.spreadsheet_safe);
    let store = wiring::unnamed_store(context, DataFolder::MustExist).await?;
    let Some(fact) = store.facts.fact(OrderId(args.order_id)).await? else {
        let (order, store) = (args.order_id, store.facts.describe());
        stderr::error(format_args!("no row for order {order} in {store}"), None);
        return Ok(Exit::NegativeResult);
    };
    wiring::log_store(&store);
    let shown = RowDetails {
        row: Row::from(&fact),
        order_written_at: fact.order_written_at.map(|at| rfc3339(at.micros())),
        payment_written_at: fact.payment_written_at.map(|at| rfc3339(at.micros())),
    };
    let text = match args.format {
        Format::Json => format!("{}\n", json_line(&shown)?),
        Format::Csv => String::from_utf8_lossy(&csv_record::table([&shown.row], formulas)?).into_owned(),
        Format::Table => output::list(output::screen_of(args.out.as_deref()), shown.cells()),
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}

fn json_line(value: &impl Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string(value)?)
}

async fn export(context: &Context, args: &ExportArgs) -> Result<Exit, CliError> {
    let formulas = Formulas::of(args.spreadsheet_safe);
    let store = wiring::store(context, DataFolder::MustExist).await?;
    let mut sink = output::sink(args.out.as_deref())?;
    let written = export_to(&mut sink, store.facts.facts(), args.format(), formulas).await;
    match written.and_then(|rows| sink.flush().map(|()| rows).map_err(CliError::from)) {
        Ok(rows) => stderr::say(format_args!("exported {} rows", output::count(rows))),
        Err(error) if error.is_closed_pipe() => {}
        Err(error) => return Err(error),
    }
    Ok(Exit::Done)
}

async fn export_to(
    sink: &mut impl Write,
    mut facts: futures_util::stream::BoxStream<'_, Result<Fact, ecom_store::StoreError>>,
    format: Format,
    formulas: Formulas,
) -> Result<u64, CliError> {
    let mut rows = 0u64;
    while let Some(fact) = facts.next().await {
        let fact = fact?;
        let row = Row::from(&fact);
        match format {
            Format::Csv | Format::Table => {
                if rows == 0 {
                    csv_record::header(sink, &csv_record::names(&row)?)?;
                }
                csv_record::record(sink, &row, formulas)?;
            }
            Format::Json => writeln!(sink, "{}", json_line(&row)?)?,
        }
        rows += 1;
    }
    Ok(rows)
}

async fn verify_manifests(context: &Context, args: &VerifyArgs) -> Result<Exit, CliError> {
    let mut manifests = Vec::new();
    for path in &args.manifest {
        manifests.push(Manifest::read(path).map_err(|error| CliError::usage(error.to_string()))?);
    }
    let units =
        Units::of(&manifests, EventContent::of).map_err(|error| CliError::usage(error.to_string()))?;
    let store = wiring::unnamed_store(context, DataFolder::MustExist).await?;
    let deadline = Instant::now() + args.wait.unwrap_or_default();
    let found = loop {
        let found = verify(&units, store.facts.as_ref(), store.dead_letter_store.as_ref()).await?;
        if found.is_clean() || Instant::now() >= deadline || context.stop.is_cancelled() {
            break found;
        }
        tokio::select! {
            biased;
            () = context.stop.cancelled() => {}
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
    };
    let text = match args.format() {
        Format::Json => format!("{}\n", json_line(&found)?),
        Format::Table | Format::Csv => format!(
            "{}\n\n{}",
            store.facts.describe(),
            verification_text(&found, output::screen_of(args.out.as_deref()))
        ),
    };
    output::to(args.out.as_deref(), &text)?;
    if !found.is_clean() {
        let handler = output::command("dlq_handler", &context.common);
        stderr::say(format_args!(
            "next: check that all consumers run; to retry waiting dead letters now: {handler} run --once"
        ));
    }
    Ok(if found.is_clean() { Exit::Done } else { Exit::NegativeResult })
}

/// A verification as text: events by stream, dead letters by reason, differences.
pub(crate) fn verification_text(found: &Verification, screen: Screen) -> String {
    let stream = |name: &str, counts: &StreamCounts| {
        let mut cells = vec![name.to_owned()];
        let counts = [
            counts.published,
            counts.current,
            counts.superseded,
            counts.dead_letter_store,
            counts.lost,
            counts.duplicates,
        ];
        cells.extend(counts.map(output::count));
        <[String; 7]>::try_from(cells).unwrap_or_default()
    };
    let columns = [
        Column::left("stream"),
        Column::right("published"),
        Column::right("current").rank(2),
        Column::right("superseded").rank(3),
        Column::right("dead-letter store").rank(1),
        Column::right("lost"),
        Column::right("duplicate"),
    ];
    let mut text =
        table(screen, columns, [stream("orders", &found.orders), stream("payments", &found.payments)]);
    if !found.dead_letters.is_empty() {
        let dead_letters = found.dead_letters.iter().map(|((reason, state), count)| {
            [reason.as_str().to_owned(), state.as_str().to_owned(), output::count(*count)]
        });
        text.push('\n');
        let columns =
            [Column::left("dead letters by reason"), Column::right("state"), Column::right("dead letters")];
        text.push_str(&table(screen, columns, dead_letters));
    }
    text.push('\n');
    if found.is_clean() {
        text.push_str(&format!("✓ {} rows as published: 0 lost, 0 mixed\n", output::count(found.rows)));
        return text;
    }
    for difference in &found.differences {
        text.push_str(&format!("{difference}\n"));
    }
    let kinds: Vec<String> = found
        .faults
        .iter()
        .map(|(fault, count)| format!("{} {}", output::count(*count), fault.as_str()))
        .collect();
    text.push_str(&format!(
        "✗ {} differences in {} rows: {}\n",
        output::count(found.difference_count()),
        output::count(found.rows),
        kinds.join(", ")
    ));
    text
}
