//! The labels there are, and their values: enums, so that a scrape is never of more series than these.

use ecom_domain::letter::Kind;

/// How a delivery was settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Written to the fact table.
    Applied,
    /// The row showed it already.
    AlreadyApplied,
    /// The row showed a newer one.
    Superseded,
    /// Published on the dead-letter topic.
    DeadLettered,
    /// Written to the ledger.
    Recorded,
    /// Given back.
    Nacked,
}

impl Outcome {
    /// Every value, in the order of their counters.
    pub(super) const ALL: [Self; 6] = [
        Self::Applied,
        Self::AlreadyApplied,
        Self::Superseded,
        Self::DeadLettered,
        Self::Recorded,
        Self::Nacked,
    ];

    /// The word in the label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::AlreadyApplied => "already_applied",
            Self::Superseded => "superseded",
            Self::DeadLettered => "dead_lettered",
            Self::Recorded => "recorded",
            Self::Nacked => "nacked",
        }
    }
}

/// What is asked of the store, by the ports' own words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Writes order columns.
    RecordOrder,
    /// Reads what a payment would be written over.
    PaymentSlot,
    /// Writes payment columns.
    RecordPayment,
    /// Reads one row.
    Fact,
    /// Writes a letter.
    RecordLetter,
    /// Reads a letter.
    Letter,
    /// Reads the letters about an order.
    LettersOf,
    /// Writes a change of a letter and its line of history.
    Act,
    /// Removes a letter.
    Remove,
}

impl Operation {
    /// Every value, in the order of their counters.
    pub(super) const ALL: [Self; 9] = [
        Self::RecordOrder,
        Self::PaymentSlot,
        Self::RecordPayment,
        Self::Fact,
        Self::RecordLetter,
        Self::Letter,
        Self::LettersOf,
        Self::Act,
        Self::Remove,
    ];

    /// The word in the label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RecordOrder => "record_order",
            Self::PaymentSlot => "payment_slot",
            Self::RecordPayment => "record_payment",
            Self::Fact => "fact",
            Self::RecordLetter => "record_letter",
            Self::Letter => "letter",
            Self::LettersOf => "letters_of",
            Self::Act => "act",
            Self::Remove => "remove",
        }
    }
}

/// A topic by what it carries, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// Order events.
    Orders,
    /// Payment events.
    Payments,
    /// Dead letters.
    DeadLetters,
}

impl Topic {
    /// Every value, in the order of their counters.
    pub(super) const ALL: [Self; 3] = [Self::Orders, Self::Payments, Self::DeadLetters];

    /// The word in the label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::DeadLetters => "dead_letters",
        }
    }
}

impl From<Kind> for Topic {
    /// Where events of this kind are published.
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Order => Self::Orders,
            Kind::Payment => Self::Payments,
        }
    }
}

/// What came of a call of bus or store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It succeeded.
    Ok,
    /// An outage: it is tried again.
    Unavailable,
    /// The same again cannot succeed.
    Refused,
}

impl Answer {
    /// Every value, in the order of their counters.
    pub(super) const ALL: [Self; 3] = [Self::Ok, Self::Unavailable, Self::Refused];

    /// The word in the label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
        }
    }
}

/// What the handler made of a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// The row shows its event, or a newer one.
    Recovered,
    /// It waits no longer and is left to a human.
    Parked,
}

impl Resolution {
    /// Every value, in the order of their counters.
    pub(super) const ALL: [Self; 2] = [Self::Recovered, Self::Parked];

    /// The word in the label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Parked => "parked",
        }
    }
}
