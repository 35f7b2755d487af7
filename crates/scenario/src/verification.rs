//! The result of a verification.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use ecom_domain::dead_letter::DeadLetterState;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

/// The maximum number of differences in a result, from the lowest order ids. All are counted.
pub(super) const KEPT_DIFFERENCES: usize = 100;

/// The kind of a difference between what was published and the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// A published event is neither current, nor superseded, nor in the dead-letter store.
    Lost,
    /// A published event is lost, and its row shows an older event.
    Stale,
    /// A column group shows values that no published event of the order has: mixed, or changed by hand.
    Mixed,
    /// A column group, a superseded payment or a dead letter has another time than the event time of its message.
    WrongEventTime,
    /// An order or a payment is in the fact table although none was published.
    Invented,
    /// One order id is in two rows.
    Doubled,
    /// A row has a payment and no order.
    PaymentWithoutOrder,
    /// A payment that a newer one superseded is not in the table of superseded payments.
    SupersededNotKept,
    /// A payment is in the table of superseded payments, but no newer payment of its order was published or is in
    /// its row.
    NotSuperseded,
    /// A dead letter has a body that was not published.
    InventedDeadLetter,
    /// A dead letter has another reason than its body.
    WrongReason,
    /// A dead letter is recovered, but the row shows neither its payment nor a newer one.
    RecoveredWithoutEffect,
    /// A dead letter is open, but its payment is in the row.
    OpenThoughApplied,
    /// A dead letter waits for its order, but the order is in the fact table.
    WaitingThoughOrderThere,
}

impl DifferenceKind {
    /// Returns the name used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Stale => "stale",
            Self::Mixed => "mixed",
            Self::WrongEventTime => "wrong_event_time",
            Self::Invented => "invented",
            Self::Doubled => "doubled",
            Self::PaymentWithoutOrder => "payment_without_order",
            Self::SupersededNotKept => "superseded_not_kept",
            Self::NotSuperseded => "not_superseded",
            Self::InventedDeadLetter => "invented_dead_letter",
            Self::WrongReason => "wrong_reason",
            Self::RecoveredWithoutEffect => "recovered_without_effect",
            Self::OpenThoughApplied => "open_though_applied",
            Self::WaitingThoughOrderThere => "waiting_though_order_there",
        }
    }
}

/// A difference between what was published and the store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Difference {
    /// The order id, if it is known.
    #[serde(serialize_with = "order_id")]
    pub order_id: Option<OrderId>,
    /// The kind of difference.
    pub kind: DifferenceKind,
    /// A description for people.
    pub what: String,
}

/// The units of one stream by where they are. `published` is the sum of the next four.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct StreamCounts {
    /// The number of distinct published messages.
    pub published: u64,
    /// The number of units that their row shows.
    pub current: u64,
    /// The number of units that a newer event has superseded.
    pub superseded: u64,
    /// The number of units in the dead-letter store that are not recovered.
    pub dead_letter_store: u64,
    /// The number of all other units.
    pub lost: u64,
    /// The number of further messages with the body of a unit.
    pub duplicates: u64,
}

/// The result of a verification.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Verification {
    /// The units of the orders stream.
    pub orders: StreamCounts,
    /// The units of the payments stream.
    pub payments: StreamCounts,
    /// The number of rows in the fact table.
    pub rows: u64,
    /// The number of dead letters by reason and state.
    #[serde(serialize_with = "dead_letters")]
    pub dead_letters: BTreeMap<(Reason, DeadLetterState), u64>,
    /// The number of column groups that show a corrected body instead of the dead letter's.
    pub corrected: u64,
    /// The number of differences by kind.
    pub faults: BTreeMap<DifferenceKind, u64>,
    /// The differences, limited to those of the lowest order ids.
    pub differences: BTreeSet<Difference>,
}

impl Verification {
    /// Returns whether every event is accounted for. A superseded payment that was not kept is the stated
    /// exception: its event is superseded all the same.
    pub fn is_clean(&self) -> bool {
        self.faults.keys().all(|kind| *kind == DifferenceKind::SupersededNotKept)
    }

    /// Returns the number of all differences.
    pub fn difference_count(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Adds a difference.
    pub(super) fn differs(&mut self, order_id: Option<OrderId>, kind: DifferenceKind, what: String) {
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
        writeln!(f, "orders        {}", self.orders)?;
        writeln!(f, "payments      {}", self.payments)?;
        writeln!(f, "rows          {}", self.rows)?;
        for ((reason, state), count) in &self.dead_letters {
            writeln!(f, "dead letters  {count} {reason}, {}", state.as_str())?;
        }
        if self.corrected > 0 {
            writeln!(f, "corrected     {}", self.corrected)?;
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
