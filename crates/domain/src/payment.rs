//! Payments.

use std::borrow::Cow;

use super::order::OrderId;

/// A valid payment event: the payment column group of the fact table.
#[derive(Clone, PartialEq, Debug)]
pub struct Payment<'a> {
    /// The payment id, positive.
    pub payment_id: i64,
    /// The order it pays.
    pub order_id: OrderId,
    /// The method, in the producer's words.
    pub payment_method: Cow<'a, str>,
    /// The last four digits of the card; `None` where the method has no card.
    pub card_last_four: Option<CardLastFour>,
    /// The status, in the producer's words.
    pub payment_status: Cow<'a, str>,
    /// The payment date as received: never parsed, never sorted by.
    pub payment_datetime: Cow<'a, str>,
}

impl Payment<'_> {
    /// Returns the same payment, owning its texts.
    pub fn into_owned(self) -> Payment<'static> {
        Payment {
            payment_id: self.payment_id,
            order_id: self.order_id,
            payment_method: Cow::Owned(self.payment_method.into_owned()),
            card_last_four: self.card_last_four,
            payment_status: Cow::Owned(self.payment_status.into_owned()),
            payment_datetime: Cow::Owned(self.payment_datetime.into_owned()),
        }
    }
}

/// The last four digits of a card; never printed by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CardLastFour([u8; 4]);

impl CardLastFour {
    /// Returns the digits of `text`; `None` unless it is exactly four ASCII digits.
    pub fn try_new(text: &str) -> Option<Self> {
        let digits: [u8; 4] = text.as_bytes().try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }

    /// Returns the four digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for CardLastFour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_four_ascii_digits_are_a_card_ending() {
        for bad in ["", "123", "12345", " 1234", "12a4", "１２３４", "-123"] {
            assert!(CardLastFour::try_new(bad).is_none(), "{bad:?}");
        }
        let card = CardLastFour::try_new("0042").expect("four digits");
        assert_eq!(card.as_str(), "0042");
        assert_eq!(format!("{card:?}"), "****");
    }
}
