//! `[dead_letters]`: when they are tried again, and when they are left to a human.

use std::time::Duration;

use super::super::reader::Reader;

const MS: Duration = Duration::from_millis(1);

/// When dead letters are tried again, and when they are left to a human.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLettersConfig {
    /// Wait before the first retry of a waiting dead letter; not zero, not above `max_backoff`.
    pub first_retry: Duration,
    /// Longest wait between two retries.
    pub max_backoff: Duration,
    /// Age at which a waiting dead letter is parked.
    pub max_age: Duration,
    /// How often parked dead letters are checked again.
    pub sweep_interval: Duration,
    /// How long resolved dead letters are kept.
    pub retention: Duration,
}

impl DeadLettersConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let first_retry = reader.duration("dead_letters.first_retry", MS..=days(7));
        let max_backoff = reader.duration("dead_letters.max_backoff", MS..=days(7));
        let max_age = reader.duration("dead_letters.max_age", MS..=days(366));
        let sweep_interval = reader.duration("dead_letters.sweep_interval", MS..=days(7));
        let retention = reader.duration("dead_letters.retention", Duration::from_secs(1)..=days(3660));
        if let (Some(first), Some(max)) = (first_retry, max_backoff)
            && first > max
        {
            let [first, max] = [first, max].map(humantime::format_duration);
            reader.fault(
                "dead_letters.first_retry",
                &format!("must not exceed dead_letters.max_backoff, is {first} above {max}"),
            );
        }
        Some(Self {
            first_retry: first_retry?,
            max_backoff: max_backoff?,
            max_age: max_age?,
            sweep_interval: sweep_interval?,
            retention: retention?,
        })
    }
}

const fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}
