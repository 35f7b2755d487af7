//! Checks and creates topics and subscriptions.

use std::time::Duration;

use google_cloud_pubsub::model::{ExpirationPolicy, Subscription};

use crate::error::{ErrorClass, root_cause};
use crate::gcloud::{self, BusUse};
use crate::pubsub::Pubsub;
use crate::resources::{DesiredTopics, Resource, resources};
use crate::settings::PubsubSettings;
use ecom_bus::BusError;

/// The result of checking or creating one topic or subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResourceCheck {
    /// The full name.
    pub name: String,
    /// The state that was found or reached.
    pub status: ResourceStatus,
    /// A shell command that fixes it, ready to run; empty if there is nothing to fix.
    pub fix: String,
}

/// The state of a topic or subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResourceStatus {
    /// It exists and meets the requirements.
    Present,
    /// It was missing and has been created.
    Created,
    /// It is missing.
    Missing,
    /// This identity has no permission to look it up or to create it. With the cause.
    Unknown(String),
    /// It exists, but messages can be lost or withheld. With the differences.
    Different(String),
}

impl ResourceStatus {
    /// Returns whether the pipeline can use it.
    pub fn is_good(&self) -> bool {
        match self {
            Self::Present | Self::Created => true,
            Self::Missing | Self::Unknown(_) | Self::Different(_) => false,
        }
    }
}

/// Checks the topics and subscriptions that a binary uses, or all of them, and changes nothing. The identity of a binary may
/// look up only its own.
///
/// # Errors
/// `Unavailable` or `Refused` if the service does not answer. A missing permission is a [`ResourceStatus`].
pub async fn check(
    bus: &Pubsub,
    desired: &DesiredTopics,
    used: Option<&BusUse<'_>>,
) -> Result<Vec<ResourceCheck>, BusError> {
    let is_used = |resource: &Resource| {
        used.is_none_or(|used| match resource {
            Resource::Topic { name } => used.publishes.contains(&name.as_str()),
            Resource::Subscription { name, .. } => used.receives.contains(&name.as_str()),
        })
    };
    let mut checks = Vec::new();
    for resource in resources(&bus.clients.settings, desired).iter().filter(|resource| is_used(resource)) {
        checks.push(look_up(bus, resource).await?);
    }
    Ok(checks)
}

/// Creates the missing topics and subscriptions. Existing ones are never changed, so it is idempotent.
///
/// # Errors
/// As [`check`].
pub async fn apply(bus: &Pubsub, desired: &DesiredTopics) -> Result<Vec<ResourceCheck>, BusError> {
    let mut checks = Vec::new();
    for resource in resources(&bus.clients.settings, desired) {
        let found = look_up(bus, &resource).await?;
        let check = match found.status {
            ResourceStatus::Missing | ResourceStatus::Unknown(_) => create(bus, &resource, found).await?,
            ResourceStatus::Present | ResourceStatus::Created | ResourceStatus::Different(_) => found,
        };
        checks.push(check);
    }
    Ok(checks)
}

async fn look_up(bus: &Pubsub, resource: &Resource) -> Result<ResourceCheck, BusError> {
    let settings = &bus.clients.settings;
    let name = full_name(settings, resource);
    let found = match resource {
        Resource::Topic { .. } => bus.topics.get_topic().set_topic(&name).send().await.map(|_| None),
        Resource::Subscription { .. } => {
            bus.subscriptions.get_subscription().set_subscription(&name).send().await.map(Some)
        }
    };
    match found {
        Ok(None) => Ok(ResourceCheck { name, status: ResourceStatus::Present, fix: String::new() }),
        Ok(Some(found)) => Ok(compare(settings, resource, &found)),
        Err(error) => {
            let status = match ErrorClass::of(&error) {
                ErrorClass::Missing => ResourceStatus::Missing,
                ErrorClass::Denied => ResourceStatus::Unknown(root_cause(&error)),
                ErrorClass::Refused | ErrorClass::Outage => {
                    return Err(bus.clients.error(format!("look up {name}"), None, error));
                }
            };
            Ok(ResourceCheck { name, status, fix: gcloud::create(settings, resource) })
        }
    }
}

async fn create(bus: &Pubsub, resource: &Resource, found: ResourceCheck) -> Result<ResourceCheck, BusError> {
    let done = match resource {
        Resource::Topic { .. } => bus.topics.create_topic().set_name(&found.name).send().await.map(|_| ()),
        Resource::Subscription { topic, ack_deadline, retention, retain_acked, .. } => bus
            .subscriptions
            .create_subscription()
            .set_name(&found.name)
            .set_topic(bus.clients.topic_name(topic))
            .set_ack_deadline_seconds(i32::try_from(ack_deadline.as_secs()).unwrap_or(i32::MAX))
            .set_message_retention_duration(seconds(*retention))
            .set_retain_acked_messages(*retain_acked)
            .set_expiration_policy(ExpirationPolicy::new())
            .send()
            .await
            .map(|_| ()),
    };
    let Err(error) = done else {
        return Ok(ResourceCheck { status: ResourceStatus::Created, fix: String::new(), ..found });
    };
    if already_exists(&error) {
        // It was created meanwhile, or this identity may create but not look up.
        return match found.status {
            ResourceStatus::Unknown(_) => {
                Ok(ResourceCheck { status: ResourceStatus::Present, fix: String::new(), ..found })
            }
            _ => look_up(bus, resource).await,
        };
    }
    match ErrorClass::of(&error) {
        ErrorClass::Denied | ErrorClass::Missing => {
            Ok(ResourceCheck { status: ResourceStatus::Unknown(root_cause(&error)), ..found })
        }
        ErrorClass::Refused | ErrorClass::Outage => {
            Err(bus.clients.error(format!("create {}", found.name), None, error))
        }
    }
}

fn already_exists(error: &google_cloud_pubsub::Error) -> bool {
    error.status().is_some_and(|status| status.code == google_cloud_gax::error::rpc::Code::AlreadyExists)
}

/// Compares an existing subscription with the desired one. Only differences that can lose or withhold
/// messages count.
fn compare(settings: &PubsubSettings, desired: &Resource, found: &Subscription) -> ResourceCheck {
    let name = full_name(settings, desired);
    let Resource::Subscription { name: short, topic, retention, retain_acked, .. } = desired else {
        return ResourceCheck { name, status: ResourceStatus::Present, fix: String::new() };
    };
    let unchangeable = unchangeable(&settings.topic_name(topic), found);
    if !unchangeable.is_empty() {
        let what = format!("{}; recreating it drops its backlog", unchangeable.join(", "));
        return ResourceCheck {
            name,
            status: ResourceStatus::Different(what),
            fix: gcloud::recreate(settings, desired),
        };
    }
    let mut differences = Vec::new();
    let mut flags = Vec::new();
    let retained = found.message_retention_duration.map_or(0, |retained| retained.seconds());
    if retained != 0 && retained < seconds(*retention).seconds() {
        let retained = Duration::from_secs(retained.unsigned_abs());
        differences.push(format!("retains messages for {} only", gcloud::duration(retained)));
        flags.push(format!("--message-retention-duration={}", gcloud::duration(*retention)));
    }
    if let Some(ttl) = found.expiration_policy.as_ref().and_then(|policy| policy.ttl) {
        let ttl = Duration::from_secs(ttl.seconds().unsigned_abs());
        differences.push(format!("expires after {} without use", gcloud::duration(ttl)));
        flags.push("--expiration-period=never".to_owned());
    }
    if *retain_acked && !found.retain_acked_messages {
        differences.push("does not retain acked messages".to_owned());
        flags.push("--retain-acked-messages".to_owned());
    }
    if found.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty()) {
        differences.push("is a push subscription".to_owned());
        flags.push("--push-endpoint=".to_owned());
    }
    if found.dead_letter_policy.as_ref().is_some_and(|policy| policy.max_delivery_attempts < 100) {
        differences.push("has a dead-letter policy with fewer than 100 delivery attempts".to_owned());
        flags.push("--clear-dead-letter-policy".to_owned());
    }
    if differences.is_empty() {
        return ResourceCheck { name, status: ResourceStatus::Present, fix: String::new() };
    }
    ResourceCheck {
        name,
        status: ResourceStatus::Different(differences.join(", ")),
        fix: gcloud::update(settings, short, &flags),
    }
}

/// Returns the differences that cannot be changed in place.
fn unchangeable(topic: &str, found: &Subscription) -> Vec<String> {
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
        what.push("exports to storage".to_owned());
    }
    what
}

fn full_name(settings: &PubsubSettings, resource: &Resource) -> String {
    match resource {
        Resource::Topic { name } => settings.topic_name(name),
        Resource::Subscription { name, .. } => settings.subscription_name(name),
    }
}

fn seconds(duration: Duration) -> google_cloud_wkt::Duration {
    google_cloud_wkt::Duration::clamp(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), 0)
}

#[cfg(test)]
mod tests {
    use google_cloud_pubsub::model::PushConfig;

    use super::*;

    fn settings() -> PubsubSettings {
        PubsubSettings::new("shop")
    }

    fn desired() -> Resource {
        resources(&settings(), &DesiredTopics::default()).remove(1)
    }

    fn sufficient() -> Subscription {
        Subscription::new()
            .set_topic("projects/shop/topics/orders_data")
            .set_message_retention_duration(seconds(Duration::from_secs(7 * 86_400)))
            .set_expiration_policy(ExpirationPolicy::new())
    }

    #[test]
    fn a_subscription_that_exceeds_the_requirements_is_present() {
        assert_eq!(compare(&settings(), &desired(), &sufficient()).status, ResourceStatus::Present);
        let better = sufficient()
            .set_message_retention_duration(seconds(Duration::from_secs(31 * 86_400)))
            .set_retain_acked_messages(true)
            .set_ack_deadline_seconds(600);
        assert_eq!(compare(&settings(), &desired(), &better).status, ResourceStatus::Present);
    }

    #[test]
    fn differences_that_can_be_changed_in_place_are_fixed_by_one_update() {
        let worse = sufficient()
            .set_message_retention_duration(seconds(Duration::from_secs(600)))
            .set_expiration_policy(ExpirationPolicy::new().set_ttl(seconds(Duration::from_secs(86_400))))
            .set_push_config(PushConfig::new().set_push_endpoint("https://x"));
        let check = compare(&settings(), &desired(), &worse);
        assert_eq!(
            check.status,
            ResourceStatus::Different(
                "retains messages for 600s only, expires after 1d without use, is a push subscription"
                    .to_owned()
            )
        );
        assert_eq!(
            check.fix,
            "gcloud pubsub subscriptions update orders_data-sub --message-retention-duration=7d \
             --expiration-period=never --push-endpoint= --project=shop"
        );
    }

    #[test]
    fn other_differences_are_fixed_by_recreating_with_a_warning() {
        for (found, why) in [
            (sufficient().set_topic("_deleted-topic_"), "its topic was deleted"),
            (
                sufficient().set_topic("projects/shop/topics/other"),
                "receives from projects/shop/topics/other",
            ),
            (sufficient().set_detached(true), "is detached"),
            (sufficient().set_filter("attributes:x"), "filters by attributes:x"),
        ] {
            let check = compare(&settings(), &desired(), &found);
            assert_eq!(
                check.status,
                ResourceStatus::Different(format!("{why}; recreating it drops its backlog"))
            );
            assert!(check.fix.starts_with("gcloud pubsub subscriptions delete orders_data-sub --project=shop && gcloud pubsub subscriptions create orders_data-sub --topic=orders_data "), "{}", check.fix);
        }
    }
}
