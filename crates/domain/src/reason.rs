//! The reasons for which a message becomes a dead letter: a closed set, each with a class.

/// The reason a message could not be applied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// There is no order with the payment's order id yet.
    OrderNotFound,
    /// The body is not exactly one JSON object in UTF-8.
    Undecodable,
    /// A field is missing, null, of the wrong type, out of range or given twice.
    Invalid,
    /// The body contains what looks like a full card number; it is masked before it leaves the consumer.
    PanDetected,
    /// The row shows another event with the same event time.
    TimestampTie,
    /// The handler panicked on this message.
    HandlerFailed,
}

/// The class of a reason: the automatic handling of its dead letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Retried until it applies or exceeds the maximum age.
    Waiting,
    /// Parked: it can never be applied as it is.
    Poison,
    /// Parked: a human must choose.
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

    /// Returns the word used in attributes, tables, metrics and reports.
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

    /// Returns the reason with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Returns the class.
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

    /// Returns the class with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// Returns the word used in reports.
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
