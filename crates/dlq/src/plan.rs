//! The plan of a run: the letters it is about as they are when it begins, each with what is foretold of
//! it, in parts that the journal keeps. A letter that is recorded later is in no part.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;

use super::Desk;
use super::selection::{Detail, Selected, Selection};
use ecom_domain::letter::{Kind, LetterId, LetterRecord, State};
use ecom_domain::run::{Batch, Deed, Run, RunId, RunState};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::durable::Halt;

/// The most letters in one part of a plan.
pub const BATCH: usize = 500;
/// Parts kept in memory until somebody says yes; of a larger plan the parts are written before, and
/// mean nothing without their run.
const KEPT: usize = 100;

/// Whether a plan is to be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// It is only looked at, and nothing is kept of it.
    Look,
    /// It may be begun.
    Begin,
}

/// What a run would do.
#[derive(Debug)]
pub struct Plan {
    /// What it would do to its letters.
    pub deed: Deed,
    /// Letters it is about.
    pub letters: u64,
    /// Those letters by what retrying them would do now.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Selected letters that the deed is not for, by state.
    pub left_out: BTreeMap<State, u64>,
    /// Letters that were named, but are not in the ledger or do not pass the filters.
    pub missing: BTreeSet<LetterId>,
    id: RunId,
    started_at: i64,
    purpose: Purpose,
    selection: String,
    filling: Vec<(Kind, LetterId, Verdict)>,
    kept: Vec<Batch>,
    batches: u32,
}

impl Desk {
    /// Reads the selected letters and foretells what becomes of each; calls `seen` with the number
    /// read so far. Without ids and states the selection is narrowed to those the deed is for.
    pub async fn plan(
        &self,
        deed: Deed,
        mut selection: Selection,
        purpose: Purpose,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Plan, Halt> {
        let mut plan = self.empty_plan(deed, purpose, selection.words().join(" "));
        selection.ids.sort_unstable();
        selection.ids.dedup();
        plan.missing = selection.ids.iter().cloned().collect();
        if selection.ids.is_empty() && selection.states.is_empty() {
            selection.states = State::ALL.into_iter().filter(|state| is_for(deed, *state)).collect();
        }
        let mut letters = self.select(&selection, Detail::Judged);
        let mut read = 0;
        while let Some(Selected { record, verdict }) = letters.try_next().await? {
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

    /// A plan about one letter.
    pub fn plan_for(&self, deed: Deed, record: &LetterRecord, verdict: Verdict) -> Plan {
        let mut plan = self.empty_plan(deed, Purpose::Begin, record.letter.id.to_string());
        plan.take(record, verdict);
        plan.close_batch();
        plan
    }

    fn empty_plan(&self, deed: Deed, purpose: Purpose, selection: String) -> Plan {
        let started_at = self.clock.now_us();
        let [a, b, ..] = self.chance.bytes();
        Plan {
            deed,
            letters: 0,
            verdicts: BTreeMap::new(),
            left_out: BTreeMap::new(),
            missing: BTreeSet::new(),
            id: RunId::new(started_at, [a, b]),
            started_at,
            purpose,
            selection,
            filling: Vec::new(),
            kept: Vec::new(),
            batches: 0,
        }
    }

    /// Writes the plan, then the run: what is in the journal as a run can be gone on with.
    pub async fn begin(&self, mut plan: Plan, note: Option<String>) -> Result<Run, Halt> {
        self.keep(&mut plan).await?;
        let run = Run {
            id: plan.id,
            deed: plan.deed,
            started_at: plan.started_at,
            actor: self.actor.name.clone(),
            host: self.actor.host.clone(),
            selection: plan.selection,
            note,
            letters: plan.letters,
            batches: plan.batches,
            state: RunState::Begun,
            ended_at: None,
            outcomes: Vec::new(),
            revision: 0,
        };
        self.retrying.write(|| self.journal.put_run(&run)).await?;
        Ok(run)
    }

    async fn keep(&self, plan: &mut Plan) -> Result<(), Halt> {
        for batch in std::mem::take(&mut plan.kept) {
            if plan.purpose == Purpose::Begin {
                self.retrying.write(|| self.journal.put_batch(&plan.id, &batch)).await?;
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Names the run, once it is begun.
    pub fn run_id(&self) -> &RunId {
        &self.id
    }

    fn take(&mut self, record: &LetterRecord, verdict: Verdict) {
        let letter = &record.letter;
        self.missing.remove(&letter.id);
        if !is_for(self.deed, record.state()) {
            *self.left_out.entry(record.state()).or_default() += 1;
            return;
        }
        self.letters += 1;
        *self.verdicts.entry(verdict).or_default() += 1;
        self.filling.push((letter.kind, letter.id.clone(), verdict));
    }

    /// Orders in a part of their own before that of the payments: a part is done when the next one
    /// begins, so no payment is tried beside the order that lets it through.
    fn close_batch(&mut self) {
        let filled = std::mem::take(&mut self.filling);
        for kind in [Kind::Order, Kind::Payment] {
            let of_kind = filled.iter().filter(|(of, ..)| *of == kind);
            let letters: Vec<_> = of_kind.map(|(_, id, verdict)| (id.clone(), *verdict)).collect();
            if !letters.is_empty() {
                self.kept.push(Batch { number: self.batches, letters, outcomes: None });
                self.batches += 1;
            }
        }
    }
}

/// Whether a deed changes anything about letters in this state.
pub fn is_for(deed: Deed, state: State) -> bool {
    match deed {
        Deed::Retry | Deed::Correct | Deed::Discard => state.is_open(),
        Deed::Reopen => matches!(state, State::Parked | State::Discarded),
    }
}
