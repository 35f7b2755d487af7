//! Whatever constructs a value is accepted by what reads it, for every id and every time.

use ecom_domain::bulk_operation::OperationId;
use ecom_domain::dead_letter::{DeadLetterId, EventKind};
use ecom_domain::event_time::{EventTime, Stamp};
use proptest::prelude::*;

const SECOND: i64 = 1_000_000;
const YEAR_1: i64 = -62_135_596_800 * SECOND;
const YEAR_2000: i64 = 946_684_800 * SECOND;
const YEAR_10000: i64 = 253_402_300_800 * SECOND;

/// The times where a calendar begins or ends.
const ENDS: [i64; 8] =
    [i64::MIN, YEAR_1 - 366 * 86_400 * SECOND, YEAR_1, -1, 0, YEAR_2000, YEAR_10000, i64::MAX];

/// Times of every order of magnitude, around those where a calendar ends above all.
fn times() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        0..YEAR_10000,
        (proptest::sample::select(&ENDS[..]), -2_000_000i64..2_000_000)
            .prop_map(|(end, distance)| end.saturating_add(distance)),
        (0u32..63, any::<i64>()).prop_map(|(bits, time)| time >> bits),
    ]
}

fn is_date(day: i32) -> bool {
    let (year, month, date) = (day / 10_000, day / 100 % 100, day % 100);
    (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&date)
}

proptest! {
    #[test]
    fn the_id_of_a_dead_letter_is_read_at_any_event_time(t in times(), body in proptest::collection::vec(any::<u8>(), 0..20), kind in proptest::sample::select(&[EventKind::Order, EventKind::Payment][..])) {
        let id = DeadLetterId::of(kind, EventTime::stored(t), &body);
        prop_assert_eq!(DeadLetterId::parse(id.as_str()), Some(id.clone()), "{}", t);
        prop_assert!(is_date(id.day()), "{} of {}", id.day(), t);
    }

    #[test]
    fn the_id_of_an_operation_is_read_at_any_start_and_sorts_by_it(first in times(), second in times(), random in any::<[u8; 2]>()) {
        let id = |at| OperationId::new(at, random);
        for at in [first, second] {
            prop_assert_eq!(OperationId::parse(id(at).as_str()), Some(id(at)), "{}", at);
        }
        prop_assert!((first <= second) == (id(first) <= id(second)) || id(first) == id(second), "{} {}", id(first), id(second));
    }

    #[test]
    fn the_event_time_of_a_correction_is_accepted_when_it_is_published(published in YEAR_2000..YEAR_10000, id in "[0-9]{1,19}", origin in proptest::option::of(times()), claimed in proptest::option::of(times()), number in 0u32..1_000) {
        let claimed = claimed.map(|claimed| claimed.to_string());
        let t = EventTime::of(&Stamp::dead_letter(published, &id, origin, None, claimed.as_deref()));
        let correction = t.correction(number);
        // A correction is published later than what it corrects.
        let later = Stamp::source(published + 10 * SECOND, "1", Some(&correction.micros().to_string()));
        prop_assert_eq!(EventTime::of(&later), correction, "{:?}", t);
        prop_assert!(correction > t);
    }

    #[test]
    fn no_attribute_gives_an_event_time_that_no_publish_time_could(published in YEAR_2000..YEAR_10000, id in ".{0,20}", origin in proptest::option::of(times()), origin_id in proptest::option::of(".{0,20}"), claimed in proptest::option::of("[0-9]{0,20}")) {
        let t = EventTime::of(&Stamp::dead_letter(published, &id, origin, origin_id.as_deref(), claimed.as_deref()));
        prop_assert!((0..=published + 11 * SECOND).contains(&t.micros()), "{:?}", t);
    }
}
