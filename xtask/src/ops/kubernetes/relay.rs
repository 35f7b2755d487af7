//! Relays TCP connections, until it is told to be an outage.

use anyhow::{Context, Result};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Accepts connections at one address and carries them to another.
pub(super) struct Relay(Arc<Mutex<State>>);

enum State {
    /// The open connections.
    Open(Vec<TcpStream>),
    Closed,
}

impl Relay {
    /// Starts to relay in threads that end with the process.
    pub(super) fn start(from: SocketAddr, to: String) -> Result<Self> {
        let listener = TcpListener::bind(from).with_context(|| format!("could not listen at {from}"))?;
        let state = Arc::new(Mutex::new(State::Open(Vec::new())));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that cannot be carried is closed by being dropped.
                let _ = carry(&client, &to, &shared);
            }
        });
        Ok(Self(state))
    }

    /// Closes all connections, and each new one.
    pub(super) fn close(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Open(streams) = &*state {
            for stream in streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        *state = State::Closed;
    }

    /// Carries new connections again.
    pub(super) fn open(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::Open(Vec::new());
    }
}

/// Connects a client to `to` and starts a thread for each direction.
fn carry(client: &TcpStream, to: &str, state: &Mutex<State>) -> io::Result<()> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let State::Open(streams) = &mut *state else { return Ok(()) };
    let server = TcpStream::connect(to)?;
    for (from, into) in [(client, &server), (&server, client)] {
        let (from, into) = (from.try_clone()?, into.try_clone()?);
        thread::spawn(move || copy(from, into));
    }
    streams.extend([client.try_clone()?, server]);
    Ok(())
}

/// Copies what arrives until one side closes, then closes the other one.
fn copy(mut from: TcpStream, mut into: TcpStream) {
    let mut bytes = [0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if into.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn it_carries_both_ways_until_it_is_closed_and_again_when_it_is_opened() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = server.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for mut stream in server.incoming().flatten() {
                thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let relay = Relay::start(free, to).unwrap();
        let echo = |stream: &mut TcpStream| {
            let mut byte = [0];
            stream.write_all(b"x").and_then(|()| stream.read_exact(&mut byte)).map(|()| byte)
        };
        let mut first = TcpStream::connect(free).unwrap();
        assert_eq!(echo(&mut first).unwrap(), *b"x");
        relay.close();
        assert!(echo(&mut first).is_err());
        assert!(echo(&mut TcpStream::connect(free).unwrap()).is_err());
        relay.open();
        assert_eq!(echo(&mut TcpStream::connect(free).unwrap()).unwrap(), *b"x");
    }
}
