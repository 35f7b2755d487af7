//! Confirmations: what an order says about its own, and sending it again.

use serde_json::{Value, json};

use super::world::{Call, Fault, ORDERS, PUBLISH, START, World, prepaid};
use ecom_shop_domain::notice::{Notice, NoticeOutcome};
use ecom_shop_domain::order::OrderState;

fn again() -> Call {
    Call::post(format!("{ORDERS}/k/confirmation"))
}

#[tokio::test]
async fn an_order_shows_what_became_of_its_confirmation() {
    let world = World::open().await;
    let order = world.order_in("k", OrderState::Paid, &prepaid()).await;
    let shown = async || world.send(Call::get(format!("{ORDERS}/k"))).await.body["confirmation"].take();
    assert_eq!(shown().await, Value::Null);
    let (refused, nobody) = ("550 5.1.1: no such user", "the order has no e-mail address");
    for (outcome, status, detail) in [
        (NoticeOutcome::Sent, "sent", Value::Null),
        (NoticeOutcome::Undeliverable(refused.into()), "undeliverable", json!(refused)),
        (NoticeOutcome::NotNeeded(nobody.into()), "not_needed", json!(nobody)),
    ] {
        world.change(&order, |order| order.notice = Some(Notice::new(outcome, None, START + 7)));
        let expected =
            json!({"status": status, "detail": detail, "updated_at": "2025-06-15T15:06:40.000007Z"});
        assert_eq!(shown().await, expected);
    }
}

#[tokio::test]
async fn only_a_paid_order_is_confirmed_again_after_what_stands() {
    for (state, status) in [
        (OrderState::Accepted, Some("Pending")),
        (OrderState::Placed, Some("Pending")),
        (OrderState::Paying, Some("Pending")),
        (OrderState::Paid, None),
        (OrderState::Completed, None),
        (OrderState::Cancelled, Some("Cancelled")),
        (OrderState::Refused, Some("Refused")),
    ] {
        let world = World::open().await;
        let order = world.order_in("k", state, &prepaid()).await;
        let answer = world.send(again()).await;
        if let Some(status) = status {
            assert_eq!((answer.status, answer.code()), (409, "not_paid"), "{state:?}");
            assert_eq!(answer.body["detail"], format!("the order is {status}"));
            assert_eq!(world.take_notices(), [""; 0]);
            continue;
        }
        assert_eq!((answer.status, &answer.body["order_id"]), (202, &json!(order.order_id.0)), "{state:?}");
        let first = format!(r#"{{"order_id":{},"notice":"confirmed"}}"#, order.order_id);
        assert_eq!(world.take_notices(), [first.as_str()], "nothing was sent so far");
        world.change(&order, |order| order.notice = Some(Notice::new(NoticeOutcome::Sent, None, START + 7)));
        for _ in 0..2 {
            assert_eq!(world.send(again()).await.body["confirmation"]["status"], "sent");
        }
        let time = "2025-06-15T15:06:40.000007Z";
        let after =
            format!(r#"{{"order_id":{},"notice":"confirmed","again_after":"{time}"}}"#, order.order_id);
        assert_eq!(world.take_notices(), [after.as_str(), &after], "both are one request");
        assert_eq!(world.stored(order.order_id.0).notice.unwrap().at, START + 7, "the notifier writes it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_that_could_not_be_asked_for_is_an_outage() {
    for fault in [Fault::Lost, Fault::AnswerLost, Fault::Hangs] {
        let world = World::open().await;
        world.order_in("k", OrderState::Paid, &prepaid()).await;
        world.script.of(PUBLISH, fault);
        let failed = world.send(again()).await;
        assert_eq!((failed.status, failed.code()), (503, "bus_unavailable"), "{fault:?}");
        assert!(world.api.not_ready().is_some());
        world.script.heal();
        world.take_notices();
        assert_eq!((world.send(again()).await.status, world.take_notices().len()), (202, 1));
    }
}
