//! Payments that arrived before their orders wait here, leases kept, before they become dead
//! dead letters. Bounded by count and by bytes; full means: do not wait.

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
pub struct EarlyPaymentSettings {
    /// How long a payment waits for its order.
    pub grace: Duration,
    /// Payments held at most.
    pub limit: usize,
    /// Bytes of bodies held at most.
    pub bytes: usize,
}

/// A delivery that waits, with its place in the hold.
pub struct BufferedPayment {
    /// The delivery; its lease is kept.
    pub delivery: Delivery,
    /// When a worker first took it.
    pub taken: Instant,
    checks_left: u32,
    due: Instant,
    _place: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl BufferedPayment {
    /// Whether it may wait once more.
    pub fn may_wait(&self) -> bool {
        self.checks_left > 0
    }
}

/// The hold. Every wait is equally long, so waiting deliveries come due in the order they came.
pub struct EarlyPaymentBuffer {
    every: Duration,
    limit: usize,
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    waiting: mpsc::Sender<BufferedPayment>,
    due: Mutex<mpsc::Receiver<BufferedPayment>>,
    stop: CancellationToken,
}

impl EarlyPaymentBuffer {
    /// An empty hold; once `stop` is cancelled nothing waits any longer.
    pub fn new(settings: EarlyPaymentSettings, stop: CancellationToken) -> Self {
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
    pub fn buffered(&self) -> usize {
        self.limit.saturating_sub(self.count.available_permits())
    }

    /// Takes a delivery in, or gives it back where there is no place for it.
    pub fn take(&self, delivery: Delivery, taken: Instant) -> Result<(), Delivery> {
        let size = u32::try_from(delivery.received.message.body.len()).unwrap_or(u32::MAX);
        let count = Arc::clone(&self.count).try_acquire_owned();
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(size);
        let (Ok(count), Ok(bytes)) = (count, bytes) else { return Err(delivery) };
        let buffered = BufferedPayment {
            delivery,
            taken,
            checks_left: CHECKS,
            due: Instant::now(),
            _place: (count, bytes),
        };
        self.wait(buffered).map_err(|buffered| buffered.delivery)
    }

    /// Lets a held delivery wait once more.
    #[expect(clippy::result_large_err, reason = "the delivery itself comes back, not an error")]
    pub fn wait(&self, mut buffered: BufferedPayment) -> Result<(), BufferedPayment> {
        buffered.checks_left = buffered.checks_left.saturating_sub(1);
        buffered.due = Instant::now() + self.every;
        self.waiting.try_send(buffered).map_err(|error| match error {
            mpsc::error::TrySendError::Full(buffered) | mpsc::error::TrySendError::Closed(buffered) => {
                buffered
            }
        })
    }

    /// The next delivery whose order is to be looked for; `None` once stopped and empty.
    pub async fn next(&self) -> Option<BufferedPayment> {
        let mut due = self.due.lock().await;
        let buffered = tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                due.close();
                return due.recv().await;
            }
            buffered = due.recv() => buffered?,
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep_until(buffered.due) => {}
        }
        Some(buffered)
    }
}
