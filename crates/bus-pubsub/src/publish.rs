//! Publishing: the client's batches behind a window of our own.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use google_cloud_pubsub::client::Publisher as Batcher;
use google_cloud_pubsub::error::PublishError as ClientError;
use tokio::sync::Semaphore;

use super::connect::Access;
use super::failure::{Cause, Failure};
use super::message::{outgoing, unfit};
use ecom_bus::{BusError, Message, PublishError, Publisher, Receipt};

/// The most messages Pub/Sub takes in one request.
const BATCH_MESSAGES: u32 = 1_000;
/// A batch is sent at about this size.
const BATCH_BYTES: u32 = 1_000_000;
/// A batch waits this long for company.
const BATCH_DELAY: Duration = Duration::from_millis(10);

/// Publishes on one topic.
pub(super) struct TopicPublisher {
    window: Arc<Semaphore>,
    lines: Arc<Lines>,
}

impl TopicPublisher {
    pub(super) async fn open(access: Arc<Access>, topic: &str, window: usize) -> Result<Self, BusError> {
        let topic = access.topic_name(topic);
        let line = Line::open(&access, &topic, 0).await?;
        let window = Arc::new(Semaphore::new(window.clamp(1, Semaphore::MAX_PERMITS)));
        let lines = Lines {
            access,
            topic,
            current: RwLock::new(Pair { now: Arc::new(line), before: None }),
            opening: tokio::sync::Mutex::new(()),
        };
        Ok(Self { window, lines: Arc::new(lines) })
    }
}

#[async_trait]
impl Publisher for TopicPublisher {
    async fn publish(&self, message: Message) -> Receipt {
        let permit = self.window.clone().acquire_owned().await.expect("the window is never closed");
        if let Some(reason) = unfit(&message) {
            let topic = self.lines.topic.clone();
            return Receipt::new(
                async move { Err(PublishError::Refused { topic, source: Box::new(reason) }) },
            );
        }
        let line = self.lines.now();
        let spare = message.clone();
        let handed = line.batched.publish(outgoing(message));
        let lines = self.lines.clone();
        Receipt::new(async move {
            let _place = permit;
            match handed.await {
                Ok(id) => Ok(id),
                Err(error) => lines.second_look(&line, spare, error).await,
            }
        })
    }

    async fn flush(&self) {
        let Pair { now, before } = self.lines.pair();
        if let Some(before) = before {
            before.flush().await;
        }
        now.flush().await;
    }
}

/// A connection and the two batchers on it.
struct Line {
    generation: u64,
    batched: Batcher,
    /// Sends each message in a request of its own.
    alone: Batcher,
}

impl Line {
    async fn open(access: &Access, topic: &str, generation: u64) -> Result<Self, BusError> {
        let connection = access.publisher().await?;
        let batched = connection
            .publisher(topic)
            .set_message_count_threshold(BATCH_MESSAGES)
            .set_byte_threshold(BATCH_BYTES)
            .set_delay_threshold(BATCH_DELAY)
            .build();
        let alone = connection.publisher(topic).set_message_count_threshold(1).build();
        Ok(Self { generation, batched, alone })
    }

    async fn flush(&self) {
        self.batched.flush().await;
        self.alone.flush().await;
    }
}

/// The connection in use and the one before it, whose last batches may still be under way.
#[derive(Clone)]
struct Pair {
    now: Arc<Line>,
    before: Option<Arc<Line>>,
}

struct Lines {
    access: Arc<Access>,
    topic: String,
    current: RwLock<Pair>,
    opening: tokio::sync::Mutex<()>,
}

impl Lines {
    fn pair(&self) -> Pair {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> Arc<Line> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).now.clone()
    }

    /// What a failed batch means for one of its messages. A refusal names none of them, so each is
    /// tried alone; a connection that gave no answer is replaced.
    async fn second_look(
        &self,
        line: &Line,
        spare: Message,
        error: ClientError,
    ) -> Result<String, PublishError> {
        if Blame::of(&error) == Blame::Message {
            return line.alone.publish(outgoing(spare)).await.map_err(|error| self.failure(error));
        }
        if Blame::of(&error) == Blame::Connection {
            self.replace(line.generation).await;
        }
        Err(self.failure(error))
    }

    fn failure(&self, error: ClientError) -> PublishError {
        let topic = self.topic.clone();
        let refused = Blame::of(&error) == Blame::Message;
        let source = Box::new(Cause::of(error));
        if refused {
            PublishError::Refused { topic, source }
        } else {
            PublishError::Unavailable { topic, source }
        }
    }

    /// Opens a new connection unless somebody has since `generation`. The client reconnects by
    /// itself when a connection breaks, but not when it goes silent.
    async fn replace(&self, generation: u64) {
        let _one_at_a_time = self.opening.lock().await;
        let stale = self.now();
        if stale.generation != generation {
            return;
        }
        match Line::open(&self.access, &self.topic, generation + 1).await {
            Ok(line) => {
                tracing::warn!(topic = %self.topic, "no answer from {}; publishing on a new connection", self.access.describe());
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Pair { now: Arc::new(line), before: Some(stale) };
            }
            Err(error) => tracing::warn!(topic = %self.topic, "{error}"),
        }
    }
}

/// What a failed publish is to be blamed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Blame {
    /// The message, or one of its batch: the same again cannot succeed.
    Message,
    /// The connection: it gave no answer, or the client's task is gone.
    Connection,
    /// The service, the network, or a topic or permission that an operator can restore.
    Outside,
}

impl Blame {
    fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Rpc(error) if error.is_timeout() => Self::Connection,
            ClientError::Rpc(error) => match error.status().map(|status| status.code) {
                Some(google_cloud_gax::error::rpc::Code::InvalidArgument) => Self::Message,
                // Everything else with a status is for an operator or for time to heal.
                Some(_) => Self::Outside,
                None if Failure::of(error) == Failure::Refused && !error.is_authentication() => Self::Message,
                None => Self::Outside,
            },
            ClientError::Shutdown => Self::Connection,
            // Without ordering keys nothing is ever paused; non_exhaustive.
            _ => Self::Outside,
        }
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::CredentialsError;
    use google_cloud_gax::error::rpc::Code;
    use google_cloud_pubsub::Error;

    use super::super::failure::status;
    use super::*;

    fn rpc(error: Error) -> ClientError {
        ClientError::Rpc(Arc::new(error))
    }

    #[test]
    fn only_an_invalid_message_is_refused_for_good() {
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
            assert_eq!(Blame::of(&rpc(status(code, "x"))), Blame::Outside, "{code:?}");
        }
        assert_eq!(Blame::of(&rpc(status(Code::InvalidArgument, "x"))), Blame::Message);
        assert_eq!(Blame::of(&rpc(Error::ser("x"))), Blame::Message);
        let credentials = Error::authentication(CredentialsError::from_msg(false, "x"));
        assert_eq!(Blame::of(&rpc(credentials)), Blame::Outside);
    }

    #[test]
    fn silence_and_a_lost_task_call_for_a_new_connection() {
        assert_eq!(Blame::of(&rpc(Error::timeout("late"))), Blame::Connection);
        assert_eq!(Blame::of(&ClientError::Shutdown), Blame::Connection);
        assert_eq!(Blame::of(&rpc(Error::io("reset"))), Blame::Outside);
    }
}
