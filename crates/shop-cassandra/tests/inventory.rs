//! Products and their reservations in Cassandra's table: rows made by hand, changes that were cut off, and processes that
//! contend for one product. Skipped unless `CASSANDRA_CONTACT_POINTS` is set.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/scratch.rs"]
mod scratch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ecom_domain::order::OrderId;
use ecom_shop_cassandra::CassandraShop;
use ecom_shop_domain::inventory::{
    Product, Reservation, ReservationState, Stock, StockNeed, StockOutcome, decide, restocked,
};
use ecom_shop_domain::money::Currency;
use ecom_shop_store::{CartStore, InventoryStore, ReadGuarantee};
use ecom_store::StoreError;
use futures_util::TryStreamExt;
use futures_util::future::{join, join_all};
use scratch::Scratch;
use tokio::time::Instant;

fn product(sku: &str, on_hand: i64) -> Product {
    Product {
        sku: sku.into(),
        name: "Mouse".into(),
        price_minor: 1_999,
        currency: Currency::try_new("USD").unwrap(),
        stock: Stock { on_hand, reserved: 0, stocked: on_hand, version: 1 },
    }
}

/// How a process fared with a product.
#[derive(Default, Debug)]
struct Rounds {
    written: usize,
    /// Not written, because another process had changed the product.
    lost: usize,
    /// Reads and writes that were not answered.
    unanswered: usize,
}

/// Reads the stock of a product and these reservations of it.
async fn read(
    shop: &CassandraShop,
    sku: &str,
    orders: &[OrderId],
    rounds: &mut Rounds,
) -> (Stock, BTreeMap<OrderId, Reservation>) {
    loop {
        match shop.stock(sku, orders).await {
            Ok(found) => return found.unwrap(),
            Err(error) => {
                assert!(error.is_outage(), "{error}");
                rounds.unanswered += 1;
            }
        }
    }
}

/// Meets the same need of several orders, as processors do: decides on what was read, writes, and decides anew where it was
/// not written. Returns what became of each.
async fn meet(
    shop: &CassandraShop,
    sku: &str,
    orders: &[OrderId],
    need: StockNeed,
    rounds: &mut Rounds,
) -> Vec<StockOutcome> {
    let needs: Vec<_> = orders.iter().map(|order| (*order, need)).collect();
    loop {
        let (stock, reservations) = read(shop, sku, orders, rounds).await;
        let (change, outcomes) = decide(sku, &stock, &reservations, &needs);
        let Some(change) = change else { return outcomes };
        match shop.change_stock(&change).await {
            Ok(true) => {
                rounds.written += 1;
                return outcomes;
            }
            Ok(false) => rounds.lost += 1,
            Err(error) => {
                assert!(error.is_outage(), "{error}");
                rounds.unanswered += 1;
            }
        }
    }
}

/// Reserves one unit for each order, in groups.
async fn reserve(shop: &CassandraShop, sku: &str, orders: Vec<OrderId>, group: usize) -> Rounds {
    let mut rounds = Rounds::default();
    for group in orders.chunks(group) {
        let outcomes = meet(shop, sku, group, StockNeed::Reserve(1), &mut rounds).await;
        assert!(outcomes.iter().all(|outcome| *outcome == StockOutcome::Done));
    }
    rounds
}

/// Asserts that so many orders, from 1, have reserved a unit each, and nobody else has.
async fn assert_reserved(shop: &CassandraShop, sku: &str, orders: i64) {
    let ids: Vec<_> = (0..=orders + 1).map(OrderId).collect();
    let (stock, rows) = read(shop, sku, &ids, &mut Rounds::default()).await;
    let one = Reservation { quantity: 1, state: ReservationState::Reserved };
    assert_eq!((stock.reserved, rows.len() as i64), (orders, orders));
    assert!(rows.values().all(|row| *row == one));
}

#[tokio::test]
async fn a_product_is_created_where_nothing_or_only_reservations_are() {
    let Some(scratch) = Scratch::new("create").await else { return };
    let shop = &scratch.shop;
    scratch
        .cql(
            "INSERT INTO ecom_store.shop_products (sku, order_id, quantity, state) \
             VALUES ('by hand', 7, 2, 'released') IF NOT EXISTS",
        )
        .await;
    for guarantee in [ReadGuarantee::Linearizable, ReadGuarantee::Committed] {
        assert_eq!(shop.product("by hand", guarantee).await.unwrap(), None);
    }
    assert_eq!(shop.stock("by hand", &[OrderId(7)]).await.unwrap(), None);
    for sku in ["by hand", "new"] {
        let first = product(sku, 5);
        let later = Product { stock: Stock { version: 2, ..first.stock }, ..first.clone() };
        assert!(!shop.put_product(&later).await.unwrap(), "there is no version 1");
        assert!(shop.put_product(&first).await.unwrap());
        assert!(!shop.put_product(&first).await.unwrap());
        assert_eq!(shop.product(sku, ReadGuarantee::Committed).await.unwrap(), Some(first));
    }
    let (_, rows) = shop.stock("by hand", &[OrderId(7)]).await.unwrap().unwrap();
    assert_eq!(rows[&OrderId(7)], Reservation { quantity: 2, state: ReservationState::Released });
    scratch.drop().await;
}

#[tokio::test]
async fn products_and_reservations_of_many_pages_are_read_and_what_is_none_is_passed_over() {
    const PRODUCTS: i64 = 900;
    let Some(scratch) = Scratch::new("pages").await else { return };
    let shop = &scratch.shop;
    let skus: BTreeSet<String> = (0..PRODUCTS).map(|n| format!("SKU-{n}")).collect();
    for some in skus.iter().collect::<Vec<_>>().chunks(50) {
        let put = some.iter().map(async |sku| shop.put_product(&product(sku, 10_000)).await.unwrap());
        assert!(join_all(put).await.into_iter().all(|is_written| is_written));
    }
    let none: Vec<_> = shop.reservations().try_collect().await.unwrap();
    assert_eq!(none, []);
    for n in 0..20 {
        let by_hand = format!(
            "INSERT INTO ecom_store.shop_products (sku, order_id, quantity, state) VALUES ('by hand {n}', 7, 2, 'sold') \
             IF NOT EXISTS"
        );
        scratch.cql(&by_hand).await;
    }
    // More than a page of reservations of one product.
    let orders: Vec<_> = (1..=5_000).map(OrderId).collect();
    reserve(shop, "SKU-7", orders, 500).await;

    for limit in [7, 100, 450, PRODUCTS as usize, 5_000] {
        let (mut behind, mut seen) = (None::<String>, Vec::new());
        loop {
            let page = shop.products_after(behind.as_deref(), limit).await.unwrap();
            assert!(page.records.len() <= limit);
            seen.extend(page.records.into_iter().map(|product| product.sku));
            match page.next {
                Some(next) => behind = Some(next),
                None => break,
            }
        }
        assert_eq!(seen.len(), skus.len());
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), skus);
    }
    let all: Vec<_> = shop.reservations().try_collect().await.unwrap();
    assert_eq!(all.len(), 5_020);
    let of_product: Vec<_> = all.iter().map(|(sku, id, _)| (sku.as_str(), id.0)).collect();
    let start = of_product.iter().position(|(sku, _)| *sku == "SKU-7").unwrap();
    let together = (1..=5_000).map(|id| ("SKU-7", id));
    assert!(of_product[start..start + 5_000].iter().copied().eq(together));
    scratch.drop().await;
}

#[tokio::test]
async fn a_product_a_reservation_or_a_line_made_by_hand_is_an_error_that_names_it() {
    let Some(scratch) = Scratch::new("products").await else { return };
    let shop = &scratch.shop;
    for sku in ["A", "B"] {
        shop.put_product(&product(sku, 5)).await.unwrap();
    }
    scratch
        .cql("UPDATE ecom_store.shop_products SET state = 'lost' WHERE sku = 'A' AND order_id = 7 IF state = null")
        .await;
    scratch.cql("UPDATE ecom_store.shop_products SET currency = null WHERE sku = 'B' IF version = 1").await;
    scratch.cql("INSERT INTO ecom_store.shop_carts (customer_id, sku) VALUES (7, 'A')").await;
    let refused = |error: StoreError, fault: &str| {
        assert!(matches!(error, StoreError::Refused { .. }) && error.to_string().ends_with(fault), "{error}");
    };
    let lost = r#"the reservation of product "A" by order 7 has the unknown value "lost" in column state"#;
    refused(shop.stock("A", &[OrderId(7)]).await.unwrap_err(), lost);
    refused(shop.reservations().try_collect::<Vec<_>>().await.unwrap_err(), lost);
    assert!(shop.stock("A", &[OrderId(8)]).await.unwrap().is_some(), "of another order");
    let no_currency = r#"product "B" cannot be read: column currency is null"#;
    refused(shop.product("B", ReadGuarantee::Committed).await.unwrap_err(), no_currency);
    refused(shop.stock("B", &[]).await.unwrap_err(), no_currency);
    refused(shop.products_after(None, 10).await.unwrap_err(), no_currency);
    let no_quantity = r#"line "A" of the cart of customer 7 cannot be read: column quantity is null"#;
    refused(shop.cart(7).await.unwrap_err(), no_quantity);
    scratch.drop().await;
}

/// Whether a change was applied that was cut off is found out by deciding anew.
#[tokio::test]
async fn a_change_that_was_cut_off_is_decided_on_anew_and_counts_once() {
    let Some(scratch) = Scratch::new("cut_stock").await else { return };
    let shop = &scratch.shop;
    shop.put_product(&product("A", 200)).await.unwrap();
    let mut rounds = Rounds::default();
    let mut applied = 0;
    for n in 1..=100 {
        let limit = Duration::from_micros(200 * (n % 25) as u64);
        let order = OrderId(n);
        // The change before may still be under way.
        let (stock, rows) = read(shop, "A", &[order], &mut rounds).await;
        let (change, _) = decide("A", &stock, &rows, &[(order, StockNeed::Reserve(1))]);
        let cut_off = tokio::time::timeout(limit, shop.change_stock(&change.unwrap())).await.is_err();
        let written = rounds.written;
        let outcomes = meet(shop, "A", &[order], StockNeed::Reserve(1), &mut rounds).await;
        assert_eq!(outcomes, [StockOutcome::Done]);
        applied += usize::from(cut_off && rounds.written == written);
    }
    println!("{applied} of 100 changes were applied although they were cut off; then {rounds:?}");
    assert_reserved(shop, "A", 100).await;
    scratch.drop().await;
}

/// An order that ended leaves a mark, so that a process that was frozen since before finds that out.
#[tokio::test]
async fn a_change_decided_before_others_is_not_written_whatever_they_were() {
    let Some(scratch) = Scratch::new("frozen").await else { return };
    let shop = &scratch.shop;
    let first = product("A", 5);
    shop.put_product(&first).await.unwrap();
    let order = OrderId(1);
    let mut rounds = Rounds::default();
    let (stock, rows) = shop.stock("A", &[order]).await.unwrap().unwrap();
    let (frozen, _) = decide("A", &stock, &rows, &[(order, StockNeed::Reserve(5))]);
    let frozen = frozen.unwrap();
    meet(shop, "A", &[order], StockNeed::Release, &mut rounds).await;
    assert!(!shop.change_stock(&frozen).await.unwrap(), "the order has ended");
    let outcomes = meet(shop, "A", &[order], StockNeed::Reserve(5), &mut rounds).await;
    assert_eq!(outcomes, [StockOutcome::Released]);

    let (stock, rows) = shop.stock("A", &[OrderId(2)]).await.unwrap().unwrap();
    let (frozen, _) = decide("A", &stock, &rows, &[(OrderId(2), StockNeed::Reserve(5))]);
    let restocked = Product { stock: restocked(&stock, 4).unwrap(), price_minor: 5, ..first };
    assert!(shop.put_product(&restocked).await.unwrap());
    assert!(!shop.change_stock(&frozen.unwrap()).await.unwrap(), "there are fewer units");
    let outcomes = meet(shop, "A", &[OrderId(2)], StockNeed::Reserve(5), &mut rounds).await;
    assert_eq!(outcomes, [StockOutcome::Short { available: 4 }]);
    assert_eq!(shop.product("A", ReadGuarantee::Linearizable).await.unwrap(), Some(restocked));
    scratch.drop().await;
}

/// As after a redelivery, where the one before is still at work.
#[tokio::test]
async fn the_same_orders_of_two_processes_at_once_count_once() {
    let Some(scratch) = Scratch::new("same").await else { return };
    let other = Scratch::connect(scratch.settings.clone()).await;
    scratch.shop.put_product(&product("A", 1_000)).await.unwrap();
    let orders: Vec<_> = (1..=400).map(OrderId).collect();
    let rounds = join(
        reserve(&scratch.shop, "A", orders.clone(), 8),
        // In other groups, so that each meets orders that are reserved and orders that are not.
        reserve(&other.shop, "A", orders, 7),
    );
    println!("{:?}", tokio::time::timeout(Duration::from_secs(100), rounds).await.expect("they end"));
    assert_reserved(&scratch.shop, "A", 400).await;
    scratch.drop().await;
}

/// Prints how many reservations a second there are of one product: of one process, and of two that contend.
#[tokio::test]
async fn reservations_of_one_product_in_groups_each_count_once() {
    let Some(scratch) = Scratch::new("groups").await else { return };
    let other = Scratch::connect(scratch.settings.clone()).await;
    for (group, orders) in [(1_usize, 200_i64), (8, 1_600), (32, 3_200)] {
        let ids = |orders: std::ops::RangeInclusive<i64>| orders.map(OrderId).collect::<Vec<_>>();
        for processes in [1, 2] {
            let sku = format!("{group} by {processes}");
            scratch.shop.put_product(&product(&sku, orders)).await.unwrap();
            let started = Instant::now();
            let half = if processes == 2 { orders / 2 } else { 0 };
            let rounds = join(
                reserve(&scratch.shop, &sku, ids(half + 1..=orders), group),
                reserve(&other.shop, &sku, ids(1..=half), group),
            );
            let rounds = tokio::time::timeout(Duration::from_secs(100), rounds).await.expect("they end");
            let rate = orders as f64 / started.elapsed().as_secs_f64();
            println!("groups of {group}, {processes} processes: {rate:.0} reservations/s; {rounds:?}");
            assert_reserved(&scratch.shop, &sku, orders).await;
        }
    }
    scratch.drop().await;
}
