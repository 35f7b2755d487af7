//! The streams of one subscription.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clients::ClientFactory;
use crate::connection::{STREAMS_PER_CONNECTION, SharedConnection};
use crate::health::SubscriptionHealth;
use crate::intake::Intake;
use crate::stream_limits::StreamLimits;
use crate::supervise::{self, SupervisedStream};
use ecom_clock::Entropy;

/// The state that all streams of a subscription share.
pub(super) struct StreamSet {
    pub(super) clients: Arc<ClientFactory>,
    /// The connections, each for [`STREAMS_PER_CONNECTION`] streams.
    pub(super) connections: Vec<Arc<SharedConnection>>,
    /// The full name of the subscription.
    pub(super) subscription: String,
    pub(super) limits: StreamLimits,
    pub(super) idle_rotation: Option<Duration>,
    pub(super) entropy: Arc<Entropy>,
    pub(super) health: Arc<SubscriptionHealth>,
    /// The number of deliveries of all streams so far.
    pub(super) delivered: Arc<AtomicU64>,
    pub(super) intake: Intake,
    pub(super) stop: CancellationToken,
}

impl StreamSet {
    /// Starts the supervisor of the stream with this index.
    pub(super) fn start(&self, index: usize, tasks: &mut JoinSet<()>) {
        self.health.stream_opened();
        let stream = SupervisedStream {
            clients: self.clients.clone(),
            connection: self.connections[index / STREAMS_PER_CONNECTION].clone(),
            subscription: self.subscription.clone(),
            index,
            limits: self.limits,
            idle_rotation: self.idle_rotation,
            entropy: self.entropy.clone(),
            health: self.health.clone(),
            delivered: self.delivered.clone(),
        };
        tasks.spawn(supervise::run(stream, self.intake.clone(), self.stop.clone()));
    }
}
