//! The layers, laid one over the other.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use toml::Value;

use super::document::{self, EMPTY_SECTION};
use super::fault::Fault;
use super::known::{self, OTHER_TOOLS, PREFIX};
use super::origin::Origin;
use super::sources::Set;
use super::value::{self, Given};

/// One key with its value in the topmost layer that sets it.
pub(super) struct Setting {
    /// The dotted key.
    pub(super) key: String,
    /// The value in `default.toml`, which also gives the type.
    pub(super) default: Value,
    /// The value; the default if the setting is broken.
    pub(super) value: Value,
    /// The bytes of a value that is not UTF-8.
    pub(super) bytes: Option<OsString>,
    /// The layer that the value comes from.
    pub(super) origin: Origin,
    /// True if a fault was noted for it: the value is not the one that was meant.
    pub(super) broken: bool,
}

impl Setting {
    /// Marks the setting as broken and puts the default in place of its value.
    pub(super) fn reset(&mut self) {
        self.value.clone_from(&self.default);
        self.bytes = None;
        self.broken = true;
    }
}

/// Returns the setting with this key.
pub(super) fn find<'a>(settings: &'a [Setting], key: &str) -> Option<&'a Setting> {
    settings.iter().find(|setting| setting.key == key)
}

/// The settings in the order of the defaults, and the faults found so far.
pub(super) struct Layers {
    pub(super) settings: Vec<Setting>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
}

impl Layers {
    /// Starts with the lowest layer, which has every key.
    pub(super) fn of_defaults(text: &str) -> Self {
        let mut layers = Self { settings: Vec::new(), faults: Vec::new(), warnings: Vec::new() };
        match document::flatten(text) {
            Ok(found) => {
                for found in found {
                    match found.value {
                        Ok(value) => layers.settings.push(Setting {
                            key: found.key,
                            default: value.clone(),
                            value,
                            bytes: None,
                            origin: Origin::Default,
                            broken: false,
                        }),
                        Err(what) => layers.faults.push(Fault::new(
                            Some("default.toml".into()),
                            format!("{} is {what}", found.key),
                        )),
                    }
                }
            }
            Err(fault) => {
                layers.faults.push(Fault::new(Some(format!("default.toml:{}", fault.line)), fault.message))
            }
        }
        layers
    }

    /// Adds a config file; returns false if it could not be read at all.
    pub(super) fn add_file(&mut self, path: &Path) -> bool {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.faults.push(Fault::new(None, format!("could not read config file {shown}: {error}")));
                return false;
            }
        };
        let found = match document::flatten(&text) {
            Ok(found) => found,
            Err(fault) => {
                self.faults.push(Fault::new(Some(format!("{shown}:{}", fault.line)), fault.message));
                return false;
            }
        };
        for found in found {
            let origin = Origin::File { path: path.to_owned(), line: found.line };
            if found.value == Err(EMPTY_SECTION) && self.is_section(&found.key) {
                continue;
            }
            self.put(&found.key, origin, |default| {
                let what = match &found.value {
                    Ok(value) => value::kind(value),
                    Err(what) => what,
                };
                let conforming = found.value.ok().and_then(|value| value::conform(default, value));
                conforming
                    .map(Given::from)
                    .ok_or_else(|| format!("expects {}, is {what}", value::expectation(default)))
            });
        }
        true
    }

    /// Adds the variables of other tools, then our own. A variable that sets nothing and looks as if it were meant
    /// to is a fault if it has the `__` of a key, which others' variables do not, and otherwise a warning.
    pub(super) fn add_environment(&mut self, env: &[(String, OsString)]) {
        for (name, key) in OTHER_TOOLS {
            for (_, value) in env.iter().filter(|(known, value)| known == name && !value.is_empty()) {
                self.put_text(key, Origin::Environment(name.to_owned()), value);
            }
        }
        if env.iter().any(|(name, value)| name == "NO_COLOR" && !value.is_empty()) {
            self.put_text("log.color", Origin::Environment("NO_COLOR".into()), OsStr::new("never"));
        }
        for (name, value) in env {
            if let Some(rest) = name.strip_prefix(PREFIX) {
                self.put_text(&known::key_of(rest), Origin::Environment(name.clone()), value);
            } else if let Some(meant) = known::meant_variable(name, self.keys()) {
                let says = format!("sets nothing, did you mean {meant}?");
                match name.contains("__") {
                    true => self.faults.push(Fault::new(Some(name.clone()), says)),
                    false => self.warnings.push(format!("{name} {says}")),
                }
            }
        }
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().map(|setting| setting.key.as_str())
    }

    /// Adds the flags of the command line.
    pub(super) fn add_sets(&mut self, sets: &[Set]) {
        for set in sets {
            let origin = Origin::Flag(set.origin.clone());
            if known::is_secret(&set.key) {
                self.put(&set.key, origin, |_| {
                    Err(format!(
                        "is a secret, and every user of this host can read a command line; \
                         use {0}_file or the variable {1}",
                        set.key,
                        known::variable(&set.key)
                    ))
                });
            } else {
                self.put_text(&set.key, origin, &set.value);
            }
        }
    }

    fn put_text(&mut self, key: &str, origin: Origin, text: &OsStr) {
        self.put(key, origin, |default| {
            value::given(default, text)
                .ok_or_else(|| format!("expects {}, is \"{}\"", value::expectation(default), text.display()))
        });
    }

    /// Sets the key to the value that `read` returns, given the default, or notes its fault.
    fn put(&mut self, key: &str, origin: Origin, read: impl FnOnce(&Value) -> Result<Given, String>) {
        let Some(setting) = self.settings.iter_mut().find(|setting| setting.key == key) else {
            self.note_unknown(key, &origin);
            return;
        };
        match read(&setting.default) {
            Ok(Given { value, bytes }) => {
                setting.value = value;
                setting.bytes = bytes;
                setting.origin = origin;
                setting.broken = false;
            }
            Err(why) => {
                setting.reset();
                self.faults.push(Fault::new(origin.place(), format!("{key} {why}")));
            }
        }
    }

    fn note_unknown(&mut self, key: &str, origin: &Origin) {
        let subject = if self.is_section(key) {
            format!("{key} is a section, not a key")
        } else {
            format!("unknown key {key}")
        };
        let meant = match known::nearest(key, self.keys()) {
            Some(nearest) => match origin {
                Origin::Environment(_) => format!(", did you mean {}?", known::variable(nearest)),
                Origin::Default | Origin::File { .. } | Origin::Flag(_) => {
                    format!(", did you mean {nearest}?")
                }
            },
            None => self.choices(key),
        };
        self.faults.push(Fault::new(origin.place(), subject + &meant));
    }

    /// The keys of the section of an unknown key, or the sections if that is none.
    fn choices(&self, unknown: &str) -> String {
        let section = known::section(unknown);
        if self.is_section(section) {
            let own = self.keys().filter(|key| known::section(key) == section).map(known::last_name);
            return format!(", the keys of {section} are {}", Vec::from_iter(own).join(", "));
        }
        let mut sections: Vec<&str> = self.keys().map(known::section).collect();
        sections.dedup();
        format!(", the sections are {}", sections.join(", "))
    }

    fn is_section(&self, key: &str) -> bool {
        self.settings
            .iter()
            .any(|setting| setting.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
    }
}
