//! The inventory in a file that several processes have open, and as people see it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/folder.rs"]
mod folder;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use ecom_domain::order::OrderId;
use ecom_shop_domain::inventory::{
    Product, Reservation, ReservationState, Stock, StockChange, StockNeed, StockOutcome, decide,
};
use ecom_shop_domain::money::Currency;
use ecom_shop_embedded::EmbeddedShop;
use ecom_shop_store::{InventoryStore, ReadGuarantee};
use ecom_store::StoreError;
use folder::{raw, shop};
use futures_util::TryStreamExt;
use futures_util::future::join_all;

const SKU: &str = "SKU-1";
/// Whether the counts of each product are those of its reservations.
const ADDS_UP: &str = "SELECT available >= 0 AND on_hand + sold = stocked AND reserved =
    (SELECT coalesce(sum(quantity), 0) FROM shop_reservations AS r WHERE r.sku = s.sku AND state = 'reserved')
    FROM shop_stock AS s";

fn product(sku: &str, on_hand: i64) -> Product {
    Product {
        sku: sku.into(),
        name: "Mouse".into(),
        price_minor: 500,
        currency: Currency::try_new("USD").unwrap(),
        stock: Stock { on_hand, reserved: 0, stocked: on_hand, version: 1 },
    }
}

fn reserved(quantity: i64) -> Reservation {
    Reservation { quantity, state: ReservationState::Reserved }
}

/// Returns the change from the first version of a product of 100 units that reserves these for orders 1, 2 and so on.
fn reserving(sku: &str, quantities: &[i64]) -> StockChange {
    let reserved_in_all = quantities.iter().sum();
    StockChange {
        sku: sku.into(),
        stock: Stock { on_hand: 100, reserved: reserved_in_all, stocked: 100, version: 2 },
        reservations: (1..).map(OrderId).zip(quantities.iter().map(|units| reserved(*units))).collect(),
    }
}

async fn stock(
    shop: &EmbeddedShop,
    sku: &str,
    orders: &[OrderId],
) -> (Stock, BTreeMap<OrderId, Reservation>) {
    shop.stock(sku, orders).await.unwrap().unwrap()
}

/// Polls a write so many times, then drops it: a process that is killed, or a caller that gives up. Returns what it
/// answered before that.
async fn dropped_after<T>(polls: usize, write: impl Future<Output = T>) -> Option<T> {
    let mut write = pin!(write);
    for _ in 0..polls {
        if let Poll::Ready(answer) = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await {
            return Some(answer);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Meets the needs of orders as a processor does: decides on what it reads, writes, and decides again unless that was
/// written. Every third write is dropped in the middle.
async fn meet(
    shop: &EmbeddedShop,
    needs: &[(OrderId, StockNeed)],
    writes: &Cell<usize>,
) -> Vec<StockOutcome> {
    let orders: Vec<OrderId> = needs.iter().map(|(order_id, _)| *order_id).collect();
    loop {
        let (stock, reservations) = stock(shop, SKU, &orders).await;
        let (change, outcomes) = decide(SKU, &stock, &reservations, needs);
        let Some(change) = change else { return outcomes };
        writes.set(writes.get() + 1);
        let polls = if writes.get().is_multiple_of(3) { writes.get() % 7 } else { usize::MAX };
        if let Some(written) = dropped_after(polls, shop.change_stock(&change)).await
            && written.unwrap()
        {
            return outcomes;
        }
    }
}

/// Takes orders of one unit to their end, in groups of this size. Returns those whose units were sold.
async fn sell(
    shop: &EmbeddedShop,
    orders: &[OrderId],
    size: usize,
    writes: &Cell<usize>,
) -> BTreeSet<OrderId> {
    let mut sold = BTreeSet::new();
    for group in orders.chunks(size) {
        let wanted: Vec<_> = group.iter().map(|id| (*id, StockNeed::Reserve(1))).collect();
        let outcomes = meet(shop, &wanted, writes).await;
        let end = |outcome: &StockOutcome| match outcome {
            StockOutcome::Done => StockNeed::Sell,
            StockOutcome::Short { .. } | StockOutcome::Released => StockNeed::Release,
            StockOutcome::Sold | StockOutcome::NotReserved => panic!("{outcome:?}"),
        };
        let ends: Vec<_> = group.iter().copied().zip(outcomes.iter().map(end)).collect();
        let outcomes = meet(shop, &ends, writes).await;
        assert!(outcomes.iter().all(|outcome| *outcome == StockOutcome::Done), "{outcomes:?}");
        sold.extend(ends.iter().filter(|(_, need)| *need == StockNeed::Sell).map(|(id, _)| *id));
    }
    sold
}

#[tokio::test]
async fn two_processes_sell_a_hundred_units_to_a_hundred_of_two_hundred_orders_that_both_work_on() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (shop(dir.path()), shop(dir.path()));
    one.put_product(&product(SKU, 100)).await.unwrap();
    let orders: Vec<OrderId> = (1..=200).map(OrderId).collect();
    let reversed: Vec<OrderId> = orders.iter().rev().copied().collect();
    let (writes, is_selling) = (Cell::new(0), Cell::new(true));
    // Each order is worked on in both processes, as after a redelivery.
    let selling = async {
        let workers = (0..8).map(|worker: usize| {
            let (shop, orders) = if worker.is_multiple_of(2) { (&one, &orders) } else { (&two, &reversed) };
            sell(shop, &orders[worker / 2 * 50..][..50], 1 + worker * 2, &writes)
        });
        let sold = join_all(workers).await;
        is_selling.set(false);
        sold
    };
    let watching = async {
        let watcher = raw(dir.path());
        let mut versions = BTreeSet::new();
        while is_selling.get() {
            assert!(watcher.query_row(ADDS_UP, [], |row| row.get::<_, bool>(0)).unwrap());
            let version = "SELECT version FROM shop_products";
            versions.insert(watcher.query_row(version, [], |row| row.get::<_, i64>(0)).unwrap());
            tokio::task::yield_now().await;
        }
        versions.len()
    };
    let (sold, versions) = tokio::join!(selling, watching);
    assert!(versions > 10, "it was watched while it changed: {versions}");
    let (end, reservations) = stock(&one, SKU, &orders).await;
    assert_eq!((end.on_hand, end.reserved, end.stocked), (0, 0, 100));
    assert_eq!(stock(&two, SKU, &orders).await, (end, reservations.clone()));
    let in_state = |state| -> BTreeSet<OrderId> {
        reservations.iter().filter(|(_, found)| found.state == state).map(|(id, _)| *id).collect()
    };
    let (even, odd): (Vec<_>, Vec<_>) =
        sold.into_iter().enumerate().partition(|(worker, _)| worker.is_multiple_of(2));
    for of_process in [even, odd] {
        let sold: BTreeSet<OrderId> = of_process.into_iter().flat_map(|(_, sold)| sold).collect();
        assert_eq!(sold, in_state(ReservationState::Sold), "both processes were told the same");
    }
    assert_eq!(in_state(ReservationState::Sold).len(), 100);
    assert_eq!(in_state(ReservationState::Released).len(), 100);
}

#[tokio::test]
async fn a_write_that_is_dropped_in_the_middle_is_applied_with_all_its_reservations_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let process = shop(dir.path());
    let mut applied = 0;
    for polls in 0..40 {
        let sku = format!("SKU-{polls}");
        process.put_product(&product(&sku, 100)).await.unwrap();
        let change = reserving(&sku, &[1; 30]);
        // Half of the writes are dropped together with their process.
        if polls % 2 == 0 {
            dropped_after(polls, process.change_stock(&change)).await;
            // What was submitted before has been run once this was answered.
            assert!(!process.put_product(&product(&sku, 1)).await.unwrap());
        } else {
            let killed = shop(dir.path());
            dropped_after(polls, killed.change_stock(&change)).await;
            drop(killed);
        }
        let orders: Vec<OrderId> = (1..=30).map(OrderId).collect();
        let (stock, reservations) = stock(&process, &sku, &orders).await;
        match stock.version {
            1 => assert_eq!((stock, reservations), (product(&sku, 100).stock, BTreeMap::new())),
            _ => {
                assert_eq!((stock, reservations), (change.stock, change.reservations));
                applied += 1;
            }
        }
    }
    assert!((1..40).contains(&applied), "both were seen: {applied}");
    let adds_up: Vec<bool> = raw(dir.path())
        .prepare(ADDS_UP)
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(adds_up, [true; 40]);
}

#[tokio::test]
async fn a_refused_change_leaves_nothing_behind_and_what_was_written_with_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    for sku in ["A", "B", "C", "D"] {
        shop.put_product(&product(sku, 100)).await.unwrap();
    }
    let (good, stale) = (reserving("A", &[1, 2]), reserving("A", &[9]));
    // The second reservation is refused after the first was written, and the stock before its reservations.
    let (negative, oversold) = (reserving("B", &[5, -1]), reserving("C", &[101]));
    let last = reserving("D", &[100]);
    let (good_written, stale_written, negative_written, oversold_written, last_written) = tokio::join!(
        shop.change_stock(&good),
        shop.change_stock(&stale),
        shop.change_stock(&negative),
        shop.change_stock(&oversold),
        shop.change_stock(&last),
    );
    assert!(good_written.unwrap() && !stale_written.unwrap() && last_written.unwrap());
    for (refused, check) in [
        (negative_written, "quantity >= 0"),
        (oversold_written, "0 <= reserved AND reserved <= on_hand AND on_hand <= stocked"),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("change the stock of a product"), "{text}");
        assert!(text.contains(&format!("CHECK constraint failed: {check}")), "{text}");
    }
    let orders = [OrderId(1), OrderId(2)];
    assert_eq!(stock(&shop, "A", &orders).await, (good.stock, good.reservations));
    for sku in ["B", "C"] {
        assert_eq!(stock(&shop, sku, &orders).await, (product(sku, 100).stock, BTreeMap::new()));
    }
    assert_eq!(stock(&shop, "D", &orders).await, (last.stock, last.reservations));
}

#[tokio::test]
async fn a_change_from_a_version_that_is_not_stored_yet_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    shop.put_product(&product(SKU, 100)).await.unwrap();
    let mut change = reserving(SKU, &[1]);
    change.stock.version = 3;
    assert!(!shop.change_stock(&change).await.unwrap());
    assert_eq!(stock(&shop, SKU, &[OrderId(1)]).await, (product(SKU, 100).stock, BTreeMap::new()));
}

#[tokio::test]
async fn a_product_that_two_processes_create_or_change_at_once_is_written_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (shop(dir.path()), shop(dir.path()));
    for n in 0..50 {
        let mut written = product(&format!("SKU-{n}"), 10);
        for version in 1..=2 {
            let stock = Stock { version, ..written.stock };
            let (of_one, of_two) = (
                Product { name: "Mouse".into(), stock, ..written.clone() },
                Product { name: "Pad".into(), stock, ..written },
            );
            let (first, second) = tokio::join!(one.put_product(&of_one), two.put_product(&of_two));
            let (first, second) = (first.unwrap(), second.unwrap());
            assert!(first != second, "{n}");
            written = if first { of_one } else { of_two };
            for shop in [&one, &two] {
                let found = shop.product(&written.sku, ReadGuarantee::Committed).await.unwrap();
                assert_eq!(found.as_ref(), Some(&written));
            }
        }
    }
}

fn stock_as_people_see_it(dir: &Path) -> Vec<(String, String, i64, i64, i64, i64, i64)> {
    let sql = "SELECT sku, name, on_hand, reserved, available, sold, stocked FROM shop_stock ORDER BY sku";
    let connection = raw(dir);
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.try_into()).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn people_see_what_is_available_and_what_was_sold() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    for sku in ["B", SKU] {
        shop.put_product(&product(sku, 10)).await.unwrap();
    }
    let (writes, [first, second, third]) = (Cell::new(0), [1, 2, 3].map(OrderId));
    let wanted = [(first, 2), (second, 3), (third, 4)].map(|(id, units)| (id, StockNeed::Reserve(units)));
    meet(&shop, &wanted, &writes).await;
    meet(&shop, &[(first, StockNeed::Sell), (third, StockNeed::Release)], &writes).await;
    let name = "Mouse".to_owned();
    assert_eq!(
        stock_as_people_see_it(dir.path()),
        [("B".into(), name.clone(), 10, 0, 10, 0, 10), (SKU.into(), name, 8, 3, 5, 2, 10)]
    );
}

#[tokio::test]
async fn a_change_by_hand_that_oversells_is_refused_by_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    shop.put_product(&product(SKU, 100)).await.unwrap();
    assert!(shop.change_stock(&reserving(SKU, &[30])).await.unwrap());
    for change in [
        "UPDATE shop_products SET on_hand = 29",
        "UPDATE shop_products SET on_hand = 101",
        "UPDATE shop_products SET reserved = -1",
        "UPDATE shop_products SET version = 0",
        "UPDATE shop_products SET sku = ''",
        "UPDATE shop_reservations SET quantity = -1",
    ] {
        let error = raw(dir.path()).execute(change, []).unwrap_err();
        assert!(error.to_string().contains("CHECK constraint failed"), "{change}: {error}");
    }
}

#[tokio::test]
async fn a_value_that_a_person_broke_is_refused_with_its_row_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    for sku in [SKU, "B"] {
        shop.put_product(&product(sku, 100)).await.unwrap();
        assert!(shop.change_stock(&reserving(sku, &[30])).await.unwrap());
    }
    let update = format!(
        "UPDATE shop_products SET currency = 'Taler' WHERE sku = '{SKU}';
         UPDATE shop_reservations SET state = 'lost' WHERE sku = '{SKU}'"
    );
    raw(dir.path()).execute_batch(&update).unwrap();
    let currency = "the currency of SKU-1: \"Taler\" is not a known value";
    let state = "the state of SKU-1: \"lost\" is not a known value, in the reservation of order 1";
    for (error, fault) in [
        (shop.product(SKU, ReadGuarantee::Committed).await.unwrap_err(), currency),
        (shop.products_after(None, 10).await.unwrap_err(), currency),
        (shop.stock(SKU, &[OrderId(1)]).await.unwrap_err(), state),
        (shop.reservations().try_collect::<Vec<_>>().await.unwrap_err(), state),
    ] {
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        assert!(error.to_string().ends_with(fault), "{error}");
    }
    // The stock of other orders, and other products, are served.
    assert_eq!(shop.stock(SKU, &[OrderId(2)]).await.unwrap().unwrap().0.reserved, 30);
    assert!(shop.product("B", ReadGuarantee::Committed).await.unwrap().is_some());
}

#[tokio::test]
async fn scans_of_more_rows_than_a_page_leave_none_out_and_keep_products_together() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    let mut expected = Vec::new();
    // One of them ends exactly with the first page.
    for (sku, orders) in [("A", 400), ("B", 600), ("C", 1_500), ("D", 1)] {
        shop.put_product(&product(sku, 100)).await.unwrap();
        let reservations: BTreeMap<_, _> = (1..=orders)
            .map(|id| (OrderId(id), Reservation { quantity: 0, state: ReservationState::Released }))
            .collect();
        expected.extend(reservations.iter().map(|(id, found)| (sku.to_owned(), *id, *found)));
        assert!(shop.change_stock(&StockChange { reservations, ..reserving(sku, &[]) }).await.unwrap());
    }
    let all: Vec<_> = shop.reservations().try_collect().await.unwrap();
    assert_eq!(all, expected);
}
