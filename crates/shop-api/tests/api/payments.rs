//! Payments of orders, and cancellations.

use std::time::Duration;

use serde_json::json;

use super::answer::Answer;
use super::world::{Call, ORDERS, START, World, payment, prepaid, unpaid};
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_domain::payment::PaymentState;

async fn pay(world: &World, order: &OrderRecord, key: &str) -> Answer {
    world.send(Call::post(format!("{ORDERS}/{}/payments", order.order_id)).key(key).json(&payment())).await
}

async fn cancel(world: &World, order: &OrderRecord) -> Answer {
    world.send(Call::post(format!("{ORDERS}/{}/cancel", order.order_id))).await
}

#[tokio::test]
async fn of_two_payments_at_once_one_is_recorded_and_the_other_told_so() {
    for state in [OrderState::Accepted, OrderState::Placed] {
        let world = World::open().await;
        let order = world.order_in("k", state, &unpaid()).await;
        world.take_messages();
        let (one, other) = tokio::join!(pay(&world, &order, "one"), pay(&world, &order, "other"));
        let (paid, refused) = if one.status == 201 { (one, other) } else { (other, one) };
        assert_eq!((paid.status, refused.status, refused.code()), (201, 409, "payment_in_progress"));
        assert_eq!(refused.body["detail"], format!("see {}", paid.header("location")));
        assert_eq!((paid.body["status"].as_str(), &paid.body["amount"]), (Some("pending"), &json!(19.98)));
        assert_eq!(world.take_messages(), [format!(r#"{{"order_id":{}}}"#, order.order_id)]);
        assert_eq!(world.shop.tables().payments.len(), 1);
        let read = world.send(Call::get(paid.header("location"))).await;
        assert_eq!(read.body, paid.body);
        let shown = world.send(Call::get(format!("{ORDERS}/{}", order.order_id))).await;
        assert_eq!(shown.body["payment"]["transaction_id"], paid.body["transaction_id"]);
    }
}

#[tokio::test]
async fn the_key_of_an_earlier_payment_answers_with_that_payment_whatever_the_order_has_become() {
    let world = World::open().await;
    let order = world.order_in("k", OrderState::Placed, &unpaid()).await;
    let first = pay(&world, &order, "first").await;
    let end = |state, error: Option<&str>| {
        for payment in world.shop.tables().payments.values_mut().filter(|payment| !payment.state.is_final()) {
            (payment.state, payment.error_message) = (state, error.map(str::to_owned));
            payment.state_at = START + 90_000_000;
        }
    };
    end(PaymentState::Failed, Some("declined"));
    // The customer may try again.
    world.change(&order, |order| order.attempt = 1);
    let second = pay(&world, &order, "second").await;
    assert_eq!((second.status, second.is_replayed()), (201, false));
    let record = world.shop.tables().payments
        [&second.body["transaction_id"].as_str().unwrap().parse().unwrap()]
        .clone();
    assert_eq!(record.of_order, Some((order.order_id, 2)));
    assert!(record.state_at > START + 90_000_000, "it begins after the one before ended");
    world.take_messages();

    let replay = pay(&world, &order, "first").await;
    assert_eq!((replay.status, replay.is_replayed()), (201, true), "{replay:?}");
    assert_eq!(replay.header("location"), first.header("location"));
    assert_eq!(
        (&replay.body["status"], &replay.body["error_message"]),
        (&json!("failed"), &json!("declined"))
    );
    assert_eq!(world.take_messages(), [""; 0]);
    let mut other = payment();
    other["payment_method"] = json!("PayPal");
    let reused = Call::post(format!("{ORDERS}/{}/payments", order.order_id)).key("first").json(&other);
    assert_eq!(world.send(reused).await.code(), "idempotency_key_reused");

    // The order was cancelled before the second payment began, and that payment failed.
    end(PaymentState::Failed, Some("the order was cancelled"));
    world.change(&order, |order| order.state = OrderState::Cancelled);
    let replay = pay(&world, &order, "second").await;
    assert_eq!((replay.status, replay.is_replayed()), (201, true), "{replay:?}");
    assert_eq!(replay.body["error_message"], "the order was cancelled");
    assert_eq!(pay(&world, &order, "third").await.code(), "order_cancelled");
}

#[tokio::test]
async fn an_order_is_paid_only_while_it_waits_for_a_payment_and_with_its_total() {
    for (body, state, expected) in [
        (prepaid(), OrderState::Accepted, "payment_in_progress"),
        (unpaid(), OrderState::Paying, "payment_in_progress"),
        (unpaid(), OrderState::Paid, "already_paid"),
        (unpaid(), OrderState::Completed, "already_paid"),
        (unpaid(), OrderState::Refused, "order_cancelled"),
        (unpaid(), OrderState::Cancelled, "order_cancelled"),
    ] {
        let world = World::open().await;
        let order = world.order_in("k", state, &body).await;
        world.take_messages();
        let refused = pay(&world, &order, "p").await;
        assert_eq!((refused.status, refused.code()), (409, expected), "{state:?}");
        assert!(world.shop.tables().payments.is_empty() && world.take_messages().is_empty());
    }
    let world = World::open().await;
    let order = world.order_in("k", OrderState::Placed, &unpaid()).await;
    let path = format!("{ORDERS}/{}/payments", order.order_id);
    for wrong in [json!(19.97), json!(19.99), json!(0), json!(1998)] {
        let mut body = payment();
        body["amount"] = wrong.clone();
        let refused = world.send(Call::post(&path).key("p").json(&body)).await;
        assert_eq!((refused.status, refused.code()), (422, "amount_mismatch"), "{wrong}");
        assert_eq!(refused.body["detail"], "the total of the order is 19.98");
    }
    let mut body = payment();
    body["amount"] = json!(19.98);
    assert_eq!(world.send(Call::post(&path).key("p").json(&body)).await.status, 201);
    let unknown = world.send(Call::post(format!("{ORDERS}/unknown/payments")).json(&payment())).await;
    assert_eq!(unknown.code(), "not_found");
}

#[tokio::test]
async fn another_payment_that_was_completed_meanwhile_is_already_paid() {
    let world = World::open().await;
    let order = world.order_in("k", OrderState::Placed, &unpaid()).await;
    // It ended after the order was read and before the payment is created.
    world.pay(&order, PaymentState::Completed);
    world.change(&order, |order| order.attempt = 0);
    assert_eq!(pay(&world, &order, "p").await.code(), "already_paid");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_waits_for_the_processor_and_says_what_became_of_the_order() {
    let outcomes = [
        (OrderState::Accepted, Some(OrderState::Cancelled), 200, ""),
        (OrderState::Placed, Some(OrderState::Cancelled), 200, ""),
        (OrderState::Placed, Some(OrderState::Paying), 409, "not_cancellable"),
        (OrderState::Placed, None, 202, ""),
        (OrderState::Accepted, Some(OrderState::Refused), 409, "not_cancellable"),
    ];
    for (before, after, status, code) in outcomes {
        let world = World::open().await;
        let order = world.order_in("k", before, &unpaid()).await;
        world.take_messages();
        let began = tokio::time::Instant::now();
        let processor = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            world.change(&order, |order| order.state = after.unwrap_or(order.state));
        };
        let (answer, ()) = tokio::join!(cancel(&world, &order), processor);
        assert_eq!((answer.status, answer.code()), (status, code), "{before:?} to {after:?}");
        assert_eq!(world.take_messages(), [format!(r#"{{"cancel_order_id":{}}}"#, order.order_id)]);
        let waited = began.elapsed().as_secs_f64();
        let expected = if after.is_some() { 2.0..2.2 } else { 5.0..5.2 };
        assert!(expected.contains(&waited), "{before:?} to {after:?} took {waited} s");
        if status == 200 {
            assert_eq!(answer.body["status"], "Cancelled");
            assert_eq!(cancel(&world, &order).await.status, 200, "again");
            assert_eq!(world.take_messages(), [""; 0], "again");
        }
    }
}

#[tokio::test]
async fn what_is_being_paid_or_has_ended_is_not_cancelled() {
    for state in OrderState::ALL {
        let world = World::open().await;
        let order = world.order_in("k", state, &unpaid()).await;
        world.take_messages();
        let detail = match state {
            OrderState::Accepted | OrderState::Placed | OrderState::Cancelled => continue,
            OrderState::Paying => "a payment of the order is processing".to_owned(),
            state => format!("the order is {}", state.status()),
        };
        let refused = cancel(&world, &order).await;
        assert_eq!((refused.status, refused.code()), (409, "not_cancellable"));
        assert_eq!(refused.body["detail"], detail);
        assert_eq!(world.take_messages(), [""; 0]);
    }
    let world = World::open().await;
    assert_eq!(world.send(Call::post(format!("{ORDERS}/unknown/cancel"))).await.code(), "not_found");
}
