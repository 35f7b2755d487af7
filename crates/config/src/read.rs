//! From merged settings to typed structs: serde reads them, and every fault is noted under its key.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Value;

use super::checks::{Checks, Section};
use super::fault::Fault;
use super::known;
use super::layers::{self, Layers, Setting};
use super::{secret, value};

/// Reads the settings as `T` and notes every fault.
///
/// serde stops at the first fault. Its setting is put back to the default and the read starts again, until
/// all are found; then come the rules that span several keys.
pub(super) fn read<T: Section>(layers: &mut Layers) -> Option<T> {
    let mut config = loop {
        let error = match T::deserialize(Node::root(&layers.settings)) {
            Ok(config) => break config,
            Err(error) => error,
        };
        let setting = layers.settings.iter_mut().find(|setting| setting.key == error.key && !setting.broken);
        let Some(setting) = setting else {
            layers.faults.push(Fault::new(Some("default.toml".into()), error.to_string()));
            return None;
        };
        layers.faults.push(Fault::new(setting.origin.place(), error.to_string()));
        setting.reset();
    };
    let mut checks = Checks::new(&layers.settings);
    config.check(&mut checks);
    let mut faults = checks.into_faults();
    layers.faults.append(&mut faults);
    Some(config)
}

/// Returns the defaults of one section, such as `store.cassandra`.
///
/// # Panics
///
/// If `default.toml` and the struct do not have the same keys and types.
pub fn defaults<T: DeserializeOwned>(section: &str) -> T {
    let settings = Layers::of_defaults(super::DEFAULT_TOML).settings;
    let node = Node { path: section.to_owned(), settings: &settings };
    T::deserialize(node).expect("default.toml has the keys of the section's struct, with sound values")
}

/// A section or a setting, as serde reads it.
struct Node<'a> {
    path: String,
    settings: &'a [Setting],
}

impl<'a> Node<'a> {
    fn root(settings: &'a [Setting]) -> Self {
        Self { path: String::new(), settings }
    }

    /// The bytes of a value that is not UTF-8.
    fn bytes(&self) -> Option<&'a OsStr> {
        layers::find(self.settings, &self.path).and_then(|setting| setting.bytes.as_deref())
    }

    /// The value of a setting; `None` for a section.
    fn value(&self) -> Option<&'a Value> {
        layers::find(self.settings, &self.path).map(|setting| &setting.value)
    }

    /// The nodes in this section.
    fn children(&self) -> Children<'a> {
        let prefix = if self.path.is_empty() { String::new() } else { format!("{}.", self.path) };
        let keys = self.settings.iter().filter_map(|setting| setting.key.strip_prefix(&prefix));
        let mut names: Vec<&str> = Vec::new();
        for name in keys.filter_map(|key| key.split('.').next()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let node = |name| (name, Self { path: format!("{prefix}{name}"), settings: self.settings });
        Children { remaining: names.into_iter().map(node).collect(), next: None }
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if let Some(bytes) = self.bytes() {
            return Err(ReadError::custom(format!("must be UTF-8, is \"{}\"", bytes.display())));
        }
        match self.value() {
            None => visitor.visit_map(self.children()),
            Some(Value::String(text)) => visitor.visit_str(text),
            Some(Value::Integer(number)) => visitor.visit_i64(*number),
            Some(Value::Float(number)) => visitor.visit_f64(*number),
            Some(Value::Boolean(truth)) => visitor.visit_bool(*truth),
            Some(Value::Array(items)) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().filter_map(Value::as_str)))
            }
            Some(other) => Err(ReadError::custom(format!("is {}", value::kind(other)))),
        }
    }

    /// Reads a path, which is text or bytes.
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.bytes() {
            Some(bytes) => visitor.visit_bytes(bytes.as_encoded_bytes()),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let name = self.value().and_then(Value::as_str).unwrap_or_default();
        visitor.visit_enum(name.into_deserializer())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if name == secret::NAME && !known::is_secret(&self.path) {
            return Err(ReadError::custom("is a secret, but its name does not say so"));
        }
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes option unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The nodes of a section, each with its name. Its errors have the key of the node.
struct Children<'a> {
    remaining: VecDeque<(&'a str, Node<'a>)>,
    next: Option<Node<'a>>,
}

impl<'de> MapAccess<'de> for Children<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((name, node)) = self.remaining.pop_front() else { return Ok(None) };
        self.next = Some(node);
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let node = self.next.take().ok_or_else(|| ReadError::custom("has a value without its key"))?;
        let key = node.path.clone();
        seed.deserialize(node).map_err(|error| error.at(&key))
    }
}

/// A value that its field does not accept.
#[derive(Debug)]
struct ReadError {
    /// The key; empty until it is known.
    key: String,
    /// Continues the sentence that begins with the key.
    why: String,
}

impl ReadError {
    /// Adds the key, unless a nested one is known already.
    fn at(self, key: &str) -> Self {
        if self.key.is_empty() { Self { key: key.to_owned(), ..self } } else { self }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.why)
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { key: String::new(), why: message.to_string() }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let names = expected.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let names =
            names.rsplit_once(", ").map_or(names.clone(), |(first, last)| format!("{first} or {last}"));
        Self::custom(format!("must be {names}, is \"{variant}\""))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::super::secret::Secret;
    use super::*;

    fn settings(toml: &str) -> Vec<Setting> {
        Layers::of_defaults(toml).settings
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read only to be refused")]
    struct Streams {
        streams: u8,
    }

    #[test]
    fn a_key_that_no_field_reads_and_a_field_without_a_key_are_faults_of_the_defaults() {
        for (toml, why) in [
            ("[consumer]\nstreams = 1\nsteams = 2", "consumer unknown field `steams`, expected `streams`"),
            ("[consumer]\n\n[consumer.streams]\nx = 1", "consumer.streams invalid type: map, expected u8"),
            ("consumer.x = 1", "consumer unknown field `x`, expected `streams`"),
            ("consumer.streams = 256", "consumer.streams invalid value: integer `256`, expected u8"),
        ] {
            let settings = settings(toml);
            let read: Result<BTreeMap<String, Streams>, _> = Deserialize::deserialize(Node::root(&settings));
            assert_eq!(read.unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn a_secret_whose_name_does_not_say_so_is_not_read() {
        let with = |toml| {
            let settings = settings(toml);
            let read: Result<BTreeMap<String, Secret>, _> = Deserialize::deserialize(Node::root(&settings));
            read.map_err(|error| error.to_string())
        };
        assert_eq!(with("password = \"x\"").unwrap()["password"].expose(), "x");
        assert_eq!(
            with("greeting = \"x\"").unwrap_err(),
            "greeting is a secret, but its name does not say so"
        );
    }
}
