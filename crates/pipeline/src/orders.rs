//! Order events: validate, write the order columns at T until that definitely succeeds, ack.

use std::sync::Arc;

use super::dead_letter_publisher::DeadLetterPublisher;
use super::disposition::Disposition;
use super::durable::{Retrier, RoleError};
use super::handler::{Applied, Decoded, Handler, Unapplied};
use ecom_bus::ReceivedMessage;
use ecom_codec::event::{self, RejectedBody, SourceEvent};
use ecom_domain::order::Order;
use ecom_store::FactStore;
use ecom_telemetry::metrics::StoreOperation;

/// Applies order events.
pub struct Orders {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// The dead-letter topic.
    pub dead_letters: DeadLetterPublisher,
    /// Retries calls through outages.
    pub retrier: Arc<Retrier>,
}

impl Handler for Orders {
    type Event<'m> = SourceEvent<'m, Order<'m>>;

    #[inline]
    fn decode<'m>(&self, received: &'m ReceivedMessage) -> Decoded<Self::Event<'m>> {
        let event = event::order(&received.message.body);
        let order_id = match &event {
            Ok(order) => Some(order.event.order_id),
            Err(rejected) => rejected.rejection.order_id,
        };
        Decoded { t: received.event_time(), order_id, event }
    }

    fn into_owned(event: Self::Event<'_>) -> Self::Event<'static> {
        event.map(|order| order.into_owned(Order::into_owned)).map_err(RejectedBody::into_owned)
    }

    async fn apply(
        &self,
        received: &ReceivedMessage,
        decoded: &Decoded<Self::Event<'_>>,
    ) -> Result<Applied, RoleError> {
        let order = match &decoded.event {
            Ok(order) => &order.event,
            Err(rejected) => {
                let RejectedBody { rejection, body } = rejected;
                let published = self.dead_letters.publish(&self.retrier, received, rejection, body.clone());
                return published.await.map(Applied::Done);
            }
        };
        let storing = self.retrier.storing(StoreOperation::RecordOrder);
        let durable = storing.write(|| self.facts.record_order(order, decoded.t)).await?;
        Ok(Applied::Done(Disposition::Applied(durable)))
    }

    async fn apply_together<'e>(
        &self,
        group: &[(&ReceivedMessage, &Decoded<Self::Event<'e>>)],
    ) -> Vec<Option<Applied>> {
        let valid = group.iter().filter_map(|(_, decoded)| Some((decoded.event.as_ref().ok()?, decoded.t)));
        let orders: Vec<_> = valid.map(|(order, t)| (&order.event, t)).collect();
        let storing = self.retrier.storing(StoreOperation::RecordOrder);
        let durable =
            storing.try_write(self.facts.record_orders(&orders), |place| group[place].1.event.is_ok()).await;
        let applied = || durable.clone().map(|durable| Applied::Done(Disposition::Applied(durable)));
        group.iter().map(|(_, decoded)| decoded.event.as_ref().ok().and_then(|_| applied())).collect()
    }

    fn group_size(&self) -> usize {
        self.facts.group_size()
    }

    async fn dead_letter(
        &self,
        received: &ReceivedMessage,
        decoded: Option<&Decoded<Self::Event<'_>>>,
        cause: Unapplied,
    ) -> Result<Disposition, RoleError> {
        let order_id = decoded.and_then(|decoded| decoded.order_id);
        let clean = decoded.and_then(|decoded| decoded.event.as_ref().ok()).map(|order| &order.body);
        self.dead_letters.publish_unapplied(&self.retrier, received, clean, cause, order_id, None).await
    }
}
