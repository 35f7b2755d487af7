//! The contract of the fact store: random schedules of writes, compared with a model.

use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells, PaymentCells, PaymentSlot};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use futures_util::future::join_all;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Facts, order, own_ids, payment, t};

crate::contract_suite! { $ crate fact_model, crate::FactStore, fact_model_contract_tests: [
    any_schedule_of_writes_ends_at_the_largest_event_time,
] }

/// A write to a row.
#[derive(Clone, Debug)]
enum Write {
    Order(Order<'static>, EventTime),
    Payment(Payment<'static>, EventTime),
}

impl Write {
    async fn apply(&self, facts: &Facts) {
        match self {
            Self::Order(order, t) => facts.record_order(order, *t).await.unwrap(),
            Self::Payment(payment, t) => facts.record_payment(payment, *t).await.unwrap(),
        }
    }
}

/// Returns the expected row: of each column group, the write with the largest event time.
fn model(id: OrderId, writes: &[Write]) -> Option<Fact> {
    let ordered = writes.iter().filter_map(|write| match write {
        Write::Order(order, t) if order.order_id == id => Some((*t, OrderCells::from(order))),
        _ => None,
    });
    let paid = writes.iter().filter_map(|write| match write {
        Write::Payment(payment, t) if payment.order_id == id => Some((*t, PaymentCells::from(payment))),
        _ => None,
    });
    let (ordered, paid) = (ordered.max_by_key(|(t, _)| *t), paid.max_by_key(|(t, _)| *t));
    (ordered.is_some() || paid.is_some()).then(|| Fact {
        order_id: id,
        order_written_at: ordered.as_ref().map(|(t, _)| *t),
        order: ordered.map(|(_, cells)| cells).unwrap_or_default(),
        payment_written_at: paid.as_ref().map(|(t, _)| *t),
        payment: paid.map(|(_, cells)| cells).unwrap_or_default(),
    })
}

fn random_writes(rng: &mut ChaCha8Rng, first: i64, rows: i64) -> Vec<Write> {
    // Distinct within a row: for equal event times with different values the port promises only convergence.
    let mut times: Vec<i64> = (0..12).collect();
    let mut writes = Vec::new();
    for id in (first..first + rows).map(OrderId) {
        times.shuffle(rng);
        for &offset in &times[..rng.random_range(0..=4)] {
            writes.push(Write::Order(order(id, offset), t(offset)));
        }
        for &offset in &times[4..4 + rng.random_range(0..=4)] {
            writes.push(Write::Payment(payment(id, offset), t(offset)));
        }
    }
    writes
}

async fn any_schedule_of_writes_ends_at_the_largest_event_time(facts: &Facts) {
    const ROWS: i64 = 20;
    for seed in 0..facts.share_of(40) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let first = own_ids(ROWS).0;
        let writes = random_writes(rng, first, ROWS);
        let mut schedule = writes.clone();
        for _ in 0..writes.len() / 3 {
            schedule.extend(writes.choose(rng).cloned());
        }
        schedule.shuffle(rng);

        let mut rest = schedule.as_slice();
        while !rest.is_empty() {
            let (at_once, later) = rest.split_at(rng.random_range(1..=8).min(rest.len()));
            join_all(at_once.iter().map(|write| write.apply(facts))).await;
            rest = later;
        }

        for id in (first..first + ROWS).map(OrderId) {
            let expected = model(id, &writes);
            assert_eq!(facts.fact(id).await.unwrap(), expected, "seed {seed}");
            let slot = match expected {
                Some(Fact {
                    payment,
                    payment_written_at: Some(written_at),
                    order_written_at: Some(_),
                    ..
                }) => PaymentSlot::Taken { payment, written_at },
                Some(Fact { order_written_at: Some(_), .. }) => PaymentSlot::Empty,
                _ => PaymentSlot::NoOrder,
            };
            assert_eq!(facts.payment_slot(id).await.unwrap(), slot, "seed {seed}");
        }
    }
}
