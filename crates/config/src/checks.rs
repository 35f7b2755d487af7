//! Rules that span several keys.

use serde::de::{DeserializeOwned, IgnoredAny};
use toml::Value;

use super::fault::Fault;
use super::known;
use super::layers::{self, Setting};
use super::origin::Origin;

/// A struct that is read from a section.
pub trait Section: DeserializeOwned {
    /// Checks the rules that span several keys once each field is sound, and adjusts fields that depend on
    /// others.
    fn check(&mut self, _checks: &mut Checks<'_>) {}
}

/// The section of an adapter that is not built in: its keys are known, and their values are not read.
impl Section for IgnoredAny {}

/// The settings as [`Section::check`] sees them, and the faults it finds. Keys are dotted and complete.
pub struct Checks<'a> {
    settings: &'a [Setting],
    faults: Vec<Fault>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(settings: &'a [Setting]) -> Self {
        Self { settings, faults: Vec::new() }
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Returns true if the key is set to this text.
    pub fn is(&self, key: &str, text: &str) -> bool {
        self.find(key).is_some_and(|setting| setting.value.as_str() == Some(text))
    }

    /// Returns true if the key has its default.
    pub fn is_default(&self, key: &str) -> bool {
        self.find(key).is_some_and(|setting| setting.origin == Origin::Default)
    }

    /// Notes that the rule does not accept the key's value.
    pub fn rule(&mut self, key: &str, outcome: Result<(), String>) {
        if let Err(why) = outcome {
            self.fault(&[key], &why);
        }
    }

    /// Notes that the first of these keys is wrong in view of the others; `why` continues the sentence that
    /// begins with it. Ignored if one of them has a fault already, because its value is not the one meant.
    pub fn fault(&mut self, keys: &[&str], why: &str) {
        let is_broken = |key: &&str| self.find(key).is_some_and(|setting| setting.broken);
        let (false, Some(key)) = (keys.iter().any(is_broken), keys.first()) else { return };
        let place = self.find(key).and_then(|setting| setting.origin.place());
        self.faults.push(Fault::new(place, format!("{key} {why}")));
    }

    /// Notes that the key must be set because of the value of `cause`, and how to set it.
    pub fn missing(&mut self, key: &str, cause: &str) {
        let found = self.faults.len();
        let cause_setting = self.find(cause);
        let is = match cause_setting.map(|setting| &setting.value) {
            Some(Value::String(text)) => format!(" is \"{text}\""),
            _ => " is set".to_owned(),
        };
        let hint = match cause_setting.map(|setting| &setting.origin) {
            Some(Origin::File { path, .. }) => format!(
                "put the missing keys into a file of your own and lay it over this one: -c {} -c my.toml",
                path.display()
            ),
            _ => format!(
                "put the missing keys into a file and pass it with -c, or set variables such as {}",
                known::variable(key)
            ),
        };
        self.fault(&[key], &format!("is required because {cause}{is}"));
        if let Some(fault) = self.faults.get_mut(found) {
            fault.hint = Some(hint);
        }
    }

    fn find(&self, key: &str) -> Option<&'a Setting> {
        layers::find(self.settings, key)
    }
}
