//! Checks before a role starts.

use std::time::Duration;

use tokio::time::Instant;

use super::exit::CliError;
use ecom_bus::{Bus, BusError, TopicState};

/// The longest that a bus that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time between two requests.
const INTERVAL: Duration = Duration::from_millis(200);

/// Refuses a topic without a subscription: what is published there is lost.
pub(crate) async fn require_subscription(bus: &dyn Bus, topic: &str) -> Result<(), CliError> {
    let started = Instant::now();
    let state = loop {
        match bus.topic_state(topic).await {
            Ok(state) => break state,
            Err(error) if error.is_outage() && started.elapsed() < PATIENCE => {
                tokio::time::sleep(INTERVAL).await;
            }
            Err(error) => return Err(missing_on_bus(error)),
        }
    };
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

/// The error of a topic or subscription that could not be used.
pub(crate) fn missing_on_bus(error: BusError) -> CliError {
    CliError::failed(error.to_string())
        .hint("see what is missing: ecom_setup --check, with the same configuration")
}
