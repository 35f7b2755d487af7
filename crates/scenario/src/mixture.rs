//! How much of what goes wrong in the world a scenario has.

use serde::{Deserialize, Serialize};

/// Shares of all orders, each 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mixture {
    /// Orders published `late_by` positions after their turn, so that their payment comes first.
    pub late_orders: f64,
    /// Orders never published: their payments must end in the dead-letter store.
    pub missing_orders: f64,
    /// Orders, and likewise payments, whose first event is published twice.
    pub duplicates: f64,
    /// Orders followed by a newer event of the same order.
    pub order_updates: f64,
    /// Payments followed by a newer payment of the same order.
    pub second_payments: f64,
    /// Orders, and likewise payments, with a bad message besides.
    pub invalid: f64,
    /// How many order ids later a late order is published.
    pub late_by: u64,
}

impl Default for Mixture {
    fn default() -> Self {
        Self {
            late_orders: 0.05,
            missing_orders: 0.02,
            duplicates: 0.03,
            order_updates: 0.05,
            second_payments: 0.03,
            invalid: 0.01,
            late_by: 500,
        }
    }
}

impl Mixture {
    /// Exactly one order event and one payment event per order.
    pub const PLAIN: Self = Self {
        late_orders: 0.0,
        missing_orders: 0.0,
        duplicates: 0.0,
        order_updates: 0.0,
        second_payments: 0.0,
        invalid: 0.0,
        late_by: 0,
    };

    /// This mixture, if every share lies within 0 to 1.
    pub fn try_new(self) -> Result<Self, MixtureError> {
        let shares = [
            ("late_orders", self.late_orders),
            ("missing_orders", self.missing_orders),
            ("duplicates", self.duplicates),
            ("order_updates", self.order_updates),
            ("second_payments", self.second_payments),
            ("invalid", self.invalid),
        ];
        match shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            Some((field, share)) => Err(MixtureError { field, share }),
            None => Ok(self),
        }
    }
}

/// A share outside 0 to 1.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Debug)]
#[error("{field} is {share}: a share lies between 0 and 1")]
pub struct MixtureError {
    /// Which share.
    pub field: &'static str,
    /// What it was.
    pub share: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_outside_its_bounds_is_named() {
        assert!(Mixture::default().try_new().is_ok());
        for bad in [-0.01, 1.01, f64::NAN, f64::INFINITY] {
            let refused = Mixture { second_payments: bad, ..Mixture::PLAIN }.try_new();
            assert_eq!(refused.expect_err("out of bounds").field, "second_payments");
        }
    }
}
