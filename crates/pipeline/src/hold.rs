//! Payments that arrived before their orders wait here, leases kept, before they become dead
//! letters. Bounded by count and by bytes; full means: do not wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use ecom_bus::Delivery;

/// How often a held payment's order is looked for within the grace.
const CHECKS: u32 = 4;

/// How long and how much is held.
#[derive(Clone, Copy, Debug)]
pub struct HoldSettings {
    /// How long a payment waits for its order.
    pub grace: Duration,
    /// Payments held at most.
    pub limit: usize,
    /// Bytes of bodies held at most.
    pub bytes: usize,
}

/// A delivery that waits, with its place in the hold.
pub struct Held {
    /// The delivery; its lease is kept.
    pub delivery: Delivery,
    /// When a lane first took it.
    pub taken: Instant,
    checks_left: u32,
    due: Instant,
    _place: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Held {
    /// Whether it may wait once more.
    pub fn may_wait(&self) -> bool {
        self.checks_left > 0
    }
}

/// The hold. Every wait is equally long, so waiting deliveries come due in the order they came.
pub struct Hold {
    every: Duration,
    limit: usize,
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    waiting: mpsc::Sender<Held>,
    due: Mutex<mpsc::Receiver<Held>>,
    stop: CancellationToken,
}

impl Hold {
    /// An empty hold; once `stop` is cancelled nothing waits any longer.
    pub fn new(settings: HoldSettings, stop: CancellationToken) -> Self {
        let (waiting, due) = mpsc::channel(settings.limit.max(1));
        Self {
            every: settings.grace / CHECKS,
            limit: settings.limit,
            count: Arc::new(Semaphore::new(settings.limit)),
            bytes: Arc::new(Semaphore::new(settings.bytes.min(Semaphore::MAX_PERMITS))),
            waiting,
            due: Mutex::new(due),
            stop,
        }
    }

    /// How many deliveries are in it.
    pub fn held(&self) -> usize {
        self.limit.saturating_sub(self.count.available_permits())
    }

    /// Takes a delivery in, or gives it back where there is no place for it.
    pub fn take(&self, delivery: Delivery, taken: Instant) -> Result<(), Delivery> {
        let size = u32::try_from(delivery.received.message.body.len()).unwrap_or(u32::MAX);
        let count = Arc::clone(&self.count).try_acquire_owned();
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(size);
        let (Ok(count), Ok(bytes)) = (count, bytes) else { return Err(delivery) };
        let held = Held { delivery, taken, checks_left: CHECKS, due: Instant::now(), _place: (count, bytes) };
        self.wait(held).map_err(|held| held.delivery)
    }

    /// Lets a held delivery wait once more.
    #[expect(clippy::result_large_err, reason = "the delivery itself comes back, not an error")]
    pub fn wait(&self, mut held: Held) -> Result<(), Held> {
        held.checks_left = held.checks_left.saturating_sub(1);
        held.due = Instant::now() + self.every;
        self.waiting.try_send(held).map_err(|error| match error {
            mpsc::error::TrySendError::Full(held) | mpsc::error::TrySendError::Closed(held) => held,
        })
    }

    /// The next delivery whose order is to be looked for; `None` once stopped and empty.
    pub async fn next(&self) -> Option<Held> {
        let mut due = self.due.lock().await;
        let held = tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                due.close();
                return due.recv().await;
            }
            held = due.recv() => held?,
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep_until(held.due) => {}
        }
        Some(held)
    }
}
