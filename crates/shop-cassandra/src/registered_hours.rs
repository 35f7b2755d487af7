//! The hours that this process has registered, so that it registers each once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The most hours remembered: those of more than a year.
const CAPACITY: usize = 10_000;

/// The hours that this process has registered, each by its start.
#[derive(Default, Debug)]
pub(super) struct RegisteredHours(Mutex<BTreeSet<i64>>);

impl RegisteredHours {
    /// Returns whether the registration of an hour is known to be durable.
    pub(super) fn contains(&self, hour: i64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&hour)
    }

    /// Remembers a registration that is durable.
    pub(super) fn insert(&self, hour: i64) {
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hours.len() >= CAPACITY {
            hours.clear();
        }
        hours.insert(hour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registered_hour_is_remembered_and_memory_is_bounded() {
        let hours = RegisteredHours::default();
        assert!(!hours.contains(7));
        (0..15_000).for_each(|hour| hours.insert(hour));
        assert!(hours.contains(14_999) && !hours.contains(15_000));
        assert!(hours.0.lock().unwrap().len() <= CAPACITY);
    }
}
