//! Settings to clients: one place that knows the endpoint, the credentials and the timeouts.

use std::time::Duration;

use google_cloud_auth::credentials::{Builder as DefaultCredentials, Credentials, anonymous};
use google_cloud_gax::client_builder::Error as BuildError;
use google_cloud_gax::retry_policy::{NeverRetry, RetryPolicyExt};
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::{BasePublisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::retry_policy::RetryableErrors;

use super::failure::{Cause, Failure};
use ecom_bus::BusError;

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

/// What every client is built from. Credentials are loaded once: they cache their tokens.
pub(super) struct Access {
    pub(super) settings: PubsubSettings,
    credentials: Credentials,
}

impl Access {
    pub(super) fn new(settings: PubsubSettings) -> Result<Self, BusError> {
        let credentials = match settings.emulator_host {
            Some(_) => anonymous::Builder::new().build(),
            None => DefaultCredentials::default().build().map_err(|error| BusError::Refused {
                what: "load the application default credentials".to_owned(),
                on: settings.describe(),
                source: Box::new(Cause::of(error)),
            })?,
        };
        Ok(Self { settings, credentials })
    }

    pub(super) fn describe(&self) -> String {
        self.settings.describe()
    }

    pub(super) fn topic_name(&self, topic: &str) -> String {
        self.settings.topic_name(topic)
    }

    pub(super) fn subscription_name(&self, subscription: &str) -> String {
        self.settings.subscription_name(subscription)
    }

    pub(super) async fn topics(&self) -> Result<TopicAdmin, BusError> {
        let builder = TopicAdmin::builder()
            .with_credentials(self.credentials.clone())
            .with_retry_policy(NeverRetry)
            .with_attempt_timeout(self.settings.rpc_timeout);
        let builder = match self.settings.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        builder.build().await.map_err(|error| self.unbuilt(error))
    }

    pub(super) async fn subscriptions(&self) -> Result<SubscriptionAdmin, BusError> {
        let builder = SubscriptionAdmin::builder()
            .with_credentials(self.credentials.clone())
            .with_retry_policy(NeverRetry)
            .with_attempt_timeout(self.settings.rpc_timeout);
        let builder = match self.settings.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        builder.build().await.map_err(|error| self.unbuilt(error))
    }

    /// A subscriber with a connection of its own.
    pub(super) async fn subscriber(&self) -> Result<Subscriber, BusError> {
        let builder = Subscriber::builder().with_credentials(self.credentials.clone());
        let builder = match self.settings.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        builder.build().await.map_err(|error| self.unbuilt(error))
    }

    /// A publisher with a connection of its own. The time limit also bounds each attempt, so that
    /// a connection that has gone silent fails its batches instead of keeping them.
    pub(super) async fn publisher(&self) -> Result<BasePublisher, BusError> {
        let builder = BasePublisher::builder()
            .with_credentials(self.credentials.clone())
            .with_retry_policy(RetryableErrors.with_time_limit(self.settings.publish_timeout));
        let builder = match self.settings.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        builder.build().await.map_err(|error| self.unbuilt(error))
    }

    /// Asks for one topic of the project. Being refused the list is an answer, too.
    pub(super) async fn verify(&self, topics: &TopicAdmin) -> Result<(), BusError> {
        let what = || "list topics".to_owned();
        let question = topics
            .list_topics()
            .set_project(format!("projects/{}", self.settings.project))
            .set_page_size(1)
            .send();
        match tokio::time::timeout(self.settings.connect_timeout, question).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if Failure::of(&error) == Failure::Denied => Ok(()),
            Ok(Err(error)) => Err(self.error(what(), None, error)),
            Err(_) => Err(BusError::Unavailable {
                what: what(),
                on: self.describe(),
                source: format!("no answer within {:?}", self.settings.connect_timeout).into(),
            }),
        }
    }

    /// The port's error for a failed call; `target` is the topic or subscription it was about.
    pub(super) fn error(&self, what: String, target: Option<String>, error: Error) -> BusError {
        let on = self.describe();
        match (Failure::of(&error), target) {
            (Failure::Missing, Some(target)) => BusError::Missing { what: target, on },
            (Failure::Outage, _) => BusError::Unavailable { what, on, source: Box::new(Cause::of(error)) },
            (Failure::Missing | Failure::Denied | Failure::Refused, _) => {
                BusError::Refused { what, on, source: Box::new(Cause::of(error)) }
            }
        }
    }

    fn unbuilt(&self, error: BuildError) -> BusError {
        BusError::Refused {
            what: "build a client".to_owned(),
            on: self.describe(),
            source: Box::new(Cause::of(error)),
        }
    }
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

    #[tokio::test]
    async fn an_unreachable_host_is_an_outage_that_names_host_and_cause() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = PubsubSettings::new("shop").on_emulator(free.to_string());
        let error = super::super::Pubsub::connect(settings).await.err().unwrap();
        assert!(error.is_outage(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&free.to_string()) && text.contains("connection refused"), "{text}");
    }

    #[tokio::test]
    async fn a_host_that_accepts_and_stays_silent_is_an_outage_after_the_timeout() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = silent.local_addr().unwrap().to_string();
        let settings = PubsubSettings {
            connect_timeout: Duration::from_millis(200),
            ..PubsubSettings::new("shop").on_emulator(host)
        };
        let error = super::super::Pubsub::connect(settings).await.err().unwrap();
        assert!(error.is_outage(), "{error:?}");
        assert!(error.to_string().contains("no answer within 200ms"), "{error}");
    }
}
