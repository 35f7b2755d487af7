//! Prices of lines of products, and their totals.

use rust_decimal::{Decimal, RoundingStrategy};

use super::inventory::Product;
use super::money::{Currency, MAX_MINOR};
use super::order::OrderLine;

/// The largest shipping fee, in whole units of a currency.
const MAX_FEE: i64 = 1_000_000;
/// The most decimals of a shipping fee: no currency has more.
const MAX_FEE_DECIMALS: u32 = 4;

/// The fee for shipping an order, in whole units of the order's currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShippingFee(Decimal);

impl ShippingFee {
    /// Reads a decimal text.
    ///
    /// # Errors
    /// The range, where the text is not a decimal in it.
    pub fn try_new(text: &str) -> Result<Self, String> {
        let fee = Decimal::from_str_exact(text).ok().map(|fee| fee.normalize());
        let is_fee = |fee: &Decimal| {
            (Decimal::ZERO..=Decimal::from(MAX_FEE)).contains(fee) && fee.scale() <= MAX_FEE_DECIMALS
        };
        fee.filter(is_fee).map(Self).ok_or_else(|| {
            format!(
                "must be a decimal from 0 to {MAX_FEE} with at most {MAX_FEE_DECIMALS} decimals, is {text:?}"
            )
        })
    }

    /// Returns the fee in minor units of a currency, rounded up where the currency has fewer decimals.
    pub fn minor(self, currency: Currency) -> i64 {
        let rounded = (0..=self.0.scale())
            .rev()
            .map(|decimals| self.0.round_dp_with_strategy(decimals, RoundingStrategy::ToPositiveInfinity));
        let minor = rounded.map(|fee| currency.parse(&fee.to_string()));
        minor.flatten().next().unwrap_or(MAX_MINOR)
    }
}

impl Default for ShippingFee {
    /// The fee is 10.
    fn default() -> Self {
        Self(Decimal::TEN)
    }
}

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
pub fn price(wanted: &[(WantedLine, Product)], shipping_fee: ShippingFee) -> Result<Priced, PricingError> {
    let (_, first) = wanted.first().ok_or(PricingError::Empty)?;
    let shipping_minor = shipping_fee.minor(first.currency);
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
    let merchandise = i64::try_from(merchandise).ok().filter(|sum| *sum <= MAX_MINOR - shipping_minor);
    let merchandise_minor = merchandise.ok_or(PricingError::TooExpensive)?;
    Ok(Priced { lines, currency: first.currency, item_count, merchandise_minor, shipping_minor })
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
            fee in prop::sample::select(vec!["0", "10", "4.95", "0.0001", "1000000"]),
        ) {
            let cart: Vec<_> = lines
                .iter()
                .enumerate()
                .map(|(n, (price, quantity))| {
                    let sku = n.to_string();
                    (wanted(&sku, *quantity), product(&sku, *price, code))
                })
                .collect();
            let priced = price(&cart, ShippingFee::try_new(fee).unwrap()).unwrap();
            let currency = Currency::try_new(code).unwrap();
            let decimal = |minor: i64| currency.format(minor).parse::<Decimal>().unwrap();
            let sum: Decimal = lines.iter().map(|(price, quantity)| decimal(*price) * Decimal::from(*quantity)).sum();
            prop_assert_eq!(decimal(priced.merchandise_minor), sum);
            let shipping = decimal(priced.total_minor()) - sum;
            let (fee, smallest) = (fee.parse::<Decimal>().unwrap(), decimal(1));
            prop_assert!(fee <= shipping && shipping < fee + smallest, "{} for {}", shipping, fee);
            prop_assert_eq!(priced.item_count, lines.iter().map(|(_, quantity)| quantity).sum::<i64>());
        }
    }

    #[test]
    fn lines_of_several_currencies_or_above_the_largest_amount_have_no_price() {
        let line = |currency: &str, price| (wanted("A", 1_000), product("A", price, currency));
        let fee = ShippingFee::default();
        assert_eq!(price(&[], fee), Err(PricingError::Empty));
        assert_eq!(price(&[line("USD", 1), line("EUR", 1)], fee), Err(PricingError::Currencies(1)));
        assert!(price(&[line("USD", MAX_MINOR / 1_000 - 1)], fee).is_ok());
        assert_eq!(price(&[line("USD", MAX_MINOR / 1_000)], fee), Err(PricingError::TooExpensive));
        assert_eq!(price(&[line("USD", i64::MAX)], fee), Err(PricingError::TooExpensive));
    }

    #[test]
    fn a_shipping_fee_is_in_whole_units_of_any_currency() {
        let minor = |text: &str, code: &str| {
            ShippingFee::try_new(text).unwrap().minor(Currency::try_new(code).unwrap())
        };
        for (text, usd, jpy, kwd) in [
            ("10", 1_000, 10, 10_000),
            ("0", 0, 0, 0),
            ("4.95", 495, 5, 4_950),
            ("0.001", 1, 1, 1),
            ("1000000.00", 100_000_000, 1_000_000, 1_000_000_000),
        ] {
            assert_eq!(
                (minor(text, "USD"), minor(text, "JPY"), minor(text, "KWD")),
                (usd, jpy, kwd),
                "{text}"
            );
        }
        assert_eq!(ShippingFee::default(), ShippingFee::try_new("10").unwrap());
        for bad in ["", "-1", "ten", "1e1", "1000000.01", "0.00001"] {
            let error = ShippingFee::try_new(bad).unwrap_err();
            assert!(error.starts_with("must be a decimal from 0 to 1000000"), "{error}");
        }
    }
}
