//! Names: variables of keys, secrets, and the known key nearest to an unknown one.

/// Variables of other tools, and the keys they set.
pub(super) const OTHER_TOOLS: [(&str, &str); 5] = [
    ("PUBSUB_EMULATOR_HOST", "bus.pubsub.emulator_host"),
    ("GOOGLE_CLOUD_PROJECT", "bus.pubsub.project"),
    ("RUST_LOG", "log.filter"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "traces.otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "traces.otlp_endpoint"),
];

/// The variables that set no key, and are read nevertheless.
const OWN: [&str; 2] = ["ECOM_CONFIG", "ECOM_ACTOR"];

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

/// Returns the known key that an unknown one was meant to be: a key of the section that it names, the same name in
/// another section, or a name spelt almost the same; `None` if nothing is near.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let is_inside = |key: &str| key.strip_prefix(unknown).is_some_and(|rest| rest.starts_with('.'));
    let near = known.filter(|key| is_inside(key) || is_near(last_name(unknown), last_name(key)));
    near.min_by_key(|key| {
        let other_name = last_name(key) != last_name(unknown);
        (!is_inside(key), other_name, strsim::damerau_levenshtein(unknown, key))
    })
}

/// Returns the variable of ours that a variable was meant to be; `None` if it is one, or nothing is near. Underscores
/// and case are where people go wrong, so they do not count.
pub(super) fn meant_variable<'a>(name: &str, keys: impl Iterator<Item = &'a str>) -> Option<String> {
    let letters = |name: &str| name.to_uppercase().replace('_', "");
    let own = letters(name);
    if OWN.contains(&name) || !own.starts_with("ECOM") {
        return None;
    }
    let known = keys.map(variable).chain(OWN.map(str::to_owned));
    let distance = |known: &String| strsim::damerau_levenshtein(&letters(known)[4..], &own[4..]);
    let nearest = known.min_by_key(distance)?;
    // A variable of another tool may be like one of ours, but hardly by chance.
    (distance(&nearest) * 5 <= own.len() - 4).then_some(nearest)
}

/// Returns true if one name is spelt almost like the other: a letter in four differs at most.
fn is_near(one: &str, other: &str) -> bool {
    strsim::damerau_levenshtein(one, other) * 4 <= one.len().max(other.len())
}

/// Returns the section of a key; empty if it has none.
pub(super) fn section(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(section, _)| section)
}

/// Returns the name of a key in its section.
pub(super) fn last_name(key: &str) -> &str {
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
        for far in ["foo", "consumer.nonsense", "", "store.cassandra.points"] {
            assert_eq!(nearest(far, KEYS.into_iter()), None, "{far}");
        }
    }

    #[test]
    fn a_variable_that_was_meant_to_be_ours_is_recognised_and_others_are_left_alone() {
        for (name, meant) in [
            ("ECOM_CONSUMER_STREAMS", "ECOM__CONSUMER__STREAMS"),
            ("ECOM_CONSUMER__STREAMS", "ECOM__CONSUMER__STREAMS"),
            ("ecom__consumer__streams", "ECOM__CONSUMER__STREAMS"),
            ("ECOM_CONSUMER_STEAMS", "ECOM__CONSUMER__STREAMS"),
            ("ECOM_STORE_CASSANDRA_CONTACT_POINT", "ECOM__STORE__CASSANDRA__CONTACT_POINTS"),
            ("ECOM_CONFG", "ECOM_CONFIG"),
            ("ECOM__CONFIG", "ECOM_CONFIG"),
        ] {
            assert_eq!(meant_variable(name, KEYS.into_iter()).as_deref(), Some(meant), "{name}");
        }
        for other in
            ["ECOM_CONFIG", "ECOM_ACTOR", "ECOM_SERVICE_HOST", "ECOM_PORT_80_TCP", "ECOM_HOME", "PATH"]
        {
            assert_eq!(meant_variable(other, KEYS.into_iter()), None, "{other}");
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
