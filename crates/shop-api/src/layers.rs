//! What requests pass through, from the outside: their id and the form of their problems, the key, the body, the limits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::Instant;
use tracing::Instrument;

use super::api::{Api, CallContext, RequestId};
use super::problem::{Problem, ProblemCode};
use super::settings::{BODY_LIMIT, BODY_TIMEOUT, REQUEST_TIMEOUT};
use ecom_telemetry::metrics::StatusClass;
use ecom_telemetry::traces::{self, TRACEPARENT};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header in which browsers name the relation of a page to the origin that it sends a request to.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The longest request id that is taken over from a client.
const MAX_REQUEST_ID: usize = 128;

/// The outermost layer: gives the request its id, and writes its problem out.
pub(crate) async fn identify(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let id: Arc<str> = request_id(request.headers()).unwrap_or_else(|| api.uuid()).into();
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let method = request.method().clone();
    // Of the path only the route: the rest is the client's text.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let began = Instant::now();
    let span = tracing::debug_span!("request", request_id = %id);
    let traceparent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let trace = traces::request(method.as_str(), route, traceparent);
    let response = trace.scope().run(next.run(request).instrument(span.clone())).await;
    let mut response = as_problem(response, &id);
    trace.set_number("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        trace.fail("server_error");
    }
    let (status, took) = (response.status(), began.elapsed());
    span.in_scope(|| {
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::error!(%method, route, status = status.as_u16(), request_id = %id, "the request failed");
        } else {
            tracing::debug!(%method, route, status = status.as_u16(), ms = took.as_millis(), "answered");
        }
    });
    if let Some(requests) = api.backends.metrics.requests() {
        requests.observe(api.operations.name(&method, route), StatusClass::of(status.as_u16()), took);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Finds out who calls, and counts the call.
pub(crate) async fn authenticate(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = api.keys.caller(authorization)?;
    let (rate, admitted) = api.rates.admit(&caller);
    let is_allowed = admitted.and_then(|()| match request.method().is_safe() {
        true => Ok(()),
        false => caller.may_write().and_then(|()| of_no_other_origin(request.headers())),
    });
    let mut response = match is_allowed {
        Ok(()) => {
            let request_id = request.extensions().get::<RequestId>().cloned();
            let request_id = request_id.unwrap_or_else(|| RequestId(api.uuid().into()));
            request.extensions_mut().insert(CallContext { caller, request_id });
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().extend(rate);
    match response.extensions().get::<Problem>().map(|problem| problem.code) {
        // The bus has a shorter limit of its own.
        Some(ProblemCode::StoreUnavailable | ProblemCode::TimedOut) => api.store_calls.failed(),
        None if response.status().is_success() => api.store_calls.succeeded(),
        Some(_) | None => {}
    }
    Ok(response)
}

/// Returns an error if a browser says that a page of another origin sends a request. It would send the password that its
/// user has entered here.
fn of_no_other_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    if matches!(site, None | Some(b"same-origin" | b"none")) {
        return Ok(());
    }
    Err(Problem::detailed(ProblemCode::Forbidden, "a page of another origin changes nothing"))
}

/// Receives the body, so that a request takes its place among those in flight only once it has arrived.
pub(crate) async fn receive(request: Request, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let receiving = Limited::new(body, BODY_LIMIT).collect();
    let received = tokio::time::timeout(BODY_TIMEOUT, receiving).await;
    let received = received.map_err(|_| Problem::new(ProblemCode::RequestTooSlow))?;
    let body = received.map_err(|error| match error.is::<LengthLimitError>() {
        true => Problem::new(ProblemCode::BodyTooLarge),
        false => Problem::detailed(ProblemCode::MalformedJson, "the body could not be received"),
    })?;
    Ok(next.run(Request::from_parts(head, Body::from(body.to_bytes()))).await)
}

/// Answers in time, whatever happens, and refuses more than a number of requests at once.
pub(crate) async fn bound(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = api.in_flight.try_acquire() else {
        return Problem::retryable(ProblemCode::Overloaded).into_response();
    };
    let answering = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(REQUEST_TIMEOUT, answering).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::new(ProblemCode::Internal).into_response(),
        Err(_) => Problem::retryable(ProblemCode::TimedOut).into_response(),
    }
}

/// Returns the response with its problem written out, also where the framework answered.
fn as_problem(mut response: Response, request_id: &str) -> Response {
    let problem = response.extensions_mut().remove::<Problem>();
    let of_framework = match response.status() {
        // A path that is not UTF-8 names nothing.
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Some(ProblemCode::NotFound),
        StatusCode::METHOD_NOT_ALLOWED => Some(ProblemCode::MethodNotAllowed),
        StatusCode::INTERNAL_SERVER_ERROR => Some(ProblemCode::Internal),
        _ => None,
    };
    let Some(problem) = problem.or_else(|| of_framework.map(Problem::new)) else { return response };
    let mut written = problem.respond(Some(request_id));
    // What handlers and layers have said beside it: the key of the request, where to read the record, the rate.
    for (name, value) in response.headers() {
        written.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    written
}

/// Returns the request id of a client; `None` if it has none that may be written to logs and headers.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    let is_usable = (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(is_plain);
    (is_usable && ecom_card_numbers::find(id.as_bytes()).is_empty()).then(|| id.to_owned())
}
