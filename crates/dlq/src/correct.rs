//! Corrections: a corrected body is published in a dead letter's place. It is a new message: its number is
//! claimed in the dead letter's history, it is published on the source topic, and the dead letter is discarded
//! once the publish is acknowledged. Repeated after a crash in between, the correction is the same event.

use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::body_difference::{FieldDifference, difference};
use super::correction_claims::{self, CorrectionClaims, held};
use super::fact_summary::{OrderSummary, PaymentSummary, ReplacedFact};
use super::outcome_counts::OutcomeCounts;
use super::{DeadLetterQueue, execute, times};
use ecom_bus::Publisher;
use ecom_codec::correction::correction;
use ecom_codec::event::{Event, decode};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationStatus};
use ecom_domain::dead_letter::{
    DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind, HistoryAction, HistoryEntry, sha256,
};
use ecom_domain::event_time::{EventTime, FUTURE_BOUND_US};
use ecom_domain::mutant::{Mutant, is_active};
use ecom_domain::order::OrderId;
use ecom_domain::verdict::{ApplyCheck, Verdict};
use ecom_pipeline::apply_check::apply_check;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::RoleError;

/// The interval of checks whether a consumer handled the correction.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// A correction that may be published.
#[derive(Clone, Debug)]
pub struct CorrectionPlan {
    /// The store, with host or path.
    pub store: String,
    /// The dead letter.
    pub record: DeadLetterRecord,
    /// The corrected body.
    pub body: Bytes,
    /// The event time of the correction, unless another correction is published before it.
    pub t: EventTime,
    /// The result of applying the corrected event now.
    pub verdict: Verdict,
    /// The order it is about.
    pub order_id: OrderId,
    /// The part of the row that it replaces; `None` if it replaces nothing.
    pub replaces: Option<ReplacedFact>,
}

impl CorrectionPlan {
    /// The differences between the dead letter's stored body and the corrected one.
    pub fn changes(&self) -> Vec<FieldDifference> {
        difference(&self.record.dead_letter.body.bytes, &self.body)
    }
}

impl Serialize for CorrectionPlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'p> {
            store: &'p str,
            dead_letter: &'p DeadLetterId,
            order_id: OrderId,
            #[serde(serialize_with = "times::serialize")]
            event_time: i64,
            verdict: Verdict,
            replaces: Option<&'p ReplacedFact>,
            changes: Vec<FieldDifference>,
        }
        let view = View {
            store: &self.store,
            dead_letter: &self.record.dead_letter.id,
            order_id: self.order_id,
            event_time: self.t.micros(),
            verdict: self.verdict,
            replaces: self.replaces.as_ref(),
            changes: self.changes(),
        };
        view.serialize(serializer)
    }
}

/// The errors of a correction.
#[derive(thiserror::Error, Debug)]
pub enum CorrectionError {
    /// Store or bus failed.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// There is no such dead letter.
    #[error("there is no dead letter {0}")]
    NotFound(DeadLetterId),
    /// The dead letter is not open.
    #[error("dead letter {id} is {}, not open", state.as_str())]
    NotOpen {
        /// The dead letter.
        id: DeadLetterId,
        /// Its state.
        state: DeadLetterState,
    },
    /// The same body was published in its place before.
    #[error("dead letter {id} was already corrected by message {message_id}")]
    AlreadyCorrected {
        /// The dead letter.
        id: DeadLetterId,
        /// The message with the corrected body.
        message_id: String,
    },
    /// The corrected body is not a valid event.
    #[error("the corrected body is not a valid {}: {detail}", kind.as_str())]
    InvalidBody {
        /// The kind of event that it must be.
        kind: EventKind,
        /// The field and what is wrong with it.
        detail: String,
    },
    /// The corrected body is about another order than the dead letter.
    #[error("the dead letter is about order {was}, but the corrected body is about order {is}")]
    DifferentOrder {
        /// The dead letter's order.
        was: OrderId,
        /// The body's order.
        is: OrderId,
    },
    /// The row came to hold another event at the time that this body has claimed.
    #[error("order {order} has another event at {} us, the time that this body has claimed", t.micros())]
    TimeTaken {
        /// The order.
        order: OrderId,
        /// The event time.
        t: EventTime,
    },
    /// The body is not changed.
    #[error("the corrected body is the same as the dead letter's, byte for byte")]
    Unchanged,
}

/// A correction that was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorrectionResult {
    /// The id of the message.
    pub message_id: String,
    /// Its event time.
    pub t: EventTime,
    /// The dead letter's state after it was discarded.
    pub outcome: ActualOutcome,
}

/// The fate of a published correction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CorrectionStatus {
    /// The row shows it, or a newer event.
    Applied(Verdict),
    /// A consumer dead-lettered it.
    DeadLettered(DeadLetterId),
    /// No consumer has handled it yet.
    Pending,
}

/// A published correction and its fate.
#[derive(Clone, Debug)]
pub struct CorrectionReport<'p> {
    /// The plan.
    pub plan: &'p CorrectionPlan,
    /// The bulk operation that published it.
    pub operation_id: OperationId,
    /// The message.
    pub result: CorrectionResult,
    /// Its fate.
    pub status: CorrectionStatus,
}

impl Serialize for CorrectionReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'r> {
            store: &'r str,
            operation_id: &'r OperationId,
            dead_letter: &'r DeadLetterId,
            message_id: &'r str,
            #[serde(serialize_with = "times::serialize")]
            event_time: i64,
            outcome: ActualOutcome,
            status: &'static str,
            dead_lettered_as: Option<&'r DeadLetterId>,
        }
        let (status, dead_lettered_as) = match &self.status {
            CorrectionStatus::Applied(verdict) => (verdict.as_str(), None),
            CorrectionStatus::DeadLettered(id) => ("dead_lettered", Some(id)),
            CorrectionStatus::Pending => ("pending", None),
        };
        let view = View {
            store: &self.plan.store,
            operation_id: &self.operation_id,
            dead_letter: &self.plan.record.dead_letter.id,
            message_id: &self.result.message_id,
            event_time: self.result.t.micros(),
            outcome: self.result.outcome,
            status,
            dead_lettered_as,
        };
        view.serialize(serializer)
    }
}

impl DeadLetterQueue {
    /// Finishes the operation of a published correction.
    pub async fn finish_correction(
        &self,
        operation: BulkOperation,
        outcome: ActualOutcome,
    ) -> Result<BulkOperation, RoleError> {
        let mut counts = OutcomeCounts::default();
        counts.count(outcome);
        self.rewrite(operation, OperationStatus::Finished, &counts).await
    }

    /// Plans a correction of a dead letter by this body, or refuses it.
    pub async fn plan_correction(
        &self,
        id: &DeadLetterId,
        body: Bytes,
    ) -> Result<CorrectionPlan, CorrectionError> {
        let record = self.retrier.read(|| self.dead_letter_store.dead_letter(id)).await?;
        let record = record.ok_or_else(|| CorrectionError::NotFound(id.clone()))?;
        let dead_letter = &record.dead_letter;
        let history = self.retrier.read(|| self.dead_letter_store.history(id)).await?;
        let claims = CorrectionClaims::of(&history);
        let number = claims.number_of(&sha256(&body));
        if !record.state().is_open() {
            return Err(not_open(&record, number.and_then(|_| corrected_by(&history))));
        }
        let subject = decode(dead_letter.kind, &body).map_err(|rejection| CorrectionError::InvalidBody {
            kind: dead_letter.kind,
            detail: rejection.detail,
        })?;
        let is = subject.order_id();
        if let Some(was) = dead_letter.order_id.or_else(|| claims.order_id()).filter(|was| *was != is) {
            return Err(CorrectionError::DifferentOrder { was, is });
        }
        let is_same = dead_letter.body.is_whole() && dead_letter.body.bytes == body;
        // In a conflict, the same body a microsecond later is the choice against the row's event.
        if is_same && self.check(&subject, dead_letter.t).await? != ApplyCheck::Conflict {
            return Err(CorrectionError::Unchanged);
        }
        let fact = self.retrier.read(|| self.facts.fact(is)).await?;
        let free = || claims.next_free(dead_letter.t, held(dead_letter.kind, fact.as_ref()));
        let t = dead_letter.t.correction(number.unwrap_or_else(free));
        let verdict = self.check(&subject, t).await?.into();
        if verdict == Verdict::Conflict && !is_active(Mutant::CorrectionTakesRowTime) {
            return Err(CorrectionError::TimeTaken { order: is, t });
        }
        drop(subject);
        let fact = fact.filter(|_| verdict == Verdict::AppliesNow);
        let replaces = fact.as_ref().and_then(|fact| match dead_letter.kind {
            EventKind::Order => OrderSummary::of(fact).map(ReplacedFact::Order),
            EventKind::Payment => PaymentSummary::of(fact).map(ReplacedFact::Payment),
        });
        let store = self.facts.describe();
        Ok(CorrectionPlan { store, record, body, t, verdict, order_id: is, replaces })
    }

    async fn check(&self, subject: &Event<'_>, t: EventTime) -> Result<ApplyCheck, RoleError> {
        self.retrier.read(|| apply_check(self.facts.as_ref(), subject, t)).await
    }

    /// Publishes a correction: claims its number, publishes it on the dead letter's source topic, waits for
    /// the publish acknowledgement, discards the dead letter. Fails if the dead letter is no longer open.
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
            Some(state) => return Err(CorrectionError::NotOpen { id: id.clone(), state }),
            None => return Err(CorrectionError::NotFound(id.clone())),
        }
        let number = correction_claims::claim(resolver, record, body, plan.order_id).await?;
        let t = record.dead_letter.t.correction(number);
        // An event time may be a few seconds ahead of its publish time; then so is that of its correction. By a
        // clock that is behind it seems to be more.
        let early = t.micros().saturating_sub(resolver.clock.now_us()).clamp(0, FUTURE_BOUND_US);
        tokio::time::sleep(Duration::from_micros(early.unsigned_abs())).await;
        let message = correction(&record.dead_letter, number, body.clone());
        let publishing = self.retrier.publishing(record.dead_letter.kind.into());
        let (_, message_id) = publishing.published(publisher, &message).await?;
        if let Some(record) = resolver.dead_letter(id).await?
            && record.state().is_open()
        {
            let entry = HistoryEntry {
                corrected_by: Some(message_id.clone()),
                replaced: plan.replaces.as_ref().map(ReplacedFact::to_json),
                ..resolver.operation_entry(HistoryAction::Discarded, None, ActualOutcome::Discarded)
            };
            resolver
                .record_update(
                    &record,
                    resolver.state_change(record.progress.generation, DeadLetterState::Discarded),
                    entry,
                )
                .await?;
        }
        Ok(CorrectionResult { message_id, t, outcome: execute::outcome(resolver, id).await? })
    }

    /// Waits, at most for `patience`, until the row shows the correction or a consumer dead-lettered it. Once
    /// a corrected order is recorded, the open payments of that order are retried.
    pub async fn correction_status(
        &self,
        plan: &CorrectionPlan,
        corrected: &CorrectionResult,
        resolver: &DeadLetterResolver,
        patience: Duration,
    ) -> Result<CorrectionStatus, RoleError> {
        let (kind, t, until) = (plan.record.dead_letter.kind, corrected.t, Instant::now() + patience);
        let Ok(subject) = decode(kind, &plan.body) else { return Ok(CorrectionStatus::Pending) };
        let dead_lettered_as = DeadLetterId::of(kind, t, &plan.body);
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
            if resolver.dead_letter(&dead_lettered_as).await?.is_some() {
                return Ok(CorrectionStatus::DeadLettered(dead_lettered_as));
            }
            if Instant::now() >= until {
                return Ok(CorrectionStatus::Pending);
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }
}

fn not_open(record: &DeadLetterRecord, corrected_by: Option<String>) -> CorrectionError {
    let (id, state) = (record.dead_letter.id.clone(), record.state());
    match (corrected_by, state) {
        (Some(message_id), DeadLetterState::Discarded) => {
            CorrectionError::AlreadyCorrected { id, message_id }
        }
        (_, state) => CorrectionError::NotOpen { id, state },
    }
}

/// Returns the id of the message that last corrected a dead letter.
fn corrected_by(history: &[HistoryEntry]) -> Option<String> {
    history.iter().rev().find_map(|entry| entry.corrected_by.clone())
}
