//! What handlers take from a request.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};

use super::problem::{Problem, ProblemCode};

/// The longest idempotency key.
const MAX_KEY: usize = 255;

/// The bytes of a JSON body.
pub(crate) struct JsonBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(ProblemCode::UnsupportedMediaType));
        }
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|rejection: BytesRejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(ProblemCode::BodyTooLarge),
            _ => Problem::detailed(ProblemCode::MalformedJson, "the body could not be received"),
        })
    }
}

/// Returns whether the body is JSON: it says so, or says nothing.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return true };
    let Ok(text) = content_type.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The idempotency key of a request; `None` if it has none.
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        const NAME: &str = "Idempotency-Key";
        let invalid = |detail: &str| Problem::of_field(ProblemCode::InvalidHeader, NAME, detail);
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        if values.next().is_some() {
            return Err(invalid("is given twice"));
        }
        let text = value.to_str().map_err(|_| invalid("must be visible ASCII characters"))?.trim();
        // The draft of the standard writes it as a quoted string; everybody else as it is.
        let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        if !(1..=MAX_KEY).contains(&unquoted.len()) || !unquoted.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("must be 1 to 255 visible ASCII characters"));
        }
        if !ecom_card_numbers::find(unquoted.as_bytes()).is_empty() {
            return Err(Problem::of_field(
                ProblemCode::CardNumberPresent,
                NAME,
                "contains a full card number",
            ));
        }
        Ok(Self(Some(unquoted.to_owned())))
    }
}
