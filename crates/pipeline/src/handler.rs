//! The contract between a consumer and what its subscription carries: decode a message once, then apply it.

use super::disposition::Disposition;
use super::durable::RoleError;
use ecom_bus::ReceivedMessage;
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;

/// Decodes the messages of one subscription and applies them. Consumers are generic over their handler, so
/// that its futures take no heap block.
pub trait Handler: Send + Sync + 'static {
    /// The result of decoding a message, a rejection included; it may borrow from the message.
    type Event<'m>: Send + Sync;

    /// Decodes a message. Called once per delivery.
    fn decode<'m>(&self, received: &'m ReceivedMessage) -> Decoded<Self::Event<'m>>;

    /// Copies what an event borrows from its message, so that both can be buffered.
    fn into_owned(event: Self::Event<'_>) -> Self::Event<'static>;

    /// Applies a decoded message, or dead-letters it. May be called again after [`Applied::AwaitOrder`].
    fn apply(
        &self,
        received: &ReceivedMessage,
        decoded: &Decoded<Self::Event<'_>>,
    ) -> impl Future<Output = Result<Applied, RoleError>> + Send;

    /// Applies messages together, in few requests to the store. Returns their results in the same order; `None` where
    /// a message is to be applied alone: [`apply`](Self::apply) retries it, and rejects it if need be.
    fn apply_together<'e>(
        &self,
        group: &[(&ReceivedMessage, &Decoded<Self::Event<'e>>)],
    ) -> impl Future<Output = Vec<Option<Applied>>> + Send {
        std::future::ready(group.iter().map(|_| None).collect())
    }

    /// Returns the number of messages that are best applied together; 1 = each alone.
    fn group_size(&self) -> usize {
        1
    }

    /// Called, at least once, when no more messages are received: what [`apply`](Self::apply) waits for without need should
    /// end soon, with [`Applied::GiveBack`].
    fn stopping(&self) {}

    /// Dead-letters a message that was not applied. `decoded` is `None` where decoding itself panicked.
    fn dead_letter(
        &self,
        received: &ReceivedMessage,
        decoded: Option<&Decoded<Self::Event<'_>>>,
        cause: Unapplied,
    ) -> impl Future<Output = Result<Disposition, RoleError>> + Send;
}

/// A decoded message.
#[derive(Clone, PartialEq, Debug)]
pub struct Decoded<E> {
    /// T of its event.
    pub t: EventTime,
    /// The order it belongs to, where that could be read.
    pub order_id: Option<OrderId>,
    /// The event, or its rejection.
    pub event: E,
}

/// The result of applying a message.
#[derive(Debug)]
pub enum Applied {
    /// Its effect is durable.
    Done(Disposition),
    /// Its order is not in the fact table yet.
    AwaitOrder,
    /// It could not be applied yet: it is nacked, and the bus delivers it again.
    GiveBack,
}

/// The cause for which a consumer dead-letters a message that its handler could not finish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unapplied {
    /// Its order did not arrive within the grace period, or the early-payment buffer is full.
    OrderMissing,
    /// The handler panicked on it.
    Panicked,
}
