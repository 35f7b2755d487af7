//! The admin server: `/livez`, `/readyz`, `/metrics`.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// Connections served at a time; scrapers and probes are few. One more closes the oldest, so that a probe
/// never waits for another client.
const CONNECTIONS: usize = 64;
/// The lifetime of a connection, from its first byte in either direction to its last. A connection serves one
/// request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after a failed accept, doubled by each further failure up to [`ACCEPT_RETRY_MAX`]: without file
/// handles, accepting fails at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);
/// The longest wait after a failed accept.
const ACCEPT_RETRY_MAX: Duration = Duration::from_secs(1);
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
        F: Fn() -> Option<Cow<'static, str>> + Send + Sync + 'static,
    {
        let view = Arc::new(AdminView { registry, not_ready });
        serve_connections(async || self.0.accept().await.map(|(stream, _)| stream), &view).await
    }
}

/// Serves what `accept` returns. `accept` must be cancel-safe.
async fn serve_connections<S, F>(
    mut accept: impl AsyncFnMut() -> io::Result<S>,
    view: &Arc<AdminView<F>>,
) -> Infallible
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn() -> Option<Cow<'static, str>> + Send + Sync + 'static,
{
    let mut connections = JoinSet::new();
    // By age, the oldest first.
    let mut open: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS);
    let mut retry = ACCEPT_RETRY;
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            accepted = accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                if retry == ACCEPT_RETRY {
                    tracing::warn!("could not accept a connection on the admin port, trying again: {error}");
                }
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(ACCEPT_RETRY_MAX);
                continue;
            }
        };
        retry = ACCEPT_RETRY;
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let connection = serve_connection(stream, Arc::clone(view));
        open.push_back(connections.spawn(async move {
            // A connection that breaks or takes too long concerns its client alone.
            drop(tokio::time::timeout(CONNECTION_TIMEOUT, connection).await);
        }));
    }
}

async fn serve_connection<S, F>(stream: S, view: Arc<AdminView<F>>) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn() -> Option<Cow<'static, str>> + Send + Sync + 'static,
{
    let service = service_fn(|request| {
        let response = view.respond(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.keep_alive(false);
    http.serve_connection(TokioIo::new(stream), service).await
}

impl<F: Fn() -> Option<Cow<'static, str>>> AdminView<F> {
    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let plain = |status, line: &str| response(status, PLAIN_TEXT, format!("{line}\n"));
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "GET only");
        }
        match request.uri().path() {
            "/livez" => plain(StatusCode::OK, "ok"),
            "/readyz" => match (self.not_ready)() {
                None => plain(StatusCode::OK, "ok"),
                Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, &why),
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    /// The way to connect to the server of a test.
    struct TestServer(mpsc::Sender<DuplexStream>);

    impl TestServer {
        async fn connect(&self) -> DuplexStream {
            let (client, server) = tokio::io::duplex(1_024);
            self.0.send(server).await.unwrap();
            client
        }
    }

    /// Runs a test beside a server.
    async fn with_server(test: impl AsyncFnOnce(TestServer)) {
        let (connected, mut arrivals) = mpsc::channel(1);
        let view = Arc::new(AdminView { registry: Registry::default(), not_ready: || None });
        let accept = async || match arrivals.recv().await {
            Some(stream) => Ok(stream),
            None => std::future::pending().await,
        };
        tokio::select! {
            biased;
            never = serve_connections(accept, &view) => match never {},
            () = test(TestServer(connected)) => {}
        }
    }

    async fn get(mut client: DuplexStream, path: &str) -> String {
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn liveness_does_not_wait_for_idle_connections() {
        with_server(async |server| {
            let started = Instant::now();
            let mut idle = Vec::new();
            for _ in 0..4 * CONNECTIONS {
                idle.push(server.connect().await);
            }
            let answer = get(server.connect().await, "/livez").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert_eq!(started.elapsed(), Duration::ZERO);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_after_its_request_or_its_time() {
        with_server(async |server| {
            for beginning in ["", "GET /livez HTTP/1.1\r\nHost:"] {
                let (mut client, started) = (server.connect().await, Instant::now());
                client.write_all(beginning.as_bytes()).await.unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.unwrap();
                assert_eq!((answer.as_str(), started.elapsed()), ("", CONNECTION_TIMEOUT), "{beginning:?}");
            }
            let started = Instant::now();
            assert!(get(server.connect().await, "/livez").await.ends_with("\r\n\r\nok\n"));
            assert_eq!(started.elapsed(), Duration::ZERO);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn failed_accepts_back_off_and_the_next_connection_is_served() {
        let mut attempts = 0;
        let (client, served) = tokio::io::duplex(1_024);
        let mut served = Some(served);
        let view = Arc::new(AdminView { registry: Registry::default(), not_ready: || None });
        let accept = async || {
            attempts += 1;
            if attempts <= 20 {
                return Err(io::Error::other("too many open files"));
            }
            match served.take() {
                Some(stream) => Ok(stream),
                None => std::future::pending().await,
            }
        };
        let started = Instant::now();
        let answer = tokio::select! {
            biased;
            never = serve_connections(accept, &view) => match never {},
            answer = get(client, "/readyz") => answer,
        };
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(started.elapsed() > 10 * ACCEPT_RETRY_MAX, "20 failures took {:?}", started.elapsed());
    }
}
