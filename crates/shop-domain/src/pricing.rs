//! Prices of lines of products, and their totals.

use super::inventory::Product;
use super::money::{Currency, MAX_MINOR};
use super::order::OrderLine;

/// Units of a product that somebody wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WantedLine {
    /// The product.
    pub sku: String,
    /// The units; positive.
    pub quantity: i64,
    /// When the line of a cart was written that it comes from, in microseconds since the epoch.
    pub in_cart_since: Option<i64>,
}

/// Lines with their prices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Priced {
    /// The lines, in the order in which they were wanted.
    pub lines: Vec<OrderLine>,
    /// The currency of all amounts.
    pub currency: Currency,
    /// The units of all lines together.
    pub item_count: i64,
    /// The price of all lines together, in minor units.
    pub merchandise_minor: i64,
    /// The shipping fee, in minor units.
    pub shipping_minor: i64,
}

impl Priced {
    /// Returns the amount to be paid, in minor units.
    pub fn total_minor(&self) -> i64 {
        self.merchandise_minor + self.shipping_minor
    }
}

/// The reason that lines have no price.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PricingError {
    /// There are no lines.
    Empty,
    /// The line at this place has another currency than the first one.
    Currencies(usize),
    /// The total is above the largest amount.
    TooExpensive,
}

/// Prices lines, each with its product.
///
/// # Errors
/// No lines, several currencies, or a total that is too large.
pub fn price(wanted: &[(WantedLine, Product)], shipping_fee: i64) -> Result<Priced, PricingError> {
    let (_, first) = wanted.first().ok_or(PricingError::Empty)?;
    let (mut merchandise, mut item_count) = (0_i128, 0_i64);
    let mut lines = Vec::with_capacity(wanted.len());
    for (at, (line, product)) in wanted.iter().enumerate() {
        if product.currency != first.currency {
            return Err(PricingError::Currencies(at));
        }
        merchandise += i128::from(product.price_minor) * i128::from(line.quantity);
        item_count = item_count.saturating_add(line.quantity);
        lines.push(OrderLine {
            item: product.name.clone(),
            sku: Some(line.sku.clone()),
            in_cart_since: line.in_cart_since,
            quantity: line.quantity,
            unit_price_minor: Some(product.price_minor),
        });
    }
    let merchandise = i64::try_from(merchandise).ok().filter(|sum| *sum <= MAX_MINOR - shipping_fee);
    let merchandise_minor = merchandise.ok_or(PricingError::TooExpensive)?;
    Ok(Priced {
        lines,
        currency: first.currency,
        item_count,
        merchandise_minor,
        shipping_minor: shipping_fee,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;
    use crate::inventory::Stock;

    fn product(sku: &str, price_minor: i64, currency: &str) -> Product {
        let stock = Stock { on_hand: 1, reserved: 0, stocked: 1, version: 1 };
        let currency = Currency::try_new(currency).unwrap();
        Product { sku: sku.into(), name: format!("Product {sku}"), price_minor, currency, stock }
    }

    fn wanted(sku: &str, quantity: i64) -> WantedLine {
        WantedLine { sku: sku.into(), quantity, in_cart_since: None }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// The oracle adds decimals up, line by line.
        #[test]
        fn the_total_of_any_cart_is_that_of_decimal_arithmetic(
            lines in prop::collection::vec((0_i64..10_000_000, 1_i64..1_000), 1..20),
            code in prop::sample::select(vec!["USD", "JPY", "KWD"]),
            shipping in 0_i64..2_000,
        ) {
            let cart: Vec<_> = lines
                .iter()
                .enumerate()
                .map(|(n, (price, quantity))| {
                    let sku = n.to_string();
                    (wanted(&sku, *quantity), product(&sku, *price, code))
                })
                .collect();
            let priced = price(&cart, shipping).unwrap();
            let currency = Currency::try_new(code).unwrap();
            let decimal = |minor: i64| currency.format(minor).parse::<Decimal>().unwrap();
            let sum: Decimal = lines.iter().map(|(price, quantity)| decimal(*price) * Decimal::from(*quantity)).sum();
            prop_assert_eq!(decimal(priced.merchandise_minor), sum);
            prop_assert_eq!(decimal(priced.total_minor()), sum + decimal(shipping));
            prop_assert_eq!(priced.item_count, lines.iter().map(|(_, quantity)| quantity).sum::<i64>());
        }
    }

    #[test]
    fn lines_of_several_currencies_or_above_the_largest_amount_have_no_price() {
        let line = |currency: &str, price| (wanted("A", 1_000), product("A", price, currency));
        assert_eq!(price(&[], 10), Err(PricingError::Empty));
        assert_eq!(price(&[line("USD", 1), line("EUR", 1)], 10), Err(PricingError::Currencies(1)));
        assert!(price(&[line("USD", MAX_MINOR / 1_000 - 1)], 1_000).is_ok());
        assert_eq!(price(&[line("USD", MAX_MINOR / 1_000)], 1), Err(PricingError::TooExpensive));
        assert_eq!(price(&[line("USD", i64::MAX)], 1), Err(PricingError::TooExpensive));
    }
}
