//! Orders and payments through all their states, with several processors, faults, kills and clocks that are wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/world.rs"]
#[allow(dead_code, reason = "the race uses the rest")]
mod world;

use std::time::Duration;

use ecom_domain::order::OrderId;
use ecom_shop::due::{self, NewTimers};
use ecom_shop::processor::PaymentProcessor;
use ecom_shop_domain::gateway::{ChargeOutcome, simulated};
use ecom_shop_domain::identity::{RequestKey, payment_ids, transaction_ids};
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::notice::{Notice, NoticeOutcome};
use ecom_shop_domain::order::OrderState;
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_shop_domain::policy::OrderPolicy;
use ecom_shop_domain::request::ProcessingRequest;
use futures_util::future::join_all;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use self::world::{SEED, START, SUCCESS_RATE, World, last_events};

const ORDERS: i64 = 2_000;

fn outcome(payment: &PaymentRecord) -> PaymentState {
    match simulated(payment, SEED, SUCCESS_RATE) {
        ChargeOutcome::Completed => PaymentState::Completed,
        ChargeOutcome::Failed(_) => PaymentState::Failed,
    }
}

fn pending_of(order_id: OrderId, created_at: i64) -> PaymentRecord {
    PaymentRecord {
        payment_id: payment_ids(order_id, 1).next().unwrap(),
        of_order: Some((order_id, 1)),
        ..transaction(1, created_at)
    }
}

fn transaction(n: i64, created_at: i64) -> PaymentRecord {
    let request = RequestKey { account: "shop".into(), key: n.to_string() };
    PaymentRecord {
        payment_id: transaction_ids(&request).next().unwrap(),
        request,
        fingerprint: "f".into(),
        of_order: None,
        sender: "a".into(),
        receiver: "b".into(),
        payment_method: Some("PayPal".into()),
        card_last_four: None,
        amount_minor: 200,
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

/// Three processors, one of them with a clock 3 s ahead; each message is delivered to one to three of them at once, and
/// most deliveries are killed at a random moment and redelivered. 5 % of all calls are lost and 5 % are applied although
/// they fail.
#[tokio::test(start_paused = true)]
async fn the_outcome_of_2000_payments_is_the_one_that_seed_and_id_say_whatever_happens() {
    let world = World::default().with_faults(7);
    let policy = OrderPolicy::default();
    let orders: Vec<OrderId> = (0..ORDERS).map(|n| world.accept(n, Some("PayPal"), &policy)).collect();
    let processors: Vec<_> = [0, 3_000_000, -3_000_000]
        .into_iter()
        .zip(1..)
        .map(|(skew, seed)| world.processor(seed, skew, policy).0)
        .collect();
    let mut dice = ChaCha8Rng::seed_from_u64(99);
    let mut was_in_the_middle = false;
    for _ in 0..6 {
        let mut deliveries = Vec::new();
        for order_id in &orders {
            for _ in 0..dice.random_range(1..=3) {
                let processor = &processors[dice.random_range(0..processors.len())];
                let (starts, lives) = (dice.random_range(0..3_000), dice.random_range(1..6_000));
                deliveries.push(async move {
                    tokio::time::sleep(Duration::from_millis(starts)).await;
                    let processing = processor.process(ProcessingRequest::OrderId(order_id.0));
                    drop(tokio::time::timeout(Duration::from_millis(lives), processing).await);
                });
            }
        }
        join_all(deliveries).await;
        was_in_the_middle |= orders.iter().any(|id| world.order(*id).state == OrderState::Paying);
    }
    assert!(was_in_the_middle, "no delivery was killed while a payment was in progress");
    for _ in 0..2 {
        let last =
            join_all(orders.iter().map(|id| processors[0].process(ProcessingRequest::OrderId(id.0)))).await;
        assert!(last.into_iter().all(|done| done.unwrap().is_some()));
        tokio::time::sleep(policy.completion_delay + Duration::from_secs(10)).await;
    }

    let (order_events, payment_events) =
        (last_events(&world.orders, "order_id"), last_events(&world.payments, "payment_id"));
    let tables = world.shop.tables();
    assert_eq!((tables.payments.len(), payment_events.len()), (2_000, 2_000), "one payment an order");
    let mut failed = 0;
    for payment in tables.payments.values() {
        let (order_id, attempt) = payment.of_order.unwrap();
        assert_eq!((payment.state, attempt), (outcome(payment), 1));
        assert!(payment.state_at - payment.created_at >= 2_000_000 - 6_000_000, "{payment:?}");
        assert_eq!(payment.error_message.is_some(), payment.state == PaymentState::Failed);
        let (t, event) = &payment_events[&payment.payment_id];
        assert_eq!((*t, event["payment_status"].as_str()), (payment.state_at, Some(payment.state.as_str())));
        let order = &tables.orders[&order_id];
        let is_paid = payment.state == PaymentState::Completed;
        assert_eq!(order.state, if is_paid { OrderState::Completed } else { OrderState::Cancelled });
        assert_eq!((order.detail.is_some(), order.due_at), (!is_paid, None));
        let (t, event) = &order_events[&order_id.0];
        assert_eq!((*t, event["order_status"].as_str()), (order.state_at, Some(order.state.status())));
        failed += usize::from(!is_paid);
    }
    assert!((150..250).contains(&failed), "{failed} of 2,000 failed at a success rate of 0.9");
    let paid = tables.orders.values().filter(|order| order.state.is_paid()).map(|order| order.order_id);
    assert_eq!(
        world.asked_to_confirm(),
        paid.collect(),
        "the paid orders are to be confirmed, and no others"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unpaid_order_is_paid_or_cancelled_and_never_both() {
    let policy = OrderPolicy::default();
    let deadline = 15 * 60 * 1_000_000_i64;
    let mut seen = [0, 0];
    for n in 0..200 {
        let world = World::default();
        let order_id = world.accept(n, None, &policy);
        let (one, _timers) = world.processor(n as u64, 0, policy);
        one.process(ProcessingRequest::OrderId(order_id.0)).await.unwrap().unwrap();
        let placed = world.order(order_id);
        assert_eq!((placed.state, placed.attempt), (OrderState::Placed, 0));
        // The payment arrives within 100 ms of the deadline, before or after.
        let offset = (n - 100) * 1_000;
        let now = START + deadline + placed.state_at - START + offset;
        let (other, _timers) = world.processor(1_000 + n as u64, now - START, policy);
        let payment = pending_of(order_id, now);
        world.shop.tables().payments.insert(payment.payment_id, payment.clone());
        let (sweeper, _timers) = world.processor(2_000 + n as u64, now - START, policy);
        let request = ProcessingRequest::OrderId(order_id.0);
        let (paying, sweeping) = tokio::join!(other.process(request), sweeper.process(request));
        assert!(paying.unwrap().is_some() && sweeping.unwrap().is_some());
        let (order, payment) =
            (world.order(order_id), world.shop.tables().payments[&payment.payment_id].clone());
        match (order.state, payment.state) {
            (OrderState::Paid, PaymentState::Completed) => seen[0] += 1,
            (OrderState::Cancelled, PaymentState::Failed) => seen[1] += 1,
            other => panic!("{other:?}: {order:?} {payment:?}"),
        }
        let is_refused = payment.error_message.as_deref() == Some("the order was cancelled");
        assert_eq!(is_refused, order.detail.as_deref() == Some("not paid in time"), "{order:?} {payment:?}");
    }
    assert!(seen[0] > 40 && seen[1] > 40, "{seen:?}");
}

/// Runs a processor: what is due, and the messages of the requests topic.
async fn run(world: &World, processor: &PaymentProcessor, timers: NewTimers, stop: &CancellationToken) {
    let due = async { due::run(processor, timers, stop.clone()).await.unwrap() };
    tokio::join!(due, world.deliver_to(processor, stop));
}

/// The state is final from then on and due no more, so nothing but the message leads to what is missing.
#[tokio::test(start_paused = true)]
async fn an_event_is_published_though_its_processor_is_killed_after_the_move_to_the_final_state() {
    let policy = OrderPolicy::default();
    let (mut killed, is_reported) = (0, |world: &World, order_id: OrderId| {
        let order = world.order(order_id);
        last_events(&world.orders, "order_id").get(&order_id.0).is_some_and(|(t, _)| *t == order.state_at)
    });
    for n in 0..50 {
        let world = World::default().with_faults(n);
        let order_id = world.accept(1, Some("Test: succeed"), &policy);
        let (one, timers) = world.processor(n, 0, policy);
        one.process(ProcessingRequest::OrderId(order_id.0)).await.unwrap().unwrap();
        let stop = CancellationToken::new();
        let completed = async {
            while world.order(order_id).state != OrderState::Completed {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = completed => {}
            () = run(&world, &one, timers, &stop) => {}
        }
        killed += usize::from(!is_reported(&world, order_id));
        let (other, timers) = world.processor(n + 1_000, 0, policy);
        let later = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            stop.cancel();
        };
        tokio::join!(later, run(&world, &other, timers, &stop));
        assert!(is_reported(&world, order_id), "{n}: {:?}", world.order(order_id));
    }
    assert!(killed > 0, "no processor was killed between the move and the event");
}

/// The processor that has made the order paid is killed at once, and the next one comes when the order is due.
#[tokio::test(start_paused = true)]
async fn an_order_is_not_completed_before_its_confirmation_is_asked_for() {
    let (policy, mut killed) = (OrderPolicy::default(), 0);
    for n in 0..50 {
        let world = World::default().with_faults(n);
        let order_id = world.accept(1, Some("Test: succeed"), &policy);
        let request = ProcessingRequest::OrderId(order_id.0);
        let (one, _timers) = world.processor(n, 0, policy);
        let until = async |state| {
            while world.order(order_id).state != state {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = until(OrderState::Paid) => {}
            _ = one.process(request) => {}
        }
        killed += usize::from(world.asked_to_confirm().is_empty());
        let is_due = world.order(order_id).due_at.unwrap() - START;
        let (other, _timers) = world.processor(n + 1_000, is_due, policy);
        tokio::select! {
            biased;
            () = until(OrderState::Completed) => {}
            done = other.process(request) => assert!(done.unwrap().is_some()),
        }
        assert_eq!(world.order(order_id).state, OrderState::Completed);
        assert!(world.asked_to_confirm().contains(&order_id), "{n}");
    }
    assert!(killed > 0, "no processor was killed before it asked");
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_is_not_asked_for_again_where_something_stands_about_it() {
    let (world, policy) = (World::default(), OrderPolicy::default());
    let (processor, _timers) = world.processor(1, 0, policy);
    let order_id = world.accept(1, Some("Test: succeed"), &policy);
    let request = ProcessingRequest::OrderId(order_id.0);
    for times in [1, 2] {
        processor.process(request).await.unwrap().unwrap();
        assert_eq!(world.notices.messages.lock().unwrap().len(), times);
    }
    let notice = Notice::new(NoticeOutcome::Sent, None, START);
    world.shop.tables().orders.get_mut(&order_id).unwrap().notice = Some(notice);
    processor.process(request).await.unwrap().unwrap();
    assert_eq!(world.notices.messages.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_due_is_done_by_a_timer_and_by_the_sweep_of_another_processor() {
    let policy = OrderPolicy::default();
    for is_killed in [false, true] {
        let world = World::default();
        let order_id = world.accept(1, Some("Test: succeed"), &policy);
        let request = ProcessingRequest::OrderId(order_id.0);
        let (one, timers) = world.processor(1, 0, policy);
        let (other, others_timers) = world.processor(2, 0, policy);
        let stop = CancellationToken::new();
        let watch = async {
            one.process(request).await.unwrap().unwrap();
            let paid = world.order(order_id);
            assert_eq!(paid.state, OrderState::Paid);
            let due_in = paid.due_at.unwrap() - START;
            while world.order(order_id).state != OrderState::Completed {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let late_by = world.order(order_id).state_at - START - due_in;
            stop.cancel();
            late_by
        };
        let own = async {
            if is_killed {
                drop(timers);
            } else {
                run(&world, &one, timers, &stop).await;
            }
        };
        let sweeping = run(&world, &other, others_timers, &stop);
        let (late_by, (), ()) = tokio::join!(watch, own, sweeping);
        let expected = if is_killed { 9_000_000..21_000_000 } else { 0..1_000_000 };
        assert!(expected.contains(&late_by), "{is_killed}: {late_by} µs late");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_without_an_order_is_charged_and_publishes_no_event() {
    let (world, policy) = (World::default(), OrderPolicy::default());
    let (processor, _timers) = world.processor(1, 0, policy);
    for n in 0..100 {
        let payment = PaymentRecord { due_at: Some(START + 1_000 * 1_000_000), ..transaction(n, START) };
        world.shop.tables().payments.insert(payment.payment_id, payment.clone());
        processor.process(ProcessingRequest::PaymentId(payment.payment_id)).await.unwrap().unwrap();
        let done = world.shop.tables().payments[&payment.payment_id].clone();
        assert_eq!((done.state, done.due_at), (outcome(&payment), None));
        assert!(done.state_at - done.created_at >= 2_000_000);
    }
    let late = PaymentRecord { due_at: Some(START), ..transaction(1_000, START) };
    world.shop.tables().payments.insert(late.payment_id, late.clone());
    processor.process(ProcessingRequest::PaymentId(late.payment_id)).await.unwrap().unwrap();
    let error = world.shop.tables().payments[&late.payment_id].error_message.clone();
    assert_eq!(error.as_deref(), Some("it was not processed in time, and nothing was charged"));
    assert!(
        world.payments.messages.lock().unwrap().is_empty()
            && world.orders.messages.lock().unwrap().is_empty()
    );
    assert!(processor.process(ProcessingRequest::PaymentId(1)).await.unwrap().is_none(), "there is none");
    assert!(processor.process(ProcessingRequest::OrderId(1)).await.unwrap().is_none(), "there is none");
}

#[tokio::test(start_paused = true)]
async fn an_order_is_cancelled_on_request_only_before_it_is_paid() {
    let (world, policy) = (World::default(), OrderPolicy::default());
    let (processor, _timers) = world.processor(1, 0, policy);
    for (n, method, state) in [(1, None, OrderState::Cancelled), (2, Some("Test: succeed"), OrderState::Paid)]
    {
        let order_id = world.accept(n, method, &policy);
        processor.process(ProcessingRequest::CancelOrderId(order_id.0)).await.unwrap().unwrap();
        assert_eq!(world.order(order_id).state, state);
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_another_payment_has_is_passed_over() {
    let (world, policy) = (World::default(), OrderPolicy::default());
    let order_id = world.accept(1, Some("Test: succeed"), &policy);
    let taken: Vec<i64> = payment_ids(order_id, 1).take(3).collect();
    for (id, n) in taken[..2].iter().zip(500..) {
        let other = PaymentRecord { payment_id: *id, ..transaction(n, START) };
        world.shop.tables().payments.insert(*id, other);
    }
    let (processor, _timers) = world.processor(1, 0, policy);
    processor.process(ProcessingRequest::OrderId(order_id.0)).await.unwrap().unwrap();
    assert_eq!(world.order(order_id).state, OrderState::Paid);
    assert_eq!(world.shop.tables().payments[&taken[2]].of_order, Some((order_id, 1)));
}
