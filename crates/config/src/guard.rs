//! Refuses the embedded default if the environment says that another backend is meant.

use std::ffi::OsString;

use super::known::PREFIX;
use super::{Loaded, Origin, layers};

/// Variables of container platforms, whose folders do not last.
const HOST: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "K_SERVICE"];

/// Variables of Pub/Sub.
const BUS: [&str; 2] = ["PUBSUB_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"];

/// Embedded is only the default, and a variable says that another backend is meant.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{defaulted} is only the default, but {variable} is set")]
pub struct GuardError {
    /// `embedded`, or the one kind that is left to its default: `store.kind = "embedded"`.
    pub defaulted: String,
    /// The variable that says another backend is meant.
    pub variable: String,
    hint: String,
}

impl GuardError {
    /// Returns what to do.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

/// Checks that embedded is not just the default while the environment says that another backend is meant.
///
/// Bus and store are checked separately: a consumer that is given Pub/Sub but not its store must not fill a
/// folder of its container. `embedded_flag` is `--embedded`, which accepts the default.
///
/// # Errors
///
/// Names the setting and the variable that contradicts it.
pub fn guard<T>(
    loaded: &Loaded<T>,
    env: &[(String, OsString)],
    embedded_flag: bool,
) -> Result<(), GuardError> {
    if embedded_flag {
        return Ok(());
    }
    let is_defaulted = |key| {
        layers::find(&loaded.settings, key).is_some_and(|setting| {
            setting.origin == Origin::Default && setting.value.as_str() == Some("embedded")
        })
    };
    let bus = is_defaulted("bus.kind");
    let store = is_defaulted("store.kind");

    let is_set = |name: &str| env.iter().any(|(known, value)| known == name && !value.is_empty());
    let exact = |names: &[&str]| names.iter().find(|name| is_set(name)).map(|name| (*name).to_owned());
    let ours = |section: &str| {
        let prefix = format!("{PREFIX}{section}__");
        env.iter().map(|(name, _)| name).find(|name| name.starts_with(&prefix)).cloned()
    };
    let evidence = exact(if bus || store { &HOST } else { &[] })
        .or_else(|| exact(if bus { &BUS } else { &[] }))
        .or_else(|| bus.then(|| ours("BUS__PUBSUB")).flatten())
        .or_else(|| store.then(|| ours("STORE__CASSANDRA")).flatten());
    let Some(variable) = evidence else {
        return Ok(());
    };
    let half = |key: &str| GuardError {
        defaulted: format!("{key} = \"embedded\""),
        variable: variable.clone(),
        hint: format!("set {key} in the config file; to mean it: --set {key}=embedded"),
    };
    Err(match (bus, store) {
        (true, false) => half("bus.kind"),
        (false, true) => half("store.kind"),
        (true, true) | (false, false) => GuardError {
            defaulted: "embedded".to_owned(),
            variable,
            hint: "pass --config FILE or set ECOM_CONFIG; to mean it: --embedded".to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TestConfig, env, sets};
    use super::super::{Set, Sources, load};
    use super::*;

    fn guarded(pairs: &[(&str, &str)], sets: Vec<Set>, flag: bool) -> Result<(), String> {
        let sources = Sources { env: env(pairs), sets, ..Sources::default() };
        let loaded = load::<TestConfig>(&sources).unwrap();
        guard(&loaded, &sources.env, flag).map_err(|error| error.to_string())
    }

    #[test]
    fn each_variable_that_means_another_backend_trips_the_default() {
        for name in [
            "KUBERNETES_SERVICE_HOST",
            "K_SERVICE",
            "PUBSUB_EMULATOR_HOST",
            "GOOGLE_CLOUD_PROJECT",
            "ECOM__BUS__PUBSUB__EMULATOR_HOST",
            "ECOM__STORE__CASSANDRA__LOCAL_DATACENTER",
        ] {
            let refused = guarded(&[(name, "localhost")], vec![], false);
            assert_eq!(refused, Err(format!("embedded is only the default, but {name} is set")));
            assert_eq!(guarded(&[(name, "localhost")], vec![], true), Ok(()), "{name}");
            assert_eq!(guarded(&[(name, "localhost")], Set::embedded().to_vec(), false), Ok(()), "{name}");
            let keys = sets(&["bus.kind=embedded", "store.kind=embedded"]);
            assert_eq!(guarded(&[(name, "localhost")], keys, false), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_hint_says_both_ways_out() {
        let sources = Sources { env: env(&[("K_SERVICE", "consumer")]), ..Sources::default() };
        let error = guard(&load::<TestConfig>(&sources).unwrap(), &sources.env, false).unwrap_err();
        assert_eq!(error.hint(), "pass --config FILE or set ECOM_CONFIG; to mean it: --embedded");
    }

    #[test]
    fn nothing_is_refused_where_nothing_speaks_against_it() {
        let harmless =
            [("RUST_LOG", "debug"), ("PUBSUB_EMULATOR_HOST", ""), ("ECOM__CONSUMER__STREAMS", "2")];
        assert_eq!(guarded(&harmless, vec![], false), Ok(()));
    }

    #[test]
    fn a_half_that_was_forgotten_is_refused_by_what_speaks_against_it() {
        let pubsub = || sets(&["bus.kind=pubsub"]);
        let project = ("GOOGLE_CLOUD_PROJECT", "p");
        assert_eq!(guarded(&[project], pubsub(), false), Ok(()));
        let refused = guarded(&[project, ("K_SERVICE", "x")], pubsub(), false).unwrap_err();
        assert_eq!(refused, "store.kind = \"embedded\" is only the default, but K_SERVICE is set");
        let cassandra = sets(&["store.kind=cassandra"]);
        let refused = guarded(&[project], cassandra, false).unwrap_err();
        assert_eq!(refused, "bus.kind = \"embedded\" is only the default, but GOOGLE_CLOUD_PROJECT is set");
    }

    #[test]
    fn a_file_that_chooses_passes() {
        let sources = Sources {
            files: vec!["../../config/local.toml".into()],
            env: env(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]),
            ..Sources::default()
        };
        assert_eq!(guard(&load::<TestConfig>(&sources).unwrap(), &sources.env, false), Ok(()));
    }
}
