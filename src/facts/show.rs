//! `ecom_facts show`: one row, and the payments that lost against its payment.

use serde::Serialize;

use super::row::{Row, SupersededRow};
use crate::cli::{Format, ShowArgs};
use crate::context::Context;
use crate::csv_record::{self, Formulas};
use crate::exit::{CliError, Exit};
use crate::output;
use crate::render::screen::Screen;
use crate::render::table::{Column, table};
use crate::wiring::{self, DataFolder};
use ecom_codec::envelope::rfc3339;
use ecom_domain::order::OrderId;
use ecom_telemetry::stderr;

/// One row with its write timestamps.
#[derive(Serialize)]
struct RowDetails<'f> {
    #[serde(flatten)]
    row: Row<'f>,
    order_written_at: Option<String>,
    payment_written_at: Option<String>,
    superseded_payments: Vec<SupersededRow>,
}

impl RowDetails<'_> {
    /// Names and values, in the order of the table's columns.
    fn cells(&self) -> Vec<[String; 2]> {
        let row = &self.row;
        let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
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

    /// The row as text, then the superseded payments, newest first, if there are any.
    fn text(&self, screen: Screen) -> String {
        let mut text = output::list(screen, self.cells());
        if !self.superseded_payments.is_empty() {
            let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let rows = self.superseded_payments.iter().map(|lost| {
                [
                    number(lost.payment_id),
                    cell(&lost.payment_method),
                    cell(&lost.card_last_four),
                    cell(&lost.payment_status),
                    cell(&lost.payment_datetime),
                    lost.event_time.clone(),
                    number(lost.superseded_by),
                ]
            });
            let columns = [
                Column::left("superseded payment"),
                Column::left("method").shortened(8),
                Column::left("card").rank(2),
                Column::left("status").shortened(8),
                Column::left("datetime").rank(3),
                Column::left("event time").rank(1),
                Column::left("superseded by"),
            ];
            text.push_str(&format!("\n{}", table(screen, columns, rows)));
        }
        text
    }
}

fn number(value: Option<i64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Runs `ecom_facts show`.
pub(super) async fn show(context: &Context, args: &ShowArgs) -> Result<Exit, CliError> {
    let store = wiring::unnamed_store(context, DataFolder::MustExist).await?;
    let order_id = OrderId(args.order_id);
    let Some(fact) = store.facts.fact(order_id).await? else {
        let (order, store) = (args.order_id, store.facts.describe());
        stderr::error(format_args!("no row for order {order} in {store}"), None);
        return Ok(Exit::NegativeResult);
    };
    wiring::log_store(&store);
    let shown = RowDetails {
        row: Row::from(&fact),
        order_written_at: fact.order_written_at.map(|at| rfc3339(at.micros())),
        payment_written_at: fact.payment_written_at.map(|at| rfc3339(at.micros())),
        superseded_payments: SupersededRow::of(store.facts.superseded_of(order_id).await?, Some(&fact)),
    };
    let text = match args.format {
        Format::Json => format!("{}\n", serde_json::to_string(&shown)?),
        Format::Csv => {
            let csv = csv_record::table([&shown.row], Formulas::of(args.spreadsheet_safe))?;
            String::from_utf8_lossy(&csv).into_owned()
        }
        Format::Table => shown.text(output::screen_of(args.out.as_deref())),
    };
    output::to(args.out.as_deref(), &text)?;
    Ok(Exit::Done)
}
