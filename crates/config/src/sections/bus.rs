//! `[bus]`: the bus that events are published to and received from.

use serde::{Deserialize, Deserializer};

use super::super::checks::Checks;
use super::super::{fields, hosts};
use ecom_domain::dead_letter::EventKind;

/// The bus that events are published to and received from. `P` has the settings of Pub/Sub.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig<P> {
    /// The bus; embedded by default.
    pub kind: BusKind,
    /// The topics, all different.
    pub topics: TopicNames,
    /// The subscriptions, all different.
    pub subscriptions: SubscriptionNames,
    /// Settings of Pub/Sub; used if it is the bus.
    pub pubsub: P,
}

/// The kinds of bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// The SQLite file in the folder of `[embedded]`.
    Embedded,
    /// Google Pub/Sub, or its emulator.
    Pubsub,
}

/// Short names of the topics, by the rules of Pub/Sub: 3 to 255 characters.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicNames {
    /// Topic of order events; `orders_data` by default.
    #[serde(deserialize_with = "resource_name")]
    pub orders: String,
    /// Topic of payment events; `payments_data` by default.
    #[serde(deserialize_with = "resource_name")]
    pub payments: String,
    /// Topic of dead letters; `dlq_payments_data` by default.
    #[serde(deserialize_with = "resource_name")]
    pub dead_letters: String,
}

/// Short names of the subscriptions, by the rules of Pub/Sub: 3 to 255 characters.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionNames {
    /// Subscription of the order consumer; `orders_data-sub` by default.
    #[serde(deserialize_with = "resource_name")]
    pub orders: String,
    /// Subscription of the payment consumer; `payments_data-sub` by default.
    #[serde(deserialize_with = "resource_name")]
    pub payments: String,
    /// Subscription of the dead-letter handler; `dlq_payments_data-sub` by default.
    #[serde(deserialize_with = "resource_name")]
    pub dead_letters: String,
}

impl TopicNames {
    /// Returns the topic of events of this kind.
    pub fn of(&self, kind: EventKind) -> &str {
        match kind {
            EventKind::Order => &self.orders,
            EventKind::Payment => &self.payments,
        }
    }
}

impl SubscriptionNames {
    /// Returns the subscription of the consumer of events of this kind.
    pub fn of(&self, kind: EventKind) -> &str {
        match kind {
            EventKind::Order => &self.orders,
            EventKind::Payment => &self.payments,
        }
    }
}

impl<P> BusConfig<P> {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        let TopicNames { orders, payments, dead_letters } = &self.topics;
        differ(checks, "bus.topics", [orders, payments, dead_letters]);
        let SubscriptionNames { orders, payments, dead_letters } = &self.subscriptions;
        differ(checks, "bus.subscriptions", [orders, payments, dead_letters]);
    }
}

fn resource_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    fields::checked(deserializer, |text| hosts::resource(&text))
}

/// Notes a fault if two of the names are the same.
fn differ(checks: &mut Checks<'_>, section: &str, names: [&String; 3]) {
    let keys = ["orders", "payments", "dead_letters"].map(|name| format!("{section}.{name}"));
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        if names[one] == names[other] {
            // The one that is not the default is to blame.
            let (blamed, twin) = if checks.is_default(&keys[other]) { (one, other) } else { (other, one) };
            let why = format!("must not be the same as {}", keys[twin]);
            checks.fault(&[&keys[blamed], &keys[twin]], &why);
        }
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
    fn the_name_that_is_not_a_default_is_to_blame_in_any_order() {
        let faults = load_sets(&["bus.topics.orders=payments_data"]).unwrap_err();
        assert_eq!(faults, "--set: bus.topics.orders must not be the same as bus.topics.payments");
    }

    #[test]
    fn variables_of_other_tools_do_not_disturb_the_embedded_bus() {
        let left = [("PUBSUB_EMULATOR_HOST", "http://x"), ("GOOGLE_CLOUD_PROJECT", "My Project")];
        assert!(load_env(&left).is_ok());
    }
}
