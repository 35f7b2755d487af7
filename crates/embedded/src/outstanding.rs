//! The outstanding deliveries of a subscription, bounded by their number and their bytes.

use std::collections::BTreeMap;

use crate::receive_transaction::DeliveryToken;

/// The deliveries without a response, by message.
#[derive(Debug)]
pub(super) struct Outstanding {
    deliveries: BTreeMap<i64, OutstandingDelivery>,
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
        Self { deliveries: BTreeMap::new(), bytes: 0, most, most_bytes, next_bytes: 0 }
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

    pub(super) fn insert(&mut self, DeliveryToken { message, attempt }: DeliveryToken, bytes: usize) {
        self.bytes += bytes;
        let replaced = self.deliveries.insert(message, OutstandingDelivery { attempt, bytes });
        self.bytes -= replaced.map_or(0, |delivery| delivery.bytes);
    }

    /// Removes a delivery; a later attempt of the same message stays.
    pub(super) fn remove(&mut self, token: DeliveryToken) {
        if let Some(delivery) = self.deliveries.get(&token.message)
            && delivery.attempt == token.attempt
        {
            self.bytes -= delivery.bytes;
            self.deliveries.remove(&token.message);
        }
    }

    pub(super) fn tokens(&self) -> Vec<DeliveryToken> {
        let tokens = self.deliveries.iter();
        tokens.map(|(&message, delivery)| DeliveryToken { message, attempt: delivery.attempt }).collect()
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
        outstanding.insert(token(1, 1), 60);
        outstanding.insert(token(1, 2), 60);
        outstanding.remove(token(1, 1));
        assert_eq!((outstanding.room().bytes, outstanding.tokens()), (40, vec![token(1, 2)]));
    }
}
