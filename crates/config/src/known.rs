//! The keys there are: what a stranger may have meant, and which rules go with a key.

/// The key whose values are masked and never taken from the command line.
pub(super) const PASSWORD: &str = "store.cassandra.password";

/// A text key that takes a bare number, too.
pub(super) const EARLY_PAYMENT_BYTES: &str = "consumer.early_payment_bytes";

/// Variables other tools know, and the keys they set here.
pub(super) const ECOSYSTEM: [(&str, &str); 3] = [
    ("PUBSUB_EMULATOR_HOST", "bus.pubsub.emulator_host"),
    ("GOOGLE_CLOUD_PROJECT", "bus.pubsub.project"),
    ("RUST_LOG", "log.filter"),
];

/// The prefix of a variable that sets a key.
pub(super) const PREFIX: &str = "ECOM__";

/// The variable that sets the key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// The dotted key a variable names, given what follows its prefix.
pub(super) fn key_of(rest: &str) -> String {
    rest.to_lowercase().replace("__", ".")
}

/// The known key nearest to a stranger: the same last name in another section first, then by spelling.
pub(super) fn nearest<'a>(stranger: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|key| {
        let outside = !key.starts_with(&format!("{stranger}."));
        let other_name = last_name(key) != last_name(stranger);
        (outside, other_name, strsim::damerau_levenshtein(stranger, key))
    })
}

fn last_name(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["bus.kind", "store.kind", "store.cassandra.contact_points", "consumer.streams"];

    #[test]
    fn the_nearest_key_is_the_one_meant() {
        for (stranger, meant) in [
            ("store.cassandra.contact_point", "store.cassandra.contact_points"),
            ("store.contact_points", "store.cassandra.contact_points"),
            ("stores.kind", "store.kind"),
            ("consumer.steams", "consumer.streams"),
            ("bus", "bus.kind"),
        ] {
            assert_eq!(nearest(stranger, KEYS.into_iter()), Some(meant));
        }
    }

    #[test]
    fn a_variable_and_its_key_are_each_other() {
        assert_eq!(variable("store.cassandra.contact_points"), "ECOM__STORE__CASSANDRA__CONTACT_POINTS");
        assert_eq!(key_of("STORE__CASSANDRA__CONTACT_POINTS"), "store.cassandra.contact_points");
    }
}
