//! Answers to requests that record something.

use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::IntoParams;

use super::problem::Problem;

/// The header of the idempotency key, of requests and of responses.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of a response that answers a request which was recorded before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The header of a request that records something.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it documents the header, which is read by an extractor")]
pub(crate) struct KeyHeader {
    /// A key of your own: the same request with the same key is recorded once. Without one the server makes one.
    #[param(
        rename = "Idempotency-Key", value_type = String, required = false,
        min_length = 1, max_length = 255, pattern = "^[!-~]+$"
    )]
    key: Option<String>,
}

/// Returns the answer 201: the record that stands, as `body`, and where to read it.
pub(crate) fn created(location: &str, is_replayed: bool, body: impl Serialize) -> Response {
    of_record((StatusCode::CREATED, Json(body)), location, is_replayed)
}

/// Says in an answer about a record where to read it, and whether it was recorded before.
pub(crate) fn of_record(answer: impl IntoResponse, location: &str, is_replayed: bool) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().extend(HeaderValue::from_str(location).ok().map(|location| (LOCATION, location)));
    if is_replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Names the key of a request in its answer, also where it failed: who sent none can repeat the request with it.
pub(crate) fn keyed(key: &str, answer: Result<Response, Problem>) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().extend(HeaderValue::from_str(key).ok().map(|key| (IDEMPOTENCY_KEY, key)));
    response
}
