//! The fields of a JSON object, read in one pass and borrowed from the body.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::contract::BODY_LIMIT;
use crate::rejection::Rejection;
use ecom_domain::reason::Reason;

/// The maximum nesting depth of a value whose content is ignored.
const DEPTH_LIMIT: usize = 127;

/// A JSON value, in the distinctions that the contract makes.
#[derive(Debug)]
pub(super) enum FieldValue<'a> {
    Absent,
    Null,
    Integer(i64),
    TooLarge,
    Float(f64),
    Text(Cow<'a, str>),
    Other(&'static str),
}

/// The contract's fields as they are in a body, in the order of their names.
pub(super) struct Fields<'a, const N: usize> {
    values: [FieldValue<'a>; N],
    faults: Vec<String>,
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Reads the named fields of a body.
    ///
    /// # Errors
    /// `undecodable` unless the body is exactly one JSON object in UTF-8; `invalid` if it is larger than
    /// [`BODY_LIMIT`] or has a number out of range.
    pub(super) fn read(body: &'a [u8], names: &'static [&'static str; N]) -> Result<Self, Rejection> {
        let reject = |reason, detail| Rejection { reason, detail, order_id: None, payment_id: None };
        if body.len() > BODY_LIMIT {
            let detail = format!("body: {} bytes, at most {BODY_LIMIT}", body.len());
            return Err(reject(Reason::Invalid, detail));
        }
        let undecodable = |detail: String| reject(Reason::Undecodable, detail);
        let text = std::str::from_utf8(body)
            .map_err(|error| undecodable(format!("body: not UTF-8 from byte {}", error.valid_up_to())))?;
        if text.trim_ascii().is_empty() {
            return Err(undecodable("body: empty".to_owned()));
        }
        if !text.trim_ascii_start().starts_with('{') {
            return Err(undecodable("body: not a JSON object".to_owned()));
        }
        let mut fields = Self { values: std::array::from_fn(|_| FieldValue::Absent), faults: Vec::new() };
        let mut json = serde_json::Deserializer::from_str(text);
        let mut reading = None;
        let parsed = ObjectReader { names, fields: &mut fields, reading: &mut reading }
            .deserialize(&mut json)
            .and_then(|()| json.end());
        match parsed {
            Ok(()) => Ok(fields),
            Err(error) if error.to_string().starts_with("number out of range") => {
                let field = reading.unwrap_or("body");
                Err(reject(Reason::Invalid, format!("{field}: number out of range")))
            }
            Err(error) => Err(undecodable(format!("body: {error}"))),
        }
    }

    /// Takes the value of the field at this index of the names.
    pub(super) fn take(&mut self, index: usize) -> FieldValue<'a> {
        std::mem::replace(&mut self.values[index], FieldValue::Absent)
    }

    /// Takes the faults found while reading: fields given twice.
    pub(super) fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }
}

/// Reads one JSON object into `fields`; `reading` is the field to blame for an error.
struct ObjectReader<'f, 'a, const N: usize> {
    names: &'static [&'static str; N],
    fields: &'f mut Fields<'a, N>,
    reading: &'f mut Option<&'static str>,
}

impl<'de, const N: usize> DeserializeSeed<'de> for ObjectReader<'_, 'de, N> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for ObjectReader<'_, 'de, N> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(index) = map.next_key_seed(FieldIndex(self.names))? {
            let Some(index) = index else {
                ignore(map.next_value()?)?;
                continue;
            };
            *self.reading = Some(self.names[index]);
            let value = map.next_value_seed(FieldReader)?;
            if !matches!(self.fields.values[index], FieldValue::Absent) {
                self.fields.faults.push(format!("{}: given twice", self.names[index]));
            }
            self.fields.values[index] = value;
            *self.reading = None;
        }
        Ok(())
    }
}

/// Reads a key as the index of a field, or `None` for an unknown key.
struct FieldIndex<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for FieldIndex<N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for FieldIndex<N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

/// Reads a field's value, borrowed if its text has no escapes.
struct FieldReader;

impl<'de> DeserializeSeed<'de> for FieldReader {
    type Value = FieldValue<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldReader {
    type Value = FieldValue<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(FieldValue::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(FieldValue::Other("a boolean"))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(FieldValue::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(FieldValue::TooLarge, FieldValue::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(FieldValue::Float(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(FieldValue::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(FieldValue::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while let Some(element) = seq.next_element()? {
            ignore(element)?;
        }
        Ok(FieldValue::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while let Some((IgnoredAny, value)) = map.next_entry()? {
            ignore(value)?;
        }
        Ok(FieldValue::Other("an object"))
    }
}

/// Accepts any well-formed value that does not nest too deep.
fn ignore<E: serde::de::Error>(value: &RawValue) -> Result<(), E> {
    if is_too_deep(value.get()) { Err(E::custom("nested too deep")) } else { Ok(()) }
}

/// Returns whether well-formed JSON nests deeper than [`DEPTH_LIMIT`].
fn is_too_deep(json: &str) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth -= 1,
            _ => {}
        }
        if depth > DEPTH_LIMIT {
            return true;
        }
    }
    false
}
