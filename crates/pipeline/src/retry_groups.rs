//! Attempts of dead letters by the schedule, together: most of them still wait for their orders, which few requests
//! find out.

use super::dead_letter_resolver::DeadLetterResolver;
use super::retry_policy::waiting_since;
use ecom_clock::micros;
use ecom_domain::dead_letter::{
    DeadLetterChange, DeadLetterId, DeadLetterRecord, DeadLetterState, DeadLetterUpdate, EventKind,
    HistoryAction, HistoryEntry,
};
use ecom_domain::fact::PaymentSlot;
use ecom_domain::reason::Reason;
use ecom_telemetry::metrics::StoreOperation;

impl DeadLetterResolver {
    /// Attempts dead letters by the schedule, together: payments whose orders are still missing are scheduled again.
    /// Returns the times of their next attempts, microseconds since the epoch; `None` for each that is to be attempted
    /// alone, among them all if a call fails.
    pub async fn attempt_together(&self, ids: &[DeadLetterId]) -> Vec<Option<i64>> {
        let mut results = vec![None; ids.len()];
        if let Some(waiting) = self.still_waiting(ids).await {
            let updates = waiting.iter().map(|(_, record)| self.next_schedule(record));
            let (updates, next_attempts): (Vec<_>, Vec<_>) = updates.unzip();
            let storing = self.retrier.storing(StoreOperation::ApplyUpdate);
            if storing.try_write(self.dead_letter_store.apply_all(&updates), |_| true).await.is_some() {
                self.retrier.metrics().attempted.inc_by(updates.len() as u64);
                for ((place, _), next_attempt_at) in waiting.iter().zip(next_attempts) {
                    results[*place] = Some(next_attempt_at);
                }
            }
        }
        results
    }

    /// Returns those dead letters that are due and wait for an order that is not there, with their places in `ids`;
    /// `None` if a call fails. Nothing is written to the fact table for them, so that they need no lock.
    async fn still_waiting(&self, ids: &[DeadLetterId]) -> Option<Vec<(usize, DeadLetterRecord)>> {
        let storing = self.retrier.storing(StoreOperation::DeadLetter);
        let records = storing.try_read(self.dead_letter_store.read_brief(ids), |_| true).await?;
        let now = self.clock.now_us();
        let candidates = records.into_iter().enumerate().filter_map(|(place, record)| {
            let record = record.filter(|record| self.may_only_wait(record, now))?;
            Some((record.dead_letter.order_id?, (place, record)))
        });
        let (order_ids, candidates): (Vec<_>, Vec<_>) = candidates.unzip();
        let storing = self.retrier.storing(StoreOperation::PaymentSlot);
        let slots = storing.try_read(self.facts.payment_slots(&order_ids), |_| true).await?;
        let waiting = candidates.into_iter().zip(slots).filter(|(_, slot)| *slot == PaymentSlot::NoOrder);
        Some(waiting.map(|(waiting, _)| waiting).collect())
    }

    /// Returns true for a waiting payment that is due, and that a missing order leaves waiting.
    fn may_only_wait(&self, record: &DeadLetterRecord, now: i64) -> bool {
        let dead_letter = &record.dead_letter;
        record.state() == DeadLetterState::Waiting
            && (dead_letter.kind, dead_letter.reason) == (EventKind::Payment, Reason::OrderNotFound)
            && self.awaits_until(record, now).is_none()
            && !self.is_too_old(record, now)
    }

    /// Returns the time at which the schedule makes the next attempt; `None` if it is to be made now.
    pub(super) fn awaits_until(&self, record: &DeadLetterRecord, now: i64) -> Option<i64> {
        record.progress.next_attempt_at.and(self.policy.due(record, now)).filter(|due| *due > now)
    }

    /// Returns true for a dead letter that has waited for longer than it may.
    pub(super) fn is_too_old(&self, record: &DeadLetterRecord, now: i64) -> bool {
        now.saturating_sub(waiting_since(record)) > micros(self.policy.max_age)
    }

    /// Returns the update that schedules the attempt after this one, and when it is due.
    pub(super) fn next_schedule(&self, record: &DeadLetterRecord) -> (DeadLetterUpdate, i64) {
        let attempts = record.progress.attempts.saturating_add(1);
        let wait = self.policy.backoff.delay(attempts, self.entropy.share());
        let next_attempt_at = self.clock.now_us().saturating_add(micros(wait));
        let change = DeadLetterChange::Schedule { attempts, next_attempt_at };
        let entry =
            HistoryEntry { attempt: Some(attempts), ..self.history_entry(HistoryAction::Attempted, None) };
        let generation = record.progress.generation;
        (DeadLetterUpdate::new(&record.dead_letter, generation, change, entry), next_attempt_at)
    }
}
