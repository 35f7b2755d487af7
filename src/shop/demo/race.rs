//! The race of the story: more buyers than units.

use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;

use crate::exit::CliError;
use crate::shop::stores::ShopStores;
use ecom_shop_domain::inventory::ReservationState;
use ecom_shop_load::client::ApiClient;
use ecom_shop_store::ReadGuarantee;

/// The buyers, each of whom wants one unit.
pub(super) const BUYERS: i64 = 200;
/// The units that are there.
pub(super) const UNITS: i64 = 100;
/// The product.
const SKU: &str = "HEADPHONES";
/// The wait before a request without a clear answer is repeated.
const RETRY: Duration = Duration::from_millis(100);

/// The end of the race.
#[derive(Serialize)]
pub(super) struct Race {
    pub(super) buyers: i64,
    pub(super) units: i64,
    /// Buyers whose unit has left.
    pub(super) sold: i64,
    /// Buyers who were refused.
    pub(super) refused: i64,
    /// Units that are still there.
    left: i64,
    /// Units that are still reserved.
    reserved: i64,
    pub(super) faults: Vec<String>,
}

impl Race {
    /// Returns whether exactly as many buyers have a unit as there were.
    pub(super) fn is_clean(&self) -> bool {
        let is_sold_out = self.sold == self.units && self.refused == self.buyers - self.units;
        is_sold_out && self.left == 0 && self.reserved == 0 && self.faults.is_empty()
    }
}

/// Puts the units on sale and lets all buyers order at once; returns what was wrong with answers.
pub(super) async fn buy(client: &ApiClient) -> Vec<String> {
    let product = json!({"name": "Headphones", "price": 129, "on_hand": UNITS});
    match client.put(&format!("/api/v1/products/{SKU}"), &product).await {
        Ok(put) if put.status.is_success() => {}
        Ok(put) => return vec![format!("{SKU}: {} {}", put.status, put.body)],
        Err(error) => return vec![error.to_string()],
    }
    let buyers = (1..=BUYERS).map(|buyer| async move {
        let order = json!({
            "customer_id": buyer, "lines": [{"sku": SKU, "quantity": 1}],
            "shipping_address": format!("{buyer} Main St"), "email": format!("buyer-{buyer}@example.com"),
            "payment_method": "Test: succeed",
        });
        let key = format!("buyer-{buyer}");
        loop {
            match client.post("/api/v1/orders", &key, &order).await {
                Ok(answer) if answer.status.is_success() => return None,
                Ok(answer) if !answer.may_be_repeated() => {
                    return Some(format!("{key}: {} {}", answer.status, answer.body));
                }
                Ok(_) | Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    });
    join_all(buyers).await.into_iter().flatten().collect()
}

/// Returns what the inventory says about the race.
pub(super) async fn outcome(stores: &ShopStores, faults: Vec<String>) -> Result<Race, CliError> {
    let product = stores.inventory.product(SKU, ReadGuarantee::Linearizable).await?;
    let (left, reserved) =
        product.map_or((UNITS, 0), |product| (product.stock.on_hand, product.stock.reserved));
    let (mut sold, mut refused) = (0, 0);
    let mut reservations = stores.inventory.reservations();
    while let Some((_, _, reservation)) = reservations.try_next().await? {
        match reservation.state {
            ReservationState::Sold => sold += reservation.quantity,
            ReservationState::Released => refused += 1,
            ReservationState::Reserved => {}
        }
    }
    Ok(Race { buyers: BUYERS, units: UNITS, sold, refused, left, reserved, faults })
}
