//! The kinds of events.

/// The kind of an event: which source topic it is published on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EventKind {
    /// An order event.
    Order,
    /// A payment event.
    Payment,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Order, Self::Payment];

    /// Returns the word used in attributes, tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Payment => "payment",
        }
    }

    /// Returns the kind with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}
