//! The role `payment_processor`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::stores::ShopStores;
use crate::admin::run_with_admin;
use crate::cli;
use crate::context::Context;
use crate::exit::{CliError, Exit};
use crate::role_handle::RoleHandle;
use crate::roles::{RoleDeps, START, supervise};
use crate::setup::{self, Rights};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::role::RoleName;
use ecom_shop::due::{self, DueQueue};
use ecom_shop::events::EventPublisher;
use ecom_shop::gateway::SimulatedGateway;
use ecom_shop::processor::PaymentProcessor;
use ecom_shop::requests::Requests;
use ecom_shop::stock::StockKeeper;

/// The name of the role.
pub(crate) const ROLE: RoleName = RoleName::new("payment_processor");

/// Runs `payment_processor`.
pub(crate) async fn main(context: Context, cli: &cli::PaymentProcessor) -> Result<Exit, CliError> {
    if context.common.check {
        return setup::check(&context, Rights::Of(ROLE)).await;
    }
    let context = context.of_role();
    let handle = RoleHandle::new(ROLE, &context);
    let processing = async {
        let deps = RoleDeps::connect(&context, cli.consumer.bounds.bounds()).await?;
        let stores = ShopStores::of(&deps.store).await?;
        supervise(&context, &deps, &handle, deps.process_payments(&handle, stores)).await
    };
    run_with_admin(&context, &[&handle], processing).await
}

impl RoleDeps {
    /// Processes orders and payments until stopped or a stop condition is met.
    pub(crate) async fn process_payments(
        &self,
        handle: &RoleHandle,
        stores: ShopStores,
    ) -> Result<(), CliError> {
        let (shop, topics) = (&self.config.shop, &self.config.bus.topics);
        let source = shop.subscriptions.requests.clone();
        let (due, new_timers) = DueQueue::channel();
        let retrier = Arc::clone(&handle.retrier);
        let processor = Arc::new(PaymentProcessor {
            orders: stores.orders,
            payments: stores.payments,
            stock: StockKeeper::new(stores.inventory, Arc::clone(&retrier), Arc::clone(&self.entropy)),
            carts: stores.carts,
            events: EventPublisher {
                orders: self.publisher(&topics.orders).await?,
                payments: self.publisher(&topics.payments).await?,
                notices: self.publisher(&shop.topics.notices).await?,
                retrier: Arc::clone(&retrier),
            },
            requests: self.publisher(&shop.topics.requests).await?,
            gateway: Arc::new(SimulatedGateway {
                seed: shop.processor.seed,
                success_rate: shop.processor.success_rate,
            }),
            payment_delay: shop.processor.payment_delay.unwrap_or_default(),
            policy: shop.policy(),
            due,
            retrier,
            clock: self.clock,
        });
        // A request is about an order, or about a payment without one.
        let dead_letters = self.dead_letter_publisher(EventKind::Order, &source, handle).await?;
        let requests = Requests { processor: Arc::clone(&processor), dead_letters };
        let due_stop = CancellationToken::new();
        let receiving = async {
            let received = self.consume(requests, &source, START, None, handle).await;
            due_stop.cancel();
            received
        };
        let waiting = async {
            let waited = due::run(&processor, new_timers, due_stop.clone()).await;
            if waited.is_err() {
                self.stop.cancel();
            }
            waited.map_err(CliError::from)
        };
        let (received, waited) = tokio::join!(receiving, waiting);
        received.and(waited)
    }
}
