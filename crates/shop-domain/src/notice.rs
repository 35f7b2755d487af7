//! Notices: what stands about the confirmation of an order, and the message that asks for one.

use std::fmt;

use chrono::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time::rfc3339;
use ecom_domain::order::OrderId;

/// The longest cause of a notice, in characters.
const CAUSE: usize = 500;

/// The record of the confirmation of an order. Of one order each has a later time than the one before, so that the
/// time tells them apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The time at which it was decided, in microseconds since the epoch.
    pub at: i64,
    /// The outcome.
    pub outcome: NoticeOutcome,
}

/// The outcome of a confirmation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoticeOutcome {
    /// It was sent: whoever carries it further has accepted it.
    Sent,
    /// It was refused for good, for this cause.
    Undeliverable(String),
    /// There is nobody to send it to, for this cause.
    NotNeeded(String),
}

impl NoticeOutcome {
    /// Returns the word of the outcome in the store.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Undeliverable(_) => "undeliverable",
            Self::NotNeeded(_) => "not_needed",
        }
    }
}

impl Notice {
    /// Returns the notice that follows another one at `now`, in microseconds since the epoch: later than that one, whatever
    /// the clock says. A cause is stored as one line of at most 500 characters.
    pub fn new(outcome: NoticeOutcome, before: Option<&Self>, now: i64) -> Self {
        let outcome = match outcome {
            NoticeOutcome::Sent => NoticeOutcome::Sent,
            NoticeOutcome::Undeliverable(cause) => NoticeOutcome::Undeliverable(one_line(&cause)),
            NoticeOutcome::NotNeeded(cause) => NoticeOutcome::NotNeeded(one_line(&cause)),
        };
        Self { at: before.map_or(now, |before| now.max(before.at.saturating_add(1))), outcome }
    }

    /// Returns the notice of a text, as `Display` writes it; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ')?;
        let (at, cause) = match rest.split_once(": ") {
            Some((at, cause)) => (at, Some(cause.to_owned())),
            None => (rest, None),
        };
        let outcome = match (word, cause) {
            ("sent", None) => NoticeOutcome::Sent,
            ("undeliverable", Some(cause)) => NoticeOutcome::Undeliverable(cause),
            ("not_needed", Some(cause)) => NoticeOutcome::NotNeeded(cause),
            _ => return None,
        };
        Some(Self { at: micros(at)?, outcome })
    }
}

impl fmt::Display for Notice {
    /// Writes the text in the store: `sent 2026-11-28T00:14:03.000000Z`, or
    /// `undeliverable 2026-11-28T00:14:03.000000Z: 550 no such user`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.outcome.as_str(), rfc3339(self.at))?;
        match &self.outcome {
            NoticeOutcome::Sent => Ok(()),
            NoticeOutcome::Undeliverable(cause) | NoticeOutcome::NotNeeded(cause) => write!(f, ": {cause}"),
        }
    }
}

/// A kind of notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// The order is paid and confirmed.
    Confirmed,
}

/// The body of a message on the notices topic: `{"order_id": 7312094417265033, "notice": "confirmed"}`. It is a pointer,
/// without personal data: what to send, and to whom, follows from the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeRequest {
    /// The order.
    pub order_id: i64,
    /// The notice that its customer is to get.
    pub notice: NoticeKind,
    /// The time of the notice that stood when somebody asked to send it again, in RFC 3339; absent the first time. It is sent
    /// again if that notice still stands, so that the message may be delivered more than once.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time_text")]
    pub again_after: Option<i64>,
}

impl NoticeRequest {
    /// Returns the request to confirm an order, as the payment processor publishes it.
    pub fn confirmed(order_id: OrderId) -> Self {
        Self { order_id: order_id.0, notice: NoticeKind::Confirmed, again_after: None }
    }

    /// Returns the request to confirm an order again, about which `stands` stands.
    pub fn confirmed_again(order_id: OrderId, stands: Option<&Notice>) -> Self {
        Self { again_after: stands.map(|notice| notice.at), ..Self::confirmed(order_id) }
    }

    /// Returns the body of the message.
    pub fn encode(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("numbers and texts by name serialize")
    }

    /// Reads the body of a message.
    ///
    /// # Errors
    /// The cause, for the detail of a dead letter.
    pub fn decode(body: &[u8]) -> Result<Self, String> {
        let request: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        match request.order_id {
            id if id <= 0 => Err(format!("the id {id} is not positive")),
            _ => Ok(request),
        }
    }

    /// Returns whether nothing is left to do where `stands` stands.
    pub fn is_met_by(self, stands: Option<&Notice>) -> bool {
        stands.is_some_and(|notice| self.again_after != Some(notice.at))
    }
}

/// Returns a text as one line of at most [`CAUSE`] characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CAUSE).collect()
}

fn micros(text: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros())
}

/// A time as RFC 3339.
mod time_text {
    use super::*;
    use serde::de::Error;

    #[expect(clippy::ref_option, reason = "serde calls it")]
    pub(super) fn serialize<S: Serializer>(at: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(rfc3339).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at = micros(&text).ok_or_else(|| D::Error::custom("again_after is not a time in RFC 3339"))?;
        Ok(Some(at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_750_000_000_000_007;

    #[test]
    fn a_notice_is_written_for_people_and_reads_back() {
        for (outcome, text) in [
            (NoticeOutcome::Sent, "sent 2025-06-15T15:06:40.000007Z"),
            (
                NoticeOutcome::Undeliverable("550 5.1.1: no such user".into()),
                "undeliverable 2025-06-15T15:06:40.000007Z: 550 5.1.1: no such user",
            ),
            (
                NoticeOutcome::NotNeeded("the order has no e-mail address".into()),
                "not_needed 2025-06-15T15:06:40.000007Z: the order has no e-mail address",
            ),
        ] {
            let notice = Notice::new(outcome, None, NOW);
            assert_eq!(notice.to_string(), text);
            assert_eq!(Notice::parse(text), Some(notice));
        }
        for text in [
            "",
            "sent",
            "sent ",
            "sent yesterday",
            "Sent 2025-06-15T15:06:40Z",
            "sent 2025-06-15T15:06:40Z: why",
            "undeliverable 2025-06-15T15:06:40Z",
            "lost 2025-06-15T15:06:40Z",
        ] {
            assert_eq!(Notice::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_notice_is_later_than_the_one_before_whatever_the_clock_says() {
        let first = Notice::new(NoticeOutcome::Sent, None, NOW);
        assert_eq!(Notice::new(NoticeOutcome::Sent, Some(&first), NOW - 9).at, NOW + 1);
        assert_eq!(Notice::new(NoticeOutcome::Sent, Some(&first), NOW + 9).at, NOW + 9);
    }

    #[test]
    fn a_request_reads_back_and_nothing_else_is_one() {
        let stands = Notice::new(NoticeOutcome::Sent, None, NOW);
        let (first, again) =
            (NoticeRequest::confirmed(OrderId(7)), NoticeRequest::confirmed_again(OrderId(7), Some(&stands)));
        for request in [first, again] {
            assert_eq!(NoticeRequest::decode(&request.encode()), Ok(request));
        }
        assert_eq!(NoticeRequest::confirmed_again(OrderId(7), None), first);
        assert_eq!(first.encode(), br#"{"order_id":7,"notice":"confirmed"}"#);
        let text = br#"{"order_id":7,"notice":"confirmed","again_after":"2025-06-15T15:06:40.000007Z"}"#;
        assert_eq!(again.encode(), text);
        for body in [
            "",
            "7",
            "{}",
            r#"{"order_id":7}"#,
            r#"{"order_id":0,"notice":"confirmed"}"#,
            r#"{"order_id":"7","notice":"confirmed"}"#,
            r#"{"order_id":7,"notice":"shipped"}"#,
            r#"{"order_id":7,"notice":"confirmed","again_after":7}"#,
            r#"{"order_id":7,"notice":"confirmed","again_after":"sent"}"#,
            r#"{"order_id":7,"notice":"confirmed","email":"ada@example.com"}"#,
        ] {
            assert!(NoticeRequest::decode(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_request_is_met_by_any_notice_and_one_to_send_again_by_any_but_the_one_it_follows() {
        let stood = Notice::new(NoticeOutcome::Sent, None, NOW);
        let later = Notice::new(NoticeOutcome::Sent, Some(&stood), NOW);
        let first = NoticeRequest::confirmed(OrderId(7));
        let again = NoticeRequest::confirmed_again(OrderId(7), Some(&stood));
        assert!(!first.is_met_by(None) && first.is_met_by(Some(&stood)) && first.is_met_by(Some(&later)));
        assert!(!again.is_met_by(None) && !again.is_met_by(Some(&stood)) && again.is_met_by(Some(&later)));
    }

    proptest! {
        #[test]
        fn whatever_a_server_answers_is_one_line_that_reads_back(cause in any::<String>(), at in 0..4_000_000_000_000_000_i64) {
            for outcome in [NoticeOutcome::Undeliverable(cause.clone()), NoticeOutcome::NotNeeded(cause)] {
                let notice = Notice::new(outcome, None, at);
                let text = notice.to_string();
                prop_assert!(!text.contains(['\r', '\n']) && text.chars().count() < CAUSE + 60);
                prop_assert_eq!(Notice::parse(&text), Some(notice));
            }
        }
    }
}
