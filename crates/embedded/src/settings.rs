//! `[embedded]`: the settings of bus and store in one SQLite file.

use std::path::PathBuf;
use std::time::Duration;

use ecom_config::Section;
use ecom_config::fields::{MINUTE, SECOND, duration, path, size};
use serde::Deserialize;

/// The settings of bus and store in one SQLite file. Its keys are listed in `config/default.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// Folder of the file, not empty, relative to the working directory; `data` by default.
    #[serde(deserialize_with = "path")]
    pub data_dir: PathBuf,
    /// Ack deadline of a delivery, extended while it is in progress, 1 s to 10 min; 30 s by default.
    #[serde(deserialize_with = "duration::<_, SECOND, { 10 * MINUTE }>")]
    pub ack_deadline: Duration,
    /// Maximum total size of the messages received by a subscription and not acked yet, at least 1 byte;
    /// 128 MiB by default. A larger message is received alone.
    #[serde(deserialize_with = "size")]
    pub intake_bytes: usize,
    /// Maximum total size of the messages of one publisher that are not in the file yet, at least 1 byte;
    /// 64 MiB by default. A larger message is published alone.
    #[serde(deserialize_with = "size")]
    pub publish_bytes: usize,
}

impl Section for EmbeddedSettings {}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ecom_config::{Config, Loaded, Sources, load};
    use serde::de::IgnoredAny;

    use super::*;

    type WithEmbedded = Config<IgnoredAny, IgnoredAny, EmbeddedSettings, IgnoredAny>;

    fn load_sets(sets: &[&str]) -> Result<Loaded<WithEmbedded>, String> {
        let sets = sets.iter().map(|set| set.parse().expect("section.key=value")).collect();
        load(&Sources { sets, ..Sources::default() }).map_err(|faults| faults.to_string())
    }

    #[test]
    fn the_folder_has_a_name_and_the_ack_deadline_a_range() {
        assert_eq!(load_sets(&[]).unwrap().config.embedded.data_dir, Path::new("data"));
        let shortest = load_sets(&["embedded.ack_deadline=1s"]).unwrap().config.embedded;
        assert_eq!(shortest.ack_deadline, Duration::from_secs(1));
        for (set, fault) in [
            ("embedded.data_dir=", "--set: embedded.data_dir must not be empty"),
            ("embedded.ack_deadline=11m", "--set: embedded.ack_deadline must be 1s to 10m, is \"11m\""),
        ] {
            assert_eq!(load_sets(&[set]).unwrap_err(), fault);
        }
    }
}
