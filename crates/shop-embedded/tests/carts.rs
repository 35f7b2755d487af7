//! Carts in the embedded file: writes in any order, from several processes, and the rows that people see.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/folder.rs"]
mod folder;

use ecom_shop_embedded::EmbeddedShop;
use ecom_shop_store::{CartLine, CartStore};
use ecom_store::StoreError;
use folder::{raw, shop};
use futures_util::future::join_all;

/// The time of the tests.
const NOW: i64 = 1_750_000_000_000_007;
const SKU: &str = "SKU-1";

/// The quantity, `None` for a removal, and the time of a write.
type Write = (Option<i64>, i64);

async fn write(shop: &EmbeddedShop, customer_id: i64, (quantity, written_at): Write) {
    let written = match quantity {
        Some(quantity) => shop.put_line(customer_id, SKU, quantity, written_at).await,
        None => shop.remove_line(customer_id, SKU, written_at).await,
    };
    written.unwrap();
}

fn line((quantity, written_at): Write) -> Option<CartLine> {
    Some(CartLine { sku: SKU.into(), quantity: quantity?, written_at })
}

fn orders_of_arrival(writes: &[Write]) -> Vec<Vec<Write>> {
    let Some((first, others)) = writes.split_first() else { return vec![Vec::new()] };
    let with_first = |order: Vec<Write>| {
        (0..=order.len()).map(move |place| {
            let mut order = order.clone();
            order.insert(place, *first);
            order
        })
    };
    orders_of_arrival(others).into_iter().flat_map(with_first).collect()
}

#[tokio::test]
async fn in_whatever_order_writes_arrive_the_same_one_stands() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    let mut customer_id = 0;
    for (writes, stands) in [
        ([(Some(1), NOW), (Some(9), NOW + 1), (None, NOW + 2), (Some(4), NOW + 3)], (Some(4), NOW + 3)),
        ([(Some(1), NOW), (None, NOW + 3), (Some(4), NOW + 3), (Some(9), NOW + 2)], (None, NOW + 3)),
        ([(Some(9), NOW), (Some(2), NOW + 1), (Some(3), NOW + 1), (None, NOW)], (Some(3), NOW + 1)),
        ([(None, NOW + 1), (None, NOW), (Some(1), NOW), (Some(1), NOW + 1)], (None, NOW + 1)),
    ] {
        for order in orders_of_arrival(&writes) {
            customer_id += 1;
            // They run in the order in which they are submitted.
            join_all(order.iter().map(|next| write(&shop, customer_id, *next))).await;
            let cart = shop.cart(customer_id).await.unwrap();
            assert_eq!(cart, Vec::from_iter(line(stands)), "{order:?}");
        }
    }
    assert_eq!(customer_id, 4 * 24);
}

#[tokio::test]
async fn of_two_processes_that_change_the_same_lines_both_see_the_later_write() {
    const LINES: i64 = 100;
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (shop(dir.path()), shop(dir.path()));
    let write_all = async |shop: &EmbeddedShop, of_customer: fn(i64) -> Write| {
        join_all((0..LINES).map(|id| write(shop, id, of_customer(id)))).await;
    };
    tokio::join!(
        write_all(&one, |id| (Some(1), NOW + id % 3)),
        write_all(&two, |id| ((id % 2 == 0).then_some(2), NOW + 1)),
    );
    for id in 0..LINES {
        // Of writes at the same time the removal stands, or the larger quantity.
        let stands = match (id % 3, id % 2) {
            (2, _) => (Some(1), NOW + 2),
            (_, 0) => (Some(2), NOW + 1),
            (_, _) => (None, NOW + 1),
        };
        for shop in [&one, &two] {
            assert_eq!(shop.cart(id).await.unwrap(), Vec::from_iter(line(stands)), "{id}");
        }
    }
}

#[tokio::test]
async fn a_removed_line_keeps_its_row_with_the_time_of_its_removal() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    let row = || -> (Option<i64>, i64) {
        let sql = "SELECT quantity, written_at FROM shop_carts WHERE customer_id = 7 AND sku = ?1";
        raw(dir.path()).query_row(sql, [SKU], |row| row.try_into()).unwrap()
    };
    write(&shop, 7, (Some(2), NOW)).await;
    write(&shop, 7, (None, NOW + 5)).await;
    assert_eq!(row(), (None, NOW + 5));
    write(&shop, 7, (Some(3), NOW + 4)).await;
    assert_eq!(row(), (None, NOW + 5));
    write(&shop, 7, (Some(3), NOW + 6)).await;
    assert_eq!(row(), (Some(3), NOW + 6));
}

#[tokio::test]
async fn a_quantity_that_is_not_positive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    let (zero, one) = tokio::join!(shop.put_line(7, SKU, 0, NOW), shop.put_line(8, SKU, 1, NOW));
    let error = zero.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("CHECK constraint failed: quantity > 0"), "{error}");
    one.unwrap();
    assert_eq!(shop.cart(7).await.unwrap(), []);
    assert_eq!(shop.cart(8).await.unwrap().len(), 1, "what was written with it is");
}
