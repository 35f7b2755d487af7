//! The clients of one connection: endpoint, credentials and timeouts in one place.

use google_cloud_auth::credentials::{Builder as DefaultCredentials, Credentials, anonymous};
use google_cloud_gax::client_builder::Error as BuildError;
use google_cloud_gax::retry_policy::{NeverRetry, RetryPolicyExt};
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::{BasePublisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::retry_policy::RetryableErrors;

use crate::error::{ErrorClass, RootCause};
use crate::settings::PubsubSettings;
use crate::stream_pace::PacedCredentials;
use ecom_bus::BusError;

/// Builds the clients. The credentials are loaded once and shared, because they cache their tokens.
pub(super) struct ClientFactory {
    pub(super) settings: PubsubSettings,
    credentials: Credentials,
}

impl ClientFactory {
    /// Loads the credentials: application default credentials for the service, none for the emulator.
    pub(super) fn try_new(settings: PubsubSettings) -> Result<Self, BusError> {
        let credentials = match settings.emulator_host {
            Some(_) => anonymous::Builder::new().build(),
            None => DefaultCredentials::default().build().map_err(|error| BusError::Refused {
                what: "load the application default credentials".to_owned(),
                on: settings.describe(),
                source: Box::new(RootCause::of(error)),
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

    /// Builds a client for topics. It does not retry.
    pub(super) async fn topics(&self) -> Result<TopicAdmin, BusError> {
        let builder = TopicAdmin::builder()
            .with_credentials(self.credentials.clone())
            .with_retry_policy(NeverRetry)
            .with_attempt_timeout(self.settings.rpc_timeout);
        let builder = match self.settings.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        builder.build().await.map_err(|error| self.build_error(error))
    }

    /// Builds a client for subscriptions. It does not retry.
    pub(super) async fn subscriptions(&self) -> Result<SubscriptionAdmin, BusError> {
        let builder = SubscriptionAdmin::builder()
            .with_credentials(self.credentials.clone())
            .with_retry_policy(NeverRetry)
            .with_attempt_timeout(self.settings.rpc_timeout);
        let builder = match self.settings.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        builder.build().await.map_err(|error| self.build_error(error))
    }

    /// Builds a subscriber with its own connection, which reopens streams at their [pace](crate::stream_pace).
    pub(super) async fn subscriber(&self) -> Result<Subscriber, BusError> {
        let credentials = Credentials::from(PacedCredentials(self.credentials.clone()));
        let builder = Subscriber::builder().with_credentials(credentials);
        let builder = match self.settings.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        builder.build().await.map_err(|error| self.build_error(error))
    }

    /// Builds a publisher with its own connection. The time limit also bounds each attempt, so that a silent
    /// connection fails its batches instead of delaying them forever.
    pub(super) async fn publisher(&self) -> Result<BasePublisher, BusError> {
        let builder = BasePublisher::builder()
            .with_credentials(self.credentials.clone())
            .with_retry_policy(RetryableErrors.with_time_limit(self.settings.publish_timeout));
        let builder = match self.settings.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        builder.build().await.map_err(|error| self.build_error(error))
    }

    /// Checks that the service answers, by listing one topic. A denied permission is an answer.
    pub(super) async fn ping(&self, topics: &TopicAdmin) -> Result<(), BusError> {
        let what = || "list topics".to_owned();
        let request = topics
            .list_topics()
            .set_project(format!("projects/{}", self.settings.project))
            .set_page_size(1)
            .send();
        match tokio::time::timeout(self.settings.connect_timeout, request).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if ErrorClass::of(&error) == ErrorClass::Denied => Ok(()),
            Ok(Err(error)) => Err(self.error(what(), None, error)),
            Err(_) => Err(BusError::Unavailable {
                what: what(),
                on: self.describe(),
                source: format!("no answer within {:?}", self.settings.connect_timeout).into(),
            }),
        }
    }

    /// Converts the error of a failed call. With `target`, the topic or subscription that the call needs, a
    /// `NOT_FOUND` becomes [`BusError::Missing`].
    pub(super) fn error(&self, what: String, target: Option<String>, error: Error) -> BusError {
        let on = self.describe();
        match (ErrorClass::of(&error), target) {
            (ErrorClass::Missing, Some(target)) => BusError::Missing { what: target, on },
            (ErrorClass::Outage, _) => {
                BusError::Unavailable { what, on, source: Box::new(RootCause::of(error)) }
            }
            (ErrorClass::Missing | ErrorClass::Denied | ErrorClass::Refused, _) => {
                BusError::Refused { what, on, source: Box::new(RootCause::of(error)) }
            }
        }
    }

    fn build_error(&self, error: BuildError) -> BusError {
        BusError::Refused {
            what: "build a client".to_owned(),
            on: self.describe(),
            source: Box::new(RootCause::of(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_unreachable_host_is_an_outage_that_names_host_and_cause() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = PubsubSettings::new("shop").on_emulator(free.to_string());
        let error = crate::Pubsub::connect(settings).await.err().unwrap();
        assert!(error.is_outage(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&free.to_string()) && text.contains("connection refused"), "{text}");
    }

    #[tokio::test]
    async fn a_host_that_accepts_and_never_answers_is_an_outage_after_the_timeout() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = silent.local_addr().unwrap().to_string();
        let settings = PubsubSettings {
            connect_timeout: Duration::from_millis(200),
            ..PubsubSettings::new("shop").on_emulator(host)
        };
        let error = crate::Pubsub::connect(settings).await.err().unwrap();
        assert!(error.is_outage(), "{error:?}");
        assert!(error.to_string().contains("no answer within 200ms"), "{error}");
    }
}
