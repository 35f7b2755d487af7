//! `[producer]`: publishing generated events.

use serde::Deserialize;

use super::super::checks::Checks;
use super::super::fields::{number, parsed, share};
use super::super::rate::Rate;

/// Publishing generated events.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerConfig {
    /// Events a second; 100 by default.
    #[serde(deserialize_with = "parsed")]
    pub rate: Rate,
    /// Most messages published and not yet acknowledged, 1 to 1,000,000; 10,000 by default.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub max_outstanding: usize,
    /// Seed of the events' contents, at least 0; 42 by default.
    #[serde(deserialize_with = "number::<_, _, 0, { i64::MAX }>")]
    pub seed: u64,
    /// Share of orders published after their payment; 0.05 by default.
    #[serde(deserialize_with = "share")]
    pub late_orders: f64,
    /// Share of orders never published, whose payments become dead letters; 0.02 by default.
    #[serde(deserialize_with = "share")]
    pub missing_orders: f64,
    /// Share of events published twice; 0.03 by default.
    #[serde(deserialize_with = "share")]
    pub duplicates: f64,
    /// Share of orders published again with a newer status; 0.05 by default.
    #[serde(deserialize_with = "share")]
    pub order_updates: f64,
    /// Share of orders paid a second time; 0.03 by default.
    #[serde(deserialize_with = "share")]
    pub second_payments: f64,
    /// Share of events made invalid on purpose; 0.01 by default.
    #[serde(deserialize_with = "share")]
    pub invalid: f64,
    /// Delay of a late order in positions of the sequence, 1 to 1,000,000,000; 500 by default.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000_000>")]
    pub late_by: u64,
}

impl ProducerConfig {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        let together = self.late_orders + self.missing_orders;
        if together > 1.0 {
            checks.fault(
                &["producer.late_orders", "producer.missing_orders"],
                &format!("and producer.missing_orders must not exceed 1.0 together, are {together}"),
            );
        }
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
