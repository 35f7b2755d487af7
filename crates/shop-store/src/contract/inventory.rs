//! The contract of the inventory.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;
use futures_util::future::{join, join_all};

use super::own;
use crate::{InventoryStore, ReadGuarantee};
use ecom_domain::order::OrderId;
use ecom_shop_domain::inventory::{
    Product, Reservation, ReservationState, Stock, StockChange, StockNeed, StockOutcome, decide, restocked,
};
use ecom_shop_domain::money::Currency;
use ecom_store::contract::Subject;

type Store = Subject<dyn InventoryStore>;

ecom_store::contract_suite! { $ crate inventory, crate::InventoryStore, inventory_contract_tests: [
    a_product_reads_back_whole,
    an_unknown_product_is_none_and_has_no_stock,
    a_product_is_written_from_the_version_before_only,
    a_change_is_written_with_its_reservations_or_not_at_all,
    every_state_of_a_reservation_reads_back,
    of_changes_at_once_exactly_one_is_written,
    a_hundred_units_are_sold_to_exactly_a_hundred_of_two_hundred_orders,
    each_product_is_on_exactly_one_page,
    reservations_are_those_of_all_products,
] }

fn product(on_hand: i64) -> Product {
    Product {
        sku: format!("SKU-{}", own()),
        name: "Maus \"🐭\"".into(),
        price_minor: 1_999,
        currency: Currency::try_new("EUR").unwrap(),
        stock: Stock { on_hand, reserved: 0, stocked: on_hand, version: 1 },
    }
}

async fn stored(store: &Store, sku: &str) -> Option<Product> {
    let linearizable = store.product(sku, ReadGuarantee::Linearizable).await.unwrap();
    let committed = store.product(sku, ReadGuarantee::Committed).await.unwrap();
    assert_eq!(linearizable, committed, "no write is undecided");
    linearizable
}

async fn a_product_reads_back_whole(store: &Store) {
    let product = product(5);
    assert!(store.put_product(&product).await.unwrap());
    assert_eq!(stored(store, &product.sku).await, Some(product));
}

async fn an_unknown_product_is_none_and_has_no_stock(store: &Store) {
    let product = product(5);
    assert_eq!(stored(store, &product.sku).await, None);
    assert_eq!(store.stock(&product.sku, &[OrderId(1)]).await.unwrap(), None);
    let change = StockChange {
        sku: product.sku.clone(),
        stock: Stock { version: 2, ..product.stock },
        reservations: BTreeMap::new(),
    };
    assert!(!store.change_stock(&change).await.unwrap());
    assert_eq!(stored(store, &product.sku).await, None);
}

async fn a_product_is_written_from_the_version_before_only(store: &Store) {
    let first = product(5);
    let other = Product { name: "another".into(), ..first.clone() };
    assert!(store.put_product(&first).await.unwrap());
    assert!(!store.put_product(&other).await.unwrap(), "it exists");
    let skipping = Product { stock: Stock { version: 3, ..first.stock }, ..other.clone() };
    assert!(!store.put_product(&skipping).await.unwrap());
    let next = Product { stock: restocked(&first.stock, 7).unwrap(), price_minor: 1, ..other };
    assert!(store.put_product(&next).await.unwrap());
    assert_eq!(stored(store, &first.sku).await, Some(next));
}

async fn a_change_is_written_with_its_reservations_or_not_at_all(store: &Store) {
    let product = product(5);
    store.put_product(&product).await.unwrap();
    let orders: Vec<OrderId> = (1..=3).map(OrderId).collect();
    let needs: Vec<_> = orders.iter().map(|id| (*id, StockNeed::Reserve(2))).collect();
    let (stock, none) = store.stock(&product.sku, &orders).await.unwrap().unwrap();
    assert_eq!((stock, none.len()), (product.stock, 0));
    let (change, outcomes) = decide(&product.sku, &stock, &none, &needs);
    let change = change.unwrap();
    assert_eq!(outcomes, [StockOutcome::Done, StockOutcome::Done, StockOutcome::Short { available: 1 }]);
    assert!(store.change_stock(&change).await.unwrap());
    let stale = StockChange {
        reservations: BTreeMap::from([(
            OrderId(3),
            Reservation { quantity: 9, state: ReservationState::Sold },
        )]),
        ..change.clone()
    };
    assert!(!store.change_stock(&stale).await.unwrap(), "the version has passed");
    let skipping = StockChange { stock: Stock { version: 9, ..change.stock }, ..stale };
    assert!(!store.change_stock(&skipping).await.unwrap(), "the version before is not there");
    let (stock, reservations) = store.stock(&product.sku, &orders).await.unwrap().unwrap();
    assert_eq!((stock, &reservations), (change.stock, &change.reservations));
    assert_eq!(stored(store, &product.sku).await.unwrap(), Product { stock, ..product });
}

async fn every_state_of_a_reservation_reads_back(store: &Store) {
    let product = product(100);
    store.put_product(&product).await.unwrap();
    for (version, (n, state)) in (2..).zip((1..).zip(ReservationState::ALL)) {
        let rows = BTreeMap::from([
            (OrderId(n), Reservation { quantity: n, state }),
            (OrderId(7_000_000_000_000_000 + n), Reservation { quantity: 0, state }),
        ]);
        let change = StockChange {
            sku: product.sku.clone(),
            stock: Stock { version, ..product.stock },
            reservations: rows.clone(),
        };
        assert!(store.change_stock(&change).await.unwrap());
        let ids: Vec<_> = rows.keys().copied().collect();
        let (_, found) = store.stock(&product.sku, &ids).await.unwrap().unwrap();
        assert_eq!(found, rows);
    }
}

async fn of_changes_at_once_exactly_one_is_written(store: &Store) {
    let product = product(100);
    store.put_product(&product).await.unwrap();
    let changes: Vec<_> = (1..=8)
        .map(|n| StockChange {
            sku: product.sku.clone(),
            stock: Stock { reserved: n, version: 2, ..product.stock },
            reservations: BTreeMap::from([(
                OrderId(n),
                Reservation { quantity: n, state: ReservationState::Reserved },
            )]),
        })
        .collect();
    let written = join_all(changes.iter().map(async |change| store.change_stock(change).await)).await;
    let ids: Vec<_> = (1..=8).map(OrderId).collect();
    let (stock, reservations) = store.stock(&product.sku, &ids).await.unwrap().unwrap();
    let winner = changes.iter().find(|change| change.stock == stock).unwrap();
    assert_eq!(reservations, winner.reservations, "nothing of the others");
    for (change, written) in changes.iter().zip(written) {
        // A call without an answer may have been applied.
        if let Ok(written) = written {
            assert!(!written || change == winner);
        }
    }
}

/// As the processors do it: decide on what was read, write, and decide again where it was not written.
async fn a_hundred_units_are_sold_to_exactly_a_hundred_of_two_hundred_orders(store: &Store) {
    let product = product(100);
    store.put_product(&product).await.unwrap();
    let (orders, others) = ((1..=100).map(OrderId), (101..=200).map(OrderId));
    let buy = async |orders: Vec<OrderId>| {
        let mut done = 0;
        for group in orders.chunks(16) {
            for need in [StockNeed::Reserve(1), StockNeed::Sell] {
                let needs: Vec<_> = group.iter().map(|id| (*id, need)).collect();
                done += loop {
                    let Ok(Some((stock, rows))) = store.stock(&product.sku, group).await else { continue };
                    let (change, outcomes) = decide(&product.sku, &stock, &rows, &needs);
                    let is_written = match &change {
                        Some(change) => matches!(store.change_stock(change).await, Ok(true)),
                        None => true,
                    };
                    if is_written {
                        break outcomes
                            .iter()
                            .filter(|outcome| need == StockNeed::Sell && **outcome == StockOutcome::Done)
                            .count();
                    }
                };
            }
        }
        done
    };
    let (one, other) = join(buy(orders.collect()), buy(others.collect())).await;
    let ids: Vec<_> = (1..=200).map(OrderId).collect();
    let (stock, rows) = store.stock(&product.sku, &ids).await.unwrap().unwrap();
    let sold = rows.values().filter(|row| row.state == ReservationState::Sold).count();
    assert_eq!((stock.on_hand, stock.reserved, stock.stocked, sold), (0, 0, 100, 100));
    assert!(one + other <= 100, "{one} + {other}");
}

async fn each_product_is_on_exactly_one_page(store: &Store) {
    let mut own_skus = BTreeSet::new();
    for _ in 0..30 {
        let product = product(1);
        store.put_product(&product).await.unwrap();
        // Reservations are no products.
        let rows =
            (1..=3).map(|n| (OrderId(n), Reservation { quantity: 0, state: ReservationState::Released }));
        let change = StockChange {
            sku: product.sku.clone(),
            stock: Stock { version: 2, ..product.stock },
            reservations: rows.collect(),
        };
        assert!(store.change_stock(&change).await.unwrap());
        own_skus.insert(product.sku);
    }
    for limit in [1, 7, 1_000] {
        let (mut behind, mut seen) = (None::<String>, Vec::new());
        loop {
            let page = store.products_after(behind.as_deref(), limit).await.unwrap();
            assert!(page.records.len() <= limit);
            seen.extend(page.records.into_iter().map(|product| product.sku));
            match page.next {
                Some(next) => behind = Some(next),
                None => break,
            }
        }
        let distinct: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(distinct.len(), seen.len(), "none twice");
        assert!(own_skus.is_subset(&distinct), "all of them");
    }
}

async fn reservations_are_those_of_all_products(store: &Store) {
    let mut expected = BTreeMap::new();
    for n in 1..=3 {
        let product = product(1_000);
        store.put_product(&product).await.unwrap();
        let rows: BTreeMap<_, _> = (1..=n * 50)
            .map(|id| (OrderId(id), Reservation { quantity: id, state: ReservationState::Reserved }))
            .collect();
        for (version, chunk) in (2..).zip(rows.iter().collect::<Vec<_>>().chunks(30)) {
            let reservations = chunk.iter().map(|(id, row)| (**id, **row)).collect();
            let change = StockChange {
                sku: product.sku.clone(),
                stock: Stock { version, ..product.stock },
                reservations,
            };
            assert!(store.change_stock(&change).await.unwrap());
        }
        expected.extend(rows.into_iter().map(|(id, row)| ((product.sku.clone(), id), row)));
    }
    let all: Vec<_> = store.reservations().try_collect().await.unwrap();
    let all: BTreeMap<_, _> = all.into_iter().map(|(sku, id, row)| ((sku, id), row)).collect();
    for (key, row) in expected {
        assert_eq!(all.get(&key), Some(&row), "{key:?}");
    }
}
