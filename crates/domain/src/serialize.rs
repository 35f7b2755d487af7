//! Serde for the domain's words and ids: each is the text that tables and reports write for it.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actual_outcome::ActualOutcome;
use crate::bulk_operation::{OperationId, OperationKind, OperationStatus};
use crate::dead_letter::{
    ClaimStatus, DeadLetterId, DeadLetterState, EventKind, HistoryAction, HistoryOutcome,
};
use crate::order::OrderId;
use crate::reason::{Class, Reason};
use crate::role::Role;
use crate::verdict::Verdict;

/// Implements serde by `as_str` and `parse`.
macro_rules! as_text {
    ($($type:ident),+ $(,)?) => {
        $(
            impl Serialize for $type {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str(self.as_str())
                }
            }

            impl<'de> Deserialize<'de> for $type {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    let unknown = || D::Error::custom(format!("{text:?} is not a {}", stringify!($type)));
                    Self::parse(&text).ok_or_else(unknown)
                }
            }
        )+
    };
}

as_text![
    ActualOutcome,
    ClaimStatus,
    Class,
    DeadLetterId,
    DeadLetterState,
    EventKind,
    HistoryAction,
    HistoryOutcome,
    OperationId,
    OperationKind,
    OperationStatus,
    Reason,
    Role,
    Verdict,
];

impl Serialize for OrderId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OrderId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self)
    }
}
