//! The checks: every row and every dead letter that an arm leaves, compared with what was published.

use crate::arm::{Kind, Program};
use crate::launch::Fresh;
use crate::messages::{self, subscriber};
use crate::options::Arm;
use crate::{facts, published};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterProgress, DeadLetterRecord};
use ecom_domain::fact::Fact;
use ecom_domain::order::OrderId;
use ecom_store::{DeadLetterStore, FactStore, Scan};
use futures_util::stream::{Stream, TryStreamExt};
use google_cloud_pubsub::model::Message;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::value::CqlTimestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;
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
        facts(arm, &fresh.keyspace, n).await?;
    }
    match (arm.program(), arm.kind()) {
        (_, Kind::DeadLetter) => dead_letter_store(&fresh.keyspace, n, fresh.began).await,
        (Program::Binary(_), Kind::Payment) => dead_letter_topic(arm, &fresh.project, n).await,
        _ => Ok(()),
    }
}

/// Values that are expected and not yet found, by key.
struct Expected<K, V> {
    what: &'static str,
    left: BTreeMap<K, V>,
}

impl<K: Ord + Debug, V: PartialEq + Debug> Expected<K, V> {
    fn new(what: &'static str, all: impl Iterator<Item = (K, V)>) -> Self {
        Self { what, left: all.collect() }
    }

    fn compare(&mut self, key: &K, found: &V) -> Result<()> {
        let what = self.what;
        let wanted = self.left.remove(key);
        let wanted = wanted.with_context(|| format!("there is a {what} of {key:?} too many: {found:?}"))?;
        ensure!(*found == wanted, "the {what} of {key:?} is {found:?}, should be {wanted:?}");
        Ok(())
    }

    async fn compare_all<E>(mut self, found: impl Stream<Item = Result<(K, V), E>>) -> Result<()>
    where
        anyhow::Error: From<E>,
    {
        let mut found = pin!(found);
        while let Some((key, value)) = found.try_next().await? {
            self.compare(&key, &value)?;
        }
        self.finish()
    }

    fn finish(&self) -> Result<()> {
        let Some((first, _)) = self.left.first_key_value() else { return Ok(()) };
        bail!("{} are missing, the first of them the {} of {first:?}", self.left.len(), self.what);
    }
}

/// Compares every cell of the fact table.
async fn facts(arm: Arm, keyspace: &str, n: i64) -> Result<()> {
    let store = facts::store(keyspace).await?;
    let ids = (1..=n).filter(|id| !arm.is_missing(*id));
    let expected = Expected::new("row", ids.map(|id| (OrderId(id), published::fact(arm.kind(), id))));
    let cells = |row| Fact { order_written_at: None, payment_written_at: None, ..row };
    expected.compare_all(store.facts().map_ok(|row| (row.order_id, cells(row)))).await
}

/// The content of a dead letter on its topic: its body, and the attributes that a consumer does not choose.
type Content = (Bytes, BTreeMap<String, String>);

/// The dead letters that `payment_consumer` must have published for the payments whose order is missing.
struct DeadLetterTopic {
    expected: Expected<i64, Content>,
    /// Ids of the messages that came.
    came: HashSet<String>,
}

impl DeadLetterTopic {
    fn new(ids: impl Iterator<Item = i64>) -> Self {
        let content = |id| {
            let own = published::attributes(id, 0).into_iter();
            let own = own.filter(|(name, _)| !CHOSEN.contains(name) && *name != "event_time_us");
            let own = own.map(|(name, value)| (name.to_owned(), value)).collect();
            (id, (published::body(Kind::Payment, id), own))
        };
        Self { expected: Expected::new("dead letter", ids.map(content)), came: HashSet::new() }
    }

    fn add(&mut self, message: Message) -> Result<()> {
        // A redelivery of one that was seen is no second dead letter.
        if !self.came.insert(message.message_id) {
            return Ok(());
        }
        let mut attributes: BTreeMap<String, String> = message.attributes.into_iter().collect();
        let order = attributes.get("order_id").and_then(|id| id.parse().ok()).unwrap_or_default();
        for name in CHOSEN {
            let value = attributes.remove(name).unwrap_or_default();
            ensure!(!value.is_empty(), "the dead letter of order {order} has no {name}");
        }
        self.expected.compare(&order, &(message.data, attributes))
    }
}

/// Takes the dead letters from their topic and compares each.
async fn dead_letter_topic(arm: Arm, project: &str, n: i64) -> Result<()> {
    let subscriber = subscriber().await?;
    let mut stream = messages::stream(&subscriber, project, Kind::DeadLetter.topic());
    let mut topic = DeadLetterTopic::new((1..=n).filter(|id| arm.is_missing(*id)));
    loop {
        let wait = if topic.expected.left.is_empty() { SILENCE } else { PATIENCE };
        let Ok(next) = timeout(wait, stream.next()).await else { break };
        let (message, handler) = next.context("the stream ended")??;
        topic.add(message)?;
        handler.ack();
    }
    topic.expected.finish()
}

/// Compares the dead-letter store, as `dlq_handler` must have left it, with dead letters 1 to `n`: each, its
/// history, its entry in the index by order, its day, and the write times.
async fn dead_letter_store(keyspace: &str, n: i64, began: i64) -> Result<()> {
    let all = || (1..=n).map(|id| published::dead_letter(id, began));
    let store = facts::store(keyspace).await?;
    let mut expected = Expected::new("dead letter", all().map(|one| (one.id.clone(), one)));
    let mut attempts: HashMap<DeadLetterId, i64> = HashMap::new();
    let mut records = store.dead_letters(Scan::ALL);
    while let Some(DeadLetterRecord { dead_letter, progress: found }) = records.try_next().await? {
        expected.compare(&dead_letter.id, &dead_letter)?;
        ensure!(is_untouched(&found, began), "the progress of {} is {found:?}", dead_letter.id);
        attempts.insert(dead_letter.id, found.attempts.into());
    }
    expected.finish()?;

    let session = facts::session().await?;
    session.use_keyspace(keyspace, false).await?;
    let days: HashSet<i32> = all().map(|one| one.id.day()).collect();
    rows(&session, "SELECT day FROM dead_letter_days", days, |(day,): (i32,)| day).await?;

    let entries = all().zip(1..).map(|(one, order)| (order, one.t.micros(), one.id.to_string()));
    let query = "SELECT order_id, t, id FROM dead_letters_by_order";
    rows(&session, query, entries, |entry: (i64, i64, String)| entry).await?;

    type Times = (String, i64, i64, i64, i64, i64, Option<i64>);
    let written = all().map(|one| {
        let (t, attempts) = (one.t.micros(), attempts[&one.id]);
        (one.id.to_string(), t, t, t, t, t, (attempts > 0).then_some(t + attempts))
    });
    let query = "SELECT id, WRITETIME(body), WRITETIME(attributes), WRITETIME(reason), WRITETIME(order_id), \
                 WRITETIME(payment_id), WRITETIME(attempts) FROM dead_letters";
    rows(&session, query, written, |times: Times| times).await?;

    // Received once and attempted, all by one run of the handler; nothing else has happened.
    let query = "SELECT host, run_id FROM dead_letter_history LIMIT 1";
    let first = session.query_unpaged(query, ()).await?.into_rows_result()?;
    let (host, run) = first.first_row::<(String, String)>()?;
    ensure!(!host.is_empty() && !run.is_empty(), "the history is of run {run:?} on host {host:?}");
    let entries = all().flat_map(|one| {
        let (attempts, by) = (attempts[&one.id], ["dlq_handler".to_owned(), host.clone(), run.clone()]);
        let entry = move |attempt| {
            let action = if attempt == 0 { "received" } else { "attempted" }.to_owned();
            let outcome = if attempt == 0 { one.reason.to_string() } else { format!("attempt {attempt}") };
            let written = one.t.micros() + attempt;
            (one.id.to_string(), action, outcome, written, by.clone(), ([None, None, None], None), true)
        };
        (0..=attempts).map(entry)
    });
    let query = "SELECT id, action, outcome, WRITETIME(action), actor, host, run_id, note, operation_outcome, \
                 corrected_by, correction_number, entry_id, at FROM dead_letter_history";
    rows(&session, query, entries, |entry: HistoryRow| history_entry(entry, began)).await
}

/// Compares all rows that a query reads with those that are wanted.
async fn rows<R, T>(
    session: &Session,
    query: &str,
    wanted: impl IntoIterator<Item = T>,
    row: impl Fn(R) -> T,
) -> Result<()>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm> + 'static,
    T: Ord + Debug,
{
    let found = session.query_iter(query, ()).await?.rows_stream::<R>()?.map_ok(|found| (row(found), ()));
    let expected = Expected::new("row", wanted.into_iter().map(|row| (row, ())));
    expected.compare_all(found).await.with_context(|| format!("wrong answer to {query}"))
}

type Text = Option<String>;
type HistoryRow = (
    String,
    String,
    String,
    i64,
    String,
    String,
    String,
    Text,
    Text,
    Text,
    Option<i64>,
    String,
    CqlTimestamp,
);
/// Id, action, outcome, write time; actor, host and run; what only people write; true if key and time are right.
type HistoryEntry = (String, String, String, i64, [String; 3], ([Text; 3], Option<i64>), bool);

fn history_entry(row: HistoryRow, began: i64) -> HistoryEntry {
    let (id, action, outcome, written, actor, host, run, note, operation, by, correction, entry, at) = row;
    let message = entry.strip_prefix("received-");
    let is_named =
        if action == "received" { message.is_some_and(|id| !id.is_empty()) } else { message.is_none() };
    let is_sound = is_named && at.0 >= (began - SKEW) / 1_000;
    (id, action, outcome, written, [actor, host, run], ([note, operation, by], correction), is_sound)
}

/// Returns true if a dead letter was attempted or not, and nothing else has happened to it.
fn is_untouched(found: &DeadLetterProgress, began: i64) -> bool {
    let (attempts, next_attempt_at) = (found.attempts, found.next_attempt_at);
    let is_scheduled = match next_attempt_at {
        Some(next) => attempts > 0 && next >= began / 1_000 * 1_000,
        None => attempts == 0,
    };
    is_scheduled
        && *found == DeadLetterProgress { attempts, next_attempt_at, ..DeadLetterProgress::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecom_domain::dead_letter::DeadLetterState;
    use futures_util::stream;

    const BEGAN: i64 = 1_705_831_290_000_000;

    #[tokio::test]
    async fn a_wrong_value_one_too_few_and_one_too_many_are_found() {
        let check = async |found: &[(i64, &'static str)]| {
            let found = stream::iter(found.iter().map(|pair| anyhow::Ok(*pair)));
            Expected::new("row", [(1, "one"), (2, "two")].into_iter()).compare_all(found).await
        };
        assert!(check(&[(2, "two"), (1, "one")]).await.is_ok());
        assert!(check(&[(2, "two"), (1, "two")]).await.is_err());
        assert!(check(&[(2, "two")]).await.unwrap_err().to_string().contains("row of 1"));
        assert!(check(&[(2, "two"), (1, "one"), (3, "three")]).await.is_err());
        assert!(check(&[(2, "two"), (1, "one"), (1, "one")]).await.is_err());
    }

    /// Returns the dead letter of an order as `payment_consumer` publishes it.
    fn published(order: i64, id: &str) -> Message {
        let attributes = published::attributes(order, BEGAN).into_iter();
        let attributes = attributes.filter(|(name, _)| *name != "event_time_us");
        Message { message_id: id.to_owned(), ..published::message(Kind::Payment, order, 0) }
            .set_attributes(attributes)
    }

    /// Orders 5 and 10 are missing; the dead letter of the fifth came.
    fn half() -> DeadLetterTopic {
        let mut topic = DeadLetterTopic::new([5, 10].into_iter());
        topic.add(published(5, "1")).unwrap();
        topic
    }

    #[test]
    fn each_dead_letter_once_is_right_however_often_it_is_delivered() {
        let mut topic = half();
        assert!(topic.expected.finish().unwrap_err().to_string().contains("of 10"));
        topic.add(published(5, "1")).unwrap();
        topic.add(published(10, "2")).unwrap();
        topic.expected.finish().unwrap();
    }

    #[test]
    fn a_dead_letter_too_many_or_a_wrong_one_is_found() {
        for order in [5, 6, 15] {
            assert!(half().add(published(order, "2")).is_err(), "{order}");
        }
        for name in published(10, "2").attributes.keys() {
            let mut wrong = published(10, "2");
            wrong.attributes.insert(name.clone(), String::new());
            assert!(half().add(wrong).is_err(), "{name}");
        }
        let body = published::body(Kind::Payment, 5);
        assert!(half().add(published(10, "2").set_data(body)).is_err());
    }

    #[test]
    fn a_dead_letter_that_something_happened_to_is_found() {
        let right = DeadLetterProgress { attempts: 2, next_attempt_at: Some(BEGAN), ..Default::default() };
        assert!(is_untouched(&DeadLetterProgress::default(), BEGAN) && is_untouched(&right, BEGAN));
        for wrong in [
            DeadLetterProgress { next_attempt_at: None, ..right.clone() },
            DeadLetterProgress { next_attempt_at: Some(BEGAN - 1_000), ..right.clone() },
            DeadLetterProgress { attempts: 0, ..right.clone() },
            DeadLetterProgress { state: Some(DeadLetterState::Parked), ..right.clone() },
            DeadLetterProgress { generation: 1, ..right },
        ] {
            assert!(!is_untouched(&wrong, BEGAN), "{wrong:?}");
        }
    }
}
