//! The supervisor of one stream: it reopens the stream when it ends, and replaces it when it is silent.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use google_cloud_pubsub::Error;
use google_cloud_pubsub::subscriber::ShutdownToken;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clients::ClientFactory;
use crate::connection::{SharedConnection, SharedSubscriber};
use crate::error::{ErrorClass, root_cause};
use crate::health::{SubscriptionHealth, UnhealthyStream};
use crate::intake::Intake;
use crate::stream::{StreamEnd, feed};
use crate::stream_activity::StreamActivity;
use crate::stream_limits::StreamLimits;
use crate::stream_pace::{self, BACKOFF_RESET_AGE, MIN_DELAY, StreamPace};
use ecom_clock::{Entropy, LogThrottle};
use ecom_domain::mutant::{Mutant, is_active};

/// The age at which a reopened stream counts as healthy again.
const HEALTHY_AGE: Duration = Duration::from_secs(5);
/// The time for the last acks of a stream.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// The minimum interval of log lines about one stream.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// One of the streams of a subscription.
pub(super) struct SupervisedStream {
    pub(super) clients: Arc<ClientFactory>,
    pub(super) connection: Arc<SharedConnection>,
    /// The full name of the subscription.
    pub(super) subscription: String,
    /// The index of the stream within the subscription, for logs.
    pub(super) index: usize,
    pub(super) limits: StreamLimits,
    pub(super) idle_rotation: Option<Duration>,
    pub(super) entropy: Arc<Entropy>,
    pub(super) health: Arc<SubscriptionHealth>,
    /// The number of deliveries of all streams of the subscription.
    pub(super) delivered: Arc<AtomicU64>,
}

/// A stream that is open or about to be.
struct OpenStream {
    shutdown: ShutdownToken,
    feeder: JoinHandle<StreamEnd>,
    activity: Arc<StreamActivity>,
}

/// The event that ends the supervision of an open stream.
enum StreamEvent {
    Stopped,
    Ended(StreamEnd),
    Silent,
}

/// Keeps the stream open until `stop`, then waits for the acks of every stream that it opened.
pub(super) async fn run(stream: SupervisedStream, intake: Intake, stop: CancellationToken) {
    let backoff = stream_pace::backoff();
    let mut throttle = LogThrottle::every(LOG_INTERVAL);
    let mut retiring = JoinSet::new();
    let mut subscriber: Option<SharedSubscriber> = None;
    let mut dead = false;
    let mut replaced: Option<OpenStream> = None;
    let mut attempt = 0u32;
    let mut unhealthy = None;
    while !stop.is_cancelled() {
        let opened = open(&stream, &mut subscriber, std::mem::take(&mut dead), &intake).await;
        // The old stream is shut down once the new one is being opened.
        if let Some(old) = replaced.take() {
            retiring.spawn(retire(old));
        }
        let reason = match opened {
            Err(reason) => reason,
            Ok(mut open) => match watch(&stream, &mut open, &mut retiring, &mut unhealthy, &stop).await {
                StreamEvent::Stopped | StreamEvent::Ended(StreamEnd::ChannelClosed) => {
                    retiring.spawn(retire(open));
                    break;
                }
                StreamEvent::Silent => {
                    tracing::debug!(subscription = %stream.subscription, stream = stream.index, "replacing a silent stream");
                    // On a new connection: this one may have died unnoticed.
                    dead = true;
                    replaced = Some(open);
                    attempt = 0;
                    continue;
                }
                StreamEvent::Ended(StreamEnd::Closed) if is_active(Mutant::StreamEndIsEnd) => {
                    retiring.spawn(retire(open));
                    break;
                }
                StreamEvent::Ended(end) => {
                    if open.activity.delivered() > 0 || open.activity.age() > BACKOFF_RESET_AGE {
                        attempt = 0;
                    }
                    retiring.spawn(retire(open));
                    ReopenReason::of(&end)
                }
            },
        };
        unhealthy.get_or_insert_with(|| stream.health.mark_unhealthy());
        let delay = backoff.delay(attempt, stream.entropy.share()).max(MIN_DELAY);
        attempt = attempt.saturating_add(1);
        if let Some(suppressed) = throttle.admit(Instant::now()) {
            reason.log(&stream, delay, suppressed);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = tokio::time::sleep(delay) => {}
        }
    }
    if let Some(old) = replaced.take() {
        retiring.spawn(retire(old));
    }
    while retiring.join_next().await.is_some() {}
}

async fn open(
    stream: &SupervisedStream,
    subscriber: &mut Option<SharedSubscriber>,
    dead: bool,
    intake: &Intake,
) -> Result<OpenStream, ReopenReason> {
    let dead = subscriber.as_ref().filter(|_| dead);
    let shared = stream.connection.subscriber(dead).await;
    let shared = shared.map_err(|error| ReopenReason::Temporary(error.to_string()))?;
    let messages = stream.limits.stream(&shared.subscriber, &stream.subscription);
    *subscriber = Some(shared);
    let shutdown = messages.shutdown_token();
    let activity = Arc::new(StreamActivity::new());
    let pace = StreamPace::new(activity.clone(), stream.entropy.clone());
    let feed = feed(messages, intake.clone(), activity.clone(), stream.delivered.clone());
    let feeder = tokio::spawn(pace.scope(feed));
    Ok(OpenStream { shutdown, feeder, activity })
}

async fn watch(
    stream: &SupervisedStream,
    open: &mut OpenStream,
    retiring: &mut JoinSet<()>,
    unhealthy: &mut Option<UnhealthyStream>,
    stop: &CancellationToken,
) -> StreamEvent {
    let healthy_at = Instant::now() + HEALTHY_AGE;
    // Jittered, so that streams opened together are not replaced together.
    let limit = stream.idle_rotation.map(|limit| limit.mul_f64(1.0 + 0.2 * stream.entropy.share()));
    let silence = async {
        match limit {
            Some(limit) => open.activity.silent_for(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(silence);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return StreamEvent::Stopped,
            end = &mut open.feeder => return StreamEvent::Ended(end.unwrap_or(StreamEnd::Closed)),
            Some(_) = retiring.join_next(), if !retiring.is_empty() => {}
            () = &mut silence => return StreamEvent::Silent,
            () = tokio::time::sleep_until(healthy_at), if unhealthy.is_some() => *unhealthy = None,
        }
    }
}

/// Shuts a stream down: it receives no more messages, waits for its outstanding deliveries, and sends their
/// acks. An ack that is not answered, because the connection has died, is given up: its message will be
/// redelivered.
async fn retire(open: OpenStream) {
    let OpenStream { shutdown, mut feeder, activity } = open;
    let shut_down = async {
        shutdown.shutdown().await;
        if !feeder.is_finished() {
            let _ = (&mut feeder).await;
        }
    };
    let unanswered = async {
        tokio::time::sleep(ACK_TIMEOUT).await;
        activity.silent_for(ACK_TIMEOUT).await;
    };
    tokio::select! {
        biased;
        () = shut_down => {}
        () = unanswered => {}
    }
}

/// The reason a stream is reopened, with its cause.
#[derive(Clone, PartialEq, Eq, Debug)]
enum ReopenReason {
    /// The stream cannot be opened until an operator acts.
    OperatorNeeded(String),
    /// Reopening the stream may succeed.
    Temporary(String),
}

impl ReopenReason {
    fn of(end: &StreamEnd) -> Self {
        match end {
            StreamEnd::Closed | StreamEnd::ChannelClosed => {
                Self::Temporary("the service closed the stream".to_owned())
            }
            StreamEnd::Failed(error) => Self::of_error(error),
        }
    }

    fn of_error(error: &Error) -> Self {
        match ErrorClass::of(error) {
            ErrorClass::Missing | ErrorClass::Denied | ErrorClass::Refused => {
                Self::OperatorNeeded(root_cause(error))
            }
            ErrorClass::Outage => Self::Temporary(root_cause(error)),
        }
    }

    fn log(&self, stream: &SupervisedStream, delay: Duration, suppressed: u64) {
        let SupervisedStream { subscription, index, clients, .. } = stream;
        let on = clients.describe();
        match self {
            Self::OperatorNeeded(cause) => tracing::error!(
                %subscription, stream = index, suppressed,
                "cannot receive from {subscription} on {on}: {cause}; retrying in {delay:.1?}, \
                 `ecom_setup --check` prints the command that fixes it"
            ),
            Self::Temporary(cause) => tracing::warn!(
                %subscription, stream = index, suppressed,
                "a stream of {subscription} on {on} ended: {cause}; reopening it in {delay:.1?}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Code;

    use super::*;
    use crate::error::status;

    #[test]
    fn one_line_is_logged_in_ten_seconds_with_the_number_of_suppressed_ones() {
        let start = Instant::now();
        let mut throttle = LogThrottle::every(LOG_INTERVAL);
        assert_eq!(throttle.admit(start), Some(0));
        assert_eq!(throttle.admit(start + Duration::from_secs(1)), None);
        assert_eq!(throttle.admit(start + Duration::from_secs(9)), None);
        assert_eq!(throttle.admit(start + Duration::from_secs(10)), Some(2));
        assert_eq!(throttle.admit(start + Duration::from_secs(25)), Some(0));
    }

    #[test]
    fn missing_and_forbidden_subscriptions_need_an_operator_and_outages_do_not() {
        let needs_operator =
            |code| matches!(ReopenReason::of_error(&status(code, "x")), ReopenReason::OperatorNeeded(_));
        assert!(needs_operator(Code::NotFound));
        assert!(needs_operator(Code::PermissionDenied));
        assert!(needs_operator(Code::FailedPrecondition));
        assert!(!needs_operator(Code::Unavailable));
        assert!(!needs_operator(Code::Cancelled));
        assert!(matches!(ReopenReason::of(&StreamEnd::Closed), ReopenReason::Temporary(_)));
    }
}
