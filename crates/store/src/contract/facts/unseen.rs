//! The contract of a fact store that keeps payments whose loss no writer saw.

use crate::FactStore;
use ecom_domain::fact::SupersededPayment;
use futures_util::future::join_all;

use super::superseded::lost;
use super::{Facts, order, own_id, payment, t};

crate::contract_suite! { $ crate fact_unseen, crate::FactStore, fact_unseen_contract_tests: [
    of_two_payments_written_unseen_the_older_is_superseded_in_either_order_of_arrival,
    of_payments_written_at_once_all_but_the_newest_are_superseded,
    a_copy_of_a_payment_does_not_supersede_it,
] }

async fn of_two_payments_written_unseen_the_older_is_superseded_in_either_order_of_arrival(facts: &Facts) {
    for arrival in [[1, 2], [2, 1]] {
        let id = own_id();
        facts.record_order(&order(id, 0), t(0)).await.unwrap();
        let other = facts.another().await;
        facts.record_payment(&payment(id, arrival[0]), t(arrival[0])).await.unwrap();
        other.record_payment(&payment(id, arrival[1]), t(arrival[1])).await.unwrap();

        assert_eq!(facts.superseded_of(id).await.unwrap(), [lost(id, 1, 1)], "{arrival:?}");
    }
}

async fn of_payments_written_at_once_all_but_the_newest_are_superseded(facts: &Facts) {
    let other = facts.another().await;
    for _ in 0..facts.share_of(50) {
        let id = own_id();
        facts.record_order(&order(id, 0), t(0)).await.unwrap();
        let versions: Vec<_> = (1..=6).map(|n| (payment(id, n), t(n))).collect();
        let writes = versions.iter().enumerate().map(|(nth, (payment, t))| {
            let writer: &dyn FactStore = if nth % 2 == 0 { &**facts } else { &*other };
            writer.record_payment(payment, *t)
        });
        assert!(join_all(writes).await.into_iter().all(|written| written.is_ok()));

        let expected: Vec<SupersededPayment> = (1..=5).rev().map(|n| lost(id, n, n)).collect();
        assert_eq!(facts.superseded_of(id).await.unwrap(), expected);
    }
}

async fn a_copy_of_a_payment_does_not_supersede_it(facts: &Facts) {
    let id = own_id();
    facts.record_order(&order(id, 0), t(0)).await.unwrap();

    facts.record_payment(&payment(id, 1), t(1)).await.unwrap();
    facts.record_payment(&payment(id, 1), t(2)).await.unwrap();

    assert_eq!(facts.superseded_of(id).await.unwrap(), []);
}
