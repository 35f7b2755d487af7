//! Why a message became a dead letter: a closed set, each reason of one class.

/// Why a message could not be applied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// No order with the payment's order id, yet.
    OrderNotFound,
    /// The body is not exactly one JSON object in UTF-8.
    Undecodable,
    /// An object with a field missing, null, of the wrong type, out of range or given twice.
    Invalid,
    /// The body holds what looks like a full card number; masked before it leaves the consumer.
    PanDetected,
    /// Same T as the payment in the row, different values.
    TimestampTie,
    /// The handler panicked on this message.
    HandlerFailed,
}

/// What the handler does with dead letters of a reason by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Retried until it applies or is too old.
    Waiting,
    /// Can never succeed as it is: parked.
    Poison,
    /// Needs a human's choice: parked.
    Conflict,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::OrderNotFound,
        Self::Undecodable,
        Self::Invalid,
        Self::PanDetected,
        Self::TimestampTie,
        Self::HandlerFailed,
    ];

    /// The word used in attributes, tables, metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrderNotFound => "order_not_found",
            Self::Undecodable => "undecodable",
            Self::Invalid => "invalid",
            Self::PanDetected => "pan_detected",
            Self::TimestampTie => "timestamp_tie",
            Self::HandlerFailed => "handler_failed",
        }
    }

    /// The reason a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Its class.
    pub fn class(self) -> Class {
        match self {
            Self::OrderNotFound => Class::Waiting,
            Self::TimestampTie => Class::Conflict,
            Self::Undecodable | Self::Invalid | Self::PanDetected | Self::HandlerFailed => Class::Poison,
        }
    }
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Poison, Self::Conflict];

    /// The class a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Poison => "poison",
            Self::Conflict => "conflict",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
