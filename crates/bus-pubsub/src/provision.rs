//! Topics and subscriptions: what is wanted, what is there, what to do about it.

use std::time::Duration;

use google_cloud_pubsub::model::{ExpirationPolicy, Subscription as Found};
use google_cloud_wkt::Duration as Span;

use super::connect::PubsubSettings;
use super::failure::{Failure, told};
use super::{Pubsub, gcloud};
use ecom_bus::BusError;

/// A topic and the subscription that keeps what is published there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// The topic's short name.
    pub topic: String,
    /// The subscription's short name.
    pub subscription: String,
}

impl Pair {
    /// The topic with its subscription `<topic>-sub`.
    pub fn of(topic: &str) -> Self {
        Self { topic: topic.to_owned(), subscription: format!("{topic}-sub") }
    }
}

/// What the pipeline needs on Pub/Sub.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Orders.
    pub orders: Pair,
    /// Payments.
    pub payments: Pair,
    /// Dead letters.
    pub dead_letters: Pair,
    /// The subscriptions' own ack deadline, 10 to 600 s.
    pub ack_deadline: Duration,
    /// How long the source subscriptions keep what was not acked; at most 31 days.
    pub retention: Duration,
    /// How long the dead-letter subscription does.
    pub dead_letter_retention: Duration,
    /// Whether the source subscriptions keep what was acked, too, so that they can be sought back.
    pub retain_acked: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            orders: Pair::of("orders_data"),
            payments: Pair::of("payments_data"),
            dead_letters: Pair::of("dlq_payments_data"),
            ack_deadline: Duration::from_secs(60),
            retention: Duration::from_secs(7 * DAY),
            dead_letter_retention: Duration::from_secs(31 * DAY),
            retain_acked: false,
        }
    }
}

/// One thing to create. Subscriptions never expire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resource {
    /// A topic.
    Topic {
        /// Its short name.
        name: String,
    },
    /// A pull subscription.
    Subscription {
        /// Its short name.
        name: String,
        /// Its topic's short name.
        topic: String,
        /// Its own ack deadline.
        ack_deadline: Duration,
        /// How long it keeps what was not acked.
        retention: Duration,
        /// Whether it keeps what was acked, too.
        retain_acked: bool,
    },
}

impl Resource {
    /// The short name.
    pub fn name(&self) -> &str {
        match self {
            Self::Topic { name } | Self::Subscription { name, .. } => name,
        }
    }
}

/// The emulator refuses more.
const EMULATOR_RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// What is wanted, in the order of creation; on the emulator within its smaller bounds.
pub fn plan(settings: &PubsubSettings, wanted: &Wanted) -> Vec<Resource> {
    let pair = |pair: &Pair, retention: Duration, retain_acked| {
        let retention = match settings.emulator_host {
            Some(_) => retention.min(EMULATOR_RETENTION),
            None => retention,
        };
        [
            Resource::Topic { name: pair.topic.clone() },
            Resource::Subscription {
                name: pair.subscription.clone(),
                topic: pair.topic.clone(),
                ack_deadline: wanted.ack_deadline,
                retention,
                retain_acked,
            },
        ]
    };
    [
        pair(&wanted.orders, wanted.retention, wanted.retain_acked),
        pair(&wanted.payments, wanted.retention, wanted.retain_acked),
        pair(&wanted.dead_letters, wanted.dead_letter_retention, false),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One line of the checklist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The full name.
    pub name: String,
    /// What was found or done.
    pub state: State,
    /// A command that mends it and runs as it stands; empty where nothing is to be done.
    pub fix: String,
}

/// The state of one topic or subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It is there, and as it should be.
    Present,
    /// It was missing and has been created.
    Created,
    /// It is missing.
    Missing,
    /// This identity may not look, or may not create it: why.
    Unknown(String),
    /// It is there, and differs in a way that can lose or withhold messages: how.
    Different(String),
}

impl State {
    /// Whether the pipeline can work with it.
    pub fn is_good(&self) -> bool {
        match self {
            Self::Present | Self::Created => true,
            Self::Missing | Self::Unknown(_) | Self::Different(_) => false,
        }
    }
}

/// Looks at everything wanted and changes nothing.
///
/// # Errors
/// `Unavailable` or `Refused` where the service cannot be asked at all.
pub async fn check(bus: &Pubsub, wanted: &Wanted) -> Result<Vec<Item>, BusError> {
    let mut items = Vec::new();
    for resource in plan(&bus.access.settings, wanted) {
        items.push(look(bus, &resource).await?);
    }
    Ok(items)
}

/// Creates what is missing and leaves alone what is there; running it twice changes nothing more.
///
/// # Errors
/// As [`check`].
pub async fn apply(bus: &Pubsub, wanted: &Wanted) -> Result<Vec<Item>, BusError> {
    let mut items = Vec::new();
    for resource in plan(&bus.access.settings, wanted) {
        let found = look(bus, &resource).await?;
        let item = match found.state {
            State::Missing | State::Unknown(_) => create(bus, &resource, found).await?,
            State::Present | State::Created | State::Different(_) => found,
        };
        items.push(item);
    }
    Ok(items)
}

async fn look(bus: &Pubsub, resource: &Resource) -> Result<Item, BusError> {
    let settings = &bus.access.settings;
    let name = full_name(settings, resource);
    let found = match resource {
        Resource::Topic { .. } => bus.topics.get_topic().set_topic(&name).send().await.map(|_| None),
        Resource::Subscription { .. } => {
            bus.subscriptions.get_subscription().set_subscription(&name).send().await.map(Some)
        }
    };
    match found {
        Ok(None) => Ok(Item { name, state: State::Present, fix: String::new() }),
        Ok(Some(found)) => Ok(compare(settings, resource, &found)),
        Err(error) => {
            let state = match Failure::of(&error) {
                Failure::Missing => State::Missing,
                Failure::Denied => State::Unknown(told(&error)),
                Failure::Refused | Failure::Outage => {
                    return Err(bus.access.error(format!("look up {name}"), None, error));
                }
            };
            Ok(Item { name, state, fix: gcloud::create(settings, resource) })
        }
    }
}

async fn create(bus: &Pubsub, resource: &Resource, found: Item) -> Result<Item, BusError> {
    let done = match resource {
        Resource::Topic { .. } => bus.topics.create_topic().set_name(&found.name).send().await.map(|_| ()),
        Resource::Subscription { topic, ack_deadline, retention, retain_acked, .. } => bus
            .subscriptions
            .create_subscription()
            .set_name(&found.name)
            .set_topic(bus.access.topic_name(topic))
            .set_ack_deadline_seconds(i32::try_from(ack_deadline.as_secs()).unwrap_or(i32::MAX))
            .set_message_retention_duration(seconds(*retention))
            .set_retain_acked_messages(*retain_acked)
            .set_expiration_policy(ExpirationPolicy::new())
            .send()
            .await
            .map(|_| ()),
    };
    let Err(error) = done else {
        return Ok(Item { state: State::Created, fix: String::new(), ..found });
    };
    if already_exists(&error) {
        // Somebody was faster, or it may be created but not looked at.
        return match found.state {
            State::Unknown(_) => Ok(Item { state: State::Present, fix: String::new(), ..found }),
            _ => look(bus, resource).await,
        };
    }
    match Failure::of(&error) {
        Failure::Denied | Failure::Missing => Ok(Item { state: State::Unknown(told(&error)), ..found }),
        Failure::Refused | Failure::Outage => {
            Err(bus.access.error(format!("create {}", found.name), None, error))
        }
    }
}

fn already_exists(error: &google_cloud_pubsub::Error) -> bool {
    error.status().is_some_and(|status| status.code == google_cloud_gax::error::rpc::Code::AlreadyExists)
}

/// What is wrong with a subscription that exists: only what can lose or withhold messages.
fn compare(settings: &PubsubSettings, wanted: &Resource, found: &Found) -> Item {
    let name = full_name(settings, wanted);
    let Resource::Subscription { name: short, topic, retention, retain_acked, .. } = wanted else {
        return Item { name, state: State::Present, fix: String::new() };
    };
    let unchangeable = unchangeable(&settings.topic_name(topic), found);
    if !unchangeable.is_empty() {
        let what = format!("{}; replacing it drops its backlog", unchangeable.join(", "));
        return Item { name, state: State::Different(what), fix: gcloud::recreate(settings, wanted) };
    }
    let mut what = Vec::new();
    let mut flags = Vec::new();
    let kept = found.message_retention_duration.map_or(0, |kept| kept.seconds());
    if kept != 0 && kept < seconds(*retention).seconds() {
        let kept = Duration::from_secs(kept.unsigned_abs());
        what.push(format!("keeps messages for {} only", gcloud::span(kept)));
        flags.push(format!("--message-retention-duration={}", gcloud::span(*retention)));
    }
    if let Some(ttl) = found.expiration_policy.as_ref().and_then(|policy| policy.ttl) {
        let ttl = Duration::from_secs(ttl.seconds().unsigned_abs());
        what.push(format!("expires after {} without use", gcloud::span(ttl)));
        flags.push("--expiration-period=never".to_owned());
    }
    if *retain_acked && !found.retain_acked_messages {
        what.push("drops what was acked".to_owned());
        flags.push("--retain-acked-messages".to_owned());
    }
    if found.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty()) {
        what.push("pushes instead of being pulled".to_owned());
        flags.push("--push-endpoint=".to_owned());
    }
    if found.dead_letter_policy.as_ref().is_some_and(|policy| policy.max_delivery_attempts < 100) {
        what.push("has a dead-letter policy of its own with fewer than 100 attempts".to_owned());
        flags.push("--clear-dead-letter-policy".to_owned());
    }
    if what.is_empty() {
        return Item { name, state: State::Present, fix: String::new() };
    }
    Item { name, state: State::Different(what.join(", ")), fix: gcloud::update(settings, short, &flags) }
}

fn unchangeable(topic: &str, found: &Found) -> Vec<String> {
    let mut what = Vec::new();
    if found.topic == "_deleted-topic_" {
        what.push("its topic was deleted".to_owned());
    } else if found.topic != topic {
        what.push(format!("receives from {}", found.topic));
    }
    if found.detached {
        what.push("is detached".to_owned());
    }
    if !found.filter.is_empty() {
        what.push(format!("filters by {}", found.filter));
    }
    if found.bigquery_config.is_some()
        || found.cloud_storage_config.is_some()
        || found.bigtable_config.is_some()
    {
        what.push("writes to storage instead of being pulled".to_owned());
    }
    what
}

fn full_name(settings: &PubsubSettings, resource: &Resource) -> String {
    match resource {
        Resource::Topic { name } => settings.topic_name(name),
        Resource::Subscription { name, .. } => settings.subscription_name(name),
    }
}

fn seconds(duration: Duration) -> Span {
    Span::clamp(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), 0)
}

#[cfg(test)]
mod tests {
    use google_cloud_pubsub::model::PushConfig;

    use super::*;

    fn settings() -> PubsubSettings {
        PubsubSettings::new("shop")
    }

    fn wanted() -> Resource {
        plan(&settings(), &Wanted::default()).remove(1)
    }

    fn good() -> Found {
        Found::new()
            .set_topic("projects/shop/topics/orders_data")
            .set_message_retention_duration(seconds(Duration::from_secs(7 * 86_400)))
            .set_expiration_policy(ExpirationPolicy::new())
    }

    #[test]
    fn topics_come_before_their_subscriptions_and_dead_letters_are_kept_a_month() {
        let plan = plan(&settings(), &Wanted::default());
        let names: Vec<_> = plan.iter().map(Resource::name).collect();
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
        let Resource::Subscription { retention, .. } = &plan[5] else { panic!("{:?}", plan[5]) };
        assert_eq!(retention.as_secs(), 31 * 86_400);
        let emulator = super::plan(&settings().on_emulator("127.0.0.1:8085"), &Wanted::default());
        let Resource::Subscription { retention, .. } = &emulator[5] else { panic!("{:?}", emulator[5]) };
        assert_eq!(retention.as_secs(), 7 * 86_400, "the emulator refuses more");
    }

    #[test]
    fn a_subscription_that_is_better_than_wanted_is_present() {
        assert_eq!(compare(&settings(), &wanted(), &good()).state, State::Present);
        let better = good()
            .set_message_retention_duration(seconds(Duration::from_secs(31 * 86_400)))
            .set_retain_acked_messages(true)
            .set_ack_deadline_seconds(600);
        assert_eq!(compare(&settings(), &wanted(), &better).state, State::Present);
    }

    #[test]
    fn what_can_be_changed_in_place_is_one_update() {
        let worse = good()
            .set_message_retention_duration(seconds(Duration::from_secs(600)))
            .set_expiration_policy(ExpirationPolicy::new().set_ttl(seconds(Duration::from_secs(86_400))))
            .set_push_config(PushConfig::new().set_push_endpoint("https://x"));
        let item = compare(&settings(), &wanted(), &worse);
        assert_eq!(
            item.state,
            State::Different(
                "keeps messages for 600s only, expires after 1d without use, pushes instead of being pulled"
                    .to_owned()
            )
        );
        assert_eq!(
            item.fix,
            "gcloud pubsub subscriptions update orders_data-sub --message-retention-duration=7d \
             --expiration-period=never --push-endpoint= --project=shop"
        );
    }

    #[test]
    fn what_cannot_be_changed_is_replaced_and_the_price_is_said() {
        for (found, why) in [
            (good().set_topic("_deleted-topic_"), "its topic was deleted"),
            (good().set_topic("projects/shop/topics/other"), "receives from projects/shop/topics/other"),
            (good().set_detached(true), "is detached"),
            (good().set_filter("attributes:x"), "filters by attributes:x"),
        ] {
            let item = compare(&settings(), &wanted(), &found);
            assert_eq!(item.state, State::Different(format!("{why}; replacing it drops its backlog")));
            assert!(item.fix.starts_with("gcloud pubsub subscriptions delete orders_data-sub --project=shop && gcloud pubsub subscriptions create orders_data-sub --topic=orders_data "), "{}", item.fix);
        }
    }
}
