//! The plan of a run: the dead letters it is about as they are when it begins, each with what is predicted of
//! it, in parts that the operations store keeps. A dead letter that is recorded later is in no part.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;

use super::DeadLetterQueue;
use super::selection::{Detail, SelectedDeadLetter, Selection};
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus, PlanBatch};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::durable::RoleError;

/// The most dead letters in one part of a plan.
pub const BATCH: usize = 500;
/// Parts kept in memory until somebody says yes; of a larger plan the parts are written before, and
/// mean nothing without their run.
const KEPT: usize = 100;

/// Whether a plan is to be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanPurpose {
    /// It is only looked at, and nothing is kept of it.
    Look,
    /// It may be begun.
    Begin,
}

/// What a run would do.
#[derive(Debug)]
pub struct OperationPlan {
    /// What it would do to its dead letters.
    pub kind: OperationKind,
    /// Dead letters it is about.
    pub dead_letters: u64,
    /// Those dead letters by what retrying them would do now.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Selected dead letters that the deed is not for, by state.
    pub left_out: BTreeMap<DeadLetterState, u64>,
    /// Dead letters that were named, but are not in the dead-letter store or do not pass the filters.
    pub missing: BTreeSet<DeadLetterId>,
    id: OperationId,
    started_at: i64,
    purpose: PlanPurpose,
    selection: String,
    filling: Vec<(EventKind, DeadLetterId, Verdict)>,
    kept: Vec<PlanBatch>,
    batches: u32,
}

impl DeadLetterQueue {
    /// Reads the selected dead letters and foretells what becomes of each; calls `seen` with the number
    /// read so far. Without ids and states the selection is narrowed to those the deed is for.
    pub async fn plan(
        &self,
        kind: OperationKind,
        mut selection: Selection,
        purpose: PlanPurpose,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<OperationPlan, RoleError> {
        let mut plan = self.empty_plan(kind, purpose, selection.words().join(" "));
        selection.ids.sort_unstable();
        selection.ids.dedup();
        plan.missing = selection.ids.iter().cloned().collect();
        if selection.ids.is_empty() && selection.states.is_empty() {
            selection.states =
                DeadLetterState::ALL.into_iter().filter(|state| is_for(kind, *state)).collect();
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

    /// A plan about one dead letter.
    pub fn plan_for(
        &self,
        kind: OperationKind,
        record: &DeadLetterRecord,
        verdict: Verdict,
    ) -> OperationPlan {
        let mut plan = self.empty_plan(kind, PlanPurpose::Begin, record.dead_letter.id.to_string());
        plan.take(record, verdict);
        plan.close_batch();
        plan
    }

    fn empty_plan(&self, kind: OperationKind, purpose: PlanPurpose, selection: String) -> OperationPlan {
        let started_at = self.clock.now_us();
        let [a, b, ..] = self.entropy.bytes();
        OperationPlan {
            kind,
            dead_letters: 0,
            verdicts: BTreeMap::new(),
            left_out: BTreeMap::new(),
            missing: BTreeSet::new(),
            id: OperationId::new(started_at, [a, b]),
            started_at,
            purpose,
            selection,
            filling: Vec::new(),
            kept: Vec::new(),
            batches: 0,
        }
    }

    /// Writes the plan, then the run: what is in the operations store as a run can be gone on with.
    pub async fn begin(
        &self,
        mut plan: OperationPlan,
        note: Option<String>,
    ) -> Result<BulkOperation, RoleError> {
        self.keep(&mut plan).await?;
        let run = BulkOperation {
            id: plan.id,
            kind: plan.kind,
            started_at: plan.started_at,
            actor: self.actor.name.clone(),
            host: self.actor.host.clone(),
            selection: plan.selection,
            note,
            dead_letters: plan.dead_letters,
            batches: plan.batches,
            state: OperationStatus::Begun,
            ended_at: None,
            outcomes: Vec::new(),
            revision: 0,
        };
        self.retrier.write(|| self.operations.put_run(&run)).await?;
        Ok(run)
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
    /// Names the run, once it is begun.
    pub fn run_id(&self) -> &OperationId {
        &self.id
    }

    fn take(&mut self, record: &DeadLetterRecord, verdict: Verdict) {
        let dead_letter = &record.dead_letter;
        self.missing.remove(&dead_letter.id);
        if !is_for(self.kind, record.state()) {
            *self.left_out.entry(record.state()).or_default() += 1;
            return;
        }
        self.dead_letters += 1;
        *self.verdicts.entry(verdict).or_default() += 1;
        self.filling.push((dead_letter.kind, dead_letter.id.clone(), verdict));
    }

    /// Orders in a part of their own before that of the payments: a part is done when the next one
    /// begins, so no payment is tried beside the order that lets it through.
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

/// Whether a deed changes anything about dead letters in this state.
pub fn is_for(kind: OperationKind, state: DeadLetterState) -> bool {
    match kind {
        OperationKind::Retry | OperationKind::Correct | OperationKind::Discard => state.is_open(),
        OperationKind::Reopen => matches!(state, DeadLetterState::Parked | DeadLetterState::Discarded),
    }
}
