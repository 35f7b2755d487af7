//! Screens bodies for full card numbers before they leave a consumer: in a text, in an unknown field, and in
//! a body that is not JSON. The numeric ids of the contract are exempt, even if they look like card numbers.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::contract::{BODY_LIMIT, ID_FIELDS, ORDER_FIELDS, PAYMENT_FIELDS};
use ecom_card_numbers::{CardNumber, CleanBody, MaskedBody};
use ecom_domain::dead_letter::DeadLetterId;
use ecom_domain::mutant::{Mutant, is_active};

/// The maximum number of card numbers that a detail lists.
const LISTED_LIMIT: usize = 4;

/// A body that may leave the consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScreenedBody<'b> {
    /// A body without card numbers: the bytes as sent.
    Clean(CleanBody<'b>),
    /// A body that contained card numbers.
    Masked {
        /// The bytes with the card numbers masked.
        body: MaskedBody,
        /// The fields that contained a card number, with brand and length; never a digit.
        detail: String,
    },
}

impl ScreenedBody<'_> {
    /// Returns the same body, sharing its bytes instead of borrowing them.
    pub fn into_owned(self) -> ScreenedBody<'static> {
        match self {
            Self::Clean(body) => ScreenedBody::Clean(body.into_owned()),
            Self::Masked { body, detail } => ScreenedBody::Masked { body, detail },
        }
    }

    /// Returns the bytes that may leave the consumer.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Clean(body) => body.into_bytes(),
            Self::Masked { body, .. } => body.into_bytes(),
        }
    }
}

/// Masks the card numbers of a body. A clean body borrows its bytes; a masked one is a copy of the same
/// length.
pub fn screen(body: &Bytes) -> ScreenedBody<'_> {
    let mut places = Vec::new();
    let decide = |cards: &mut Vec<CardNumber>| {
        places = forbidden(body, cards);
        if is_active(Mutant::CardNumberKept) {
            cards.clear();
        }
    };
    match ecom_card_numbers::screen(body, decide) {
        Ok(body) => ScreenedBody::Clean(body),
        Err((masked, cards)) => ScreenedBody::Masked { body: masked, detail: detail(&cards, &places) },
    }
}

/// Returns the fields of a body that contain a full card number, with brand and length, or `None` if there
/// are none. A body with card numbers would be dead-lettered as `pan_detected` if it were published.
pub fn card_numbers(body: &[u8]) -> Option<String> {
    let mut cards = ecom_card_numbers::find(body);
    if cards.is_empty() {
        return None;
    }
    let places = forbidden(body, &mut cards);
    (!cards.is_empty()).then(|| detail(&cards, &places))
}

/// Returns an attribute's value with card numbers masked. Well-formed times and ids stay as they are, because
/// the identity of the dead letter is derived from them.
pub(crate) fn mask_attribute<'v>(name: &str, value: &'v str) -> Cow<'v, str> {
    let is_exempt = match name {
        "order_id" | "payment_id" => value.parse::<i64>().is_ok_and(|id| id > 0),
        "dlq_corrects" => DeadLetterId::parse(value).is_some(),
        "dlq_body_sha256" => is_sha256(value),
        _ => false,
    };
    if is_exempt { Cow::Borrowed(value) } else { ecom_card_numbers::mask_text(value) }
}

/// Returns whether a text is a SHA-256 in hex.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes the exempt ids from `cards` and returns the place of each that is left.
fn forbidden(body: &[u8], cards: &mut Vec<CardNumber>) -> Vec<&'static str> {
    let is_object = body.len() <= BODY_LIMIT
        && body.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if !is_object {
        return vec!["body"; cards.len()];
    }
    let mut walk = FieldWalk::new(body);
    let mut places = Vec::new();
    cards.retain(|card| {
        let place = walk.advance_to(card.range().start);
        if place.is_id() {
            return false;
        }
        places.push(place.name());
        true
    });
    places
}

/// Lists up to [`LISTED_LIMIT`] distinct pairs of place and brand.
fn detail(cards: &[CardNumber], places: &[&'static str]) -> String {
    let mut listed: Vec<String> = Vec::new();
    for (card, place) in cards.iter().zip(places) {
        let line = format!("{place}: a full card number ({}, {} digits)", card.brand.as_str(), card.digits);
        if !listed.contains(&line) {
            if listed.len() == LISTED_LIMIT {
                listed.push("and more".to_owned());
                break;
            }
            listed.push(line);
        }
    }
    listed.join("; ")
}

/// The part of a JSON object that a byte belongs to. Fields are those of the object itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum JsonPlace<'j> {
    /// A key.
    Key,
    /// The number that is the value of this field.
    Number(&'j [u8]),
    /// A text, or anything nested, in the value of this field.
    Nested(&'j [u8]),
}

impl JsonPlace<'_> {
    fn is_id(self) -> bool {
        matches!(self, Self::Number(field) if ID_FIELDS.iter().any(|id| id.as_bytes() == field))
    }

    /// Returns the field's name if it is in the contract. Any other name is the sender's text, and is not
    /// repeated.
    fn name(self) -> &'static str {
        match self {
            Self::Key => "a key",
            Self::Number(field) | Self::Nested(field) => {
                let known =
                    ORDER_FIELDS.iter().chain(&PAYMENT_FIELDS).find(|known| known.as_bytes() == field);
                known.copied().unwrap_or("an unknown field")
            }
        }
    }
}

/// A single pass over a well-formed JSON object that tracks the current field.
struct FieldWalk<'j> {
    json: &'j [u8],
    at: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    text_start: usize,
    last_text: &'j [u8],
    /// The field whose value is being read.
    field: Option<&'j [u8]>,
}

impl<'j> FieldWalk<'j> {
    fn new(json: &'j [u8]) -> Self {
        Self {
            json,
            at: 0,
            depth: 0,
            in_text: false,
            escaped: false,
            text_start: 0,
            last_text: b"",
            field: None,
        }
    }

    /// Returns the place of the byte at `offset`. Offsets must not decrease from call to call.
    fn advance_to(&mut self, offset: usize) -> JsonPlace<'j> {
        while self.at < offset {
            self.step(self.json[self.at]);
            self.at += 1;
        }
        match self.field {
            None => JsonPlace::Key,
            Some(field) if self.depth == 1 && !self.in_text => JsonPlace::Number(field),
            Some(field) => JsonPlace::Nested(field),
        }
    }

    fn step(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_text => self.escaped = true,
            b'"' if self.in_text => {
                (self.in_text, self.last_text) = (false, &self.json[self.text_start..self.at])
            }
            b'"' => (self.in_text, self.text_start) = (true, self.at + 1),
            _ if self.in_text => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            b':' if self.depth == 1 => self.field = Some(self.last_text),
            b',' if self.depth == 1 => self.field = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::json;
    use ecom_domain::order::OrderId;
    use ecom_domain::reason::Reason;

    const ORDER: &str = r#"{"order_id":7,"customer_id":101,"item":"Laptop","quantity":3,"price":412.73,"shipping_address":"1 Main St","order_status":"Shipped","creation_date":"2024-01-21"}"#;
    const PAYMENT: &str = r#"{"payment_id":1007,"order_id":7,"payment_method":"Credit Card","card_last_four":"0007","payment_status":"Completed","payment_datetime":"2024-01-21T80:01:30Z"}"#;
    const CARD: &str = "4111111111111111";

    /// Returns the body with one field's value replaced, or with the field added.
    fn with(whole: &str, field: &str, value: &str) -> String {
        match whole.split_once(&format!("\"{field}\":")) {
            Some((before, rest)) => {
                let end = rest.find([',', '}']).expect("a well-formed body");
                format!("{before}\"{field}\":{value}{}", &rest[end..])
            }
            None => whole.replacen('{', &format!("{{\"{field}\":{value},"), 1),
        }
    }

    /// Returns the detail and the masked bytes of a body with card numbers.
    fn masked(body: &str) -> (String, String) {
        match screen(&Bytes::from(body.to_owned())) {
            ScreenedBody::Clean(_) => panic!("not masked: {body}"),
            ScreenedBody::Masked { body, detail } => {
                (detail, String::from_utf8_lossy(&body.into_bytes()).into_owned())
            }
        }
    }

    #[test]
    fn a_card_number_in_any_field_of_the_contract_is_named_and_masked() {
        for (whole, fields) in [(ORDER, &ORDER_FIELDS[..]), (PAYMENT, &PAYMENT_FIELDS[..])] {
            for field in fields {
                let body = with(whole, field, &format!("\"{CARD}\""));
                let (detail, left) = masked(&body);
                assert_eq!(detail, format!("{field}: a full card number (Visa, 16 digits)"));
                assert_eq!(left, body.replace(CARD, "************1111"));
            }
        }
    }

    #[test]
    fn a_valid_event_with_a_card_number_is_rejected_with_its_ids() {
        let body = with(ORDER, "item", "\"Gift 5555-5555-5555-4444\"");
        let rejection = json::order(body.as_bytes()).expect_err("masked");
        assert_eq!((rejection.reason, rejection.order_id), (Reason::PanDetected, Some(OrderId(7))));
        let body = with(&with(PAYMENT, "payment_status", "9"), "card_last_four", &format!("\"{CARD}\""));
        let rejection = json::payment(body.as_bytes()).expect_err("masked");
        assert_eq!(rejection.reason, Reason::PanDetected, "takes precedence over other faults");
        assert_eq!((rejection.order_id, rejection.payment_id), (Some(OrderId(7)), Some(1007)));
    }

    #[test]
    fn ids_that_look_like_card_numbers_are_not_masked() {
        let ids = with(&with(ORDER, "order_id", CARD), "customer_id", "5555555555554444");
        assert_eq!(json::order(ids.as_bytes()).expect("an order").order_id, OrderId(4_111_111_111_111_111));
        let ids = with(&with(PAYMENT, "payment_id", CARD), "order_id", " 378282246310005\n");
        assert_eq!(json::payment(ids.as_bytes()).expect("a payment").order_id, OrderId(378_282_246_310_005));
        let spread = with(ORDER, "payment_id", CARD).replace(':', " :\n ");
        assert_eq!(card_numbers(spread.as_bytes()), None, "an id of the other kind of event");
        let with_note = with(&ids, "note", &format!("[{CARD}]"));
        let (detail, left) = masked(&with_note);
        assert_eq!(detail, "an unknown field: a full card number (Visa, 16 digits)");
        assert_eq!(left, with_note.replace(&format!("[{CARD}]"), "[************1111]"));
    }

    #[test]
    fn only_a_top_level_number_is_an_id() {
        for (body, place) in [
            (with(ORDER, "order_id", &format!("\"{CARD}\"")), "order_id"),
            (with(ORDER, "order_id", &format!("[{CARD}]")), "order_id"),
            (with(ORDER, "note", &format!("{{\"order_id\":{CARD}}}")), "an unknown field"),
            (with(ORDER, "note", &format!("\"\\\"order_id\\\":{CARD}\"")), "an unknown field"),
            (with(ORDER, CARD, "1"), "a key"),
            (with(ORDER, "note", &format!("{{\"{CARD}\":1}}")), "an unknown field"),
            (with(ORDER, "Order_id", CARD), "an unknown field"),
            (with(ORDER, "quantity", CARD), "quantity"),
            (with(ORDER, "price", CARD), "price"),
            (with(ORDER, "price", "4.111111111111111e15"), "price"),
            (format!("[{{\"order_id\":{CARD}}}]"), "body"),
            (format!("{{\"order_id\":{CARD}"), "body"),
            (format!("{{\"order_id\":{CARD}}}}}"), "body"),
            (CARD.to_owned(), "body"),
            (with(ORDER, "order_id", &format!("{CARD},\"pad\":\"{}\"", "x".repeat(BODY_LIMIT))), "body"),
        ] {
            let (detail, left) = masked(&body);
            assert_eq!(detail, format!("{place}: a full card number (Visa, 16 digits)"), "{:.200}", body);
            assert!(!left.contains("4111") && !left.contains("4.111"), "{left:.200}");
        }
    }

    #[test]
    fn a_price_with_many_decimals_is_not_masked() {
        let body = with(ORDER, "price", "777.4222222222222");
        assert_eq!(card_numbers(body.as_bytes()), None);
        assert_eq!(card_numbers(&body.as_bytes()[..body.len() / 2]), None, "in a truncated body, too");
    }

    #[test]
    fn many_card_numbers_are_all_masked_and_the_first_are_listed() {
        let brands = ["4222222222222", "5555555555554444", "378282246310005", "6011111111111117"];
        let mut body = with(ORDER, "item", &format!("\"{}\"", brands.join(" ")));
        body = with(&body, "shipping_address", "\"3530111333300000, 30569309025904\"");
        let (detail, left) = masked(&body);
        assert_eq!(detail.matches("a full card number").count(), LISTED_LIMIT);
        assert!(detail.ends_with("; and more"), "{detail}");
        assert!(ecom_card_numbers::find(left.as_bytes()).is_empty());
        assert_eq!(left.matches('*').count(), 9 + 12 + 11 + 12 + 12 + 10);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "measures real time")]
    fn ids_stay_and_the_cards_between_them_are_masked_in_one_pass() {
        let fields: Vec<String> = (0..20_000).map(|_| format!("\"order_id\":{CARD},\"x\":{CARD}")).collect();
        let started = SystemTime::now();
        let (_, left) = masked(&format!("{{{}}}", fields.join(",")));
        assert_eq!(left.matches(CARD).count(), 20_000);
        // A pass takes milliseconds; one pass a card number would take minutes.
        assert!(started.elapsed().is_ok_and(|took| took < Duration::from_secs(20)));
    }
}
