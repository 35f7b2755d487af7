//! The HTTP server: the routes, and the connections they are served on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use super::api::Api;
use super::auth::Keys;
use super::layers::{authenticate, bound, identify, receive};
use super::problem::PROBLEMS;
use super::settings::{ANSWER_TIMEOUT, HEADER_TIMEOUT};
use super::write_timeout::WriteTimeout;
use super::{aliases, carts, checkout, confirmation, docs, orders, products, transactions};

/// The most headers of a request.
const MAX_HEADERS: usize = 100;
/// The most bytes of the headers of a request.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// The most connections at the same time.
const MAX_CONNECTIONS: usize = 4_096;
/// The wait after a failed accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Returns the operations as routes, and adds them to a description.
pub(crate) fn described(description: OpenApi) -> (Router<Arc<Api>>, OpenApi) {
    let v1 = OpenApiRouter::new()
        .merge(products::routes())
        .merge(carts::routes())
        .merge(checkout::routes())
        .merge(orders::routes())
        .merge(confirmation::routes())
        .merge(transactions::routes());
    OpenApiRouter::with_openapi(description).nest("/api/v1", v1).merge(aliases::routes()).split_for_parts()
}

/// Returns the routes of the API.
pub fn router(api: Arc<Api>) -> Router {
    let (routes, mut description) = described(docs::description(matches!(api.keys, Keys::File(_))));
    docs::complete(&mut description);
    routes
        .layer(from_fn_with_state(Arc::clone(&api), bound))
        .layer(from_fn(receive))
        .layer(from_fn_with_state(Arc::clone(&api), authenticate))
        .route(PROBLEMS, get(docs::problems))
        .route(&format!("{PROBLEMS}/{{code}}"), get(docs::problem))
        .route("/", get(async || Redirect::temporary("/docs")))
        .merge(SwaggerUi::new("/docs").url("/openapi.json", description))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .layer(from_fn_with_state(Arc::clone(&api), identify))
        .with_state(api)
}

/// Answers whether store and bus answered the last requests that needed them.
async fn readyz(State(api): State<Arc<Api>>) -> (StatusCode, String) {
    match api.not_ready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// A bound server.
#[derive(Debug)]
pub struct Server(TcpListener);

impl Server {
    /// Binds the server to `host:port`; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address is in use, or is none of this host.
    pub async fn bind(listen: &str) -> io::Result<Self> {
        TcpListener::bind(listen).await.map(Self)
    }

    /// Returns the address it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until stopped, then answers the requests that have begun.
    pub async fn serve(self, api: Arc<Api>, stop: CancellationToken) {
        let service = TowerToHyperService::new(router(api));
        let graceful = GracefulShutdown::new();
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES);
        loop {
            let stream = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.0.accept(), if graceful.count() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!("could not accept a connection, trying again: {error}");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                        continue;
                    }
                },
                () = tokio::time::sleep(ACCEPT_RETRY), if graceful.count() >= MAX_CONNECTIONS => continue,
            };
            // Small answers at once: a delayed packet costs 40 ms.
            let _ = stream.set_nodelay(true);
            let stream = TokioIo::new(WriteTimeout::new(stream, ANSWER_TIMEOUT));
            let connection = graceful.watch(http.serve_connection(stream, service.clone()));
            // A connection that breaks concerns its client alone.
            tokio::spawn(async move { drop(connection.await) });
        }
        graceful.shutdown().await;
    }
}
