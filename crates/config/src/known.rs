//! Names: variables of keys, secrets, and the known key nearest to an unknown one.

/// Variables of other tools, and the keys they set.
pub(super) const OTHER_TOOLS: [(&str, &str); 3] = [
    ("PUBSUB_EMULATOR_HOST", "bus.pubsub.emulator_host"),
    ("GOOGLE_CLOUD_PROJECT", "bus.pubsub.project"),
    ("RUST_LOG", "log.filter"),
];

/// The prefix of a variable that sets a key.
pub(super) const PREFIX: &str = "ECOM__";

/// Returns the variable that sets the key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Returns the dotted key that a variable sets, given the rest of its name after the prefix.
pub(super) fn key_of(rest: &str) -> String {
    rest.to_lowercase().replace("__", ".")
}

/// Returns true if values of the key are masked and refused on the command line.
///
/// The name decides, not the type, so that it holds in builds without the adapter that reads the key.
pub(super) fn is_secret(key: &str) -> bool {
    let name = last_name(key);
    name == "password" || name.ends_with("_password")
}

/// Returns the known key nearest to an unknown one: the same name in another section first, then by spelling.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|key| {
        let outside = !key.starts_with(&format!("{unknown}."));
        let other_name = last_name(key) != last_name(unknown);
        (outside, other_name, strsim::damerau_levenshtein(unknown, key))
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
        for (unknown, meant) in [
            ("store.cassandra.contact_point", "store.cassandra.contact_points"),
            ("store.contact_points", "store.cassandra.contact_points"),
            ("stores.kind", "store.kind"),
            ("consumer.steams", "consumer.streams"),
            ("bus", "bus.kind"),
        ] {
            assert_eq!(nearest(unknown, KEYS.into_iter()), Some(meant));
        }
    }

    #[test]
    fn secrets_are_known_by_their_name() {
        let secret = ["store.cassandra.password", "password", "bus.key_password"].map(is_secret);
        assert_eq!(secret, [true; 3]);
        let public = ["store.cassandra.password_file", "password.x", "passwords"].map(is_secret);
        assert_eq!(public, [false; 3]);
    }

    #[test]
    fn a_variable_and_its_key_are_each_other() {
        assert_eq!(variable("store.cassandra.contact_points"), "ECOM__STORE__CASSANDRA__CONTACT_POINTS");
        assert_eq!(key_of("STORE__CASSANDRA__CONTACT_POINTS"), "store.cassandra.contact_points");
    }
}
