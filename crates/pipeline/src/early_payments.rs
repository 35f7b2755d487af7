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
    due: Mutex<DueQueue<P>>,
    stop: CancellationToken,
}

/// The receiving end of the queue.
#[derive(Debug)]
struct DueQueue<P> {
    /// The next one, which was received before it was due.
    next: Option<BufferedPayment<P>>,
    others: mpsc::Receiver<BufferedPayment<P>>,
}

impl<P> DueQueue<P> {
    async fn recv(&mut self) -> Option<BufferedPayment<P>> {
        match self.next.take() {
            Some(next) => Some(next),
            None => self.others.recv().await,
        }
    }

    /// Returns one that is queued already.
    fn try_recv(&mut self) -> Option<BufferedPayment<P>> {
        self.next.take().or_else(|| self.others.try_recv().ok())
    }
}

impl<P> EarlyPaymentBuffer<P> {
    /// An empty buffer; once `stop` is cancelled, all payments are due.
    pub fn new(settings: EarlyPaymentSettings, stop: CancellationToken) -> Self {
        let (waiting, others) = mpsc::channel(settings.limit.max(1));
        Self {
            grace: settings.grace,
            limit: settings.limit,
            count: Arc::new(Semaphore::new(settings.limit)),
            bytes: ByteBudget::new(settings.bytes),
            waiting,
            due: Mutex::new(DueQueue { next: None, others }),
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

    /// Returns the next payments whose orders are to be checked for, at most so many; none once stopped and empty.
    /// Waits until the first one is due. Payments are lost if the future is dropped.
    pub async fn next(&self, most: usize) -> Vec<BufferedPayment<P>> {
        let mut due = self.due.lock().await;
        let first = tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                due.others.close();
                due.recv().await
            }
            first = due.recv() => first,
        };
        let mut payments: Vec<_> = first.into_iter().collect();
        if let Some(first) = payments.first() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep_until(first.due) => {}
            }
        }
        while !payments.is_empty()
            && payments.len() < most
            && let Some(next) = due.try_recv()
        {
            if next.due > Instant::now() && !self.stop.is_cancelled() {
                due.next = Some(next);
                break;
            }
            payments.push(next);
        }
        payments
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
            drop(buffer.next(1).await);
            assert!(buffer.reserve(60).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_payment_is_checked_four_times_within_the_grace_period() {
        let buffer = buffer(1, 1_000);
        let started = Instant::now();
        assert!(buffer.push(buffer.reserve(1).unwrap(), "early").is_ok());
        let mut checks = Vec::new();
        while let Some(buffered) = buffer.next(9).await.pop() {
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
        assert_eq!(buffer.next(1).await.pop().map(|buffered| buffered.payment), Some("early"));
        assert_eq!(buffer.push(other, "late"), Err("late"));
        assert!(buffer.next(1).await.is_empty());
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn payments_that_are_due_come_together_and_none_before_it_is_due() {
        let buffer = buffer(9, 1_000);
        let started = Instant::now();
        for (name, pause) in [("one", 0), ("two", 0), ("three", 0), ("later", 100), ("last", 300)] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            assert!(buffer.push(buffer.reserve(1).unwrap(), name).is_ok());
        }
        let mut taken = Vec::new();
        for _ in 0..3 {
            let names: Vec<_> = buffer.next(2).await.into_iter().map(|buffered| buffered.payment).collect();
            taken.push((started.elapsed().as_millis(), names));
        }
        assert_eq!(taken, [(500, vec!["one", "two"]), (500, vec!["three"]), (600, vec!["later"])]);
        buffer.stop.cancel();
        assert_eq!(buffer.next(2).await.pop().map(|buffered| buffered.payment), Some("last"));
        assert!(buffer.next(2).await.is_empty());
        assert_eq!(started.elapsed().as_millis(), 600);
    }
}
