//! From values to meanings: each getter notes its fault and returns `None`, so that all are found.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::Fault;
use super::known;
use super::layers::Entry;
use super::value::Value;

/// Reads entries as what they mean, and collects what is wrong with them.
pub(super) struct Reader<'a> {
    entries: &'a [Entry],
    faults: Vec<Fault>,
    /// The keys asked for, so that a test can tell that none of the defaults is ignored.
    #[cfg(test)]
    pub(super) asked: std::collections::BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(entries: &'a [Entry]) -> Self {
        Self {
            entries,
            faults: Vec::new(),
            #[cfg(test)]
            asked: std::collections::BTreeSet::new(),
        }
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Text as it is, empty or not.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.value(key)? {
            Value::Text(text) => Some(text.clone()),
            other => self.mistyped(key, other.kind()),
        }
    }

    /// Text that the rule accepts; the rule's error continues the sentence that begins with the key.
    pub(super) fn parsed<T>(&mut self, key: &str, rule: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key)?;
        match rule(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.fault(key, &why);
                None
            }
        }
    }

    /// One of the names.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.parsed(key, |text| {
            choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
                let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                format!("must be {}, is \"{text}\"", names.join(" or "))
            })
        })
    }

    /// A whole number within the range.
    pub(super) fn number<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let given = match self.value(key)? {
            Value::Integer(number) => *number,
            other => return self.mistyped(key, other.kind()),
        };
        let number = T::try_from(given).ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(key, &format!("must be {} to {}, is {given}", range.start(), range.end()));
        }
        number
    }

    /// A share, 0.0 to 1.0.
    pub(super) fn share(&mut self, key: &str) -> Option<f64> {
        let given = match self.value(key)? {
            Value::Float(number) => *number,
            other => return self.mistyped(key, other.kind()),
        };
        if (0.0..=1.0).contains(&given) {
            return Some(given);
        }
        self.fault(key, &format!("must be 0.0 to 1.0, is {given}"));
        None
    }

    /// True or false.
    pub(super) fn truth(&mut self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Boolean(truth) => Some(*truth),
            other => self.mistyped(key, other.kind()),
        }
    }

    /// A list of text.
    pub(super) fn list(&mut self, key: &str) -> Option<Vec<String>> {
        match self.value(key)? {
            Value::List(items) => Some(items.clone()),
            other => self.mistyped(key, other.kind()),
        }
    }

    /// A duration within the range, written like "30s".
    pub(super) fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.parsed(key, |text| duration_in(text, &range, ""))
    }

    /// A duration within the range, or zero, which means off.
    pub(super) fn duration_or_off(
        &mut self,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Option<Duration>> {
        self.parsed(key, |text| match duration_of(text)? {
            Duration::ZERO => Ok(None),
            _ => duration_in(text, &range, ", or \"0s\" for off").map(Some),
        })
    }

    /// Whether nobody set the key.
    pub(super) fn is_default(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|entry| entry.origin == super::Origin::Default)
    }

    /// Notes that the value of the key is wrong; `why` continues the sentence that begins with the key.
    pub(super) fn fault(&mut self, key: &str, why: &str) {
        let place = self.entry(key).and_then(|entry| entry.origin.place());
        self.faults.push(Fault::new(place, format!("{key} {why}")));
    }

    /// Notes that the key must be set because of what `cause` is set to, and how to set it.
    pub(super) fn missing(&mut self, key: &str, cause: &str) {
        let cause_entry = self.entry(cause);
        let is = match cause_entry.map(|entry| &entry.value) {
            Some(Value::Text(text)) => format!(" is \"{text}\""),
            _ => " is set".to_owned(),
        };
        let hint = match cause_entry.map(|entry| &entry.origin) {
            Some(super::Origin::File { path, .. }) => format!(
                "put the missing keys into a file of your own and lay it over this one: -c {} -c my.toml",
                path.display()
            ),
            _ => format!(
                "put the missing keys into a file and pass it with -c, or set variables such as {}",
                known::variable(key)
            ),
        };
        self.fault(key, &format!("is required because {cause}{is}"));
        if let Some(fault) = self.faults.last_mut() {
            fault.hint = Some(hint);
        }
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value, unless somebody tried to set it and could not.
    fn value(&mut self, key: &str) -> Option<&'a Value> {
        #[cfg(test)]
        self.asked.insert(key.to_owned());
        let entry = self.entry(key);
        if entry.is_none() {
            self.faults.push(Fault::new(Some("default.toml".into()), format!("{key} is missing")));
        }
        entry.filter(|entry| !entry.broken).map(|entry| &entry.value)
    }

    fn mistyped<T>(&mut self, key: &str, kind: &str) -> Option<T> {
        self.fault(key, &format!("is {kind}, which is not its type"));
        None
    }
}

fn duration_of(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("must be a duration such as \"30s\", is \"{text}\" ({error})"))
}

fn duration_in(text: &str, range: &RangeInclusive<Duration>, or: &str) -> Result<Duration, String> {
    let duration = duration_of(text)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let [low, high] = [range.start(), range.end()].map(|bound| humantime::format_duration(*bound));
    Err(format!("must be {low} to {high}{or}, is \"{text}\""))
}
