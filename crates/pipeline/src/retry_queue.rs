//! The way of dead letters to the retry schedule: the intake and the load push, the retry loop pops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use ecom_domain::dead_letter::DeadLetterId;

/// Dead letters queued for the schedule at a time.
const CAPACITY: usize = 4_096;

/// A dead letter to be scheduled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct QueuedRetry {
    /// The dead letter.
    pub id: DeadLetterId,
    /// Due at this time, microseconds since the epoch; `None` = after the first backoff.
    pub due: Option<i64>,
}

/// The receiving end, for the retry loop.
#[derive(Debug)]
pub struct QueuedRetries {
    receiver: mpsc::Receiver<QueuedRetry>,
    overflowed: Arc<AtomicBool>,
}

impl QueuedRetries {
    /// Returns the next dead letter; `None` once every sending end is dropped.
    pub(super) async fn recv(&mut self) -> Option<QueuedRetry> {
        self.receiver.recv().await
    }

    /// Returns true once after dead letters did not fit: they are in the dead-letter store only.
    pub(super) fn take_overflow(&self) -> bool {
        self.overflowed.swap(false, Ordering::Relaxed)
    }
}

/// The sending end.
#[derive(Clone, Debug)]
pub struct RetryQueue {
    sender: mpsc::Sender<QueuedRetry>,
    overflowed: Arc<AtomicBool>,
}

impl RetryQueue {
    /// Both ends of a new queue.
    pub fn channel() -> (Self, QueuedRetries) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let overflowed = Arc::new(AtomicBool::new(false));
        (Self { sender, overflowed: Arc::clone(&overflowed) }, QueuedRetries { receiver, overflowed })
    }

    /// Queues a dead letter that was just recorded. Never waits: when the queue is full, the retry loop reads
    /// the dead-letter store again.
    pub(super) fn push_recorded(&self, id: DeadLetterId) {
        if self.sender.try_send(QueuedRetry { id, due: None }).is_err() {
            self.overflowed.store(true, Ordering::Relaxed);
        }
    }

    /// Queues a dead letter with the time it is due; waits for room.
    pub(super) async fn push_due(&self, id: DeadLetterId, at: i64) {
        drop(self.sender.send(QueuedRetry { id, due: Some(at) }).await);
    }
}
