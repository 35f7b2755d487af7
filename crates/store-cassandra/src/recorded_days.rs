//! The days with dead letters that this process has recorded, so that it records each once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The most days remembered.
const CAPACITY: usize = 1_000;

/// The days that this process has recorded.
#[derive(Default, Debug)]
pub(super) struct RecordedDays(Mutex<BTreeSet<i32>>);

impl RecordedDays {
    /// Returns whether the day is known to be durable.
    pub(super) fn contains(&self, day: i32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&day)
    }

    /// Remembers a day that is durable.
    pub(super) fn insert(&self, day: i32) {
        let mut days = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        days.insert(day);
        if days.len() > CAPACITY {
            days.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_days_are_bounded() {
        let days = RecordedDays::default();
        (0..2_000).for_each(|day| days.insert(day));
        assert!(days.contains(1_999) && !days.contains(0));
        assert_eq!(days.0.lock().expect("not poisoned").len(), CAPACITY);
    }
}
