//! The difference between two bodies: field by field if both are JSON objects, otherwise line by line.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

/// A field or line that differs.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct FieldDifference {
    /// The field's name; `None` for a line.
    pub field: Option<String>,
    /// The old value as written in the body; `None` if it is added.
    pub was: Option<String>,
    /// The new value as written in the body; `None` if it is removed.
    pub becomes: Option<String>,
}

/// The differences between two bodies, in the order of field names or lines.
pub fn difference(was: &[u8], becomes: &[u8]) -> Vec<FieldDifference> {
    let by_field = fields(was).zip(fields(becomes)).map(|(was, becomes)| changed_fields(&was, &becomes));
    match by_field {
        Some(changes) if !changes.is_empty() || was == becomes => changes,
        // A field given twice, or white space alone, shows in the lines only.
        _ => changed_lines(was, becomes),
    }
}

fn fields(body: &[u8]) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_slice(body).ok()
}

fn changed_fields(
    was: &BTreeMap<String, &RawValue>,
    becomes: &BTreeMap<String, &RawValue>,
) -> Vec<FieldDifference> {
    let text = |value: Option<&&RawValue>| value.map(|value| value.get().to_owned());
    let mut names: Vec<&String> = was.keys().chain(becomes.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name: &String| FieldDifference {
        field: Some(name.clone()),
        was: text(was.get(name)),
        becomes: text(becomes.get(name)),
    };
    names.into_iter().map(change).filter(|change| change.was != change.becomes).collect()
}

fn changed_lines(was: &[u8], becomes: &[u8]) -> Vec<FieldDifference> {
    let (was, becomes) = (String::from_utf8_lossy(was), String::from_utf8_lossy(becomes));
    let (was, becomes): (Vec<&str>, Vec<&str>) = (was.split('\n').collect(), becomes.split('\n').collect());
    let same = |(one, other): &(&&str, &&str)| one == other;
    let head = was.iter().zip(&becomes).take_while(same).count();
    let (was, becomes) = (&was[head..], &becomes[head..]);
    let tail = was.iter().rev().zip(becomes.iter().rev()).take_while(same).count();
    let removed = was[..was.len() - tail].iter().map(|line| FieldDifference {
        field: None,
        was: Some((*line).to_owned()),
        becomes: None,
    });
    let added = becomes[..becomes.len() - tail].iter().map(|line| FieldDifference {
        field: None,
        was: None,
        becomes: Some((*line).to_owned()),
    });
    removed.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(was: &str, becomes: &str) -> Vec<String> {
        let line = |change: FieldDifference| {
            let field = change.field.map(|field| format!("{field}: ")).unwrap_or_default();
            let side = |text: Option<String>| text.unwrap_or_else(|| "(none)".to_owned());
            format!("{field}{} -> {}", side(change.was), side(change.becomes))
        };
        difference(was.as_bytes(), becomes.as_bytes()).into_iter().map(line).collect()
    }

    #[test]
    fn objects_differ_by_field_with_values_as_they_are_written() {
        let was = r#"{"order_id":7,"price":"12","x":1.50,"same":true}"#;
        let becomes = r#"{"order_id":7,"price":12,"same":true,"note":"é"}"#;
        assert_eq!(
            lines(was, becomes),
            [r#"note: (none) -> "é""#, r#"price: "12" -> 12"#, "x: 1.50 -> (none)"]
        );
        assert!(lines(was, was).is_empty());
    }

    #[test]
    fn a_body_that_is_not_an_object_differs_by_line() {
        assert_eq!(lines("{\n\"a\":1\n", "{\n\"a\":1\n}"), [" -> (none)", "(none) -> }"]);
        assert_eq!(lines("", "{}"), [" -> (none)", "(none) -> {}"]);
        assert_eq!(
            lines(r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            [r#"{"a":1,"a":2} -> (none)"#, r#"(none) -> {"a":2}"#]
        );
    }
}
