//! The dead letters a handler is going to retry, by when they are due.

use std::collections::{BTreeSet, HashMap};

use ecom_domain::dead_letter::DeadLetterId;
use ecom_domain::mutant::{Mutant, is_active};

/// The dead letters that are due first, each at most once, and the time from which the schedule is incomplete.
///
/// A full schedule keeps those that are due first. As each attempt moves a dead letter to a later time, every
/// waiting one comes first at some time, however many there are.
#[derive(Debug)]
pub(super) struct RetrySchedule {
    by_time: BTreeSet<(i64, DeadLetterId)>,
    times: HashMap<DeadLetterId, i64>,
    complete_until: i64,
    capacity: usize,
}

impl RetrySchedule {
    /// Returns an empty schedule that knows nothing about the dead-letter store.
    pub(super) fn new(capacity: usize) -> Self {
        Self { by_time: BTreeSet::new(), times: HashMap::new(), complete_until: i64::MIN, capacity }
    }

    /// Schedules a dead letter for this time, in microseconds since the epoch. One that is already scheduled
    /// keeps its time. If the schedule is full, the one that is due last is dropped.
    pub(super) fn add(&mut self, id: DeadLetterId, due: i64) {
        if self.times.contains_key(&id) {
            return;
        }
        self.times.insert(id.clone(), due);
        self.by_time.insert((due, id));
        if self.times.len() > self.capacity
            && let Some((due, id)) = self.by_time.pop_last()
        {
            self.times.remove(&id);
            if !is_active(Mutant::ScheduleForgets) {
                self.is_incomplete_from(due);
            }
        }
    }

    /// Returns true if another dead letter would take the place of one that is due later.
    pub(super) fn is_full(&self) -> bool {
        self.times.len() >= self.capacity
    }

    /// Returns the time at which the next dead letter is due.
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

    /// Begins to read the dead-letter store: every waiting dead letter will be added, and what happens after
    /// `until` is not known.
    pub(super) fn begin_load(&mut self, until: i64) {
        self.complete_until = until;
    }

    /// Records that dead letters due at this time or later may be missing.
    pub(super) fn is_incomplete_from(&mut self, due: i64) {
        self.complete_until = self.complete_until.min(due);
    }

    /// Returns the time at which the dead-letter store is to be read again: a dead letter may be due then that
    /// is missing here. `None` while others are due before it.
    pub(super) fn load_due(&self) -> Option<i64> {
        let are_done = self.first_due().is_none_or(|due| due >= self.complete_until);
        are_done.then_some(self.complete_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecom_domain::dead_letter::EventKind;
    use ecom_domain::event_time::EventTime;

    const CAPACITY: usize = 50_000;

    fn id(n: usize) -> DeadLetterId {
        let t = EventTime::stored(i64::try_from(n).expect("few"));
        DeadLetterId::of(EventKind::Payment, t, b"{}")
    }

    #[test]
    fn dead_letters_come_out_when_they_are_due_and_once() {
        let mut schedule = RetrySchedule::new(CAPACITY);
        schedule.add(id(1), 20);
        schedule.add(id(2), 10);
        schedule.add(id(1), 5);
        assert_eq!((schedule.first_due(), schedule.pop_due(9)), (Some(10), None));
        assert_eq!(schedule.pop_due(20), Some(id(2)));
        assert_eq!((schedule.pop_due(20), schedule.pop_due(20)), (Some(id(1)), None));
    }

    #[test]
    fn a_full_schedule_keeps_what_is_due_first_and_loads_again_once_that_is_done() {
        let mut schedule = RetrySchedule::new(CAPACITY);
        assert_eq!(schedule.load_due(), Some(i64::MIN), "it knows nothing");
        schedule.begin_load(1_000_000);
        // Twice as many as fit, due at 1, 2, ... in no order.
        for n in 0..2 * CAPACITY {
            let due = (n * 7 + 3) % (2 * CAPACITY) + 1;
            schedule.add(id(due), i64::try_from(due).expect("few"));
        }
        let last = i64::try_from(CAPACITY).expect("few");
        assert_eq!(schedule.load_due(), None, "those it keeps are not done");
        for due in 1..=CAPACITY {
            assert_eq!(schedule.pop_due(i64::MAX), Some(id(due)));
        }
        assert_eq!(schedule.load_due(), Some(last + 1));
    }

    #[test]
    fn a_schedule_that_lost_one_loads_once_earlier_ones_are_done() {
        let mut schedule = RetrySchedule::new(CAPACITY);
        schedule.begin_load(100);
        schedule.add(id(1), 10);
        schedule.is_incomplete_from(20);
        assert_eq!(schedule.load_due(), None, "one is due before the lost one");
        assert_eq!(schedule.pop_due(30), Some(id(1)));
        assert_eq!(schedule.load_due(), Some(20));
    }
}
