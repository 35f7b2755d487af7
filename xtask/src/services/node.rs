//! A Cassandra node that a run kills, freezes and starts again.

use super::{CommitlogSync, Options, Runner, Service, Started, native, up};
use crate::processes;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A node of one run.
#[derive(Debug)]
pub struct Node {
    root: PathBuf,
    dir: PathBuf,
    commitlog_sync: CommitlogSync,
}

impl Node {
    /// Starts a node with its state in `dir`.
    pub fn start(root: &Path, dir: &Path, commitlog_sync: CommitlogSync) -> Result<Self> {
        let variable = Service::Cassandra.variable();
        ensure!(
            std::env::var_os(variable).is_none(),
            "cannot kill the Cassandra node that {variable} names\nhint: unset {variable}"
        );
        let node = Self { root: root.to_owned(), dir: dir.to_owned(), commitlog_sync };
        node.up()?;
        Ok(node)
    }

    /// Returns `host:port` for clients; it stays the same.
    pub fn address(&self) -> Result<String> {
        Ok(self.started()?.address)
    }

    /// Kills the node with SIGKILL and starts it again.
    pub fn kill_and_restart(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let log = Service::Cassandra.log(&self.dir);
        let ended = processes::wait_until(Duration::from_secs(30), || !native::is_alive(&log));
        ensure!(ended, "the killed Cassandra node did not end");
        self.up()
    }

    /// Stops the node with SIGSTOP, and lets it go on after a time.
    pub fn freeze(&self, time: Duration) -> Result<()> {
        self.signal(Signal::STOP)?;
        std::thread::sleep(time);
        self.signal(Signal::CONT)
    }

    fn up(&self) -> Result<()> {
        let options = Options {
            only: Some(Service::Cassandra),
            free_ports: true,
            commitlog_sync: self.commitlog_sync,
            ..Options::default()
        };
        up(&self.root, &self.dir, &options)?.into_iter().try_for_each(|(_, result)| result.map(drop))
    }

    fn started(&self) -> Result<Started> {
        Started::read(&self.dir, Service::Cassandra)?.context("no Cassandra node was started")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let Runner::Native { pid } = self.started()?.runner else {
            bail!("cannot signal a Cassandra node in Docker\nhint: install JDK 17 and Maven");
        };
        processes::signal(pid, signal)
    }
}
