//! The outstanding deliveries of a subscription, bounded by their number and their bytes.

use std::collections::BTreeMap;

use crate::receive_transaction::{DeliveryRange, DeliveryToken};

/// The attempt of a first delivery.
const FIRST: u32 = 1;

/// The deliveries without a response, by message.
#[derive(Debug)]
pub(super) struct Outstanding {
    deliveries: BTreeMap<i64, OutstandingDelivery>,
    /// The ranges of first deliveries that have some without a response, by their first message.
    ranges: BTreeMap<i64, OutstandingRange>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
    /// The size of a message that did not fit; 0 if none is known.
    next_bytes: usize,
}

#[derive(Debug)]
struct OutstandingDelivery {
    attempt: u32,
    bytes: usize,
}

#[derive(Debug)]
struct OutstandingRange {
    last: i64,
    /// The deliveries without a response.
    deliveries: usize,
}

/// The room for further deliveries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    /// The most messages.
    pub(super) messages: usize,
    /// The most bytes.
    pub(super) bytes: usize,
    /// True if the first message may exceed the bytes, because it is alone.
    pub(super) alone: bool,
}

impl Outstanding {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        let (most, most_bytes) = (most.max(1), most_bytes.max(1));
        Self {
            deliveries: BTreeMap::new(),
            ranges: BTreeMap::new(),
            bytes: 0,
            most,
            most_bytes,
            next_bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Returns the room for further deliveries.
    pub(super) fn room(&self) -> Room {
        let bytes = self.most_bytes.saturating_sub(self.bytes);
        let alone = self.is_empty();
        let fits = alone || bytes >= self.next_bytes.max(1);
        let messages = if fits { self.most.saturating_sub(self.deliveries.len()) } else { 0 };
        Room { messages, bytes, alone }
    }

    /// Sets the size of a message that did not fit; 0 if there is none.
    pub(super) fn set_next_bytes(&mut self, bytes: usize) {
        self.next_bytes = bytes;
    }

    /// Adds a range of first deliveries, whose messages are inserted next.
    pub(super) fn insert_range(&mut self, DeliveryRange { first, last }: DeliveryRange) {
        self.ranges.insert(first, OutstandingRange { last, deliveries: 0 });
    }

    /// Adds a delivery, in place of an earlier one of the same message; returns the range that this finishes.
    pub(super) fn insert(&mut self, token: DeliveryToken, bytes: usize) -> Option<DeliveryRange> {
        let DeliveryToken { message, attempt } = token;
        self.bytes += bytes;
        let replaced = self.deliveries.insert(message, OutstandingDelivery { attempt, bytes });
        if attempt == FIRST
            && let Some((_, range)) = self.ranges.range_mut(..=message).next_back()
        {
            range.deliveries += 1;
        }
        self.removed(message, replaced?)
    }

    /// Removes a delivery; a later attempt of the same message stays. Returns the range that this finishes.
    pub(super) fn remove(&mut self, token: DeliveryToken) -> Option<DeliveryRange> {
        if self.deliveries.get(&token.message)?.attempt != token.attempt {
            return None;
        }
        let delivery = self.deliveries.remove(&token.message)?;
        self.removed(token.message, delivery)
    }

    fn removed(&mut self, message: i64, delivery: OutstandingDelivery) -> Option<DeliveryRange> {
        self.bytes -= delivery.bytes;
        if delivery.attempt != FIRST {
            return None;
        }
        let (&first, range) = self.ranges.range_mut(..=message).next_back()?;
        range.deliveries -= 1;
        let finished = (range.deliveries == 0).then_some(DeliveryRange { first, last: range.last })?;
        self.ranges.remove(&first);
        Some(finished)
    }

    /// Returns the redeliveries.
    pub(super) fn redeliveries(&self) -> Vec<DeliveryToken> {
        let tokens = self.deliveries.iter().filter(|(_, delivery)| delivery.attempt != FIRST);
        tokens.map(|(&message, delivery)| DeliveryToken { message, attempt: delivery.attempt }).collect()
    }

    /// Returns the ranges of first deliveries.
    pub(super) fn ranges(&self) -> Vec<DeliveryRange> {
        self.ranges.iter().map(|(&first, range)| DeliveryRange { first, last: range.last }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(message: i64, attempt: u32) -> DeliveryToken {
        DeliveryToken { message, attempt }
    }

    #[test]
    fn room_is_bounded_by_number_and_bytes_and_the_first_message_may_exceed_them() {
        let mut outstanding = Outstanding::new(3, 100);
        assert_eq!(outstanding.room(), Room { messages: 3, bytes: 100, alone: true });
        outstanding.insert(token(1, 1), 150);
        assert_eq!(outstanding.room(), Room { messages: 0, bytes: 0, alone: false });
        outstanding.remove(token(1, 1));
        outstanding.insert(token(2, 1), 60);
        assert_eq!(outstanding.room(), Room { messages: 2, bytes: 40, alone: false });
        outstanding.set_next_bytes(41);
        assert_eq!(outstanding.room().messages, 0, "the next message would not fit");
        outstanding.remove(token(2, 1));
        assert_eq!(outstanding.room().messages, 3);
    }

    #[test]
    fn a_delivery_that_was_leased_again_counts_once_and_its_earlier_response_does_not_remove_it() {
        let mut outstanding = Outstanding::new(3, 100);
        outstanding.insert_range(DeliveryRange { first: 1, last: 1 });
        assert_eq!(outstanding.insert(token(1, 1), 60), None);
        assert_eq!(outstanding.insert(token(1, 2), 60), Some(DeliveryRange { first: 1, last: 1 }));
        assert_eq!(outstanding.remove(token(1, 1)), None);
        assert_eq!((outstanding.room().bytes, outstanding.redeliveries()), (40, vec![token(1, 2)]));
        assert_eq!(outstanding.ranges(), []);
    }

    #[test]
    fn a_range_is_finished_with_the_last_response_of_its_deliveries() {
        let mut outstanding = Outstanding::new(10, 100);
        let ranges = [(1, 2), (3, 5)].map(|(first, last)| DeliveryRange { first, last });
        for range in ranges {
            outstanding.insert_range(range);
            (range.first..=range.last).for_each(|id| assert_eq!(outstanding.insert(token(id, 1), 1), None));
        }
        outstanding.insert(token(0, 7), 1);
        assert_eq!((outstanding.ranges(), outstanding.redeliveries()), (ranges.to_vec(), vec![token(0, 7)]));
        let finished: Vec<_> =
            [4, 2, 5, 0, 1].map(|id| outstanding.remove(token(id, if id == 0 { 7 } else { 1 }))).into();
        assert_eq!(finished, [None, None, None, None, Some(ranges[0])]);
        assert_eq!(outstanding.remove(token(3, 1)), Some(ranges[1]));
        assert!(outstanding.is_empty() && outstanding.ranges().is_empty());
    }
}
