//! What a correction changes, for people: field by field where both bodies are JSON objects, else line
//! by line.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Characters of a line that are shown.
const SHOWN: usize = 500;

/// A field or a line that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldDifference {
    /// The field's name; `None` for a line of a body that is no object.
    pub field: Option<String>,
    /// What it was, where it was there.
    pub was: Option<String>,
    /// What it becomes, where it stays.
    pub becomes: Option<String>,
}

/// What differs between two bodies.
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
    let text = |value: Option<&&RawValue>| value.map(|value| shown(value.get()));
    let mut names: Vec<&String> = was.keys().chain(becomes.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name: &String| FieldDifference {
        field: Some(shown(name)),
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
    let gone = was[..was.len() - tail].iter().map(|line| FieldDifference {
        field: None,
        was: Some(shown(line)),
        becomes: None,
    });
    let come = becomes[..becomes.len() - tail].iter().map(|line| FieldDifference {
        field: None,
        was: None,
        becomes: Some(shown(line)),
    });
    gone.chain(come).collect()
}

/// A text as a terminal may show it: no control characters, not too long.
fn shown(text: &str) -> String {
    let printable = |character: char| match character {
        '\t' => ' ',
        character if character.is_control() => '\u{fffd}',
        character => character,
    };
    let mut shown: String = text.chars().take(SHOWN).map(printable).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(was: &str, becomes: &str) -> Vec<String> {
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
            told(was, becomes),
            [r#"note: (none) -> "é""#, r#"price: "12" -> 12"#, "x: 1.50 -> (none)"]
        );
        assert!(told(was, was).is_empty());
    }

    #[test]
    fn what_is_no_object_differs_by_line() {
        assert_eq!(told("{\n\"a\":1\n", "{\n\"a\":1\n}"), [" -> (none)", "(none) -> }"]);
        assert_eq!(told("", "{}"), [" -> (none)", "(none) -> {}"]);
        assert_eq!(
            told(r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            [r#"{"a":1,"a":2} -> (none)"#, r#"(none) -> {"a":2}"#]
        );
    }

    #[test]
    fn nothing_reaches_the_terminal_that_could_drive_it() {
        let changes = difference(b"\x1b[2J\xff", "x".repeat(SHOWN + 1).as_bytes());
        assert_eq!(changes[0].was.as_deref(), Some("\u{fffd}[2J\u{fffd}"));
        assert_eq!(changes[1].becomes.as_ref().map(|line| line.chars().count()), Some(SHOWN + 1));
    }
}
