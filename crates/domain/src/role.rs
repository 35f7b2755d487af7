//! The long-running roles, by the names of their binaries.

use serde::{Serialize, Serializer};

use super::event_kind::EventKind;

/// A role of the pipeline: it publishes, consumes or handles dead letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Publishes order events.
    OrdersProducer,
    /// Publishes payment events.
    PaymentsProducer,
    /// Records orders in the fact table.
    OrderConsumer,
    /// Joins payments to their orders.
    PaymentConsumer,
    /// Records dead letters and retries those that wait.
    DlqHandler,
}

impl Role {
    /// Every role, in the order of the pipeline.
    pub const ALL: [Self; 5] = [
        Self::OrdersProducer,
        Self::PaymentsProducer,
        Self::OrderConsumer,
        Self::PaymentConsumer,
        Self::DlqHandler,
    ];

    /// Returns the role that publishes events of this kind.
    pub fn producer_of(kind: EventKind) -> Self {
        match kind {
            EventKind::Order => Self::OrdersProducer,
            EventKind::Payment => Self::PaymentsProducer,
        }
    }

    /// Returns the role that consumes events of this kind.
    pub fn consumer_of(kind: EventKind) -> Self {
        match kind {
            EventKind::Order => Self::OrderConsumer,
            EventKind::Payment => Self::PaymentConsumer,
        }
    }

    /// Returns the name of its binary, also its label in metrics, heartbeats and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrdersProducer => "orders_producer",
            Self::PaymentsProducer => "payments_producer",
            Self::OrderConsumer => "order_consumer",
            Self::PaymentConsumer => "payment_consumer",
            Self::DlqHandler => "dlq_handler",
        }
    }

    /// Returns the role with this name; `None` where there is no such role.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of any long-running role, also of one beside the pipeline: its label in metrics, heartbeats and logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleName(&'static str);

impl RoleName {
    /// Creates the name of a role, which is the name of its binary.
    pub const fn new(binary: &'static str) -> Self {
        Self(binary)
    }

    /// Returns the name.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        Self(role.as_str())
    }
}

impl std::fmt::Display for RoleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for RoleName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}
