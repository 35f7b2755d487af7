//! Load: repetitions, cut answers, faults, the schedule, the end.

use std::collections::BTreeSet;
use std::time::Duration;

use ecom_shop_load::client::ApiClient;
use ecom_shop_load::counts::LoadCounts;
use ecom_shop_load::load::{Arrivals, Load, send};
use ecom_shop_load::requests::{Creates, TransactionMix};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fake_api::{Behaviour, FakeApi};

pub(crate) fn users(users: u64, count: u64) -> Load {
    let think = Duration::ZERO..=Duration::ZERO;
    Load {
        arrivals: Arrivals::Users { users, think, spawn_rate: None },
        creates: vec![Creates::Transactions(TransactionMix::default())],
        count: Some(count),
        duration: None,
        grace: Duration::from_millis(300),
        run: "run".to_owned(),
        seed: 7,
        send_twice: false,
        cut: 0.0,
    }
}

fn at(interval: Duration, count: u64) -> Load {
    Load { arrivals: Arrivals::Interval(interval), ..users(1, count) }
}

async fn sent(client: &ApiClient, load: &Load) -> LoadCounts {
    let counts = LoadCounts::default();
    send(client, load, None, &counts, &CancellationToken::new()).await.unwrap();
    counts
}

fn keys(api: &FakeApi) -> Vec<String> {
    let keys: BTreeSet<String> = api.records().into_iter().map(|record| record.key).collect();
    keys.into_iter().collect()
}

#[tokio::test]
async fn a_request_is_repeated_with_its_key_until_it_is_answered() {
    let api = FakeApi::start(|request| match request.n {
        0 => Behaviour::Problem(503, None),
        1 => Behaviour::CutBefore,
        2 => Behaviour::CutAfter,
        3 => Behaviour::Problem(500, None),
        4 => Behaviour::Problem(408, None),
        _ => Behaviour::Usual,
    })
    .await;
    let counts = sent(&api.client, &users(1, 2)).await;
    assert_eq!(keys(&api), ["run-0-0", "run-0-1"]);
    assert_eq!(api.records().len(), 2);
    assert_eq!((counts.recorded.get(), counts.repeated.get(), counts.sent.get()), (2, 5, 7));
    assert_eq!(counts.failures(), [""; 0]);
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_as_long_as_it_says() {
    let api = FakeApi::start(|request| match request.n {
        0 => Behaviour::Problem(429, Some(1)),
        _ => Behaviour::Usual,
    })
    .await;
    let began = Instant::now();
    let counts = sent(&api.client, &users(1, 1)).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!((counts.recorded.get(), counts.repeated.get()), (1, 1));
    assert!(counts.took.at(1.0) >= Duration::from_secs(1), "the time includes repetitions");
}

#[tokio::test]
async fn refusals_and_answers_with_two_ids_are_failures_with_their_keys() {
    let api = FakeApi::start(|request| match &request.key[..] {
        "run-0-0" => Behaviour::Problem(422, None),
        "run-0-1" => Behaviour::Double,
        _ => Behaviour::Usual,
    })
    .await;
    let counts = sent(&api.client, &Load { send_twice: true, ..users(1, 3) }).await;
    assert_eq!((counts.requests.get(), counts.recorded.get(), counts.failed.get()), (3, 1, 2));
    let failures = counts.failures().join("\n");
    assert!(failures.contains("run-0-0: 422"), "{failures}");
    assert!(failures.contains("run-0-1: recorded as 70"), "{failures}");
}

#[tokio::test]
async fn users_send_twice_and_cut_answers_and_each_key_is_one_record() {
    let api = FakeApi::usual().await;
    let counts = sent(&api.client, &Load { send_twice: true, cut: 0.5, ..users(7, 60) }).await;
    assert_eq!((keys(&api).len(), api.records().len()), (60, 60));
    assert_eq!((counts.recorded.get(), counts.failed.get()), (60, 0));
    let cut = counts.cut.get();
    assert!((15..=45).contains(&cut), "{cut} of 60");
    assert_eq!(counts.sent.get(), 120 + cut);
    assert_eq!(counts.took.count(), 120, "an answer that nobody waited for has no time");
}

#[tokio::test]
async fn an_interval_is_kept_whatever_the_answers_take_and_times_count_from_it() {
    // The first request is not answered for a second; the others are.
    let api = FakeApi::start(|request| match request.n {
        0 => Behaviour::Problem(503, Some(1)),
        _ => Behaviour::Usual,
    })
    .await;
    let began = Instant::now();
    let counts = sent(&api.client, &at(Duration::from_millis(20), 20)).await;
    assert_eq!((counts.recorded.get(), keys(&api).len()), (20, 20));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(380) && took < Duration::from_secs(3), "{took:?}");
    assert!(counts.took.at(1.0) >= Duration::from_secs(1));
    assert!(counts.took.at(0.5) < Duration::from_millis(500), "the others did not wait for the first");
}

#[tokio::test]
async fn requests_that_a_busy_load_sends_late_count_from_when_they_were_due() {
    // All are due within a millisecond. The API answers nothing for 300 ms: those behind the limit of requests in flight
    // are sent after that, and their times say so.
    let api = FakeApi::start({
        let began = Instant::now();
        move |_| match began.elapsed() < Duration::from_millis(300) {
            true => Behaviour::Problem(503, None),
            false => Behaviour::Usual,
        }
    })
    .await;
    let counts = sent(&api.client, &at(Duration::from_nanos(500), 2_000)).await;
    assert_eq!(counts.recorded.get(), 2_000);
    assert!(counts.took.at(0.0) >= Duration::from_millis(200), "{:?}", counts.took.at(0.0));
}

#[tokio::test]
async fn at_the_end_answers_are_waited_for_and_then_given_up() {
    let api = FakeApi::start(|request| match request.n {
        0 => Behaviour::Silent,
        _ => Behaviour::Usual,
    })
    .await;
    let load =
        Load { count: None, duration: Some(Duration::from_millis(300)), ..at(Duration::from_millis(50), 0) };
    let began = Instant::now();
    let counts = sent(&api.client, &load).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(600) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!((counts.unanswered.get(), counts.failed.get()), (1, 0));
    assert_eq!(counts.recorded.get() + 1, counts.requests.get());
    // A signal ends it as well.
    let stop = CancellationToken::new();
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
    };
    let (counts, endless) = (LoadCounts::default(), Load { count: None, ..users(3, 0) });
    let sending = send(&api.client, &endless, None, &counts, &stop);
    tokio::join!(async { sending.await.unwrap() }, stopping);
    assert!(counts.recorded.get() > 3 && counts.unanswered.get() == 0);
}

#[tokio::test]
async fn users_begin_at_the_spawn_rate_and_think_between_requests() {
    let api = FakeApi::usual().await;
    let think = Duration::from_millis(50)..=Duration::from_millis(80);
    let arrivals = Arrivals::Users { users: 5, think, spawn_rate: Some(20.0) };
    let began = Instant::now();
    let counts = sent(&api.client, &Load { arrivals, ..users(5, 20) }).await;
    // The last user begins after 200 ms, and thinks three times.
    assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());
    assert_eq!((counts.recorded.get(), keys(&api).len()), (20, 20));
}

#[tokio::test]
async fn the_same_seed_asks_for_the_same_within_the_mix() {
    let mix = TransactionMix {
        min_amount: 10,
        max_amount: 12,
        currencies: vec!["EUR".to_owned(), "JPY".to_owned()],
    };
    let creates = vec![Creates::Orders, Creates::Transactions(mix)];
    let load = Load { creates, ..at(Duration::from_micros(1), 60) };
    let asked = async |load: &Load| {
        let api = FakeApi::usual().await;
        sent(&api.client, load).await;
        let mut records = api.records();
        records.sort_by(|one, other| one.key.cmp(&other.key));
        records.into_iter().map(|record| (record.key, record.body)).collect::<Vec<_>>()
    };
    let first = asked(&load).await;
    assert_eq!(first, asked(&load).await);
    assert_ne!(first, asked(&Load { seed: 8, ..load }).await);
    let transactions: Vec<_> = first.iter().filter(|(_, body)| body.get("sender").is_some()).collect();
    assert!((15..=45).contains(&transactions.len()), "{} of 60", transactions.len());
    let amounts: BTreeSet<i64> =
        transactions.iter().map(|(_, body)| body["amount"].as_i64().unwrap()).collect();
    assert_eq!(amounts, [10, 11, 12].into());
    assert!(transactions.iter().all(|(_, body)| body["currency"] == "EUR" || body["currency"] == "JPY"));
}
