//! What is true of a payment, given what the store holds. The consumer, the retries and the desk
//! all ask this one function.

use super::event_time::EventTime;
use super::fact::PaymentSlot;
use super::payment::Payment;

/// What applying a message would do now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// Its order is there and holds no payment, or an older one.
    AppliesNow,
    /// The row shows exactly this payment at this T.
    AlreadyApplied,
    /// The row shows a newer payment.
    Superseded,
    /// No order yet.
    StillWaiting,
    /// The row shows another payment at the same T.
    Conflict,
}

impl Verdict {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AppliesNow => "applies_now",
            Self::AlreadyApplied => "already_applied",
            Self::Superseded => "superseded",
            Self::StillWaiting => "still_waiting",
            Self::Conflict => "conflict",
        }
    }
}

/// Judges a payment at T against the register it would be written to.
pub fn judge(slot: &PaymentSlot, payment: &Payment<'_>, t: EventTime) -> Verdict {
    match slot {
        PaymentSlot::NoOrder => Verdict::StillWaiting,
        PaymentSlot::Empty => Verdict::AppliesNow,
        PaymentSlot::Taken { payment: held, written_at } => match written_at.cmp(&t) {
            std::cmp::Ordering::Less => Verdict::AppliesNow,
            std::cmp::Ordering::Greater => Verdict::Superseded,
            std::cmp::Ordering::Equal if held.matches(payment) => Verdict::AlreadyApplied,
            std::cmp::Ordering::Equal => Verdict::Conflict,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fact::PaymentCells;
    use crate::domain::order::OrderId;

    fn payment(id: i64) -> Payment<'static> {
        Payment {
            payment_id: id,
            order_id: OrderId(1),
            payment_method: "PayPal".into(),
            card_last_four: None,
            payment_status: "Completed".into(),
            payment_datetime: "2024-01-21T80:01:30Z".into(),
        }
    }

    fn taken(id: i64, t: i64) -> PaymentSlot {
        PaymentSlot::Taken { payment: PaymentCells::from(&payment(id)), written_at: EventTime::stored(t) }
    }

    #[test]
    fn the_larger_t_wins_and_equal_t_needs_equal_values() {
        let now = EventTime::stored(100);
        assert_eq!(judge(&PaymentSlot::NoOrder, &payment(1), now), Verdict::StillWaiting);
        assert_eq!(judge(&PaymentSlot::Empty, &payment(1), now), Verdict::AppliesNow);
        assert_eq!(judge(&taken(2, 99), &payment(1), now), Verdict::AppliesNow);
        assert_eq!(judge(&taken(2, 101), &payment(1), now), Verdict::Superseded);
        assert_eq!(judge(&taken(1, 100), &payment(1), now), Verdict::AlreadyApplied);
        assert_eq!(judge(&taken(2, 100), &payment(1), now), Verdict::Conflict);
    }

    #[test]
    fn an_older_cards_digits_make_another_payment() {
        let mut held = PaymentCells::from(&payment(1));
        held.card_last_four = Some("1234".into());
        let slot = PaymentSlot::Taken { payment: held, written_at: EventTime::stored(100) };
        assert_eq!(judge(&slot, &payment(1), EventTime::stored(100)), Verdict::Conflict);
    }
}
