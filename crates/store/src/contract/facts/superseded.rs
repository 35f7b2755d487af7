//! The contract of the fact store: payments that were recorded as superseded.

use ecom_domain::fact::{Fact, SupersededPayment};
use ecom_domain::order::OrderId;
use futures_util::{StreamExt, TryStreamExt};

use super::{Facts, order, own_id, own_ids, payment, row, t};

crate::contract_suite! { $ crate fact_superseded, crate::FactStore, fact_superseded_contract_tests: [
    an_order_with_one_payment_has_none_superseded,
    superseded_payments_read_back_as_recorded_newest_first,
    a_superseded_payment_recorded_twice_is_as_if_recorded_once,
    recording_a_superseded_payment_leaves_the_row_as_it_is,
    a_scan_yields_every_superseded_payment_once_and_those_of_an_order_together,
] }

/// Returns the superseded payment of this version, at this offset.
pub(super) fn lost(id: OrderId, version: i64, offset: i64) -> SupersededPayment {
    SupersededPayment { order_id: id, t: t(offset), payment: (&payment(id, version)).into() }
}

async fn an_order_with_one_payment_has_none_superseded(facts: &Facts) {
    let id = own_id();
    facts.record_order(&order(id, 1), t(0)).await.unwrap();
    assert_eq!(facts.superseded_of(id).await.unwrap(), []);

    facts.record_payment(&payment(id, 1), t(1)).await.unwrap();
    facts.record_payment(&payment(id, 1), t(1)).await.unwrap();

    assert_eq!(facts.superseded_of(id).await.unwrap(), []);
}

async fn superseded_payments_read_back_as_recorded_newest_first(facts: &Facts) {
    let (id, other) = (own_id(), own_id());
    for (version, offset) in [(1, 1), (3, 3), (2, 2)] {
        facts.record_superseded(&lost(id, version, offset)).await.unwrap();
    }
    facts.record_superseded(&lost(other, 4, 4)).await.unwrap();

    let expected = [lost(id, 3, 3), lost(id, 2, 2), lost(id, 1, 1)];
    assert_eq!(facts.superseded_of(id).await.unwrap(), expected);
    assert_eq!(facts.another().await.superseded_of(id).await.unwrap(), expected);
}

async fn a_superseded_payment_recorded_twice_is_as_if_recorded_once(facts: &Facts) {
    let id = own_id();
    facts.record_order(&order(id, 1), t(0)).await.unwrap();
    facts.record_payment(&payment(id, 1), t(1)).await.unwrap();
    for _ in 0..2 {
        facts.record_superseded(&lost(id, 1, 1)).await.unwrap();
    }
    facts.record_payment(&payment(id, 2), t(2)).await.unwrap();

    assert_eq!(facts.superseded_of(id).await.unwrap(), [lost(id, 1, 1)]);
}

async fn recording_a_superseded_payment_leaves_the_row_as_it_is(facts: &Facts) {
    let id = own_id();
    facts.record_superseded(&lost(id, 1, 1)).await.unwrap();
    assert_eq!(facts.fact(id).await.unwrap(), None::<Fact>);

    facts.record_order(&order(id, 1), t(0)).await.unwrap();
    facts.record_payment(&payment(id, 2), t(2)).await.unwrap();
    let before = row(facts, id).await;
    facts.record_superseded(&lost(id, 3, 3)).await.unwrap();

    assert_eq!(row(facts, id).await, before);
}

async fn a_scan_yields_every_superseded_payment_once_and_those_of_an_order_together(facts: &Facts) {
    const ORDERS: i64 = 400;
    let first = own_ids(ORDERS).0;
    let all = (first..first + ORDERS).flat_map(|id| (1..=3).rev().map(move |n| lost(OrderId(id), n, n)));
    let all: Vec<SupersededPayment> = all.collect();
    let writing = all.iter().rev().map(|superseded| facts.record_superseded(superseded));
    futures_util::stream::iter(writing).buffer_unordered(64).try_collect::<()>().await.unwrap();

    let is_own = |lost: &SupersededPayment| (first..first + ORDERS).contains(&lost.order_id.0);
    let mut scanned: Vec<SupersededPayment> = facts.superseded().try_collect().await.unwrap();
    scanned.retain(is_own);

    let mut orders: Vec<OrderId> = scanned.iter().map(|lost| lost.order_id).collect();
    orders.dedup();
    assert_eq!(orders.len(), 400);
    scanned.sort_by_key(|lost| lost.order_id);
    assert_eq!(scanned, all);
}
