//! What is measured.

/// One program doing one kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arm {
    /// R0: publish.
    Publish,
    /// R1: pull and ack.
    Pull,
    /// R2: prepared inserts.
    Insert,
    /// R3: SELECT and UPDATE.
    Update,
    /// The minimal loop, orders.
    MinimalOrders,
    /// The minimal loop, payments.
    MinimalPayments,
    /// `order_consumer`.
    Orders,
    /// `payment_consumer`, every order there.
    Payments,
    /// `payment_consumer`, one order in ten missing.
    PaymentsMissing,
    /// `dlq_handler`, recording letters.
    Letters,
    /// `order_consumer` once more: the A/A control.
    OrdersAgain,
    /// `order_consumer` once more, Cassandra behind a relay that delays.
    OrdersSlow,
    /// Google's Go client and gocql, orders.
    GoOrders,
    /// The same, payments.
    GoPayments,
    /// Google's Python client and the DataStax driver, orders.
    PythonOrders,
    /// The same, payments.
    PythonPayments,
}

/// Which events an arm works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Orders.
    Order,
    /// Payments.
    Payment,
    /// Dead letters.
    Letter,
}

impl Kind {
    /// As the generator calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Payment => "payment",
            Self::Letter => "letter",
        }
    }

    /// The topic it comes from.
    pub fn topic(self) -> &'static str {
        match self {
            Self::Order => "orders_data",
            Self::Payment => "payments_data",
            Self::Letter => "dlq_payments_data",
        }
    }
}

impl Arm {
    /// Every arm, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::Publish,
        Self::Pull,
        Self::Insert,
        Self::Update,
        Self::MinimalOrders,
        Self::MinimalPayments,
        Self::Orders,
        Self::OrdersAgain,
        Self::OrdersSlow,
        Self::Payments,
        Self::PaymentsMissing,
        Self::Letters,
        Self::GoOrders,
        Self::GoPayments,
        Self::PythonOrders,
        Self::PythonPayments,
    ];

    /// Its name in options, tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "r0-publish",
            Self::Pull => "r1-pull",
            Self::Insert => "r2-insert",
            Self::Update => "r3-update",
            Self::MinimalOrders => "minimal-orders",
            Self::MinimalPayments => "minimal-payments",
            Self::Orders => "orders",
            Self::OrdersAgain => "orders-again",
            Self::OrdersSlow => "orders-slow",
            Self::Payments => "payments",
            Self::PaymentsMissing => "payments-missing",
            Self::Letters => "dlq-handler",
            Self::GoOrders => "go-orders",
            Self::GoPayments => "go-payments",
            Self::PythonOrders => "python-orders",
            Self::PythonPayments => "python-payments",
        }
    }

    /// The arm a name stands for.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arm| arm.name() == name)
    }

    /// The events it works on.
    pub fn kind(self) -> Kind {
        match self {
            Self::Publish
            | Self::Pull
            | Self::Insert
            | Self::MinimalOrders
            | Self::Orders
            | Self::OrdersAgain
            | Self::OrdersSlow
            | Self::GoOrders
            | Self::PythonOrders => Kind::Order,
            Self::Update
            | Self::MinimalPayments
            | Self::Payments
            | Self::PaymentsMissing
            | Self::GoPayments
            | Self::PythonPayments => Kind::Payment,
            Self::Letters => Kind::Letter,
        }
    }

    /// One order in so many is left out; 0 = none.
    pub fn missing(self) -> u64 {
        if self == Self::PaymentsMissing { 10 } else { 0 }
    }

    /// Whether it receives from a subscription, so that the generator feeds it.
    pub fn receives(self) -> bool {
        !matches!(self, Self::Publish | Self::Insert | Self::Update)
    }

    /// Whether it leaves rows in the fact table.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Publish | Self::Pull | Self::Letters)
    }

    /// Whether a relay delays what it says to Cassandra, and what it hears.
    pub fn is_slowed(self) -> bool {
        self == Self::OrdersSlow
    }

    /// Whether it is one of the released binaries.
    pub fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Orders
                | Self::OrdersAgain
                | Self::OrdersSlow
                | Self::Payments
                | Self::PaymentsMissing
                | Self::Letters
        )
    }

    /// With how many streams it does best; none where it finds out by itself.
    pub fn streams(self) -> Option<u32> {
        match self {
            Self::Pull => Some(32),
            _ if self.is_ours() => None,
            _ => Some(8),
        }
    }

    /// A peer's language.
    pub fn peer(self) -> Option<Peer> {
        match self {
            Self::GoOrders | Self::GoPayments => Some(Peer::Go),
            Self::PythonOrders | Self::PythonPayments => Some(Peer::Python),
            _ => None,
        }
    }
}

/// Who else does the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Google's Go client and gocql.
    Go,
    /// Google's Python client and the DataStax driver.
    Python,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_arm() {
        for arm in Arm::ALL {
            assert_eq!(Arm::parse(arm.name()), Some(arm));
        }
        assert_eq!(Arm::parse("r9"), None);
    }
}
