//! The paths that are measured.

use crate::{letter, roles, store_call};

/// What is to be done, everything it needs being ready.
pub type Work = Box<dyn FnOnce()>;

/// One way of an event, or a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// An order through its handler: screen, decode, validate, T, count, bind.
    Order,
    /// A payment through its handler: the same, with its turn, the look at the row and the verdict.
    Payment,
    /// An order through a lane: intake, handler, settlement, counters, ack.
    Settle,
    /// A dead letter: screen, encode, and decode as the letters' handler does.
    Envelope,
    /// An order's values bound by a call of the port, as the handlers call it.
    Dyn,
    /// The same by a call of the store itself.
    Direct,
}

impl Path {
    /// Every path, in the order of the tables.
    pub const ALL: [Self; 6] =
        [Self::Order, Self::Payment, Self::Settle, Self::Envelope, Self::Dyn, Self::Direct];

    /// Its name on the command line and in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Payment => "payment",
            Self::Settle => "settle",
            Self::Envelope => "envelope",
            Self::Dyn => "dyn",
            Self::Direct => "direct",
        }
    }

    /// The path of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.name() == name)
    }

    /// The heap blocks one event may cost on it, where that is bounded.
    pub fn block_limit(self) -> Option<u64> {
        match self {
            Self::Order | Self::Payment => Some(2),
            Self::Envelope => Some(17),
            Self::Settle | Self::Dyn | Self::Direct => None,
        }
    }

    /// Prepares to do it this many times.
    pub fn prepare(self, events: usize) -> Work {
        match self {
            Self::Order => roles::orders(events),
            Self::Payment => roles::payments(events),
            Self::Settle => roles::lane(events),
            Self::Envelope => letter::there_and_back(events),
            Self::Dyn => store_call::through_the_port(events),
            Self::Direct => store_call::direct(events),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_found_by_its_name_and_can_be_done() {
        for path in Path::ALL {
            assert_eq!(Path::parse(path.name()), Some(path));
            crate::measured(path.prepare(130));
        }
        assert_eq!(Path::parse("orders"), None);
    }
}
