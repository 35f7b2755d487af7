//! Publishing: the client library's batching, behind a window of unacknowledged messages.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use google_cloud_pubsub::client::Publisher as ClientPublisher;
use google_cloud_pubsub::error::PublishError as ClientError;
use tokio::sync::Semaphore;

use crate::clients::ClientFactory;
use crate::error::{ErrorClass, RootCause};
use crate::message::{outgoing, validate};
use ecom_bus::{BusError, ByteBudget, Message, PublishError, Publisher, Receipt};

/// The maximum number of messages in a batch: the most that Pub/Sub accepts in one request.
const BATCH_MESSAGES: u32 = 1_000;
/// The size at which a batch is sent, in bytes.
const BATCH_BYTES: u32 = 1_000_000;
/// The maximum time for which a batch waits for more messages.
const BATCH_DELAY: Duration = Duration::from_millis(10);

/// A publisher for one topic.
pub(super) struct TopicPublisher {
    window: Arc<Semaphore>,
    bytes: ByteBudget,
    connections: Arc<PublisherConnections>,
}

impl TopicPublisher {
    /// Opens a connection for the topic, given by its short name. At most `window` messages are
    /// unacknowledged, of the bytes that the settings allow.
    pub(super) async fn open(
        clients: Arc<ClientFactory>,
        topic: &str,
        window: usize,
    ) -> Result<Self, BusError> {
        let topic = clients.topic_name(topic);
        let connection = PublisherConnection::open(&clients, &topic, 0).await?;
        let window = Arc::new(Semaphore::new(window.clamp(1, Semaphore::MAX_PERMITS)));
        let bytes = ByteBudget::new(clients.settings.publish_bytes);
        let connections = PublisherConnections {
            clients,
            topic,
            in_use: RwLock::new(ConnectionsInUse { current: Arc::new(connection), previous: None }),
            opening: tokio::sync::Mutex::new(()),
        };
        Ok(Self { window, bytes, connections: Arc::new(connections) })
    }
}

#[async_trait]
impl Publisher for TopicPublisher {
    async fn publish(&self, message: Message) -> Receipt {
        let permit = self.window.clone().acquire_owned().await.expect("the window is never closed");
        let share = self.bytes.share(message.size()).await;
        if let Err(limit) = validate(&message) {
            let topic = self.connections.topic.clone();
            return Receipt::new(
                async move { Err(PublishError::Refused { topic, source: Box::new(limit) }) },
            );
        }
        let connection = self.connections.current();
        let copy = message.clone();
        let published = connection.batched.publish(outgoing(message));
        let connections = self.connections.clone();
        Receipt::new(async move {
            let _place = (permit, share);
            match published.await {
                Ok(id) => Ok(id),
                Err(error) => connections.recover(&connection, copy, error).await,
            }
        })
    }

    async fn flush(&self) {
        let ConnectionsInUse { current, previous } = self.connections.in_use();
        if let Some(previous) = previous {
            previous.flush().await;
        }
        current.flush().await;
    }
}

/// A connection and the client library's two publishers on it.
struct PublisherConnection {
    /// The number of connections before this one.
    generation: u64,
    batched: ClientPublisher,
    /// Sends each message in its own request.
    unbatched: ClientPublisher,
}

impl PublisherConnection {
    async fn open(clients: &ClientFactory, topic: &str, generation: u64) -> Result<Self, BusError> {
        let connection = clients.publisher().await?;
        let batched = connection
            .publisher(topic)
            .set_message_count_threshold(BATCH_MESSAGES)
            .set_byte_threshold(BATCH_BYTES)
            .set_delay_threshold(BATCH_DELAY)
            .build();
        let unbatched = connection.publisher(topic).set_message_count_threshold(1).build();
        Ok(Self { generation, batched, unbatched })
    }

    async fn flush(&self) {
        self.batched.flush().await;
        self.unbatched.flush().await;
    }
}

/// The connection for new messages, and the previous one, whose last batches may still be in flight.
#[derive(Clone)]
struct ConnectionsInUse {
    current: Arc<PublisherConnection>,
    previous: Option<Arc<PublisherConnection>>,
}

/// The connections of one topic's publisher.
struct PublisherConnections {
    clients: Arc<ClientFactory>,
    topic: String,
    in_use: RwLock<ConnectionsInUse>,
    opening: tokio::sync::Mutex<()>,
}

impl PublisherConnections {
    fn in_use(&self) -> ConnectionsInUse {
        self.in_use.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn current(&self) -> Arc<PublisherConnection> {
        self.in_use.read().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    /// Handles the failure of a batch for one of its messages. The rejection of a batch does not say which
    /// message caused it, so each is published alone. A connection that did not answer is replaced.
    async fn recover(
        &self,
        connection: &PublisherConnection,
        message: Message,
        error: ClientError,
    ) -> Result<String, PublishError> {
        match PublishFault::of(&error) {
            PublishFault::Message => {
                let published = connection.unbatched.publish(outgoing(message)).await;
                return published.map_err(|error| self.publish_error(error));
            }
            PublishFault::Connection => self.replace(connection.generation).await,
            PublishFault::Service => {}
        }
        Err(self.publish_error(error))
    }

    fn publish_error(&self, error: ClientError) -> PublishError {
        let topic = self.topic.clone();
        let fault = PublishFault::of(&error);
        let source = Box::new(RootCause::of(error));
        match fault {
            PublishFault::Message => PublishError::Refused { topic, source },
            PublishFault::Connection | PublishFault::Service => PublishError::Unavailable { topic, source },
        }
    }

    /// Replaces the connection of this generation, unless it was replaced already. The client library
    /// reconnects when a connection breaks, but not when it is silent.
    async fn replace(&self, generation: u64) {
        let _one_at_a_time = self.opening.lock().await;
        let stale = self.current();
        if stale.generation != generation {
            return;
        }
        match PublisherConnection::open(&self.clients, &self.topic, generation + 1).await {
            Ok(connection) => {
                let on = self.clients.describe();
                tracing::warn!(topic = %self.topic, "{on} did not answer; publishing on a new connection");
                let mut in_use = self.in_use.write().unwrap_or_else(PoisonError::into_inner);
                *in_use = ConnectionsInUse { current: Arc::new(connection), previous: Some(stale) };
            }
            Err(error) => {
                tracing::warn!(topic = %self.topic, "could not open a new connection to publish on: {error}");
            }
        }
    }
}

/// The part that a failed publish is attributed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PublishFault {
    /// The message, or another one of its batch. Publishing it again cannot succeed.
    Message,
    /// The connection: it did not answer, or the client library's task has ended.
    Connection,
    /// The service, the network, or a topic or permission that an operator can restore.
    Service,
}

impl PublishFault {
    fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Rpc(error) if error.is_timeout() => Self::Connection,
            ClientError::Rpc(error) => match error.status().map(|status| status.code) {
                Some(google_cloud_gax::error::rpc::Code::InvalidArgument) => Self::Message,
                // Every other status is temporary or can be fixed by an operator.
                Some(_) => Self::Service,
                None if ErrorClass::of(error) == ErrorClass::Refused && !error.is_authentication() => {
                    Self::Message
                }
                None => Self::Service,
            },
            ClientError::Shutdown => Self::Connection,
            // Paused publishers need ordering keys, which are not used; the enum is non-exhaustive.
            _ => Self::Service,
        }
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::CredentialsError;
    use google_cloud_gax::error::rpc::Code;
    use google_cloud_pubsub::Error;

    use super::*;
    use crate::error::status;

    fn rpc(error: Error) -> ClientError {
        ClientError::Rpc(Arc::new(error))
    }

    #[test]
    fn only_an_invalid_message_cannot_be_published_again() {
        for code in [
            Code::NotFound,
            Code::PermissionDenied,
            Code::Unauthenticated,
            Code::FailedPrecondition,
            Code::ResourceExhausted,
            Code::Unavailable,
            Code::Internal,
            Code::Unknown,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::Cancelled,
        ] {
            assert_eq!(PublishFault::of(&rpc(status(code, "x"))), PublishFault::Service, "{code:?}");
        }
        assert_eq!(PublishFault::of(&rpc(status(Code::InvalidArgument, "x"))), PublishFault::Message);
        assert_eq!(PublishFault::of(&rpc(Error::ser("x"))), PublishFault::Message);
        let credentials = Error::authentication(CredentialsError::from_msg(false, "x"));
        assert_eq!(PublishFault::of(&rpc(credentials)), PublishFault::Service);
    }

    #[test]
    fn a_timeout_and_an_ended_task_are_faults_of_the_connection() {
        assert_eq!(PublishFault::of(&rpc(Error::timeout("late"))), PublishFault::Connection);
        assert_eq!(PublishFault::of(&ClientError::Shutdown), PublishFault::Connection);
        assert_eq!(PublishFault::of(&rpc(Error::io("reset"))), PublishFault::Service);
    }
}
