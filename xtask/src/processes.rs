//! Processes: their environment and ports, signals to them, and waiting for what they do.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The beginnings of the variables that configure our programs.
pub const CONFIGURATION: [&str; 4] = ["ECOM_", "OTEL_", "PUBSUB_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"];

/// Removes the variables that begin with one of these prefixes from the environment that a command inherits.
pub fn remove_variables(command: &mut Command, prefixes: &[&str]) {
    for (name, _) in std::env::vars_os() {
        if prefixes.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// Returns free ports of 127.0.0.1. Another process may take them before they are used.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .context("found no free port on 127.0.0.1")?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Sends a signal to the process with this id.
pub fn signal(id: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("not a process id")?;
    kill_process(pid, signal).with_context(|| format!("could not signal process {id}"))
}

/// Checks `done` until it holds or `limit` has passed; returns whether it holds.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() >= limit {
            return false;
        }
        thread::sleep(Duration::from_millis(100));
    }
    true
}
