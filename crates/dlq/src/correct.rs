//! Putting a corrected body in a letter's place. The correction is a new message: it is claimed in the
//! letter's history, published on its source topic, and the letter is discarded once that has a
//! receipt. Killed anywhere in between, the same correction done again is the same event.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::claims::{self, Claims};
use super::tally::Tally;
use super::{Desk, fact_text, run};
use ecom_bus::Publisher;
use ecom_codec::correction::correction;
use ecom_domain::event_time::EventTime;
use ecom_domain::letter::{Action, HistoryEntry, Kind, LetterId, LetterRecord, State, sha256};
use ecom_domain::order::OrderId;
use ecom_domain::outcome::Outcome;
use ecom_domain::run::{Run, RunState};
use ecom_domain::verdict::{Standing, Verdict};
use ecom_pipeline::assess::{Subject, event, standing};
use ecom_pipeline::durable::Halt;
use ecom_pipeline::settler::Settler;

/// Between two looks whether a consumer took the correction.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How the note of a discard begins that a correction made.
const CORRECTED_BY: &str = "corrected by message ";

/// A correction that may be made.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The letter.
    pub record: LetterRecord,
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
pub enum Refusal {
    /// The store refused something.
    #[error(transparent)]
    Halt(#[from] Halt),
    /// No such letter.
    #[error("there is no letter {0}")]
    Unknown(LetterId),
    /// It is not open, so there is nothing to correct.
    #[error("letter {id} is {}", state.as_str())]
    Closed {
        /// The letter.
        id: LetterId,
        /// Its state.
        state: State,
    },
    /// This very body has been published in its place.
    #[error("letter {id} has been {by}")]
    Done {
        /// The letter.
        id: LetterId,
        /// By which message.
        by: String,
    },
    /// The body is none a consumer would take.
    #[error("the corrected body is no {}: {detail}", kind.as_str())]
    NoEvent {
        /// What it should be.
        kind: Kind,
        /// Field and cause.
        detail: String,
    },
    /// It is about another order than the letter.
    #[error("the letter is about order {was}, the corrected body about order {is}")]
    OtherOrder {
        /// The letter's.
        was: OrderId,
        /// The body's.
        is: OrderId,
    },
    /// Nothing was corrected.
    #[error("the body is the letter's own, byte for byte")]
    Same,
}

/// A correction that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Corrected {
    /// The message that carries it.
    pub message_id: String,
    /// Its T.
    pub t: EventTime,
    /// The letter's state, read after it was discarded.
    pub outcome: Outcome,
}

/// What became of the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// The row shows it, or a newer event.
    Shown(Verdict),
    /// It was dead-lettered in its turn.
    CameBack(LetterId),
    /// No consumer has taken it yet.
    NotYet,
}

impl Desk {
    /// Closes the run of a correction that was made.
    pub async fn finish(&self, run: Run, outcome: Outcome) -> Result<Run, Halt> {
        let mut tally = Tally::default();
        tally.count(outcome);
        self.rewrite(run, RunState::Finished, &tally).await
    }

    /// Looks whether a letter may be corrected by this body, and what that would do.
    pub async fn propose(&self, id: &LetterId, body: Bytes) -> Result<Proposal, Refusal> {
        let record = self.retrying.read(|| self.ledger.letter(id)).await?;
        let record = record.ok_or_else(|| Refusal::Unknown(id.clone()))?;
        let letter = &record.letter;
        let history = self.retrying.read(|| self.ledger.history(id)).await?;
        let claims = Claims::of(&history);
        let number = claims.number_of(&sha256(&body));
        if !record.state().is_open() {
            return Err(closed(&record, number.and_then(|_| corrected_by(&history))));
        }
        let subject = event(letter.kind, &body)
            .map_err(|rejection| Refusal::NoEvent { kind: letter.kind, detail: rejection.detail })?;
        let is = subject.order_id();
        let of_first = || event(letter.kind, claims.first.as_deref()?.as_bytes()).ok().map(|e| e.order_id());
        if let Some(was) = letter.order_id.or_else(of_first).filter(|was| *was != is) {
            return Err(Refusal::OtherOrder { was, is });
        }
        let is_same = letter.body.is_whole() && letter.body.bytes == body;
        // Of two events of one time the same body a microsecond later is a choice.
        if is_same && self.stands(&subject, letter.t).await? != Standing::Conflict {
            return Err(Refusal::Same);
        }
        let t = letter.t.correction(number.unwrap_or_else(|| claims.next()));
        let verdict = self.stands(&subject, t).await?.into();
        drop(subject);
        let fact = match verdict {
            Verdict::AppliesNow => self.retrying.read(|| self.facts.fact(is)).await?,
            _ => None,
        };
        let replaces = fact.as_ref().and_then(|fact| match letter.kind {
            Kind::Order => fact_text::order(fact),
            Kind::Payment => fact_text::payment(fact),
        });
        Ok(Proposal { record, body, t, verdict, order_id: is, replaces })
    }

    async fn stands(&self, subject: &Subject<'_>, t: EventTime) -> Result<Standing, Halt> {
        self.retrying.read(|| standing(self.facts.as_ref(), subject, t)).await
    }

    /// Makes the correction: claims its number, publishes it on the letter's source topic, awaits the
    /// receipt, discards the letter. Refuses where the letter was closed since it was proposed.
    pub async fn correct(
        &self,
        proposal: &Proposal,
        settler: &Settler,
        publisher: &dyn Publisher,
    ) -> Result<Corrected, Refusal> {
        let Proposal { record, body, .. } = proposal;
        let id = &record.letter.id;
        match settler.letter(id).await?.map(|record| record.state()) {
            Some(state) if state.is_open() => {}
            Some(state) => return Err(Refusal::Closed { id: id.clone(), state }),
            None => return Err(Refusal::Unknown(id.clone())),
        }
        let number = claims::claim(settler, record, body).await?;
        let t = record.letter.t.correction(number);
        // A letter may be dated a few seconds ahead of its publish time; its correction, too.
        let early = u64::try_from(t.micros().saturating_sub(settler.clock.now_us())).unwrap_or_default();
        tokio::time::sleep(Duration::from_micros(early)).await;
        let message = correction(&record.letter, number, body.clone());
        let publishing = self.retrying.publishing(record.letter.kind.into());
        let (_, message_id) = publishing.published(publisher, &message).await?;
        if let Some(record) = settler.letter(id).await?
            && record.state().is_open()
        {
            let instead = proposal.replaces.as_deref().map(|was| format!(", in place of {was}"));
            let by = format!("{CORRECTED_BY}{message_id}{}", instead.unwrap_or_default());
            let note = settler.note.as_ref().map_or_else(|| by.clone(), |note| format!("{by}: {note}"));
            let line = settler.outcome(Action::Discarded, "corrected", Outcome::Discarded);
            let line = HistoryEntry { note: Some(note), ..line };
            settler.act(&record, settler.becomes(record.progress.generation, State::Discarded), line).await?;
        }
        Ok(Corrected { message_id, t, outcome: run::seen(settler, id).await? })
    }

    /// Waits until the row shows the correction, or a consumer refused it. Of a corrected order the
    /// open payments are looked at then.
    pub async fn taken(
        &self,
        proposal: &Proposal,
        corrected: &Corrected,
        settler: &Settler,
        patience: Duration,
    ) -> Result<Taken, Halt> {
        let (kind, t, until) = (proposal.record.letter.kind, corrected.t, Instant::now() + patience);
        let Ok(subject) = event(kind, &proposal.body) else { return Ok(Taken::NotYet) };
        let came_back = LetterId::of(kind, t, &proposal.body);
        loop {
            match settler.retrying.read(|| standing(self.facts.as_ref(), &subject, t)).await? {
                shown @ (Standing::AlreadyApplied | Standing::Superseded) => {
                    if kind == Kind::Order {
                        settler.recheck(subject.order_id()).await?;
                    }
                    return Ok(Taken::Shown(shown.into()));
                }
                Standing::AppliesNow | Standing::StillWaiting | Standing::Conflict => {}
            }
            if settler.letter(&came_back).await?.is_some() {
                return Ok(Taken::CameBack(came_back));
            }
            if Instant::now() >= until {
                return Ok(Taken::NotYet);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn closed(record: &LetterRecord, by: Option<String>) -> Refusal {
    let (id, state) = (record.letter.id.clone(), record.state());
    match (by, state) {
        (Some(by), State::Discarded) => Refusal::Done { id, by },
        (_, state) => Refusal::Closed { id, state },
    }
}

/// By which message a letter was corrected last, in words.
fn corrected_by(history: &[HistoryEntry]) -> Option<String> {
    let note = |line: &HistoryEntry| line.note.clone().filter(|note| note.starts_with(CORRECTED_BY));
    history.iter().rev().filter(|line| line.action == Action::Discarded).find_map(note)
}
