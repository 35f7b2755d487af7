//! Counts over all orders. They are counted anew when the last ones are old, by one request at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::problem::Problem;
use ecom_clock::Clock;
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_store::OrderStore;
use ecom_telemetry::quantiles::Quantiles;

/// The shortest time between the ends of two counts; more if counting takes long.
const SHORTEST_AGE: Duration = Duration::from_secs(1);
/// The time between two counts, as a multiple of the time that the last one took.
const REST: u32 = 10;

/// The last counts.
#[derive(Default)]
pub(crate) struct Census(Mutex<Option<(Arc<OrderCounts>, Instant, Duration)>>);

/// Counts over all orders.
#[derive(Debug)]
pub(crate) struct OrderCounts {
    /// Orders by status.
    pub(crate) by_status: BTreeMap<&'static str, u64>,
    /// The number of completed orders, and the sum of the microseconds from created to completed.
    completed: (i64, i128),
    /// The times from created to completed.
    times: Quantiles,
    /// When the counting began, in microseconds since the epoch.
    pub(crate) as_of: i64,
}

impl Census {
    /// Returns the counts, at most a few seconds old.
    pub(crate) async fn get(
        &self,
        orders: &dyn OrderStore,
        clock: Clock,
    ) -> Result<Arc<OrderCounts>, Problem> {
        let mut last = self.0.lock().await;
        if let Some((counts, ended, age)) = last.as_ref()
            && ended.elapsed() < *age
        {
            return Ok(Arc::clone(counts));
        }
        let began = Instant::now();
        let by_status = OrderState::ALL.map(|state| (state.status(), 0)).into();
        let (times, as_of) = (Quantiles::new(), clock.now_us());
        let mut counts = OrderCounts { by_status, completed: (0, 0), times, as_of };
        let mut all = orders.orders();
        while let Some(order) = all.try_next().await? {
            counts.add(&order);
        }
        let counts = Arc::new(counts);
        *last = Some((Arc::clone(&counts), Instant::now(), SHORTEST_AGE.max(began.elapsed() * REST)));
        Ok(counts)
    }
}

impl OrderCounts {
    fn add(&mut self, order: &OrderRecord) {
        *self.by_status.entry(order.state.status()).or_default() += 1;
        if order.state == OrderState::Completed {
            let took = order.state_at - order.created_at;
            self.completed = (self.completed.0 + 1, self.completed.1 + i128::from(took));
            self.times.observe(Duration::from_micros(u64::try_from(took).unwrap_or_default()));
        }
    }

    /// Returns the number of orders.
    pub(crate) fn total(&self) -> u64 {
        self.by_status.values().sum()
    }

    /// Returns the mean time from created to completed, in seconds; `None` before the first.
    pub(crate) fn average_seconds(&self) -> Option<f64> {
        let (count, sum) = self.completed;
        (count > 0).then(|| sum as f64 / count as f64 / 1e6)
    }

    /// Returns a time that this share of the completed orders did not exceed, in seconds; `None` before the first.
    pub(crate) fn quantile_seconds(&self, share: f64) -> Option<f64> {
        (self.completed.0 > 0).then(|| self.times.at(share).as_secs_f64())
    }
}
