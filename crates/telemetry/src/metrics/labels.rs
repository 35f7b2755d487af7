//! The labels there are, and their values: enums, so that a scrape is never of more series than these.

use ecom_domain::dead_letter::EventKind;

/// How a delivery was settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DispositionLabel {
    /// Written to the fact table.
    Applied,
    /// The row showed it already.
    AlreadyApplied,
    /// The row showed a newer one.
    Superseded,
    /// Published on the dead-letter topic.
    DeadLettered,
    /// Written to the dead-letter store.
    Recorded,
    /// Given back.
    Nacked,
}

impl DispositionLabel {
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
    pub fn as_str(self) -> &'static str {
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
pub enum StoreOperation {
    /// Writes order columns.
    RecordOrder,
    /// Reads what a payment would be written over.
    PaymentSlot,
    /// Writes payment columns.
    RecordPayment,
    /// Reads one row.
    Fact,
    /// Writes a dead letter.
    RecordDeadLetter,
    /// Reads a dead letter.
    DeadLetter,
    /// Reads the dead letters about an order.
    DeadLettersOf,
    /// Writes a change of a dead letter and its line of history.
    ApplyUpdate,
    /// Removes a dead letter.
    Remove,
}

impl StoreOperation {
    /// Every value, in the order of their counters.
    pub(super) const ALL: [Self; 9] = [
        Self::RecordOrder,
        Self::PaymentSlot,
        Self::RecordPayment,
        Self::Fact,
        Self::RecordDeadLetter,
        Self::DeadLetter,
        Self::DeadLettersOf,
        Self::ApplyUpdate,
        Self::Remove,
    ];

    /// The word in the label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RecordOrder => "record_order",
            Self::PaymentSlot => "payment_slot",
            Self::RecordPayment => "record_payment",
            Self::Fact => "fact",
            Self::RecordDeadLetter => "record_dead_letter",
            Self::DeadLetter => "dead_letter",
            Self::DeadLettersOf => "dead_letters_of",
            Self::ApplyUpdate => "apply_update",
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

impl From<EventKind> for Topic {
    /// Where events of this kind are published.
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Order => Self::Orders,
            EventKind::Payment => Self::Payments,
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

/// What the handler made of a dead letter.
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
