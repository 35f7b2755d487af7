//! A pass over the whole ledger: what waits is scheduled or tried, what is parked is looked at
//! again, what was resolved long ago is removed.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::durable::Halt;
use super::retries::Offers;
use super::settler::{Occasion, Settler, Stand, applies_by_itself};
use ecom_clock::micros;
use ecom_domain::letter::{LetterRecord, State};
use ecom_domain::reason::Reason;
use ecom_store::Scan;
use ecom_telemetry::metrics::Operation;

/// Letters tried at once in a pass.
const CONCURRENCY: usize = 32;

/// What a pass did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Swept {
    /// Letters read.
    pub letters: u64,
    /// Letters that became `recovered`.
    pub recovered: u64,
    /// Letters open after the pass.
    pub open: u64,
    /// Resolved letters removed.
    pub removed: u64,
}

/// Goes over all letters, newest day first. With `offers`, waiting letters are left to the schedule, but
/// for those past their age: the schedule may have no room for the oldest. Without, they are tried now,
/// whenever they are due.
pub async fn sweep(settler: &Settler, offers: Option<Offers>) -> Result<Swept, Halt> {
    let mut swept = Swept::default();
    let mut attempts = FuturesUnordered::new();
    let mut letters = settler.ledger.letters(Scan::BRIEF);
    while let Some(record) = letters.next().await {
        let record = match record {
            Ok(record) => record,
            // What could not be read is read by the next pass.
            Err(error) if error.is_outage() => {
                tracing::warn!("{error}; the pass over the ledger ends early");
                break;
            }
            Err(error) => return Err(error.into()),
        };
        swept.letters += 1;
        if is_expired(settler, &record) {
            settler.retrying.storing(Operation::Remove).write(|| settler.ledger.remove(&record)).await?;
            swept.removed += 1;
            continue;
        }
        match (record.state(), &offers) {
            (State::Waiting, Some(offers)) if !is_overdue(settler, &record) => {
                let due = record.progress.next_attempt_at.unwrap_or_default();
                offers.due(record.letter.id, due).await;
                swept.open += 1;
            }
            (State::Parked, _) if is_for_a_human(record.letter.reason) => swept.open += 1,
            (State::Waiting | State::Parked | State::Discarded, _) => {
                let id = record.letter.id;
                attempts.push(async move { settler.attempt(&id, Occasion::Pass).await });
            }
            (State::Recovered, _) => {}
        }
        while attempts.len() >= CONCURRENCY
            && let Some(stand) = attempts.next().await
        {
            swept.count(stand?);
        }
    }
    while let Some(stand) = attempts.next().await {
        swept.count(stand?);
    }
    Ok(swept)
}

impl Swept {
    fn count(&mut self, stand: Stand) {
        match stand {
            Stand::Rests(State::Recovered) => self.recovered += 1,
            Stand::Rests(State::Waiting | State::Parked) | Stand::Waits(_) => self.open += 1,
            Stand::Rests(State::Discarded) | Stand::Gone => {}
        }
    }
}

/// Whether the next attempt is a waiting letter's last.
fn is_overdue(settler: &Settler, record: &LetterRecord) -> bool {
    let age = settler.clock.now_us().saturating_sub(record.letter.first_failed_at);
    age > micros(settler.policy.max_age)
}

fn is_expired(settler: &Settler, record: &LetterRecord) -> bool {
    let oldest = settler.clock.now_us().saturating_sub(micros(settler.policy.retention));
    !record.state().is_open() && record.progress.state_at.is_some_and(|at| at < oldest)
}

/// Whether looking again at a parked letter of this reason cannot change anything: its body is no
/// event. One whose handler panicked may have been applied by a redelivery.
pub fn is_for_a_human(reason: Reason) -> bool {
    !applies_by_itself(reason) && reason != Reason::HandlerFailed
}
