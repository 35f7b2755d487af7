//! `ecom_facts verify --shop`: the records of orders and payments, and what they add up to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::stores::ShopStores;
use crate::context::Context;
use crate::exit::CliError;
use crate::output;
use crate::render::screen::Screen;
use crate::render::table::{Column, table};
use crate::wiring::{DataFolder, Store};
use ecom_scenario::RecordedEvent;
use ecom_shop::audit::{ShopAudit, UnitCounts, audit};

/// The records to verify; `None` if they are not asked for.
pub(crate) struct Records(Option<ShopStores>);

/// What the records add up to.
#[derive(Serialize)]
pub(crate) struct RecordsFound {
    #[serde(skip_serializing_if = "Option::is_none")]
    shop: Option<RecordCounts>,
}

/// The records by state, and their differences.
#[derive(Serialize)]
struct RecordCounts {
    orders: BTreeMap<&'static str, u64>,
    payments: BTreeMap<&'static str, u64>,
    transactions_without_order: u64,
    notices: BTreeMap<&'static str, u64>,
    products: u64,
    units: UnitCounts,
    difference_count: u64,
    differences: Vec<String>,
}

impl Records {
    /// Returns what the data folder must be.
    pub(crate) fn folder(is_asked: bool) -> DataFolder {
        match is_asked {
            #[cfg(feature = "shop-embedded")]
            true => DataFolder::MustHaveShop,
            _ => DataFolder::MustExist,
        }
    }

    /// Returns the records of a store, if they are asked for.
    pub(crate) async fn of(_: &Context, store: &Store, is_asked: bool) -> Result<Self, CliError> {
        if !is_asked {
            return Ok(Self(None));
        }
        ShopStores::of(store).await.map(|stores| Self(Some(stores)))
    }

    /// Returns the subscriptions of the shop whose messages are no events.
    pub(crate) fn without_events(&self, context: &Context) -> Vec<String> {
        match &self.0 {
            Some(_) => {
                let subscriptions = &context.config.shop.subscriptions;
                vec![subscriptions.requests.clone(), subscriptions.notices.clone()]
            }
            None => Vec::new(),
        }
    }

    /// Reads all records: the events that they imply, and what they add up to.
    pub(crate) async fn read(
        &self,
        context: &Context,
    ) -> Result<(Vec<RecordedEvent>, RecordsFound), CliError> {
        let Some(stores) = &self.0 else { return Ok((Vec::new(), RecordsFound { shop: None })) };
        let now = context.clock.now_us();
        let (orders, payments) = (stores.orders.as_ref(), stores.payments.as_ref());
        let audit = audit(orders, payments, stores.inventory.as_ref(), now).await?;
        let ShopAudit { orders, payments, transactions, notices, products, units, .. } = audit;
        let ShopAudit { difference_count, differences, events, .. } = audit;
        let counts = RecordCounts {
            orders,
            payments,
            transactions_without_order: transactions,
            notices,
            products,
            units,
            difference_count,
            differences,
        };
        Ok((events, RecordsFound { shop: Some(counts) }))
    }
}

impl RecordsFound {
    /// Returns whether the records add up.
    pub(crate) fn is_clean(&self) -> bool {
        self.shop.as_ref().is_none_or(|counts| counts.difference_count == 0)
    }

    /// Returns the counts as text; empty if the records were not asked for.
    pub(crate) fn text(&self, screen: Screen) -> String {
        let Some(counts) = &self.shop else { return String::new() };
        let rows = |name: &'static str, by_state: &BTreeMap<&'static str, u64>| {
            let row = |(state, count): (&&str, &u64)| {
                [name.to_owned(), state.to_lowercase().replace('_', " "), output::count(*count)]
            };
            by_state.iter().map(row).collect::<Vec<_>>()
        };
        let columns = [Column::left("records"), Column::left("state"), Column::right("count")];
        let rows = [
            rows("orders", &counts.orders),
            rows("payments", &counts.payments),
            rows("confirmations", &counts.notices),
        ]
        .concat();
        let mut text = format!("\n{}\n", table(screen, columns, rows));
        if counts.products > 0 {
            let UnitCounts { stocked, on_hand, reserved, sold } = counts.units;
            let [stocked, on_hand, reserved, sold] = [stocked, on_hand, reserved, sold]
                .map(|units| output::count(u64::try_from(units).unwrap_or(0)));
            text.push_str(&format!(
                "{} products: {stocked} units put in, {sold} sold, {on_hand} on hand, {reserved} of them reserved\n",
                output::count(counts.products)
            ));
        }
        for difference in &counts.differences {
            text.push_str(&format!("{difference}\n"));
        }
        let total = |by_state: &BTreeMap<_, u64>| output::count(by_state.values().sum());
        let (orders, payments) = (total(&counts.orders), total(&counts.payments));
        match counts.difference_count {
            0 => text.push_str(&format!("✓ {orders} orders and {payments} payments add up\n")),
            n => text.push_str(&format!("✗ {} differences in the records\n", output::count(n))),
        }
        text
    }
}
