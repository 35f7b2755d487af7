//! Messages with card numbers of six brands in every place and spelling, and a search for them that shares no
//! code with the one under test.

use std::collections::HashSet;

use bytes::Bytes;
use ecom_bus::Attributes;
use ecom_domain::dead_letter::EventKind;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A brand: its name, ranges of prefixes, and lengths.
type BrandSample = (&'static str, &'static [(u64, u64)], &'static [usize]);

/// The brands, with the prefixes and lengths that they publish.
const BRANDS: [BrandSample; 6] = [
    ("Visa", &[(4, 4)], &[13, 16, 19]),
    ("Mastercard", &[(51, 55), (2221, 2720)], &[16]),
    ("American Express", &[(34, 34), (37, 37)], &[15]),
    ("Discover", &[(6011, 6011), (622_126, 622_925), (644, 649), (65, 65)], &[16, 19]),
    ("JCB", &[(3528, 3589)], &[16, 19]),
    ("Diners Club", &[(300, 305), (3095, 3095), (36, 36), (38, 39)], &[14, 16, 19]),
];

/// The place of a card number in a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    OrderText(&'static str),
    PaymentText(&'static str),
    Number(&'static str),
    NegativeNumber,
    NumberWithPoint,
    NumberWithExponent,
    Nested,
    DeeplyNested,
    InArray,
    Key,
    NestedKey,
    AmongDigits,
    CutBody,
    PlainText,
    Form,
    NotUtf8,
    TrailingBytes,
    TopLevelText,
    TopLevelNumber,
    Twice,
    AttributeValue,
    AttributeName,
}

impl Place {
    pub const ALL: [Self; 33] = [
        Self::OrderText("item"),
        Self::OrderText("shipping_address"),
        Self::OrderText("order_status"),
        Self::OrderText("creation_date"),
        Self::OrderText("order_id"),
        Self::OrderText("note"),
        Self::PaymentText("payment_method"),
        Self::PaymentText("card_last_four"),
        Self::PaymentText("payment_status"),
        Self::PaymentText("payment_datetime"),
        Self::PaymentText("payment_id"),
        Self::Number("card"),
        Self::Number("quantity"),
        Self::Number("price"),
        Self::NegativeNumber,
        Self::NumberWithPoint,
        Self::NumberWithExponent,
        Self::Nested,
        Self::DeeplyNested,
        Self::InArray,
        Self::Key,
        Self::NestedKey,
        Self::AmongDigits,
        Self::CutBody,
        Self::PlainText,
        Self::Form,
        Self::NotUtf8,
        Self::TrailingBytes,
        Self::TopLevelText,
        Self::TopLevelNumber,
        Self::Twice,
        Self::AttributeValue,
        Self::AttributeName,
    ];

    pub fn is_attribute(self) -> bool {
        matches!(self, Self::AttributeValue | Self::AttributeName)
    }
}

/// The way a card number is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spelling {
    Together,
    Fours(&'static str),
    EveryDigit,
    RandomGaps,
    FullWidth,
    Escaped,
    PartlyEscaped,
}

const SPELLINGS: [Spelling; 21] = [
    Spelling::Together,
    Spelling::Fours(" "),
    Spelling::Fours("-"),
    Spelling::Fours(" - "),
    Spelling::Fours("\u{a0}"),
    Spelling::Fours("\\u0020"),
    Spelling::Fours("\\u002D"),
    Spelling::Fours("_"),
    Spelling::Fours("/"),
    Spelling::Fours("\n"),
    Spelling::Fours("\\n"),
    Spelling::Fours("\\r\\n"),
    Spelling::Fours("&nbsp;"),
    Spelling::Fours("&#160;"),
    Spelling::Fours("%20"),
    Spelling::Fours("+"),
    Spelling::EveryDigit,
    Spelling::RandomGaps,
    Spelling::FullWidth,
    Spelling::Escaped,
    Spelling::PartlyEscaped,
];

/// A message with a card number in it.
#[derive(Clone, Debug)]
pub struct Exposed {
    pub brand: &'static str,
    pub number: String,
    pub place: Place,
    pub kind: EventKind,
    pub body: Bytes,
    pub attributes: Attributes,
}

/// Returns the nth message: brands and places take turns, everything else is random with `nth` as the seed.
/// Its order id is `first_id` + `nth`.
pub fn exposed(nth: usize, first_id: i64) -> Exposed {
    let rng = &mut ChaCha8Rng::seed_from_u64(nth as u64);
    let (brand, prefixes, lengths) = BRANDS[nth % BRANDS.len()];
    let place = Place::ALL[nth / BRANDS.len() % Place::ALL.len()];
    let number = number(rng, prefixes, lengths);
    let spelling = SPELLINGS[rng.random_range(0..SPELLINGS.len())];
    let text = spell(rng, &number, spelling);
    let id = first_id + i64::try_from(nth).unwrap();
    let (kind, body) = body(rng, place, &number, &text, id);
    let mut attributes = Attributes::from_iter([("tenant", "a")]);
    match place {
        Place::AttributeValue => attributes.insert("note", format!("paid with {text}, thanks")),
        Place::AttributeName => attributes.insert(text, "1"),
        _ => {}
    }
    Exposed { brand, number, place, kind, body: body.into(), attributes }
}

fn number(rng: &mut ChaCha8Rng, prefixes: &[(u64, u64)], lengths: &[usize]) -> String {
    let (from, to) = prefixes[rng.random_range(0..prefixes.len())];
    let length = lengths[rng.random_range(0..lengths.len())];
    let mut number = rng.random_range(from..=to).to_string();
    while number.len() < length - 1 {
        number.push(char::from(b'0' + rng.random_range(0..10u8)));
    }
    // From the right, every other digit counts double, and the sum of all digits is a multiple of 10.
    let sum: u32 = number
        .chars()
        .rev()
        .zip([2, 1].into_iter().cycle())
        .map(|(digit, times)| digit.to_digit(10).unwrap() * times)
        .map(|product| product / 10 + product % 10)
        .sum();
    number + &((10 - sum % 10) % 10).to_string()
}

fn spell(rng: &mut ChaCha8Rng, number: &str, spelling: Spelling) -> String {
    let escape = |digit: char| format!("\\u{:04x}", u32::from(digit));
    let mut text = String::new();
    for (nth, digit) in number.chars().enumerate() {
        match spelling {
            Spelling::Fours(gap) if nth > 0 && nth % 4 == 0 => text.push_str(gap),
            Spelling::EveryDigit if nth > 0 => text.push(' '),
            Spelling::RandomGaps if nth > 0 => text.push_str(["", "", " ", "-"][rng.random_range(0..4)]),
            _ => {}
        }
        match spelling {
            Spelling::FullWidth => text.extend(char::from_u32(u32::from(digit) - 0x30 + 0xff10)),
            Spelling::Escaped => text.push_str(&escape(digit)),
            Spelling::PartlyEscaped if rng.random() => text.push_str(&escape(digit)),
            _ => text.push(digit),
        }
    }
    text
}

fn body(rng: &mut ChaCha8Rng, place: Place, number: &str, text: &str, id: i64) -> (EventKind, Vec<u8>) {
    let order = |field: &str, value: String| (EventKind::Order, order_with(field, &value, id).into_bytes());
    let payment =
        |field: &str, value: String| (EventKind::Payment, payment_with(field, &value, id).into_bytes());
    let quoted = format!("\"{text}\"");
    match place {
        Place::OrderText("item") => order("item", format!("\"a gift, paid by {text}, thanks\"")),
        Place::OrderText(field) => order(field, quoted),
        Place::PaymentText(field) => payment(field, quoted),
        Place::Number(field) => order(field, number.to_owned()),
        Place::NegativeNumber => payment("balance", format!("-{number}")),
        Place::NumberWithPoint => payment("card", format!("{number}.0")),
        Place::NumberWithExponent => {
            let digits = number[1..].trim_end_matches('0');
            payment("card", format!("{}.{digits}E{}", &number[..1], number.len() - 1))
        }
        Place::Nested => order("meta", format!("{{\"source\":{{\"order_id\":{quoted}}}}}")),
        Place::DeeplyNested => payment("meta", format!("{}{quoted}{}", "[".repeat(100), "]".repeat(100))),
        Place::InArray => order("cards", format!("[1,\"two\",{number},null]")),
        Place::Key => payment(text, "1".to_owned()),
        Place::NestedKey => order("meta", format!("{{{quoted}:{{}}}}")),
        Place::AmongDigits => {
            let gap = [" ", "-"][rng.random_range(0..2)];
            let spelling = [Spelling::Together, Spelling::Fours(gap)][rng.random_range(0..2)];
            let fours = spell(rng, number, spelling);
            payment("note", format!("\"7 {fours} 12 27 123\""))
        }
        Place::CutBody => {
            let (kind, mut body) = order("creation_date", quoted);
            body.truncate(body.len() - 2);
            (kind, body)
        }
        Place::PlainText => (EventKind::Payment, format!("order {id} was paid with {text}.").into_bytes()),
        Place::Form => (EventKind::Order, format!("order_id={id}&card={text}&expires=1227").into_bytes()),
        Place::NotUtf8 => {
            (EventKind::Payment, [b"\xff\xfe".as_slice(), &payment("note", quoted).1, b"\xc3"].concat())
        }
        Place::TrailingBytes => {
            (EventKind::Order, [order("item", "1".into()).1, quoted.into_bytes()].concat())
        }
        Place::TopLevelText => (EventKind::Payment, format!("\"{id}, {text}\"").into_bytes()),
        Place::TopLevelNumber => (EventKind::Order, number.as_bytes().to_vec()),
        Place::Twice => order("item", format!("\"{number}, or {text}\"")),
        // Payments without an order: they wait in the dead-letter store with their attributes.
        Place::AttributeValue | Place::AttributeName => payment("note", "\"\"".to_owned()),
    }
}

const ORDER: &str = r#"{"order_id":@,"customer_id":101,"item":"sentinel-item","quantity":3,"price":412.73,"shipping_address":"1 Sentinel Street","order_status":"Shipped","creation_date":"2024-01-21"}"#;
const PAYMENT: &str = r#"{"payment_id":@,"order_id":@,"payment_method":"sentinel-method","card_last_four":"0007","payment_status":"Completed","payment_datetime":"2024-01-21T80:01:30Z"}"#;

/// Returns an order body with one field's value replaced, or with the field added.
pub fn order_with(field: &str, value: &str, id: i64) -> String {
    with(&ORDER.replace('@', &id.to_string()), field, value)
}

/// Returns a payment body with one field's value replaced, or with the field added.
pub fn payment_with(field: &str, value: &str, id: i64) -> String {
    with(&PAYMENT.replace('@', &id.to_string()), field, value)
}

fn with(whole: &str, field: &str, value: &str) -> String {
    match whole.split_once(&format!("\"{field}\":")) {
        Some((before, rest)) => {
            let end = rest.find([',', '}']).unwrap();
            format!("{before}\"{field}\":{value}{}", &rest[end..])
        }
        None => whole.replacen('{', &format!("{{\"{field}\":{value},"), 1),
    }
}

/// The card numbers that must not be visible anywhere.
pub struct Numbers(HashSet<String>);

impl Numbers {
    pub fn of(all: &[Exposed]) -> Self {
        Self(all.iter().map(|exposed| exposed.number.clone()).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the bytes contain one of the numbers, in any spelling and next to anything.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        let text: Vec<char> = plain(&String::from_utf8_lossy(bytes));
        let mut at = 0;
        while at < text.len() {
            if !text[at].is_ascii_digit() {
                at += 1;
                continue;
            }
            let run: String = text[at..].iter().take_while(|c| c.is_ascii_digit()).collect();
            at += run.len();
            let exponent: Option<usize> = match &text[at..] {
                ['e' | 'E', tens, ones, ..] => format!("{tens}{ones}").parse().ok(),
                _ => None,
            };
            let padded = exponent.map(|exponent| format!("{run:0<width$}", width = exponent + 1));
            if [Some(run), padded].into_iter().flatten().any(|run| self.are_within(&run)) {
                return true;
            }
        }
        false
    }

    fn are_within(&self, run: &str) -> bool {
        let windows = |length| (0..).map_while(move |start| run.get(start..start + length));
        (13..=19).flat_map(windows).any(|window| self.0.contains(window))
    }
}

/// Returns the text with escapes decoded, digits in ASCII, and everything removed that may separate digits.
fn plain(text: &str) -> Vec<char> {
    let mut plain = Vec::new();
    let text = ["&nbsp;", "&#160;", "%20", "\\n", "\\r"]
        .iter()
        .fold(text.to_owned(), |text, gap| text.replace(gap, ""));
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let escape = rest.strip_prefix("\\u").and_then(|hex| hex.get(..4));
        let code = escape.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        rest = &rest[if code.is_some() { 6 } else { first.len_utf8() }..];
        match code.unwrap_or(first) {
            ' ' | '-' | '.' | '_' | '/' | '+' | '\n' | '\u{a0}' | '\\' => {}
            wide @ '\u{ff10}'..='\u{ff19}' => plain.extend(char::from_u32(u32::from(wide) - 0xff10 + 0x30)),
            other => plain.push(other),
        }
    }
    plain
}
