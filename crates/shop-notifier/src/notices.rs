//! The notices topic: each message points to an order whose customer is to be told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::confirmation::Confirmation;
use super::sender::{SendError, Sender};
use ecom_bus::ReceivedMessage;
use ecom_card_numbers::mask_text;
use ecom_clock::{Clock, LogThrottle};
use ecom_codec::Rejection;
use ecom_codec::event::{CleanEvent, RejectedBody, SourceEvent, screened};
use ecom_codec::screen::ScreenedBody;
use ecom_domain::backoff::Backoff;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_pipeline::dead_letter_publisher::DeadLetterPublisher;
use ecom_pipeline::disposition::Disposition;
use ecom_pipeline::durable::{Retrier, RoleError};
use ecom_pipeline::handler::{Applied, Decoded, Handler, Unapplied};
use ecom_pipeline::order_locks::OrderLocks;
use ecom_shop_domain::notice::{Notice, NoticeOutcome, NoticeRequest};
use ecom_shop_domain::order::OrderRecord;
use ecom_shop_store::{OrderStore, ReadGuarantee};

/// The shortest time between two warnings about undeliverable confirmations.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// The time after which a confirmation that waits to be sent again is given back to the bus. Pub/Sub keeps a delivery for at
/// most an hour, and then delivers it a second time beside this one.
const HELD: Duration = Duration::from_secs(30 * 60);
/// The text that replaces the customer's e-mail address in errors.
const RECIPIENT: &str = "<recipient>";

/// The ports and settings of a notifier.
pub struct NotifierDeps {
    /// Records of orders.
    pub orders: Arc<dyn OrderStore>,
    /// Sends the confirmations.
    pub sender: Arc<dyn Sender>,
    /// The time limit of an attempt.
    pub timeout: Duration,
    /// The most confirmations that are being sent at the same time, at least 1. Those that wait to be sent again do not count.
    pub concurrency: usize,
    /// The dead-letter topic.
    pub dead_letters: DeadLetterPublisher,
    /// Retries calls of bus and store through outages.
    pub retrier: Arc<Retrier>,
    /// Paces the attempts of each confirmation, with [`backoff`].
    pub sending: Retrier,
    /// Wall time.
    pub clock: Clock,
}

/// Confirms the orders that the messages of the notices topic point to. A message that is no request, or that points to
/// nothing, becomes a dead letter. A confirmation that its receiver does not take now is sent again for as long as it takes;
/// meanwhile others are sent.
pub struct Notices {
    deps: NotifierDeps,
    /// Two deliveries of one message do not send at the same time.
    locks: OrderLocks,
    sending: Semaphore,
    warnings: Mutex<LogThrottle>,
    stopping: CancellationToken,
}

/// The outcome of an attempt.
enum Attempt {
    /// The record says what came of it, or there was nothing to do.
    Done(Disposition),
    /// It is to be repeated.
    Failed(SendError),
    /// There is no such order.
    NoOrder,
}

/// Returns the waits between the attempts to send a confirmation: up to a minute, because a receiver that wants it later is
/// not helped by haste.
pub fn backoff() -> Backoff {
    Backoff::try_new(Duration::from_secs(1), Duration::from_secs(60)).unwrap_or(Backoff::IN_PLACE)
}

impl Notices {
    /// Returns the handler of the notices topic.
    pub fn new(deps: NotifierDeps) -> Self {
        let sending = Semaphore::new(deps.concurrency.max(1));
        Self {
            deps,
            locks: OrderLocks::new(),
            sending,
            warnings: Mutex::new(LogThrottle::every(WARN_EVERY)),
            stopping: CancellationToken::new(),
        }
    }

    /// Makes attempts until one is answered for good, the role stops, or it has taken [`HELD`]; `None` if there is no such
    /// order.
    async fn confirm(&self, request: NoticeRequest) -> Result<Option<Applied>, RoleError> {
        let order_id = OrderId(request.order_id);
        let (since, mut failed) = (Instant::now(), 0);
        loop {
            let attempt = {
                let _lock = self.locks.lock(order_id).await;
                let _permit = self.sending.acquire().await;
                self.attempt(request, order_id).await?
            };
            let error = match attempt {
                Attempt::Done(disposition) => {
                    self.deps.sending.recovered(failed);
                    return Ok(Some(Applied::Done(disposition)));
                }
                Attempt::NoOrder => return Ok(None),
                Attempt::Failed(error) => error,
            };
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return Ok(Some(Applied::GiveBack)),
                () = self.deps.sending.wait(failed, &error) => {}
            }
            if since.elapsed() >= HELD {
                return Ok(Some(Applied::GiveBack));
            }
            failed += 1;
        }
    }

    /// Sends the confirmation once, unless the record says that nothing is left to do, and writes what came of it.
    async fn attempt(&self, request: NoticeRequest, order_id: OrderId) -> Result<Attempt, RoleError> {
        let NotifierDeps { orders, retrier, clock, .. } = &self.deps;
        let read = || orders.order(order_id, ReadGuarantee::Linearizable);
        let (Some(order), seen) = retrier.evidence(read).await? else { return Ok(Attempt::NoOrder) };
        let before = order.notice.as_ref();
        if request.is_met_by(before) || !order.state.is_paid() {
            return Ok(Attempt::Done(Disposition::AlreadyApplied(seen)));
        }
        let outcome = if order.document.email.is_none() && self.deps.sender.needs_email() {
            NoticeOutcome::NotNeeded("the order has no e-mail address".to_owned())
        } else {
            match self.send(&order, request).await {
                Ok(()) => NoticeOutcome::Sent,
                Err(SendError::Permanent(cause)) => {
                    self.warn(order_id, &cause);
                    NoticeOutcome::Undeliverable(cause)
                }
                Err(error @ SendError::Retryable(_)) => {
                    let what =
                        |cause| format!("could not send the confirmation of order {order_id}: {cause}");
                    return Ok(Attempt::Failed(error.map(what)));
                }
            }
        };
        let notice = Notice::new(outcome, before, clock.now_us());
        let write = || orders.set_notice(order_id, before, &notice);
        let (_, written) = retrier.evidence(write).await?;
        Ok(Attempt::Done(Disposition::Applied(written)))
    }

    async fn send(&self, order: &OrderRecord, request: NoticeRequest) -> Result<(), SendError> {
        let NotifierDeps { sender, timeout, clock, sending, .. } = &self.deps;
        let confirmation = Confirmation { order, again_after: request.again_after, at: clock.now_us() };
        let limited = async {
            let sent = tokio::time::timeout(*timeout, sender.send(&confirmation)).await;
            sent.unwrap_or_else(|_| Err(SendError::Retryable(format!("no answer within {timeout:?}"))))
        };
        let sent = sending.sending().attempt(limited, SendError::is_retryable).await;
        sent.map_err(|error| error.map(|cause| without_personal_data(&cause, order)))
    }

    fn warn(&self, order_id: OrderId, cause: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(others) = warnings.admit(Instant::now()) {
            tracing::warn!(
                others_since_the_last_warning = others,
                "the confirmation of order {order_id} is undeliverable: {cause}"
            );
        }
    }
}

impl Handler for Notices {
    type Event<'m> = SourceEvent<'m, NoticeRequest>;

    fn decode<'m>(&self, received: &'m ReceivedMessage) -> Decoded<Self::Event<'m>> {
        let body = &received.message.body;
        let request = NoticeRequest::decode(body).map_err(|cause| invalid(cause, None));
        let event = screened(body, request, |request| (Some(OrderId(request.order_id)), None));
        let order_id = event.as_ref().ok().map(|request| OrderId(request.event.order_id));
        Decoded { t: received.event_time(), order_id, event }
    }

    fn into_owned(event: Self::Event<'_>) -> Self::Event<'static> {
        event.map(|request| request.into_owned(|request| request)).map_err(RejectedBody::into_owned)
    }

    async fn apply(
        &self,
        received: &ReceivedMessage,
        decoded: &Decoded<Self::Event<'_>>,
    ) -> Result<Applied, RoleError> {
        let (rejection, body) = match &decoded.event {
            Ok(CleanEvent { event: request, body }) => match self.confirm(*request).await? {
                Some(applied) => return Ok(applied),
                None => {
                    let detail = "there is no order with this id".to_owned();
                    (invalid(detail, Some(*request)), ScreenedBody::Clean(body.clone()))
                }
            },
            Err(RejectedBody { rejection, body }) => (rejection.clone(), body.clone()),
        };
        let NotifierDeps { dead_letters, retrier, .. } = &self.deps;
        dead_letters.publish(retrier, received, &rejection, body).await.map(Applied::Done)
    }

    fn stopping(&self) {
        self.stopping.cancel();
    }

    async fn dead_letter(
        &self,
        received: &ReceivedMessage,
        decoded: Option<&Decoded<Self::Event<'_>>>,
        cause: Unapplied,
    ) -> Result<Disposition, RoleError> {
        let order_id = decoded.and_then(|decoded| decoded.order_id);
        let clean = decoded.and_then(|decoded| decoded.event.as_ref().ok()).map(|request| &request.body);
        let NotifierDeps { dead_letters, retrier, .. } = &self.deps;
        dead_letters.publish_unapplied(retrier, received, clean, cause, order_id, None).await
    }
}

fn invalid(detail: String, request: Option<NoticeRequest>) -> Rejection {
    let order_id = request.map(|request| OrderId(request.order_id));
    Rejection { reason: Reason::Invalid, detail, order_id, payment_id: None }
}

/// Returns a cause, which may quote what was sent, without the customer's address and without card numbers: it is logged,
/// and kept in the record.
fn without_personal_data(cause: &str, order: &OrderRecord) -> String {
    let cause = match order.document.email.as_deref().map(str::trim) {
        Some(email) if !email.is_empty() => cause.replace(email, RECIPIENT),
        Some(_) | None => cause.to_owned(),
    };
    mask_text(&cause).into_owned()
}
