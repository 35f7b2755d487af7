//! The bus port: topics and subscriptions of the file.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::embedded::Embedded;
use super::publisher::{PublishWindow, TopicPublisher};
use super::receive_transaction::SubscriptionRow;
use super::{receive_loop, schema};
use ecom_bus::{Bus, BusError, Publisher, SubscribeOptions, Subscription, TopicState};

const SUBSCRIPTION_ROW: &str = "SELECT id, topic FROM subscriptions WHERE name = ?1";
const HAS_UNACKED: &str = "SELECT EXISTS (
    SELECT 1 FROM topics JOIN subscriptions ON topic = topics.id JOIN messages ON subscription = subscriptions.id
    WHERE topics.name = ?1)";
const IS_SUBSCRIBED: &str = "SELECT EXISTS (SELECT 1 FROM subscriptions WHERE topic = topics.id)
    FROM topics WHERE name = ?1";

#[async_trait]
impl Bus for Embedded {
    async fn publisher(&self, topic: &str, window: usize) -> Result<Arc<dyn Publisher>, BusError> {
        let name = topic.to_owned();
        let found = self.engine.read(move |connection| schema::topic(connection, &name)).await;
        let id = found
            .map_err(|error| self.bus_error(format!("look up topic {topic}"), error))?
            .ok_or_else(|| self.missing("topic", topic))?;
        let full_name = format!("topic {topic} on {}", self.describe());
        let engine = self.engine.clone();
        let window = PublishWindow { messages: window, bytes: self.limits.publish };
        Ok(Arc::new(TopicPublisher::new(engine, id, full_name, window, self.notifier(id), self.clock)))
    }

    async fn subscribe(
        &self,
        subscription: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, BusError> {
        let name = subscription.to_owned();
        let found = self.engine.read(move |connection| subscription_row(connection, &name)).await;
        let row = found
            .map_err(|error| self.bus_error(format!("look up subscription {subscription}"), error))?
            .ok_or_else(|| self.missing("subscription", subscription))?;
        let name = format!("{subscription} on {}", self.describe());
        let notifier = self.notifier(row.topic);
        Ok(receive_loop::start(
            self.engine.clone(),
            row,
            name,
            notifier,
            self.clock,
            options,
            self.limits.intake,
        ))
    }

    async fn topic_state(&self, topic: &str) -> Result<TopicState, BusError> {
        let name = topic.to_owned();
        let subscribed = self
            .engine
            .read(move |connection| {
                connection.prepare_cached(IS_SUBSCRIBED)?.query_row([&name], |row| row.get(0)).optional()
            })
            .await
            .map_err(|error| self.bus_error(format!("look up topic {topic}"), error))?;
        Ok(match subscribed {
            Some(true) => TopicState::Subscribed,
            Some(false) => TopicState::Unsubscribed,
            None => TopicState::Missing,
        })
    }

    async fn is_drained(&self, topic: &str) -> Result<Option<bool>, BusError> {
        let name = topic.to_owned();
        let has_unacked: bool = self
            .engine
            .read(move |connection| {
                connection.prepare_cached(HAS_UNACKED)?.query_row([&name], |row| row.get(0))
            })
            .await
            .map_err(|error| self.bus_error(format!("look for unacked messages of topic {topic}"), error))?;
        Ok(Some(!has_unacked))
    }

    fn describe(&self) -> String {
        Embedded::describe(self)
    }

    async fn close(&self) {
        Embedded::close(self).await;
    }
}

impl Embedded {
    fn missing(&self, kind: &str, name: &str) -> BusError {
        BusError::Missing { what: format!("{kind} {name}"), on: self.describe() }
    }
}

fn subscription_row(
    connection: &Connection,
    subscription: &str,
) -> rusqlite::Result<Option<SubscriptionRow>> {
    connection
        .prepare_cached(SUBSCRIPTION_ROW)?
        .query_row([subscription], |row| {
            Ok(SubscriptionRow { subscription: row.get(0)?, topic: row.get(1)? })
        })
        .optional()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{SUBSCRIPTION, TOPIC, number, process, publish, soon, subscribe};
    use super::super::{Options, Route, open};
    use super::*;
    use ecom_bus::Message;

    #[tokio::test]
    async fn the_state_of_a_topic_says_whether_it_has_a_subscription() {
        let dir = tempfile::tempdir().unwrap();
        let routes = vec![Route::new(TOPIC, SUBSCRIPTION), Route::unsubscribed("lonely")];
        let bus = open(dir.path(), Options::new(routes)).unwrap();
        assert_eq!(bus.topic_state(TOPIC).await.unwrap(), TopicState::Subscribed);
        assert_eq!(bus.topic_state("lonely").await.unwrap(), TopicState::Unsubscribed);
        assert_eq!(bus.topic_state("nowhere").await.unwrap(), TopicState::Missing);
        let publisher = bus.publisher("lonely", 1).await.unwrap();
        publisher.publish(Message::default()).await.await.unwrap();
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 0);
    }

    #[tokio::test]
    async fn a_missing_topic_or_subscription_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let bus = process(dir.path());
        let error = bus.publisher("nowhere", 1).await.err().unwrap();
        assert_eq!(error.to_string(), format!("topic nowhere does not exist on {}", bus.describe()));
        let options = SubscribeOptions {
            streams: ecom_bus::Streams::Fixed(1),
            max_outstanding: 1,
            buffer: 1,
            ack_deadline: Duration::from_secs(1),
            idle_rotation: None,
        };
        let error = bus.subscribe("missing", options).await.err().unwrap();
        assert!(matches!(error, BusError::Missing { .. }), "{error}");
    }

    #[tokio::test]
    async fn every_subscription_gets_every_message_and_the_last_ack_deletes_it() {
        let dir = tempfile::tempdir().unwrap();
        let bus = process(dir.path());
        publish(&bus, 1).await;
        let routes = vec![Route::new(TOPIC, "late"), Route::new(TOPIC, SUBSCRIPTION)];
        let both = open(dir.path(), Options::new(routes)).unwrap();
        publish(&bus, 1).await;
        let options = SubscribeOptions {
            streams: ecom_bus::Streams::Fixed(1),
            max_outstanding: 10,
            buffer: 10,
            ack_deadline: Duration::from_secs(60),
            idle_rotation: None,
        };
        let (first, late) = (subscribe(&bus).await, both.subscribe("late", options).await.unwrap());
        soon(first.next()).await.unwrap().ack();
        soon(first.next()).await.unwrap().ack();
        first.stop().await;
        assert_eq!(
            number(dir.path(), "SELECT count(*) FROM messages"),
            1,
            "only the later message is unacked"
        );
        soon(late.next()).await.unwrap().ack();
        late.stop().await;
        assert_eq!(number(dir.path(), "SELECT count(*) FROM messages"), 0);
    }
}
