//! The dead letters a handler is going to retry, by when they are due.

use std::collections::{BTreeSet, HashMap};

use ecom_domain::dead_letter::DeadLetterId;

/// Most dead letters scheduled; the sweep finds the rest.
const CAPACITY: usize = 50_000;

/// A bounded schedule with each dead letter at most once.
#[derive(Default, Debug)]
pub(super) struct RetrySchedule {
    by_time: BTreeSet<(i64, DeadLetterId)>,
    times: HashMap<DeadLetterId, i64>,
    has_overflowed: bool,
}

impl RetrySchedule {
    /// Schedules a dead letter for this time, in microseconds since the epoch. A dead letter that is already
    /// scheduled keeps its time; one that does not fit is dropped.
    pub(super) fn add(&mut self, id: DeadLetterId, due: i64) {
        if self.times.contains_key(&id) {
            return;
        }
        if self.times.len() >= CAPACITY {
            self.has_overflowed = true;
            return;
        }
        self.times.insert(id.clone(), due);
        self.by_time.insert((due, id));
    }

    /// The time at which the next dead letter is due.
    pub(super) fn first_due(&self) -> Option<i64> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Removes and returns the next dead letter that is due now.
    pub(super) fn pop_due(&mut self, now: i64) -> Option<DeadLetterId> {
        self.first_due().filter(|due| *due <= now)?;
        let (_, id) = self.by_time.pop_first()?;
        self.times.remove(&id);
        Some(id)
    }

    /// Returns true once, when a schedule that dropped dead letters is half empty: a sweep finds them again.
    pub(super) fn take_overflow(&mut self) -> bool {
        let has_room = self.has_overflowed && self.times.len() < CAPACITY / 2;
        self.has_overflowed &= !has_room;
        has_room
    }

    /// Forgets that dead letters were dropped: a sweep is on its way.
    pub(super) fn clear_overflow(&mut self) {
        self.has_overflowed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecom_domain::dead_letter::EventKind;
    use ecom_domain::event_time::EventTime;

    fn id(n: usize) -> DeadLetterId {
        let t = EventTime::stored(i64::try_from(n).expect("few"));
        DeadLetterId::of(EventKind::Payment, t, b"{}")
    }

    #[test]
    fn dead_letters_come_out_when_they_are_due_and_once() {
        let mut schedule = RetrySchedule::default();
        schedule.add(id(1), 20);
        schedule.add(id(2), 10);
        schedule.add(id(1), 5);
        assert_eq!((schedule.first_due(), schedule.pop_due(9)), (Some(10), None));
        assert_eq!(schedule.pop_due(20), Some(id(2)));
        assert_eq!((schedule.pop_due(20), schedule.pop_due(20)), (Some(id(1)), None));
    }

    #[test]
    fn a_full_schedule_asks_for_a_sweep_once_it_is_half_empty() {
        let mut schedule = RetrySchedule::default();
        for n in 0..=CAPACITY {
            schedule.add(id(n), 1);
        }
        assert!(!schedule.take_overflow(), "it is full");
        for _ in 0..=CAPACITY / 2 {
            assert!(schedule.pop_due(1).is_some());
        }
        assert!(schedule.take_overflow());
        assert!(!schedule.take_overflow(), "it was asked for");
    }
}
