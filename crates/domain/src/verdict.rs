//! The decision whether an event applies to its row. Consumers, retries and operators all use these
//! functions, so that a prediction and the actual write agree.

use super::event_time::EventTime;
use super::fact::{OrderCells, PaymentSlot};
use super::mutant::{Mutant, is_active};
use super::order::Order;
use super::payment::Payment;

/// The result of comparing an event with the row it would be written to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ApplyCheck {
    /// The column group is empty or shows an older event.
    AppliesNow,
    /// The row shows exactly this event at this event time.
    AlreadyApplied,
    /// The row shows a newer event.
    Superseded,
    /// The order of the payment is missing.
    StillWaiting,
    /// The row shows another event at the same event time.
    Conflict,
}

/// The predicted result of retrying a dead letter now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// It would be applied.
    AppliesNow,
    /// The row shows exactly this event: it would only be closed.
    AlreadyApplied,
    /// The row shows a newer event: it would only be closed.
    Superseded,
    /// Its order is still missing: it would keep waiting.
    StillWaiting,
    /// The row shows another event at the same event time: a human must choose.
    Conflict,
    /// It can never be applied as it is: the body is not an event, or was masked or truncated.
    Poison,
}

impl Verdict {
    /// Every verdict, in the order reports list them.
    pub const ALL: [Self; 6] = [
        Self::AppliesNow,
        Self::AlreadyApplied,
        Self::Superseded,
        Self::StillWaiting,
        Self::Conflict,
        Self::Poison,
    ];

    /// Returns the word used in tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AppliesNow => "applies_now",
            Self::AlreadyApplied => "already_applied",
            Self::Superseded => "superseded",
            Self::StillWaiting => "still_waiting",
            Self::Conflict => "conflict",
            Self::Poison => "poison",
        }
    }

    /// Returns the verdict with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word)
    }
}

impl From<ApplyCheck> for Verdict {
    fn from(apply_check: ApplyCheck) -> Self {
        match apply_check {
            ApplyCheck::AppliesNow => Self::AppliesNow,
            ApplyCheck::AlreadyApplied => Self::AlreadyApplied,
            ApplyCheck::Superseded => Self::Superseded,
            ApplyCheck::StillWaiting => Self::StillWaiting,
            ApplyCheck::Conflict => Self::Conflict,
        }
    }
}

/// Compares a payment at `t` with the payment columns it would be written over.
pub fn judge(slot: &PaymentSlot, payment: &Payment<'_>, t: EventTime) -> ApplyCheck {
    match slot {
        PaymentSlot::NoOrder => ApplyCheck::StillWaiting,
        PaymentSlot::Empty => ApplyCheck::AppliesNow,
        PaymentSlot::Taken { payment: current, written_at } => {
            compare(*written_at, t, || current.matches(payment))
        }
    }
}

/// Compares an order at `t` with the order columns it would be written over and their write timestamp;
/// `current` is `None` where the row has no order.
pub fn judge_order(current: Option<(&OrderCells, EventTime)>, order: &Order<'_>, t: EventTime) -> ApplyCheck {
    current
        .map_or(ApplyCheck::AppliesNow, |(cells, written_at)| compare(written_at, t, || cells.matches(order)))
}

fn compare(written_at: EventTime, t: EventTime, matches: impl FnOnce() -> bool) -> ApplyCheck {
    match written_at.cmp(&t) {
        std::cmp::Ordering::Less => ApplyCheck::AppliesNow,
        std::cmp::Ordering::Greater => ApplyCheck::Superseded,
        std::cmp::Ordering::Equal if matches() => ApplyCheck::AlreadyApplied,
        std::cmp::Ordering::Equal if is_active(Mutant::NoTieRule) => ApplyCheck::AppliesNow,
        std::cmp::Ordering::Equal => ApplyCheck::Conflict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::PaymentCells;
    use crate::order::OrderId;

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
        assert_eq!(judge(&PaymentSlot::NoOrder, &payment(1), now), ApplyCheck::StillWaiting);
        assert_eq!(judge(&PaymentSlot::Empty, &payment(1), now), ApplyCheck::AppliesNow);
        assert_eq!(judge(&taken(2, 99), &payment(1), now), ApplyCheck::AppliesNow);
        assert_eq!(judge(&taken(2, 101), &payment(1), now), ApplyCheck::Superseded);
        assert_eq!(judge(&taken(1, 100), &payment(1), now), ApplyCheck::AlreadyApplied);
        assert_eq!(judge(&taken(2, 100), &payment(1), now), ApplyCheck::Conflict);
    }

    #[test]
    fn an_older_cards_digits_make_another_payment() {
        let mut current = PaymentCells::from(&payment(1));
        current.card_last_four = Some("1234".into());
        let slot = PaymentSlot::Taken { payment: current, written_at: EventTime::stored(100) };
        assert_eq!(judge(&slot, &payment(1), EventTime::stored(100)), ApplyCheck::Conflict);
    }
}
