//! The early-payment buffer: payments that arrived before their orders wait here, unacked, until their order
//! arrives or the grace period ends. Bounded by count and by bytes; a payment that finds it full is
//! dead-lettered at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use ecom_bus::{ByteBudget, ByteShare};

/// Checks for a buffered payment's order within the grace period.
const CHECKS: u32 = 4;

/// The grace period and the bounds of the buffer.
#[derive(Clone, Copy, Debug)]
pub struct EarlyPaymentSettings {
    /// The time a payment waits for its order.
    pub grace: Duration,
    /// Most payments buffered.
    pub limit: usize,
    /// Most bytes of message bodies buffered.
    pub bytes: usize,
}

/// Room for one payment in the buffer; dropping it frees the room.
#[derive(Debug)]
pub struct BufferPermit {
    _count: OwnedSemaphorePermit,
    _bytes: ByteShare,
}

/// A payment in the buffer.
#[derive(Debug)]
pub struct BufferedPayment<P> {
    /// The payment, with its delivery.
    pub payment: P,
    /// The end of its grace period.
    expires: Instant,
    due: Instant,
    _permit: BufferPermit,
}

impl<P> BufferedPayment<P> {
    /// Returns false when the grace period has ended: this check is the last.
    pub fn may_wait(&self) -> bool {
        Instant::now() < self.expires
    }
}

/// A bounded delay queue. Payments come due in the order in which they were queued: a check that ran late is
/// followed by a shorter wait, which another payment's may delay by the rest of an interval at most.
#[derive(Debug)]
pub struct EarlyPaymentBuffer<P> {
    grace: Duration,
    limit: usize,
    count: Arc<Semaphore>,
    bytes: ByteBudget,
    waiting: mpsc::Sender<BufferedPayment<P>>,
    due: Mutex<mpsc::Receiver<BufferedPayment<P>>>,
    stop: CancellationToken,
}

impl<P> EarlyPaymentBuffer<P> {
    /// An empty buffer; once `stop` is cancelled, all payments are due.
    pub fn new(settings: EarlyPaymentSettings, stop: CancellationToken) -> Self {
        let (waiting, due) = mpsc::channel(settings.limit.max(1));
        Self {
            grace: settings.grace,
            limit: settings.limit,
            count: Arc::new(Semaphore::new(settings.limit)),
            bytes: ByteBudget::new(settings.bytes),
            waiting,
            due: Mutex::new(due),
            stop,
        }
    }

    /// The number of payments in the buffer.
    pub fn len(&self) -> usize {
        self.limit.saturating_sub(self.count.available_permits())
    }

    /// Returns true when the buffer holds no payment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reserves room for a payment with a body of this many bytes; `None` when the buffer is full.
    pub fn reserve(&self, bytes: usize) -> Option<BufferPermit> {
        let count = Arc::clone(&self.count).try_acquire_owned().ok()?;
        let bytes = self.bytes.try_share(bytes)?;
        Some(BufferPermit { _count: count, _bytes: bytes })
    }

    /// Buffers a payment; gives it back once the buffer has stopped.
    pub fn push(&self, permit: BufferPermit, payment: P) -> Result<(), P> {
        let now = Instant::now();
        let buffered = BufferedPayment { payment, expires: now + self.grace, due: now, _permit: permit };
        self.wait(buffered).map_err(|buffered| buffered.payment)
    }

    /// Lets a payment wait until its next check; gives it back once the buffer has stopped.
    pub fn wait(&self, mut buffered: BufferedPayment<P>) -> Result<(), BufferedPayment<P>> {
        buffered.due = (Instant::now() + self.grace / CHECKS).min(buffered.expires);
        self.waiting.try_send(buffered).map_err(|error| match error {
            mpsc::error::TrySendError::Full(buffered) | mpsc::error::TrySendError::Closed(buffered) => {
                buffered
            }
        })
    }

    /// The next payment whose order is to be checked for; `None` once stopped and empty. A payment is lost if
    /// the future is dropped.
    pub async fn next(&self) -> Option<BufferedPayment<P>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(limit: usize, bytes: usize) -> EarlyPaymentBuffer<&'static str> {
        let settings = EarlyPaymentSettings { grace: Duration::from_secs(2), limit, bytes };
        EarlyPaymentBuffer::new(settings, CancellationToken::new())
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_full_by_count_or_by_bytes_and_has_room_again_when_a_payment_leaves() {
        for buffer in [buffer(1, 1_000), buffer(10, 100)] {
            let permit = buffer.reserve(60).unwrap();
            assert!(buffer.push(permit, "first").is_ok());
            assert!(buffer.reserve(60).is_none());
            assert_eq!(buffer.len(), 1);
            drop(buffer.next().await);
            assert!(buffer.reserve(60).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_payment_is_checked_four_times_within_the_grace_period() {
        let buffer = buffer(1, 1_000);
        let started = Instant::now();
        assert!(buffer.push(buffer.reserve(1).unwrap(), "early").is_ok());
        let mut checks = Vec::new();
        while let Some(buffered) = buffer.next().await {
            checks.push((started.elapsed().as_millis(), buffered.may_wait()));
            if !buffered.may_wait() {
                break;
            }
            assert!(buffer.wait(buffered).is_ok());
        }
        assert_eq!(checks, [(500, true), (1_000, true), (1_500, true), (2_000, false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_buffer_hands_out_what_it_holds_at_once_and_takes_nothing_more() {
        let buffer = buffer(2, 1_000);
        let started = Instant::now();
        let other = buffer.reserve(1).unwrap();
        assert!(buffer.push(buffer.reserve(1).unwrap(), "early").is_ok());
        buffer.stop.cancel();
        assert_eq!(buffer.next().await.map(|buffered| buffered.payment), Some("early"));
        assert_eq!(buffer.push(other, "late"), Err("late"));
        assert!(buffer.next().await.is_none());
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
