//! The dead letters that `payment_consumer` must have published for payments whose order is missing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::timeout;

use crate::Outcome;
use crate::bodies::{self, Kind};
use crate::messages::{subscriber, subscription_name};

/// How long to wait for one that has not come yet.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long to wait for one too many. The emulator looks twenty times a second.
const SILENCE: Duration = Duration::from_secs(2);

/// Takes the dead letters of each `missing`-th of `n` payments, compares each, and sees that there is no
/// other; prints `dead-letters TOTAL`.
pub async fn check(project: &str, topic: &str, n: i64, missing: i64) -> Outcome<()> {
    let subscriber = subscriber().await?;
    let mut stream = subscriber
        .subscribe(subscription_name(project, topic))
        .set_max_outstanding_messages(1_000i64)
        .build();
    let mut audit = Audit::new(n, missing);
    loop {
        let wait = if audit.missing.is_empty() { SILENCE } else { PATIENCE };
        let Ok(next) = timeout(wait, stream.next()).await else { break };
        let (message, handler) = next.ok_or("the stream ended")??;
        // A delivery of one that was seen is no second letter.
        audit.letter(&message.message_id, &message.data, &message.attributes)?;
        handler.ack();
    }
    println!("dead-letters {}", audit.finish()?);
    Ok(())
}

/// What there must be, and what came.
struct Audit {
    /// Orders whose payment's letter has not come yet.
    missing: BTreeSet<i64>,
    /// Ids of messages that came.
    came: HashSet<String>,
}

impl Audit {
    fn new(n: i64, missing: i64) -> Self {
        let missing = (1..=n).filter(|id| bodies::is_missing(*id, missing)).collect();
        Self { missing, came: HashSet::new() }
    }

    fn letter(&mut self, message: &str, body: &[u8], attributes: &HashMap<String, String>) -> Outcome<()> {
        if !self.came.insert(message.to_owned()) {
            return Ok(());
        }
        let attribute = |name: &str| attributes.get(name).map_or("", String::as_str);
        let order: i64 = attribute("order_id").parse().unwrap_or_default();
        if !self.missing.remove(&order) {
            return Err(format!("there is a dead letter too many: {attributes:?}").into());
        }
        let payment = (order + 1_000).to_string();
        let wanted = [
            ("dlq_reason", "order_not_found"),
            ("dlq_kind", "payment"),
            ("dlq_source_subscription", "payments_data-sub"),
            ("payment_id", payment.as_str()),
        ];
        let told = ["dlq_detail", "dlq_source_message_id", "dlq_published_at", "dlq_first_failed_at"];
        let is_right = wanted.iter().all(|(name, value)| attribute(name) == *value)
            && told.iter().all(|name| !attribute(name).is_empty())
            && *body == *Kind::Payment.body(order);
        if is_right {
            return Ok(());
        }
        let body = String::from_utf8_lossy(body);
        Err(format!("the dead letter of order {order} is {body} with {attributes:?}").into())
    }

    /// Whether all came; how many.
    fn finish(&self) -> Outcome<usize> {
        match self.missing.first() {
            None => Ok(self.came.len()),
            Some(first) => {
                let many = self.missing.len();
                Err(format!("{many} dead letters did not come, the first of them of order {first}").into())
            }
        }
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

    /// Ten payments of which the fifth and the tenth have no order; the letter of the fifth came.
    fn half() -> Audit {
        let mut audit = Audit::new(10, 5);
        audit.letter("1", &Kind::Payment.body(5), &attributes(5)).unwrap();
        audit
    }

    #[test]
    fn each_letter_once_is_right_however_often_it_is_delivered() {
        let mut audit = half();
        audit.letter("1", &Kind::Payment.body(5), &attributes(5)).unwrap();
        audit.letter("2", &Kind::Payment.body(10), &attributes(10)).unwrap();
        assert_eq!(audit.finish().unwrap(), 2);
    }

    #[test]
    fn a_letter_that_did_not_come_is_found() {
        assert!(half().finish().unwrap_err().to_string().contains("of order 10"));
    }

    #[test]
    fn a_letter_too_many_or_a_wrong_one_is_found() {
        for order in [5, 6, 15] {
            assert!(half().letter("2", &Kind::Payment.body(order), &attributes(order)).is_err(), "{order}");
        }
        for name in attributes(10).keys() {
            let mut wrong = attributes(10);
            wrong.insert(name.clone(), String::new());
            assert!(half().letter("2", &Kind::Payment.body(10), &wrong).is_err(), "{name}");
        }
        assert!(half().letter("2", &Kind::Payment.body(5), &attributes(10)).is_err());
    }
}
