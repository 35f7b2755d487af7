//! The bus on one connection to Pub/Sub.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::{SubscriptionAdmin, TopicAdmin};

use crate::clients::ClientFactory;
use crate::error::ErrorClass;
use crate::publish::TopicPublisher;
use crate::settings::PubsubSettings;
use crate::subscribe;
use ecom_bus::{Bus, BusError, Publisher, SubscribeOptions, Subscription, TopicState};
use ecom_clock::Entropy;

/// A connection to Pub/Sub.
pub struct Pubsub {
    pub(super) clients: Arc<ClientFactory>,
    pub(super) topics: TopicAdmin,
    pub(super) subscriptions: SubscriptionAdmin,
    entropy: Arc<Entropy>,
    publishers: Mutex<Vec<Weak<TopicPublisher>>>,
}

impl Pubsub {
    /// Builds the clients and sends one request to the service, within `connect_timeout`.
    ///
    /// # Errors
    /// `Unavailable` if the service does not answer, which the caller may retry; `Refused` if the credentials
    /// or the project are wrong. An identity without permission to list topics can connect.
    pub async fn connect(settings: PubsubSettings) -> Result<Self, BusError> {
        let clients = Arc::new(ClientFactory::try_new(settings)?);
        let topics = clients.topics().await?;
        let subscriptions = clients.subscriptions().await?;
        clients.ping(&topics).await?;
        Ok(Self {
            clients,
            topics,
            subscriptions,
            entropy: Arc::new(Entropy::system()),
            publishers: Mutex::default(),
        })
    }

    /// Returns the state of a topic from the error of looking it up.
    fn state_of_error(&self, name: &str, error: Error) -> Result<TopicState, BusError> {
        match ErrorClass::of(&error) {
            ErrorClass::Missing => Ok(TopicState::Missing),
            ErrorClass::Denied => Ok(TopicState::Unknown),
            ErrorClass::Refused | ErrorClass::Outage => {
                Err(self.clients.error(format!("look up {name}"), None, error))
            }
        }
    }

    /// Returns the publishers that are still in use.
    fn open_publishers(&self) -> Vec<Arc<TopicPublisher>> {
        let mut publishers = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        publishers.retain(|publisher| publisher.strong_count() > 0);
        publishers.iter().filter_map(Weak::upgrade).collect()
    }
}

#[async_trait]
impl Bus for Pubsub {
    async fn publisher(&self, topic: &str, window: usize) -> Result<Arc<dyn Publisher>, BusError> {
        let publisher = Arc::new(TopicPublisher::open(self.clients.clone(), topic, window).await?);
        let mut publishers = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        publishers.retain(|publisher| publisher.strong_count() > 0);
        publishers.push(Arc::downgrade(&publisher));
        Ok(publisher)
    }

    async fn subscribe(
        &self,
        subscription: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, BusError> {
        let name = self.clients.subscription_name(subscription);
        let found = self.subscriptions.get_subscription().set_subscription(&name).send().await;
        if let Err(error) = found {
            match ErrorClass::of(&error) {
                // A subscriber need not be a viewer. If the subscription is missing, the streams will report
                // it.
                ErrorClass::Denied => {
                    tracing::debug!(subscription = %name, "no permission to look up the subscription")
                }
                ErrorClass::Missing | ErrorClass::Refused | ErrorClass::Outage => {
                    return Err(self.clients.error(format!("look up {name}"), Some(name), error));
                }
            }
        }
        Ok(subscribe::open(self.clients.clone(), name, options, self.entropy.clone()))
    }

    async fn topic_state(&self, topic: &str) -> Result<TopicState, BusError> {
        let name = self.clients.topic_name(topic);
        match self.topics.list_topic_subscriptions().set_topic(&name).set_page_size(1).send().await {
            // The emulator lists nothing for a topic that does not exist.
            Ok(page) if page.subscriptions.is_empty() && page.next_page_token.is_empty() => {
                match self.topics.get_topic().set_topic(&name).send().await {
                    Ok(_) => Ok(TopicState::Unsubscribed),
                    Err(error) => self.state_of_error(&name, error),
                }
            }
            Ok(_) => Ok(TopicState::Subscribed),
            Err(error) => self.state_of_error(&name, error),
        }
    }

    async fn is_drained(&self, _: &str) -> Result<Option<bool>, BusError> {
        Ok(None)
    }

    fn describe(&self) -> String {
        self.clients.describe()
    }

    async fn close(&self) {
        for publisher in self.open_publishers() {
            publisher.flush().await;
        }
    }
}
