//! Opens a subscription: supervised streams that fill one channel.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clients::ClientFactory;
use crate::connection::{STREAMS_PER_CONNECTION, SharedConnection};
use crate::health::SubscriptionHealth;
use crate::intake::Intake;
use crate::scale;
use crate::stream_limits::StreamLimits;
use crate::stream_set::StreamSet;
use ecom_bus::{Backlog, Feed, Streams, SubscribeOptions, Subscription};
use ecom_clock::Entropy;

/// The maximum number of streams that are opened automatically. On the emulator they deliver 64,000 messages
/// a second.
const MAX_AUTOMATIC_STREAMS: usize = 32;

/// Starts the streams of a subscription, which is given by its full name.
pub(super) fn open(
    clients: Arc<ClientFactory>,
    subscription: String,
    options: SubscribeOptions,
    entropy: Arc<Entropy>,
) -> Subscription {
    let bytes = clients.settings.intake_bytes;
    let (intake, deliveries) = Intake::new(bytes);
    let (stop, health) = (CancellationToken::new(), Arc::new(SubscriptionHealth::new()));
    let mut tasks = JoinSet::new();
    tasks.spawn(health.clone().probe(clients.clone(), subscription.clone(), stop.clone()));
    let max_streams = max_streams(options.streams);
    let connections = (0..max_streams.div_ceil(STREAMS_PER_CONNECTION))
        .map(|_| Arc::new(SharedConnection::new(clients.clone())))
        .collect();
    let set = StreamSet {
        clients,
        connections,
        subscription,
        limits: StreamLimits::new(&options, bytes, max_streams),
        idle_rotation: options.idle_rotation,
        entropy,
        health: health.clone(),
        delivered: Arc::default(),
        intake,
        stop: stop.clone(),
    };
    match options.streams {
        Streams::Fixed(_) => (0..max_streams).for_each(|index| set.start(index, &mut tasks)),
        Streams::Automatic => {
            tasks.spawn(scale::run(set, max_streams));
        }
    }
    Subscription::new(deliveries, Box::new(StreamingFeed { stop, health, tasks: Mutex::new(tasks) }))
}

fn max_streams(streams: Streams) -> usize {
    match streams {
        Streams::Fixed(streams) => streams.max(1),
        Streams::Automatic => MAX_AUTOMATIC_STREAMS,
    }
}

/// The tasks of one subscription. Dropping it stops them.
struct StreamingFeed {
    stop: CancellationToken,
    health: Arc<SubscriptionHealth>,
    tasks: Mutex<JoinSet<()>>,
}

#[async_trait]
impl Feed for StreamingFeed {
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

impl Drop for StreamingFeed {
    fn drop(&mut self) {
        self.stop.cancel();
        // Each task ends by itself once its last ack is sent.
        self.tasks.get_mut().detach_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_one_stream_is_opened() {
        assert_eq!(max_streams(Streams::Fixed(0)), 1);
        assert_eq!(max_streams(Streams::Fixed(7)), 7);
        assert_eq!(max_streams(Streams::Automatic), 32);
    }
}
