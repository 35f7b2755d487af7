//! Values as TOML has them: the type of a key is the type of its default.

use std::ffi::{OsStr, OsString};

use toml::Value;

use super::fields;

/// Returns what the value is, with its article.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list of text",
        Value::Datetime(_) => "a date or time",
        Value::Table(_) => "a section",
    }
}

/// Returns what a key with this default accepts.
pub(super) fn expectation(default: &Value) -> String {
    match default {
        Value::String(example) if !example.is_empty() => format!("text such as \"{example}\""),
        other => kind(other).to_owned(),
    }
}

/// Converts a file's value to the type of the default; `None` if it has another type.
///
/// A share may be written as a whole number, and a size as a number of bytes.
pub(super) fn conform(default: &Value, found: Value) -> Option<Value> {
    match (default, found) {
        #[expect(clippy::cast_precision_loss, reason = "a share has few digits")]
        (Value::Float(_), Value::Integer(number)) => Some(Value::Float(number as f64)),
        (Value::String(size), Value::Integer(bytes)) if fields::bytes(size).is_ok() => {
            Some(Value::String(bytes.to_string()))
        }
        (default, found) => default.same_type(&found).then_some(found),
    }
}

/// A value as a layer gives it.
pub(super) struct Given {
    /// The value; with replacement characters where it is not UTF-8.
    pub(super) value: Value,
    /// The bytes of a text that is not UTF-8, which only a path may be.
    pub(super) bytes: Option<OsString>,
}

impl From<Value> for Given {
    fn from(value: Value) -> Self {
        Self { value, bytes: None }
    }
}

/// Parses a variable's or flag's text as the type of the default; `None` if it is of another type.
pub(super) fn given(default: &Value, text: &OsStr) -> Option<Given> {
    match (text.to_str(), default) {
        (Some(text), default) => parse(default, text).map(Given::from),
        (None, Value::String(_)) => {
            let value = Value::String(text.to_string_lossy().into_owned());
            Some(Given { value, bytes: Some(text.to_owned()) })
        }
        (None, _) => None,
    }
}

/// Parses a variable's or flag's text as the type of the default: text stays text, lists have commas.
fn parse(default: &Value, text: &str) -> Option<Value> {
    match default {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
        Value::Float(_) => text.trim().parse().ok().map(Value::Float),
        Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Some(Value::Array(parts.map(|part| Value::String(part.to_owned())).collect()))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn text_is_never_read_as_a_number() {
        assert_eq!(parse(&text(""), "123"), Some(text("123")));
        assert_eq!(parse(&text(""), " true "), Some(text(" true ")));
    }

    #[test]
    fn lists_have_commas() {
        let list = Value::Array(vec![text("a:1"), text("b:2")]);
        assert_eq!(parse(&Value::Array(vec![]), "a:1, b:2,"), Some(list));
    }

    #[test]
    fn values_of_another_type_do_not_conform() {
        assert_eq!(conform(&Value::Integer(4), text("4")), None);
        assert_eq!(conform(&text(""), Value::Integer(4)), None);
        assert_eq!(conform(&Value::Float(0.1), Value::Integer(1)), Some(Value::Float(1.0)));
    }
}
