//! The contract of carts.

use super::{NOW, own};
use crate::{CartLine, CartStore};
use ecom_store::contract::Subject;

type Store = Subject<dyn CartStore>;

ecom_store::contract_suite! { $ crate carts, crate::CartStore, cart_contract_tests: [
    a_line_reads_back_and_an_unknown_cart_is_empty,
    of_two_writes_the_later_one_stands_in_either_order_of_arrival,
    of_two_writes_at_one_time_one_stands_whatever_the_order_of_arrival,
    what_was_written_since_stays_when_a_line_is_removed,
    carts_are_kept_by_customer_and_product,
] }

fn line(sku: &str, quantity: i64, written_at: i64) -> CartLine {
    CartLine { sku: sku.into(), quantity, written_at }
}

async fn a_line_reads_back_and_an_unknown_cart_is_empty(store: &Store) {
    let customer = own();
    assert_eq!(store.cart(customer).await.unwrap(), []);
    store.put_line(customer, "Maus 🐭", 2, NOW).await.unwrap();
    store.put_line(customer, "Maus 🐭", 2, NOW).await.unwrap();
    assert_eq!(store.cart(customer).await.unwrap(), [line("Maus 🐭", 2, NOW)]);
}

async fn of_two_writes_the_later_one_stands_in_either_order_of_arrival(store: &Store) {
    for order in [[0, 1], [1, 0]] {
        let customer = own();
        for n in order {
            let (quantity, at) = [(9, NOW), (2, NOW + 1)][n];
            store.put_line(customer, "A", quantity, at).await.unwrap();
        }
        assert_eq!(store.cart(customer).await.unwrap(), [line("A", 2, NOW + 1)], "{order:?}");
    }
}

async fn of_two_writes_at_one_time_one_stands_whatever_the_order_of_arrival(store: &Store) {
    let mut stood = Vec::new();
    for quantities in [[2, 300], [300, 2]] {
        let customer = own();
        for quantity in quantities {
            store.put_line(customer, "A", quantity, NOW).await.unwrap();
        }
        stood.push(store.cart(customer).await.unwrap());
    }
    assert_eq!(stood[0], stood[1]);
}

async fn what_was_written_since_stays_when_a_line_is_removed(store: &Store) {
    let customer = own();
    store.put_line(customer, "A", 1, NOW).await.unwrap();
    store.put_line(customer, "A", 3, NOW + 5).await.unwrap();
    store.remove_line(customer, "A", NOW).await.unwrap();
    assert_eq!(store.cart(customer).await.unwrap(), [line("A", 3, NOW + 5)]);
    store.remove_line(customer, "A", NOW + 5).await.unwrap();
    assert_eq!(store.cart(customer).await.unwrap(), []);
    // A write that arrives late is older than the removal.
    store.put_line(customer, "A", 4, NOW + 5).await.unwrap();
    assert_eq!(store.cart(customer).await.unwrap(), []);
    store.put_line(customer, "A", 5, NOW + 6).await.unwrap();
    assert_eq!(store.cart(customer).await.unwrap(), [line("A", 5, NOW + 6)]);
    store.remove_line(customer, "B", NOW).await.unwrap();
}

async fn carts_are_kept_by_customer_and_product(store: &Store) {
    let (one, other) = (own(), own());
    for (customer, sku, quantity) in [(one, "B", 1), (one, "A", 2), (other, "A", 3)] {
        store.put_line(customer, sku, quantity, NOW).await.unwrap();
    }
    assert_eq!(store.cart(one).await.unwrap(), [line("A", 2, NOW), line("B", 1, NOW)]);
    assert_eq!(store.cart(other).await.unwrap(), [line("A", 3, NOW)]);
    store.remove_line(one, "A", NOW).await.unwrap();
    assert_eq!(store.cart(one).await.unwrap(), [line("B", 1, NOW)]);
}
