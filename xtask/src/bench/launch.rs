//! Starting the programs of an arm, and following how far they are.

use super::arm::{Arm, Kind, Peer};
use super::options::Options;
use crate::failure::{Attempt, Failure, Outcome};
use crate::process;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Between two looks at the metrics: each costs the process that is measured.
const LOOK: Duration = Duration::from_millis(100);

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The binaries that are measured.
    pub binaries: PathBuf,
    /// What was built for the peers.
    pub peers: PathBuf,
    /// The output of what was started.
    pub logs: PathBuf,
    /// The emulator's address.
    pub emulator: String,
    /// Cassandra's.
    pub cassandra: String,
}

/// A fresh project and a fresh keyspace.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// The project's id.
    pub project: String,
    /// The keyspace's name.
    pub keyspace: String,
    /// When it was made, microseconds since the epoch: dead letters are from then on.
    pub began: u128,
}

impl Place {
    /// Runs the generator's program to its end; its output.
    pub fn limits(&self, words: &[&str]) -> Outcome<String> {
        self.finished(
            Command::new(self.binaries.join("limits")).args(words),
            words.first().copied().unwrap_or(""),
        )
    }

    /// Provisions for the released binaries.
    pub fn set_up(&self, fresh: &Fresh) -> Outcome<()> {
        let mut command = Command::new(self.binaries.join("ecom_setup"));
        self.finished(command.args(self.sets(fresh)), "ecom_setup").map(drop)
    }

    fn finished(&self, command: &mut Command, name: &str) -> Outcome<String> {
        let output = self.with_services(command).output().attempt(format_args!("run {name}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failure::new(format!("{name} failed: {said}")))
    }

    fn with_services<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("PUBSUB_EMULATOR_HOST", &self.emulator)
            .env("CASSANDRA_CONTACT_POINTS", &self.cassandra)
            .env_remove("ECOM_CONFIG")
            .stdin(Stdio::null())
    }

    fn sets(&self, fresh: &Fresh) -> Vec<String> {
        [
            "bus.kind=pubsub".to_owned(),
            "store.kind=cassandra".to_owned(),
            format!("bus.pubsub.project={}", fresh.project),
            format!("bus.pubsub.emulator_host={}", self.emulator),
            format!("store.cassandra.contact_points={}", self.cassandra),
            format!("store.cassandra.keyspace={}", fresh.keyspace),
        ]
        .into_iter()
        .flat_map(|set| ["--set".to_owned(), set])
        .collect()
    }

    /// Starts the program that is measured.
    pub fn start(&self, arm: Arm, fresh: &Fresh, events: u64, options: &Options) -> Outcome<Runner> {
        std::fs::create_dir_all(&self.logs).attempt(format_args!("create {}", self.logs.display()))?;
        let log = self.logs.join(format!("{}.log", arm.name()));
        let errors = File::create(&log).attempt(format_args!("create {}", log.display()))?;
        let given = options.streams.or(arm.streams()).map(|streams| streams.to_string());
        let (streams, events) = (given.as_deref().unwrap_or_default(), events.to_string());
        let (project, keyspace) = (fresh.project.as_str(), fresh.keyspace.as_str());
        let topic = arm.kind().topic();
        let limits = |words: &[&str]| {
            let mut command = Command::new(self.binaries.join("limits"));
            command.args(words);
            command
        };
        let admin = free_port()?;
        let ours = |binary| self.ours(binary, fresh, given.as_deref(), admin);
        let mut command = match arm {
            Arm::Publish => limits(&["publish", project, topic, &events]),
            Arm::Pull => limits(&["pull", project, topic, &events, streams]),
            Arm::Insert => limits(&["insert", keyspace, &events, "128"]),
            Arm::Update => limits(&["update", keyspace, &events, "256"]),
            Arm::MinimalOrders => limits(&["orders", project, topic, keyspace, &events, streams, "128"]),
            Arm::MinimalPayments => limits(&["payments", project, topic, keyspace, &events, streams, "256"]),
            Arm::Orders | Arm::OrdersAgain | Arm::OrdersSlow => ours("order_consumer"),
            Arm::Payments | Arm::PaymentsMissing => ours("payment_consumer"),
            Arm::Letters => ours("dlq_handler"),
            Arm::GoOrders | Arm::GoPayments => {
                let mut command = Command::new(self.peers.join("go-peer"));
                command.args([arm.kind().word(), project, topic, keyspace, streams]);
                command
            }
            Arm::PythonOrders | Arm::PythonPayments => {
                let mut command = Command::new(self.peers.join("python/bin/python"));
                command.arg(self.peers.join("peer.py"));
                command.args([arm.kind().word(), project, topic, keyspace, streams]);
                command
            }
        };
        self.with_services(&mut command).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().attempt(format_args!("start {}", arm.name()))?;
        let progress = Progress::default();
        if arm.is_ours() {
            progress.follow_metrics(admin);
        } else if let Some(out) = child.stdout.take() {
            progress.follow_lines(out);
        }
        Ok(Runner { child, progress, admin: arm.is_ours().then_some(admin), log })
    }

    fn ours(&self, binary: &str, fresh: &Fresh, streams: Option<&str>, admin: u16) -> Command {
        let mut command = Command::new(self.binaries.join(binary));
        command.args(self.sets(fresh)).args(streams.iter().flat_map(|streams| ["--streams", streams]));
        command.args(["--admin-listen", &format!("127.0.0.1:{admin}"), "--quiet"]);
        command
    }

    /// Starts the generator, which publishes what it is permitted.
    pub fn feed(&self, kind: Kind, fresh: &Fresh, events: u64) -> Outcome<Child> {
        let mut command = Command::new(self.binaries.join("limits"));
        command.args(["feed", &fresh.project, kind.topic(), kind.word(), &events.to_string()]);
        if kind == Kind::Letter {
            command.arg(fresh.began.to_string());
        }
        self.with_services(&mut command).stdin(Stdio::piped()).stdout(Stdio::null());
        command.spawn().attempt("start the generator")
    }

    /// The command that runs a peer's toolchain in its folder.
    pub fn peer_name(peer: Peer) -> &'static str {
        match peer {
            Peer::Go => "Go",
            Peer::Python => "Python",
        }
    }
}

/// The program that is measured, while it runs.
pub struct Runner {
    /// The process.
    pub child: Child,
    /// How far it is.
    pub progress: Progress,
    admin: Option<u16>,
    log: PathBuf,
}

impl Runner {
    /// Waits until it can take messages.
    pub fn await_ready(&mut self) -> Outcome<()> {
        let Some(admin) = self.admin else {
            std::thread::sleep(Duration::from_secs(1));
            return Ok(());
        };
        let ready = process::wait_until(Duration::from_secs(30), || get(admin, "/readyz").is_some());
        if ready { Ok(()) } else { Err(Failure::new(format!("it did not become ready: {}", self.said()))) }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it counts, where it is one of ours.
    pub fn metrics(&self) -> Option<String> {
        get(self.admin?, "/metrics")
    }

    /// The last lines it wrote.
    pub fn said(&self) -> String {
        process::tail(&self.log, 5)
    }

    /// Ends it.
    pub fn stop(mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
        process::signal(i64::from(self.child.id()), process::Signal::Term);
        let ended = process::wait_until(Duration::from_secs(30), || self.has_ended());
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// How many events are done, as the program itself says.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// So many.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// From lines `done TOTAL`.
    fn follow_lines(&self, out: impl Read + Send + 'static) {
        let done = Arc::clone(&self.done);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(total) = line.strip_prefix("done ").and_then(|total| total.trim().parse().ok()) {
                    done.store(total, Ordering::Relaxed);
                }
            }
        });
    }

    /// From the admin port: every settled delivery that was not given back.
    fn follow_metrics(&self, admin: u16) {
        let (done, stop) = (Arc::clone(&self.done), Arc::clone(&self.stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Some(text) = get(admin, "/metrics") {
                    done.store(settled(&text), Ordering::Relaxed);
                }
                std::thread::sleep(LOOK);
            }
        });
    }
}

fn settled(metrics: &str) -> u64 {
    metrics
        .lines()
        .filter(|line| line.starts_with("ecom_message_seconds_count") && !line.contains("\"nacked\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .map(|count| count as u64)
        .sum()
}

/// The body of a GET that was answered with 200.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").attempt("find a free port")?;
    Ok(listener.local_addr().attempt("read the free port")?.port())
}

/// Copies a peer's source beside what was built for it.
pub fn copy(from: &Path, to: &Path) -> Outcome<()> {
    std::fs::copy(from, to).map(drop).attempt(format_args!("copy {}", from.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_given_back_is_done() {
        let metrics = "ecom_message_seconds_count{role=\"order_consumer\",outcome=\"applied\"} 40\n\
                       ecom_message_seconds_count{role=\"order_consumer\",outcome=\"nacked\"} 7\n\
                       ecom_message_seconds_sum{role=\"order_consumer\",outcome=\"applied\"} 0.5\n\
                       ecom_message_seconds_count{role=\"order_consumer\",outcome=\"superseded\"} 2\n";
        assert_eq!(settled(metrics), 42);
    }
}
