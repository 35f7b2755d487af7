//! `[bus.pubsub]`: the settings of Pub/Sub.

use std::time::Duration;

use ecom_config::fields::{DAY, MINUTE, SECOND, duration, duration_or_off, none_if_empty, size};
use ecom_config::{Checks, Section, hosts};
use serde::Deserialize;

/// The settings of Pub/Sub. The configuration keys are listed in `config/default.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PubsubSettings {
    /// Id of the Google Cloud project; empty by default, required if Pub/Sub is the bus.
    pub project: String,
    /// Address of an emulator, `host:port`, which needs no credentials; `None` (the default) uses the
    /// service with application default credentials.
    #[serde(deserialize_with = "none_if_empty")]
    pub emulator_host: Option<String>,
    /// Ack deadline of a delivery, extended while it is in progress, 10 s to 10 min (the bounds of Pub/Sub);
    /// 60 s by default.
    #[serde(deserialize_with = "duration::<_, { 10 * SECOND }, { 10 * MINUTE }>")]
    pub ack_deadline: Duration,
    /// Silence after which a stream is rebuilt, 1 s to 1 d, 120 s by default; `None` = never, as on an
    /// emulator.
    #[serde(deserialize_with = "duration_or_off::<_, SECOND, DAY>")]
    pub stream_idle_rotation: Option<Duration>,
    /// Maximum total size of the messages received by a subscription and not acked yet, at least 1 byte;
    /// 128 MiB by default. A larger message is received alone.
    #[serde(deserialize_with = "size")]
    pub intake_bytes: usize,
    /// Maximum total size of the messages of one publisher without an acknowledgement, at least 1 byte; 64 MiB
    /// by default. A larger message is published alone.
    #[serde(deserialize_with = "size")]
    pub publish_bytes: usize,
    /// Timeout of the check that [`connect`](super::Pubsub::connect) makes; 5 s, not a configuration key.
    #[serde(skip, default = "connect_timeout")]
    pub connect_timeout: Duration,
    /// Timeout of an administrative call; 10 s, not a configuration key.
    #[serde(skip, default = "rpc_timeout")]
    pub rpc_timeout: Duration,
    /// Time limit of a batch, retries included, after which its publishes fail; 20 s, not a
    /// configuration key.
    #[serde(skip, default = "publish_timeout")]
    pub publish_timeout: Duration,
}

const fn connect_timeout() -> Duration {
    Duration::from_secs(5)
}

const fn rpc_timeout() -> Duration {
    Duration::from_secs(10)
}

const fn publish_timeout() -> Duration {
    Duration::from_secs(20)
}

impl Section for PubsubSettings {
    /// Variables of other tools may set project and emulator to anything if Pub/Sub is not the bus.
    fn check(&mut self, checks: &mut Checks<'_>) {
        if checks.is("bus.kind", "pubsub") {
            if self.project.is_empty() {
                checks.missing("bus.pubsub.project", "bus.kind");
            }
            checks.rule("bus.pubsub.project", is_project(&self.project));
            if let Some(host) = &self.emulator_host {
                checks.rule("bus.pubsub.emulator_host", hosts::host_and_port(host).map(drop));
            }
        }
        if self.emulator_host.is_some() {
            self.stream_idle_rotation = None;
        }
    }
}

impl PubsubSettings {
    /// Returns the defaults for a project on the service.
    pub fn new(project: impl Into<String>) -> Self {
        Self { project: project.into(), ..ecom_config::defaults("bus.pubsub") }
    }

    /// Returns the settings for the same project on an emulator.
    pub fn on_emulator(self, host: impl Into<String>) -> Self {
        Self { emulator_host: Some(host.into()), stream_idle_rotation: None, ..self }
    }

    pub(super) fn endpoint(&self) -> Option<String> {
        self.emulator_host.as_deref().map(|host| format!("http://{}", without_scheme(host)))
    }

    pub(super) fn describe(&self) -> String {
        match &self.emulator_host {
            Some(host) => format!("Pub/Sub emulator at {}, project {}", without_scheme(host), self.project),
            None => format!("Pub/Sub, project {}", self.project),
        }
    }

    pub(super) fn topic_name(&self, topic: &str) -> String {
        self.full_name("topics", topic)
    }

    pub(super) fn subscription_name(&self, subscription: &str) -> String {
        self.full_name("subscriptions", subscription)
    }

    /// Full names are taken as they are, so that a topic may belong to another project.
    fn full_name(&self, collection: &str, name: &str) -> String {
        if name.starts_with("projects/") {
            name.to_owned()
        } else {
            format!("projects/{}/{collection}/{name}", self.project)
        }
    }
}

/// `PUBSUB_EMULATOR_HOST` is used with and without a scheme.
fn without_scheme(host: &str) -> &str {
    host.trim_start_matches("http://").trim_end_matches('/')
}

/// Accepts ids that are shorter than Google's, as the emulator does.
fn is_project(text: &str) -> Result<(), String> {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)) {
        return Ok(());
    }
    Err(format!("must be a project id (neither its path nor its display name), is \"{text}\""))
}

#[cfg(test)]
mod tests {
    use ecom_config::{Config, Loaded, Sources, load};
    use serde::de::IgnoredAny;

    use super::*;

    type WithPubsub = Config<PubsubSettings, IgnoredAny, IgnoredAny, IgnoredAny>;

    fn load_sets(sets: &[&str]) -> Result<Loaded<WithPubsub>, String> {
        let sets = sets.iter().map(|set| set.parse().expect("section.key=value")).collect();
        load(&Sources { sets, ..Sources::default() }).map_err(|faults| faults.to_string())
    }

    #[test]
    fn the_service_is_named_by_its_project_and_the_emulator_by_its_host_too() {
        let service = PubsubSettings::new("shop");
        assert_eq!(service.describe(), "Pub/Sub, project shop");
        assert_eq!(service.endpoint(), None);
        let emulator = service.on_emulator("http://127.0.0.1:8085/");
        assert_eq!(emulator.describe(), "Pub/Sub emulator at 127.0.0.1:8085, project shop");
        assert_eq!(emulator.endpoint().as_deref(), Some("http://127.0.0.1:8085"));
    }

    #[test]
    fn short_names_belong_to_the_project_and_full_names_stay_as_they_are() {
        let settings = PubsubSettings::new("shop");
        assert_eq!(settings.topic_name("orders_data"), "projects/shop/topics/orders_data");
        assert_eq!(
            settings.subscription_name("orders_data-sub"),
            "projects/shop/subscriptions/orders_data-sub"
        );
        assert_eq!(settings.topic_name("projects/other/topics/t"), "projects/other/topics/t");
    }

    #[test]
    fn pubsub_needs_a_project() {
        let faults = load_sets(&["bus.kind=pubsub"]).unwrap_err();
        assert_eq!(faults, "bus.pubsub.project is required because bus.kind is \"pubsub\"");
    }

    #[test]
    fn a_project_is_named_by_its_id() {
        assert!(is_project("example.com:my-project").is_ok());
        assert!(is_project("projects/x").is_err());
        let faults = load_sets(&["bus.kind=pubsub", "bus.pubsub.project=My Project"]).unwrap_err();
        assert!(faults.starts_with("--set: bus.pubsub.project must be a project id"), "{faults}");
    }

    #[test]
    fn an_emulator_may_be_anywhere_and_has_no_scheme() {
        let with = |set| load_sets(&["bus.kind=pubsub", "bus.pubsub.project=p", set]);
        assert!(with("bus.pubsub.emulator_host=pubsub.test.internal:8085").is_ok());
        let faults = with("bus.pubsub.emulator_host=http://localhost:8085").unwrap_err();
        assert!(faults.contains("emulator_host must be host:port without \"http://\""), "{faults}");
    }

    #[test]
    fn variables_of_other_tools_do_not_disturb_the_embedded_bus() {
        let left = [("PUBSUB_EMULATOR_HOST", "http://x"), ("GOOGLE_CLOUD_PROJECT", "My Project")];
        let env = left.map(|(name, value)| (name.to_owned(), value.into())).to_vec();
        assert!(load::<WithPubsub>(&Sources { env, ..Sources::default() }).is_ok());
    }

    #[test]
    fn a_stream_of_the_emulator_is_never_rotated() {
        let pubsub = |sets: &[&str]| load_sets(sets).unwrap().config.bus.pubsub;
        assert_eq!(pubsub(&[]).stream_idle_rotation, Some(Duration::from_secs(120)));
        assert_eq!(pubsub(&["bus.pubsub.stream_idle_rotation=0s"]).stream_idle_rotation, None);
        let on_emulator = pubsub(&["bus.pubsub.emulator_host=h:1"]);
        assert_eq!(on_emulator.emulator_host.as_deref(), Some("h:1"));
        assert_eq!(on_emulator.stream_idle_rotation, None);
    }

    #[test]
    fn the_ack_deadline_has_the_bounds_of_pubsub() {
        let pubsub = load_sets(&["bus.pubsub.ack_deadline=1m 30s"]).unwrap().config.bus.pubsub;
        assert_eq!(pubsub.ack_deadline, Duration::from_secs(90));
        for (set, why) in [
            ("bus.pubsub.ack_deadline=5s", "must be 10s to 10m, is \"5s\""),
            ("bus.pubsub.ack_deadline=601s", "must be 10s to 10m"),
        ] {
            let faults = load_sets(&[set]).unwrap_err();
            assert!(faults.contains(why), "{faults}");
        }
    }
}
