//! The partitions with dead letters that this process has registered, so that it registers each once an hour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The time after which a partition is registered again, in microseconds: an hour.
pub(super) const VALID_FOR: i64 = 3_600 * 1_000_000;
/// The most partitions remembered: those of 300 days.
const CAPACITY: usize = 20_000;

/// A partition: day and bucket.
type Partition = (i32, i16);

/// The partitions that this process has registered, with the time when it did.
#[derive(Default, Debug)]
pub(super) struct Registrations(Mutex<HashMap<Partition, i64>>);

impl Registrations {
    /// Returns whether a registration of the partition is durable and not too old at `now`, in microseconds
    /// since the epoch.
    pub(super) fn contains(&self, partition: Partition, now: i64) -> bool {
        let registered = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).copied();
        registered.is_some_and(|at| (at..at.saturating_add(VALID_FOR)).contains(&now))
    }

    /// Remembers a registration that is durable.
    pub(super) fn insert(&self, partition: Partition, now: i64) {
        let mut registered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if registered.len() >= CAPACITY {
            registered.clear();
        }
        registered.insert(partition, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_is_valid_for_an_hour_and_not_before_it_was_made() {
        let registrations = Registrations::default();
        registrations.insert((20_240_121, 5), 1_000);
        for (now, is_valid) in
            [(999, false), (1_000, true), (999 + VALID_FOR, true), (1_000 + VALID_FOR, false)]
        {
            assert_eq!(registrations.contains((20_240_121, 5), now), is_valid, "{now}");
        }
        assert!(!registrations.contains((20_240_121, 6), 1_000));
    }

    #[test]
    fn remembered_registrations_are_bounded() {
        let registrations = Registrations::default();
        (0..30_000).for_each(|day| registrations.insert((day, 0), 1));
        assert!(registrations.contains((29_999, 0), 1));
        assert!(registrations.0.lock().expect("not poisoned").len() <= CAPACITY);
    }
}
