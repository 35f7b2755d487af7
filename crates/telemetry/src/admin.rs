//! The admin server: `/livez`, `/readyz`, `/metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Connections served at a time; scrapers and probes are few.
const CONNECTIONS: usize = 64;
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A bound admin server.
#[derive(Debug)]
pub struct AdminServer(TcpListener);

/// The data behind the server's paths.
struct AdminView<F> {
    registry: Registry,
    not_ready: F,
}

impl AdminServer {
    /// Binds the server to `host:port`; port 0 takes a free one.
    pub async fn bind(listen: &str) -> std::io::Result<Self> {
        TcpListener::bind(listen).await.map(Self)
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until dropped. `/readyz` answers 503 with what `not_ready` returns, and 200 when it returns
    /// `None`.
    pub async fn serve<F>(self, registry: Registry, not_ready: F) -> Infallible
    where
        F: Fn() -> Option<&'static str> + Send + Sync + 'static,
    {
        let view = Arc::new(AdminView { registry, not_ready });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = connections.join_next() => {}
                accepted = self.0.accept(), if connections.len() < CONNECTIONS => {
                    let Ok((stream, _)) = accepted else { continue };
                    let view = Arc::clone(&view);
                    connections.spawn(async move {
                        let service = service_fn(|request| {
                            let response = view.respond(&request);
                            async move { Ok::<_, Infallible>(response) }
                        });
                        let http = hyper::server::conn::http1::Builder::new();
                        // A connection that breaks concerns its client alone.
                        drop(http.serve_connection(TokioIo::new(stream), service).await);
                    });
                }
            }
        }
    }
}

impl<F: Fn() -> Option<&'static str>> AdminView<F> {
    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let plain = |status, line: &str| response(status, PLAIN_TEXT, format!("{line}\n"));
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "GET only");
        }
        match request.uri().path() {
            "/livez" => plain(StatusCode::OK, "ok"),
            "/readyz" => match (self.not_ready)() {
                None => plain(StatusCode::OK, "ok"),
                Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
            },
            "/metrics" => {
                let mut text = String::new();
                match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
                    Ok(()) => response(StatusCode::OK, OPEN_METRICS, text),
                    Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be encoded"),
                }
            }
            _ => plain(StatusCode::NOT_FOUND, "try /livez, /readyz or /metrics"),
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
