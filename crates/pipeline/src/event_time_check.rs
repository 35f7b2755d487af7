//! Unusable event times: every one is counted, and one a minute is logged.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use ecom_bus::ReceivedMessage;
use ecom_clock::LogThrottle;
use ecom_telemetry::metrics::RoleMetrics;

/// The minimum time between two log lines.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The check of the event times of a subscription's messages.
#[derive(Debug)]
pub(super) struct EventTimeCheck(Mutex<LogThrottle>);

impl Default for EventTimeCheck {
    fn default() -> Self {
        Self(Mutex::new(LogThrottle::every(LOG_INTERVAL)))
    }
}

impl EventTimeCheck {
    /// Counts a message with an unusable event time, and logs it unless one was logged within a minute.
    pub(super) fn check(&self, received: &ReceivedMessage, source: &str, metrics: &RoleMetrics) {
        let Some(event_time) = received.unusable_event_time() else { return };
        metrics.unusable_event_times.inc();
        if let Some(count) = self.admit(Instant::now()) {
            tracing::warn!(
                subscription = source,
                message.id = received.id,
                count,
                "event_time_us {:?} is unusable, the publish time stands for it; publishers have to set microseconds since 1970",
                event_time.chars().take(24).collect::<String>(),
            );
        }
    }

    /// Returns the number of unusable event times since the last line, this one included, if it is to be logged.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut throttle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.admit(now).map(|suppressed| suppressed + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecom_bus::{Attributes, Message};
    use ecom_domain::role::Role;

    #[test]
    fn every_unusable_event_time_is_counted_and_one_a_minute_is_logged() {
        let (check, start) = (EventTimeCheck::default(), Instant::now());
        assert_eq!(check.admit(start), Some(1));
        assert_eq!(check.admit(start + Duration::from_secs(1)), None);
        assert_eq!(check.admit(start + Duration::from_secs(59)), None);
        assert_eq!(check.admit(start + Duration::from_secs(60)), Some(3));
        let metrics = RoleMetrics::new(Role::OrderConsumer);
        for (time, count) in [
            (None, 0),
            (Some("1700000000000000"), 0),
            (Some("4102444800000000"), 0),
            (Some("1700000000"), 1),
            (Some("1700000000000"), 2),
            (Some("soon"), 3),
        ] {
            let attributes: Attributes = time.iter().map(|time| ("event_time_us", *time)).collect();
            let message = Message { attributes, ..Message::default() };
            let received = ReceivedMessage {
                message,
                id: "1".into(),
                publish_time_us: 1_700_000_000_000_000,
                attempt: 1,
            };
            check.check(&received, "orders_data-sub", &metrics);
            assert_eq!(metrics.unusable_event_times.get(), count, "{time:?}");
        }
    }
}
