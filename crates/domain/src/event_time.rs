//! Event time: the clock that travels with an event, called T. It is a pure function of the message and
//! never of a consumer's clock, so every redelivery, retry and replay of one message has the same T.

use crate::calendar::DATED;
use crate::mutant::{Mutant, is_active};

/// The most that an event may date itself ahead of its publish time: 5 s, in microseconds.
pub const FUTURE_BOUND_US: i64 = 5_000_000;
/// The most that a producer's clock can be fast, in microseconds: a day. Later times are not those of a clock.
const FAST_CLOCK_US: i64 = 24 * 3_600 * 1_000_000;
/// The time of a fast clock is set back by a multiple of this, in microseconds.
const SET_BACK_US: i64 = 10_000_000;
/// The earliest time that an event may claim: 2000-01-01, in microseconds. An earlier one is a time in seconds or
/// milliseconds.
pub const EARLIEST_US: i64 = 946_684_800_000_000;
/// The number of distinct event times within one millisecond of publish time.
const SLOTS: i64 = 1_000;

/// The event time T, in microseconds since the epoch. It is the write timestamp of the event's column
/// group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventTime(i64);

impl EventTime {
    /// Returns the event time of the message with this stamp.
    pub fn of(stamp: &Stamp) -> Self {
        let bound = stamp.base_us.saturating_add(FUTURE_BOUND_US);
        Self(match stamp.claimed_us {
            Some(claimed) if claimed <= bound => claimed,
            Some(claimed) if claimed - bound <= FAST_CLOCK_US => set_back(claimed, bound),
            Some(_) => bound - (SLOTS - 1) + stamp.slot,
            None => stamp.base_us.saturating_add(stamp.slot),
        })
    }

    /// Wraps an event time that was stored. For adapters and the manifest reader only.
    pub fn stored(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Returns the event time of the `n`-th correction of this event's body, counted from 0: later than this one,
    /// and one that an event may claim.
    pub fn correction(self, n: u32) -> Self {
        Self(self.0.max(EARLIEST_US - 1).saturating_add(1 + i64::from(n)))
    }
}

/// The parts of a message that its event time is derived from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    base_us: i64,
    slot: i64,
    claimed_us: Option<i64>,
}

impl Stamp {
    /// Returns the stamp of a message on a source subscription. `publish_time_us` is the server's, in
    /// microseconds; `event_time` is the attribute `event_time_us` as received.
    pub fn source(publish_time_us: i64, message_id: &str, event_time: Option<&str>) -> Self {
        Self {
            base_us: publish_time_us.div_euclid(1_000).saturating_mul(1_000),
            slot: slot(message_id),
            claimed_us: event_time.and_then(claimed),
        }
    }

    /// Returns the stamp of a message on the dead-letter subscription: the origin's publish time and message
    /// id where they are plausible, so that T is that of the source message.
    pub fn dead_letter(
        publish_time_us: i64,
        message_id: &str,
        origin_publish_time_us: Option<i64>,
        origin_message_id: Option<&str>,
        event_time: Option<&str>,
    ) -> Self {
        let publish_time_us = origin_publish_time_us
            .filter(|origin| {
                DATED.contains(origin) && *origin <= publish_time_us.saturating_add(FUTURE_BOUND_US)
            })
            .unwrap_or(publish_time_us);
        Self::source(publish_time_us, origin_message_id.unwrap_or(message_id), event_time)
    }
}

/// Sets the time of a fast clock back to the last 10 s before the bound. The events of one producer keep their
/// differences, and so their order, while its lead over the server's clock stays between two multiples of 10 s
/// plus the bound. A clock that is fast by whole hours is set right.
fn set_back(claimed: i64, bound: i64) -> i64 {
    let ahead = claimed - bound;
    claimed - (ahead + SET_BACK_US - 1) / SET_BACK_US * SET_BACK_US
}

/// Returns whether the attribute `event_time_us` is unusable as received, so that the event has its publish time
/// instead. Its publisher has to be mended: of two of its events, the newer one may lose.
#[inline]
pub fn is_unusable(event_time: &str) -> bool {
    // 16 digits are the years 2001 to 2286, that is every time that a correct publisher sets.
    let is_usual = matches!(event_time.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.len() == 15 && rest.iter().all(u8::is_ascii_digit));
    !is_usual && claimed(event_time).is_none()
}

/// Parses `event_time_us`; `None` unless it is decimal digits, not before [`EARLIEST_US`], and fits 64 bits.
fn claimed(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let earliest = if is_active(Mutant::SecondsAsMicroseconds) { 1 } else { EARLIEST_US };
    text.parse().ok().filter(|micros| *micros >= earliest)
}

/// Returns the offset of a message within its millisecond. Ids are consecutive within a publish batch,
/// which has one publish time: their last three digits keep the batch's order and do not collide in it.
fn slot(id: &str) -> i64 {
    if is_active(Mutant::NoSlot) {
        return 0;
    }
    let bytes = id.as_bytes();
    let slot = if !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit) {
        bytes[bytes.len().saturating_sub(3)..].iter().fold(0, |n, b| n * 10 + u64::from(b - b'0'))
    } else {
        use std::hash::Hasher;
        let mut hash = fnv::FnvHasher::default();
        hash.write(bytes);
        hash.finish() % SLOTS.unsigned_abs()
    };
    i64::try_from(slot).unwrap_or_default()
}

/// The write timestamp of a cell in the dead-letter store. It encodes precedence instead of a wall clock, so
/// that a handler with a fast clock cannot undo a state of a higher rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WriteTimestamp(i64);

impl WriteTimestamp {
    /// Returns the write timestamp of a state: T + 8 × generation + rank.
    pub fn state(t: EventTime, generation: u32, rank: u8) -> Self {
        Self(t.micros().saturating_add(8 * i64::from(generation) + i64::from(rank.min(7))))
    }

    /// Returns the write timestamp of a schedule: T + attempts, so that the later attempt wins.
    pub fn schedule(t: EventTime, attempts: u32) -> Self {
        Self(t.micros().saturating_add(i64::from(attempts)))
    }

    /// Returns microseconds, as bound to `USING TIMESTAMP`.
    pub fn micros(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PUBLISHED: i64 = 1_700_000_000_123_456;
    const BASE: i64 = 1_700_000_000_123_000;

    fn t(id: &str, claimed: Option<&str>) -> i64 {
        EventTime::of(&Stamp::source(PUBLISHED, id, claimed)).micros()
    }

    #[test]
    fn the_events_own_time_counts_while_it_is_plausible() {
        assert_eq!(t("1", Some("1700000000000001")), 1_700_000_000_000_001);
        let bound = (BASE + FUTURE_BOUND_US).to_string();
        assert_eq!(t("7", Some(&bound)), BASE + FUTURE_BOUND_US);
    }

    #[test]
    fn an_event_from_the_far_future_is_clamped() {
        for claimed in ["4102444800000000", "9223372036854775807"] {
            assert_eq!(t("41", Some(claimed)), BASE + FUTURE_BOUND_US - 999 + 41);
            assert_eq!(t("42", Some(claimed)), BASE + FUTURE_BOUND_US - 999 + 42);
        }
    }

    #[test]
    fn a_clock_that_is_fast_by_an_hour_is_set_right() {
        let hour = 3_600_000_000;
        let claimed = (PUBLISHED - 20_000 + hour).to_string();
        assert_eq!(t("7", Some(&claimed)), PUBLISHED - 20_000);
        let bound = BASE + FUTURE_BOUND_US;
        assert_eq!(t("7", Some(&(bound + 1).to_string())), bound + 1 - SET_BACK_US);
        assert_eq!(t("7", Some(&(bound + SET_BACK_US).to_string())), bound);
    }

    proptest! {
        /// A dead letter may carry T in place of an event time that had to be masked.
        #[test]
        fn an_event_that_claims_its_own_time_keeps_it(claimed in any::<i64>(), id in any::<u32>()) {
            let (id, claimed) = (id.to_string(), claimed.to_string());
            let first = EventTime::of(&Stamp::source(PUBLISHED, &id, Some(&claimed)));
            let again = EventTime::of(&Stamp::source(PUBLISHED, &id, Some(&first.micros().to_string())));
            prop_assert_eq!(first, again);
        }

        /// A batch has one publish time, and its ids cross a multiple of 1,000 somewhere.
        #[test]
        fn a_producer_with_a_fast_clock_keeps_its_order(
            fast in 6_000_000_i64..FAST_CLOCK_US - 10_000_000,
            first_id in 0_u64..5_000,
            batches in prop::collection::vec((1_i64..200_000, 1_usize..50), 1..20),
        ) {
            // The publish delay below must not cross a multiple of 10 s.
            let beyond = (fast - FUTURE_BOUND_US) % SET_BACK_US;
            prop_assume!((1_000_000..SET_BACK_US).contains(&beyond));
            let (mut now, mut id, mut last) = (PUBLISHED, first_id, i64::MIN);
            for (delay, events) in batches {
                let published = now + i64::try_from(events).expect("few") + delay;
                for _ in 0..events {
                    (now, id) = (now + 1, id + 1);
                    let claimed = (now + fast).to_string();
                    let stamp = Stamp::source(published, &id.to_string(), Some(&claimed));
                    let t = EventTime::of(&stamp).micros();
                    prop_assert!(t > last, "{t} after {last}");
                    last = t;
                }
                now = published;
            }
        }

        /// Without times of their own, the events of a batch are in order unless its ids cross a multiple of 1,000
        /// between them: no function of a publish time in milliseconds and one id can order those.
        #[test]
        fn a_batch_without_event_times_is_in_order_up_to_a_multiple_of_a_thousand(
            first in 0_u64..10_000, next in 1_u64..1_000,
        ) {
            let second = first + next;
            let t = |id: u64| t(&id.to_string(), None);
            prop_assert_ne!(t(first), t(second));
            prop_assert_eq!(t(first) < t(second), first / 1_000 == second / 1_000);
        }
    }

    #[test]
    fn an_unusable_event_time_is_as_if_absent() {
        for claimed in ["", "-1", "0", "+5", "12.5", "9223372036854775808", " 1700000000000001", "x"] {
            assert_eq!(t("123456", Some(claimed)), BASE + 456, "{claimed:?}");
        }
        assert_eq!(t("123456", None), BASE + 456);
        assert_eq!(t("7", None), BASE + 7);
    }

    #[test]
    fn an_event_time_before_2000_is_unusable_for_it_is_not_in_microseconds() {
        for claimed in ["1", "1700000000", "1700000000000", "00001700000000123", "946684799999999"] {
            assert_eq!(t("123456", Some(claimed)), BASE + 456, "{claimed:?}");
        }
        assert_eq!(t("123456", Some("946684800000000")), 946_684_800_000_000);
    }

    #[test]
    fn an_id_that_is_not_a_number_still_has_a_slot() {
        let one = t("message-a", None);
        assert!((BASE..BASE + 1_000).contains(&one));
        assert_eq!(one, t("message-a", None));
        assert_ne!(one, t("message-b", None));
    }

    #[test]
    fn a_dead_letter_has_its_origins_time_unless_that_lies_in_the_future() {
        let origin = PUBLISHED - 60_000_000;
        let dead_letter = |origin_us| {
            EventTime::of(&Stamp::dead_letter(PUBLISHED, "900", Some(origin_us), Some("17"), None)).micros()
        };
        assert_eq!(dead_letter(origin), EventTime::of(&Stamp::source(origin, "17", None)).micros());
        assert_eq!(dead_letter(PUBLISHED + 6_000_000), BASE + 17);
        let foreign = EventTime::of(&Stamp::dead_letter(PUBLISHED, "900", None, None, None));
        assert_eq!(foreign.micros(), BASE + 900);
    }

    #[test]
    fn state_times_rise_by_rank_and_by_generation() {
        let t = EventTime::stored(100);
        assert!(WriteTimestamp::state(t, 0, 3) < WriteTimestamp::state(t, 1, 0));
        assert_eq!(WriteTimestamp::state(t, 0, 0).micros(), 100);
    }

    proptest! {
        #[test]
        fn t_is_bounded_and_pure(published in 0i64..4_000_000_000_000_000, id in "[0-9]{1,19}|[a-z]{0,8}", claimed in proptest::option::of("[0-9-]{0,20}")) {
            let stamp = Stamp::source(published, &id, claimed.as_deref());
            let t = EventTime::of(&stamp);
            prop_assert_eq!(t, EventTime::of(&Stamp::source(published, &id, claimed.as_deref())));
            prop_assert!(t.micros() <= published + FUTURE_BOUND_US + 1_000);
        }

        #[test]
        fn t_is_monotone_within_a_producer(published in 0i64..4_000_000_000_000_000, first in 946_684_800_000_000i64..4_000_000_000_000_000, gap in 1i64..1_000_000, id in 0u64..900, later in 1u64..99, waited in 0i64..1_000_000) {
            let a = EventTime::of(&Stamp::source(published, &id.to_string(), Some(&first.to_string())));
            let b = EventTime::of(&Stamp::source(published + waited, &(id + later).to_string(), Some(&(first + gap).to_string())));
            prop_assert!(a < b, "{a:?} {b:?}");
        }
    }
}
