//! Checks that bodies of both kinds share.

use ecom_codec::Rejection;
use ecom_domain::reason::Reason;
use serde_json::Value;

/// Parses an accepted body: it is one JSON object.
pub fn parsed(bytes: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(bytes).expect("an accepted body is JSON");
    assert!(value.is_object());
    value
}

/// Checks that a rejection names its cause, and does not repeat the body.
pub fn check_rejection(rejection: &Rejection, bytes: &[u8]) {
    let of_bodies = [Reason::Undecodable, Reason::Invalid, Reason::PanDetected];
    assert!(of_bodies.contains(&rejection.reason), "{rejection:?}");
    assert!(!rejection.detail.is_empty() && rejection.detail.len() <= 1_024, "{rejection:?}");
    assert!(rejection.order_id.is_none_or(|order| order.0 > 0), "{rejection:?}");
    assert!(rejection.payment_id.is_none_or(|payment| payment > 0), "{rejection:?}");
    if rejection.reason == Reason::Undecodable {
        // What is a single JSON object is never called undecodable; a parser of any depth would be needed for
        // the rest.
        let is_object = serde_json::from_slice::<Value>(bytes).is_ok_and(|value| value.is_object());
        assert!(!is_object, "{rejection:?}");
    }
}
