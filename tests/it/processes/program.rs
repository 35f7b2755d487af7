//! The real executables: each run in a folder and an environment of its own, ended with its test.
#![cfg_attr(
    not(all(feature = "embedded", feature = "pubsub", feature = "cassandra")),
    allow(dead_code, reason = "what a backend's tests need is not needed without it")
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::waiting::within;

/// How long anything may take; generous, since every other test runs beside it.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);

/// Every executable of the package.
pub const PROGRAMS: [(&str, &str); 8] = [
    ("orders_producer", env!("CARGO_BIN_EXE_orders_producer")),
    ("payments_producer", env!("CARGO_BIN_EXE_payments_producer")),
    ("order_consumer", env!("CARGO_BIN_EXE_order_consumer")),
    ("payment_consumer", env!("CARGO_BIN_EXE_payment_consumer")),
    ("dlq_handler", env!("CARGO_BIN_EXE_dlq_handler")),
    ("ecom_setup", env!("CARGO_BIN_EXE_ecom_setup")),
    ("ecom_facts", env!("CARGO_BIN_EXE_ecom_facts")),
    ("ecom_demo", env!("CARGO_BIN_EXE_ecom_demo")),
];

/// What `look` finds, looked for again and again until the deadline.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    within(PATIENCE, what, looking).await
}

/// A folder for the programs of one test to run in.
pub struct Site {
    folder: tempfile::TempDir,
    runs: AtomicU64,
}

impl Site {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), runs: AtomicU64::new(0) }
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    /// A program with these arguments, in this folder, in an environment of nothing else.
    pub fn program(&self, name: &'static str, args: &[&str]) -> Program {
        let (_, executable) = PROGRAMS.iter().find(|(known, _)| *known == name).unwrap();
        let mut command = Command::new(executable);
        command.args(args).env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin").env("COLUMNS", "100");
        let output = self.path(&format!(".{}-{name}", self.runs.fetch_add(1, Ordering::Relaxed)));
        Program { name, command, output }
    }

    /// Runs a program with these arguments to its end.
    pub async fn run(&self, name: &'static str, args: &[&str]) -> OperationReport {
        self.program(name, args).run().await
    }

    /// Starts a program with these arguments.
    pub fn start(&self, name: &'static str, args: &[&str]) -> Running {
        self.program(name, args).start()
    }
}

/// A program about to run.
pub struct Program {
    name: &'static str,
    command: Command,
    output: PathBuf,
}

impl Program {
    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Has it read this file as its stdin.
    pub fn stdin(mut self, file: &Path) -> Self {
        self.command.stdin(File::open(file).unwrap());
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let (stdout, stderr) = (self.output.with_extension("out"), self.output.with_extension("err"));
        self.command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        Running { name: self.name, child, stdout, stderr }
    }

    /// Runs it to its end.
    pub async fn run(self) -> OperationReport {
        self.start().ended().await
    }
}

/// A running program; killed when the test lets go of it.
pub struct Running {
    name: &'static str,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// What it has said so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// What it has answered so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has said this, and gives the line; fails the test where it ends without.
    pub async fn says(&mut self, what: &str) -> String {
        let (name, goal) = (self.name, format!("{} says {what:?}", self.name));
        eventually(&goal, async || {
            let ended = !self.is_running();
            let said = self.stderr();
            let line = said.lines().find(|line| line.contains(what)).map(str::to_owned);
            assert!(line.is_some() || !ended, "{name} ended without saying {what:?}:\n{said}");
            line
        })
        .await
    }

    /// Waits until its admin port is open, and gives the address.
    pub async fn serves(&mut self) -> String {
        let line = self.says("serving /livez, /readyz and /metrics on http://").await;
        line.rsplit("http://").next().unwrap().to_owned()
    }

    /// Sends it a signal by its name, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(sent.success(), "could not send {signal} to {}", self.name);
    }

    /// `kill -9`; fails the test where it had ended before.
    pub fn kill(mut self) {
        assert!(self.is_running(), "{} ended before it was killed:\n{}", self.name, self.stderr());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to drain, and waits for its end.
    pub async fn drained(self) -> OperationReport {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> OperationReport {
        let goal = format!("{} ends", self.name);
        let status = eventually(&goal, async || self.child.try_wait().unwrap()).await;
        OperationReport {
            name: self.name,
            code: status.code(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.name, self.stderr());
        }
        // Both fail where it has ended, and that is well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A program's end.
pub struct OperationReport {
    name: &'static str,
    /// None where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl OperationReport {
    /// The same; fails the test where it ended with another code.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        let Self { name, stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "{name}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }

    /// Its stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}
