//! Receiving: feeders that only await the client's streams, and the leases they hand out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::subscriber::handler::Handler;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownBehavior};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connect::Access;
use super::connection::{self, Connection};
use super::health::Health;
use super::message::received;
use super::{grow, supervise};
use ecom_bus::{Backlog, Delivery, Feed, Lease, Streams, SubscribeOptions, Subscription};
use ecom_clock::Entropy;

/// How long the client keeps renewing a lease; after it the message is delivered again.
const MAX_LEASE: Duration = Duration::from_secs(60 * 60);

/// Bytes handed out and not settled, over all streams.
const MAX_OUTSTANDING_BYTES: usize = 128 << 20;

/// The largest message is 10 MB; a stream below that could starve on one.
const MIN_STREAM_BYTES: usize = 10 << 20;

/// The most streams that are opened unasked: on the emulator 64,000 messages a second.
const MOST: usize = 32;

/// Streams that the window is divided by while it is open how many there will be.
const USUAL: usize = 8;

/// Starts supervised streams that fill one channel.
pub(super) fn open(
    access: Arc<Access>,
    subscription: String,
    options: SubscribeOptions,
    entropy: Arc<Entropy>,
) -> Subscription {
    let (intake, deliveries) = mpsc::channel(options.buffer.max(1));
    let stop = CancellationToken::new();
    let most = most(options.streams);
    let site = Site {
        shape: Shape::of(&options, most),
        connections: (0..most.div_ceil(connection::STREAMS))
            .map(|_| Arc::new(Connection::new(access.clone())))
            .collect(),
        access,
        subscription,
        idle_rotation: options.idle_rotation,
        entropy,
        health: Arc::new(Health::new()),
        delivered: Arc::default(),
        intake,
        stop: stop.clone(),
    };
    let mut tasks = JoinSet::new();
    let health = site.health.clone();
    tasks.spawn(health.clone().ask(site.access.clone(), site.subscription.clone(), stop.clone()));
    match options.streams {
        Streams::Fixed(_) => (0..most).for_each(|slot| site.start(slot, &mut tasks)),
        Streams::Automatic => {
            tasks.spawn(grow::grow(site, most));
        }
    }
    Subscription::new(deliveries, Box::new(Running { stop, health, tasks: Mutex::new(tasks) }))
}

fn most(streams: Streams) -> usize {
    match streams {
        Streams::Fixed(streams) => streams.max(1),
        Streams::Automatic => MOST,
    }
}

/// What every stream of a subscription has in common.
pub(super) struct Site {
    access: Arc<Access>,
    connections: Vec<Arc<Connection>>,
    pub(super) subscription: String,
    shape: Shape,
    idle_rotation: Option<Duration>,
    entropy: Arc<Entropy>,
    health: Arc<Health>,
    /// Deliveries of all streams so far.
    pub(super) delivered: Arc<AtomicU64>,
    pub(super) intake: mpsc::Sender<Delivery>,
    pub(super) stop: CancellationToken,
}

impl Site {
    /// Starts the supervisor of a stream.
    pub(super) fn start(&self, slot: usize, tasks: &mut JoinSet<()>) {
        self.health.opened();
        let stream = supervise::Slot {
            access: self.access.clone(),
            connection: self.connections[slot / connection::STREAMS].clone(),
            subscription: self.subscription.clone(),
            slot,
            shape: self.shape,
            idle_rotation: self.idle_rotation,
            entropy: self.entropy.clone(),
            health: self.health.clone(),
            delivered: self.delivered.clone(),
        };
        tasks.spawn(supervise::run(stream, self.intake.clone(), self.stop.clone()));
    }
}

/// The running streams of one subscription. Dropping it shuts them.
struct Running {
    stop: CancellationToken,
    health: Arc<Health>,
    tasks: Mutex<JoinSet<()>>,
}

#[async_trait]
impl Feed for Running {
    fn answers(&self) -> bool {
        self.health.answers()
    }

    async fn backlog(&self) -> Backlog {
        Backlog::Unknown
    }

    fn close(&self) {
        self.stop.cancel();
    }

    async fn stopped(&self) {
        let mut tasks = self.tasks.lock().await;
        while let Some(ended) = tasks.join_next().await {
            if ended.is_err() {
                tracing::error!("a stream's supervisor panicked");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        // Each ends by itself once its last ack is sent.
        self.tasks.get_mut().detach_all();
    }
}

/// What each stream asks the service for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    outstanding: i64,
    bytes: i64,
    ack_deadline: Duration,
}

impl Shape {
    fn of(options: &SubscribeOptions, streams: usize) -> Self {
        // The share of streams that may never come would starve the ones there are.
        let sharing = if options.streams == Streams::Automatic { USUAL } else { streams };
        let outstanding = options.max_outstanding.div_ceil(sharing).max(1);
        let bytes = (MAX_OUTSTANDING_BYTES / streams).max(MIN_STREAM_BYTES);
        Self {
            outstanding: i64::try_from(outstanding).unwrap_or(i64::MAX),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            ack_deadline: options.ack_deadline.clamp(Duration::from_secs(10), Duration::from_secs(600)),
        }
    }

    /// A stream that opens with its first `next()`.
    pub(super) fn stream(&self, subscriber: &Subscriber, subscription: &str) -> MessageStream {
        subscriber
            .subscribe(subscription)
            .set_max_outstanding_messages(self.outstanding)
            .set_max_outstanding_bytes(self.bytes)
            .set_max_lease_extension(self.ack_deadline)
            .set_max_lease(MAX_LEASE)
            .set_shutdown_behavior(ShutdownBehavior::WaitForProcessing)
            .build()
    }
}

/// Why a feeder ended.
#[derive(Debug)]
pub(super) enum OperationReport {
    /// The stream ended without an error: it was shut, or the service closed it.
    Closed,
    /// The stream failed for good.
    Failed(Error),
    /// Nobody takes deliveries any more.
    Unwanted,
}

/// Moves messages from the stream into the intake and does nothing else: `next()` must never be
/// dropped half-way, so this task is not cancelled but ended through the stream's shutdown token.
pub(super) async fn feed(
    mut stream: MessageStream,
    intake: mpsc::Sender<Delivery>,
    heartbeat_source: Arc<HeartbeatSource>,
    delivered: Arc<AtomicU64>,
) -> OperationReport {
    loop {
        match stream.next().await {
            Some(Ok((message, handler))) => {
                let attempt = handler.delivery_attempt();
                let lease = StreamLease { handler, _owed: Owed::new(&heartbeat_source) };
                delivered.fetch_add(1, Ordering::Relaxed);
                let delivery = Delivery::new(received(message, attempt), Box::new(lease));
                if intake.send(delivery).await.is_err() {
                    return OperationReport::Unwanted;
                }
            }
            Some(Err(error)) => return OperationReport::Failed(error),
            None => return OperationReport::Closed,
        }
    }
}

/// The client's handler: its acks are sent in batches, unconfirmed; dropping it nacks.
struct StreamLease {
    handler: Handler,
    _owed: Owed,
}

impl Lease for StreamLease {
    fn ack(self: Box<Self>) {
        self.handler.ack();
    }

    fn nack(self: Box<Self>) {
        self.handler.nack();
    }
}

/// When a stream last handed out or took back a delivery, and how many it is owed.
#[derive(Debug)]
pub(super) struct HeartbeatSource {
    since: Instant,
    last_ms: AtomicU64,
    owed: AtomicUsize,
    delivered: AtomicU64,
}

impl HeartbeatSource {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            last_ms: AtomicU64::new(0),
            owed: AtomicUsize::new(0),
            delivered: AtomicU64::new(0),
        }
    }

    /// How many deliveries it handed out.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// How long the stream has been open.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Resolves once nothing was heard for `limit` while nothing is owed: a stream whose window is
    /// full is silent because the service waits for it.
    pub(super) async fn silent_for(&self, limit: Duration) {
        loop {
            let last = self.since + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let quiet = last.elapsed();
            if self.owed.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(limit).await;
            } else if quiet < limit {
                tokio::time::sleep_until(last + limit).await;
            } else {
                return;
            }
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }
}

/// One unsettled delivery.
#[derive(Debug)]
struct Owed(Arc<HeartbeatSource>);

impl Owed {
    fn new(heartbeat_source: &Arc<HeartbeatSource>) -> Self {
        heartbeat_source.touch();
        heartbeat_source.owed.fetch_add(1, Ordering::AcqRel);
        heartbeat_source.delivered.fetch_add(1, Ordering::Relaxed);
        Self(heartbeat_source.clone())
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.touch();
        self.0.owed.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(streams: usize, max_outstanding: usize, lease: u64) -> SubscribeOptions {
        SubscribeOptions {
            streams: Streams::Fixed(streams),
            max_outstanding,
            buffer: 1,
            ack_deadline: Duration::from_secs(lease),
            idle_rotation: None,
        }
    }

    fn shape(streams: usize, max_outstanding: usize, lease: u64) -> Shape {
        let options = options(streams, max_outstanding, lease);
        Shape::of(&options, most(options.streams))
    }

    #[test]
    fn streams_share_the_window_rounded_up_and_the_lease_stays_within_the_services_bounds() {
        let four = shape(4, 258, 60);
        assert_eq!(
            (four.outstanding, four.bytes, four.ack_deadline),
            (65, 32 << 20, Duration::from_secs(60))
        );
        assert_eq!(shape(32, 1, 1).outstanding, 1);
        assert_eq!(shape(32, 0, 1).outstanding, 1);
        assert_eq!(shape(32, 1, 1).bytes, 10 << 20);
        assert_eq!(shape(0, 7, 1).outstanding, 7);
        assert_eq!(shape(1, 1, 1).ack_deadline, Duration::from_secs(10));
        assert_eq!(shape(1, 1, 9_999).ack_deadline, Duration::from_secs(600));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_delivery() {
        let heartbeat_source = Arc::new(HeartbeatSource::new());
        tokio::time::advance(Duration::from_secs(50)).await;
        drop(Owed::new(&heartbeat_source));
        let before = Instant::now();
        heartbeat_source.silent_for(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_owed_a_settlement_is_not_silent() {
        let heartbeat_source = Arc::new(HeartbeatSource::new());
        let owed = Owed::new(&heartbeat_source);
        let waited = tokio::time::timeout(
            Duration::from_secs(600),
            heartbeat_source.silent_for(Duration::from_secs(60)),
        );
        assert!(waited.await.is_err());
        drop(owed);
        let before = Instant::now();
        heartbeat_source.silent_for(Duration::from_secs(60)).await;
        assert_eq!(before.elapsed().as_secs(), 60);
    }
}
