//! The checks: every row and every dead letter that an arm leaves, compared with what was published.

use crate::arm::{Kind, Program};
use crate::{facts, launch::Fresh, messages, options::Arm, published};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterProgress, DeadLetterRecord};
use ecom_store::{DeadLetterStore, Scan};
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use google_cloud_pubsub::model::Message;
use scylla::{client::session::Session, deserialize::row::DeserializeRow, value::CqlTimestamp};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::{fmt::Debug, pin::pin, time::Duration};
use tokio::time::timeout;

/// Limit for a dead letter that has not come yet.
const PATIENCE: Duration = Duration::from_secs(15);
/// Silence after which no more is expected. The emulator looks for messages twenty times a second.
const SILENCE: Duration = Duration::from_secs(2);
/// Allowance for a server's clock that is behind the generator's, in microseconds.
const SKEW: i64 = 5_000_000;
/// Attributes of a dead letter that a consumer chooses; a payment without an event time has no other.
const CHOSEN: [&str; 5] = [
    "dlq_consumer_version",
    "dlq_detail",
    "dlq_first_failed_at",
    "dlq_published_at",
    "dlq_source_message_id",
];

/// Compares all that an arm left behind.
pub async fn all(arm: Arm, fresh: &Fresh, n: i64) -> Result<()> {
    if arm.writes() {
        fact_table(arm, &fresh.keyspace, n).await?;
    }
    match (arm.program(), arm.kind()) {
        (_, Kind::DeadLetter) => dead_letter_store(&fresh.keyspace, n, fresh.began).await,
        (Program::Binary(_), Kind::Payment) => dead_letter_topic(arm, &fresh.project, n).await,
        _ => Ok(()),
    }
}

/// Compares values with those that are wanted, by key: each must be there once, and no other.
async fn compare<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    wanted: impl Iterator<Item = (K, V)>,
    found: impl Stream<Item = Result<(K, V), impl Into<anyhow::Error>>>,
) -> Result<()> {
    let mut missing: BTreeMap<K, V> = wanted.collect();
    let mut found = pin!(found.map_err(Into::into));
    while let Some((key, value)) = found.try_next().await? {
        let wanted = missing.remove(&key);
        let wanted = wanted.with_context(|| format!("the {what} {key:?} is one too many: {value:?}"))?;
        ensure!(value == wanted, "the {what} {key:?} is {value:?}, should be {wanted:?}");
    }
    match missing.first_key_value() {
        Some((first, _)) => bail!("{} are missing, first the {what} {first:?}", missing.len()),
        None => Ok(()),
    }
}

/// Compares every cell of the fact table.
async fn fact_table(arm: Arm, keyspace: &str, n: i64) -> Result<()> {
    let wanted = (1..=n).filter(|id| !arm.is_missing(*id)).map(|id| (id, published::row(arm.kind(), id)));
    let session = facts::session(keyspace).await?;
    let found = session.query_iter("SELECT JSON * FROM orders_payments_facts", ()).await?;
    let found = found.rows_stream::<(String,)>()?.map(|text| {
        let mut row: Map<String, Value> = serde_json::from_str(&text?.0)?;
        row.retain(|_, cell| !cell.is_null());
        anyhow::Ok((row.get("order_id").and_then(Value::as_i64).unwrap_or_default(), row))
    });
    compare("row of order", wanted, found).await
}

/// Compares the dead letters that `payment_consumer` must have published for payments whose order is missing.
async fn dead_letter_topic(arm: Arm, project: &str, n: i64) -> Result<()> {
    let missing = || (1..=n).filter(|id| arm.is_missing(*id));
    let subscriber = messages::subscriber().await?;
    let mut stream = messages::stream(&subscriber, project, Kind::DeadLetter.topic());
    let mut came = HashMap::new();
    let wait = |came: usize| if came < missing().count() { PATIENCE } else { SILENCE };
    while let Ok(next) = timeout(wait(came.len()), stream.next()).await {
        let (message, handler) = next.context("the stream ended")??;
        // By id: a redelivery is no second dead letter.
        came.insert(message.message_id.clone(), message);
        handler.ack();
    }
    let found = stream::iter(came.into_values().map(|message| anyhow::Ok(content(message))));
    compare("dead letter of order", missing().map(|order| content(dead_letter(order))), found).await
}

/// Returns the dead letter of a payment that was published without an event time.
fn dead_letter(order: i64) -> Message {
    let mut message = published::message(Kind::DeadLetter, order, 0);
    message.attributes.remove("event_time_us");
    message
}

/// Returns the order of a dead letter, its body and its attributes; of those that a consumer chooses, their names.
fn content(message: Message) -> (i64, (Bytes, BTreeMap<String, String>)) {
    let order = message.attributes.get("order_id").and_then(|id| id.parse().ok()).unwrap_or_default();
    let name_if_chosen = |(name, value): (String, String)| {
        let is_chosen = CHOSEN.contains(&&*name) && !value.is_empty();
        (name.clone(), if is_chosen { name } else { value })
    };
    (order, (message.data, message.attributes.into_iter().map(name_if_chosen).collect()))
}

/// Compares the dead-letter store, as `dlq_handler` must have left it, with dead letters 1 to `n`: each, its
/// history, its entry in the index by order, its day, and the write times.
async fn dead_letter_store(keyspace: &str, n: i64, began: i64) -> Result<()> {
    let all = || (1..=n).map(|id| published::dead_letter(id, began));
    let (store, session) = (facts::store(keyspace).await?, facts::session(keyspace).await?);
    let mut attempts: HashMap<DeadLetterId, i64> = HashMap::new();
    let found = store.dead_letters(Scan::ALL).map_ok(|DeadLetterRecord { dead_letter, progress }| {
        attempts.insert(dead_letter.id.clone(), progress.attempts.into());
        (dead_letter.id.clone(), (dead_letter, besides_attempts(progress, began)))
    });
    let wanted = all().map(|one| (one.id.clone(), (one, DeadLetterProgress::default())));
    compare("dead letter", wanted, found).await?;

    let partitions: HashSet<(i32, i16)> = all().map(|one| (one.id.day(), one.id.bucket())).collect();
    rows(&session, "SELECT day, bucket FROM dead_letter_partitions", partitions).await?;

    let index = all().zip(1..).map(|(one, order): (_, i64)| (order, one.t.micros(), one.id.to_string()));
    rows(&session, "SELECT order_id, t, id FROM dead_letters_by_order", index).await?;

    let written = all().map(|one| {
        let (t, attempts) = (one.t.micros(), attempts[&one.id]);
        (one.id.to_string(), t, t, t, t, t, (attempts > 0).then_some(t + attempts))
    });
    let query = "SELECT id, WRITETIME(body), WRITETIME(attributes), WRITETIME(reason), WRITETIME(order_id), \
                 WRITETIME(payment_id), WRITETIME(attempts) FROM dead_letters";
    rows(&session, query, written).await?;

    // Received once and attempted, all by one run of the handler; nothing else has happened.
    let query = "SELECT host, run_id, MIN(at) FROM dead_letter_history";
    let first = session.query_unpaged(query, ()).await?.into_rows_result()?;
    let (host, run, CqlTimestamp(at)) = first.first_row::<(String, String, _)>()?;
    let is_signed = !host.is_empty() && !run.is_empty() && at >= (began - SKEW) / 1_000;
    ensure!(is_signed, "the history is of run {run:?} on host {host:?}, from {at} ms on");
    let numbers = || {
        all().flat_map(|one| {
            let last = attempts[&one.id];
            let entry = move |attempt| (one.id.to_string(), one.t.micros(), one.reason, attempt);
            (0..=last).map(entry)
        })
    };
    let causes = numbers().map(|(id, written, reason, attempt)| {
        let reason = (attempt == 0).then(|| reason.to_string());
        (id, written, reason, (attempt > 0).then_some(attempt), None::<String>)
    });
    let query = "SELECT id, WRITETIME(action), reason, attempt, outcome FROM dead_letter_history";
    rows(&session, query, causes).await?;
    let entries = numbers().map(|(id, written, _, attempt)| {
        let no = || None::<String>;
        let action = if attempt == 0 { "received" } else { "attempted" }.to_owned();
        let signed = ("dlq_handler".to_owned(), host.clone(), run.clone());
        let attempt = (attempt > 0).then_some(attempt);
        (id, written, action, attempt, signed.0, signed.1, signed.2, no(), no(), no(), None::<i64>)
    });
    let query = "SELECT id, WRITETIME(action), action, attempt, actor, host, run_id, note, operation_outcome, \
                 corrected_by, correction_number FROM dead_letter_history";
    rows(&session, query, entries).await
}

/// Compares all rows that a query reads with those that are wanted.
async fn rows<R>(session: &Session, query: &str, wanted: impl IntoIterator<Item = R>) -> Result<()>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm> + Ord + Debug + 'static,
{
    let found = session.query_iter(query, ()).await?.rows_stream::<R>()?.map_ok(|row| (row, ()));
    let compared = compare("row", wanted.into_iter().map(|row| (row, ())), found).await;
    compared.with_context(|| format!("wrong result of {query}"))
}

/// Returns the progress of a dead letter without its attempts, if the next one has a time.
fn besides_attempts(progress: DeadLetterProgress, began: i64) -> DeadLetterProgress {
    let is_due = progress.next_attempt_at.is_some_and(|next| next >= began / 1_000 * 1_000);
    match progress.attempts > 0 && is_due {
        true => DeadLetterProgress { attempts: 0, next_attempt_at: None, ..progress },
        false => progress,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecom_domain::dead_letter::DeadLetterState;

    const BEGAN: i64 = 1_705_831_290_000_000;

    #[tokio::test]
    async fn a_wrong_value_one_too_few_and_one_too_many_are_found() {
        let check = async |found: &[(i64, &str)]| {
            let found = stream::iter(found.iter().map(|pair| anyhow::Ok(*pair)));
            compare("row", [(1, "one"), (2, "two")].into_iter(), found).await
        };
        assert!(check(&[(2, "two"), (1, "one")]).await.is_ok());
        assert!(check(&[(2, "two"), (1, "two")]).await.is_err());
        assert!(check(&[(2, "two")]).await.unwrap_err().to_string().contains("row 1"));
        assert!(check(&[(2, "two"), (1, "one"), (3, "three")]).await.is_err());
        assert!(check(&[(2, "two"), (1, "one"), (1, "one")]).await.is_err());
    }

    #[test]
    fn a_dead_letter_has_the_body_of_its_payment_and_every_attribute() {
        let wanted = content(dead_letter(10));
        assert_eq!(wanted.0, 10);
        for name in dead_letter(10).attributes.keys() {
            let mut wrong = dead_letter(10);
            wrong.attributes.insert(name.clone(), String::new());
            assert_ne!(content(wrong), wanted, "{name}");
        }
        assert_ne!(content(dead_letter(10).set_data(published::body(Kind::Payment, 5))), wanted);
        let mut other = dead_letter(10);
        other.attributes.insert("dlq_detail".to_owned(), "another".to_owned());
        assert_eq!(content(other), wanted);
    }

    #[test]
    fn a_dead_letter_that_something_happened_to_is_found() {
        let right = DeadLetterProgress { attempts: 2, next_attempt_at: Some(BEGAN), ..Default::default() };
        let untouched = DeadLetterProgress::default();
        for right in [untouched.clone(), right.clone()] {
            assert_eq!(besides_attempts(right, BEGAN), untouched);
        }
        for wrong in [
            DeadLetterProgress { next_attempt_at: None, ..right.clone() },
            DeadLetterProgress { next_attempt_at: Some(BEGAN - 1_000), ..right.clone() },
            DeadLetterProgress { attempts: 0, ..right.clone() },
            DeadLetterProgress { state: Some(DeadLetterState::Parked), ..right.clone() },
            DeadLetterProgress { generation: 1, ..right },
        ] {
            assert_ne!(besides_attempts(wrong, BEGAN), untouched);
        }
    }
}
