//! The program of an arm while it runs: started, followed, ended.

use crate::arm::{Kind, Program};
use crate::options::{Arm, Options};
use crate::{facts, messages, usage::signal};
use anyhow::{Context, Result};
use reqwest::Client;
use rustix::process::Signal;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs::File, path::PathBuf, process::Stdio, sync::Arc};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Interval between two reads of the metrics: each costs the process that is measured.
const METRICS_INTERVAL: Duration = Duration::from_millis(100);
/// Limit of a start and of a stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A fresh project and a fresh keyspace, and their creation in microseconds since the epoch: the time of the
/// first dead letter.
#[derive(Debug, Clone)]
pub struct Fresh {
    pub project: String,
    pub keyspace: String,
    pub began: i64,
}

impl Fresh {
    /// Returns a project and a keyspace that no other run has; nothing is created.
    pub fn named(name: &str) -> Result<Self> {
        let began = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
        let name = format!("bench-{name}{began}");
        Ok(Self { keyspace: name.replace('-', "_"), project: name, began })
    }
}

/// Returns a released binary with the configuration of a fresh project and keyspace, and Cassandra at
/// `contact_points`.
pub fn binary(name: &str, fresh: &Fresh, contact_points: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?.with_file_name(name));
    for set in [
        "bus.kind=pubsub".to_owned(),
        "store.kind=cassandra".to_owned(),
        format!("bus.pubsub.project={}", fresh.project),
        format!("bus.pubsub.emulator_host={}", messages::emulator()?),
        format!("store.cassandra.contact_points={contact_points}"),
        format!("store.cassandra.keyspace={}", fresh.keyspace),
        format!("store.cassandra.replication_factor={}", facts::nodes()?.split(',').count()),
    ] {
        command.args(["--set", &set]);
    }
    command.env_remove("ECOM_CONFIG");
    Ok(command)
}

/// The program that is measured, until it is stopped; its standard error is in a log of the arm's name.
pub struct Runner {
    pub child: Child,
    log: PathBuf,
    done: Arc<AtomicU64>,
    follower: JoinHandle<()>,
    admin: Option<Admin>,
}

impl Runner {
    /// Starts the program of an arm.
    pub fn start(arm: Arm, fresh: &Fresh, events: u64, options: &Options, cassandra: &str) -> Result<Self> {
        let out = options.out.as_deref().context("--out is missing")?;
        let log = out.join("logs").join(format!("{}.log", arm.name()));
        let errors = File::create(&log).with_context(|| format!("could not create {}", log.display()))?;
        let streams = options.streams.or(arm.streams()).map(|streams| streams.to_string());
        let (events, count) = (&*events.to_string(), streams.as_deref().unwrap_or_default());
        let (project, keyspace, topic) = (&*fresh.project, &*fresh.keyspace, arm.kind().topic());
        let kind = if arm.kind() == Kind::Order { "order" } else { "payment" };
        let (mut command, mut admin) = (Command::new(std::env::current_exe()?), None);
        match arm.program() {
            Program::Bench => command.args(["limit", &arm.name(), project, keyspace, events, count]),
            Program::Binary(name) => {
                let free = std::net::TcpListener::bind("127.0.0.1:0").context("found no free port")?;
                let address = free.local_addr()?.to_string();
                command = binary(name, fresh, cassandra)?;
                command.args(["--admin-listen", &address, "--quiet"]);
                if arm.is_ungrouped() {
                    command.args(["--set", "store.cassandra.partitions_per_request=1"]);
                }
                let client = Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
                admin = Some((client, format!("http://{address}")));
                command.args(streams.iter().flat_map(|streams| ["--streams", streams]))
            }
            peer => {
                let is_python = peer == Program::Python;
                let program = if is_python { "peers/python/bin/python" } else { "peers/go-peer" };
                command = Command::new(out.join(program));
                command.args(is_python.then(|| out.join("peers/peer.py")));
                command.args([kind, project, topic, keyspace, count])
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("could not start {}", arm.name()))?;
        let done = Arc::new(AtomicU64::new(0));
        let (out, counted) = (child.stdout.take().context("it has no output")?, Arc::clone(&done));
        let follower = match admin.clone() {
            Some(admin) => tokio::spawn(follow_metrics(admin, counted)),
            None => tokio::spawn(follow_lines(out, counted)),
        };
        Ok(Self { child, log, done, follower, admin })
    }

    /// Returns how many events are done, as the program itself counts them.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Waits until it can take messages.
    pub async fn await_ready(&self) -> Result<()> {
        let Some(admin) = &self.admin else {
            sleep(Duration::from_secs(1)).await;
            return Ok(());
        };
        let ready = async {
            while get(admin, "/readyz").await.is_err() {
                sleep(METRICS_INTERVAL).await;
            }
        };
        let ready = timeout(PATIENCE, ready).await;
        ready.with_context(|| format!("it did not become ready: {}", self.last_lines()))
    }

    /// Returns the metrics of one of the binaries.
    pub async fn metrics(&self) -> Result<String> {
        Ok(get(self.admin.as_ref().context("it has no metrics")?, "/metrics").await?)
    }

    /// Returns the last lines of its log.
    pub fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
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
async fn follow_lines(out: ChildStdout, done: Arc<AtomicU64>) {
    let mut lines = BufReader::new(out).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(total) = line.strip_prefix("done ").and_then(|total| total.trim().parse().ok()) {
            done.store(total, Relaxed);
        }
    }
}

/// Follows the admin port: every delivery that is done with and was not nacked.
async fn follow_metrics(admin: Admin, done: Arc<AtomicU64>) {
    let counts = |line: &str| line.starts_with("ecom_message_seconds_count") && !line.contains("\"nacked\"");
    loop {
        if let Ok(text) = get(&admin, "/metrics").await {
            done.store(total(&text, counts) as u64, Relaxed);
        }
        sleep(METRICS_INTERVAL).await;
    }
}

/// Adds up the values of the lines that `wanted` chooses.
pub fn total(metrics: &str, wanted: impl Fn(&str) -> bool) -> f64 {
    let lines = metrics.lines().filter(|line| wanted(line));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The client and the address of a binary's admin port.
type Admin = (Client, String);

async fn get((client, url): &Admin, path: &str) -> reqwest::Result<String> {
    client.get(format!("{url}{path}")).send().await?.error_for_status()?.text().await
}
