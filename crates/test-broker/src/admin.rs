//! Topics and subscriptions over HTTP and JSON, which is how the client library administers them.

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::answers::answer;
use crate::broker::Shared;
use crate::command::Point;

/// Answers one request.
pub(crate) async fn call(shared: &Shared, http: Request<Incoming>) -> Response<Body> {
    let (head, body) = http.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = head.uri.path().trim_start_matches("/v1/");
    let answer = answer(&shared.faults, Point::Admin, || apply(shared, &head.method, path, body)).await;
    let (status, body) = match answer {
        Ok(answer) => (StatusCode::OK, answer.into_inner()),
        Err(status) => error(&status),
    };
    let mut response = Response::new(Body::new(Full::from(body.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

fn apply(shared: &Shared, method: &Method, path: &str, mut body: Value) -> Result<Value, Status> {
    let mut topics = shared.topics();
    let words: Vec<_> = path.split('/').collect();
    if *method == Method::PUT {
        body["name"] = path.into();
    }
    match (method, &words[..]) {
        (&Method::GET, ["projects", _, "topics"]) => Ok(json!({ "topics": topics.topics_below(path) })),
        (&Method::GET, ["projects", _, "topics", _]) => topics.topic(path),
        (&Method::GET, ["projects", project, "topics", topic, "subscriptions"]) => {
            let topic = format!("projects/{project}/topics/{topic}");
            Ok(json!({ "subscriptions": topics.subscriptions_of(&topic)? }))
        }
        (&Method::PUT, ["projects", _, "topics", _]) => topics.create_topic(path, body),
        (&Method::GET, ["projects", _, "subscriptions", _]) => {
            Ok(topics.subscription(path)?.description.clone())
        }
        (&Method::PUT, ["projects", _, "subscriptions", _]) => topics.create_subscription(path, body),
        _ => Err(Status::unimplemented(format!("the test broker does not offer {method} {path}"))),
    }
}

/// Returns an error as the service shows it.
fn error(status: &Status) -> (StatusCode, Value) {
    let (http, name) = match status.code() {
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
        Code::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Code::AlreadyExists => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
        Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED"),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
    };
    (http, json!({ "error": { "code": http.as_u16(), "message": status.message(), "status": name } }))
}
