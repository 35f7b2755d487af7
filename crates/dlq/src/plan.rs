//! Plans of bulk operations: the selected dead letters with their verdicts, in batches that the operations
//! store keeps. A dead letter that is recorded after the plan was made is not part of it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;
use serde::Serialize;

use super::DeadLetterQueue;
use super::selection::{Detail, SelectedDeadLetter, Selection};
use ecom_card_numbers::mask_text;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus, PlanBatch};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind};
use ecom_domain::order::OrderId;
use ecom_domain::verdict::Verdict;
use ecom_pipeline::durable::RoleError;

/// The most dead letters in one batch of a plan.
pub const BATCH: usize = 500;
/// Batches kept in memory until the plan is confirmed. Those of a larger plan are written before that and
/// have no effect without their operation.
const KEPT: usize = 100;

/// The purpose of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanPurpose {
    /// A dry run: nothing of the plan is kept.
    DryRun,
    /// The plan may be begun.
    Begin,
}

/// A dead letter as the question to confirm its change names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedDeadLetter {
    /// The dead letter.
    pub id: DeadLetterId,
    /// The kind of its event.
    pub kind: EventKind,
    /// Its order, where that could be read.
    pub order_id: Option<OrderId>,
    /// Its payment, where that could be read.
    pub payment_id: Option<i64>,
}

/// A bulk operation that may be begun.
#[derive(Serialize, Debug)]
pub struct OperationPlan {
    /// The store, with host or path.
    pub store: String,
    /// The change to each dead letter.
    pub kind: OperationKind,
    /// The number of dead letters that it changes.
    pub dead_letters: u64,
    /// Those dead letters by verdict.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Selected dead letters that are left as they are, by their state.
    pub left_alone: BTreeMap<DeadLetterState, u64>,
    /// Dead letters named by id that are not in the dead-letter store or do not pass the filters.
    pub not_found: BTreeSet<DeadLetterId>,
    /// The dead letter, if it is one only.
    #[serde(skip)]
    pub only: Option<PlannedDeadLetter>,
    #[serde(skip)]
    id: OperationId,
    #[serde(skip)]
    started_at: i64,
    #[serde(skip)]
    purpose: PlanPurpose,
    #[serde(skip)]
    selection: Selection,
    #[serde(skip)]
    filling: Vec<(EventKind, DeadLetterId, Verdict)>,
    #[serde(skip)]
    kept: Vec<PlanBatch>,
    #[serde(skip)]
    batches: u32,
}

impl DeadLetterQueue {
    /// Plans an operation on the selected dead letters; calls `seen` with the number read so far. A
    /// selection without ids and states is narrowed to the states that the operation changes.
    pub async fn plan(
        &self,
        kind: OperationKind,
        mut selection: Selection,
        purpose: PlanPurpose,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<OperationPlan, RoleError> {
        let mut plan = self.empty_plan(kind, purpose, selection.clone());
        selection.ids.sort_unstable();
        selection.ids.dedup();
        plan.not_found = selection.ids.iter().cloned().collect();
        if selection.ids.is_empty() && selection.states.is_empty() {
            selection.states =
                DeadLetterState::ALL.into_iter().filter(|state| changes(kind, *state)).collect();
        }
        let mut dead_letters = self.select(&selection, Detail::Judged);
        let mut read = 0;
        while let Some(SelectedDeadLetter { record, verdict }) = dead_letters.try_next().await? {
            read += 1;
            seen(read);
            plan.take(&record, verdict.unwrap_or(Verdict::Poison));
            if plan.filling.len() == BATCH {
                plan.close_batch();
            }
            if plan.kept.len() > KEPT {
                self.keep(&mut plan).await?;
            }
        }
        plan.close_batch();
        Ok(plan)
    }

    /// Plans an operation on one dead letter.
    pub fn plan_one(
        &self,
        kind: OperationKind,
        record: &DeadLetterRecord,
        verdict: Verdict,
    ) -> OperationPlan {
        let mut plan =
            self.empty_plan(kind, PlanPurpose::Begin, Selection::of_ids([record.dead_letter.id.clone()]));
        plan.take(record, verdict);
        plan.close_batch();
        plan
    }

    fn empty_plan(&self, kind: OperationKind, purpose: PlanPurpose, selection: Selection) -> OperationPlan {
        let started_at = self.clock.now_us();
        let [a, b, ..] = self.entropy.bytes();
        OperationPlan {
            store: self.facts.describe(),
            kind,
            dead_letters: 0,
            verdicts: BTreeMap::new(),
            left_alone: BTreeMap::new(),
            not_found: BTreeSet::new(),
            only: None,
            id: OperationId::new(started_at, [a, b]),
            started_at,
            purpose,
            selection,
            filling: Vec::new(),
            kept: Vec::new(),
            batches: 0,
        }
    }

    /// Begins a planned operation: writes the rest of the plan, then the operation, so that every operation
    /// in the operations store can be resumed. Card numbers in the note are masked, for operations are kept.
    pub async fn begin(
        &self,
        mut plan: OperationPlan,
        note: Option<String>,
    ) -> Result<BulkOperation, RoleError> {
        self.keep(&mut plan).await?;
        let operation = BulkOperation {
            id: plan.id,
            kind: plan.kind,
            started_at: plan.started_at,
            actor: self.actor.name.clone(),
            host: self.actor.host.clone(),
            selection: plan.selection.written(),
            note: note.map(|note| mask_text(&note).into_owned()),
            dead_letters: plan.dead_letters,
            batches: plan.batches,
            state: OperationStatus::Begun,
            ended_at: None,
            outcomes: Vec::new(),
            revision: 0,
        };
        self.retrier.write(|| self.operations.put_operation(&operation)).await?;
        Ok(operation)
    }

    async fn keep(&self, plan: &mut OperationPlan) -> Result<(), RoleError> {
        for batch in std::mem::take(&mut plan.kept) {
            if plan.purpose == PlanPurpose::Begin {
                self.retrier.write(|| self.operations.put_batch(&plan.id, &batch)).await?;
            }
        }
        Ok(())
    }
}

impl OperationPlan {
    /// The id of the operation, once it is begun.
    pub fn operation_id(&self) -> &OperationId {
        &self.id
    }

    fn take(&mut self, record: &DeadLetterRecord, verdict: Verdict) {
        let dead_letter = &record.dead_letter;
        self.not_found.remove(&dead_letter.id);
        if !changes(self.kind, record.state()) {
            *self.left_alone.entry(record.state()).or_default() += 1;
            return;
        }
        self.dead_letters += 1;
        self.only = (self.dead_letters == 1).then(|| PlannedDeadLetter {
            id: dead_letter.id.clone(),
            kind: dead_letter.kind,
            order_id: dead_letter.order_id,
            payment_id: dead_letter.payment_id,
        });
        *self.verdicts.entry(verdict).or_default() += 1;
        self.filling.push((dead_letter.kind, dead_letter.id.clone(), verdict));
    }

    /// Closes a batch of orders, then one of payments. A batch begins when the one before it is done, so no
    /// payment is retried concurrently with the order that it waits for.
    fn close_batch(&mut self) {
        let filled = std::mem::take(&mut self.filling);
        for kind in EventKind::ALL {
            let of_kind = filled.iter().filter(|(of, ..)| *of == kind);
            let dead_letters: Vec<_> = of_kind.map(|(_, id, verdict)| (id.clone(), *verdict)).collect();
            if !dead_letters.is_empty() {
                self.kept.push(PlanBatch { number: self.batches, dead_letters, outcomes: None });
                self.batches += 1;
            }
        }
    }
}

/// Returns whether an operation changes dead letters in this state.
pub fn changes(kind: OperationKind, state: DeadLetterState) -> bool {
    match kind {
        OperationKind::Retry | OperationKind::Correct | OperationKind::Discard => state.is_open(),
        OperationKind::Reopen => matches!(state, DeadLetterState::Parked | DeadLetterState::Discarded),
    }
}
