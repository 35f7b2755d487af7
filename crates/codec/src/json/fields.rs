//! The fields of a JSON object, read in one pass and borrowed from the body.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::cause;
use crate::contract::BODY_LIMIT;
use ecom_domain::reason::Reason;

/// The maximum nesting depth of a value whose content is ignored.
const DEPTH_LIMIT: usize = 127;

/// A JSON value, in the distinctions that the contract makes.
#[derive(Debug)]
pub(super) enum FieldValue<'a> {
    Absent,
    Null,
    Integer(i64),
    /// An integer beyond the 63 bits of the others.
    Unsigned(u64),
    /// Any other number, as IEEE 754 rounds it: with a fraction, with an exponent, beyond 64 bits, or `-0`.
    Float(f64),
    /// A number that no double can be.
    OutOfRange,
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
    /// The reason and the detail: `undecodable` unless the body is exactly one JSON object in UTF-8; `invalid` if
    /// it is larger than [`BODY_LIMIT`].
    pub(super) fn read(body: &'a [u8], names: &'static [&'static str; N]) -> Result<Self, (Reason, String)> {
        if body.len() > BODY_LIMIT {
            return Err((Reason::Invalid, format!("body: {} bytes, at most {BODY_LIMIT}", body.len())));
        }
        let undecodable = |cause: String| (Reason::Undecodable, format!("body: {cause}"));
        let Ok(text) = std::str::from_utf8(body) else {
            return Err(undecodable(cause::of_bytes(body).unwrap_or_default()));
        };
        let parsed = match Self::parse(text, names, Numbers::Converted) {
            Err(error) if is_out_of_range(&error) => Self::parse(text, names, Numbers::AsWritten),
            parsed => parsed,
        };
        parsed.map_err(|error| {
            undecodable(cause::of_bytes(body).unwrap_or_else(|| cause::of_syntax(text, &error)))
        })
    }

    fn parse(
        text: &'a str,
        names: &'static [&'static str; N],
        numbers: Numbers,
    ) -> Result<Self, serde_json::Error> {
        let mut fields = Self { values: std::array::from_fn(|_| FieldValue::Absent), faults: Vec::new() };
        let mut json = serde_json::Deserializer::from_str(text);
        ObjectReader { names, fields: &mut fields, numbers }.deserialize(&mut json)?;
        json.end()?;
        Ok(fields)
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

/// The way to read the numbers of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// Converted by the parser, which refuses a body with a number out of range.
    Converted,
    /// Each from its text, so that a number out of range is a fault of its field only.
    AsWritten,
}

fn is_out_of_range(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

/// Reads one JSON object into `fields`.
struct ObjectReader<'f, 'a, const N: usize> {
    names: &'static [&'static str; N],
    fields: &'f mut Fields<'a, N>,
    numbers: Numbers,
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
            let value = match self.numbers {
                Numbers::Converted => map.next_value_seed(FieldReader)?,
                Numbers::AsWritten => written(map.next_value()?)?,
            };
            if !matches!(self.fields.values[index], FieldValue::Absent) {
                let fault = format!("{}: given twice", self.names[index]);
                if !self.fields.faults.contains(&fault) {
                    self.fields.faults.push(fault);
                }
            }
            self.fields.values[index] = value;
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
        Ok(i64::try_from(number).map_or(FieldValue::Unsigned(number), FieldValue::Integer))
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

/// Reads a field's value from its text.
fn written<E: serde::de::Error>(value: &RawValue) -> Result<FieldValue<'_>, E> {
    match FieldReader.deserialize(&mut serde_json::Deserializer::from_str(value.get())) {
        Err(error) if is_out_of_range(&error) => Ok(FieldValue::OutOfRange),
        read => read.map_err(E::custom),
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
