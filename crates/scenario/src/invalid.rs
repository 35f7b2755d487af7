//! Bad messages: each has one defect and a reason that it must be dead-lettered for.

use bytes::Bytes;

use ecom_codec::body::json;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;

/// The defect of a bad message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names say what is wrong")]
pub enum Defect {
    Truncated,
    NotUtf8,
    TrailingBytes,
    ByteOrderMark,
    NulInside,
    NotANumber,
    TopLevelArray,
    TopLevelText,
    TopLevelNumber,
    EmptyObject,
    FieldMissing,
    FieldNull,
    TextId,
    FractionalId,
    NegativeId,
    ZeroId,
    NumberForText,
    DuplicateKey,
    CardInText,
    CardInUnknownField,
    CardInTruncated,
    NegativePrice,
    TextPrice,
    ZeroQuantity,
    ThreeCardDigits,
    FiveCardDigits,
    CardNotText,
}

/// The fields of a message in order, with values as JSON.
type Fields = Vec<(&'static str, String)>;

impl Defect {
    /// The defects of both kinds of messages.
    const COMMON: [Self; 21] = [
        Self::Truncated,
        Self::NotUtf8,
        Self::TrailingBytes,
        Self::ByteOrderMark,
        Self::NulInside,
        Self::NotANumber,
        Self::TopLevelArray,
        Self::TopLevelText,
        Self::TopLevelNumber,
        Self::EmptyObject,
        Self::FieldMissing,
        Self::FieldNull,
        Self::TextId,
        Self::FractionalId,
        Self::NegativeId,
        Self::ZeroId,
        Self::NumberForText,
        Self::DuplicateKey,
        Self::CardInText,
        Self::CardInUnknownField,
        Self::CardInTruncated,
    ];
    const ORDERS: [Self; 3] = [Self::NegativePrice, Self::TextPrice, Self::ZeroQuantity];
    const PAYMENTS: [Self; 3] = [Self::ThreeCardDigits, Self::FiveCardDigits, Self::CardNotText];

    /// Returns every defect that a message of this kind can have.
    pub fn all(kind: EventKind) -> impl Iterator<Item = Self> {
        let own = match kind {
            EventKind::Order => Self::ORDERS,
            EventKind::Payment => Self::PAYMENTS,
        };
        Self::COMMON.into_iter().chain(own)
    }

    /// The number of defects, equal for both kinds.
    pub(super) const COUNT: usize = Self::COMMON.len() + Self::ORDERS.len();

    /// Returns the reason that a message with this defect must be dead-lettered for.
    pub fn reason(self) -> Reason {
        match self {
            Self::Truncated
            | Self::NotUtf8
            | Self::TrailingBytes
            | Self::ByteOrderMark
            | Self::NulInside
            | Self::NotANumber
            | Self::TopLevelArray
            | Self::TopLevelText
            | Self::TopLevelNumber => Reason::Undecodable,
            Self::EmptyObject
            | Self::FieldMissing
            | Self::FieldNull
            | Self::TextId
            | Self::FractionalId
            | Self::NegativeId
            | Self::ZeroId
            | Self::NumberForText
            | Self::DuplicateKey
            | Self::NegativePrice
            | Self::TextPrice
            | Self::ZeroQuantity
            | Self::ThreeCardDigits
            | Self::FiveCardDigits
            | Self::CardNotText => Reason::Invalid,
            Self::CardInText | Self::CardInUnknownField | Self::CardInTruncated => Reason::PanDetected,
        }
    }
}

/// Returns the body of this order with the defect.
pub(super) fn order(order: &Order<'_>, defect: Defect) -> Bytes {
    let fields = vec![
        ("order_id", order.order_id.to_string()),
        ("customer_id", order.customer_id.to_string()),
        ("item", text(&order.item)),
        ("quantity", order.quantity.to_string()),
        ("price", order.price.to_string()),
        ("shipping_address", text(&order.shipping_address)),
        ("order_status", text(&order.order_status)),
        ("creation_date", text(&order.creation_date)),
    ];
    with_defect(fields, defect, order.order_id, "quantity", "item")
}

/// Returns the body of this payment with the defect.
pub(super) fn payment(payment: &Payment<'_>, defect: Defect) -> Bytes {
    let fields = vec![
        ("payment_id", payment.payment_id.to_string()),
        ("order_id", payment.order_id.to_string()),
        ("payment_method", text(&payment.payment_method)),
        ("card_last_four", payment.card_last_four.map_or("null".to_owned(), |card| text(card.as_str()))),
        ("payment_status", text(&payment.payment_status)),
        ("payment_datetime", text(&payment.payment_datetime)),
    ];
    with_defect(fields, defect, payment.order_id, "payment_id", "payment_method")
}

/// Applies the defect; `number` and `word` are the fields that it may affect.
fn with_defect(mut fields: Fields, defect: Defect, id: OrderId, number: &str, word: &str) -> Bytes {
    match defect {
        Defect::FieldMissing => fields.retain(|(name, _)| *name != word),
        Defect::FieldNull => set(&mut fields, word, "null"),
        Defect::NumberForText => set(&mut fields, word, "7"),
        Defect::NotANumber => set(&mut fields, number, "NaN"),
        Defect::TextId => set(&mut fields, "order_id", &format!("\"{id}\"")),
        Defect::FractionalId => set(&mut fields, "order_id", &format!("{id}.5")),
        Defect::NegativeId => set(&mut fields, "order_id", &format!("-{id}")),
        Defect::ZeroId => {
            set(&mut fields, "order_id", "0");
            fields.push(("note", format!("\"for order {id}\"")));
        }
        Defect::DuplicateKey => fields.push(("order_id", id.to_string())),
        Defect::NegativePrice => set(&mut fields, "price", "-0.01"),
        Defect::TextPrice => set(&mut fields, "price", "\"12.50\""),
        Defect::ZeroQuantity => set(&mut fields, "quantity", "0"),
        Defect::ThreeCardDigits => set(&mut fields, "card_last_four", "\"123\""),
        Defect::FiveCardDigits => set(&mut fields, "card_last_four", "\"12345\""),
        Defect::CardNotText => set(&mut fields, "card_last_four", "1234"),
        Defect::CardInText => set(&mut fields, word, &format!("\"card {}\"", in_fours(&card_number(id)))),
        Defect::CardInUnknownField => fields.push(("card", card_number(id))),
        Defect::CardInTruncated => fields.push(("card", format!("\"{}\"", card_number(id)))),
        Defect::NulInside => set(&mut fields, word, "\"a\0b\""),
        Defect::Truncated
        | Defect::NotUtf8
        | Defect::TrailingBytes
        | Defect::ByteOrderMark
        | Defect::TopLevelArray
        | Defect::TopLevelText
        | Defect::TopLevelNumber
        | Defect::EmptyObject => {}
    }
    let whole = object(&fields).into_bytes();
    match defect {
        Defect::Truncated => whole[..whole.len() / 2].to_vec().into(),
        Defect::NotUtf8 => [&whole[..whole.len() - 2], b"\xff\"}".as_slice()].concat().into(),
        Defect::TrailingBytes => [&whole, b" {}".as_slice()].concat().into(),
        Defect::ByteOrderMark => [b"\xef\xbb\xbf".as_slice(), &whole].concat().into(),
        Defect::CardInTruncated => whole[..whole.len() - 1].to_vec().into(),
        Defect::TopLevelArray => format!("[{id}]").into(),
        Defect::TopLevelText => format!("\"order {id}\"").into(),
        Defect::TopLevelNumber => id.to_string().into(),
        Defect::EmptyObject => padded_object(id).into(),
        _ => whole.into(),
    }
}

/// Returns a fictitious Visa number made of the order id. The last digit is the check digit.
fn card_number(id: OrderId) -> String {
    let account = format!("400000{:09}", id.0.rem_euclid(1_000_000_000));
    let candidates = (0..10).map(|check| format!("{account}{check}"));
    candidates.filter(|number| !ecom_card_numbers::find(number.as_bytes()).is_empty()).collect()
}

fn in_fours(number: &str) -> String {
    let groups: Vec<&str> = (0..number.len()).step_by(4).filter_map(|at| number.get(at..at + 4)).collect();
    groups.join(" ")
}

fn set(fields: &mut Fields, name: &str, value: &str) {
    fields.iter_mut().filter(|(field, _)| *field == name).for_each(|(_, current)| value.clone_into(current));
}

fn object(fields: &Fields) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// Returns an empty object with the order id encoded in its white space, so that each body is distinct.
fn padded_object(id: OrderId) -> String {
    let bits = format!("{:b}", id.0);
    let padding: String = bits.chars().map(|bit| if bit == '1' { '\t' } else { ' ' }).collect();
    format!("{{{padding}}}")
}

fn text(value: &str) -> String {
    String::from_utf8_lossy(&json(&value)).into_owned()
}
