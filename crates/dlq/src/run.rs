//! Working through a run: each letter once, within window and rate, and the actual state read back.
//! It may be stopped or killed anywhere and gone on with: a letter counts by the line of its history
//! that tells what came of it in this run.

use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tally::{Difference, Tally};
use super::{Desk, discard, reopen, retry};
use ecom_domain::letter::{Action, HistoryEntry, LetterId};
use ecom_domain::outcome::Outcome;
use ecom_domain::run::{Batch, Deed, Run, RunId, RunState};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::durable::Halt;
use ecom_pipeline::letters::Actor;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::retries::RetryPolicy;
use ecom_pipeline::settler::Settler;

/// How far a run may fall behind its rate and still catch up.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Whether a run begins, or goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// None of its letters has been looked at.
    Fresh,
    /// It was stopped or killed: some letters may be done.
    Resumed,
}

/// How a run is worked through.
pub struct Pace<'p> {
    /// Whether it begins, or goes on.
    pub entry: Entry,
    /// Letters a second; `None` = as fast as the store answers.
    pub rate: Option<f64>,
    /// The first so many letters of a retry must end as foretold, or the run stops after them.
    pub canary: u64,
    /// Cancelled = admit no more letters, finish those in flight.
    pub stop: CancellationToken,
    /// Called with the number of letters that are done.
    pub done: &'p (dyn Fn(u64) + Sync),
}

/// How working through a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// All its letters are done.
    Finished,
    /// It was asked to stop.
    Stopped,
    /// Letters of the canary ended otherwise than was foretold.
    Differed,
}

/// A run after it was worked on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The run as the journal keeps it now.
    pub run: Run,
    /// How it ended.
    pub end: End,
    /// What came of its letters.
    pub tally: Tally,
}

/// Why a run cannot be worked through.
#[derive(thiserror::Error, Debug)]
pub enum RunError {
    /// Store or bus refused something.
    #[error(transparent)]
    Halt(#[from] Halt),
    /// The journal has the run, but not all of its plan.
    #[error("part {number} of the plan of run {run} is not in the journal")]
    Unplanned {
        /// The run.
        run: RunId,
        /// Which part.
        number: u32,
    },
}

/// Whether all letters were admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Went {
    Through,
    Stopped,
}

impl Desk {
    /// What settles letters in the name of a run.
    pub fn settler(&self, run: &Run, policy: RetryPolicy) -> Settler {
        Settler {
            facts: self.facts.clone(),
            ledger: self.ledger.clone(),
            retrying: self.retrying.clone(),
            locks: OrderLocks::new(),
            policy,
            clock: self.clock,
            chance: self.chance.clone(),
            actor: Actor { run_id: run.id.to_string(), ..self.actor.clone() },
            note: run.note.clone(),
        }
    }

    /// Works through what is left of a run of retries, discards or reopens, as the journal has it.
    pub async fn work(&self, mut run: Run, settler: &Settler, pace: &Pace<'_>) -> Result<Ended, RunError> {
        // Whoever goes on with a run that was stopped for its differences has seen them.
        let decided = run.state == RunState::Stopped && Tally::read(&run.outcomes).differed > 0;
        if pace.entry == Entry::Resumed {
            run = self.rewrite(run, RunState::Begun, &Tally::default()).await?;
        }
        let mut walk = Walk {
            desk: self,
            settler,
            pace,
            deed: run.deed,
            canary: if run.deed == Deed::Retry && !decided { pace.canary } else { 0 },
            due: Instant::now(),
            done: Tally::default(),
        };
        let mut end = End::Finished;
        let mut part = Tally::default();
        for number in 0..run.batches {
            let read = self.retrying.read(|| self.journal.batch(&run.id, number)).await?;
            let batch = read.ok_or_else(|| RunError::Unplanned { run: run.id.clone(), number })?;
            if let Some(outcomes) = &batch.outcomes {
                walk.done.add(Tally::read(outcomes));
                (pace.done)(walk.done.letters());
                continue;
            }
            end = walk.through(&batch, &mut part).await?;
            if part.letters() < batch.letters.len() as u64 {
                break;
            }
            let part = std::mem::take(&mut part);
            let batch = Batch { outcomes: Some(part.words()), ..batch };
            self.retrying.write(|| self.journal.put_batch(&run.id, &batch)).await?;
            walk.done.add(part);
            if end != End::Finished {
                break;
            }
        }
        let mut tally = walk.done;
        tally.add(part);
        let state = if tally.letters() < run.letters { RunState::Stopped } else { RunState::Finished };
        let run = self.rewrite(run, state, &tally).await?;
        Ok(Ended { run, end, tally })
    }

    /// Writes the run as it stands now.
    pub(super) async fn rewrite(&self, run: Run, state: RunState, tally: &Tally) -> Result<Run, Halt> {
        let ended_at = (state != RunState::Begun).then(|| self.clock.now_us());
        let run = Run { state, ended_at, outcomes: tally.words(), revision: run.revision + 1, ..run };
        self.retrying.write(|| self.journal.put_run(&run)).await?;
        Ok(run)
    }
}

/// The way through a run.
struct Walk<'w> {
    desk: &'w Desk,
    settler: &'w Settler,
    pace: &'w Pace<'w>,
    deed: Deed,
    canary: u64,
    /// When the next letter may be admitted.
    due: Instant,
    /// What came of the letters of whole parts.
    done: Tally,
}

impl Walk<'_> {
    /// Works through a part of the plan, as far as it goes, counting into `part`.
    async fn through(&mut self, batch: &Batch, part: &mut Tally) -> Result<End, Halt> {
        let left = match self.pace.entry {
            Entry::Fresh => batch.letters.clone(),
            Entry::Resumed => self.left(batch, part).await?,
        };
        // More letters than the canary's are done only once it was found to be as foretold.
        let ahead = self.done.letters() + part.letters();
        let of_canary = usize::try_from(self.canary.saturating_sub(ahead)).unwrap_or(usize::MAX);
        let (canary, others) = left.split_at(of_canary.min(left.len()));
        if self.each(canary, part).await? == Went::Stopped {
            return Ok(End::Stopped);
        }
        if ahead <= self.canary && self.canary > 0 && self.done.differed + part.differed > 0 {
            return Ok(End::Differed);
        }
        match self.each(others, part).await? {
            Went::Stopped => Ok(End::Stopped),
            Went::Through => Ok(End::Finished),
        }
    }

    /// The letters of which no line tells that they are done; what the others came to is counted.
    async fn left(&self, batch: &Batch, part: &mut Tally) -> Result<Vec<(LetterId, Verdict)>, Halt> {
        let run_id = &self.settler.actor.run_id;
        let told = |(id, verdict): &(LetterId, Verdict)| {
            let (id, verdict) = (id.clone(), *verdict);
            async move {
                let history = self.desk.retrying.read(|| self.desk.ledger.history(&id)).await?;
                Ok::<_, Halt>((Outcome::told(&history, run_id), id, verdict))
            }
        };
        let mut read = futures_util::stream::iter(batch.letters.iter().map(told)).buffered(self.window());
        let mut left = Vec::new();
        while let Some((outcome, id, verdict)) = read.try_next().await? {
            match outcome {
                Some(outcome) => self.count(part, id, verdict, outcome).await?,
                None => left.push((id, verdict)),
            }
        }
        (self.pace.done)(self.done.letters() + part.letters());
        Ok(left)
    }

    /// Does the deed to each letter, as fast as the pace allows, until told to stop.
    async fn each(&mut self, letters: &[(LetterId, Verdict)], part: &mut Tally) -> Result<Went, Halt> {
        let mut letters = letters.iter();
        let mut next = letters.next();
        let mut in_flight = FuturesUnordered::new();
        let (deed, settler, stop) = (self.deed, self.settler, &self.pace.stop);
        let mut went = Went::Through;
        while next.is_some() || !in_flight.is_empty() {
            let may_admit = next.is_some() && in_flight.len() < self.window();
            let early = self.due > Instant::now();
            tokio::select! {
                biased;
                () = stop.cancelled(), if next.is_some() => (next, went) = (None, Went::Stopped),
                Some(done) = in_flight.next() => {
                    let (id, verdict, outcome): (LetterId, Verdict, Outcome) = done?;
                    self.count(part, id, verdict, outcome).await?;
                    (self.pace.done)(self.done.letters() + part.letters());
                }
                () = tokio::time::sleep_until(self.due), if may_admit && early => {}
                () = std::future::ready(()), if may_admit && !early => {
                    let Some((id, verdict)) = next else { continue };
                    in_flight.push(async move {
                        let outcome = do_to(deed, settler, id).await?;
                        Ok::<_, Halt>((id.clone(), *verdict, outcome))
                    });
                    next = letters.next();
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
        part: &mut Tally,
        id: LetterId,
        foretold: Verdict,
        outcome: Outcome,
    ) -> Result<(), Halt> {
        part.count(outcome);
        if self.deed != Deed::Retry || outcome.is_foretold_by(foretold) {
            return Ok(());
        }
        let is_own_doing = outcome == Outcome::Recovered && self.was_let_through(&id).await?;
        if !is_own_doing {
            part.differs(Difference { id, foretold, outcome });
        }
        Ok(())
    }

    /// Whether this run applied the letter on the occasion of its order, which it had applied before.
    async fn was_let_through(&self, id: &LetterId) -> Result<bool, Halt> {
        let run_id = &self.settler.actor.run_id;
        let history = self.desk.retrying.read(|| self.desk.ledger.history(id)).await?;
        let own = |line: &&HistoryEntry| line.run_id.as_ref() == Some(run_id);
        let told = |line: &HistoryEntry| Outcome::told(std::slice::from_ref(line), run_id).is_some();
        Ok(history.iter().filter(own).any(|line| line.action == Action::Recovered && !told(line)))
    }

    fn window(&self) -> usize {
        self.desk.window.max(1)
    }
}

/// Does a run's deed to a letter; what came of it, by reading it again.
async fn do_to(deed: Deed, settler: &Settler, id: &LetterId) -> Result<Outcome, Halt> {
    match deed {
        Deed::Retry => retry::retry(settler, id).await?,
        Deed::Discard => discard::discard(settler, id).await?,
        Deed::Reopen => reopen::reopen(settler, id).await?,
        // A correction is no walk over letters: it has a body of its own.
        Deed::Correct => {}
    }
    seen(settler, id).await
}

/// The state a letter is in.
pub(super) async fn seen(settler: &Settler, id: &LetterId) -> Result<Outcome, Halt> {
    let record = settler.letter(id).await?;
    Ok(record.map_or(Outcome::Gone, |record| record.state().into()))
}
