//! The layers, laid one over the other.

use std::path::Path;

use super::document::{self, EMPTY_SECTION};
use super::fault::Fault;
use super::known::{self, EARLY_PAYMENT_BYTES, ECOSYSTEM, PASSWORD, PREFIX};
use super::origin::Origin;
use super::sources::Set;
use super::value::Value;

/// One key with the value that won.
pub(super) struct Entry {
    /// The dotted key.
    pub(super) key: String,
    /// What it would be had nobody set it; the type of every value it can have.
    pub(super) default: Value,
    /// The value that won.
    pub(super) value: Value,
    /// Who set it.
    pub(super) origin: Origin,
    /// Somebody tried to set it and could not: the value is not what was meant.
    pub(super) broken: bool,
}

/// The keys of the defaults in their order, and what went wrong so far.
pub(super) struct Layers {
    pub(super) entries: Vec<Entry>,
    pub(super) faults: Vec<Fault>,
}

impl Layers {
    /// The lowest layer: the keys there are, and their types.
    pub(super) fn of_defaults(text: &str) -> Self {
        let mut layers = Self { entries: Vec::new(), faults: Vec::new() };
        match document::flatten(text) {
            Ok(found) => {
                for found in found {
                    match found.value {
                        Ok(value) => layers.entries.push(Entry {
                            key: found.key,
                            default: value.clone(),
                            value,
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

    /// Lays a file over what there is; false where it could not be read at all.
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
                let what = match found.value {
                    Ok(Value::Integer(number)) if found.key == EARLY_PAYMENT_BYTES => {
                        return Ok(Value::Text(number.to_string()));
                    }
                    Ok(value) => {
                        let what = value.kind();
                        match default.conform(value) {
                            Some(value) => return Ok(value),
                            None => what,
                        }
                    }
                    Err(what) => what,
                };
                Err(format!("expects {}, is {what}", default.expectation()))
            });
        }
        true
    }

    /// Lays the variables other tools know over what there is, then our own.
    pub(super) fn add_environment(&mut self, env: &[(String, String)]) {
        for (name, key) in ECOSYSTEM {
            for (_, value) in env.iter().filter(|(known, value)| known == name && !value.is_empty()) {
                self.put_text(key, Origin::Environment(name.to_owned()), value);
            }
        }
        if env.iter().any(|(name, value)| name == "NO_COLOR" && !value.is_empty()) {
            self.put_text("log.color", Origin::Environment("NO_COLOR".into()), "never");
        }
        for (name, value) in env {
            if let Some(rest) = name.strip_prefix(PREFIX) {
                self.put_text(&known::key_of(rest), Origin::Environment(name.clone()), value);
            } else if let Some(key) = name.strip_prefix("ECOM_").map(known::key_of)
                && key.contains('.')
                && self.entries.iter().any(|entry| entry.key == key)
            {
                let meant = known::variable(&key);
                self.faults
                    .push(Fault::new(Some(name.clone()), format!("sets nothing, did you mean {meant}?")));
            }
        }
    }

    /// Lays what the command line says over what there is.
    pub(super) fn add_sets(&mut self, sets: &[Set]) {
        for set in sets {
            let origin = Origin::Flag(set.origin.clone());
            if set.key == PASSWORD {
                self.put(PASSWORD, origin, |_| {
                    Err(format!(
                        "is a secret, and everybody on the host can read a command line; \
                         use {PASSWORD}_file or the variable {}",
                        known::variable(PASSWORD)
                    ))
                });
            } else {
                self.put_text(&set.key, origin, &set.value);
            }
        }
    }

    fn put_text(&mut self, key: &str, origin: Origin, text: &str) {
        self.put(key, origin, |default| {
            default.read(text).ok_or_else(|| format!("expects {}, is \"{text}\"", default.expectation()))
        });
    }

    /// Sets the key to what `read` makes of the type it has, or notes why not.
    fn put(&mut self, key: &str, origin: Origin, read: impl FnOnce(&Value) -> Result<Value, String>) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.key == key) else {
            self.note_stranger(key, &origin);
            return;
        };
        match read(&entry.default) {
            Ok(value) => {
                entry.value = value;
                entry.origin = origin;
                entry.broken = false;
            }
            Err(why) => {
                entry.broken = true;
                self.faults.push(Fault::new(origin.place(), format!("{key} {why}")));
            }
        }
    }

    fn note_stranger(&mut self, key: &str, origin: &Origin) {
        let subject = if self.is_section(key) {
            format!("{key} is a section, not a key")
        } else {
            format!("unknown key {key}")
        };
        let nearest = known::nearest(key, self.entries.iter().map(|entry| entry.key.as_str()));
        let meant = nearest.map_or(String::new(), |nearest| match origin {
            Origin::Environment(_) => format!(", did you mean {}?", known::variable(nearest)),
            Origin::Default | Origin::File { .. } | Origin::Flag(_) => format!(", did you mean {nearest}?"),
        });
        self.faults.push(Fault::new(origin.place(), subject + &meant));
    }

    fn is_section(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
    }
}
