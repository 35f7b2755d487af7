//! The parts of a run on real processes: the test broker, a Cassandra node, the roles and the producers.

use crate::cargo;
use crate::guard::Guard;
use crate::processes::{self, CONFIGURATION, remove_variables};
use crate::services::{CommitlogSync, Node};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The long-running roles.
pub const ROLES: [&str; 3] = ["order_consumer", "payment_consumer", "dlq_handler"];
/// The binaries that a run needs.
const BUILD: &str = "build -p ecom -p ecom-test-broker --bins";
/// The broker's archive of all published messages.
const MESSAGES: &str = "messages.json";
/// The time limit of a command that ends by itself.
const COMMAND_LIMIT: Duration = Duration::from_secs(180);

/// The purpose of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Faults: binaries with assertions and overflow checks, and a Cassandra that keeps every acknowledged write when it
    /// is killed.
    Faults,
    /// A steady load: binaries and Cassandra as released.
    Load,
}

/// The parts. Dropping them ends every process and removes Cassandra's data; logs and manifests stay.
pub struct Parts {
    binaries: PathBuf,
    /// Logs, manifests and the configuration.
    out: PathBuf,
    /// The process group of everything but Cassandra, which is the broker's.
    group: i32,
    broker: (Child, ChildStdin, BufReader<ChildStdout>),
    /// The library that shifts clocks, if it is installed.
    pub clock_library: Option<PathBuf>,
    _guard: Guard,
}

/// A started process of the product.
pub struct Process {
    /// The name of its binary.
    pub name: &'static str,
    child: Child,
}

impl Process {
    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; a process that has ended gets none.
    pub fn signal(&self, signal: Signal) {
        let _ = processes::signal(self.child.id(), signal);
    }

    /// Kills the process with SIGKILL and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().and_then(|()| self.child.wait()).context("could not kill a process").map(drop)
    }

    /// Returns how the process ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("could not wait for {}", self.name))
    }

    /// Waits for the end, which has to be a success.
    pub fn wait(&mut self, limit: Duration) -> Result<()> {
        let mut ended = None;
        processes::wait_until(limit, || {
            ended = self.ended().transpose();
            ended.is_some()
        });
        let Some(status) = ended.transpose()? else {
            bail!("{} did not end within {} s", self.name, limit.as_secs());
        };
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }
}

impl Parts {
    /// Builds the binaries, starts broker and Cassandra, and creates topics, subscriptions and tables.
    pub fn start(root: &Path, out: &Path, purpose: Purpose, settings: &str) -> Result<(Self, Node)> {
        let services = out.join("services");
        let mut guard = Guard::start(&services)?;
        let (words, folder, commitlog_sync) = match purpose {
            Purpose::Faults => (BUILD.to_owned(), "debug", CommitlogSync::Batch),
            Purpose::Load => (format!("{BUILD} --release"), "release", CommitlogSync::Periodic),
        };
        ensure!(guard.run(&mut cargo(root, &words, &[]))?, "the binaries do not build");
        let target = root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        let binaries = target.join(folder);
        let node = Node::start(root, &services, commitlog_sync)?;
        let log = File::create(out.join("test_broker.log"))?;
        let mut command = Command::new(binaries.join("test_broker"));
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().context("could not start the test broker")?;
        guard.watch_group(child.id());
        let group = i32::try_from(child.id()).context("not a process id")?;
        let input = child.stdin.take().context("the broker has no input")?;
        let mut output = BufReader::new(child.stdout.take().context("the broker has no output")?);
        let mut address = String::new();
        output.read_line(&mut address).context("could not read the address of the test broker")?;
        let config = format!(
            "[bus]\nkind = \"pubsub\"\n\n[bus.pubsub]\nproject = \"parts\"\nemulator_host = \"{}\"\n\
             ack_deadline = \"10s\"\n\n[store]\nkind = \"cassandra\"\n\n[store.cassandra]\n\
             contact_points = [\"{}\"]\nrecord_all_payments = true\n\n[connect]\ntimeout = \"3m\"\n\n{settings}",
            address.trim(),
            node.address()?
        );
        fs::write(out.join("run.toml"), config).context("could not write the configuration")?;
        let clock_library = clock_library();
        let broker = (child, input, output);
        let mut parts = Self { binaries, out: out.to_owned(), group, broker, clock_library, _guard: guard };
        parts.ask(&format!("archive {}", out.join(MESSAGES).display()))?;
        parts.run("ecom_setup", &[])?;
        Ok((parts, node))
    }

    /// Starts a process; its log is added to `NAME.log`. `clock` is an offset such as `+1h`.
    pub fn spawn(&self, name: &'static str, arguments: &[&str], clock: Option<&str>) -> Result<Process> {
        let log = File::options().create(true).append(true).open(self.out.join(format!("{name}.log")))?;
        let mut command = Command::new(self.binaries.join(name));
        remove_variables(&mut command, &CONFIGURATION);
        if let (Some(library), Some(offset)) = (&self.clock_library, clock) {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME", offset)
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command.args(arguments).args(["-c", "run.toml"]).current_dir(&self.out).process_group(self.group);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("could not start {name}"))?;
        Ok(Process { name, child })
    }

    /// Starts a role. It has an admin port, so that it outlasts a store that is down when it starts.
    pub fn role(&self, name: &'static str, clock: Option<&str>) -> Result<Process> {
        self.spawn(name, &["--admin-listen", "127.0.0.1:0"], clock)
    }

    /// Starts both producers for these orders at a number of events a second each.
    pub fn producers(&self, orders: u64, rate: u64, clock: Option<&str>) -> Result<[Process; 2]> {
        let (ids, rate) = (format!("1-{orders}"), format!("{}/s", rate.max(1)));
        let start = |name, manifest| {
            self.spawn(name, &["--order-ids", &ids, "--rate", &rate, "--manifest", manifest], clock)
        };
        Ok([start("orders_producer", "orders.json")?, start("payments_producer", "payments.json")?])
    }

    /// Runs a command to its end, which has to be a success.
    pub fn run(&self, name: &'static str, arguments: &[&str]) -> Result<()> {
        self.spawn(name, arguments, None)?
            .wait(COMMAND_LIMIT)
            .with_context(|| format!("{name} {} failed, see {}", arguments.join(" "), self.out.display()))
    }

    /// Gives the broker a command and returns its answer.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        let (_, input, output) = &mut self.broker;
        let mut answer = String::new();
        writeln!(input, "{line}")
            .and_then(|()| output.read_line(&mut answer))
            .context("the broker is gone")?;
        ensure!(!answer.is_empty() && !answer.starts_with("error"), "the broker refused {line}: {answer}");
        Ok(answer)
    }

    /// Returns the sum of a counter over the broker's subscriptions, or the counter of the broker.
    pub fn counter(&mut self, name: &str) -> Result<u64> {
        let report = self.ask("report")?.replace(';', " ");
        let words: Vec<_> = report.split_whitespace().collect();
        Ok(words
            .windows(2)
            .filter(|pair| pair[0] == name)
            .filter_map(|pair| pair[1].parse::<u64>().ok())
            .sum())
    }

    /// Waits until every message is acked, stops the roles, sweeps the dead letters and verifies the stores.
    pub fn finish(&mut self, roles: Vec<Process>, limit: Duration) -> Result<Outcome> {
        let deadline = Instant::now() + limit;
        let mut quiet = 0;
        while quiet < 3 {
            quiet = if self.counter("unacked")? == 0 { quiet + 1 } else { 0 };
            if Instant::now() > deadline {
                bail!("not drained within {} s: {}", limit.as_secs(), self.ask("report")?);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        for role in &roles {
            role.signal(Signal::TERM);
        }
        for mut role in roles {
            role.wait(Duration::from_secs(40))?;
        }
        self.run("dlq_handler", &["run", "--once"])?;
        let redeliveries = self.counter("deliveries")?.saturating_sub(self.counter("published")?);
        let manifests =
            ["verify", "--manifest", "orders.json", "--manifest", "payments.json", "--messages", MESSAGES];
        let json = [&manifests[..], &["--format", "json", "--out", "verify.json"]].concat();
        if let Err(error) = self.run("ecom_facts", &json) {
            let _ = self.run("ecom_facts", &manifests);
            let log = fs::read_to_string(self.out.join("ecom_facts.log")).unwrap_or_default();
            eprintln!("{log}");
            return Err(error);
        }
        let text = fs::read(self.out.join("verify.json")).context("could not read verify.json")?;
        let verification = serde_json::from_slice(&text).context("verify.json is not JSON")?;
        Ok(Outcome { redeliveries, verification })
    }
}

/// The end of a run: what the broker counted, and what `ecom_facts verify` found.
pub struct Outcome {
    /// The number of deliveries after the first one of a message.
    pub redeliveries: u64,
    verification: serde_json::Value,
}

impl Outcome {
    /// Returns a counter of both streams together.
    pub fn count(&self, name: &str) -> Result<u64> {
        let of = |stream: &str| self.verification[stream][name].as_u64();
        let counts = of("orders").zip(of("payments")).map(|(orders, payments)| orders + payments);
        counts.with_context(|| format!("verify.json does not count {name}"))
    }

    /// Returns true if the stores are as published, superseded payments included.
    pub fn is_exact(&self) -> bool {
        self.verification["faults"].as_object().is_some_and(serde_json::Map::is_empty)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let faults = &self.verification["faults"];
        let [lost, mixed] = ["lost", "mixed"].map(|kind| faults[kind].as_u64().unwrap_or(0));
        let all: u64 = faults.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
        let rows = &self.verification["rows"];
        write!(f, "{rows} rows, lost {lost}, mixed {mixed}, other differences {}", all - lost - mixed)
    }
}

/// Returns an empty folder for a run.
pub fn fresh_folder(root: &Path, given: Option<&Path>, name: &str) -> Result<PathBuf> {
    let out = std::path::absolute(given.map_or_else(|| root.join("target").join(name), Path::to_owned))?;
    for file in fs::read_dir(&out).into_iter().flatten().flatten() {
        let path = file.path();
        ensure!(
            path.extension().is_some_and(|it| ["log", "json", "toml"].iter().any(|known| it == *known)),
            "{} is not of an earlier run\nhint: pass an empty folder with --out",
            path.display()
        );
        fs::remove_file(&path).with_context(|| format!("could not remove {}", path.display()))?;
    }
    fs::create_dir_all(&out).with_context(|| format!("could not create {}", out.display()))?;
    Ok(out)
}

/// Returns the library of `faketime`, if it is installed.
fn clock_library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let files = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    files.chain(["/usr/lib/faketime/libfaketimeMT.so.1".into()]).find(|file| file.is_file())
}
