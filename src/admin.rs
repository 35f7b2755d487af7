//! The admin port: `/livez`, `/readyz`, `/metrics`.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, pending};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::context::Context;
use super::exit::CliError;
use super::roles::RoleHandle;
use ecom_telemetry::metrics;

/// Connections served at once; scrapers and probes are few.
const CONNECTIONS: usize = 64;

/// What the admin port shows.
struct Admin {
    /// All metrics of the process.
    registry: Registry,
    /// Why the process is not ready, where it is not.
    not_ready: Box<dyn Fn() -> Option<&'static str> + Send + Sync>,
}

/// Does the work of these roles beside the admin port.
pub(crate) async fn beside<T>(
    context: &Context,
    roles: &[&RoleHandle],
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let admin = start(context, roles).await?;
    tokio::select! {
        biased;
        outcome = work => outcome,
        never = admin => match never {},
    }
}

async fn start(
    context: &Context,
    roles: &[&RoleHandle],
) -> Result<impl Future<Output = Infallible> + use<>, CliError> {
    let Some(listen) = &context.config.admin.listen else { return Ok(Either::Left(pending())) };
    let listener = bind(listen).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!("serving /livez, /readyz and /metrics on http://{address}");
    }
    let dead_letter_store = roles.iter().find_map(|role| role.dead_letter_store.clone());
    let counters = roles.iter().map(|role| Arc::clone(&role.metrics)).collect();
    let registry = metrics::registry(counters, dead_letter_store);
    let roles: Vec<RoleHandle> = roles.iter().map(|&role| role.clone()).collect();
    let stop = context.stop.clone();
    let not_ready = move || match () {
        () if stop.is_cancelled() => Some("draining"),
        () if roles.iter().any(RoleHandle::in_outage) => Some("bus or store does not answer"),
        () => None,
    };
    let admin = Arc::new(Admin { registry, not_ready: Box::new(not_ready) });
    Ok(Either::Right(serve(listener, admin)))
}

/// Binds the port; a port that is taken is an error of usage.
async fn bind(listen: &str) -> Result<TcpListener, CliError> {
    TcpListener::bind(listen)
        .await
        .map_err(|error| CliError::usage(format!("could not listen on {listen} for the admin port: {error}")))
}

/// Serves until dropped.
async fn serve(listener: TcpListener, admin: Arc<Admin>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                let Ok((stream, _)) = accepted else { continue };
                let admin = Arc::clone(&admin);
                connections.spawn(async move {
                    let answer = service_fn(|request| {
                        let response = answer(&admin, &request);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    // A connection that breaks concerns only its client.
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
                });
            }
        }
    }
}

fn answer(admin: &Admin, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let text = |status: StatusCode, kind: &'static str, body: String| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
        response
    };
    let plain = |status, body: &str| text(status, "text/plain; charset=utf-8", format!("{body}\n"));
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET only");
    }
    match request.uri().path() {
        "/livez" => plain(StatusCode::OK, "ok"),
        "/readyz" => match (admin.not_ready)() {
            None => plain(StatusCode::OK, "ok"),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        "/metrics" => {
            let mut body = String::new();
            match prometheus_client::encoding::text::encode(&mut body, &admin.registry) {
                Ok(()) => {
                    text(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body)
                }
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be written"),
            }
        }
        _ => plain(StatusCode::NOT_FOUND, "try /livez, /readyz or /metrics"),
    }
}
