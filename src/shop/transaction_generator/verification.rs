//! `transaction_generator verify`.

use crate::cli::{Format, GeneratorVerifyArgs, TransactionGenerator};
use crate::context::Context;
use crate::exit::{CliError, Exit};
use crate::output;
use crate::render::counted;
use crate::render::table::{Column, table};
use ecom_shop_load::client::ApiClient;
use ecom_shop_load::manifest::Manifests;
use ecom_shop_load::proof::{Proof, ProofError, prove};
use ecom_shop_load::requests::RecordKind;

const COLUMNS: [Column; 9] = [
    Column::left("records"),
    Column::right("keys"),
    Column::right("answered"),
    Column::right("proven"),
    Column::right("unanswered").rank(1),
    Column::right("lost"),
    Column::right("doubled"),
    Column::right("different"),
    Column::right("invented"),
];

/// Proves that every key of the manifests was recorded once.
pub(super) async fn verify(
    context: &Context,
    client: &ApiClient,
    args: &GeneratorVerifyArgs,
    cli: &TransactionGenerator,
) -> Result<Exit, CliError> {
    let manifests = Manifests::read(&args.manifests).map_err(|error| CliError::usage(error.to_string()))?;
    let proving = prove(client, manifests);
    let proof = tokio::select! {
        biased;
        () = context.stop.cancelled() => return Err(CliError::failed("stopped before the end; nothing was proven")),
        proof = proving => proof.map_err(failed)?,
    };
    let text = match cli.format() {
        Format::Json => format!("{}\n", serde_json::to_string(&proof)?),
        Format::Table | Format::Csv => text(&proof),
    };
    output::data(&text)?;
    Ok(if proof.is_clean() { Exit::Done } else { Exit::NegativeResult })
}

fn failed(error: ProofError) -> CliError {
    let hint = match &error {
        ProofError::NoAnswer(_) => "start api_service, or name its address with --api",
        ProofError::Refused { status: 401 | 403, .. } => {
            "it needs a key of role shop or reader: --key-file FILE"
        }
        ProofError::Refused { .. } => "--api must be the API that the requests were sent to",
    };
    CliError::failed(format!("nothing was proven: {error}")).hint(hint)
}

/// A proof as text: a row for each kind of records, then what differs.
fn text(proof: &Proof) -> String {
    let count = output::count;
    let row = |kind: RecordKind| {
        let counts = proof.of(kind);
        [
            format!("{}s", kind.as_str()),
            count(counts.keys),
            count(counts.answered),
            count(counts.proven),
            count(counts.unanswered),
            count(counts.lost),
            count(counts.doubled),
            count(counts.different),
            count(counts.invented),
        ]
    };
    let mut text = table(output::screen(), COLUMNS, RecordKind::ALL.map(row));
    text.push('\n');
    for fault in &proof.faults {
        text.push_str(&format!("✗ {fault}\n"));
    }
    let more = proof.all_faults().saturating_sub(proof.faults.len() as u64);
    if more > 0 {
        text.push_str(&format!("✗ and {}\n", counted(more, "more fault")));
    }
    let [orders, transactions] = RecordKind::ALL.map(|kind| proof.of(kind));
    let unanswered = orders.unanswered + transactions.unanswered;
    if unanswered > 0 {
        let recorded = orders.unanswered_recorded + transactions.unanswered_recorded;
        text.push_str(&format!(
            "{} had no answer: {} of them recorded once, as asked\n",
            counted(unanswered, "request"),
            count(recorded)
        ));
    }
    if proof.incomplete_lines > 0 {
        text.push_str(&format!(
            "{} not written to the end: its process was killed\n",
            counted(proof.incomplete_lines, "line")
        ));
    }
    let proven = count(orders.proven + transactions.proven);
    let answered = count(orders.answered + transactions.answered);
    text.push_str(&match proof.is_clean() {
        true => format!("✓ {proven} answered requests are recorded once each, as asked: 0 lost, 0 doubled\n"),
        false => format!(
            "✗ {proven} of {answered} answered requests are recorded once each, as asked; the faults are above\n"
        ),
    });
    text
}
