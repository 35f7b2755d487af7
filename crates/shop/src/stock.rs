//! Reserving, selling and releasing units. The needs of one product that wait in this process are decided together, in one
//! conditional write; a second write of the same product would only lose against the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::mutant::{Mutant, is_active};
use ecom_clock::Entropy;
use ecom_domain::backoff::Backoff;
use ecom_domain::order::OrderId;
use ecom_pipeline::durable::{Retrier, RoleError};
use ecom_shop_domain::inventory::{StockNeed, StockOutcome, decide};
use ecom_shop_store::InventoryStore;

/// The most needs in one write.
const TOGETHER: usize = 32;
/// The writes that may be lost to other processes before this one waits.
const PROMPT_ATTEMPTS: u32 = 3;

/// Decides on the needs of orders, product by product.
pub struct StockKeeper {
    inventory: Arc<dyn InventoryStore>,
    retrier: Arc<Retrier>,
    entropy: Arc<Entropy>,
    products: Mutex<HashMap<String, Arc<Product>>>,
}

/// The needs of a product that wait.
#[derive(Default)]
struct Product {
    waiting: Mutex<Vec<Weak<Waiting>>>,
    /// Held by the one that decides for all.
    deciding: tokio::sync::Mutex<()>,
}

/// A need that waits for as long as somebody waits for its outcome.
struct Waiting {
    order_id: OrderId,
    need: StockNeed,
    /// `None` if there is no such product.
    outcome: OnceLock<Option<StockOutcome>>,
}

impl StockKeeper {
    /// Creates a keeper of this inventory.
    pub fn new(inventory: Arc<dyn InventoryStore>, retrier: Arc<Retrier>, entropy: Arc<Entropy>) -> Self {
        Self { inventory, retrier, entropy, products: Mutex::default() }
    }

    /// Decides on what an order needs of a product, and returns the outcome once it is durable, through outages; `None` if
    /// there is no such product. A need that was met before is met at once.
    pub async fn meet(
        &self,
        sku: &str,
        order_id: OrderId,
        need: StockNeed,
    ) -> Result<Option<StockOutcome>, RoleError> {
        let own = Arc::new(Waiting { order_id, need, outcome: OnceLock::new() });
        let product = self.product(sku);
        product.lock().push(Arc::downgrade(&own));
        let deciding = product.deciding.lock().await;
        while own.outcome.get().is_none() {
            self.decide_together(sku, &product).await?;
        }
        drop(deciding);
        self.forget(sku, product);
        Ok(own.outcome.get().copied().flatten())
    }

    /// Decides on the needs that have waited longest. They wait until they are decided on, so whoever is next decides on
    /// them again if this future is dropped in between.
    async fn decide_together(&self, sku: &str, product: &Product) -> Result<(), RoleError> {
        let group: Vec<Arc<Waiting>> =
            product.lock().iter().filter_map(Weak::upgrade).take(TOGETHER).collect();
        let orders: Vec<OrderId> = group.iter().map(|waiting| waiting.order_id).collect();
        let needs: Vec<_> = group.iter().map(|waiting| (waiting.order_id, waiting.need)).collect();
        let mut lost = 0;
        let outcomes: Vec<Option<StockOutcome>> = loop {
            let found = self.retrier.read(|| self.inventory.stock(sku, &orders)).await?;
            let Some((stock, reservations)) = found else { break vec![None; needs.len()] };
            let (mut change, outcomes) = decide(sku, &stock, &reservations, &needs);
            if let Some(change) = change.as_mut().filter(|_| is_active(Mutant::NoReleaseMark)) {
                change.reservations.retain(|_, reservation| reservation.quantity > 0);
            }
            let is_written = match &change {
                Some(change) => self.retrier.read(|| self.inventory.change_stock(change)).await?,
                None => true,
            };
            if is_written {
                break outcomes.into_iter().map(Some).collect();
            }
            lost += 1;
            if lost >= PROMPT_ATTEMPTS {
                // Sold out is said only of stock that was read and has not changed since, so this goes on.
                let delay = Backoff::IN_PLACE.delay(lost - PROMPT_ATTEMPTS, self.entropy.share());
                tokio::time::sleep(delay).await;
            }
        };
        for (waiting, outcome) in group.iter().zip(outcomes) {
            // Nobody else decides meanwhile.
            let _ = waiting.outcome.set(outcome);
        }
        let waits = |waiting: &Weak<Waiting>| {
            waiting.upgrade().is_some_and(|waiting| waiting.outcome.get().is_none())
        };
        product.lock().retain(waits);
        Ok(())
    }

    fn product(&self, sku: &str) -> Arc<Product> {
        let mut products = self.products.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(products.entry(sku.to_owned()).or_default())
    }

    /// Forgets a product that nobody waits for.
    fn forget(&self, sku: &str, product: Arc<Product>) {
        let mut products = self.products.lock().unwrap_or_else(PoisonError::into_inner);
        // This one and the one in the map.
        if Arc::strong_count(&product) <= 2 {
            products.remove(sku);
        }
    }
}

impl Product {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
