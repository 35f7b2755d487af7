//! Working through a run: each dead letter once, within window and rate, and the actual state read back.
//! It may be stopped or killed anywhere and gone on with: a dead letter counts by the line of its history
//! that tells what came of it in this run.

use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outcome_counts::{Misprediction, OutcomeCounts};
use super::{DeadLetterQueue, discard, reopen, retry};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus, PlanBatch};
use ecom_domain::dead_letter::{DeadLetterId, HistoryAction, HistoryEntry};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::actor::Actor;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::RoleError;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::retry_policy::RetryPolicy;

/// How far a run may fall behind its rate and still catch up.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Whether a run begins, or goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartMode {
    /// None of its dead letters has been looked at.
    Fresh,
    /// It was stopped or killed: some dead letters may be done.
    Resumed,
}

/// How a run is worked through.
pub struct ExecuteOptions<'p> {
    /// Whether it begins, or goes on.
    pub entry: StartMode,
    /// Dead letters a second; `None` = as fast as the store answers.
    pub rate: Option<f64>,
    /// The first so many dead letters of a retry must end as predicted, or the run stops after them.
    pub canary: u64,
    /// Cancelled = admit no more dead letters, finish those in flight.
    pub stop: CancellationToken,
    /// Called with the number of dead letters that are done.
    pub done: &'p (dyn Fn(u64) + Sync),
}

/// How working through a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperationEnd {
    /// All its dead letters are done.
    Finished,
    /// It was asked to stop.
    Stopped,
    /// Dead letters of the canary ended otherwise than was predicted.
    Differed,
}

/// A run after it was worked on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OperationReport {
    /// The run as the operations store keeps it now.
    pub run: BulkOperation,
    /// How it ended.
    pub end: OperationEnd,
    /// What came of its dead letters.
    pub counts: OutcomeCounts,
}

/// Why a run cannot be worked through.
#[derive(thiserror::Error, Debug)]
pub enum OperationError {
    /// Store or bus refused something.
    #[error(transparent)]
    RoleError(#[from] RoleError),
    /// The operations store has the run, but not all of its plan.
    #[error("part {number} of the plan of run {run} is not in the operations store")]
    Unplanned {
        /// The run.
        run: OperationId,
        /// Which part.
        number: u32,
    },
}

/// Whether all dead letters were admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Admission {
    Through,
    Stopped,
}

impl DeadLetterQueue {
    /// What settles dead letters in the name of a run.
    pub fn resolver(&self, run: &BulkOperation, policy: RetryPolicy) -> DeadLetterResolver {
        DeadLetterResolver {
            facts: self.facts.clone(),
            dead_letter_store: self.dead_letter_store.clone(),
            retrier: self.retrier.clone(),
            locks: OrderLocks::new(),
            policy,
            clock: self.clock,
            entropy: self.entropy.clone(),
            actor: Actor { run_id: run.id.to_string(), ..self.actor.clone() },
            note: run.note.clone(),
        }
    }

    /// Works through what is left of a run of retries, discards or reopens, as the operations store has it.
    pub async fn work(
        &self,
        mut run: BulkOperation,
        resolver: &DeadLetterResolver,
        pace: &ExecuteOptions<'_>,
    ) -> Result<OperationReport, OperationError> {
        // Whoever goes on with a run that was stopped for its differences has seen them.
        let decided =
            run.state == OperationStatus::Stopped && OutcomeCounts::read(&run.outcomes).differed > 0;
        if pace.entry == StartMode::Resumed {
            run = self.rewrite(run, OperationStatus::Begun, &OutcomeCounts::default()).await?;
        }
        let mut walk = Execution {
            queue: self,
            resolver,
            pace,
            kind: run.kind,
            canary: if run.kind == OperationKind::Retry && !decided { pace.canary } else { 0 },
            due: Instant::now(),
            done: OutcomeCounts::default(),
        };
        let mut end = OperationEnd::Finished;
        let mut part = OutcomeCounts::default();
        for number in 0..run.batches {
            let read = self.retrier.read(|| self.operations.batch(&run.id, number)).await?;
            let batch = read.ok_or_else(|| OperationError::Unplanned { run: run.id.clone(), number })?;
            if let Some(outcomes) = &batch.outcomes {
                walk.done.add(OutcomeCounts::read(outcomes));
                (pace.done)(walk.done.dead_letters());
                continue;
            }
            end = walk.through(&batch, &mut part).await?;
            if part.dead_letters() < batch.dead_letters.len() as u64 {
                break;
            }
            let part = std::mem::take(&mut part);
            let batch = PlanBatch { outcomes: Some(part.words()), ..batch };
            self.retrier.write(|| self.operations.put_batch(&run.id, &batch)).await?;
            walk.done.add(part);
            if end != OperationEnd::Finished {
                break;
            }
        }
        let mut counts = walk.done;
        counts.add(part);
        let state = if counts.dead_letters() < run.dead_letters {
            OperationStatus::Stopped
        } else {
            OperationStatus::Finished
        };
        let run = self.rewrite(run, state, &counts).await?;
        Ok(OperationReport { run, end, counts })
    }

    /// Writes the run as it stands now.
    pub(super) async fn rewrite(
        &self,
        run: BulkOperation,
        state: OperationStatus,
        counts: &OutcomeCounts,
    ) -> Result<BulkOperation, RoleError> {
        let ended_at = (state != OperationStatus::Begun).then(|| self.clock.now_us());
        let run =
            BulkOperation { state, ended_at, outcomes: counts.words(), revision: run.revision + 1, ..run };
        self.retrier.write(|| self.operations.put_run(&run)).await?;
        Ok(run)
    }
}

/// The way through a run.
struct Execution<'w> {
    queue: &'w DeadLetterQueue,
    resolver: &'w DeadLetterResolver,
    pace: &'w ExecuteOptions<'w>,
    kind: OperationKind,
    canary: u64,
    /// When the next dead letter may be admitted.
    due: Instant,
    /// What came of the dead letters of whole parts.
    done: OutcomeCounts,
}

impl Execution<'_> {
    /// Works through a part of the plan, as far as it goes, counting into `part`.
    async fn through(
        &mut self,
        batch: &PlanBatch,
        part: &mut OutcomeCounts,
    ) -> Result<OperationEnd, RoleError> {
        let left = match self.pace.entry {
            StartMode::Fresh => batch.dead_letters.clone(),
            StartMode::Resumed => self.left(batch, part).await?,
        };
        // More dead letters than the canary's are done only once it was found to be as predicted.
        let ahead = self.done.dead_letters() + part.dead_letters();
        let of_canary = usize::try_from(self.canary.saturating_sub(ahead)).unwrap_or(usize::MAX);
        let (canary, others) = left.split_at(of_canary.min(left.len()));
        if self.each(canary, part).await? == Admission::Stopped {
            return Ok(OperationEnd::Stopped);
        }
        if ahead <= self.canary && self.canary > 0 && self.done.differed + part.differed > 0 {
            return Ok(OperationEnd::Differed);
        }
        match self.each(others, part).await? {
            Admission::Stopped => Ok(OperationEnd::Stopped),
            Admission::Through => Ok(OperationEnd::Finished),
        }
    }

    /// The dead letters of which no line tells that they are done; what the others came to is counted.
    async fn left(
        &self,
        batch: &PlanBatch,
        part: &mut OutcomeCounts,
    ) -> Result<Vec<(DeadLetterId, Verdict)>, RoleError> {
        let run_id = &self.resolver.actor.run_id;
        let recorded = |(id, verdict): &(DeadLetterId, Verdict)| {
            let (id, verdict) = (id.clone(), *verdict);
            async move {
                let history = self.queue.retrier.read(|| self.queue.dead_letter_store.history(&id)).await?;
                Ok::<_, RoleError>((ActualOutcome::recorded(&history, run_id), id, verdict))
            }
        };
        let mut read =
            futures_util::stream::iter(batch.dead_letters.iter().map(recorded)).buffered(self.window());
        let mut left = Vec::new();
        while let Some((outcome, id, verdict)) = read.try_next().await? {
            match outcome {
                Some(outcome) => self.count(part, id, verdict, outcome).await?,
                None => left.push((id, verdict)),
            }
        }
        (self.pace.done)(self.done.dead_letters() + part.dead_letters());
        Ok(left)
    }

    /// Does the deed to each dead letter, as fast as the pace allows, until told to stop.
    async fn each(
        &mut self,
        dead_letters: &[(DeadLetterId, Verdict)],
        part: &mut OutcomeCounts,
    ) -> Result<Admission, RoleError> {
        let mut dead_letters = dead_letters.iter();
        let mut next = dead_letters.next();
        let mut in_flight = FuturesUnordered::new();
        let (kind, resolver, stop) = (self.kind, self.resolver, &self.pace.stop);
        let mut went = Admission::Through;
        while next.is_some() || !in_flight.is_empty() {
            let may_admit = next.is_some() && in_flight.len() < self.window();
            let early = self.due > Instant::now();
            tokio::select! {
                biased;
                () = stop.cancelled(), if next.is_some() => (next, went) = (None, Admission::Stopped),
                Some(done) = in_flight.next() => {
                    let (id, verdict, outcome): (DeadLetterId, Verdict, ActualOutcome) = done?;
                    self.count(part, id, verdict, outcome).await?;
                    (self.pace.done)(self.done.dead_letters() + part.dead_letters());
                }
                () = tokio::time::sleep_until(self.due), if may_admit && early => {}
                () = std::future::ready(()), if may_admit && !early => {
                    let Some((id, verdict)) = next else { continue };
                    in_flight.push(async move {
                        let outcome = do_to(kind, resolver, id).await?;
                        Ok::<_, RoleError>((id.clone(), *verdict, outcome))
                    });
                    next = dead_letters.next();
                    self.admitted();
                }
            }
        }
        Ok(went)
    }

    fn admitted(&mut self) {
        let Some(rate) = self.pace.rate else { return };
        let oldest = Instant::now().checked_sub(CATCH_UP).unwrap_or(self.due);
        self.due = (self.due + Duration::from_secs_f64(1.0 / rate)).max(oldest);
    }

    async fn count(
        &self,
        part: &mut OutcomeCounts,
        id: DeadLetterId,
        predicted: Verdict,
        outcome: ActualOutcome,
    ) -> Result<(), RoleError> {
        part.count(outcome);
        if self.kind != OperationKind::Retry || outcome.matches_prediction(predicted) {
            return Ok(());
        }
        let is_own_doing = outcome == ActualOutcome::Recovered && self.was_let_through(&id).await?;
        if !is_own_doing {
            part.differs(Misprediction { id, predicted, outcome });
        }
        Ok(())
    }

    /// Whether this run applied the dead letter on the occasion of its order, which it had applied before.
    async fn was_let_through(&self, id: &DeadLetterId) -> Result<bool, RoleError> {
        let run_id = &self.resolver.actor.run_id;
        let history = self.queue.retrier.read(|| self.queue.dead_letter_store.history(id)).await?;
        let own = |line: &&HistoryEntry| line.run_id.as_ref() == Some(run_id);
        let recorded =
            |line: &HistoryEntry| ActualOutcome::recorded(std::slice::from_ref(line), run_id).is_some();
        Ok(history.iter().filter(own).any(|line| line.action == HistoryAction::Recovered && !recorded(line)))
    }

    fn window(&self) -> usize {
        self.queue.window.max(1)
    }
}

/// Does a run's deed to a dead letter; what came of it, by reading it again.
async fn do_to(
    kind: OperationKind,
    resolver: &DeadLetterResolver,
    id: &DeadLetterId,
) -> Result<ActualOutcome, RoleError> {
    match kind {
        OperationKind::Retry => retry::retry(resolver, id).await?,
        OperationKind::Discard => discard::discard(resolver, id).await?,
        OperationKind::Reopen => reopen::reopen(resolver, id).await?,
        // A correction is no walk over dead letters: it has a body of its own.
        OperationKind::Correct => {}
    }
    seen(resolver, id).await
}

/// The state a dead letter is in.
pub(super) async fn seen(
    resolver: &DeadLetterResolver,
    id: &DeadLetterId,
) -> Result<ActualOutcome, RoleError> {
    let record = resolver.dead_letter(id).await?;
    Ok(record.map_or(ActualOutcome::Gone, |record| record.state().into()))
}
