//! The contract of the store of payments.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use futures_util::future::join_all;

use super::{NOW, SECOND, order, own, transaction_at};
use crate::{Created, Cursor, PaymentStore, ReadGuarantee};
use ecom_domain::payment::CardLastFour;
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_shop_domain::policy::OrderPolicy;
use ecom_store::contract::Subject;

type Store = Subject<dyn PaymentStore>;

ecom_store::contract_suite! { $ crate payments, crate::PaymentStore, payment_record_contract_tests: [
    a_payment_reads_back_whole,
    an_unknown_payment_is_none_and_cannot_be_moved,
    of_two_payments_with_one_id_the_first_stands,
    a_move_from_another_revision_changes_nothing,
    of_moves_at_once_exactly_one_stands_and_all_see_it,
    payments_are_read_newest_first_and_by_state,
    a_payment_is_due_at_its_time,
] }

async fn stored(store: &Store, payment_id: i64) -> Option<PaymentRecord> {
    store.payment(payment_id, ReadGuarantee::Linearizable).await.unwrap()
}

async fn a_payment_reads_back_whole(store: &Store) {
    let of_order = PaymentRecord {
        payment_method: Some("Credit Card".into()),
        card_last_four: CardLastFour::try_new("0042"),
        error_message: Some("the card was declined".into()),
        state: PaymentState::Failed,
        ..PaymentRecord::opened_by_processor(&order(), 0)
    };
    for payment in [of_order, transaction_at(NOW)] {
        let created = store.create_payment(&payment).await.unwrap();
        assert_eq!(created, Created { record: payment.clone(), is_new: true });
        assert_eq!(stored(store, payment.payment_id).await, Some(payment));
    }
}

async fn an_unknown_payment_is_none_and_cannot_be_moved(store: &Store) {
    let payment = transaction_at(NOW);
    assert_eq!(stored(store, payment.payment_id).await, None);
    assert_eq!(store.move_payment(&payment.completed(NOW)).await.unwrap(), None);
    assert_eq!(stored(store, payment.payment_id).await, None);
}

async fn of_two_payments_with_one_id_the_first_stands(store: &Store) {
    let first = transaction_at(NOW);
    let second = PaymentRecord { payment_id: first.payment_id, ..transaction_at(NOW + SECOND) };
    store.create_payment(&first).await.unwrap();
    let created = store.create_payment(&second).await.unwrap();
    assert_eq!(created, Created { record: first.clone(), is_new: false });
    assert_eq!(stored(store, first.payment_id).await, Some(first));
}

async fn a_move_from_another_revision_changes_nothing(store: &Store) {
    let pending = transaction_at(NOW);
    store.create_payment(&pending).await.unwrap();
    let processing = pending.processing(&OrderPolicy::default(), NOW + 1);
    let completed = processing.completed(NOW + 2);
    assert_eq!(store.move_payment(&completed).await.unwrap(), Some(pending.clone()));
    for _ in 0..2 {
        assert_eq!(store.move_payment(&processing).await.unwrap(), Some(processing.clone()));
    }
    assert_eq!(
        store.move_payment(&pending.failed(NOW + 3, "late".into())).await.unwrap(),
        Some(processing.clone())
    );
    assert_eq!(store.move_payment(&completed).await.unwrap(), Some(completed.clone()));
    assert_eq!(stored(store, pending.payment_id).await, Some(completed));
}

async fn of_moves_at_once_exactly_one_stands_and_all_see_it(store: &Store) {
    let pending = transaction_at(NOW);
    store.create_payment(&pending).await.unwrap();
    let moves: Vec<_> = (0..8).map(|n| pending.failed(NOW + 1, n.to_string())).collect();
    let seen = join_all(moves.iter().map(async |next| store.move_payment(next).await)).await;
    let last = stored(store, pending.payment_id).await.unwrap();
    assert!(moves.contains(&last));
    let answered: Vec<_> = seen.into_iter().flatten().flatten().collect();
    assert!(!answered.is_empty() && answered.iter().all(|seen| *seen == last), "{answered:?}");
}

/// Returns the payments of a state before a place, page by page, as long as they are not older than `since`.
async fn all_since(
    store: &Store,
    state: Option<PaymentState>,
    before: Cursor,
    since: i64,
) -> Vec<PaymentRecord> {
    let (mut before, mut seen) = (Some(before), Vec::new());
    while let Some(place) = before {
        let page = store.payments_before(state, Some(place), 3).await.unwrap();
        assert!(page.records.len() <= 3);
        let is_done = page.records.iter().any(|payment| payment.created_at < since);
        seen.extend(page.records.into_iter().filter(|payment| payment.created_at >= since));
        before = page.next.filter(|_| !is_done);
    }
    seen
}

async fn payments_are_read_newest_first_and_by_state(store: &Store) {
    // Times that no other case has.
    let base = NOW + own() * 365 * 86_400 * SECOND;
    let mut expected = Vec::new();
    for n in 0..20 {
        // Over several hours and days, and two at one time.
        let pending = transaction_at(base + (n / 2) * 7_000 * SECOND);
        store.create_payment(&pending).await.unwrap();
        let processing = pending.processing(&OrderPolicy::default(), pending.created_at + SECOND);
        let done = match n % 3 {
            0 => Some(processing.completed(processing.state_at + SECOND)),
            1 => Some(processing.failed(processing.state_at + SECOND, "declined".into())),
            _ => None,
        };
        if let Some(done) = &done {
            store.move_payment(&processing).await.unwrap();
            store.move_payment(done).await.unwrap();
        }
        expected.push(done.unwrap_or(pending));
    }
    expected.sort_by_key(|payment| std::cmp::Reverse((payment.created_at, payment.payment_id)));
    let end = Cursor { at: base + 300 * 86_400 * SECOND, id: 0 };
    assert_eq!(all_since(store, None, end, base).await, expected);
    for state in PaymentState::ALL {
        let of_state: Vec<_> = expected.iter().filter(|payment| payment.state == state).cloned().collect();
        assert_eq!(all_since(store, Some(state), end, base).await, of_state, "{state:?}");
    }
    let all: Vec<PaymentRecord> = store.payments().try_collect().await.unwrap();
    let all: BTreeSet<_> = all.into_iter().map(|payment| payment.payment_id).collect();
    assert!(expected.iter().all(|payment| all.contains(&payment.payment_id)));
}

async fn a_payment_is_due_at_its_time(store: &Store) {
    let base = NOW + own() * 365 * 86_400 * SECOND;
    let pending = PaymentRecord { due_at: Some(base + 100 * SECOND), ..transaction_at(base) };
    store.create_payment(&pending).await.unwrap();
    let due = async |after: i64, through: i64| -> bool {
        let due: Vec<i64> =
            store.due_payments(base + after * SECOND, base + through * SECOND).try_collect().await.unwrap();
        due.contains(&pending.payment_id)
    };
    assert!(due(0, 100).await && !due(0, 30).await && !due(200, 400).await);
    let processing = pending.processing(&OrderPolicy::default(), base + 200 * SECOND);
    store.move_payment(&processing).await.unwrap();
    assert!(due(200, 200 + 300).await);
}
