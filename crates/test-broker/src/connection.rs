//! Connections: accepted, served with HTTP/1 or HTTP/2, and cut on command.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use crate::broker::Shared;
use crate::calls;
use crate::command::{ConnectionFault, Point};

/// The time after which the broker gives up a half-open connection. The client does not learn of it.
const HALF_OPEN_NOTICED: Duration = Duration::from_millis(500);

/// Accepts connections and serves them until it is dropped.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        if shared.faults.strike(Point::Connect).is_some() {
            let _ = stream.set_zero_linger();
            continue;
        }
        shared.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(serve(stream, shared.clone()));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut faults = shared.cut_connections.subscribe();
    let state = Arc::new(SocketState::default());
    let socket = TokioIo::new(Socket { stream: Some(stream), state: state.clone() });
    let service = service_fn(move |request| calls::call(shared.clone(), request));
    let server = auto::Builder::new(TokioExecutor::new());
    let connection = server.serve_connection(socket, service);
    let mut connection = std::pin::pin!(connection);
    loop {
        let fault = tokio::select! {
            biased;
            fault = faults.recv() => fault,
            _ = connection.as_mut() => return,
        };
        match fault {
            Ok(ConnectionFault::GoAway) => connection.as_mut().graceful_shutdown(),
            Ok(ConnectionFault::Reset) => return state.reset.store(true, Ordering::Relaxed),
            Ok(ConnectionFault::HalfOpen) => {
                state.half_open.store(true, Ordering::Relaxed);
                let _ = tokio::time::timeout(HALF_OPEN_NOTICED, connection).await;
                return;
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

#[derive(Default)]
struct SocketState {
    half_open: AtomicBool,
    reset: AtomicBool,
}

/// A socket whose bytes vanish once it is half-open.
struct Socket {
    stream: Option<TcpStream>,
    state: Arc<SocketState>,
}

impl Socket {
    fn is_half_open(&self) -> bool {
        self.state.half_open.load(Ordering::Relaxed)
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("the stream is there until the socket is dropped"))
    }
}

impl Drop for Socket {
    /// Resets the connection if asked to. A half-open one stays open until the client closes it.
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        if self.state.reset.load(Ordering::Relaxed) {
            let _ = stream.set_zero_linger();
        } else if self.is_half_open() {
            tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            ready!(self.stream().poll_read(context, buffer))?;
            if !self.is_half_open() || buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            buffer.set_filled(before);
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_half_open() {
            return Poll::Ready(Ok(buffer.len()));
        }
        self.stream().poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_half_open() {
            return Poll::Ready(Ok(()));
        }
        self.stream().poll_shutdown(context)
    }
}
