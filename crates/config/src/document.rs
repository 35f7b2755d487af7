//! A TOML text as dotted keys with their lines.

use toml::Value;
use toml::de::{DeTable, DeValue};

/// One key that a text sets.
pub(super) struct Assignment {
    /// The dotted key.
    pub(super) key: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// The value; the error says what it is instead of a type of a setting.
    pub(super) value: Result<Value, &'static str>,
}

/// Stands in for the value of a section without keys.
pub(super) const EMPTY_SECTION: &str = "an empty section";

/// A text that is not TOML.
pub(super) struct SyntaxFault {
    /// Counted from 1.
    pub(super) line: usize,
    /// Does not quote the text, which may contain a password.
    pub(super) message: String,
}

/// Returns the keys of the text in the order in which they are written.
///
/// # Errors
///
/// The first place that is not TOML.
pub(super) fn flatten(text: &str) -> Result<Vec<Assignment>, SyntaxFault> {
    let table = DeTable::parse(text).map_err(|error| SyntaxFault {
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        message: error.message().lines().collect::<Vec<_>>().join(", "),
    })?;
    let mut found = Vec::new();
    descend(text, "", table.get_ref(), &mut found);
    found.sort_by_key(|(offset, _)| *offset);
    Ok(found.into_iter().map(|(_, assignment)| assignment).collect())
}

fn descend(text: &str, prefix: &str, table: &DeTable<'_>, found: &mut Vec<(usize, Assignment)>) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => descend(text, &format!("{key}."), inner, found),
            leaf => {
                let offset = name.span().start;
                found.push((offset, Assignment { key, line: line_of(text, offset), value: setting(leaf) }));
            }
        }
    }
}

fn setting(value: &DeValue<'_>) -> Result<Value, &'static str> {
    match value {
        DeValue::String(text) => Ok(Value::String(text.to_string())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::Integer)
            .map_err(|_| "a number that is too large"),
        DeValue::Float(number) => {
            number.as_str().parse().map(Value::Float).map_err(|_| "a number that cannot be read")
        }
        DeValue::Boolean(truth) => Ok(Value::Boolean(*truth)),
        DeValue::Datetime(_) => Err("a date or time"),
        DeValue::Array(items) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(Value::String(text.to_string())),
                _ => Err("a list of other things"),
            })
            .collect::<Result<_, _>>()
            .map(Value::Array),
        DeValue::Table(_) => Err(EMPTY_SECTION),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_order_they_are_written_in_with_their_lines() {
        let found = flatten("[b]\nx = 1\n\n[a.c]\ny = [\"p\"]\n").ok().unwrap();
        let keys: Vec<_> = found.iter().map(|found| (found.key.as_str(), found.line)).collect();
        assert_eq!(keys, [("b.x", 2), ("a.c.y", 5)]);
    }

    #[test]
    fn a_syntax_fault_has_its_line_and_does_not_quote_the_text() {
        let fault = flatten("[store.cassandra]\npassword = \"hunter2\nuser = \"x\"\n").err().unwrap();
        assert_eq!(fault.line, 2);
        assert!(!fault.message.contains("hunter2"), "{}", fault.message);
    }
}
