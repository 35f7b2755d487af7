//! Execution of bulk operations: each dead letter once, within concurrency limit and rate, its actual state
//! read back. An operation may be stopped or killed anywhere and resumed: a dead letter is done once its
//! history has the line with its outcome in this operation.

use std::collections::BTreeMap;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use serde::{Serialize, Serializer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outcome_counts::{Misprediction, OutcomeCounts};
use super::{DeadLetterQueue, actions};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus, PlanBatch};
use ecom_domain::dead_letter::{DeadLetterId, HistoryAction, HistoryEntry};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::actor::Actor;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::RoleError;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::pacer::Pacer;
use ecom_pipeline::retry_policy::RetryPolicy;

/// The start of an execution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartMode {
    /// The first execution: no dead letter is done.
    Fresh,
    /// A later one, after the operation was stopped or killed: some dead letters may be done.
    Resumed,
}

/// The options of an execution.
pub struct ExecuteOptions<'p> {
    /// First execution or resumption.
    pub start: StartMode,
    /// Dead letters per second; `None` = as fast as the store answers.
    pub rate: Option<f64>,
    /// The number of dead letters at the beginning of a retry whose outcomes must match the predicted ones;
    /// if one does not, the operation stops after them. 0 = no canary.
    pub canary: u64,
    /// Once cancelled, no more dead letters are admitted; those in flight are finished.
    pub stop: CancellationToken,
    /// Called with the number of dead letters done so far.
    pub done: &'p (dyn Fn(u64) + Sync),
}

/// The end of an execution.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum OperationEnd {
    /// All dead letters are done.
    Finished,
    /// It was asked to stop.
    Stopped,
    /// Outcomes of the canary did not match the predicted ones.
    Differed,
}

/// A bulk operation after an execution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OperationReport {
    /// The store, with host or path.
    pub store: String,
    /// The operation as the operations store keeps it now.
    pub operation: BulkOperation,
    /// The end of the execution.
    pub end: OperationEnd,
    /// The outcomes of its dead letters.
    pub counts: OutcomeCounts,
}

impl Serialize for OperationReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'r> {
            store: &'r str,
            operation_id: &'r OperationId,
            kind: OperationKind,
            state: OperationStatus,
            end: OperationEnd,
            dead_letters: u64,
            done: u64,
            outcomes: &'r BTreeMap<ActualOutcome, u64>,
            differed: u64,
            differences: &'r [Misprediction],
        }
        let view = View {
            store: &self.store,
            operation_id: &self.operation.id,
            kind: self.operation.kind,
            state: self.operation.state,
            end: self.end,
            dead_letters: self.operation.dead_letters,
            done: self.counts.dead_letters(),
            outcomes: &self.counts.outcomes,
            differed: self.counts.differed,
            differences: &self.counts.differences,
        };
        view.serialize(serializer)
    }
}

/// The errors of an execution.
#[derive(thiserror::Error, Debug)]
pub enum OperationError {
    /// Store or bus failed.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// The operations store has the operation, but not all of its plan.
    #[error("batch {number} of the plan of operation {operation} is not in the operations store")]
    BatchNotFound {
        /// The operation.
        operation: OperationId,
        /// The number of the batch.
        number: u32,
    },
}

/// The result of admitting dead letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Admission {
    All,
    Stopped,
}

impl DeadLetterQueue {
    /// The resolver that acts on dead letters in the name of an operation.
    pub fn resolver(&self, operation: &BulkOperation, policy: RetryPolicy) -> DeadLetterResolver {
        DeadLetterResolver {
            facts: self.facts.clone(),
            dead_letter_store: self.dead_letter_store.clone(),
            retrier: self.retrier.clone(),
            locks: OrderLocks::new(),
            policy,
            clock: self.clock,
            entropy: self.entropy.clone(),
            actor: Actor { run_id: operation.id.to_string(), ..self.actor.clone() },
            note: operation.note.clone(),
        }
    }

    /// Executes what is left of a retry, discard or reopen.
    pub async fn execute(
        &self,
        mut operation: BulkOperation,
        resolver: &DeadLetterResolver,
        options: &ExecuteOptions<'_>,
    ) -> Result<OperationReport, OperationError> {
        // Resuming an operation that its canary stopped accepts the differences.
        let is_accepted = operation.state == OperationStatus::Stopped
            && OutcomeCounts::read(&operation.outcomes).differed > 0;
        if options.start == StartMode::Resumed {
            operation = self.rewrite(operation, OperationStatus::Begun, &OutcomeCounts::default()).await?;
        }
        let has_canary = operation.kind == OperationKind::Retry && !is_accepted;
        let mut execution = Execution {
            queue: self,
            resolver,
            options,
            kind: operation.kind,
            canary: if has_canary { options.canary } else { 0 },
            pacer: Pacer::new(options.rate),
            done: OutcomeCounts::default(),
        };
        let mut end = OperationEnd::Finished;
        let mut part = OutcomeCounts::default();
        for number in 0..operation.batches {
            let read = self.retrier.read(|| self.operations.batch(&operation.id, number)).await?;
            let batch = read
                .ok_or_else(|| OperationError::BatchNotFound { operation: operation.id.clone(), number })?;
            if let Some(outcomes) = &batch.outcomes {
                execution.done.add(OutcomeCounts::read(outcomes));
                (options.done)(execution.done.dead_letters());
                continue;
            }
            end = execution.run_batch(&batch, &mut part).await?;
            if part.dead_letters() < batch.dead_letters.len() as u64 {
                break;
            }
            let part = std::mem::take(&mut part);
            let batch = PlanBatch { outcomes: Some(part.words()), ..batch };
            self.retrier.write(|| self.operations.put_batch(&operation.id, &batch)).await?;
            execution.done.add(part);
            if end != OperationEnd::Finished {
                break;
            }
        }
        let mut counts = execution.done;
        counts.add(part);
        let state = if counts.dead_letters() < operation.dead_letters {
            OperationStatus::Stopped
        } else {
            OperationStatus::Finished
        };
        let operation = self.rewrite(operation, state, &counts).await?;
        Ok(OperationReport { store: self.facts.describe(), operation, end, counts })
    }

    /// Writes the operation with its present state and counts.
    pub(super) async fn rewrite(
        &self,
        operation: BulkOperation,
        state: OperationStatus,
        counts: &OutcomeCounts,
    ) -> Result<BulkOperation, RoleError> {
        let ended_at = (state != OperationStatus::Begun).then(|| self.clock.now_us());
        let (outcomes, revision) = (counts.words(), operation.revision + 1);
        let operation = BulkOperation { state, ended_at, outcomes, revision, ..operation };
        self.retrier.write(|| self.operations.put_operation(&operation)).await?;
        Ok(operation)
    }
}

/// The progress of an execution.
struct Execution<'w> {
    queue: &'w DeadLetterQueue,
    resolver: &'w DeadLetterResolver,
    options: &'w ExecuteOptions<'w>,
    kind: OperationKind,
    canary: u64,
    /// Paces the admission of dead letters.
    pacer: Pacer,
    /// The outcomes of complete batches.
    done: OutcomeCounts,
}

impl Execution<'_> {
    /// Executes a batch as far as possible and counts outcomes into `part`.
    async fn run_batch(
        &mut self,
        batch: &PlanBatch,
        part: &mut OutcomeCounts,
    ) -> Result<OperationEnd, RoleError> {
        let left = match self.options.start {
            StartMode::Fresh => batch.dead_letters.clone(),
            StartMode::Resumed => self.left(batch, part).await?,
        };
        // Dead letters after the canary are admitted only once its outcomes matched.
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
            Admission::All => Ok(OperationEnd::Finished),
        }
    }

    /// The dead letters without an outcome in this operation; counts the outcomes of the others.
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
        (self.options.done)(self.done.dead_letters() + part.dead_letters());
        Ok(left)
    }

    /// Acts on each dead letter, within concurrency limit and rate, until asked to stop.
    async fn each(
        &mut self,
        dead_letters: &[(DeadLetterId, Verdict)],
        part: &mut OutcomeCounts,
    ) -> Result<Admission, RoleError> {
        let mut dead_letters = dead_letters.iter();
        let mut next = dead_letters.next();
        let mut in_flight = FuturesUnordered::new();
        let (kind, resolver, stop) = (self.kind, self.resolver, &self.options.stop);
        let mut admission = Admission::All;
        while next.is_some() || !in_flight.is_empty() {
            let may_admit = next.is_some() && in_flight.len() < self.window();
            let wait = self.pacer.wait();
            tokio::select! {
                biased;
                () = stop.cancelled(), if next.is_some() => (next, admission) = (None, Admission::Stopped),
                Some(done) = in_flight.next() => {
                    let (id, verdict, outcome): (DeadLetterId, Verdict, ActualOutcome) = done?;
                    self.count(part, id, verdict, outcome).await?;
                    (self.options.done)(self.done.dead_letters() + part.dead_letters());
                }
                () = tokio::time::sleep_until(wait.unwrap_or_else(Instant::now)), if may_admit && wait.is_some() => {}
                () = std::future::ready(()), if may_admit && wait.is_none() => {
                    let Some((id, verdict)) = next else { continue };
                    in_flight.push(async move {
                        let outcome = act(kind, resolver, id).await?;
                        Ok::<_, RoleError>((id.clone(), *verdict, outcome))
                    });
                    next = dead_letters.next();
                    self.pacer.admit();
                }
            }
        }
        Ok(admission)
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
        let is_side_effect =
            outcome == ActualOutcome::Recovered && self.recovered_with_its_order(&id).await?;
        if !is_side_effect {
            part.differs(Misprediction { id, predicted, outcome });
        }
        Ok(())
    }

    /// Returns whether this operation recovered the dead letter before its turn, when it applied its order.
    async fn recovered_with_its_order(&self, id: &DeadLetterId) -> Result<bool, RoleError> {
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

/// Acts on a dead letter, then reads its actual outcome back.
async fn act(
    kind: OperationKind,
    resolver: &DeadLetterResolver,
    id: &DeadLetterId,
) -> Result<ActualOutcome, RoleError> {
    match kind {
        OperationKind::Retry => actions::retry(resolver, id).await?,
        OperationKind::Discard => actions::discard(resolver, id).await?,
        OperationKind::Reopen => actions::reopen(resolver, id).await?,
        // A correction is not executed here: it needs a body.
        OperationKind::Correct => {}
    }
    outcome(resolver, id).await
}

/// The actual outcome of a dead letter: its present state.
pub(super) async fn outcome(
    resolver: &DeadLetterResolver,
    id: &DeadLetterId,
) -> Result<ActualOutcome, RoleError> {
    let record = resolver.dead_letter(id).await?;
    Ok(record.map_or(ActualOutcome::Gone, |record| record.state().into()))
}
