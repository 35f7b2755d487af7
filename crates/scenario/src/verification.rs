//! What a verification found.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use ecom_domain::dead_letter::DeadLetterState;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

/// How many differences are kept: those of the lowest order ids. All are counted.
pub(super) const KEPT_DIFFERENCES: usize = 100;

/// A way in which table and dead-letter store are not what they must be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A published event that is neither current, nor superseded, nor in the dead-letter store.
    Lost,
    /// The same, its row showing an older event in its place.
    Stale,
    /// A column group that shows no event published for its order: mixed, or changed by hand.
    Mixed,
    /// An order, or a payment, in the table for which nothing was published.
    Invented,
    /// One order id in two rows.
    Doubled,
    /// A row with a payment and no order.
    PaymentWithoutOrder,
    /// A dead letter whose body was never published.
    InventedDeadLetter,
    /// A dead letter recorded for another reason than its body has.
    WrongReason,
    /// A recovered dead letter whose payment the row shows neither at its time nor superseded.
    RecoveredWithoutEffect,
    /// An open dead letter whose payment is in its row.
    OpenThoughApplied,
    /// An open dead letter that waits for an order which is in the table.
    WaitingThoughOrderThere,
}

impl Fault {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Stale => "stale",
            Self::Mixed => "mixed",
            Self::Invented => "invented",
            Self::Doubled => "doubled",
            Self::PaymentWithoutOrder => "payment_without_order",
            Self::InventedDeadLetter => "invented_letter",
            Self::WrongReason => "wrong_reason",
            Self::RecoveredWithoutEffect => "recovered_without_effect",
            Self::OpenThoughApplied => "open_though_applied",
            Self::WaitingThoughOrderThere => "waiting_though_order_there",
        }
    }
}

/// One difference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Difference {
    /// The order it is about, where that is known.
    #[serde(serialize_with = "order_id")]
    pub order_id: Option<OrderId>,
    /// What kind of difference.
    pub kind: Fault,
    /// In words.
    pub what: String,
}

/// Where the units of one stream ended; `published` is the sum of the four that follow it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct StreamCounts {
    /// Distinct messages published.
    pub published: u64,
    /// Shown by their row.
    pub current: u64,
    /// Replaced by a newer event.
    pub superseded: u64,
    /// In the dead-letter store, not recovered.
    pub dead_letter_store: u64,
    /// None of these.
    pub lost: u64,
    /// Copies of units published besides.
    pub duplicates: u64,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Verification {
    /// The orders stream.
    pub orders: StreamCounts,
    /// The payments stream.
    pub payments: StreamCounts,
    /// Rows in the fact table.
    pub rows: u64,
    /// Dead letters in the dead-letter store by reason and state.
    #[serde(serialize_with = "dead_letters")]
    pub dead_letters: BTreeMap<(Reason, DeadLetterState), u64>,
    /// Rows that show a corrected body in place of the discarded dead letter's.
    pub corrected: u64,
    /// Differences by kind, all of them.
    pub faults: BTreeMap<Fault, u64>,
    /// The differences of the lowest order ids.
    pub differences: BTreeSet<Difference>,
}

impl Verification {
    /// Whether nothing is lost, invented or mixed, and every dead letter is as it must be.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// How many differences there are, kept or not.
    pub fn difference_count(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Notes a difference.
    pub(super) fn differs(&mut self, order_id: Option<OrderId>, kind: Fault, what: String) {
        *self.faults.entry(kind).or_default() += 1;
        self.differences.insert(Difference { order_id, kind, what });
        if self.differences.len() > KEPT_DIFFERENCES {
            self.differences.pop_last();
        }
    }
}

impl std::fmt::Display for StreamCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { published, current, superseded, dead_letter_store, lost, duplicates } = self;
        write!(
            f,
            "{published} published = {current} current + {superseded} superseded + {dead_letter_store} in the dead-letter store"
        )?;
        if *lost > 0 {
            write!(f, " + {lost} lost")?;
        }
        match duplicates {
            0 => Ok(()),
            1 => write!(f, "; and 1 duplicate"),
            _ => write!(f, "; and {duplicates} duplicates"),
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.order_id {
            Some(order_id) => write!(f, "order {order_id}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::fmt::Display for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "orders    {}", self.orders)?;
        writeln!(f, "payments  {}", self.payments)?;
        writeln!(f, "rows      {}", self.rows)?;
        for ((reason, state), count) in &self.dead_letters {
            writeln!(f, "dead letters   {count} {reason}, {}", state.as_str())?;
        }
        if self.corrected > 0 {
            writeln!(f, "corrected {}", self.corrected)?;
        }
        if self.is_clean() {
            return write!(f, "clean: nothing lost, nothing invented, nothing mixed");
        }
        let kinds: Vec<String> =
            self.faults.iter().map(|(fault, count)| format!("{count} {}", fault.as_str())).collect();
        write!(f, "differences: {} ({})", self.difference_count(), kinds.join(", "))?;
        for difference in &self.differences {
            write!(f, "\n  {difference}")?;
        }
        let unnamed = self.difference_count().saturating_sub(self.differences.len() as u64);
        if unnamed > 0 {
            write!(f, "\n  and {unnamed} more")?;
        }
        Ok(())
    }
}

fn order_id<S: serde::Serializer>(order_id: &Option<OrderId>, serializer: S) -> Result<S::Ok, S::Error> {
    order_id.map(|order_id| order_id.0).serialize(serializer)
}

fn dead_letters<S: serde::Serializer>(
    dead_letters: &BTreeMap<(Reason, DeadLetterState), u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Line {
        reason: &'static str,
        state: &'static str,
        count: u64,
    }
    serializer.collect_seq(dead_letters.iter().map(|((reason, state), count)| Line {
        reason: reason.as_str(),
        state: state.as_str(),
        count: *count,
    }))
}
