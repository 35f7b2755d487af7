//! Bodies as foreign publishers send them: every number is converted exactly or refused by name, every cause is
//! named, and the ids that can be read stay with the rejection.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;

use ecom_codec::contract::BODY_LIMIT;
use ecom_codec::{Rejection, json};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use proptest::prelude::*;

const ORDER: &str = r#"{"order_id":7,"customer_id":101,"item":"Laptop","quantity":3,"price":412.73,"shipping_address":"1 Main St","order_status":"Shipped","creation_date":"2024-01-21"}"#;
const PAYMENT: &str = r#"{"payment_id":1007,"order_id":7,"payment_method":"Credit Card","card_last_four":"0007","payment_status":"Completed","payment_datetime":"2024-01-21T80:01:30Z"}"#;

/// Returns the body with the value of one field replaced.
fn with(whole: &str, field: &str, value: &str) -> String {
    let (before, rest) = whole.split_once(&format!("\"{field}\":")).unwrap();
    let end = rest.find([',', '}']).unwrap();
    format!("{before}\"{field}\":{value}{}", &rest[end..])
}

fn rejected(body: &[u8]) -> Rejection {
    json::payment(body).expect_err(&String::from_utf8_lossy(body))
}

#[test]
fn a_price_beyond_64_bits_is_the_double_that_ieee_754_rounds_it_to() {
    for price in [
        "10000000000000000000",
        "9223372036854775807",
        "9223372036854775808",
        "9223372036854777857",
        "18446744073709551615",
        "18446744073709551616",
        "184467440737095516150",
        "9007199254740993",
        "5e-324",
        "1e-400",
        "1.7976931348623157e308",
        "-0",
        "-0.0",
    ] {
        let body = with(ORDER, "price", price);
        let read = json::order(body.as_bytes()).unwrap().price;
        assert_eq!(read, price.parse::<f64>().unwrap(), "{price}");
        assert!(read.is_sign_positive(), "{price}");
    }
}

#[test]
fn a_number_that_does_not_fit_is_refused_for_what_it_is() {
    let digits = "9".repeat(400);
    for (value, cause) in [
        ("9223372036854775808", "larger than 9223372036854775807"),
        ("18446744073709551615", "larger than 9223372036854775807"),
        ("18446744073709551616", "larger than 9223372036854775807"),
        (&digits, "larger than 9223372036854775807"),
        ("-0", "not positive"),
        ("-9223372036854775809", "not positive"),
        (&format!("-{digits}"), "not positive"),
        ("-0.0", "a number with a fraction or exponent, not an integer"),
        ("1e400", "a number with a fraction or exponent, not an integer"),
        ("7.0", "a number with a fraction or exponent, not an integer"),
    ] {
        for field in ["order_id", "customer_id", "quantity"] {
            let rejection = json::order(with(ORDER, field, value).as_bytes()).expect_err(value);
            assert_eq!((rejection.reason, rejection.detail), (Reason::Invalid, format!("{field}: {cause}")));
        }
    }
    for (field, value, detail) in [
        ("price", "1e400", "price: number out of range"),
        ("price", "-1e400", "price: number out of range"),
        ("item", "1e400", "item: a number with a fraction or exponent, not a text"),
        ("item", "18446744073709551616", "item: an integer, not a text"),
        ("item", "-0", "item: an integer, not a text"),
    ] {
        let rejection = json::order(with(ORDER, field, value).as_bytes()).expect_err(value);
        assert_eq!((rejection.reason, rejection.detail.as_str()), (Reason::Invalid, detail));
    }
}

#[test]
fn a_number_out_of_range_hides_no_other_fault() {
    let body = with(&with(ORDER, "price", "1e400"), "order_status", "null");
    let rejection = json::order(body.as_bytes()).expect_err("invalid");
    assert_eq!(rejection.detail, "price: number out of range; order_status: null, not a text");
    assert_eq!(rejection.order_id, Some(OrderId(7)));
}

/// Bodies of payment 1007 of order 7 in which something else is wrong.
fn broken_payments() -> Vec<(&'static str, Vec<u8>)> {
    let utf16 =
        |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
    let cut = |at: &str| PAYMENT.as_bytes()[..PAYMENT.find(at).unwrap()].to_vec();
    let bom = format!("\u{feff}{PAYMENT}");
    vec![
        ("a lone surrogate", with(PAYMENT, "payment_method", r#""\ud800""#).into()),
        ("an unknown escape", with(PAYMENT, "payment_method", r#""\x41""#).into()),
        ("a control character", with(PAYMENT, "payment_method", "\"a\tb\nc\"").into()),
        ("a number out of range", PAYMENT.replace("\"0007\"", "1e400").into()),
        ("not a number", with(PAYMENT, "payment_status", "NaN").into()),
        ("a leading zero", with(PAYMENT, "payment_status", "0012").into()),
        ("single quotes", with(PAYMENT, "payment_status", "'Completed'").into()),
        ("a comma at the end", PAYMENT.replace('}', ",}").into()),
        ("a missing comma", PAYMENT.replace(",\"payment_status\"", " \"payment_status\"").into()),
        ("cut in a text", cut("mpleted")),
        ("cut after the ids", cut("\"payment_method")),
        ("cut in a key", cut("_method")),
        ("nested too deep", PAYMENT.replace('}', &format!(",\"x\":{}}}", "[".repeat(10_000))).into()),
        ("another object behind", format!("{PAYMENT}{}", r#"{"order_id":8,"payment_id":9}"#).into()),
        ("a NUL behind", format!("{PAYMENT}\0").into()),
        (
            "latin-1",
            PAYMENT.replace("Credit", "Cr\u{1}dit").bytes().map(|b| if b == 1 { 0xe9 } else { b }).collect(),
        ),
        ("a byte order mark", bom.clone().into()),
        ("UTF-16, little-endian", utf16(PAYMENT, u16::to_le_bytes)),
        ("UTF-16, big-endian", utf16(PAYMENT, u16::to_be_bytes)),
        ("UTF-16, marked, little-endian", utf16(&bom, u16::to_le_bytes)),
        ("UTF-16, marked, big-endian", utf16(&bom, u16::to_be_bytes)),
        (
            "larger than 1 MiB",
            PAYMENT.replace('}', &format!(",\"x\":\"{}\"}}", "x".repeat(BODY_LIMIT))).into(),
        ),
        ("a text for a number", with(PAYMENT, "payment_datetime", "5").into()),
        ("an escaped key", with(PAYMENT, "payment_status", "1").replace("order_id", r"order\u005fid").into()),
        ("a card number", with(PAYMENT, "payment_method", r#""4111111111111111\ud800""#).into()),
    ]
}

#[test]
fn ids_that_can_be_read_stay_with_the_rejection_whatever_else_is_wrong() {
    for (name, body) in broken_payments() {
        let rejection = rejected(&body);
        let ids = (rejection.order_id, rejection.payment_id);
        assert_eq!(ids, (Some(OrderId(7)), Some(1007)), "{name}: {}", rejection.detail);
        let order = json::order(&body).expect_err(name);
        assert_eq!((order.order_id, order.payment_id), (Some(OrderId(7)), None), "{name}");
    }
}

#[test]
fn an_id_that_cannot_be_read_for_certain_is_not_guessed() {
    for body in [
        r#"{"order_id":7"#,
        r#"{"order_id":7.5,"item":"\ud800"}"#,
        r#"{"order_id":"7","item":"\ud800"}"#,
        r#"{"order_id":-7,"item":"\ud800"}"#,
        r#"{"order_id":0,"item":"\ud800"}"#,
        r#"{"order_id":9223372036854775808,"item":"\ud800"}"#,
        r#"{"x":{"order_id":7},"item":"\ud800"}"#,
        r#"{"x":["order_id",7],"item":"\ud800"}"#,
        r#"{"x":"\"order_id\":7","item":"\ud800"}"#,
        r#"[{"order_id":7}"#,
        r#""order_id":7,"#,
        r#"{"order_id" 7,"item":"\ud800"}"#,
        r#"{"order_id":7x,"item":1}"#,
        r#"{"order_id":007,"item":1}"#,
        "\u{1f}\u{8b}\u{8}{\"order_id\":7,}",
    ] {
        assert_eq!(json::order(body.as_bytes()).expect_err(body).order_id, None, "{body}");
    }
}

#[test]
fn a_cause_that_cannot_be_seen_is_named() {
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let utf16 = |bytes: fn(u16) -> [u8; 2]| PAYMENT.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
    let little = utf16(u16::to_le_bytes);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (format!("\u{feff}{PAYMENT}").into(), "body: begins with a byte order mark (BOM)"),
        (gzip.to_vec(), "body: compressed with gzip"),
        (b"\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00{}".to_vec(), "body: compressed with zstd"),
        (b"\x78\x9c\xab\xae\x05\x00\x01\x75\x00\xf9".to_vec(), "body: compressed with zlib"),
        (little.clone(), "body: UTF-16 (little-endian), not UTF-8"),
        ([b"\xff\xfe".as_slice(), &little].concat(), "body: UTF-16 (little-endian), not UTF-8"),
        (utf16(u16::to_be_bytes), "body: UTF-16 (big-endian), not UTF-8"),
        (format!("\u{a0}{PAYMENT}").into(), "body: begins with U+00A0, not with a JSON object"),
        (format!("\u{200b}{PAYMENT}").into(), "body: begins with U+200B, not with a JSON object"),
        (format!("\0{PAYMENT}").into(), "body: begins with U+0000, not with a JSON object"),
        (PAYMENT.replace(':', ":\u{a0}").into(), "body: expected value at line 1 column 15 (U+00A0)"),
        (PAYMENT.replace(',', "\u{2028},").into(), "body: expected `,` or `}` at line 1 column 19 (U+2028)"),
        (format!("{PAYMENT}\0").into(), "body: trailing characters at line 1 column 159 (U+0000)"),
        (b"[1]".to_vec(), "body: not a JSON object"),
    ];
    for (body, detail) in cases {
        let rejection = rejected(&body);
        assert_eq!((rejection.reason, rejection.detail.as_str()), (Reason::Undecodable, detail));
    }
}

proptest! {
    #[test]
    fn every_number_is_converted_as_ieee_754_says_or_refused(negative in any::<bool>(), whole in "0|[1-9][0-9]{0,40}", fraction in proptest::option::of("[0-9]{1,30}"), exponent in proptest::option::of("[eE][+-]?[0-9]{1,3}")) {
        let mut number = String::from(if negative { "-" } else { "" });
        write!(number, "{whole}").unwrap();
        if let Some(fraction) = &fraction { write!(number, ".{fraction}").unwrap(); }
        if let Some(exponent) = &exponent { number.push_str(exponent); }
        let price: f64 = number.parse().unwrap();
        match json::order(with(ORDER, "price", &number).as_bytes()) {
            Ok(order) => prop_assert_eq!(order.price.to_bits(), (price + 0.0).to_bits(), "{}", number),
            Err(rejection) if price.is_finite() && price >= 0.0 => prop_assert_eq!(rejection.reason, Reason::PanDetected, "{}", number),
            Err(rejection) => {
                let expected = matches!(rejection.detail.as_str(), "price: negative" | "price: number out of range");
                prop_assert!(expected || rejection.reason == Reason::PanDetected, "{}: {}", number, rejection.detail);
            }
        }
        let rejection = match json::order(with(ORDER, "quantity", &number).as_bytes()) {
            Ok(order) => { prop_assert_eq!(order.quantity.to_string(), number); return Ok(()) }
            Err(rejection) if rejection.reason == Reason::PanDetected => return Ok(()),
            Err(rejection) => rejection,
        };
        let cause = match (fraction.is_none() && exponent.is_none(), negative || whole == "0") {
            (false, _) => "a number with a fraction or exponent, not an integer",
            (true, true) => "not positive",
            (true, false) => "larger than 9223372036854775807",
        };
        prop_assert_eq!(rejection.detail, format!("quantity: {cause}"), "{}", number);
    }

    #[test]
    fn the_ids_of_a_valid_body_are_kept_wherever_it_is_broken(cut in 0..PAYMENT.len(), byte in any::<u8>()) {
        let mut body = PAYMENT.as_bytes().to_vec();
        body.insert(cut, byte);
        if let Err(rejection) = json::payment(&body) {
            // Behind both ids, nothing touches them.
            if cut > PAYMENT.find(",\"payment_method").unwrap() {
                prop_assert!(rejection.order_id == Some(OrderId(7)) && rejection.payment_id == Some(1007), "{}", String::from_utf8_lossy(&body));
            }
        }
    }
}
