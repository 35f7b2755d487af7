//! Keeping one stream open: rebuild it when it ends, replace it when it goes silent.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use google_cloud_pubsub::Error;
use google_cloud_pubsub::subscriber::ShutdownToken;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connect::Access;
use super::connection::{Connection, Shared};
use super::failure::{Failure, told};
use super::health::{Health, Troubled};
use super::streams::{HeartbeatSource, OperationReport, Shape, feed};
use ecom_bus::Delivery;
use ecom_clock::Entropy;
use ecom_domain::backoff::Backoff;

/// The shortest wait before a stream is opened again.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// A stream that lived this long was a good one: the next delay is a short one.
const GOOD_LIFE: Duration = Duration::from_secs(60);
/// A stream that was in trouble and lives this long is out of it.
const STEADY: Duration = Duration::from_secs(5);
/// At most one line about a stream's troubles in this time.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// One of a subscription's streams, as it is to be kept open.
pub(super) struct Slot {
    pub(super) access: Arc<Access>,
    pub(super) connection: Arc<Connection>,
    pub(super) subscription: String,
    pub(super) slot: usize,
    pub(super) shape: Shape,
    pub(super) idle_rotation: Option<Duration>,
    pub(super) entropy: Arc<Entropy>,
    pub(super) health: Arc<Health>,
    pub(super) delivered: Arc<AtomicU64>,
}

/// A stream that is open, or opening.
struct Open {
    shutdown: ShutdownToken,
    feeder: JoinHandle<OperationReport>,
    heartbeat_source: Arc<HeartbeatSource>,
}

/// What happened to it.
enum Event {
    Stop,
    OperationReport(OperationReport),
    Silent,
}

/// Keeps the slot's stream open until `stop`, then waits for every ack of every stream it had.
pub(super) async fn run(slot: Slot, intake: mpsc::Sender<Delivery>, stop: CancellationToken) {
    let backoff = Backoff::try_new(FIRST_DELAY, MAX_DELAY).expect("0.1 s is above zero and below 30 s");
    let mut troubles = Quiet::default();
    let mut retiring = JoinSet::new();
    let mut shared: Option<Shared> = None;
    let mut dead = false;
    let mut replaced: Option<Open> = None;
    let mut attempt = 0u32;
    let mut troubled = None;
    while !stop.is_cancelled() {
        let opened = open(&slot, &mut shared, std::mem::take(&mut dead), &intake).await;
        // The old stream is shut once the new one is on its way.
        if let Some(old) = replaced.take() {
            retiring.spawn(retire(old));
        }
        let trouble = match opened {
            Err(trouble) => trouble,
            Ok(mut open) => match watch(&slot, &mut open, &mut retiring, &mut troubled, &stop).await {
                Event::Stop | Event::OperationReport(OperationReport::Unwanted) => {
                    retiring.spawn(retire(open));
                    break;
                }
                Event::Silent => {
                    tracing::debug!(subscription = %slot.subscription, stream = slot.slot, "replacing a silent stream");
                    // A new connection, too: the silence may be a connection that died unnoticed.
                    dead = true;
                    replaced = Some(open);
                    attempt = 0;
                    continue;
                }
                Event::OperationReport(ended) => {
                    if open.heartbeat_source.delivered() > 0 || open.heartbeat_source.age() > GOOD_LIFE {
                        attempt = 0;
                    }
                    retiring.spawn(retire(open));
                    Trouble::of(&ended)
                }
            },
        };
        troubled.get_or_insert_with(|| slot.health.trouble());
        let delay = backoff.delay(attempt, slot.entropy.share()).max(FIRST_DELAY);
        attempt = attempt.saturating_add(1);
        if let Some(unsaid) = troubles.admit(Instant::now()) {
            trouble.log(&slot, delay, unsaid);
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
    slot: &Slot,
    shared: &mut Option<Shared>,
    dead: bool,
    intake: &mpsc::Sender<Delivery>,
) -> Result<Open, Trouble> {
    let found_dead = shared.as_ref().filter(|_| dead);
    let subscriber = slot.connection.subscriber(found_dead).await;
    let subscriber = subscriber.map_err(|error| Trouble::Passing(error.to_string()))?;
    let stream = slot.shape.stream(&subscriber.subscriber, &slot.subscription);
    *shared = Some(subscriber);
    let shutdown = stream.shutdown_token();
    let heartbeat_source = Arc::new(HeartbeatSource::new());
    let feeder = tokio::spawn(feed(stream, intake.clone(), heartbeat_source.clone(), slot.delivered.clone()));
    Ok(Open { shutdown, feeder, heartbeat_source })
}

async fn watch(
    slot: &Slot,
    open: &mut Open,
    retiring: &mut JoinSet<()>,
    troubled: &mut Option<Troubled>,
    stop: &CancellationToken,
) -> Event {
    let steady = Instant::now() + STEADY;
    // Spread, so that streams opened together are not replaced together.
    let limit = slot.idle_rotation.map(|limit| limit.mul_f64(1.0 + 0.2 * slot.entropy.share()));
    let silence = async {
        match limit {
            Some(limit) => open.heartbeat_source.silent_for(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(silence);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Event::Stop,
            ended = &mut open.feeder => return Event::OperationReport(ended.unwrap_or(OperationReport::Closed)),
            Some(_) = retiring.join_next(), if !retiring.is_empty() => {}
            () = &mut silence => return Event::Silent,
            () = tokio::time::sleep_until(steady), if troubled.is_some() => *troubled = None,
        }
    }
}

/// Shuts a stream: no new messages, then every delivery settled, then every ack sent.
async fn retire(open: Open) {
    open.shutdown.shutdown().await;
    if !open.feeder.is_finished() {
        let _ = open.feeder.await;
    }
}

/// Why a stream is to be opened again.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Trouble {
    /// A human must act.
    Lasting(String),
    /// It heals by itself.
    Passing(String),
}

impl Trouble {
    fn of(ended: &OperationReport) -> Self {
        match ended {
            OperationReport::Closed | OperationReport::Unwanted => {
                Self::Passing("the service closed the stream".to_owned())
            }
            OperationReport::Failed(error) => Self::of_error(error),
        }
    }

    fn of_error(error: &Error) -> Self {
        match Failure::of(error) {
            Failure::Missing | Failure::Denied | Failure::Refused => Self::Lasting(told(error)),
            Failure::Outage => Self::Passing(told(error)),
        }
    }

    fn log(&self, slot: &Slot, delay: Duration, unsaid: u64) {
        let Slot { subscription, slot: stream, access, .. } = slot;
        let on = access.describe();
        match self {
            Self::Lasting(cause) => tracing::error!(
                %subscription, stream, unsaid,
                "cannot receive from {subscription} on {on}: {cause}; retrying in {delay:.1?}, \
                 `ecom_setup --check` says what to do"
            ),
            Self::Passing(cause) => tracing::warn!(
                %subscription, stream, unsaid,
                "a stream of {subscription} on {on} ended: {cause}; opening it again in {delay:.1?}"
            ),
        }
    }
}

/// At most one line in [`LOG_EVERY`], with the number of those left out since.
#[derive(Default)]
struct Quiet {
    last: Option<Instant>,
    unsaid: u64,
}

impl Quiet {
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < LOG_EVERY) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Code;

    use super::super::failure::status;
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_and_it_counts_the_others() {
        let start = Instant::now();
        let mut quiet = Quiet::default();
        assert_eq!(quiet.admit(start), Some(0));
        assert_eq!(quiet.admit(start + Duration::from_secs(1)), None);
        assert_eq!(quiet.admit(start + Duration::from_secs(9)), None);
        assert_eq!(quiet.admit(start + Duration::from_secs(10)), Some(2));
        assert_eq!(quiet.admit(start + Duration::from_secs(25)), Some(0));
    }

    #[test]
    fn missing_and_forbidden_subscriptions_need_a_human_and_the_rest_heals() {
        let lasting = |code| matches!(Trouble::of_error(&status(code, "x")), Trouble::Lasting(_));
        assert!(lasting(Code::NotFound));
        assert!(lasting(Code::PermissionDenied));
        assert!(lasting(Code::FailedPrecondition));
        assert!(!lasting(Code::Unavailable));
        assert!(!lasting(Code::Cancelled));
        assert!(matches!(Trouble::of(&OperationReport::Closed), Trouble::Passing(_)));
    }
}
