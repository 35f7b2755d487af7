//! Ids derived from idempotency keys: the same key of the same account is the same record, for ever.

use sha2::{Digest, Sha256};

use super::order_number;
use ecom_domain::order::OrderId;

/// The ids are the 10^15 numbers from here on. They have 16 digits and are below 2^53, so that JavaScript reads them
/// exactly, and they begin with 7, as no payment card does, so that nothing takes them for card numbers.
pub const FIRST: i64 = 7_000_000_000_000_000;
const IDS: u64 = 1_000_000_000_000_000;

/// Whose request a record is, and its idempotency key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestKey {
    /// The account of the client.
    pub account: String,
    /// The idempotency key, chosen by the client, unique within the account.
    pub key: String,
}

/// Returns the ids that the order of a request may have, in the order in which they are tried: the first that no other
/// request has. Ids whose order number would end in a symbol that is neither a letter nor a digit are left out.
pub fn order_ids(request: &RequestKey) -> impl Iterator<Item = OrderId> + use<> {
    let ids = candidates(&[b"order", request.account.as_bytes(), request.key.as_bytes()]);
    ids.filter(|id| order_number::is_plain(*id)).map(OrderId)
}

/// Returns the ids that a transaction without an order may have, in the order in which they are tried.
pub fn transaction_ids(request: &RequestKey) -> impl Iterator<Item = i64> + use<> {
    candidates(&[b"transaction", request.account.as_bytes(), request.key.as_bytes()])
}

/// Returns the ids that a payment of an order may have, in the order in which they are tried; `attempt` counts the
/// payments of the order from 1.
pub fn payment_ids(order_id: OrderId, attempt: i64) -> impl Iterator<Item = i64> {
    candidates(&[b"payment", &order_id.0.to_be_bytes(), &attempt.to_be_bytes()])
}

fn candidates(parts: &[&[u8]]) -> impl Iterator<Item = i64> + use<> {
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    (0_u64..).map(move |n| {
        let digest = hash.clone().chain_update(n.to_be_bytes()).finalize();
        let head = u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
        FIRST + i64::try_from(head % IDS).expect("below 10^15")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(account: &str, key: &str) -> RequestKey {
        RequestKey { account: account.into(), key: key.into() }
    }

    #[test]
    fn the_same_key_has_the_same_ids_and_another_key_or_account_has_others() {
        let ids = |account: &str, name: &str| -> Vec<_> { order_ids(&key(account, name)).take(3).collect() };
        assert_eq!(ids("shop", "cart-42"), ids("shop", "cart-42"));
        let all: HashSet<_> =
            [("shop", "cart-42"), ("shopc", "art-42"), ("shop", "cart-43"), ("", "shopcart-42")]
                .into_iter()
                .flat_map(|(account, name)| ids(account, name))
                .collect();
        assert_eq!(all.len(), 12);
        let order_id = order_ids(&key("shop", "cart-42")).next().unwrap();
        let payments: HashSet<_> =
            (1..100).flat_map(|attempt| payment_ids(order_id, attempt).take(2)).collect();
        assert_eq!(payments.len(), 198);
        assert_ne!(transaction_ids(&key("shop", "cart-42")).next(), Some(order_id.0));
    }
}
