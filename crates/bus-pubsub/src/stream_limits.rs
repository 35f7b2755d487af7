//! The flow control of one stream.

use std::time::Duration;

use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownBehavior};

use ecom_bus::{Streams, SubscribeOptions};

/// The time for which the client library extends ack deadlines. After it, the message is redelivered.
const MAX_LEASE: Duration = Duration::from_secs(60 * 60);

/// The minimum of outstanding bytes for a stream: with less, it could not receive the largest message, 10 MB.
const MIN_STREAM_BYTES: usize = 10 << 20;

/// The number of streams that share the window while their final number is not known.
const EXPECTED_STREAMS: usize = 8;

/// The limits that one stream asks the service for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct StreamLimits {
    messages: i64,
    bytes: i64,
    ack_deadline: Duration,
}

impl StreamLimits {
    /// Returns the share of the options, and of the intake's `bytes`, that each of at most `streams` streams
    /// has.
    pub(super) fn new(options: &SubscribeOptions, bytes: usize, streams: usize) -> Self {
        // A share for streams that may never be opened would starve the open ones.
        let sharing = if options.streams == Streams::Automatic { EXPECTED_STREAMS } else { streams };
        let messages = options.max_outstanding.div_ceil(sharing).max(1);
        let bytes = (bytes / streams).max(MIN_STREAM_BYTES);
        Self {
            messages: i64::try_from(messages).unwrap_or(i64::MAX),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            ack_deadline: options.ack_deadline.clamp(Duration::from_secs(10), Duration::from_secs(600)),
        }
    }

    /// Builds a stream with these limits. It is opened by the first `next()`.
    pub(super) fn stream(&self, subscriber: &Subscriber, subscription: &str) -> MessageStream {
        subscriber
            .subscribe(subscription)
            .set_max_outstanding_messages(self.messages)
            .set_max_outstanding_bytes(self.bytes)
            .set_max_lease_extension(self.ack_deadline)
            .set_max_lease(MAX_LEASE)
            .set_shutdown_behavior(ShutdownBehavior::WaitForProcessing)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(streams: usize, max_outstanding: usize, ack_deadline: u64) -> StreamLimits {
        let options = SubscribeOptions {
            streams: Streams::Fixed(streams),
            max_outstanding,
            buffer: 1,
            ack_deadline: Duration::from_secs(ack_deadline),
            idle_rotation: None,
        };
        StreamLimits::new(&options, 128 << 20, streams)
    }

    #[test]
    fn streams_share_the_window_rounded_up_and_the_ack_deadline_is_clamped_to_the_services_bounds() {
        let four = limits(4, 258, 60);
        assert_eq!((four.messages, four.bytes, four.ack_deadline), (65, 32 << 20, Duration::from_secs(60)));
        assert_eq!(limits(32, 1, 1).messages, 1);
        assert_eq!(limits(32, 0, 1).messages, 1);
        assert_eq!(limits(1, 7, 1).messages, 7);
        assert_eq!(limits(32, 1, 1).bytes, 10 << 20);
        assert_eq!(limits(1, 1, 1).ack_deadline, Duration::from_secs(10));
        assert_eq!(limits(1, 1, 9_999).ack_deadline, Duration::from_secs(600));
    }
}
