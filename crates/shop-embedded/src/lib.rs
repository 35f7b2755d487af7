//! The shop's store in the embedded file: the records of orders and payments, the inventory, and carts, in
//! tables of their own beside those of the pipeline.
//!
//! A write that another process has made impossible changes nothing; of an order or payment, the record that
//! stands is read in the same transaction. Both guarantees of a read are the same here: a read sees every write that was
//! answered before, and no write stays undecided.

mod carts;
mod columns;
mod embedded_shop;
mod inventory;
mod orders;
mod page;
mod payments;
#[cfg(test)]
mod testing;

pub use embedded_shop::{EmbeddedShop, SCHEMA};
