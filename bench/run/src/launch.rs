//! The program of an arm while it runs: started, followed, ended.

use crate::arm::Peer;
use crate::options::{Arm, Options};
use crate::usage::signal;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Interval between two reads of the metrics: each costs the process that is measured.
const METRICS_INTERVAL: Duration = Duration::from_millis(100);
/// Limit of a start and of a stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Addresses and folders of a run.
#[derive(Debug, Clone)]
pub struct Place {
    /// The folder of this program and of the binaries that are measured.
    pub binaries: PathBuf,
    /// The folder of what was built for the peers.
    pub peers: PathBuf,
    /// The folder of the logs.
    pub logs: PathBuf,
    /// The emulator's address.
    pub emulator: String,
    /// Cassandra's contact points.
    pub cassandra: String,
}

/// A fresh project and a fresh keyspace.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// The project's id.
    pub project: String,
    /// The keyspace's name.
    pub keyspace: String,
    /// Its creation in microseconds since the epoch: the time of the first dead letter.
    pub began: i64,
}

impl Place {
    /// Provisions topics, subscriptions and tables for the binaries.
    pub async fn set_up(&self, fresh: &Fresh) -> Result<()> {
        let output = self.binary("ecom_setup", fresh).output().await.context("could not run ecom_setup")?;
        ensure!(
            output.status.success(),
            "ecom_setup failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    fn binary(&self, name: &str, fresh: &Fresh) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        for set in [
            "bus.kind=pubsub".to_owned(),
            "store.kind=cassandra".to_owned(),
            format!("bus.pubsub.project={}", fresh.project),
            format!("bus.pubsub.emulator_host={}", self.emulator),
            format!("store.cassandra.contact_points={}", self.cassandra),
            format!("store.cassandra.keyspace={}", fresh.keyspace),
        ] {
            command.args(["--set", &set]);
        }
        command
    }

    /// Starts the program that is measured, its standard error in a log of the arm's name.
    pub fn start(&self, arm: Arm, fresh: &Fresh, events: u64, options: &Options) -> Result<Runner> {
        let log = self.logs.join(format!("{}.log", arm.name()));
        let errors = File::create(&log).with_context(|| format!("could not create {}", log.display()))?;
        let streams = options.streams.or(arm.streams()).map(|streams| streams.to_string());
        let (events, count) = (events.to_string(), streams.as_deref().unwrap_or_default());
        let (project, keyspace, kind) = (fresh.project.as_str(), fresh.keyspace.as_str(), arm.kind());
        let limit = |words: &[&str]| {
            let mut command = Command::new(self.binaries.join("bench"));
            command.args(words);
            command
        };
        let mut admin = None;
        let mut command = match arm {
            Arm::R0Publish => limit(&["publish", project, &events]),
            Arm::R1Pull => limit(&["pull", project, &events, count]),
            Arm::R2Insert => limit(&["insert", keyspace, &events, "128"]),
            Arm::R3Update => limit(&["update", keyspace, &events, "256"]),
            Arm::MinimalOrders => limit(&["minimal", "order", project, keyspace, &events, count, "128"]),
            Arm::MinimalPayments => limit(&["minimal", "payment", project, keyspace, &events, count, "256"]),
            _ => match (arm.binary(), arm.peer()) {
                (Some(binary), _) => {
                    let port = *admin.insert(free_port()?);
                    let mut command = self.binary(binary, fresh);
                    command.args(streams.iter().flat_map(|streams| ["--streams", streams]));
                    command.args(["--admin-listen", &format!("127.0.0.1:{port}"), "--quiet"]);
                    command
                }
                (None, peer) => {
                    let mut command = match peer {
                        Some(Peer::Go) => Command::new(self.peers.join("go-peer")),
                        _ => Command::new(self.peers.join("python/bin/python")),
                    };
                    let script = (peer == Some(Peer::Python)).then(|| self.peers.join("peer.py"));
                    command.args(script).args([kind.word(), project, kind.topic(), keyspace, count]);
                    command
                }
            },
        };
        command.env("PUBSUB_EMULATOR_HOST", &self.emulator).env("CASSANDRA_CONTACT_POINTS", &self.cassandra);
        command.env_remove("ECOM_CONFIG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child =
            command.kill_on_drop(true).spawn().with_context(|| format!("could not start {}", arm.name()))?;
        let done = Arc::new(AtomicU64::new(0));
        let follower = match (admin, child.stdout.take()) {
            (None, Some(out)) => tokio::spawn(follow_lines(BufReader::new(out), Arc::clone(&done))),
            (port, _) => tokio::spawn(follow_metrics(port.unwrap_or_default(), Arc::clone(&done))),
        };
        Ok(Runner { child, done, follower, admin, log })
    }
}

/// The program that is measured, until it is stopped.
pub struct Runner {
    /// The process.
    pub child: Child,
    done: Arc<AtomicU64>,
    follower: JoinHandle<()>,
    admin: Option<u16>,
    log: PathBuf,
}

impl Runner {
    /// Returns how many events are done, as the program itself counts them.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until it can take messages.
    pub async fn await_ready(&self) -> Result<()> {
        let Some(admin) = self.admin else {
            sleep(Duration::from_secs(1)).await;
            return Ok(());
        };
        let ready = async {
            while get(admin, "/readyz").await.is_err() {
                sleep(METRICS_INTERVAL).await;
            }
        };
        timeout(PATIENCE, ready)
            .await
            .with_context(|| format!("it did not become ready: {}", self.last_lines()))
    }

    /// Returns true if it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the metrics of one of the binaries.
    pub async fn metrics(&self) -> Result<String> {
        get(self.admin.context("it has no metrics")?, "/metrics").await
    }

    /// Returns the last lines of its log.
    pub fn last_lines(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Ends it: SIGTERM, then SIGKILL.
    pub async fn stop(mut self) {
        self.follower.abort();
        if let Some(pid) = self.child.id() {
            signal(pid, Signal::TERM);
        }
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Follows lines `done TOTAL`.
async fn follow_lines(out: BufReader<tokio::process::ChildStdout>, done: Arc<AtomicU64>) {
    let mut lines = out.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(total) = line.strip_prefix("done ").and_then(|total| total.trim().parse().ok()) {
            done.store(total, Ordering::Relaxed);
        }
    }
}

/// Follows the admin port: every delivery that is done with and was not nacked.
async fn follow_metrics(admin: u16, done: Arc<AtomicU64>) {
    loop {
        if let Ok(text) = get(admin, "/metrics").await {
            let is_done =
                |line: &str| line.starts_with("ecom_message_seconds_count") && !line.contains("\"nacked\"");
            done.store(total(&text, is_done) as u64, Ordering::Relaxed);
        }
        sleep(METRICS_INTERVAL).await;
    }
}

/// Adds up the values of the lines that `wanted` chooses.
pub fn total(metrics: &str, wanted: impl Fn(&str) -> bool) -> f64 {
    let lines = metrics.lines().filter(|line| wanted(line));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Returns the body of a GET that was answered with 200 within two seconds.
async fn get(port: u16, path: &str) -> Result<String> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(Duration::from_secs(2), ask).await??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(body.to_owned())
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("found no free port")?;
    Ok(listener.local_addr()?.port())
}

/// Creates a folder.
pub fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_are_chosen_count() {
        let metrics =
            "a_count{outcome=\"applied\"} 40\na_count{outcome=\"nacked\"} 7\na_sum 0.5\na_count 2\n";
        assert!(
            (total(metrics, |line| line.starts_with("a_count") && !line.contains("nacked")) - 42.0).abs()
                < 1e-9
        );
    }
}
