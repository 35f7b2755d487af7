//! `--print-config`: the configuration as TOML with the origin of each value.

use std::fmt::Write as _;

use super::known;
use super::layers::Setting;

/// Shown instead of a secret.
const MASK: &str = "\"***\"";

/// Returns every value, each followed by its origin; the text can be used as a config file.
pub(super) fn print(settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut open = None;
    for setting in settings {
        let (section, name) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        if open != Some(section) {
            let gap = if open.is_some() { "\n" } else { "" };
            let _ = writeln!(text, "{gap}[{section}]");
            open = Some(section);
        }
        // Used as a config file, the mask would be taken for the password, and the shown path for another one.
        let (comment, value) = match (is_masked(setting), &setting.bytes) {
            (true, _) => ("# ", MASK.to_owned()),
            (false, Some(_)) => ("# not UTF-8: ", setting.value.to_string()),
            (false, None) => ("", setting.value.to_string()),
        };
        let origin = setting.origin.to_string().replace(char::is_control, "?");
        let _ = writeln!(text, "{comment}{name} = {value}  # from {origin}");
    }
    text
}

fn is_masked(setting: &Setting) -> bool {
    known::is_secret(&setting.key) && setting.value.as_str() != Some("")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TestConfig, env, load_text, sets};
    use super::super::{DEFAULT_TOML, Sources, load};

    #[test]
    fn every_value_is_followed_by_its_origin() {
        let sources = Sources {
            files: vec!["../../config/local.toml".into()],
            env: env(&[("ECOM__CONSUMER__MAX_IN_FLIGHT", "64")]),
            sets: sets(&["producer.rate=max"]),
        };
        let text = load::<TestConfig>(&sources).unwrap().print();
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
        let first = load::<TestConfig>(&sources).unwrap();
        let second = load_text(&first.print()).unwrap();
        assert_eq!(first.config, second.config);
        let defaults = load::<TestConfig>(&Sources::default()).unwrap();
        assert_eq!(load_text(&defaults.print()).unwrap().config, defaults.config);
    }
}
