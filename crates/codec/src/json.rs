//! Decodes JSON bodies to borrowed orders and payments, in one pass.
//!
//! A body that is not exactly one JSON object in UTF-8 is `undecodable`. An object that breaks the contract
//! is `invalid`, and the detail names field and cause. A body with a full card number is `pan_detected`,
//! whether or not it is valid otherwise: no order and no payment needs one.

mod cause;
mod fields;
mod salvage;

use std::borrow::Cow;

use self::fields::{FieldValue, Fields};
pub(crate) use self::salvage::ids;
use crate::contract::{ORDER_FIELDS, PAYMENT_FIELDS};
use crate::rejection::Rejection;
use crate::screen;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::mutant::{Mutant, is_active};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::{CardLastFour, Payment};
use ecom_domain::reason::Reason;

/// Decodes the body of an order event. Texts without escapes borrow from the body.
///
/// # Errors
/// The [`Rejection`] to dead-letter the message with; it names every fault of the body at once.
pub fn order(body: &[u8]) -> Result<Order<'_>, Rejection> {
    let order = read_order(body);
    match screen::card_numbers(body) {
        None => order,
        Some(detail) => Err(pan_detected(detail, order.map(|order| (Some(order.order_id), None)))),
    }
}

/// Decodes the body of a payment event. Texts without escapes borrow from the body.
///
/// # Errors
/// The [`Rejection`] to dead-letter the message with; it names every fault of the body at once.
pub fn payment(body: &[u8]) -> Result<Payment<'_>, Rejection> {
    let payment = read_payment(body);
    match screen::card_numbers(body) {
        None => payment,
        Some(detail) => Err(pan_detected(
            detail,
            payment.map(|payment| (Some(payment.order_id), Some(payment.payment_id))),
        )),
    }
}

/// Returns the rejection of a body with a card number in it, with the ids that could be read.
pub(crate) fn pan_detected(
    detail: String,
    read: Result<(Option<OrderId>, Option<i64>), Rejection>,
) -> Rejection {
    let (order_id, payment_id) = read.unwrap_or_else(|rejection| (rejection.order_id, rejection.payment_id));
    Rejection { reason: Reason::PanDetected, detail, order_id, payment_id }
}

/// Decodes an order event's body without searching it for card numbers.
pub(crate) fn read_order(body: &[u8]) -> Result<Order<'_>, Rejection> {
    let mut fields =
        Fields::<8>::read(body, &ORDER_FIELDS).map_err(|fault| unread(EventKind::Order, body, fault))?;
    let mut check = ContractCheck { body, faults: fields.take_faults() };
    let order = Order {
        order_id: OrderId(check.positive("order_id", fields.take(0))),
        customer_id: check.positive("customer_id", fields.take(1)),
        item: check.text("item", fields.take(2)),
        quantity: check.positive("quantity", fields.take(3)),
        price: check.price("price", fields.take(4)),
        shipping_address: check.text("shipping_address", fields.take(5)),
        order_status: check.text("order_status", fields.take(6)),
        creation_date: check.text("creation_date", fields.take(7)),
    };
    check.finish(Some(order.order_id), None).map(|()| order)
}

/// Decodes a payment event's body without searching it for card numbers.
pub(crate) fn read_payment(body: &[u8]) -> Result<Payment<'_>, Rejection> {
    let mut fields =
        Fields::<6>::read(body, &PAYMENT_FIELDS).map_err(|fault| unread(EventKind::Payment, body, fault))?;
    let mut check = ContractCheck { body, faults: fields.take_faults() };
    let payment = Payment {
        payment_id: check.positive("payment_id", fields.take(0)),
        order_id: OrderId(check.positive("order_id", fields.take(1))),
        payment_method: check.text("payment_method", fields.take(2)),
        card_last_four: check.card("card_last_four", fields.take(3)),
        payment_status: check.text("payment_status", fields.take(4)),
        payment_datetime: check.text("payment_datetime", fields.take(5)),
    };
    check.finish(Some(payment.order_id), Some(payment.payment_id)).map(|()| payment)
}

/// Returns the rejection of a body whose fields could not be read, with the ids that could.
fn unread(kind: EventKind, body: &[u8], (reason, detail): (Reason, String)) -> Rejection {
    let (order_id, payment_id) = salvage::ids(kind, body);
    Rejection { reason, detail, order_id, payment_id }
}

/// Checks fields against the contract and collects every fault.
struct ContractCheck<'b> {
    body: &'b [u8],
    faults: Vec<String>,
}

impl ContractCheck<'_> {
    fn fault(&mut self, field: &str, cause: &str) {
        self.faults.push(format!("{field}: {cause}"));
    }

    fn positive(&mut self, field: &str, value: FieldValue<'_>) -> i64 {
        match value {
            FieldValue::Integer(number) if number > 0 => return number,
            FieldValue::Integer(_) => self.fault(field, "not positive"),
            FieldValue::Unsigned(_) => self.fault(field, "larger than 9223372036854775807"),
            other => match self.integer(field, &other) {
                Some([b'-', ..]) => self.fault(field, "not positive"),
                Some(_) => self.fault(field, "larger than 9223372036854775807"),
                None => self.mismatch(field, "an integer", &other),
            },
        }
        0
    }

    /// Returns the text of a number that is written as an integer but does not fit one: `-0`, or beyond 64 bits.
    fn integer(&self, field: &str, value: &FieldValue<'_>) -> Option<&[u8]> {
        match value {
            FieldValue::Float(_) | FieldValue::OutOfRange => {
                salvage::number(self.body, field).filter(|number| salvage::is_integer(number))
            }
            _ => None,
        }
    }

    fn price(&mut self, field: &str, value: FieldValue<'_>) -> f64 {
        let price = match value {
            FieldValue::Float(price) => price,
            #[expect(clippy::cast_precision_loss, reason = "a price above 2^53 is the nearest double")]
            FieldValue::Integer(price) => price as f64,
            #[expect(clippy::cast_precision_loss, reason = "a price above 2^53 is the nearest double")]
            FieldValue::Unsigned(price) => price as f64,
            FieldValue::OutOfRange => {
                self.fault(field, "number out of range");
                return 0.0;
            }
            other => {
                self.mismatch(field, "a number", &other);
                return 0.0;
            }
        };
        if is_active(Mutant::PriceClamped) {
            return price.min(9_223_372_036_854_775_807.0);
        }
        if price < 0.0 {
            self.fault(field, "negative");
        }
        price + 0.0
    }

    fn text<'a>(&mut self, field: &str, value: FieldValue<'a>) -> Cow<'a, str> {
        match value {
            FieldValue::Text(text) => text,
            other => {
                self.mismatch(field, "a text", &other);
                Cow::Borrowed("")
            }
        }
    }

    fn card(&mut self, field: &str, value: FieldValue<'_>) -> Option<CardLastFour> {
        match value {
            FieldValue::Absent | FieldValue::Null => None,
            FieldValue::Text(text) => {
                let card = CardLastFour::try_new(&text);
                if card.is_none() {
                    self.fault(field, "not four digits");
                }
                card
            }
            other => {
                self.mismatch(field, "a text of four digits", &other);
                None
            }
        }
    }

    fn mismatch(&mut self, field: &str, wanted: &str, found: &FieldValue<'_>) {
        let found = match found {
            FieldValue::Absent => return self.fault(field, "missing"),
            FieldValue::Null => "null",
            FieldValue::Integer(_) | FieldValue::Unsigned(_) => "an integer",
            number @ (FieldValue::Float(_) | FieldValue::OutOfRange) => match self.integer(field, number) {
                Some(_) => "an integer",
                None => "a number with a fraction or exponent",
            },
            FieldValue::Text(_) => "a text",
            FieldValue::Other(found) => found,
        };
        self.fault(field, &format!("{found}, not {wanted}"));
    }

    fn finish(self, order_id: Option<OrderId>, payment_id: Option<i64>) -> Result<(), Rejection> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(Rejection {
            reason: Reason::Invalid,
            detail: self.faults.join("; "),
            order_id: order_id.filter(|id| id.0 > 0),
            payment_id: payment_id.filter(|id| *id > 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORDER: &str = r#"{"order_id":7,"customer_id":101,"item":"Laptop","quantity":3,"price":412.73,"shipping_address":"1 Main St","order_status":"Shipped","creation_date":"2024-01-21"}"#;
    const PAYMENT: &str = r#"{"payment_id":1007,"order_id":7,"payment_method":"Credit Card","card_last_four":"0007","payment_status":"Completed","payment_datetime":"2024-01-21T80:01:30Z"}"#;

    fn order_with(field: &str, value: &str) -> Rejection {
        let body = replaced(ORDER, field, value);
        order(body.as_bytes()).expect_err(&body)
    }

    fn payment_with(field: &str, value: &str) -> Rejection {
        let body = replaced(PAYMENT, field, value);
        payment(body.as_bytes()).expect_err(&body)
    }

    fn replaced(body: &str, field: &str, value: &str) -> String {
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(body).expect("well-formed JSON");
        object.insert(field.to_owned(), serde_json::Value::String("".to_owned()));
        serde_json::to_string(&object).expect("JSON").replace("\"\"", value)
    }

    #[test]
    fn a_valid_order_borrows_its_texts() {
        let decoded = order(ORDER.as_bytes()).expect("valid");
        assert_eq!(decoded.order_id, OrderId(7));
        assert!(matches!(decoded.item, Cow::Borrowed("Laptop")));
        assert!(matches!(decoded.shipping_address, Cow::Borrowed("1 Main St")));
        assert!(matches!(decoded.order_status, Cow::Borrowed("Shipped")));
        assert!(matches!(decoded.creation_date, Cow::Borrowed("2024-01-21")));
        assert_eq!(decoded.price, 412.73);
    }

    #[test]
    fn an_impossible_payment_time_is_kept_as_text_and_the_card_is_optional() {
        let decoded = payment(PAYMENT.as_bytes()).expect("valid");
        assert_eq!(decoded.payment_datetime, "2024-01-21T80:01:30Z");
        let without = replaced(PAYMENT, "card_last_four", "null");
        assert_eq!(payment(without.as_bytes()).expect("valid").card_last_four, None);
        let absent = PAYMENT.replace(r#""card_last_four":"0007","#, "");
        assert_eq!(payment(absent.as_bytes()).expect("valid").card_last_four, None);
    }

    #[test]
    fn unknown_keys_are_ignored_with_any_value() {
        let body = replaced(ORDER, "x", r#"{"deep":[1,1e400,{"order_id":"no"}]}"#);
        assert_eq!(order(body.as_bytes()).expect("valid").order_id, OrderId(7));
    }

    #[test]
    fn a_body_that_is_not_one_json_object_in_utf8_is_undecodable() {
        let deep = |n: usize| format!("{}1{}", r#"{"a":"#.repeat(n), "}".repeat(n));
        let deep_array = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let deep_field = replaced(ORDER, "item", &deep_array);
        let deep_unknown = replaced(ORDER, "x", &deep_array);
        let twice = format!("{ORDER}{ORDER}");
        let bom = format!("\u{feff}{ORDER}");
        let nul = format!("{ORDER}\0");
        let nul_inside = ORDER.replace("Laptop", "Lap\0top");
        let deep_object = deep(10_000);
        let cases: [&[u8]; 19] = [
            b"",
            b" \n",
            &ORDER.as_bytes()[..40],
            b"\xff\xfe{}",
            b"[1]",
            b"null",
            b"7",
            b"\"text\"",
            b"{",
            b"{\"order_id\":NaN}",
            b"{\"order_id\":7,}",
            b"{\"item\":\"\\ud800\"}",
            deep_object.as_bytes(),
            deep_field.as_bytes(),
            deep_unknown.as_bytes(),
            twice.as_bytes(),
            bom.as_bytes(),
            nul.as_bytes(),
            nul_inside.as_bytes(),
        ];
        for case in cases {
            let shown = String::from_utf8_lossy(&case[..case.len().min(60)]).into_owned();
            let rejection = order(case).expect_err(&shown);
            assert_eq!(rejection.reason, Reason::Undecodable, "{shown}: {}", rejection.detail);
        }
    }

    #[test]
    fn a_body_that_breaks_the_contract_is_invalid_and_names_field_and_cause() {
        let orders = [
            ("order_id", "\"7\"", "order_id: a text, not an integer"),
            ("order_id", "7.0", "order_id: a number with a fraction or exponent, not an integer"),
            ("order_id", "1e3", "order_id: a number with a fraction or exponent, not an integer"),
            ("order_id", "0", "order_id: not positive"),
            ("order_id", "-1", "order_id: not positive"),
            ("order_id", "9223372036854775808", "order_id: larger than 9223372036854775807"),
            ("order_id", "null", "order_id: null, not an integer"),
            ("customer_id", "true", "customer_id: a boolean, not an integer"),
            ("quantity", "0", "quantity: not positive"),
            ("price", "1e400", "price: number out of range"),
            ("price", "-1", "price: negative"),
            ("price", "\"12.5\"", "price: a text, not a number"),
            ("item", "[1]", "item: an array, not a text"),
            ("item", "5", "item: an integer, not a text"),
        ];
        for (field, value, detail) in orders {
            let rejection = order_with(field, value);
            assert_eq!((rejection.reason, rejection.detail.as_str()), (Reason::Invalid, detail));
        }
        let payments = [
            ("card_last_four", "\"123\"", "card_last_four: not four digits"),
            ("card_last_four", "\"12345\"", "card_last_four: not four digits"),
            ("card_last_four", "\"１２３４\"", "card_last_four: not four digits"),
            ("card_last_four", "1234", "card_last_four: an integer, not a text of four digits"),
            ("payment_id", "{}", "payment_id: an object, not an integer"),
        ];
        for (field, value, detail) in payments {
            let rejection = payment_with(field, value);
            assert_eq!((rejection.reason, rejection.detail.as_str()), (Reason::Invalid, detail));
        }
    }

    #[test]
    fn all_faults_are_named_at_once_and_readable_ids_are_kept() {
        let rejection =
            payment(br#"{"payment_id":1007,"order_id":7,"payment_status":null}"#).expect_err("invalid");
        assert_eq!(
            rejection.detail,
            "payment_method: missing; payment_status: null, not a text; payment_datetime: missing"
        );
        assert_eq!((rejection.order_id, rejection.payment_id), (Some(OrderId(7)), Some(1007)));
    }

    #[test]
    fn a_field_given_twice_is_invalid_even_if_one_is_escaped() {
        for second in [r#""order_id":8"#, r#""order\u005fid":7"#] {
            let body = format!("{},{second}}}", &ORDER[..ORDER.len() - 1]);
            let rejection = order(body.as_bytes()).expect_err("twice");
            assert_eq!(
                (rejection.reason, rejection.detail.as_str()),
                (Reason::Invalid, "order_id: given twice")
            );
        }
    }

    #[test]
    fn a_field_given_many_times_is_named_once() {
        let body = format!("{{{} \"order_id\":7}}", r#""item":"x","quantity":1,"#.repeat(200));
        let rejection = order(body.as_bytes()).expect_err("given 200 times");
        let named = "item: given twice; quantity: given twice; customer_id: missing; ";
        assert!(rejection.detail.starts_with(named), "{}", rejection.detail);
    }

    #[test]
    fn a_body_over_the_limit_is_invalid_without_being_parsed() {
        // Parsed, the second would be undecodable.
        for body in [format!("{{\"x\":\"{}\"}}", "a".repeat(10_000_000)), "a".repeat(10_000_000)] {
            let rejection = order(body.as_bytes()).expect_err("too large");
            assert_eq!(rejection.reason, Reason::Invalid);
            assert_eq!(rejection.detail, format!("body: {} bytes, at most 1048576", body.len()));
        }
    }

    #[test]
    fn a_negative_zero_price_is_zero() {
        let body = replaced(ORDER, "price", "-0.0");
        let price = order(body.as_bytes()).expect("valid").price;
        assert!(price == 0.0 && price.is_sign_positive(), "{price}");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            ".{0,12}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::btree_map("order_id|item|[a-z]{1,6}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_order_or_a_rejection_with_a_detail(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for rejection in [order(&body).err(), payment(&body).err()].into_iter().flatten() {
                prop_assert!(!rejection.detail.is_empty());
            }
        }

        #[test]
        fn an_object_of_any_json_is_never_undecodable(fields in proptest::collection::btree_map("order_id|customer_id|item|price|[a-z]{1,6}", json(), 0..8)) {
            let body = serde_json::to_vec(&fields).expect("JSON");
            if let Err(rejection) = order(&body) {
                // One random number in some hundred is a card number.
                let expected = matches!(rejection.reason, Reason::Invalid | Reason::PanDetected);
                prop_assert!(expected, "{}", rejection.detail);
            }
        }

        #[test]
        fn a_valid_payment_survives_the_round_trip(payment_id in 1..i64::MAX, order_id in 1..i64::MAX, method in ".{0,20}", card in proptest::option::of("[0-9]{4}"), status in ".{0,20}", at in ".{0,20}") {
            let body = serde_json::json!({"payment_id": payment_id, "order_id": order_id, "payment_method": method, "card_last_four": card, "payment_status": status, "payment_datetime": at}).to_string();
            let decoded = payment(body.as_bytes()).expect("valid");
            prop_assert_eq!(decoded.payment_id, payment_id);
            prop_assert_eq!(decoded.order_id, OrderId(order_id));
            prop_assert_eq!(decoded.payment_method.as_ref(), method.as_str());
            prop_assert_eq!(decoded.payment_status.as_ref(), status.as_str());
            prop_assert_eq!(decoded.payment_datetime.as_ref(), at.as_str());
            prop_assert_eq!(decoded.card_last_four.map(|card| card.as_str().to_owned()), card);
        }
    }
}
