//! The shop in a file that several processes have open. Each `open` is to the file what a process is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/folder.rs"]
mod folder;
#[path = "fixture/records.rs"]
mod records;

use std::collections::BTreeSet;
use std::time::Duration;

use ecom_domain::event_time::EventTime;
use ecom_domain::order::{Order, OrderId};
use ecom_embedded::{OpenError, Options, open};
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_domain::payment::PaymentRecord;
use ecom_shop_domain::policy::OrderPolicy;
use ecom_shop_embedded::EmbeddedShop;
use ecom_shop_store::{Created, OrderStore, PaymentStore, ReadGuarantee};
use ecom_store::{FactStore, StoreError};
use folder::{options, raw, shop};
use futures_util::future::join_all;
use records::{NOW, order, transaction};

/// The records that two processes race for.
const RACES: i64 = 100;

/// Returns the record after a move that says who wrote it.
fn moved(order: &OrderRecord, by: String) -> OrderRecord {
    OrderRecord {
        state: OrderState::Placed,
        state_at: order.state_at + 1,
        revision: order.revision + 1,
        detail: Some(by),
        ..order.clone()
    }
}

#[tokio::test]
async fn of_two_processes_that_create_the_same_orders_one_is_first_and_both_see_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (shop(dir.path()), shop(dir.path()));
    for n in 1..=RACES {
        let (of_one, of_two) = (order(n), OrderRecord { customer_id: 8, ..order(n) });
        let (first, second) = tokio::join!(one.create_order(&of_one), two.create_order(&of_two));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(first.is_new != second.is_new, "{first:?} {second:?}");
        assert_eq!(first.record, second.record);
        assert_eq!(first.record, if first.is_new { of_one } else { of_two });
    }
}

#[tokio::test]
async fn of_two_processes_that_create_the_same_payments_one_is_first_and_both_see_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (shop(dir.path()), shop(dir.path()));
    let of_one: Vec<_> = (1..=RACES).map(transaction).collect();
    let of_two: Vec<_> =
        of_one.iter().map(|payment| PaymentRecord { amount_minor: 1, ..payment.clone() }).collect();
    let create = async |shop: &EmbeddedShop, payments: &[PaymentRecord]| -> Vec<Created<PaymentRecord>> {
        let created = join_all(payments.iter().map(|payment| shop.create_payment(payment))).await;
        created.into_iter().map(Result::unwrap).collect()
    };
    let (first, second) = tokio::join!(create(&one, &of_one), create(&two, &of_two));
    for (first, second) in first.iter().zip(&second) {
        assert!(first.is_new != second.is_new, "{first:?} {second:?}");
        assert_eq!(first.record, second.record);
    }
}

#[tokio::test]
async fn of_two_processes_that_move_an_order_each_revision_is_written_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (shop(dir.path()), shop(dir.path()));
    one.create_order(&order(1)).await.unwrap();
    // Each worker moves on from what it saw last, as a processor does.
    let work = async |shop: &EmbeddedShop, worker: usize| -> Vec<i64> {
        let mut current = order(1);
        let mut written = Vec::new();
        while current.revision < RACES {
            let own = moved(&current, format!("worker {worker}"));
            let stands = shop.move_order(&own).await.unwrap().unwrap();
            assert!(stands.revision > current.revision, "{stands:?}");
            if stands == own {
                written.push(own.revision);
            }
            current = stands;
        }
        written
    };
    let workers = (0..6).map(|worker| work(if worker % 2 == 0 { &one } else { &two }, worker));
    let written: Vec<i64> = join_all(workers).await.concat();
    let distinct: BTreeSet<i64> = written.iter().copied().collect();
    let last = one.order(OrderId(order(1).order_id.0), ReadGuarantee::Linearizable).await.unwrap().unwrap();
    assert_eq!(written.len(), distinct.len(), "none twice");
    assert_eq!(distinct, (1..=last.revision).collect(), "and none by nobody");
}

#[tokio::test]
async fn of_two_processes_that_end_a_payment_one_does_and_both_see_how() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (shop(dir.path()), shop(dir.path()));
    for n in 1..=RACES {
        let processing = transaction(n).processing(&OrderPolicy::default(), NOW + 1);
        one.create_payment(&transaction(n)).await.unwrap();
        two.move_payment(&processing).await.unwrap();
        let (completed, failed) =
            (processing.completed(NOW + 2), processing.failed(NOW + 2, "declined".into()));
        let (first, second) = tokio::join!(one.move_payment(&completed), two.move_payment(&failed));
        let (first, second) = (first.unwrap().unwrap(), second.unwrap().unwrap());
        assert_eq!(first, second);
        assert!(first == completed || first == failed, "{first:?}");
    }
}

#[tokio::test]
async fn a_file_that_another_process_has_open_gets_the_tables_and_serves_both() {
    let dir = tempfile::tempdir().unwrap();
    let consumer = open(dir.path(), Options::new(Vec::new())).unwrap();
    let fact = |id: i64| Order {
        order_id: OrderId(id),
        customer_id: 7,
        item: "Mouse".into(),
        quantity: 2,
        price: 5.0,
        shipping_address: "1 Main St".into(),
        order_status: "Pending".into(),
        creation_date: "2025-06-15".into(),
    };
    consumer.record_order(&fact(1), EventTime::stored(NOW)).await.unwrap();
    let error = open(dir.path(), Options { extensions: options().extensions, ..Options::existing() });
    assert!(matches!(error, Err(OpenError::MissingExtension { extension: "shop", .. })), "{error:?}");
    let shop = shop(dir.path());
    let (created, recorded) = (order(1), fact(2));
    let (created, recorded) =
        tokio::join!(shop.create_order(&created), consumer.record_order(&recorded, EventTime::stored(NOW)));
    assert!(created.unwrap().is_new && recorded.is_ok());
    assert!(consumer.fact(OrderId(2)).await.unwrap().is_some());
    let reader = open(dir.path(), Options { extensions: options().extensions, ..Options::existing() });
    let reader = EmbeddedShop::new(reader.unwrap());
    assert_eq!(reader.order(order(1).order_id, ReadGuarantee::Committed).await.unwrap(), Some(order(1)));
    assert!(!reader.create_order(&order(1)).await.unwrap().is_new);
}

#[tokio::test]
async fn while_another_process_keeps_the_lock_writes_are_an_outage_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    shop(dir.path()).create_order(&order(1)).await.unwrap();
    let options = Options { busy_timeout: Duration::from_millis(20), ..options() };
    let stopped = raw(dir.path());
    stopped.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The tables exist: opening needs no lock.
    let shop = EmbeddedShop::new(open(dir.path(), options).unwrap());
    let next = moved(&order(1), "processor".into());
    let created = shop.create_order(&order(2)).await.unwrap_err();
    let written = shop.move_order(&next).await.unwrap_err();
    let recorded = shop.create_payment(&transaction(1)).await.unwrap_err();
    for (error, what) in
        [(created, "create an order"), (written, "update an order"), (recorded, "create a payment")]
    {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("could not {what} on embedded at ")), "{error}");
    }
    let read = async |n: i64| shop.order(order(n).order_id, ReadGuarantee::Linearizable).await.unwrap();
    assert_eq!((read(1).await, read(2).await), (Some(order(1)), None));
    stopped.execute_batch("COMMIT").unwrap();
    // What was refused is not applied later, and the repetition is.
    assert_eq!((read(1).await, read(2).await), (Some(order(1)), None));
    assert!(shop.create_order(&order(2)).await.unwrap().is_new);
    assert_eq!(shop.move_order(&next).await.unwrap(), Some(next));
}

#[tokio::test]
async fn a_file_that_was_opened_without_the_tables_refuses_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let shop = EmbeddedShop::new(open(dir.path(), Options::new(Vec::new())).unwrap());
    let error = shop.create_order(&order(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("no such table: shop_orders"), "{error}");
}
