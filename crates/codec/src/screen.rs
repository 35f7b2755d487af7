//! What of a body may leave: a full card number may not, wherever it stands in text, in an unknown
//! field, or in a body that is no JSON. The pipeline's own ids are numbers, not card numbers.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::json::{BODY_LIMIT, ORDER_FIELDS, PAYMENT_FIELDS};
use ecom_card_numbers::{self, Card, CleanBody, MaskedBody};
use ecom_domain::dead_letter::DeadLetterId;

/// Ids that may look like a card number where they are numbers of the body itself.
const OWN_IDS: [&str; 3] = ["order_id", "customer_id", "payment_id"];
/// Card numbers that a detail names at most.
const NAMED: usize = 4;

/// A body as it may leave the consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Screened<'b> {
    /// It holds no card number: the bytes as sent.
    Clean(CleanBody<'b>),
    /// It held some.
    Masked {
        /// The bytes without them.
        body: MaskedBody,
        /// Which fields held what; never a digit.
        detail: String,
    },
}

impl Screened<'_> {
    /// The same body, sharing its bytes instead of borrowing them.
    pub fn into_owned(self) -> Screened<'static> {
        match self {
            Self::Clean(body) => Screened::Clean(body.into_owned()),
            Self::Masked { body, detail } => Screened::Masked { body, detail },
        }
    }

    /// The bytes that may leave.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Clean(body) => body.into_bytes(),
            Self::Masked { body, .. } => body.into_bytes(),
        }
    }
}

/// Screens a body.
pub fn screen(body: &Bytes) -> Screened<'_> {
    let mut places = Vec::new();
    match ecom_card_numbers::screen(body, |cards| places = forbidden(body, cards)) {
        Ok(body) => Screened::Clean(body),
        Err((masked, cards)) => Screened::Masked { body: masked, detail: detail(&cards, &places) },
    }
}

/// What holds a full card number, field by field; `None` where nothing does. For whoever is about to
/// publish a body: it would come back as a dead letter.
pub fn card_numbers(body: &[u8]) -> Option<String> {
    let mut cards = ecom_card_numbers::find(body);
    if cards.is_empty() {
        return None;
    }
    let places = forbidden(body, &mut cards);
    (!cards.is_empty()).then(|| detail(&cards, &places))
}

/// An attribute's value without card numbers. Times and ids stay as they are: they decide which
/// dead letter it is.
pub(super) fn attribute<'v>(name: &str, value: &'v str) -> Cow<'v, str> {
    let is_own = match name {
        "order_id" | "payment_id" => value.parse::<i64>().is_ok_and(|id| id > 0),
        "dlq_source_message_id" | "event_time_us" => true,
        "dlq_corrects" => DeadLetterId::parse(value).is_some(),
        "dlq_body_sha256" => value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => false,
    };
    if is_own { Cow::Borrowed(value) } else { ecom_card_numbers::mask_text(value) }
}

/// Leaves the cards that must not stay, and says what they stand in.
fn forbidden(body: &[u8], cards: &mut Vec<Card>) -> Vec<&'static str> {
    let is_object = body.len() <= BODY_LIMIT
        && body.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if !is_object {
        return vec!["body"; cards.len()];
    }
    let mut walk = Execution::new(body);
    let mut places = Vec::new();
    cards.retain(|card| {
        let place = walk.to(card.range().start);
        if place.is_own_id() {
            return false;
        }
        places.push(place.name());
        true
    });
    places
}

fn detail(cards: &[Card], places: &[&'static str]) -> String {
    let mut said: Vec<String> = Vec::new();
    for (card, place) in cards.iter().zip(places) {
        let line = format!("{place}: a full card number ({}, {} digits)", card.brand.as_str(), card.digits);
        if !said.contains(&line) {
            if said.len() == NAMED {
                said.push("and more".to_owned());
                break;
            }
            said.push(line);
        }
    }
    said.join("; ")
}

/// Where a byte of a JSON object stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place<'j> {
    /// In a key of the object itself.
    Key,
    /// In a field's number.
    Number(&'j [u8]),
    /// In a field's text, or somewhere within its value.
    Within(&'j [u8]),
}

impl Place<'_> {
    fn is_own_id(self) -> bool {
        matches!(self, Self::Number(field) if OWN_IDS.iter().any(|id| id.as_bytes() == field))
    }

    /// The name of a field of the contract. Another's name is the sender's text, and not repeated.
    fn name(self) -> &'static str {
        match self {
            Self::Key => "a key",
            Self::Number(field) | Self::Within(field) => {
                let known =
                    ORDER_FIELDS.iter().chain(&PAYMENT_FIELDS).find(|known| known.as_bytes() == field);
                known.copied().unwrap_or("an unknown field")
            }
        }
    }
}

/// Goes through a sound JSON object once.
struct Execution<'j> {
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

impl<'j> Execution<'j> {
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

    /// Where the byte at `place` stands; places must not go back.
    fn to(&mut self, place: usize) -> Place<'j> {
        while self.at < place {
            self.step(self.json[self.at]);
            self.at += 1;
        }
        match self.field {
            None => Place::Key,
            Some(field) if self.depth == 1 && !self.in_text => Place::Number(field),
            Some(field) => Place::Within(field),
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
    use super::*;
    use crate::json;
    use ecom_domain::order::OrderId;
    use ecom_domain::reason::Reason;

    const ORDER: &str = r#"{"order_id":7,"customer_id":101,"item":"Laptop","quantity":3,"price":412.73,"shipping_address":"1 Main St","order_status":"Shipped","creation_date":"2024-01-21"}"#;
    const PAYMENT: &str = r#"{"payment_id":1007,"order_id":7,"payment_method":"Credit Card","card_last_four":"0007","payment_status":"Completed","payment_datetime":"2024-01-21T80:01:30Z"}"#;
    const CARD: &str = "4111111111111111";

    /// The whole body with one field's value replaced, or with the field besides.
    fn with(whole: &str, field: &str, value: &str) -> String {
        match whole.split_once(&format!("\"{field}\":")) {
            Some((before, rest)) => {
                let end = rest.find([',', '}']).expect("a sound body");
                format!("{before}\"{field}\":{value}{}", &rest[end..])
            }
            None => whole.replacen('{', &format!("{{\"{field}\":{value},"), 1),
        }
    }

    /// What is said of a body that must be masked, and the masked body.
    fn masked(body: &str) -> (String, String) {
        match screen(&Bytes::from(body.to_owned())) {
            Screened::Clean(_) => panic!("not masked: {body}"),
            Screened::Masked { body, detail } => {
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
    fn a_sound_event_with_a_card_number_is_no_event_and_keeps_its_ids() {
        let body = with(ORDER, "item", "\"Gift 5555-5555-5555-4444\"");
        let rejection = json::order(body.as_bytes()).expect_err("masked");
        assert_eq!((rejection.reason, rejection.order_id), (Reason::PanDetected, Some(OrderId(7))));
        let body = with(&with(PAYMENT, "payment_status", "9"), "card_last_four", &format!("\"{CARD}\""));
        let rejection = json::payment(body.as_bytes()).expect_err("masked");
        assert_eq!(rejection.reason, Reason::PanDetected, "before all else that is wrong");
        assert_eq!((rejection.order_id, rejection.payment_id), (Some(OrderId(7)), Some(1007)));
    }

    #[test]
    fn ids_that_look_like_card_numbers_are_ids() {
        let ids = with(&with(ORDER, "order_id", CARD), "customer_id", "5555555555554444");
        assert_eq!(json::order(ids.as_bytes()).expect("an order").order_id, OrderId(4_111_111_111_111_111));
        let ids = with(&with(PAYMENT, "payment_id", CARD), "order_id", " 378282246310005\n");
        assert_eq!(json::payment(ids.as_bytes()).expect("a payment").order_id, OrderId(378_282_246_310_005));
        let spread = with(ORDER, "payment_id", CARD).replace(':', " :\n ");
        assert_eq!(card_numbers(spread.as_bytes()), None, "of either kind of event");
        let masked_besides = with(&ids, "note", &format!("[{CARD}]"));
        let (detail, left) = masked(&masked_besides);
        assert_eq!(detail, "an unknown field: a full card number (Visa, 16 digits)");
        assert_eq!(left, masked_besides.replace(&format!("[{CARD}]"), "[************1111]"));
    }

    #[test]
    fn only_a_number_of_the_body_itself_is_an_id() {
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
    fn a_price_with_many_decimals_is_a_price() {
        let body = with(ORDER, "price", "777.4222222222222");
        assert_eq!(card_numbers(body.as_bytes()), None);
        assert_eq!(card_numbers(&body.as_bytes()[..body.len() / 2]), None, "in a cut body, too");
    }

    #[test]
    fn many_card_numbers_are_all_masked_and_some_are_named() {
        let brands = ["4222222222222", "5555555555554444", "378282246310005", "6011111111111117"];
        let mut body = with(ORDER, "item", &format!("\"{}\"", brands.join(" ")));
        body = with(&body, "shipping_address", "\"3530111333300000, 30569309025904\"");
        let (detail, left) = masked(&body);
        assert_eq!(detail.matches("a full card number").count(), NAMED);
        assert!(detail.ends_with("; and more"), "{detail}");
        assert!(ecom_card_numbers::find(left.as_bytes()).is_empty());
        assert_eq!(left.matches('*').count(), 9 + 12 + 11 + 12 + 12 + 10);
    }

    #[test]
    fn a_body_of_nothing_but_ids_and_cards_takes_one_pass() {
        let fields: Vec<String> = (0..20_000).map(|_| format!("\"order_id\":{CARD},\"x\":{CARD}")).collect();
        let (_, left) = masked(&format!("{{{}}}", fields.join(",")));
        assert_eq!(left.matches(CARD).count(), 20_000);
    }
}
