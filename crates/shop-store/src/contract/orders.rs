//! The contract of the store of orders.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use futures_util::future::join_all;

use super::{NOW, SECOND, moved, order, order_at, own};
use crate::{Created, OrderStore, ReadGuarantee};
use ecom_domain::order::OrderId;
use ecom_shop_domain::notice::{Notice, NoticeOutcome};
use ecom_shop_domain::order::{Evidence, OrderRecord, OrderState};
use ecom_store::contract::Subject;

type Store = Subject<dyn OrderStore>;

ecom_store::contract_suite! { $ crate orders, crate::OrderStore, order_record_contract_tests: [
    an_order_reads_back_whole,
    an_unknown_order_is_none_and_cannot_be_moved,
    of_two_orders_with_one_id_the_first_stands,
    an_order_created_twice_is_as_if_created_once,
    a_move_from_another_revision_changes_nothing,
    a_move_written_twice_is_as_if_written_once,
    every_state_reads_back,
    a_notice_is_written_where_the_one_before_stands,
    a_move_and_a_notice_leave_each_other_alone,
    of_notices_at_once_exactly_one_stands_and_all_see_it,
    an_unknown_order_has_no_notice,
    of_moves_at_once_exactly_one_stands_and_all_see_it,
    of_creations_at_once_exactly_one_is_new,
    each_order_is_on_exactly_one_page,
    the_orders_of_a_customer_are_read_newest_first,
    an_order_is_due_at_its_last_time,
    what_one_handle_wrote_another_reads,
] }

async fn stored(store: &Store, order_id: OrderId) -> Option<OrderRecord> {
    let linearizable = store.order(order_id, ReadGuarantee::Linearizable).await.unwrap();
    let committed = store.order(order_id, ReadGuarantee::Committed).await.unwrap();
    assert_eq!(linearizable, committed, "no write is undecided");
    linearizable
}

async fn an_order_reads_back_whole(store: &Store) {
    let full = order();
    let mut bare = order();
    bare.document.lines.truncate(1);
    bare.document.shipping_minor = 0;
    bare.document.email = None;
    bare.document.payment_method = None;
    bare.document.card_last_four = None;
    for order in [full, bare] {
        let created = store.create_order(&order).await.unwrap();
        assert_eq!(created, Created { record: order.clone(), is_new: true });
        assert_eq!(stored(store, order.order_id).await, Some(order));
    }
}

async fn an_unknown_order_is_none_and_cannot_be_moved(store: &Store) {
    let order = order();
    assert_eq!(stored(store, order.order_id).await, None);
    let next = moved(&order, Evidence::default(), NOW);
    assert_eq!(store.move_order(&next).await.unwrap(), None);
    assert_eq!(stored(store, order.order_id).await, None);
}

async fn of_two_orders_with_one_id_the_first_stands(store: &Store) {
    let first = order();
    let second = OrderRecord { order_id: first.order_id, total_minor: 1, ..order_at(8, NOW + SECOND) };
    store.create_order(&first).await.unwrap();
    let created = store.create_order(&second).await.unwrap();
    assert_eq!(created, Created { record: first.clone(), is_new: false });
    assert_eq!(stored(store, first.order_id).await, Some(first));
}

async fn an_order_created_twice_is_as_if_created_once(store: &Store) {
    let order = order();
    store.create_order(&order).await.unwrap();
    let next = moved(&order, Evidence::default(), NOW + 1);
    store.move_order(&next).await.unwrap();
    let again = store.create_order(&order).await.unwrap();
    assert_eq!(again, Created { record: next.clone(), is_new: false });
    assert_eq!(stored(store, order.order_id).await, Some(next));
}

async fn a_move_from_another_revision_changes_nothing(store: &Store) {
    let order = order();
    store.create_order(&order).await.unwrap();
    let next = moved(&order, Evidence::default(), NOW + 1);
    let other = OrderRecord { detail: Some("another process".into()), state_at: NOW + 9, ..next.clone() };
    let skipping = OrderRecord { revision: 2, ..next.clone() };
    assert_eq!(store.move_order(&skipping).await.unwrap(), Some(order));
    assert_eq!(store.move_order(&next).await.unwrap(), Some(next.clone()));
    assert_eq!(store.move_order(&other).await.unwrap(), Some(next.clone()));
    assert_eq!(stored(store, next.order_id).await, Some(next));
}

async fn a_move_written_twice_is_as_if_written_once(store: &Store) {
    let order = order();
    store.create_order(&order).await.unwrap();
    let next = moved(&order, Evidence::default(), NOW + 1);
    for _ in 0..2 {
        assert_eq!(store.move_order(&next).await.unwrap(), Some(next.clone()));
    }
}

async fn every_state_reads_back(store: &Store) {
    let mut current = order();
    store.create_order(&current).await.unwrap();
    for (n, state) in OrderState::ALL.into_iter().enumerate() {
        let due_at = (!state.is_final()).then_some(NOW + 100 * SECOND);
        let detail = state.is_final().then(|| format!("since it is {state:?}"));
        let next = OrderRecord {
            state,
            revision: current.revision + 1,
            state_at: current.state_at + 1,
            attempt: n as i64,
            due_at,
            detail,
            ..current
        };
        assert_eq!(store.move_order(&next).await.unwrap(), Some(next.clone()));
        assert_eq!(stored(store, next.order_id).await, Some(next.clone()));
        current = next;
    }
}

async fn a_notice_is_written_where_the_one_before_stands(store: &Store) {
    let order = order();
    store.create_order(&order).await.unwrap();
    let refused = NoticeOutcome::Undeliverable("550 5.1.1: <\"ünï\">: 🐭".into());
    let first = Notice::new(refused, None, NOW);
    let second = Notice::new(NoticeOutcome::Sent, Some(&first), NOW);
    let third = Notice::new(NoticeOutcome::NotNeeded("nobody to tell".into()), Some(&second), NOW);
    let set = async |before: Option<&Notice>, notice: &Notice| -> Option<Notice> {
        let stands = store.set_notice(order.order_id, before, notice).await.unwrap();
        let expected = OrderRecord { notice: stands.clone(), ..order.clone() };
        assert_eq!(stored(store, order.order_id).await, Some(expected), "and nothing else was written");
        stands
    };
    assert_eq!(set(Some(&first), &second).await, None, "none stands yet");
    assert_eq!(set(None, &first).await, Some(first.clone()));
    assert_eq!(set(None, &first).await, Some(first.clone()), "again");
    assert_eq!(set(None, &second).await, Some(first.clone()));
    assert_eq!(set(Some(&second), &third).await, Some(first.clone()));
    assert_eq!(set(Some(&first), &second).await, Some(second.clone()));
    assert_eq!(set(Some(&second), &third).await, Some(third));
}

async fn a_move_and_a_notice_leave_each_other_alone(store: &Store) {
    let order = order();
    store.create_order(&order).await.unwrap();
    let notice = Notice::new(NoticeOutcome::Sent, None, NOW);
    store.set_notice(order.order_id, None, &notice).await.unwrap();
    // A processor that has read the record before.
    let next = moved(&order, Evidence::default(), NOW + 1);
    let stands = store.move_order(&next).await.unwrap().unwrap();
    assert_eq!(OrderRecord { notice: None, ..stands }, next);
    let expected = OrderRecord { notice: Some(notice.clone()), ..next.clone() };
    assert_eq!(stored(store, order.order_id).await, Some(expected.clone()));
    let again = store.create_order(&order).await.unwrap();
    assert_eq!(again, Created { record: expected.clone(), is_new: false });
    let all: Vec<OrderRecord> = store.orders().try_collect().await.unwrap();
    assert!(all.contains(&expected), "a scan reads it, too");
    let later = Notice::new(NoticeOutcome::Sent, Some(&notice), NOW);
    assert_eq!(store.set_notice(order.order_id, Some(&notice), &later).await.unwrap(), Some(later.clone()));
    let last = stored(store, order.order_id).await.unwrap();
    assert_eq!(last, OrderRecord { notice: Some(later), ..next });
}

async fn of_notices_at_once_exactly_one_stands_and_all_see_it(store: &Store) {
    let order = order();
    store.create_order(&order).await.unwrap();
    let notices: Vec<_> = (0..8).map(|n| Notice::new(NoticeOutcome::Sent, None, NOW + n)).collect();
    let set = async |notice: &Notice| store.set_notice(order.order_id, None, notice).await;
    let seen = join_all(notices.iter().map(set)).await;
    let last = stored(store, order.order_id).await.unwrap().notice.unwrap();
    assert!(notices.contains(&last));
    let answered: Vec<_> = seen.into_iter().flatten().flatten().collect();
    assert!(!answered.is_empty() && answered.iter().all(|seen| *seen == last), "{answered:?}");
}

async fn an_unknown_order_has_no_notice(store: &Store) {
    let (order, notice) = (order(), Notice::new(NoticeOutcome::Sent, None, NOW));
    for before in [None, Some(&notice)] {
        assert_eq!(store.set_notice(order.order_id, before, &notice).await.unwrap(), None);
        assert_eq!(stored(store, order.order_id).await, None, "and none is created");
    }
}

async fn of_moves_at_once_exactly_one_stands_and_all_see_it(store: &Store) {
    let order = order();
    store.create_order(&order).await.unwrap();
    let next = moved(&order, Evidence::default(), NOW + 1);
    let moves: Vec<_> = (0..8).map(|n| OrderRecord { detail: Some(n.to_string()), ..next.clone() }).collect();
    let seen = join_all(moves.iter().map(async |next| store.move_order(next).await)).await;
    let last = stored(store, order.order_id).await.unwrap();
    assert!(moves.contains(&last));
    // A call that lost a race on Cassandra may have to be repeated; one that was answered saw what stands.
    let answered: Vec<_> = seen.into_iter().flatten().flatten().collect();
    assert!(!answered.is_empty() && answered.iter().all(|seen| *seen == last), "{answered:?}");
}

async fn of_creations_at_once_exactly_one_is_new(store: &Store) {
    let order = order();
    let others: Vec<_> = (0..8).map(|n| OrderRecord { customer_id: 100 + n, ..order.clone() }).collect();
    let created = join_all(others.iter().map(async |order| store.create_order(order).await)).await;
    let created: Vec<_> = created.into_iter().flatten().collect();
    let last = stored(store, order.order_id).await.unwrap();
    assert!(created.iter().all(|created| created.record == last));
    assert!(created.iter().filter(|created| created.is_new).count() <= 1);
    assert_eq!(store.create_order(&order).await.unwrap(), Created { record: last, is_new: false });
}

async fn each_order_is_on_exactly_one_page(store: &Store) {
    const ORDERS: usize = 60;
    let mut own_ids = BTreeSet::new();
    for _ in 0..ORDERS {
        own_ids.insert(store.create_order(&order()).await.unwrap().record.order_id);
    }
    for limit in [1, 7, 1_000] {
        let (mut place, mut seen) = (None, Vec::new());
        loop {
            let page = store.orders_after(place, limit).await.unwrap();
            assert!(page.records.len() <= limit);
            seen.extend(page.records.into_iter().map(|order| order.order_id));
            // Orders that are created meanwhile neither hide one nor show one twice.
            if limit == 7 {
                store.create_order(&order()).await.unwrap();
            }
            match page.next {
                Some(next) => place = Some(next),
                None => break,
            }
        }
        let distinct: BTreeSet<_> = seen.iter().copied().collect();
        assert_eq!(distinct.len(), seen.len(), "none twice");
        assert!(own_ids.is_subset(&distinct), "all of them");
    }
    let all: Vec<OrderRecord> = store.orders().try_collect().await.unwrap();
    let all: BTreeSet<_> = all.into_iter().map(|order| order.order_id).collect();
    assert!(own_ids.is_subset(&all));
}

async fn the_orders_of_a_customer_are_read_newest_first(store: &Store) {
    let customer = 1_000_000 + own();
    let mut expected = Vec::new();
    // Two of them at one time.
    for n in [5, 3, 3, 9, 1, 400, 86_400] {
        let order = order_at(customer, NOW + n * SECOND);
        store.create_order(&order).await.unwrap();
        expected.push(order);
    }
    store.create_order(&order_at(customer + 1_000_000, NOW)).await.unwrap();
    expected.sort_by_key(|order| std::cmp::Reverse((order.created_at, order.order_id)));
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = store.orders_of_customer(customer, before, 3).await.unwrap();
        assert!(page.records.len() <= 3);
        seen.extend(page.records);
        match page.next {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, expected);
}

async fn an_order_is_due_at_its_last_time(store: &Store) {
    // Times that no other case has.
    let base = NOW + own() * 365 * 86_400 * SECOND;
    let accepted = OrderRecord { due_at: Some(base + 100 * SECOND), ..order_at(7, base) };
    store.create_order(&accepted).await.unwrap();
    let due = async |after: i64, through: i64| -> bool {
        let due: Vec<OrderId> =
            store.due_orders(base + after * SECOND, base + through * SECOND).try_collect().await.unwrap();
        due.contains(&accepted.order_id)
    };
    assert!(due(0, 100).await && due(99, 300).await);
    assert!(!due(0, 30).await && !due(200, 400).await);
    let next = OrderRecord {
        due_at: Some(base + 1_000 * SECOND),
        ..moved(&accepted, Evidence::default(), base + 1)
    };
    store.move_order(&next).await.unwrap();
    assert!(due(900, 1_000).await && due(0, 2_000).await);
}

async fn what_one_handle_wrote_another_reads(store: &Store) {
    let (other, order) = (store.another().await, order());
    store.create_order(&order).await.unwrap();
    let next = moved(&order, Evidence::default(), NOW + 1);
    assert_eq!(other.move_order(&next).await.unwrap(), Some(next.clone()));
    assert_eq!(stored(store, order.order_id).await, Some(next));
}
