//! The dead letters that `payment_consumer` must have published for payments whose order is missing.

use crate::arm::Kind;
use crate::bodies::{self, body};
use crate::messages::{stream, subscriber};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;
use tokio::time::timeout;

/// Limit for one that has not come yet.
const PATIENCE: Duration = Duration::from_secs(15);
/// Silence after which no more is expected. The emulator looks for messages twenty times a second.
const SILENCE: Duration = Duration::from_secs(2);

/// Takes the dead letters of each `missing`-th of `n` payments, compares each, and checks that there is no
/// other.
pub async fn check(project: &str, topic: &str, n: i64, missing: i64) -> Result<()> {
    let subscriber = subscriber().await?;
    let mut stream = stream(&subscriber, project, topic);
    let mut audit = Audit::new(n, missing);
    loop {
        let wait = if audit.missing.is_empty() { SILENCE } else { PATIENCE };
        let Ok(next) = timeout(wait, stream.next()).await else { break };
        let (message, handler) = next.context("the stream ended")??;
        audit.add(&message.message_id, &message.data, &message.attributes)?;
        handler.ack();
    }
    audit.finish().map(drop)
}

/// Expected dead letters, and those that came.
struct Audit {
    /// Orders whose payment's dead letter has not come yet.
    missing: BTreeSet<i64>,
    /// Ids of messages that came.
    came: HashSet<String>,
}

impl Audit {
    fn new(n: i64, missing: i64) -> Self {
        let missing = (1..=n).filter(|id| bodies::is_missing(*id, missing)).collect();
        Self { missing, came: HashSet::new() }
    }

    fn add(&mut self, message: &str, bytes: &[u8], attributes: &HashMap<String, String>) -> Result<()> {
        // A redelivery of one that was seen is no second dead letter.
        if !self.came.insert(message.to_owned()) {
            return Ok(());
        }
        let attribute = |name: &str| attributes.get(name).map_or("", String::as_str);
        let order: i64 = attribute("order_id").parse().unwrap_or_default();
        ensure!(self.missing.remove(&order), "there is a dead letter too many: {attributes:?}");
        let payment = (order + 1_000).to_string();
        let wanted = [
            ("dlq_reason", "order_not_found"),
            ("dlq_kind", "payment"),
            ("dlq_source_subscription", "payments_data-sub"),
            ("payment_id", payment.as_str()),
        ];
        let present = ["dlq_detail", "dlq_source_message_id", "dlq_published_at", "dlq_first_failed_at"];
        let is_right = wanted.iter().all(|(name, value)| attribute(name) == *value)
            && present.iter().all(|name| !attribute(name).is_empty())
            && *bytes == *body(Kind::Payment, order);
        let text = String::from_utf8_lossy(bytes);
        ensure!(is_right, "the dead letter of order {order} is {text} with {attributes:?}");
        Ok(())
    }

    /// Checks that all came; returns how many.
    fn finish(&self) -> Result<usize> {
        if let Some(first) = self.missing.first() {
            bail!("{} dead letters did not come, the first of them of order {first}", self.missing.len());
        }
        Ok(self.came.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(order: i64) -> HashMap<String, String> {
        let ids = [("order_id", order.to_string()), ("payment_id", (order + 1_000).to_string())];
        let words = [
            ("dlq_reason", "order_not_found"),
            ("dlq_kind", "payment"),
            ("dlq_source_subscription", "payments_data-sub"),
            ("dlq_detail", "x"),
            ("dlq_source_message_id", "7"),
            ("dlq_published_at", "2024-01-21T10:01:30Z"),
            ("dlq_first_failed_at", "2024-01-21T10:01:32Z"),
        ];
        let words = words.map(|(name, value)| (name, value.to_owned()));
        ids.into_iter().chain(words).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Ten payments of which the fifth and the tenth have no order; the dead letter of the fifth came.
    fn half() -> Audit {
        let mut audit = Audit::new(10, 5);
        audit.add("1", &body(Kind::Payment, 5), &attributes(5)).unwrap();
        audit
    }

    #[test]
    fn each_dead_letter_once_is_right_however_often_it_is_delivered() {
        let mut audit = half();
        audit.add("1", &body(Kind::Payment, 5), &attributes(5)).unwrap();
        audit.add("2", &body(Kind::Payment, 10), &attributes(10)).unwrap();
        assert_eq!(audit.finish().unwrap(), 2);
    }

    #[test]
    fn a_dead_letter_that_did_not_come_is_found() {
        assert!(half().finish().unwrap_err().to_string().contains("of order 10"));
    }

    #[test]
    fn a_dead_letter_too_many_or_a_wrong_one_is_found() {
        for order in [5, 6, 15] {
            assert!(half().add("2", &body(Kind::Payment, order), &attributes(order)).is_err(), "{order}");
        }
        for name in attributes(10).keys() {
            let mut wrong = attributes(10);
            wrong.insert(name.clone(), String::new());
            assert!(half().add("2", &body(Kind::Payment, 10), &wrong).is_err(), "{name}");
        }
        assert!(half().add("2", &body(Kind::Payment, 5), &attributes(10)).is_err());
    }
}
