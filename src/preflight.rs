//! Checks before a role starts.

use std::sync::Arc;

use super::exit::CliError;
use super::startup::{Attempt, Startup};
use ecom_bus::{Bus, BusError, Publisher, TopicState};

/// Refuses a topic without a subscription: what is published there is lost.
pub(crate) async fn require_subscription(
    startup: &Startup,
    bus: &dyn Bus,
    topic: &str,
) -> Result<(), CliError> {
    let state = startup.ask(async || bus.topic_state(topic).await.map_err(failed_on_bus)).await?;
    let missing =
        |what: String| Err(CliError::failed(what).hint("create it: ecom_setup, with the same configuration"));
    match state {
        TopicState::Subscribed => Ok(()),
        TopicState::Unknown => {
            tracing::warn!(
                "this identity has no permission to see whether topic {topic} has a subscription; without one, \
                 what is published there is lost"
            );
            Ok(())
        }
        TopicState::Unsubscribed => missing(format!(
            "topic {topic} on {} has no subscription: what is published there is lost",
            bus.describe()
        )),
        TopicState::Missing => missing(format!("topic {topic} does not exist on {}", bus.describe())),
    }
}

/// Opens the publisher of a topic that has a subscription, of which at most `max_outstanding` messages wait for the bus.
pub(crate) async fn publisher(
    startup: &Startup,
    bus: &dyn Bus,
    topic: &str,
    max_outstanding: usize,
) -> Result<Arc<dyn Publisher>, CliError> {
    require_subscription(startup, bus, topic).await?;
    startup.ask(async || bus.publisher(topic, max_outstanding).await.map_err(failed_on_bus)).await
}

/// A failed attempt to use a topic or subscription.
pub(crate) fn failed_on_bus(error: BusError) -> Attempt {
    let is_outage = error.is_outage();
    let error = CliError::failed(error.to_string())
        .hint("see what is missing: ecom_setup --check, with the same configuration");
    if is_outage { Attempt::Later(error) } else { Attempt::Never(error) }
}
