//! What handlers take from a request.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;

use super::api::{Api, CallContext};
use super::problem::{Problem, ProblemCode};
use super::query::Query;

/// The longest idempotency key.
const MAX_KEY: usize = 255;

impl<S: Send + Sync> FromRequestParts<S> for CallContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let call = parts.extensions.get::<Self>().cloned();
        call.ok_or_else(|| Problem::new(ProblemCode::Unauthenticated))
    }
}

/// A call of the shop or of a reader; customers are refused.
pub(crate) struct StaffCall(pub(crate) CallContext);

impl<S: Send + Sync> FromRequestParts<S> for StaffCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let call = CallContext::from_request_parts(parts, state).await?;
        call.caller.is_not_a_customer()?;
        Ok(Self(call))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(parameters) = read.map_err(|_| Problem::new(ProblemCode::InvalidQuery))?;
        Ok(Self::new(parameters))
    }
}

/// The query of a request that has no parameters.
pub(crate) struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::from_request_parts(parts, state).await?.finish().map(|()| Self)
    }
}

/// The bytes of a JSON body.
pub(crate) struct JsonBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(ProblemCode::UnsupportedMediaType));
        }
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|_| Problem::new(ProblemCode::MalformedJson))
    }
}

/// Returns whether the body is declared as JSON. A page of another origin cannot declare it so without asking first.
fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The idempotency key of a request: that of the client, or one that is made here.
pub(crate) struct IdempotencyKey(pub(crate) String);

impl FromRequestParts<Arc<Api>> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        const NAME: &str = "Idempotency-Key";
        let invalid = |detail: &str| Problem::of_field(ProblemCode::InvalidHeader, NAME, detail);
        let mut values = parts.headers.get_all(NAME).iter();
        let Some(value) = values.next() else { return Ok(Self(api.uuid())) };
        if values.next().is_some() {
            return Err(invalid("is given twice"));
        }
        let text = value.to_str().map_err(|_| invalid("must be visible ASCII characters"))?.trim();
        // The draft of the standard writes it as a quoted string; everybody else as it is.
        let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let key = quoted.filter(|key| !key.is_empty()).unwrap_or(text);
        if !(1..=MAX_KEY).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("must be 1 to 255 visible ASCII characters"));
        }
        if !ecom_card_numbers::find(key.as_bytes()).is_empty() {
            let detail = "contains a full card number";
            return Err(Problem::of_field(ProblemCode::CardNumberPresent, NAME, detail));
        }
        Ok(Self(key.to_owned()))
    }
}
