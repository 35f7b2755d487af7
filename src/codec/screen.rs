//! What of a body may leave: a full card number may not, wherever it stands in text, in an unknown
//! field, or in a body that is no JSON. The pipeline's own ids are numbers, not card numbers.

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::json::{BODY_LIMIT, ORDER_FIELDS, PAYMENT_FIELDS};
use crate::domain::letter::LetterId;
use crate::domain::pan::{self, Card, CleanBody, MaskedBody};

/// Ids that may look like a card number where they are numbers of the body itself.
const OWN_IDS: [&str; 3] = ["order_id", "customer_id", "payment_id"];
/// Card numbers that a detail names at most.
const NAMED: usize = 4;

/// A body as it may leave the consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Screened {
    /// It holds no card number: the bytes as sent.
    Clean(CleanBody),
    /// It held some.
    Masked {
        /// The bytes without them.
        body: MaskedBody,
        /// Which fields held what; never a digit.
        detail: String,
    },
}

impl Screened {
    /// The bytes that may leave.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Clean(body) => body.into_bytes(),
            Self::Masked { body, .. } => body.into_bytes(),
        }
    }
}

/// Screens a body.
pub fn screen(body: &Bytes) -> Screened {
    let mut places = Vec::new();
    match pan::screen(body, |cards| places = forbidden(body, cards)) {
        Ok(body) => Screened::Clean(body),
        Err((masked, cards)) => Screened::Masked { body: masked, detail: detail(&cards, &places) },
    }
}

/// What holds a full card number, field by field; `None` where nothing does. For whoever is about to
/// publish a body: it would come back as a dead letter.
pub fn card_numbers(body: &[u8]) -> Option<String> {
    let mut cards = pan::find(body);
    if cards.is_empty() {
        return None;
    }
    let places = forbidden(body, &mut cards);
    (!cards.is_empty()).then(|| detail(&cards, &places))
}

/// An attribute's value without card numbers. Times and ids stay as they are: they decide which
/// letter it is.
pub(super) fn attribute(name: &str, value: &str) -> String {
    let is_own = match name {
        "order_id" | "payment_id" => value.parse::<i64>().is_ok_and(|id| id > 0),
        "dlq_source_message_id" | "event_time_us" => true,
        "dlq_corrects" => LetterId::parse(value).is_some(),
        "dlq_body_sha256" => value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => false,
    };
    if is_own { value.to_owned() } else { pan::mask_text(value).into_owned() }
}

/// Leaves the cards that must not stay, and says what they stand in.
fn forbidden(body: &[u8], cards: &mut Vec<Card>) -> Vec<&'static str> {
    let is_object = body.len() <= BODY_LIMIT
        && body.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if !is_object {
        return vec!["body"; cards.len()];
    }
    let mut walk = Walk::new(body);
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
struct Walk<'j> {
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

impl<'j> Walk<'j> {
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
