//! An order: validate, record at T until definite success, ack.

use std::sync::Arc;

use super::consume::Handler;
use super::dead_letters::{DeadLetters, panicked};
use super::durable::{Halt, Retrying};
use super::settlement::{Settlement, Step};
use ecom_bus::Received;
use ecom_codec::json;
use ecom_store::FactStore;
use ecom_telemetry::metrics::Operation;

/// Applies order messages.
pub struct Orders {
    /// The fact table.
    pub facts: Arc<dyn FactStore>,
    /// Where rejects go.
    pub dead_letters: DeadLetters,
    /// How outages are waited out.
    pub retrying: Arc<Retrying>,
}

impl Handler for Orders {
    async fn handle(&self, received: &Received, _may_hold: bool) -> Result<Step, Halt> {
        let order = match json::order(&received.message.body) {
            Ok(order) => order,
            Err(rejection) => {
                let settled = self.dead_letters.publish(&self.retrying, received, rejection).await?;
                return Ok(Step::Settled(settled));
            }
        };
        let t = received.event_time();
        let durable = self
            .retrying
            .storing(Operation::RecordOrder)
            .write(|| self.facts.record_order(&order, t))
            .await?;
        Ok(Step::Settled(Settlement::Applied(durable)))
    }

    async fn panicked(&self, received: &Received) -> Result<Settlement, Halt> {
        self.dead_letters.publish(&self.retrying, received, panicked()).await
    }
}
