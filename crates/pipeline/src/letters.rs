//! From the dead-letter topic into the ledger. Once a letter is recorded, the ledger owns it.

use std::sync::Arc;

use super::consume::Handler;
use super::dead_letters::panicked;
use super::durable::{Halt, Retrying};
use super::retries::Offers;
use super::settlement::{Settlement, Step};
use ecom_bus::Received;
use ecom_codec::envelope;
use ecom_domain::event_time::EventTime;
use ecom_domain::letter::{Action, HistoryEntry, Letter, State, initial_state};
use ecom_domain::reason::Reason;
use ecom_store::Ledger;
use ecom_telemetry::metrics::Operation;

/// Who acts, in the history.
#[derive(Clone, Debug)]
pub struct Actor {
    /// A role's name, or a person.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// This run.
    pub run_id: String,
}

/// Records dead letters.
pub struct Letters {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// How outages are waited out.
    pub retrying: Arc<Retrying>,
    /// Where waiting letters are announced for their first retry.
    pub offers: Offers,
    /// For the history.
    pub actor: Actor,
}

impl Letters {
    async fn record(&self, received: &Received, letter: &Letter) -> Result<Settlement, Halt> {
        // Of the message, not of the moment: the same line on every redelivery.
        let entry = HistoryEntry {
            at: received.publish_time_us,
            entry_id: format!("received-{}", received.id),
            action: Action::Received,
            outcome: letter.reason.as_str().to_owned(),
            actor: self.actor.name.clone(),
            host: self.actor.host.clone(),
            note: None,
            run_id: Some(self.actor.run_id.clone()),
        };
        let durable = self
            .retrying
            .storing(Operation::RecordLetter)
            .write(|| self.ledger.record(letter, &entry))
            .await?;
        if initial_state(letter.reason) == State::Waiting {
            self.offers.fresh(letter.id.clone());
        }
        Ok(Settlement::Recorded(durable))
    }
}

impl Handler for Letters {
    fn event_time(&self, received: &Received) -> EventTime {
        envelope::event_time(received)
    }

    async fn handle(&self, received: &Received, _may_hold: bool) -> Result<Step, Halt> {
        let letter = envelope::decode(received);
        self.record(received, &letter).await.map(Step::Settled)
    }

    async fn panicked(&self, received: &Received) -> Result<Settlement, Halt> {
        let mut letter = envelope::decode(received);
        // A masked body is not what was sent, whatever else went wrong.
        if letter.reason != Reason::PanDetected {
            let rejection = panicked();
            (letter.reason, letter.detail) = (rejection.reason, rejection.detail);
        }
        self.record(received, &letter).await
    }
}
