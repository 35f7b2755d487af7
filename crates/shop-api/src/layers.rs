//! What every request passes through: its id, its time limit, the limit of requests at once, the key, and the form of its
//! errors.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::api::{Api, CallContext, RequestId};
use super::problem::{Problem, ProblemCode};
use super::settings::REQUEST_TIMEOUT;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from a client.
const MAX_REQUEST_ID: usize = 128;

/// The outermost layer: answers in time, whatever happens, and writes errors as problem details.
pub(crate) async fn answer(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let id: Arc<str> = request_id(request.headers()).unwrap_or_else(|| api.uuid()).into();
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = Instant::now();
    let span = tracing::debug_span!("request", request_id = %id);
    let response = handle(&api, request, next).instrument(span.clone()).await;
    let mut response = as_problem(response, &id);
    let (status, took) = (response.status(), began.elapsed());
    span.in_scope(|| {
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::error!(%method, path, status = status.as_u16(), request_id = %id, "the request failed");
        } else {
            tracing::debug!(%method, path, status = status.as_u16(), ms = took.as_millis(), "answered");
        }
    });
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn handle(api: &Api, request: Request, next: Next) -> Response {
    let Ok(_permit) = api.in_flight.try_acquire() else {
        return problem(Problem { retry_after: Some(1), ..Problem::new(ProblemCode::Overloaded) });
    };
    let answering = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(REQUEST_TIMEOUT, answering).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => problem(Problem::new(ProblemCode::Internal)),
        Err(_) => problem(Problem { retry_after: Some(1), ..Problem::new(ProblemCode::TimedOut) }),
    }
}

fn problem(problem: Problem) -> Response {
    axum::response::IntoResponse::into_response(problem)
}

/// Returns the response with its problem written out, also where the framework answered.
fn as_problem(mut response: Response, request_id: &str) -> Response {
    let problem = response.extensions_mut().remove::<Problem>();
    let of_framework = match response.status() {
        StatusCode::NOT_FOUND => Some(ProblemCode::NotFound),
        StatusCode::METHOD_NOT_ALLOWED => Some(ProblemCode::MethodNotAllowed),
        StatusCode::BAD_REQUEST => Some(ProblemCode::InvalidQuery),
        _ => None,
    };
    let Some(problem) = problem.or_else(|| of_framework.map(Problem::new)) else { return response };
    let mut written = problem.respond(Some(request_id));
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        written.headers_mut().insert(header::ALLOW, allow);
    }
    written
}

/// Finds out who calls, and counts the call.
pub(crate) async fn authenticate(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = api.keys.caller(authorization)?;
    api.rates.admit(&caller)?;
    let request_id = request.extensions().get::<RequestId>().cloned();
    let request_id = request_id.unwrap_or_else(|| RequestId(api.uuid().into()));
    request.extensions_mut().insert(CallContext { caller, request_id });
    Ok(next.run(request).await)
}

/// Returns the request id of a client; `None` if it has none that may be written to logs and headers.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    let is_usable = (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(is_plain);
    (is_usable && ecom_card_numbers::find(id.as_bytes()).is_empty()).then(|| id.to_owned())
}
