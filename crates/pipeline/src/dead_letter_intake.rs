//! The dead-letter intake: records the messages of the dead-letter topic in the dead-letter store.

use std::sync::Arc;

use super::actor::Actor;
use super::dead_letter_publisher::PANICKED;
use super::disposition::Disposition;
use super::durable::{Durable, Retrier, RoleError};
use super::handler::{Applied, Decoded, Handler, Unapplied};
use super::retry_queue::RetryQueue;
use ecom_bus::ReceivedMessage;
use ecom_codec::envelope;
use ecom_domain::dead_letter::{DeadLetter, DeadLetterState, HistoryAction, HistoryEntry, initial_state};
use ecom_domain::reason::Reason;
use ecom_store::DeadLetterStore;
use ecom_telemetry::metrics::StoreOperation;

/// Dead letters that are recorded together.
const GROUP: usize = 32;

/// Records dead letters.
pub struct DeadLetterIntake {
    /// The dead-letter store.
    pub dead_letter_store: Arc<dyn DeadLetterStore>,
    /// Retries calls through outages.
    pub retrier: Arc<Retrier>,
    /// Takes waiting dead letters to their first retry.
    pub retry_queue: RetryQueue,
    /// Signs the history entries.
    pub actor: Actor,
}

impl DeadLetterIntake {
    async fn record(
        &self,
        received: &ReceivedMessage,
        dead_letter: &DeadLetter,
    ) -> Result<Disposition, RoleError> {
        let entry = self.entry(received, dead_letter);
        let durable = self
            .retrier
            .storing(StoreOperation::RecordDeadLetter)
            .write(|| self.dead_letter_store.record(dead_letter, &entry))
            .await?;
        Ok(self.recorded(dead_letter, durable))
    }

    /// Returns the first entry of a history. It is derived from the message alone: every redelivery writes the same.
    fn entry(&self, received: &ReceivedMessage, dead_letter: &DeadLetter) -> HistoryEntry {
        HistoryEntry {
            reason: Some(dead_letter.reason),
            actor: self.actor.name.clone(),
            host: self.actor.host.clone(),
            run_id: Some(self.actor.run_id.clone()),
            ..HistoryEntry::new(
                received.publish_time_us,
                format!("received-{}", received.id),
                HistoryAction::Received,
            )
        }
    }

    fn recorded(&self, dead_letter: &DeadLetter, durable: Durable) -> Disposition {
        if initial_state(dead_letter.reason) == DeadLetterState::Waiting {
            self.retry_queue.push_recorded(dead_letter.id.clone());
        }
        Disposition::Recorded(durable)
    }
}

impl Handler for DeadLetterIntake {
    type Event<'m> = DeadLetter;

    fn decode(&self, received: &ReceivedMessage) -> Decoded<DeadLetter> {
        let dead_letter = envelope::decode(received);
        Decoded { t: dead_letter.t, order_id: dead_letter.order_id, event: dead_letter }
    }

    fn into_owned(dead_letter: DeadLetter) -> DeadLetter {
        dead_letter
    }

    async fn apply(
        &self,
        received: &ReceivedMessage,
        decoded: &Decoded<Self::Event<'_>>,
    ) -> Result<Applied, RoleError> {
        self.record(received, &decoded.event).await.map(Applied::Done)
    }

    async fn apply_together<'e>(
        &self,
        group: &[(&ReceivedMessage, &Decoded<Self::Event<'e>>)],
    ) -> Vec<Option<Applied>> {
        let entries: Vec<_> =
            group.iter().map(|(received, decoded)| self.entry(received, &decoded.event)).collect();
        let dead_letters: Vec<_> =
            group.iter().zip(&entries).map(|((_, decoded), entry)| (&decoded.event, entry)).collect();
        let storing = self.retrier.storing(StoreOperation::RecordDeadLetter);
        let durable = storing.try_write(self.dead_letter_store.record_all(&dead_letters), |_| true).await;
        let recorded = |decoded: &Decoded<DeadLetter>| {
            Some(Applied::Done(self.recorded(&decoded.event, durable.clone()?)))
        };
        group.iter().map(|(_, decoded)| recorded(decoded)).collect()
    }

    fn group_size(&self) -> usize {
        GROUP
    }

    async fn dead_letter(
        &self,
        received: &ReceivedMessage,
        decoded: Option<&Decoded<Self::Event<'_>>>,
        cause: Unapplied,
    ) -> Result<Disposition, RoleError> {
        let mut dead_letter = match decoded {
            Some(decoded) => decoded.event.clone(),
            None => envelope::decode(received),
        };
        // A masked body is not the body that was sent, whatever else went wrong.
        if cause == Unapplied::Panicked && dead_letter.reason != Reason::PanDetected {
            (dead_letter.reason, dead_letter.detail) = (Reason::HandlerFailed, PANICKED.to_owned());
        }
        self.record(received, &dead_letter).await
    }
}
