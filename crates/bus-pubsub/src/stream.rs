//! The feeder of one stream: it moves deliveries from the client library into the channel to the workers.
//!
//! The client library extends the leases of the messages that it has received, and it receives only while the
//! feeder asks. So the feeder goes on whatever the workers do, within the bytes that the intake may have: the
//! service sends no more than the stream's limits, and the emulator, which has none, no more than that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use google_cloud_pubsub::Error;
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;

use crate::intake::Intake;
use crate::message::received;
use crate::stream_activity::{OutstandingDelivery, StreamActivity};
use ecom_bus::{ByteShare, Delivery, Lease};

/// The reason a feeder ended.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// The stream ended without an error: it was shut down, or the service closed it.
    Closed,
    /// The stream failed, and the client library does not retry.
    Failed(Error),
    /// The channel to the workers is closed.
    ChannelClosed,
}

/// Moves messages from the stream into the channel until one of them ends.
///
/// It does nothing else and is never cancelled: dropping `next()` halfway resets the stream. It ends through
/// the stream's shutdown token.
pub(super) async fn feed(
    mut stream: MessageStream,
    intake: Intake,
    activity: Arc<StreamActivity>,
    delivered: Arc<AtomicU64>,
) -> StreamEnd {
    loop {
        match stream.next().await {
            Some(Ok((message, handler))) => {
                let outstanding = OutstandingDelivery::new(&activity);
                delivered.fetch_add(1, Ordering::Relaxed);
                let received = received(message, handler.delivery_attempt());
                let share = intake.share(&received).await;
                let lease = StreamLease { handler, _outstanding: outstanding, _share: share };
                if intake.send(Delivery::new(received, Box::new(lease))).await.is_err() {
                    return StreamEnd::ChannelClosed;
                }
            }
            Some(Err(error)) => return StreamEnd::Failed(error),
            None => return StreamEnd::Closed,
        }
    }
}

/// The client library's handler. It sends acks in batches without confirmation, and nacks when it is dropped.
struct StreamLease {
    handler: Handler,
    _outstanding: OutstandingDelivery,
    _share: ByteShare,
}

impl Lease for StreamLease {
    fn ack(self: Box<Self>) {
        self.handler.ack();
    }

    fn nack(self: Box<Self>) {
        self.handler.nack();
    }
}
