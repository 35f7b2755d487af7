//! The labels and their values. All are enums, so the number of series is bounded; the operations of an HTTP API are named
//! once, by the API.

use ecom_domain::dead_letter::EventKind;

/// The disposition of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DispositionLabel {
    /// Written to the fact table.
    Applied,
    /// The row already showed it.
    AlreadyApplied,
    /// The row showed a newer event.
    Superseded,
    /// Published on the dead-letter topic.
    DeadLettered,
    /// Written to the dead-letter store.
    Recorded,
    /// Given back to the bus.
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

/// A call of the store, named like the port's function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreOperation {
    /// Writes order columns.
    RecordOrder,
    /// Reads the payment columns of an order, and whether the order is there.
    PaymentSlot,
    /// Writes payment columns.
    RecordPayment,
    /// Writes a superseded payment.
    RecordSuperseded,
    /// Reads one row.
    Fact,
    /// Writes a dead letter.
    RecordDeadLetter,
    /// Reads a dead letter.
    DeadLetter,
    /// Reads the dead letters of an order.
    DeadLettersOf,
    /// Writes a change of a dead letter and its history entry.
    ApplyUpdate,
    /// Removes a dead letter.
    Remove,
}

impl StoreOperation {
    /// Every value, in the order of their counters.
    pub(super) const ALL: [Self; 10] = [
        Self::RecordOrder,
        Self::PaymentSlot,
        Self::RecordPayment,
        Self::RecordSuperseded,
        Self::Fact,
        Self::RecordDeadLetter,
        Self::DeadLetter,
        Self::DeadLettersOf,
        Self::ApplyUpdate,
        Self::Remove,
    ];

    /// The word in the label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RecordOrder => "record_order",
            Self::PaymentSlot => "payment_slot",
            Self::RecordPayment => "record_payment",
            Self::RecordSuperseded => "record_superseded",
            Self::Fact => "fact",
            Self::RecordDeadLetter => "record_dead_letter",
            Self::DeadLetter => "dead_letter",
            Self::DeadLettersOf => "dead_letters_of",
            Self::ApplyUpdate => "apply_update",
            Self::Remove => "remove",
        }
    }
}

/// A topic by what it carries; its name is configurable.
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
    /// The topic of events of this kind.
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Order => Self::Orders,
            EventKind::Payment => Self::Payments,
        }
    }
}

/// The outcome of a call of bus or store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallOutcome {
    /// It succeeded.
    Ok,
    /// An outage: the call is retried.
    Unavailable,
    /// A permanent error: a retry cannot succeed.
    Refused,
}

impl CallOutcome {
    /// Every value, in the order of their counters.
    pub(super) const ALL: [Self; 3] = [Self::Ok, Self::Unavailable, Self::Refused];

    /// The word in the label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
        }
    }
}

/// The class of an HTTP status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusClass {
    /// Below 300: done, or going to be done.
    Success,
    /// Below 400: to be read elsewhere, or known already.
    Redirection,
    /// Below 500: the request is at fault.
    ClientError,
    /// The server is at fault, or cannot answer now.
    ServerError,
}

impl StatusClass {
    /// Every value, in the order of their counters.
    pub(super) const ALL: [Self; 4] =
        [Self::Success, Self::Redirection, Self::ClientError, Self::ServerError];

    /// The class of a status.
    pub fn of(status: u16) -> Self {
        match status {
            ..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// The word in the label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// The handler's resolution of a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// The row shows its event, or a newer one.
    Recovered,
    /// It no longer waits; an operator decides.
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
