//! The random numbers of one record: a generator of its own per order id and purpose, so that no
//! record depends on what was generated before it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use ecom_domain::order::OrderId;

/// What the numbers are for. Each purpose has a stream of its own, so that another share in the
/// mixture changes who is late or missing, and no one's values.
#[derive(Clone, Copy)]
pub(super) enum PlanPurpose {
    /// Which events the order has.
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
    /// The reference preset's order.
    ReferenceOrder = 6,
    /// The reference preset's payment.
    ReferencePayment = 7,
}

/// The generator of one record; `cycle` is 0 where every cycle publishes the same content.
pub(super) fn rng(seed: u64, order_id: OrderId, cycle: u64, purpose: PlanPurpose) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&order_id.0.to_le_bytes());
    key[16..24].copy_from_slice(&cycle.to_le_bytes());
    key[24] = purpose as u8;
    ChaCha8Rng::from_seed(key)
}

/// One of these; the list is never empty.
pub(super) fn one_of<T: Copy>(rng: &mut ChaCha8Rng, list: &[T]) -> T {
    list[rng.random_range(0..list.len())]
}
