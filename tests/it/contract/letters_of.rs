//! What every ledger keeps about the letters of an order.

use std::sync::atomic::{AtomicI64, Ordering};

use ecom_domain::event_time::EventTime;
use ecom_domain::letter::{Kind, Letter, LetterId, LetterRecord, State};
use ecom_domain::order::OrderId;
use ecom_store::Ledger;
use futures_util::{StreamExt, TryStreamExt};

use super::Subject;
use super::ledger::{DAY, MS, NOW, SECOND, letter, own_days, received, schedule_act, state_act};

type Subjected = Subject<dyn Ledger>;

stamp! { ledger on "embedded" embedded, "cassandra" cassandra: [
    an_order_without_letters_has_none,
    letters_of_an_order_come_whole_latest_first_and_no_others,
    letters_of_one_time_all_come,
    letters_beyond_a_page_come_in_order,
    letters_with_large_bodies_come_whole,
    letters_of_an_order_come_with_their_states,
    a_letter_recorded_twice_comes_once,
    a_letter_that_came_back_says_of_which,
    an_act_without_its_letter_is_passed_over_until_the_letter_is_there,
    a_removed_letter_is_passed_over_and_its_neighbour_is_not,
] }

/// The number of an order that no other case has.
fn own_order() -> OrderId {
    static NEXT: AtomicI64 = AtomicI64::new(1_000_000);
    OrderId(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn of_order(order: OrderId, t: i64, body: &[u8]) -> Letter {
    Letter { order_id: Some(order), ..letter(t, body) }
}

async fn record(ledger: &Subjected, letter: &Letter) {
    ledger.record(letter, &received("receipt", NOW)).await.unwrap();
}

async fn read(ledger: &Subjected, order: OrderId) -> Vec<LetterRecord> {
    ledger.letters_of(order).try_collect().await.unwrap()
}

async fn read_letters(ledger: &Subjected, order: OrderId) -> Vec<Letter> {
    read(ledger, order).await.into_iter().map(|record| record.letter).collect()
}

async fn an_order_without_letters_has_none(ledger: &Subjected) {
    let about_nothing = Letter { order_id: None, ..letter(own_days(), b"{") };
    record(ledger, &about_nothing).await;

    assert_eq!(read(ledger, own_order()).await, []);
}

async fn letters_of_an_order_come_whole_latest_first_and_no_others(ledger: &Subjected) {
    let (days, order, neighbour) = (own_days(), own_order(), own_order());
    let times = [3 * DAY, 0, DAY + 1, DAY, 2 * DAY, DAY + SECOND];
    let mut expected = Vec::new();
    for after in times {
        let body = format!("body {after}");
        expected.push(of_order(order, days + after, body.as_bytes()));
        record(ledger, expected.last().unwrap()).await;
        record(ledger, &of_order(neighbour, days + after, body.as_bytes().repeat(2).as_slice())).await;
    }
    expected.sort_by_key(|letter| std::cmp::Reverse(letter.t));

    assert_eq!(read_letters(ledger, order).await, expected);
    assert_eq!(read(ledger, neighbour).await.len(), times.len());
}

async fn letters_of_one_time_all_come(ledger: &Subjected) {
    let (t, order) = (own_days(), own_order());
    for n in 0..40 {
        record(ledger, &of_order(order, t, format!("body {n}").as_bytes())).await;
    }

    let mut found: Vec<LetterId> =
        read_letters(ledger, order).await.into_iter().map(|letter| letter.id).collect();

    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 40);
}

async fn letters_beyond_a_page_come_in_order(ledger: &Subjected) {
    const LETTERS: i64 = 1_200;
    let (days, order) = (own_days(), own_order());
    // Some share their T, so that a page ends among equals.
    let letters: Vec<Letter> =
        (0..LETTERS).map(|n| of_order(order, days + n / 7, format!("body {n}").as_bytes())).collect();
    let receipt = received("receipt", NOW);
    futures_util::stream::iter(letters.iter().map(|letter| ledger.record(letter, &receipt)))
        .buffer_unordered(64)
        .try_collect::<()>()
        .await
        .unwrap();

    let found = read_letters(ledger, order).await;

    assert!(found.is_sorted_by_key(|letter| std::cmp::Reverse(letter.t)));
    let ids = |letters: &[Letter]| -> Vec<LetterId> {
        let mut ids: Vec<LetterId> = letters.iter().map(|letter| letter.id.clone()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&found), ids(&letters));
}

async fn letters_with_large_bodies_come_whole(ledger: &Subjected) {
    let (days, order) = (own_days(), own_order());
    for n in 0..12_u8 {
        record(ledger, &of_order(order, days + i64::from(n), &vec![n; 1024 * 1024])).await;
    }

    let found = read_letters(ledger, order).await;

    let firsts: Vec<u8> = found.iter().map(|letter| letter.body.bytes[0]).collect();
    assert_eq!(firsts, (0..12).rev().collect::<Vec<u8>>());
    assert!(found.iter().all(|letter| letter.body.bytes.len() == 1024 * 1024));
}

async fn letters_of_an_order_come_with_their_states(ledger: &Subjected) {
    let (days, order) = (own_days(), own_order());
    let (waiting, closed) = (of_order(order, days, b"waiting"), of_order(order, days + DAY, b"closed"));
    for letter in [&waiting, &closed] {
        record(ledger, letter).await;
    }
    ledger.act(&schedule_act(&waiting, 3, NOW)).await.unwrap();
    ledger.act(&state_act(&closed, 1, State::Discarded, NOW)).await.unwrap();

    let expected = [
        ledger.letter(&closed.id).await.unwrap().unwrap(),
        ledger.letter(&waiting.id).await.unwrap().unwrap(),
    ];
    assert_eq!(read(ledger, order).await, expected);
    assert_eq!(expected.map(|record| record.state()), [State::Discarded, State::Waiting]);
}

async fn a_letter_recorded_twice_comes_once(ledger: &Subjected) {
    let (days, order) = (own_days(), own_order());
    let letter = of_order(order, days, b"{}");
    record(ledger, &letter).await;
    ledger.act(&state_act(&letter, 0, State::Parked, NOW)).await.unwrap();
    ledger.record(&letter, &received("late copy", NOW + MS)).await.unwrap();

    let found = read(ledger, order).await;

    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].letter, found[0].state()), (&letter, State::Parked));
}

async fn a_letter_that_came_back_says_of_which(ledger: &Subjected) {
    let (days, order) = (own_days(), own_order());
    let first = of_order(order, days, b"wrong");
    let t = EventTime::stored(days).correction(0);
    let id = LetterId::of(Kind::Payment, t, b"wrong again");
    let corrected =
        Letter { id, t, corrects: Some(first.id.clone()), ..of_order(order, days + 1, b"wrong again") };
    for letter in [&first, &corrected] {
        record(ledger, letter).await;
    }

    assert_eq!(read_letters(ledger, order).await, [corrected.clone(), first]);
    assert_eq!(ledger.letter(&corrected.id).await.unwrap().unwrap().letter, corrected);
}

async fn an_act_without_its_letter_is_passed_over_until_the_letter_is_there(ledger: &Subjected) {
    let (days, order) = (own_days(), own_order());
    let letter = of_order(order, days, b"late");
    ledger.act(&state_act(&letter, 0, State::Discarded, NOW)).await.unwrap();
    assert_eq!(read(ledger, order).await, []);

    record(ledger, &letter).await;

    let found = read(ledger, order).await;
    assert_eq!((&found[0].letter, found[0].state()), (&letter, State::Discarded));
}

async fn a_removed_letter_is_passed_over_and_its_neighbour_is_not(ledger: &Subjected) {
    let (days, order) = (own_days(), own_order());
    let (gone, stays) = (of_order(order, days + 1, b"gone"), of_order(order, days, b"stays"));
    for letter in [&gone, &stays] {
        record(ledger, letter).await;
        ledger.act(&state_act(letter, 2, State::Recovered, NOW)).await.unwrap();
    }

    ledger.remove(&ledger.letter(&gone.id).await.unwrap().unwrap()).await.unwrap();

    assert_eq!(read_letters(ledger, order).await, [stays]);
}
