//! Putting a corrected body in a dead letter's place. The correction is a new message: it is claimed in the
//! dead letter's history, published on its source topic, and the dead letter is discarded once that has a
//! receipt. Killed anywhere in between, the same correction done again is the same event.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::correction_claims::{self, CorrectionClaims};
use super::outcome_counts::OutcomeCounts;
use super::{DeadLetterQueue, execute, fact_text};
use ecom_bus::Publisher;
use ecom_codec::correction::correction;
use ecom_codec::event::{Event, decode};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::{BulkOperation, OperationStatus};
use ecom_domain::dead_letter::{
    DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind, HistoryAction, HistoryEntry, sha256,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_domain::verdict::{ApplyCheck, Verdict};
use ecom_pipeline::apply_check::apply_check;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::RoleError;

/// Between two looks whether a consumer took the correction.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How the note of a discard begins that a correction made.
const CORRECTED_BY: &str = "corrected by message ";

/// A correction that may be made.
#[derive(Clone, Debug)]
pub struct CorrectionPlan {
    /// The dead letter.
    pub record: DeadLetterRecord,
    /// The corrected body.
    pub body: Bytes,
    /// T of the correction, unless another is made before it.
    pub t: EventTime,
    /// What the corrected event would do now.
    pub verdict: Verdict,
    /// The order it is about.
    pub order_id: OrderId,
    /// What the row shows now in the place of the corrected event, where that would replace it.
    pub replaces: Option<String>,
}

/// Why a correction is not made.
#[derive(thiserror::Error, Debug)]
pub enum CorrectionError {
    /// The store refused something.
    #[error(transparent)]
    Store(#[from] RoleError),
    /// No such dead letter.
    #[error("there is no dead letter {0}")]
    Unknown(DeadLetterId),
    /// It is not open, so there is nothing to correct.
    #[error("dead letter {id} is {}", state.as_str())]
    Closed {
        /// The dead letter.
        id: DeadLetterId,
        /// Its state.
        state: DeadLetterState,
    },
    /// This very body has been published in its place.
    #[error("dead letter {id} has been {by}")]
    Done {
        /// The dead letter.
        id: DeadLetterId,
        /// By which message.
        by: String,
    },
    /// The body is none a consumer would take.
    #[error("the corrected body is no {}: {detail}", kind.as_str())]
    NoEvent {
        /// What it should be.
        kind: EventKind,
        /// Field and cause.
        detail: String,
    },
    /// It is about another order than the dead letter.
    #[error("the dead letter is about order {was}, the corrected body about order {is}")]
    OtherOrder {
        /// The dead letter's.
        was: OrderId,
        /// The body's.
        is: OrderId,
    },
    /// Nothing was corrected.
    #[error("the body is the dead letter's own, byte for byte")]
    Same,
}

/// A correction that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorrectionResult {
    /// The message that carries it.
    pub message_id: String,
    /// Its T.
    pub t: EventTime,
    /// The dead letter's state, read after it was discarded.
    pub outcome: ActualOutcome,
}

/// What became of the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CorrectionStatus {
    /// The row shows it, or a newer event.
    Applied(Verdict),
    /// It was dead-lettered in its turn.
    DeadLettered(DeadLetterId),
    /// No consumer has taken it yet.
    Pending,
}

impl DeadLetterQueue {
    /// Closes the run of a correction that was made.
    pub async fn finish(
        &self,
        run: BulkOperation,
        outcome: ActualOutcome,
    ) -> Result<BulkOperation, RoleError> {
        let mut counts = OutcomeCounts::default();
        counts.count(outcome);
        self.rewrite(run, OperationStatus::Finished, &counts).await
    }

    /// Looks whether a dead letter may be corrected by this body, and what that would do.
    pub async fn propose(&self, id: &DeadLetterId, body: Bytes) -> Result<CorrectionPlan, CorrectionError> {
        let record = self.retrier.read(|| self.dead_letter_store.dead_letter(id)).await?;
        let record = record.ok_or_else(|| CorrectionError::Unknown(id.clone()))?;
        let dead_letter = &record.dead_letter;
        let history = self.retrier.read(|| self.dead_letter_store.history(id)).await?;
        let claims = CorrectionClaims::of(&history);
        let number = claims.number_of(&sha256(&body));
        if !record.state().is_open() {
            return Err(closed(&record, number.and_then(|_| corrected_by(&history))));
        }
        let subject = decode(dead_letter.kind, &body).map_err(|rejection| CorrectionError::NoEvent {
            kind: dead_letter.kind,
            detail: rejection.detail,
        })?;
        let is = subject.order_id();
        let of_first =
            || decode(dead_letter.kind, claims.first.as_deref()?.as_bytes()).ok().map(|e| e.order_id());
        if let Some(was) = dead_letter.order_id.or_else(of_first).filter(|was| *was != is) {
            return Err(CorrectionError::OtherOrder { was, is });
        }
        let is_same = dead_letter.body.is_whole() && dead_letter.body.bytes == body;
        // Of two events of one time the same body a microsecond later is a choice.
        if is_same && self.stands(&subject, dead_letter.t).await? != ApplyCheck::Conflict {
            return Err(CorrectionError::Same);
        }
        let t = dead_letter.t.correction(number.unwrap_or_else(|| claims.next()));
        let verdict = self.stands(&subject, t).await?.into();
        drop(subject);
        let fact = match verdict {
            Verdict::AppliesNow => self.retrier.read(|| self.facts.fact(is)).await?,
            _ => None,
        };
        let replaces = fact.as_ref().and_then(|fact| match dead_letter.kind {
            EventKind::Order => fact_text::order(fact),
            EventKind::Payment => fact_text::payment(fact),
        });
        Ok(CorrectionPlan { record, body, t, verdict, order_id: is, replaces })
    }

    async fn stands(&self, subject: &Event<'_>, t: EventTime) -> Result<ApplyCheck, RoleError> {
        self.retrier.read(|| apply_check(self.facts.as_ref(), subject, t)).await
    }

    /// Makes the correction: claims its number, publishes it on the dead letter's source topic, awaits the
    /// receipt, discards the dead letter. Refuses where the dead letter was closed since it was proposed.
    pub async fn correct(
        &self,
        plan: &CorrectionPlan,
        resolver: &DeadLetterResolver,
        publisher: &dyn Publisher,
    ) -> Result<CorrectionResult, CorrectionError> {
        let CorrectionPlan { record, body, .. } = plan;
        let id = &record.dead_letter.id;
        match resolver.dead_letter(id).await?.map(|record| record.state()) {
            Some(state) if state.is_open() => {}
            Some(state) => return Err(CorrectionError::Closed { id: id.clone(), state }),
            None => return Err(CorrectionError::Unknown(id.clone())),
        }
        let number = correction_claims::claim(resolver, record, body).await?;
        let t = record.dead_letter.t.correction(number);
        // A dead letter may be dated a few seconds ahead of its publish time; its correction, too.
        let early = u64::try_from(t.micros().saturating_sub(resolver.clock.now_us())).unwrap_or_default();
        tokio::time::sleep(Duration::from_micros(early)).await;
        let message = correction(&record.dead_letter, number, body.clone());
        let publishing = self.retrier.publishing(record.dead_letter.kind.into());
        let (_, message_id) = publishing.published(publisher, &message).await?;
        if let Some(record) = resolver.dead_letter(id).await?
            && record.state().is_open()
        {
            let instead = plan.replaces.as_deref().map(|was| format!(", in place of {was}"));
            let by = format!("{CORRECTED_BY}{message_id}{}", instead.unwrap_or_default());
            let note = resolver.note.as_ref().map_or_else(|| by.clone(), |note| format!("{by}: {note}"));
            let line = resolver.outcome(HistoryAction::Discarded, "corrected", ActualOutcome::Discarded);
            let line = HistoryEntry { note: Some(note), ..line };
            resolver
                .act(&record, resolver.becomes(record.progress.generation, DeadLetterState::Discarded), line)
                .await?;
        }
        Ok(CorrectionResult { message_id, t, outcome: execute::seen(resolver, id).await? })
    }

    /// Waits until the row shows the correction, or a consumer refused it. Of a corrected order the
    /// open payments are looked at then.
    pub async fn taken(
        &self,
        plan: &CorrectionPlan,
        corrected: &CorrectionResult,
        resolver: &DeadLetterResolver,
        patience: Duration,
    ) -> Result<CorrectionStatus, RoleError> {
        let (kind, t, until) = (plan.record.dead_letter.kind, corrected.t, Instant::now() + patience);
        let Ok(subject) = decode(kind, &plan.body) else { return Ok(CorrectionStatus::Pending) };
        let came_back = DeadLetterId::of(kind, t, &plan.body);
        loop {
            match resolver.retrier.read(|| apply_check(self.facts.as_ref(), &subject, t)).await? {
                shown @ (ApplyCheck::AlreadyApplied | ApplyCheck::Superseded) => {
                    if kind == EventKind::Order {
                        resolver.recheck(subject.order_id()).await?;
                    }
                    return Ok(CorrectionStatus::Applied(shown.into()));
                }
                ApplyCheck::AppliesNow | ApplyCheck::StillWaiting | ApplyCheck::Conflict => {}
            }
            if resolver.dead_letter(&came_back).await?.is_some() {
                return Ok(CorrectionStatus::DeadLettered(came_back));
            }
            if Instant::now() >= until {
                return Ok(CorrectionStatus::Pending);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn closed(record: &DeadLetterRecord, by: Option<String>) -> CorrectionError {
    let (id, state) = (record.dead_letter.id.clone(), record.state());
    match (by, state) {
        (Some(by), DeadLetterState::Discarded) => CorrectionError::Done { id, by },
        (_, state) => CorrectionError::Closed { id, state },
    }
}

/// By which message a dead letter was corrected last, in words.
fn corrected_by(history: &[HistoryEntry]) -> Option<String> {
    let note = |line: &HistoryEntry| line.note.clone().filter(|note| note.starts_with(CORRECTED_BY));
    history.iter().rev().filter(|line| line.action == HistoryAction::Discarded).find_map(note)
}
