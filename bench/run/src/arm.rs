//! Properties of the arms.

use crate::options::Arm;
use clap::ValueEnum;

/// The events that an arm works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Orders
    Order,
    /// Payments
    Payment,
    /// Dead letters
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

    /// Returns the word that a peer's command line has for it.
    pub fn word(self) -> &'static str {
        if self == Self::Order { "order" } else { "payment" }
    }
}

/// A program in another language that does the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Google's Go client and gocql.
    Go,
    /// Google's Python client and the DataStax driver.
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
            Self::R3Update | Self::MinimalPayments | Self::Payments | Self::PaymentsMissing => Kind::Payment,
            Self::GoPayments | Self::PythonPayments => Kind::Payment,
            Self::DlqHandler => Kind::DeadLetter,
            _ => Kind::Order,
        }
    }

    /// Returns N where each N-th order is left out; 0 where none is.
    pub fn missing(self) -> i64 {
        if self == Self::PaymentsMissing { 10 } else { 0 }
    }

    /// Returns true if it receives from a subscription, which the generator then feeds.
    pub fn receives(self) -> bool {
        !matches!(self, Self::R0Publish | Self::R2Insert | Self::R3Update)
    }

    /// Returns true if it leaves rows in the fact table.
    pub fn writes(self) -> bool {
        !matches!(self, Self::R0Publish | Self::R1Pull | Self::DlqHandler)
    }

    /// Returns the released binary that it runs.
    pub fn binary(self) -> Option<&'static str> {
        match self {
            Self::Orders | Self::OrdersAgain | Self::OrdersSlow => Some("order_consumer"),
            Self::Payments | Self::PaymentsMissing => Some("payment_consumer"),
            Self::DlqHandler => Some("dlq_handler"),
            _ => None,
        }
    }

    /// Returns the number of streams it does best with; a binary finds out by itself.
    pub fn streams(self) -> Option<u32> {
        match self {
            Self::R1Pull => Some(32),
            _ if self.binary().is_some() => None,
            _ => Some(8),
        }
    }

    /// Returns the language of a peer.
    pub fn peer(self) -> Option<Peer> {
        match self {
            Self::GoOrders | Self::GoPayments => Some(Peer::Go),
            Self::PythonOrders | Self::PythonPayments => Some(Peer::Python),
            _ => None,
        }
    }

    /// Returns true if the time from publishing to the visible row is measured, too.
    pub fn has_latency(self) -> bool {
        matches!(
            self,
            Self::Orders
                | Self::Payments
                | Self::MinimalOrders
                | Self::MinimalPayments
                | Self::GoOrders
                | Self::GoPayments
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arm_has_the_name_of_the_documentation() {
        let names: Vec<String> = Arm::value_variants().iter().map(|arm| arm.name()).collect();
        assert_eq!(
            names.join(" "),
            "r0-publish r1-pull r2-insert r3-update minimal-orders minimal-payments orders orders-again orders-slow \
             payments payments-missing dlq-handler go-orders go-payments python-orders python-payments"
        );
    }
}
