//! An order: validate, record at T until definite success, ack.

use std::sync::Arc;

use super::consume::Handler;
use super::dead_letter_publisher::{DeadLetterPublisher, panicked};
use super::disposition::{Disposition, Handled};
use super::durable::{Retrier, RoleError};
use ecom_bus::ReceivedMessage;
use ecom_codec::json;
use ecom_store::FactStore;
use ecom_telemetry::metrics::StoreOperation;

/// Applies order messages.
pub struct Orders {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// Where rejects go.
    pub dead_letters: DeadLetterPublisher,
    /// How outages are waited out.
    pub retrier: Arc<Retrier>,
}

impl Handler for Orders {
    async fn handle(&self, received: &ReceivedMessage, _may_hold: bool) -> Result<Handled, RoleError> {
        let order = match json::order(&received.message.body) {
            Ok(order) => order,
            Err(rejection) => {
                let settled = self.dead_letters.publish(&self.retrier, received, rejection).await?;
                return Ok(Handled::Settled(settled));
            }
        };
        let t = received.event_time();
        let durable = self
            .retrier
            .storing(StoreOperation::RecordOrder)
            .write(|| self.facts.record_order(&order, t))
            .await?;
        Ok(Handled::Settled(Disposition::Applied(durable)))
    }

    async fn panicked(&self, received: &ReceivedMessage) -> Result<Disposition, RoleError> {
        self.dead_letters.publish(&self.retrier, received, panicked()).await
    }
}
