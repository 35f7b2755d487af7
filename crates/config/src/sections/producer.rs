//! `[producer]`: what is published, and how fast.

use super::super::rate::Rate;
use super::super::reader::Reader;

/// What is published, and how fast.
#[derive(Clone, PartialEq, Debug)]
pub struct ProducerConfig {
    /// Events a second.
    pub rate: Rate,
    /// Messages published and not yet acknowledged; at least one.
    pub max_outstanding: usize,
    /// Seed of every record's content.
    pub seed: u64,
    /// Share of orders published later than their payment.
    pub late_orders: f64,
    /// Share of orders never published, whose payments become dead letters.
    pub missing_orders: f64,
    /// Share of events published twice.
    pub duplicates: f64,
    /// Share of orders published again with a newer status.
    pub order_updates: f64,
    /// Share of orders paid a second time.
    pub second_payments: f64,
    /// Share of events broken on purpose.
    pub invalid: f64,
    /// How much later a late order is published, in positions of the sequence.
    pub late_by: u64,
}

impl ProducerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let rate = reader.parsed("producer.rate", str::parse);
        let max_outstanding = reader.number("producer.max_outstanding", 1..=1_000_000);
        let seed = reader.number("producer.seed", 0..=i64::MAX.unsigned_abs());
        let late_orders = reader.share("producer.late_orders");
        let missing_orders = reader.share("producer.missing_orders");
        let duplicates = reader.share("producer.duplicates");
        let order_updates = reader.share("producer.order_updates");
        let second_payments = reader.share("producer.second_payments");
        let invalid = reader.share("producer.invalid");
        let late_by = reader.number("producer.late_by", 1..=1_000_000_000);
        if let (Some(late), Some(missing)) = (late_orders, missing_orders)
            && late + missing > 1.0
        {
            reader.fault(
                "producer.late_orders",
                &format!("and producer.missing_orders must not exceed 1.0 together, are {}", late + missing),
            );
        }
        Some(Self {
            rate: rate?,
            max_outstanding: max_outstanding?,
            seed: seed?,
            late_orders: late_orders?,
            missing_orders: missing_orders?,
            duplicates: duplicates?,
            order_updates: order_updates?,
            second_payments: second_payments?,
            invalid: invalid?,
            late_by: late_by?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{load_sets, load_text};
    use super::*;

    #[test]
    fn a_rate_is_text_or_max() {
        assert_eq!(load_sets(&["producer.rate=max"]).unwrap().config.producer.rate, Rate::Max);
        let faults = load_text("[producer]\nrate = 100").unwrap_err();
        assert_eq!(faults, "x.toml:2: producer.rate expects text such as \"100/s\", is a whole number");
    }

    #[test]
    fn an_order_is_late_or_missing_and_not_both() {
        let faults = load_sets(&["producer.late_orders=0.75", "producer.missing_orders=0.5"]).unwrap_err();
        assert_eq!(
            faults,
            "--set: producer.late_orders and producer.missing_orders must not exceed 1.0 together, are 1.25"
        );
        assert!(load_sets(&["producer.late_orders=nan"]).is_err());
    }
}
