//! The contract of the fact store: rows.

pub mod model;
pub mod superseded;
pub mod unseen;
pub mod values;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::FactStore;
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells, PaymentCells, PaymentSlot};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::{CardLastFour, Payment};
use futures_util::{StreamExt, TryStreamExt};

use super::Subject;

type Facts = Subject<dyn FactStore>;

crate::contract_suite! { $ crate facts, crate::FactStore, fact_row_contract_tests: [
    an_order_never_seen_has_no_row,
    an_order_reads_back_as_it_was_written,
    a_payment_reads_back_as_it_was_written,
    of_two_orders_the_later_stays_in_either_order_of_arrival,
    of_two_payments_the_later_stays_in_either_order_of_arrival,
    an_order_written_twice_is_as_if_written_once,
    a_payment_written_twice_is_as_if_written_once,
    a_newer_payment_without_a_card_erases_the_older_digits,
    an_older_payment_with_a_card_leaves_no_digits_under_a_newer_one_without,
    an_order_never_writes_a_payment_column,
    a_payment_never_writes_an_order_column,
    a_payment_creates_no_order_and_the_later_order_joins_it,
    an_order_without_a_payment_has_an_empty_slot,
    orders_of_one_event_time_converge_in_either_order_of_arrival,
    payments_of_one_event_time_converge_in_either_order_of_arrival,
    several_orders_and_payments_written_in_one_call_read_back_in_one_call,
    of_several_events_of_an_order_in_one_call_the_latest_stays,
    what_one_handle_wrote_another_reads,
    a_scan_yields_every_row_once,
    the_ranges_together_yield_every_row_once,
    a_store_names_its_host_or_path,
] }

const T: i64 = 1_700_000_000_000_000;

fn t(offset: i64) -> EventTime {
    EventTime::stored(T + offset)
}

/// Returns an order id that no other case uses.
fn own_id() -> OrderId {
    own_ids(1)
}

/// Returns the first of `n` order ids that no other case uses.
fn own_ids(n: i64) -> OrderId {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    OrderId(NEXT.fetch_add(n, Ordering::Relaxed))
}

fn order(id: OrderId, version: i64) -> Order<'static> {
    Order {
        order_id: id,
        customer_id: 100 + version,
        item: format!("item {version}").into(),
        quantity: 1 + version,
        price: 9.5 + version as f64,
        shipping_address: format!("{version} Main Street").into(),
        order_status: if version % 2 == 0 { "Pending" } else { "Completed" }.into(),
        creation_date: "2024-01-21T80:01:30Z".into(),
    }
}

/// Returns a payment; odd versions are paid by card.
fn payment(id: OrderId, version: i64) -> Payment<'static> {
    let by_card = version % 2 == 1;
    Payment {
        payment_id: 1_000 + version,
        order_id: id,
        payment_method: if by_card { "Credit Card" } else { "PayPal" }.into(),
        card_last_four: by_card.then(|| CardLastFour::try_new(&format!("{:04}", version % 10_000)).unwrap()),
        payment_status: if version % 3 == 0 { "Pending" } else { "Completed" }.into(),
        payment_datetime: format!("2024-01-21T80:01:{version}Z").into(),
    }
}

async fn row(facts: &Facts, id: OrderId) -> Fact {
    facts.fact(id).await.unwrap().expect("the row exists")
}

fn taken(payment: &Payment<'_>, written_at: EventTime) -> PaymentSlot {
    PaymentSlot::Taken { payment: payment.into(), written_at }
}

async fn an_order_never_seen_has_no_row(facts: &Facts) {
    let id = own_id();

    assert_eq!(facts.fact(id).await.unwrap(), None);
    assert_eq!(facts.payment_slot(id).await.unwrap(), PaymentSlot::NoOrder);
}

async fn an_order_reads_back_as_it_was_written(facts: &Facts) {
    let id = own_id();

    facts.record_order(&order(id, 1), t(0)).await.unwrap();

    let expected = Fact {
        order_id: id,
        order: OrderCells::from(&order(id, 1)),
        order_written_at: Some(t(0)),
        payment: PaymentCells::default(),
        payment_written_at: None,
    };
    assert_eq!(row(facts, id).await, expected);
}

async fn a_payment_reads_back_as_it_was_written(facts: &Facts) {
    let id = own_id();
    facts.record_order(&order(id, 1), t(0)).await.unwrap();

    facts.record_payment(&payment(id, 1), t(1)).await.unwrap();

    let read = row(facts, id).await;
    assert!(read.payment.matches(&payment(id, 1)), "{read:?}");
    assert_eq!(facts.payment_slot(id).await.unwrap(), taken(&payment(id, 1), t(1)));
}

async fn of_two_orders_the_later_stays_in_either_order_of_arrival(facts: &Facts) {
    for arrival in [[1, 2], [2, 1]] {
        let id = own_id();
        for version in arrival {
            facts.record_order(&order(id, version), t(version)).await.unwrap();
        }

        let read = row(facts, id).await;
        assert!(read.order.matches(&order(id, 2)), "{arrival:?}: {read:?}");
        assert_eq!(read.order_written_at, Some(t(2)), "{arrival:?}");
    }
}

async fn of_two_payments_the_later_stays_in_either_order_of_arrival(facts: &Facts) {
    for arrival in [[1, 2], [2, 1]] {
        let id = own_id();
        facts.record_order(&order(id, 0), t(0)).await.unwrap();
        for version in arrival {
            facts.record_payment(&payment(id, version), t(version)).await.unwrap();
        }

        let slot = facts.payment_slot(id).await.unwrap();
        assert_eq!(slot, taken(&payment(id, 2), t(2)), "{arrival:?}");
    }
}

async fn an_order_written_twice_is_as_if_written_once(facts: &Facts) {
    let id = own_id();
    facts.record_order(&order(id, 1), t(1)).await.unwrap();
    let once = row(facts, id).await;

    facts.record_order(&order(id, 1), t(1)).await.unwrap();

    assert_eq!(row(facts, id).await, once);
}

async fn a_payment_written_twice_is_as_if_written_once(facts: &Facts) {
    let id = own_id();
    facts.record_order(&order(id, 1), t(0)).await.unwrap();
    facts.record_payment(&payment(id, 1), t(1)).await.unwrap();
    let once = row(facts, id).await;

    facts.record_payment(&payment(id, 1), t(1)).await.unwrap();

    assert_eq!(row(facts, id).await, once);
}

async fn a_newer_payment_without_a_card_erases_the_older_digits(facts: &Facts) {
    let id = own_id();
    facts.record_order(&order(id, 1), t(0)).await.unwrap();
    facts.record_payment(&payment(id, 1), t(1)).await.unwrap();

    facts.record_payment(&payment(id, 2), t(2)).await.unwrap();

    assert_eq!(row(facts, id).await.payment, PaymentCells::from(&payment(id, 2)));
}

async fn an_older_payment_with_a_card_leaves_no_digits_under_a_newer_one_without(facts: &Facts) {
    let id = own_id();
    facts.record_order(&order(id, 1), t(0)).await.unwrap();
    facts.record_payment(&payment(id, 2), t(2)).await.unwrap();

    facts.record_payment(&payment(id, 1), t(1)).await.unwrap();

    assert_eq!(row(facts, id).await.payment, PaymentCells::from(&payment(id, 2)));
}

async fn an_order_never_writes_a_payment_column(facts: &Facts) {
    for order_time in [t(1), t(9)] {
        let id = own_id();
        facts.record_order(&order(id, 0), t(0)).await.unwrap();
        facts.record_payment(&payment(id, 1), t(5)).await.unwrap();

        facts.record_order(&order(id, 1), order_time).await.unwrap();

        let read = row(facts, id).await;
        assert!(read.order.matches(&order(id, 1)), "{read:?}");
        assert!(read.payment.matches(&payment(id, 1)), "{read:?}");
        assert_eq!(read.payment_written_at, Some(t(5)));
    }
}

async fn a_payment_never_writes_an_order_column(facts: &Facts) {
    for payment_time in [t(1), t(9)] {
        let id = own_id();
        facts.record_order(&order(id, 1), t(5)).await.unwrap();

        facts.record_payment(&payment(id, 1), payment_time).await.unwrap();

        let read = row(facts, id).await;
        assert!(read.order.matches(&order(id, 1)), "{read:?}");
        assert_eq!(read.order_written_at, Some(t(5)));
    }
}

async fn a_payment_creates_no_order_and_the_later_order_joins_it(facts: &Facts) {
    let id = own_id();
    facts.record_payment(&payment(id, 1), t(5)).await.unwrap();

    assert_eq!(facts.payment_slot(id).await.unwrap(), PaymentSlot::NoOrder);
    let alone = row(facts, id).await;
    assert!(!alone.has_order() && alone.order_written_at.is_none(), "{alone:?}");
    assert!(alone.payment.matches(&payment(id, 1)), "{alone:?}");

    // Older than the payment, as a late order is.
    facts.record_order(&order(id, 1), t(1)).await.unwrap();

    let both = row(facts, id).await;
    assert!(both.order.matches(&order(id, 1)), "{both:?}");
    assert_eq!(facts.payment_slot(id).await.unwrap(), taken(&payment(id, 1), t(5)));
}

async fn an_order_without_a_payment_has_an_empty_slot(facts: &Facts) {
    let id = own_id();

    facts.record_order(&order(id, 1), t(0)).await.unwrap();

    assert_eq!(facts.payment_slot(id).await.unwrap(), PaymentSlot::Empty);
}

async fn orders_of_one_event_time_converge_in_either_order_of_arrival(facts: &Facts) {
    let mut ends = Vec::new();
    for arrival in [[1, 2], [2, 1]] {
        let id = own_id();
        for version in arrival {
            facts.record_order(&order(id, version), t(0)).await.unwrap();
        }
        let read = row(facts, id).await;
        assert_eq!(read.order_written_at, Some(t(0)));
        ends.push(read.order);
    }

    assert_eq!(ends[0], ends[1]);
}

async fn payments_of_one_event_time_converge_in_either_order_of_arrival(facts: &Facts) {
    let mut ends = Vec::new();
    for arrival in [[1, 2], [2, 1]] {
        let id = own_id();
        facts.record_order(&order(id, 0), t(0)).await.unwrap();
        for version in arrival {
            facts.record_payment(&payment(id, version), t(1)).await.unwrap();
        }
        let read = row(facts, id).await;
        assert_eq!(read.payment_written_at, Some(t(1)));
        ends.push(read.payment);
    }

    assert_eq!(ends[0], ends[1]);
}

/// More than a request carries.
const SEVERAL: i64 = 25;

async fn several_orders_and_payments_written_in_one_call_read_back_in_one_call(facts: &Facts) {
    let ids: Vec<_> = (own_ids(SEVERAL).0..).take(SEVERAL as usize).map(OrderId).collect();
    let orders: Vec<_> = ids.iter().map(|id| order(*id, id.0)).collect();
    let orders: Vec<_> = orders.iter().map(|order| (order, t(order.order_id.0))).collect();
    facts.record_orders(&orders[1..]).await.unwrap();
    let payments: Vec<_> = ids.iter().map(|id| payment(*id, id.0)).collect();
    let payments: Vec<_> = payments.iter().map(|payment| (payment, t(payment.payment_id))).collect();
    facts.record_payments(&payments[2..]).await.unwrap();

    // In the order of the ids, which may be there twice.
    let asked: Vec<_> = ids.iter().rev().chain(&ids).copied().collect();
    let slots = facts.payment_slots(&asked).await.unwrap();
    assert_eq!(slots.len(), asked.len());
    for (id, slot) in asked.into_iter().zip(slots) {
        let index = usize::try_from(id.0 - ids[0].0).unwrap();
        let (payment, written_at) = payments[index];
        match index {
            0 => assert_eq!(slot, PaymentSlot::NoOrder),
            1 => assert_eq!(slot, PaymentSlot::Empty),
            _ => assert_eq!(slot, taken(payment, written_at)),
        }
    }
    for (order, written_at) in &orders[1..] {
        let row = row(facts, order.order_id).await;
        assert!(row.order.matches(order) && row.order_written_at == Some(*written_at), "{row:?}");
    }
    facts.record_orders(&[]).await.unwrap();
    facts.record_payments(&[]).await.unwrap();
    assert_eq!(facts.payment_slots(&[]).await.unwrap(), []);
}

async fn of_several_events_of_an_order_in_one_call_the_latest_stays(facts: &Facts) {
    for rotation in 0..3 {
        let id = own_id();
        let versions: Vec<i64> = (0..3).map(|nth| (nth + rotation) % 3).collect();
        let orders: Vec<_> = versions.iter().map(|version| (order(id, *version), t(*version))).collect();
        let orders: Vec<_> = orders.iter().map(|(order, t)| (order, *t)).collect();
        facts.record_orders(&orders).await.unwrap();
        let payments: Vec<_> = versions.iter().map(|version| (payment(id, *version), t(*version))).collect();
        let payments: Vec<_> = payments.iter().map(|(payment, t)| (payment, *t)).collect();
        facts.record_payments(&payments).await.unwrap();

        let row = row(facts, id).await;
        assert!(row.order.matches(&order(id, 2)) && row.payment.matches(&payment(id, 2)), "{row:?}");
        assert_eq!((row.order_written_at, row.payment_written_at), (Some(t(2)), Some(t(2))));
    }
}

async fn what_one_handle_wrote_another_reads(facts: &Facts) {
    let id = own_id();
    let other = facts.another().await;

    facts.record_order(&order(id, 1), t(0)).await.unwrap();
    assert_eq!(other.payment_slot(id).await.unwrap(), PaymentSlot::Empty);
    other.record_payment(&payment(id, 1), t(1)).await.unwrap();

    assert_eq!(facts.payment_slot(id).await.unwrap(), taken(&payment(id, 1), t(1)));
}

async fn the_ranges_together_yield_every_row_once(facts: &Facts) {
    const ROWS: i64 = 200;
    let first = own_ids(ROWS).0;
    let ids = (first..first + ROWS).map(OrderId);
    let written = async |id: OrderId| facts.record_order(&order(id, 1), t(1)).await;
    for id in ids.clone().skip(100) {
        written(id).await.unwrap();
    }
    for at_most in [1, 7, 64] {
        let ranges = facts.fact_ranges(at_most).await.unwrap();
        assert!((1..=at_most as usize).contains(&ranges.len()), "{ranges:?}");
        // Rows that came after the ranges were made are in them, too.
        for id in ids.clone().take(100) {
            written(id).await.unwrap();
        }
        let mut found = Vec::new();
        for range in ranges {
            found.extend(facts.facts_in(range).try_collect::<Vec<Fact>>().await.unwrap());
        }
        let mut found: Vec<OrderId> = found.iter().map(|fact| fact.order_id).collect();
        found.retain(|id| (first..first + ROWS).contains(&id.0));
        found.sort_unstable();
        assert!(found.into_iter().eq(ids.clone()), "at most {at_most}");
    }
}

async fn a_scan_yields_every_row_once(facts: &Facts) {
    const ROWS: i64 = 1_500;
    let first = own_ids(ROWS).0;
    let writing = (0..ROWS).map(|n| async move {
        let id = OrderId(first + n);
        facts.record_order(&order(id, n), t(n)).await?;
        if n % 3 == 0 {
            facts.record_payment(&payment(id, n), t(n + 1)).await?;
        }
        Ok::<_, crate::StoreError>(())
    });
    futures_util::stream::iter(writing).buffer_unordered(64).try_collect::<()>().await.unwrap();

    let all: Vec<Fact> = facts.facts().try_collect().await.unwrap();

    let own: Vec<&Fact> = all.iter().filter(|f| (first..first + ROWS).contains(&f.order_id.0)).collect();
    let by_id: BTreeMap<OrderId, &Fact> = own.iter().map(|fact| (fact.order_id, *fact)).collect();
    assert_eq!((own.len(), by_id.len()), (1_500, 1_500));
    for (n, fact) in (0..).zip(by_id.values()) {
        assert!(fact.order.matches(&order(fact.order_id, n)), "{fact:?}");
        assert_eq!(fact.order_written_at, Some(t(n)));
        let paid = (n % 3 == 0).then(|| t(n + 1));
        assert_eq!(fact.payment_written_at, paid, "{fact:?}");
        assert_eq!(fact.payment.matches(&payment(fact.order_id, n)), paid.is_some(), "{fact:?}");
    }
}

async fn a_store_names_its_host_or_path(facts: &Facts) {
    let name = facts.describe();

    assert!(name.contains('/') || name.contains(':'), "neither a path nor a host: {name}");
}
