//! Products, carts and checkouts of a world, and a payment processor for them.

use std::collections::BTreeMap;
use std::time::Duration;

use ecom_shop_domain::inventory::{Product, Shortage, Stock, StockNeed, StockOutcome, decide};
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::order::{Evidence, NextMove, OrderState};
use ecom_shop_domain::policy::OrderPolicy;
use serde_json::{Value, json};

use super::answer::Answer;
use super::world::{Call, World};

pub(crate) const PRODUCTS: &str = "/api/v1/products";
pub(crate) const CART: &str = "/api/v1/cart";
pub(crate) const CHECKOUT: &str = "/api/v1/checkout";
pub(crate) const PREVIEW: &str = "/api/v1/checkout/preview";

impl World {
    /// Fills the inventory with a product at this price in USD.
    pub(crate) fn stock(&self, sku: &str, price_minor: i64, on_hand: i64) {
        let stock = Stock { on_hand, reserved: 0, stocked: on_hand, version: 1 };
        let currency = Currency::try_new("USD").unwrap();
        let (sku, name) = (sku.to_owned(), format!("The {sku}"));
        let product = Product { sku: sku.clone(), name, price_minor, currency, stock };
        self.shop.tables().products.insert(sku, product);
    }

    /// Puts units of a product into the cart of customer 7.
    pub(crate) async fn put_into_cart(&self, sku: &str, quantity: i64) {
        let body = json!({"customer_id": 7, "quantity": quantity});
        let answer = self.send(Call::put(format!("{CART}/{sku}")).by("shop").json(&body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Returns the cart of customer 7: SKUs and quantities.
    pub(crate) fn cart(&self) -> Vec<(String, i64)> {
        let tables = self.shop.tables();
        let own = tables.carts.iter().filter(|((customer, _), _)| *customer == 7);
        own.filter_map(|((_, sku), (quantity, _))| Some((sku.clone(), (*quantity)?))).collect()
    }

    /// Does what the payment processor does with the orders that were accepted: reserves their units and places them, or
    /// refuses them for a shortage.
    pub(crate) fn process(&self) {
        let mut tables = self.shop.tables();
        let tables = &mut *tables;
        for order in tables.orders.values_mut().filter(|order| order.state == OrderState::Accepted) {
            let mut changes = Vec::new();
            let mut shortage = None;
            for (sku, wanted) in order.needs() {
                let short = |available| Shortage { sku: sku.to_owned(), wanted, available };
                let Some(product) = tables.products.get(sku) else {
                    shortage = Some(short(0));
                    break;
                };
                let needs = [(order.order_id, StockNeed::Reserve(wanted))];
                let (change, outcomes) = decide(sku, &product.stock, &BTreeMap::new(), &needs);
                if let [StockOutcome::Short { available }] = outcomes[..] {
                    shortage = Some(short(available));
                    break;
                }
                changes.extend(change);
            }
            let evidence = Evidence { shortage: shortage.as_ref(), ..Evidence::default() };
            if shortage.is_none() {
                for change in changes {
                    tables.products.get_mut(&change.sku).unwrap().stock = change.stock;
                    let rows = change.reservations.into_iter();
                    tables.reservations.extend(rows.map(|(id, row)| ((change.sku.clone(), id), row)));
                }
            }
            let NextMove::To(next) = order.next(evidence, &OrderPolicy::default(), order.state_at + 1) else {
                panic!("it waits");
            };
            *order = *next;
            let in_cart = order.document.lines.iter().filter(|_| order.state != OrderState::Refused);
            for line in in_cart {
                let (Some(sku), Some(since)) = (&line.sku, line.in_cart_since) else { continue };
                let stored = tables.carts.get_mut(&(order.customer_id, sku.clone())).unwrap();
                if stored.1 <= since {
                    *stored = (None, since);
                }
            }
        }
    }

    /// Processes orders for as long as a request is answered.
    pub(crate) async fn send_and_process(&self, call: Call) -> Answer {
        let processing = async {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                self.process();
            }
        };
        tokio::select! {
            biased;
            answer = self.send(call) => answer,
            () = processing => unreachable!("it has no end"),
        }
    }
}

/// An order of customer 7 of two laptops of the inventory.
pub(crate) fn order_of_products() -> Value {
    json!({
        "customer_id": 7,
        "lines": [{"sku": "LAPTOP", "quantity": 2}],
        "shipping_address": "1 Main St",
    })
}

/// A checkout of customer 7 of two laptops that is paid at once.
pub(crate) fn checkout() -> Value {
    let mut order = order_of_products();
    order["email"] = json!("ada@example.com");
    order["payment_method"] = json!("Credit Card");
    order["card_last_four"] = json!("4242");
    order["expected_total"] = json!(2008.00);
    order
}

/// A product.
pub(crate) fn laptop() -> Value {
    json!({"name": "Laptop", "price": 999.00, "currency": "USD", "on_hand": 3})
}

/// The quantity of a line of the cart of customer 7.
pub(crate) fn two() -> Value {
    json!({"customer_id": 7, "quantity": 2})
}
