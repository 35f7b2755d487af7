//! The configuration as TOML, with who set what.

use std::fmt::Write as _;

use super::known::PASSWORD;
use super::layers::Entry;
use super::value::Value;

/// What is shown of a secret.
const MASK: &str = "\"***\"";

/// Every value, each followed by its origin; can be fed back as a config file.
pub(super) fn print(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut open = None;
    for entry in entries {
        let (section, name) = entry.key.rsplit_once('.').unwrap_or(("", &entry.key));
        if open != Some(section) {
            let gap = if open.is_some() { "\n" } else { "" };
            let _ = writeln!(text, "{gap}[{section}]");
            open = Some(section);
        }
        // Commented out where it is masked: fed back, the mask would be taken for the password.
        let (comment, value) =
            if is_masked(entry) { ("# ", MASK.to_owned()) } else { ("", entry.value.to_toml()) };
        let origin = entry.origin.to_string().replace(char::is_control, "?");
        let _ = writeln!(text, "{comment}{name} = {value}  # from {origin}");
    }
    text
}

fn is_masked(entry: &Entry) -> bool {
    entry.key == PASSWORD && entry.value != Value::Text(String::new())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Written, env, load_text, sets};
    use super::super::{DEFAULT_TOML, Sources, load};

    #[test]
    fn every_value_is_followed_by_who_set_it() {
        let sources = Sources {
            files: vec!["../../config/local.toml".into()],
            env: env(&[("ECOM__CONSUMER__MAX_IN_FLIGHT", "64")]),
            sets: sets(&["producer.rate=max"]),
        };
        let text = load(&sources).unwrap().print();
        for line in [
            "kind = \"pubsub\"  # from ../../config/local.toml",
            "emulator_host = \"127.0.0.1:8085\"  # from ../../config/local.toml",
            "max_in_flight = 64  # from environment ECOM__CONSUMER__MAX_IN_FLIGHT",
            "rate = \"max\"  # from --set",
            "late_orders = 0.05  # from default",
            "contact_points = [\"127.0.0.1:9042\"]  # from ../../config/local.toml",
        ] {
            assert!(text.lines().any(|printed| printed == line), "no line {line} in\n{text}");
        }
        let keys =
            |text: &str| text.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
        assert_eq!(keys(&text), keys(DEFAULT_TOML));
    }

    #[test]
    fn what_is_printed_loads_as_the_same() {
        let awkward = "a \"b\" \\ # c\n'''\"\"\"\u{1}ü";
        let sources = Sources {
            files: vec!["../../config/local.toml".into()],
            env: env(&[
                ("ECOM__EMBEDDED__DATA_DIR", awkward),
                ("ECOM__STORE__CASSANDRA__CONTACT_POINTS", "a:1,b:2"),
            ]),
            sets: sets(&[
                "consumer.early_payment_bytes=17",
                "producer.late_orders=1",
                "producer.missing_orders=0",
            ]),
        };
        let first = load(&sources).unwrap();
        let second = load_text(&first.print()).unwrap();
        assert_eq!(first.config, second.config);
        let defaults = load(&Sources::default()).unwrap();
        assert_eq!(load_text(&defaults.print()).unwrap().config, defaults.config);
    }

    #[test]
    fn secrets_are_masked_wherever_they_are_shown() {
        let file = Written::new("[store.cassandra]\nuser = \"ecom\"\npassword = \"hunter2\"");
        let sources =
            Sources { files: vec!["../../config/local.toml".into(), file.path()], ..Sources::default() };
        let loaded = load(&sources).unwrap();
        let credentials = loaded.config.store.cassandra.credentials.as_ref().unwrap();
        assert_eq!(credentials.password.expose(), "hunter2");
        let text = loaded.print();
        assert!(text.contains("\n# password = \"***\"  # from "), "{text}");
        assert!(!text.contains("hunter2") && !format!("{loaded:?}").contains("hunter2"));
        assert!(load_text(&text).unwrap_err().contains("user needs"), "the mask is not a password");
    }
}
