//! The contract of the fact store: values read back exactly.

use ecom_domain::event_time::EventTime;
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;

use super::{Facts, T, order, own_id, payment, row, t};

crate::contract_suite! { $ crate fact_values, crate::FactStore, fact_value_contract_tests: [
    write_timestamps_are_event_times_to_the_microsecond,
    any_text_reads_back,
    an_empty_text_is_not_null,
    the_largest_numbers_read_back,
    prices_read_back_to_the_last_bit,
] }

async fn write_timestamps_are_event_times_to_the_microsecond(facts: &Facts) {
    for (ordered, paid) in [(1, 2), (T + 1, T), (T + 123_457, T + 123_456), (253_402_300_799_999_999, 7)] {
        let id = own_id();
        let (ordered, paid) = (EventTime::stored(ordered), EventTime::stored(paid));
        facts.record_order(&order(id, 1), ordered).await.unwrap();
        facts.record_payment(&payment(id, 1), paid).await.unwrap();

        let read = row(facts, id).await;
        assert_eq!((read.order_written_at, read.payment_written_at), (Some(ordered), Some(paid)));
    }
}

async fn any_text_reads_back(facts: &Facts) {
    let large = "0123456789abcdef".repeat(6_400);
    let texts = [
        "ünïcödé 漢字 🛒 e\u{301}",
        "it's \"quoted\" \\ ; -- DROP",
        "nul \0 inside",
        "\u{feff}bom\r\n\t",
        &large,
    ];
    for text in texts {
        let id = own_id();
        let order = Order {
            item: text.into(),
            shipping_address: text.into(),
            order_status: text.into(),
            creation_date: text.into(),
            ..order(id, 1)
        };
        let payment = Payment {
            payment_method: text.into(),
            payment_status: text.into(),
            payment_datetime: text.into(),
            ..payment(id, 1)
        };
        facts.record_order(&order, t(0)).await.unwrap();
        facts.record_payment(&payment, t(1)).await.unwrap();

        let read = row(facts, id).await;
        assert!(read.order.matches(&order) && read.payment.matches(&payment), "{:.40}", text);
    }
}

async fn an_empty_text_is_not_null(facts: &Facts) {
    let id = own_id();
    let order = Order { item: "".into(), order_status: "".into(), ..order(id, 1) };
    let payment = Payment { payment_method: "".into(), payment_datetime: "".into(), ..payment(id, 1) };

    facts.record_order(&order, t(0)).await.unwrap();
    facts.record_payment(&payment, t(1)).await.unwrap();

    let read = row(facts, id).await;
    assert!(read.order.matches(&order) && read.payment.matches(&payment), "{read:?}");
}

async fn the_largest_numbers_read_back(facts: &Facts) {
    let id = OrderId(i64::MAX);
    let order = Order { customer_id: i64::MAX, quantity: i64::MAX, ..order(id, 1) };
    let payment = Payment { payment_id: i64::MAX, ..payment(id, 1) };

    facts.record_order(&order, t(0)).await.unwrap();
    facts.record_payment(&payment, t(1)).await.unwrap();

    let read = row(facts, id).await;
    assert_eq!(read.order_id, id);
    assert!(read.order.matches(&order) && read.payment.matches(&payment), "{read:?}");
}

async fn prices_read_back_to_the_last_bit(facts: &Facts) {
    for price in [0.0, 1e308, f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2, 9_007_199_254_740_993.0] {
        let id = own_id();

        facts.record_order(&Order { price, ..order(id, 1) }, t(0)).await.unwrap();

        assert_eq!(row(facts, id).await.order.price.map(f64::to_bits), Some(price.to_bits()), "{price}");
    }
}
