//! The topics and subscriptions that the pipeline needs.

use std::time::Duration;

use crate::settings::PubsubSettings;

/// A topic and its subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscribedTopic {
    /// The short name of the topic.
    pub topic: String,
    /// The short name of the subscription.
    pub subscription: String,
}

impl SubscribedTopic {
    /// Creates the pair of a topic and its subscription `<topic>-sub`.
    pub fn new(topic: &str) -> Self {
        Self { topic: topic.to_owned(), subscription: format!("{topic}-sub") }
    }
}

/// The topics and subscriptions that the pipeline needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredTopics {
    /// Orders; default `orders_data`.
    pub orders: SubscribedTopic,
    /// Payments; default `payments_data`.
    pub payments: SubscribedTopic,
    /// Dead letters; default `dlq_payments_data`.
    pub dead_letters: SubscribedTopic,
    /// Topics beside those of the pipeline, with the settings of the orders topic.
    pub others: Vec<SubscribedTopic>,
    /// The ack deadline of the subscriptions, 10 to 600 s; default 60 s. Consumers ask for their own on each
    /// stream.
    pub ack_deadline: Duration,
    /// The message retention of the orders and payments subscriptions, at most 31 days; default 7 days. A
    /// message that is not acked within it is lost.
    pub retention: Duration,
    /// The message retention of the dead-letter subscription, at most 31 days; default 31 days.
    pub dead_letter_retention: Duration,
    /// True if the orders and payments subscriptions retain acked messages, so that they can be replayed by a
    /// seek; default false.
    pub retain_acked: bool,
}

impl Default for DesiredTopics {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            orders: SubscribedTopic::new("orders_data"),
            payments: SubscribedTopic::new("payments_data"),
            dead_letters: SubscribedTopic::new("dlq_payments_data"),
            others: Vec::new(),
            ack_deadline: Duration::from_secs(60),
            retention: Duration::from_secs(7 * DAY),
            dead_letter_retention: Duration::from_secs(31 * DAY),
            retain_acked: false,
        }
    }
}

/// A topic or subscription to create. Subscriptions are pull subscriptions and never expire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Resource {
    /// A topic.
    Topic {
        /// The short name.
        name: String,
    },
    /// A subscription.
    Subscription {
        /// The short name.
        name: String,
        /// The short name of its topic.
        topic: String,
        /// The ack deadline.
        ack_deadline: Duration,
        /// The message retention.
        retention: Duration,
        /// True if acked messages are retained.
        retain_acked: bool,
    },
}

impl Resource {
    /// Returns the short name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Topic { name } | Self::Subscription { name, .. } => name,
        }
    }
}

/// The maximum message retention of the emulator.
const EMULATOR_RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// Returns the topics and subscriptions in the order of creation. On the emulator, the retention is limited
/// to 7 days.
pub(super) fn resources(settings: &PubsubSettings, desired: &DesiredTopics) -> Vec<Resource> {
    let pair = |pair: &SubscribedTopic, retention: Duration, retain_acked| {
        let retention = match settings.emulator_host {
            Some(_) => retention.min(EMULATOR_RETENTION),
            None => retention,
        };
        [
            Resource::Topic { name: pair.topic.clone() },
            Resource::Subscription {
                name: pair.subscription.clone(),
                topic: pair.topic.clone(),
                ack_deadline: desired.ack_deadline,
                retention,
                retain_acked,
            },
        ]
    };
    let others = desired.others.iter().map(|other| pair(other, desired.retention, false));
    [
        pair(&desired.orders, desired.retention, desired.retain_acked),
        pair(&desired.payments, desired.retention, desired.retain_acked),
        pair(&desired.dead_letters, desired.dead_letter_retention, false),
    ]
    .into_iter()
    .chain(others)
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_come_before_their_subscriptions_and_dead_letters_are_retained_for_31_days() {
        let settings = PubsubSettings::new("shop");
        let planned = resources(&settings, &DesiredTopics::default());
        let names: Vec<_> = planned.iter().map(Resource::name).collect();
        assert_eq!(
            names,
            [
                "orders_data",
                "orders_data-sub",
                "payments_data",
                "payments_data-sub",
                "dlq_payments_data",
                "dlq_payments_data-sub"
            ]
        );
        let Resource::Subscription { retention, .. } = &planned[5] else { panic!("{:?}", planned[5]) };
        assert_eq!(retention.as_secs(), 31 * 86_400);
        let emulator = resources(&settings.on_emulator("127.0.0.1:8085"), &DesiredTopics::default());
        let Resource::Subscription { retention, .. } = &emulator[5] else { panic!("{:?}", emulator[5]) };
        assert_eq!(retention.as_secs(), 7 * 86_400, "the maximum of the emulator");
    }
}
