//! The way of dead letters to the retry schedule: the intake and the sweep push, the retry loop pops.

use tokio::sync::mpsc;

use ecom_domain::dead_letter::DeadLetterId;

/// Dead letters queued for the schedule at a time.
const CAPACITY: usize = 4_096;

/// A dead letter to be scheduled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueuedRetry {
    /// The dead letter.
    pub id: DeadLetterId,
    /// Due at this time, microseconds since the epoch; `None` = after the first backoff.
    pub due: Option<i64>,
}

/// The receiving end, for the retry loop.
pub type QueuedRetries = mpsc::Receiver<QueuedRetry>;

/// The sending end. A dead letter that does not fit is left to the next sweep.
#[derive(Clone, Debug)]
pub struct RetryQueue(mpsc::Sender<QueuedRetry>);

impl RetryQueue {
    /// Both ends of a new queue.
    pub fn channel() -> (Self, QueuedRetries) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(sender), receiver)
    }

    /// Queues a dead letter that was just recorded. Never waits: when the queue is full or closed, the next
    /// sweep finds the dead letter in the dead-letter store.
    pub fn push_recorded(&self, id: DeadLetterId) {
        drop(self.0.try_send(QueuedRetry { id, due: None }));
    }

    /// Queues a dead letter with the time it is due; waits for room.
    pub async fn push_due(&self, id: DeadLetterId, at: i64) {
        drop(self.0.send(QueuedRetry { id, due: Some(at) }).await);
    }
}
