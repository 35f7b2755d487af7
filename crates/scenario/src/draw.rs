//! Random numbers by order id and purpose, so that no record depends on which ones were generated before it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use ecom_domain::order::OrderId;

/// The purpose of random numbers. Each has its own stream, so that changing a share of the mixture changes
/// which orders are late or missing, but not their values.
#[derive(Clone, Copy)]
pub(super) enum PlanPurpose {
    /// The set of events that the order has.
    Traits = 0,
    /// The order and its update.
    Order = 1,
    /// The payment.
    Payment = 2,
    /// The second payment.
    SecondPayment = 3,
    /// The values of a bad order message.
    BadOrder = 4,
    /// The values of a bad payment message.
    BadPayment = 5,
    /// An order of the reference preset.
    ReferenceOrder = 6,
    /// A payment of the reference preset.
    ReferencePayment = 7,
}

/// Returns the generator of one record. `cycle` is 0 if every cycle publishes the same values.
pub(super) fn rng(seed: u64, order_id: OrderId, cycle: u64, purpose: PlanPurpose) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&order_id.0.to_le_bytes());
    key[16..24].copy_from_slice(&cycle.to_le_bytes());
    key[24] = purpose as u8;
    ChaCha8Rng::from_seed(key)
}

/// Returns one of the elements.
///
/// # Panics
/// If the list is empty.
pub(super) fn one_of<T: Copy>(rng: &mut ChaCha8Rng, list: &[T]) -> T {
    list[rng.random_range(0..list.len())]
}
