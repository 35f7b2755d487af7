//! The ports of the shop's store: records of orders and payments, the inventory, and carts.
//!
//! A record is created once and changes by conditional writes only: from one revision to the next. Every write returns
//! the record that stands afterwards, whoever wrote it, and callers go on from that. So the outcome of a write need not be
//! known: where it timed out, it is repeated, and the same record stands as if it had been answered the first time.

mod carts;
#[cfg(feature = "contract")]
pub mod contract;
mod inventory;
#[cfg(feature = "memory")]
pub mod memory;
mod orders;
mod payments;

pub use carts::{CartLine, CartStore};
pub use inventory::InventoryStore;
pub use orders::OrderStore;
pub use payments::PaymentStore;

/// The guarantee of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadGuarantee {
    /// Returns the outcome of every write that was begun before: an undecided one is decided first. For decisions.
    Linearizable,
    /// Returns at least every write that was answered before. For clients that look.
    Committed,
}

/// The record that stands after an attempt to create it.
#[derive(Clone, PartialEq, Debug)]
pub struct Created<R> {
    /// The record, which may be of another request.
    pub record: R,
    /// True if this call created it. After a call that timed out, false does not mean that another one did.
    pub is_new: bool,
}

/// A place in a list that is sorted by time, newest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cursor {
    /// The time of a record, in microseconds since the epoch.
    pub at: i64,
    /// Its id.
    pub id: i64,
}

/// A page of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Page<R, C> {
    /// The records.
    pub records: Vec<R>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<C>,
}
