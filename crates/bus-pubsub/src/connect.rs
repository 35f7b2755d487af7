//! The settings of the connection to Pub/Sub.

use std::time::Duration;

/// Where Pub/Sub is and how long its calls may take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PubsubSettings {
    /// The project's id.
    pub project: String,
    /// `host:port` of an emulator, spoken to without credentials; `None` = the service, with
    /// application default credentials.
    pub emulator_host: Option<String>,
    /// How long [`connect`](super::Pubsub::connect) waits for an answer.
    pub connect_timeout: Duration,
    /// How long one administrative call may take.
    pub rpc_timeout: Duration,
    /// How long a batch is tried, retries included, before its receipts fail.
    pub publish_timeout: Duration,
}

impl PubsubSettings {
    /// The project on the service, with 5 s to connect, 10 s a call, 20 s a batch.
    pub fn new(project: impl Into<String>) -> Self {
        Self {
            project: project.into(),
            emulator_host: None,
            connect_timeout: Duration::from_secs(5),
            rpc_timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(20),
        }
    }

    /// The same project on an emulator.
    pub fn on_emulator(self, host: impl Into<String>) -> Self {
        Self { emulator_host: Some(host.into()), ..self }
    }

    pub(super) fn endpoint(&self) -> Option<String> {
        self.emulator_host.as_deref().map(|host| format!("http://{}", bare(host)))
    }

    pub(super) fn describe(&self) -> String {
        match &self.emulator_host {
            Some(host) => format!("Pub/Sub emulator at {}, project {}", bare(host), self.project),
            None => format!("Pub/Sub, project {}", self.project),
        }
    }

    pub(super) fn topic_name(&self, topic: &str) -> String {
        self.full_name("topics", topic)
    }

    pub(super) fn subscription_name(&self, subscription: &str) -> String {
        self.full_name("subscriptions", subscription)
    }

    /// Full names are taken as they are, so that a topic may live in another project.
    fn full_name(&self, collection: &str, name: &str) -> String {
        if name.starts_with("projects/") {
            name.to_owned()
        } else {
            format!("projects/{}/{collection}/{name}", self.project)
        }
    }
}

/// The variable is written with and without a scheme.
fn bare(host: &str) -> &str {
    host.trim_start_matches("http://").trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
