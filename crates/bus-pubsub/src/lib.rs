//! Google Pub/Sub: the service or its emulator.
//!
//! [`Pubsub::connect`] yields the bus. Receiving runs one supervised stream per slot
//! (`streams`, `supervise`), publishing batches behind a window (`publish`), and
//! [`provision`] creates and checks the topics and subscriptions.

mod connect;
mod connection;
#[cfg(test)]
mod emulator_tests;
mod failure;
mod gcloud;
mod grow;
mod health;
mod message;
pub mod provision;
mod publish;
mod streams;
mod supervise;

pub use connect::PubsubSettings;
pub use gcloud::{print_gcloud, print_iam};

use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::{SubscriptionAdmin, TopicAdmin};

use connect::Access;
use ecom_bus::{Bus, BusError, Publisher, SubscribeOptions, Subscription, TopicState};
use ecom_clock::Entropy;
use failure::Failure;
use publish::TopicPublisher;

/// A connection to Pub/Sub.
pub struct Pubsub {
    access: Arc<Access>,
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
    entropy: Arc<Entropy>,
    publishers: Mutex<Vec<Weak<TopicPublisher>>>,
}

impl Pubsub {
    /// Builds the clients and asks the service one cheap question, within `connect_timeout`.
    ///
    /// # Errors
    /// `Unavailable` while nobody answers (the caller retries); `Refused` where the credentials or
    /// the project are wrong. An identity that may not list topics is connected all the same.
    pub async fn connect(settings: PubsubSettings) -> Result<Self, BusError> {
        let access = Arc::new(Access::new(settings)?);
        let topics = access.topics().await?;
        let subscriptions = access.subscriptions().await?;
        access.verify(&topics).await?;
        Ok(Self {
            access,
            topics,
            subscriptions,
            entropy: Arc::new(Entropy::system()),
            publishers: Mutex::default(),
        })
    }

    /// The state of a topic that could not be looked at.
    fn unseen(&self, name: &str, error: Error) -> Result<TopicState, BusError> {
        match Failure::of(&error) {
            Failure::Missing => Ok(TopicState::Missing),
            Failure::Denied => Ok(TopicState::Unknown),
            Failure::Refused | Failure::Outage => {
                Err(self.access.error(format!("look up {name}"), None, error))
            }
        }
    }

    fn alive(&self) -> Vec<Arc<TopicPublisher>> {
        let mut publishers = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        publishers.retain(|publisher| publisher.strong_count() > 0);
        publishers.iter().filter_map(Weak::upgrade).collect()
    }
}

#[async_trait]
impl Bus for Pubsub {
    async fn publisher(&self, topic: &str, window: usize) -> Result<Arc<dyn Publisher>, BusError> {
        let publisher = Arc::new(TopicPublisher::open(self.access.clone(), topic, window).await?);
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
        let name = self.access.subscription_name(subscription);
        let found = self.subscriptions.get_subscription().set_subscription(&name).send().await;
        if let Err(error) = found {
            match Failure::of(&error) {
                // A subscriber need not be a viewer; the streams will tell.
                Failure::Denied => tracing::debug!(subscription = %name, "may not look at the subscription"),
                Failure::Missing | Failure::Refused | Failure::Outage => {
                    return Err(self.access.error(format!("look up {name}"), Some(name), error));
                }
            }
        }
        Ok(streams::open(self.access.clone(), name, options, self.entropy.clone()))
    }

    async fn topic_state(&self, topic: &str) -> Result<TopicState, BusError> {
        let name = self.access.topic_name(topic);
        match self.topics.list_topic_subscriptions().set_topic(&name).set_page_size(1).send().await {
            // The emulator lists nothing for a topic that does not exist.
            Ok(page) if page.subscriptions.is_empty() && page.next_page_token.is_empty() => {
                match self.topics.get_topic().set_topic(&name).send().await {
                    Ok(_) => Ok(TopicState::Unsubscribed),
                    Err(error) => self.unseen(&name, error),
                }
            }
            Ok(_) => Ok(TopicState::Subscribed),
            Err(error) => self.unseen(&name, error),
        }
    }

    async fn is_drained(&self, _: &str) -> Result<Option<bool>, BusError> {
        Ok(None)
    }

    fn describe(&self) -> String {
        self.access.describe()
    }

    async fn close(&self) {
        for publisher in self.alive() {
            publisher.flush().await;
        }
    }
}
