//! `[bus]`: where events are published and received.

use std::time::Duration;

use super::super::hosts;
use super::super::reader::Reader;
use ecom_domain::dead_letter::EventKind;

/// Which bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BusKind {
    /// In the folder of `[embedded]`.
    Embedded,
    /// Google Pub/Sub, or its emulator.
    Pubsub,
}

/// Where events are published and received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BusConfig {
    /// Which bus.
    pub kind: BusKind,
    /// What is published to.
    pub topics: Names,
    /// What is received from.
    pub subscriptions: Names,
    /// How Pub/Sub is reached; meaningful where it is the bus.
    pub pubsub: PubsubConfig,
}

/// Short names of topics or subscriptions, no two the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    /// Of order events.
    pub orders: String,
    /// Of payment events.
    pub payments: String,
    /// Of dead letters.
    pub dead_letters: String,
}

impl Names {
    /// The one for events of this kind.
    pub fn of(&self, kind: EventKind) -> &str {
        match kind {
            EventKind::Order => &self.orders,
            EventKind::Payment => &self.payments,
        }
    }
}

/// How Pub/Sub is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PubsubConfig {
    /// The project's id; not empty where Pub/Sub is the bus.
    pub project: String,
    /// The emulator as `host:port`; `None` = the real service.
    pub emulator_host: Option<String>,
    /// How long a lease lasts without renewal, 10 s to 10 min.
    pub ack_deadline: Duration,
    /// Rebuild a stream that was silent for this long; `None` = never, as on the emulator.
    pub stream_idle_rotation: Option<Duration>,
}

impl BusConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let kind = reader.choice("bus.kind", &[("embedded", BusKind::Embedded), ("pubsub", BusKind::Pubsub)]);
        let topics = Names::read(reader, "bus.topics");
        let subscriptions = Names::read(reader, "bus.subscriptions");
        let pubsub = PubsubConfig::read(reader, kind == Some(BusKind::Pubsub));
        Some(Self { kind: kind?, topics: topics?, subscriptions: subscriptions?, pubsub: pubsub? })
    }
}

impl Names {
    fn read(reader: &mut Reader<'_>, section: &str) -> Option<Self> {
        let keys = ["orders", "payments", "dead_letters"].map(|name| format!("{section}.{name}"));
        let names = keys.each_ref().map(|key| reader.parsed(key, hosts::resource));
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            if names[one].is_some() && names[one] == names[other] {
                // Blame the one that somebody set.
                let (blamed, twin) =
                    if reader.is_default(&keys[other]) { (one, other) } else { (other, one) };
                reader.fault(&keys[blamed], &format!("must not be the same as {}", keys[twin]));
            }
        }
        let [orders, payments, dead_letters] = names;
        Some(Self { orders: orders?, payments: payments?, dead_letters: dead_letters? })
    }
}

impl PubsubConfig {
    /// Where Pub/Sub is not the bus, project and emulator may be whatever other tools left in their variables.
    fn read(reader: &mut Reader<'_>, chosen: bool) -> Option<Self> {
        let project = reader.parsed("bus.pubsub.project", |text| {
            if chosen { hosts::project(text) } else { Ok(text.to_owned()) }
        });
        if chosen && project.as_deref() == Some("") {
            reader.missing("bus.pubsub.project", "bus.kind");
        }
        let emulator_host = reader.parsed("bus.pubsub.emulator_host", |text| match text {
            "" => Ok(None),
            text if chosen => hosts::host_and_port(text).map(Some),
            text => Ok(Some(text.to_owned())),
        });
        // Pub/Sub's own bounds of an acknowledgement deadline.
        let ack_deadline =
            reader.duration("bus.pubsub.ack_deadline", Duration::from_secs(10)..=Duration::from_mins(10));
        let rotation = reader.duration_or_off(
            "bus.pubsub.stream_idle_rotation",
            Duration::from_secs(1)..=Duration::from_hours(24),
        );
        let emulator_host = emulator_host?;
        Some(Self {
            project: project?,
            ack_deadline: ack_deadline?,
            stream_idle_rotation: rotation?.filter(|_| emulator_host.is_none()),
            emulator_host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{load_env, load_sets};

    #[test]
    fn two_topics_must_not_be_one() {
        let faults = load_sets(&["bus.topics.payments=orders_data"]).unwrap_err();
        assert_eq!(faults, "--set: bus.topics.payments must not be the same as bus.topics.orders");
    }

    #[test]
    fn two_names_changed_into_one_are_found_whoever_comes_first() {
        let faults = load_sets(&["bus.topics.orders=payments_data"]).unwrap_err();
        assert_eq!(faults, "--set: bus.topics.orders must not be the same as bus.topics.payments");
    }

    #[test]
    fn pubsub_needs_a_project() {
        let faults = load_sets(&["bus.kind=pubsub"]).unwrap_err();
        assert_eq!(faults, "bus.pubsub.project is required because bus.kind is \"pubsub\"");
    }

    #[test]
    fn an_emulator_may_be_anywhere_and_has_no_scheme() {
        let with = |set| load_sets(&["bus.kind=pubsub", "bus.pubsub.project=p", set]);
        assert!(with("bus.pubsub.emulator_host=pubsub.test.internal:8085").is_ok());
        let faults = with("bus.pubsub.emulator_host=http://localhost:8085").unwrap_err();
        assert!(faults.contains("emulator_host must be host:port without \"http://\""), "{faults}");
    }

    #[test]
    fn what_other_tools_left_behind_does_not_stop_the_embedded_bus() {
        let left = [("PUBSUB_EMULATOR_HOST", "http://x"), ("GOOGLE_CLOUD_PROJECT", "My Project")];
        assert!(load_env(&left).is_ok());
    }
}
