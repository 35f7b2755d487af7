//! Properties of the arms.

use crate::options::Arm;
use clap::ValueEnum;

/// The events that an arm works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Order,
    Payment,
    DeadLetter,
}

impl Kind {
    /// Returns the topic that the events are published on.
    pub fn topic(self) -> &'static str {
        match self {
            Self::Order => "orders_data",
            Self::Payment => "payments_data",
            Self::DeadLetter => "dlq_payments_data",
        }
    }

    /// Returns how many are written at once: a payment takes two requests.
    pub fn window(self) -> usize {
        if self == Self::Order { 128 } else { 256 }
    }
}

/// The program that does the work of an arm: this one (a raw limit or the shortest loop), a released binary, or a
/// peer with Google's client and gocql, or with the DataStax driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Bench,
    Binary(&'static str),
    Go,
    Python,
}

impl Arm {
    /// Returns the name in options, tables and files.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no arm is hidden").get_name().to_owned()
    }

    /// Returns the events it works on.
    pub fn kind(self) -> Kind {
        match self {
            Self::R3Update | Self::R3Grouped | Self::MinimalPayments => Kind::Payment,
            Self::Payments | Self::PaymentsUngrouped | Self::PaymentsMissing => Kind::Payment,
            Self::GoPayments | Self::PythonPayments => Kind::Payment,
            Self::DlqHandler | Self::DlqHandlerUngrouped => Kind::DeadLetter,
            _ => Kind::Order,
        }
    }

    /// Returns the program that it runs.
    pub fn program(self) -> Program {
        match self {
            Self::Orders | Self::OrdersAgain | Self::OrdersUngrouped | Self::OrdersSlow => {
                Program::Binary("order_consumer")
            }
            Self::Payments | Self::PaymentsUngrouped | Self::PaymentsMissing => {
                Program::Binary("payment_consumer")
            }
            Self::DlqHandler | Self::DlqHandlerUngrouped => Program::Binary("dlq_handler"),
            Self::GoOrders | Self::GoPayments => Program::Go,
            Self::PythonOrders | Self::PythonPayments => Program::Python,
            _ => Program::Bench,
        }
    }

    /// Returns true if the order with this id is left out, so that its payment has none.
    pub fn is_missing(self, id: i64) -> bool {
        self == Self::PaymentsMissing && id % 10 == 0
    }

    /// Returns true if it receives from a subscription, which the generator then feeds.
    pub fn receives(self) -> bool {
        use Arm::{R0Publish, R2Grouped, R2Insert, R3Grouped, R3Update};
        !matches!(self, R0Publish | R2Insert | R2Grouped | R3Update | R3Grouped)
    }

    /// Returns true if it leaves rows in the fact table.
    pub fn writes(self) -> bool {
        !matches!(self, Self::R0Publish | Self::R1Pull) && self.kind() != Kind::DeadLetter
    }

    /// Returns true if it needs neither service.
    pub fn is_embedded(self) -> bool {
        matches!(self, Self::Embedded | Self::SqliteRaw)
    }

    /// Returns the number of streams it does best with; a binary finds out by itself.
    pub fn streams(self) -> Option<u32> {
        match self.program() {
            Program::Binary(_) => None,
            _ if self == Self::R1Pull => Some(32),
            _ => Some(8),
        }
    }

    /// Returns true if each statement has its own request.
    pub fn is_ungrouped(self) -> bool {
        matches!(self, Self::OrdersUngrouped | Self::PaymentsUngrouped | Self::DlqHandlerUngrouped)
    }

    /// Returns true if the time from publishing to the visible row is measured, too.
    pub fn has_latency(self) -> bool {
        use Arm::{GoOrders, GoPayments, MinimalOrders, MinimalPayments, Orders, Payments};
        self.is_ungrouped() && self.kind() != Kind::DeadLetter
            || matches!(self, Orders | Payments | MinimalOrders | MinimalPayments | GoOrders | GoPayments)
    }
}
