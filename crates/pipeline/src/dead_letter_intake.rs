//! From the dead-letter topic into the dead-letter store. Once a dead letter is recorded, the dead-letter store owns it.

use std::sync::Arc;

use super::consume::Handler;
use super::dead_letter_publisher::panicked;
use super::disposition::{Disposition, Handled};
use super::durable::{Retrier, RoleError};
use super::retries::RetryQueue;
use ecom_bus::ReceivedMessage;
use ecom_codec::envelope;
use ecom_domain::dead_letter::{DeadLetter, DeadLetterState, HistoryAction, HistoryEntry, initial_state};
use ecom_domain::event_time::EventTime;
use ecom_domain::reason::Reason;
use ecom_store::DeadLetterStore;
use ecom_telemetry::metrics::StoreOperation;

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
pub struct DeadLetterIntake {
    /// The dead-letter store.
    pub dead_letter_store: Arc<dyn DeadLetterStore>,
    /// How outages are waited out.
    pub retrier: Arc<Retrier>,
    /// Where waiting dead letters are announced for their first retry.
    pub retry_queue: RetryQueue,
    /// For the history.
    pub actor: Actor,
}

impl DeadLetterIntake {
    async fn record(
        &self,
        received: &ReceivedMessage,
        dead_letter: &DeadLetter,
    ) -> Result<Disposition, RoleError> {
        // Of the message, not of the moment: the same line on every redelivery.
        let entry = HistoryEntry {
            at: received.publish_time_us,
            entry_id: format!("received-{}", received.id),
            action: HistoryAction::ReceivedMessage,
            outcome: dead_letter.reason.as_str().to_owned(),
            actor: self.actor.name.clone(),
            host: self.actor.host.clone(),
            note: None,
            run_id: Some(self.actor.run_id.clone()),
        };
        let durable = self
            .retrier
            .storing(StoreOperation::RecordDeadLetter)
            .write(|| self.dead_letter_store.record(dead_letter, &entry))
            .await?;
        if initial_state(dead_letter.reason) == DeadLetterState::Waiting {
            self.retry_queue.fresh(dead_letter.id.clone());
        }
        Ok(Disposition::Recorded(durable))
    }
}

impl Handler for DeadLetterIntake {
    fn event_time(&self, received: &ReceivedMessage) -> EventTime {
        envelope::event_time(received)
    }

    async fn handle(&self, received: &ReceivedMessage, _may_hold: bool) -> Result<Handled, RoleError> {
        let dead_letter = envelope::decode(received);
        self.record(received, &dead_letter).await.map(Handled::Settled)
    }

    async fn panicked(&self, received: &ReceivedMessage) -> Result<Disposition, RoleError> {
        let mut dead_letter = envelope::decode(received);
        // A masked body is not what was sent, whatever else went wrong.
        if dead_letter.reason != Reason::PanDetected {
            let rejection = panicked();
            (dead_letter.reason, dead_letter.detail) = (rejection.reason, rejection.detail);
        }
        self.record(received, &dead_letter).await
    }
}
