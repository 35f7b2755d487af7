//! The shares of late, missing, duplicate and bad events in a scenario.

use serde::{Deserialize, Serialize};

/// The shares of all orders to which something happens, each from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mixture {
    /// Orders published `late_by` orders after their turn, so that their payment is first.
    pub late_orders: f64,
    /// Orders never published: their payments must end in the dead-letter store.
    pub missing_orders: f64,
    /// Orders, and separately payments, whose first event is published twice.
    pub duplicates: f64,
    /// Orders followed by a newer event of the same order.
    pub order_updates: f64,
    /// Payments followed by a newer payment of the same order.
    pub second_payments: f64,
    /// Orders, and separately payments, with an additional bad message.
    pub invalid: f64,
    /// The number of order ids after which a late order is published.
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

    /// Returns this mixture if it is valid.
    ///
    /// # Errors
    /// The first share outside 0 to 1.
    pub fn validated(self) -> Result<Self, MixtureError> {
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

/// An error: a share is outside 0 to 1.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Debug)]
#[error("{field} is {share}, but a share must be from 0 to 1")]
pub struct MixtureError {
    /// The name of the share.
    pub field: &'static str,
    /// Its value.
    pub share: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_out_of_bounds_is_named() {
        assert!(Mixture::default().validated().is_ok());
        for bad in [-0.01, 1.01, f64::NAN, f64::INFINITY] {
            let validated = Mixture { second_payments: bad, ..Mixture::PLAIN }.validated();
            assert_eq!(validated.expect_err("out of bounds").field, "second_payments");
        }
    }
}
