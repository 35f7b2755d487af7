//! The simulated payment gateway: the outcome of a payment is a pure function of a seed and its id, so that a crash cannot
//! change it and tests can predict it.

use sha2::{Digest, Sha256};

use super::payment::PaymentRecord;

/// The outcome of a charge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChargeOutcome {
    /// It was charged.
    Completed,
    /// It was not charged, for this cause.
    Failed(String),
}

/// A payment method whose outcome is always the same, for tests.
const ALWAYS_SUCCEEDS: &str = "Test: succeed";
/// A payment method that always fails.
const ALWAYS_FAILS: &str = "Test: fail";
/// Payment on account: the invoice is sent with the goods, and nothing is charged now.
pub const INVOICE: &str = "Invoice";

/// The causes of failed charges.
const CAUSES: [&str; 4] = [
    "the card was declined",
    "insufficient funds",
    "the card has expired",
    "the issuer did not answer in time",
];

/// Returns the outcome of charging a payment. Of the payments of other methods than `Test: succeed`, `Test: fail` and
/// `Invoice`, the share `success_rate` is completed.
pub fn simulated(payment: &PaymentRecord, seed: u64, success_rate: f64) -> ChargeOutcome {
    match payment.payment_method.as_deref() {
        Some(ALWAYS_SUCCEEDS | INVOICE) => return ChargeOutcome::Completed,
        Some(ALWAYS_FAILS) => return ChargeOutcome::Failed(CAUSES[0].to_owned()),
        Some(_) | None => {}
    }
    let digest = Sha256::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(payment.payment_id.to_be_bytes())
        .finalize();
    let draw = u32::from_be_bytes(digest[..4].try_into().expect("a digest has 32 bytes"));
    if f64::from(draw) < success_rate * (f64::from(u32::MAX) + 1.0) {
        ChargeOutcome::Completed
    } else {
        ChargeOutcome::Failed(CAUSES[usize::from(digest[4]) % CAUSES.len()].to_owned())
    }
}
