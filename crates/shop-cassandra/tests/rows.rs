//! What Cassandra's tables may have that the contract of the ports does not know: hints that are not true, rows made by
//! hand, writes that were cut off. Skipped unless `CASSANDRA_CONTACT_POINTS` is set.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/scratch.rs"]
mod scratch;

use std::time::Duration;

use ecom_domain::calendar::date_time;
use ecom_domain::order::OrderId;
use ecom_shop_cassandra::CassandraShop;
use ecom_shop_domain::identity::{FIRST, RequestKey};
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::notice::{Notice, NoticeOutcome};
use ecom_shop_domain::order::{OrderDocument, OrderLine, OrderRecord, OrderState};
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_shop_domain::policy::OrderPolicy;
use ecom_shop_store::{Created, Cursor, OrderStore, PaymentStore, ReadGuarantee};
use ecom_store::StoreError;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use scratch::Scratch;

/// 2025-06-15 15:06:40 UTC.
const NOW: i64 = 1_750_000_000_000_000;
const HOUR: i64 = 3_600_000_000;

async fn hint(scratch: &Scratch, list: &str, t: i64, id: i64) {
    let cql = format!("INSERT INTO ecom_store.shop_lists (list, t, id) VALUES ('{list}', {t}, {id})");
    scratch.cql(&cql).await;
}

fn order(n: i64) -> OrderRecord {
    OrderRecord {
        order_id: OrderId(FIRST + n),
        request: RequestKey { account: "shop".into(), key: n.to_string() },
        fingerprint: "f".into(),
        customer_id: 7,
        currency: Currency::try_new("USD").unwrap(),
        total_minor: 100,
        document: OrderDocument {
            lines: vec![OrderLine {
                item: "Mouse".into(),
                quantity: 1,
                unit_price_minor: Some(100),
                ..OrderLine::default()
            }],
            merchandise_minor: 100,
            shipping_minor: 0,
            shipping_address: "1 Main St".into(),
            email: None,
            payment_method: None,
            card_last_four: None,
        },
        created_at: NOW + n,
        state: OrderState::Accepted,
        state_at: NOW + n,
        revision: 0,
        attempt: 0,
        due_at: Some(NOW + HOUR),
        detail: None,
        notice: None,
    }
}

fn placed(order: &OrderRecord, detail: &str) -> OrderRecord {
    OrderRecord {
        state: OrderState::Placed,
        state_at: order.state_at + 1,
        revision: order.revision + 1,
        detail: Some(detail.to_owned()),
        ..order.clone()
    }
}

fn payment(n: i64, created_at: i64) -> PaymentRecord {
    PaymentRecord {
        payment_id: FIRST + n,
        request: RequestKey { account: "shop".into(), key: n.to_string() },
        fingerprint: "f".into(),
        of_order: None,
        sender: "a".into(),
        receiver: "b".into(),
        payment_method: None,
        card_last_four: None,
        amount_minor: 100,
        currency: Currency::try_new("USD").unwrap(),
        created_at,
        state: PaymentState::Pending,
        state_at: created_at,
        processing_at: None,
        revision: 0,
        due_at: None,
        error_message: None,
    }
}

/// Repeats a call whose outcome is unknown, as callers do.
async fn answered<T>(call: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let repeat = async {
        loop {
            match call().await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_outage(), "{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), repeat).await.expect("an answer within a minute")
}

async fn payments(shop: &CassandraShop, state: Option<PaymentState>, limit: usize) -> Vec<Vec<i64>> {
    let (mut before, mut pages) = (None, Vec::new());
    loop {
        let page = shop.payments_before(state, before, limit).await.unwrap();
        pages.push(page.records.iter().map(|payment| payment.payment_id - FIRST).collect());
        match page.next {
            Some(next) => before = Some(next),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn a_hint_that_is_not_true_is_passed_over_and_the_page_goes_on() {
    let Some(scratch) = Scratch::new("hints").await else { return };
    let shop = &scratch.shop;
    for n in 0..5 {
        shop.create_order(&order(n)).await.unwrap();
    }
    for n in 0..300 {
        // Of an order that does not exist, and of one that was created at another time.
        hint(&scratch, "orders/customer/7", NOW + 1_000 + n, FIRST + 1_000 + n).await;
        hint(&scratch, "orders/customer/7", NOW + 2_000 + n, FIRST).await;
    }
    // Of another customer.
    hint(&scratch, "orders/customer/8", NOW, FIRST).await;
    let page = shop.orders_of_customer(7, None, 4).await.unwrap();
    let ids: Vec<i64> = page.records.iter().map(|order| order.order_id.0 - FIRST).collect();
    assert_eq!((ids, page.next), (vec![4, 3, 2, 1], Some(Cursor { at: NOW + 1, id: FIRST + 1 })));
    let page = shop.orders_of_customer(7, page.next, 4).await.unwrap();
    assert_eq!((page.records.len(), page.next), (1, None));
    let other = shop.orders_of_customer(8, None, 4).await.unwrap();
    assert_eq!((other.records, other.next), (vec![], None));
    scratch.drop().await;
}

#[tokio::test]
async fn payments_of_many_buckets_and_hours_are_read_newest_first() {
    let Some(scratch) = Scratch::new("payments").await else { return };
    let shop = &scratch.shop;
    // 150 in one hour, which are read in several steps, then months without any, then 5.
    let times = |n: i64| if n < 150 { NOW + n } else { NOW - 3_000 * HOUR - n };
    let all: Vec<_> = (0..155).map(|n| payment(n, times(n))).collect();
    for created in join_all(all.iter().map(|payment| shop.create_payment(payment))).await {
        assert!(created.unwrap().is_new);
    }
    // An hour whose only payment was never recorded.
    hint(&scratch, "payments/hours", NOW / HOUR * HOUR + HOUR, 0).await;
    let newest_first: Vec<i64> = (0..150).rev().chain(150..155).collect();
    for (limit, pages) in [(10, 16), (155, 1), (154, 2), (1_000, 1)] {
        for state in [None, Some(PaymentState::Pending)] {
            let read = payments(shop, state, limit).await;
            assert_eq!((read.len(), read.concat()), (pages, newest_first.clone()), "{limit} {state:?}");
        }
    }
    // Those that move on are in the list of their new state, and no longer in that of the old one.
    for n in (0..150).filter(|n| n % 15 == 0) {
        let processing = all[n].processing(&OrderPolicy::default(), NOW + 500);
        shop.move_payment(&processing).await.unwrap();
        shop.move_payment(&processing.failed(NOW + 501, "declined".into())).await.unwrap();
    }
    let failed: Vec<i64> = (0..150).rev().filter(|n| n % 15 == 0).collect();
    assert_eq!(payments(shop, Some(PaymentState::Failed), 7).await.concat(), failed);
    assert_eq!(payments(shop, Some(PaymentState::Processing), 7).await, [[0; 0]]);
    let pending = payments(shop, Some(PaymentState::Pending), 7).await.concat();
    assert_eq!(pending, newest_first.iter().copied().filter(|n| !failed.contains(n)).collect::<Vec<_>>());
    assert_eq!(payments(shop, None, 7).await.concat(), newest_first);
    scratch.drop().await;
}

/// As in the list of pending payments, once most of those that were are not any more.
#[tokio::test]
async fn a_page_of_payments_ends_before_it_has_read_every_hint_and_hour() {
    let Some(scratch) = Scratch::new("stale").await else { return };
    let shop = &scratch.shop;
    let this_hour = NOW / HOUR * HOUR;
    // The oldest ones still are.
    let old = NOW - 1_000 * HOUR;
    for n in 0..3 {
        shop.create_payment(&payment(n, old + n)).await.unwrap();
    }
    let list = |n: i64| format!("payments/Pending/{}/{}", date_time(this_hour).format("%Y%m%d%H"), n % 16);
    let hints = (0..2_500).map(|n| (list(n), NOW - n, FIRST + 10_000 + n));
    let hours = (0..=200).map(|n| ("payments/hours".to_owned(), this_hour - n * HOUR, 0));
    let all: Vec<_> = hints.chain(hours).collect();
    for some in all.chunks(100) {
        join_all(some.iter().map(|(list, t, id)| hint(&scratch, list, *t, *id))).await;
    }
    // 2,500 hints are 2.5 pages; 200 hours with 16 lists each are 3.
    let pages = payments(shop, Some(PaymentState::Pending), 5).await;
    let (last, others) = pages.split_last().unwrap();
    assert_eq!((last.as_slice(), others.len()), (&[2, 1, 0][..], 5), "{pages:?}");
    assert!(others.iter().all(Vec::is_empty), "{pages:?}");
    scratch.drop().await;
}

#[tokio::test]
async fn what_is_due_is_found_over_days_and_minute_by_minute() {
    let Some(scratch) = Scratch::new("due").await else { return };
    let shop = &scratch.shop;
    let minute = HOUR / 60;
    let due_at = |n: i64| NOW + n * 331 * minute;
    for n in 0..31 {
        shop.create_order(&OrderRecord { due_at: Some(due_at(n)), ..order(n) }).await.unwrap();
    }
    let due = async |after: i64, through: i64| -> Vec<i64> {
        shop.due_orders(after, through).map_ok(|id| id.0 - FIRST).try_collect().await.unwrap()
    };
    assert_eq!(due(NOW - 1, due_at(30)).await, (0..31).collect::<Vec<_>>());
    assert_eq!(due(NOW, due_at(30) - 1).await, (1..30).collect::<Vec<_>>());
    assert_eq!(due(due_at(3), due_at(3)).await, [0; 0]);
    assert_eq!(due(due_at(3), due_at(2)).await, [0; 0]);
    scratch.drop().await;
}

#[tokio::test]
async fn a_row_made_by_hand_is_an_error_that_names_it_and_an_added_column_is_none() {
    let Some(scratch) = Scratch::new("hand").await else { return };
    let shop = &scratch.shop;
    let order = order(1);
    shop.create_order(&order).await.unwrap();
    scratch.cql("ALTER TABLE ecom_store.shop_orders ADD (aa MAP<TEXT, INT>, zz VECTOR<FLOAT, 3>)").await;
    let id = order.order_id.0;
    let set = "UPDATE ecom_store.shop_orders SET aa = {'x': 1}, zz = [1, 2, 3]";
    scratch.cql(&format!("{set} WHERE order_id = {id} IF notice = null")).await;
    let again = Created { record: order.clone(), is_new: false };
    assert_eq!(shop.create_order(&order).await.unwrap(), again);
    let other = Scratch::connect(scratch.settings.clone()).await;
    assert_eq!(other.shop.create_order(&order).await.unwrap(), again, "prepared with the added columns");
    let next = placed(&order, "x");
    assert_eq!(shop.move_order(&next).await.unwrap(), Some(next.clone()));

    scratch
        .cql(&format!("UPDATE ecom_store.shop_orders SET notice = 'told' WHERE order_id = {id} IF EXISTS"))
        .await;
    let notice = Notice::new(NoticeOutcome::Sent, None, NOW);
    let error = shop.set_notice(order.order_id, None, &notice).await.unwrap_err().to_string();
    let fault = format!("order {id} cannot be read: column notice is \"told\", which is no notice");
    assert!(error.ends_with(&fault), "{error}");
    let error = shop.order(order.order_id, ReadGuarantee::Committed).await.unwrap_err().to_string();
    assert!(error.ends_with(&fault), "{error}");
    scratch
        .cql(&format!("UPDATE ecom_store.shop_orders SET notice = null WHERE order_id = {id} IF EXISTS"))
        .await;

    let by_hand = "INSERT INTO ecom_store.shop_orders (order_id, state) VALUES (5, 'placed') IF NOT EXISTS";
    scratch.cql(by_hand).await;
    let refused = "refused to read an order: order 5 cannot be read: column document is null";
    for guarantee in [ReadGuarantee::Linearizable, ReadGuarantee::Committed] {
        let error = shop.order(OrderId(5), guarantee).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Refused { .. }) && error.to_string().ends_with(refused),
            "{error}"
        );
    }
    let created = shop.create_order(&OrderRecord { order_id: OrderId(5), ..order.clone() }).await;
    assert!(created.unwrap_err().to_string().contains("order 5"));
    let all: Result<Vec<_>, _> = shop.orders().try_collect().await;
    assert!(all.unwrap_err().to_string().contains("order 5"));
    assert!(shop.orders_after(None, 10).await.unwrap_err().to_string().contains("order 5"));

    let by_hand =
        "INSERT INTO ecom_store.shop_payments (payment_id, card_last_four) VALUES (6, '4111111111111111')";
    scratch.cql(&format!("{by_hand} IF NOT EXISTS")).await;
    let error = shop.payment(6, ReadGuarantee::Committed).await.unwrap_err().to_string();
    assert!(error.contains("payment 6") && !error.contains("4111"), "{error}");
    scratch.drop().await;
}

#[tokio::test]
async fn a_write_that_was_cut_off_is_repeated_and_one_record_stands() {
    let Some(scratch) = Scratch::new("cut_off").await else { return };
    let shop = &scratch.shop;
    let mut applied = 0;
    for n in 0..60 {
        let limit = Duration::from_micros(200 * (n % 20) as u64);
        let order = order(n);
        let cut_off = tokio::time::timeout(limit, shop.create_order(&order)).await.is_err();
        let created = answered(async || shop.create_order(&order).await).await;
        assert_eq!(created.record, order);
        applied += usize::from(cut_off && !created.is_new);
        let next = placed(&order, "mine");
        let _ = tokio::time::timeout(limit, shop.move_order(&next)).await;
        assert_eq!(answered(async || shop.move_order(&next).await).await, Some(next.clone()));
        let other = placed(&order, "another process's");
        assert_eq!(
            answered(async || shop.move_order(&other).await).await,
            Some(next),
            "from a revision before"
        );
    }
    println!("{applied} of 60 creations were applied although they were cut off");
    scratch.drop().await;
}

/// Processes that take turns at a record: each reads, and moves it from what it read.
#[tokio::test]
async fn moves_of_many_at_once_are_each_applied_once() {
    const PROCESSES: i64 = 4;
    const MOVES: i64 = 25;
    let Some(scratch) = Scratch::new("moves").await else { return };
    let first = order(1);
    scratch.shop.create_order(&first).await.unwrap();
    let worker = async |process: i64| {
        let own = Scratch::connect(scratch.settings.clone()).await;
        let (mut errors, mut lost) = (0, 0);
        for n in 0..MOVES {
            let mark = format!("{process}/{n}");
            // Repeats an unknown outcome with the same record, as callers do.
            'next: loop {
                let Ok(seen) = own.shop.order(first.order_id, ReadGuarantee::Linearizable).await else {
                    errors += 1;
                    continue;
                };
                let next = OrderRecord { attempt: n, ..placed(&seen.unwrap(), &mark) };
                loop {
                    match own.shop.move_order(&next).await {
                        Ok(Some(stands)) if stands == next => break 'next,
                        Ok(stands) => {
                            // It was applied, and others moved it on before this one was answered.
                            assert!(stands.unwrap().revision >= next.revision);
                            lost += 1;
                            break;
                        }
                        Err(error) => {
                            assert!(error.is_outage(), "{error}");
                            errors += 1;
                        }
                    }
                }
            }
        }
        (errors, lost)
    };
    let started = tokio::time::Instant::now();
    let all = join_all((0..PROCESSES).map(worker));
    let seen = tokio::time::timeout(Duration::from_secs(200), all).await.expect("all of them end");
    let last = scratch.shop.order(first.order_id, ReadGuarantee::Linearizable).await.unwrap().unwrap();
    println!(
        "(errors, lost races) by process: {seen:?}; revision {} in {:?}",
        last.revision,
        started.elapsed()
    );
    // One that was applied although its process was answered with an error, and then overtaken, counts twice.
    assert!(last.revision >= PROCESSES * MOVES);
    assert!(last.revision <= PROCESSES * MOVES + seen.iter().map(|(errors, _)| errors).sum::<i64>());
    scratch.drop().await;
}
