//! Runs the real executables in a temporary folder with a clean environment. They end with their test.
#![cfg_attr(
    not(all(feature = "embedded", feature = "pubsub", feature = "cassandra")),
    allow(dead_code, reason = "what a backend's tests need is not needed without it")
)]

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::waiting::within;

/// The time limit of a condition; long, because all tests run in parallel.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The time between two checks of a condition.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The executables of the package, each with its path.
pub const PROGRAMS: [(&str, &str); if cfg!(feature = "shop") { 12 } else { 8 }] = [
    ("orders_producer", env!("CARGO_BIN_EXE_orders_producer")),
    ("payments_producer", env!("CARGO_BIN_EXE_payments_producer")),
    ("order_consumer", env!("CARGO_BIN_EXE_order_consumer")),
    ("payment_consumer", env!("CARGO_BIN_EXE_payment_consumer")),
    ("dlq_handler", env!("CARGO_BIN_EXE_dlq_handler")),
    ("ecom_setup", env!("CARGO_BIN_EXE_ecom_setup")),
    ("ecom_facts", env!("CARGO_BIN_EXE_ecom_facts")),
    ("ecom_demo", env!("CARGO_BIN_EXE_ecom_demo")),
    #[cfg(feature = "shop")]
    ("api_service", env!("CARGO_BIN_EXE_api_service")),
    #[cfg(feature = "shop")]
    ("payment_processor", env!("CARGO_BIN_EXE_payment_processor")),
    #[cfg(feature = "shop")]
    ("notifier", env!("CARGO_BIN_EXE_notifier")),
    #[cfg(feature = "shop")]
    ("transaction_generator", env!("CARGO_BIN_EXE_transaction_generator")),
];

/// Calls `find` until it returns a value, and returns that. Fails the test after [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> T {
    let finding = async {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        loop {
            ticks.tick().await;
            if let Some(found) = find().await {
                return found;
            }
        }
    };
    within(PATIENCE, what, finding).await
}

/// A temporary folder in which the programs of one test run.
pub struct TestDir {
    folder: tempfile::TempDir,
    runs: AtomicU64,
}

impl TestDir {
    /// Creates an empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), runs: AtomicU64::new(0) }
    }

    /// Returns the path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    /// Returns a program with these arguments, in this folder and with a clean environment.
    pub fn program(&self, name: &'static str, args: &[&str]) -> Program {
        let (_, executable) = PROGRAMS.iter().find(|(known, _)| *known == name).unwrap();
        let mut command = Command::new(executable);
        command.args(args).env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin").env("COLUMNS", "100");
        command.envs(std::env::var("ECOM_MUTANT").ok().map(|mutant| ("ECOM_MUTANT", mutant)));
        let output = self.path(&format!(".{}-{name}", self.runs.fetch_add(1, Ordering::Relaxed)));
        Program { name, command, output, stdout: None, stderr: None }
    }

    /// Runs a program with these arguments until it ends.
    pub async fn run(&self, name: &'static str, args: &[&str]) -> ProgramOutput {
        self.program(name, args).run().await
    }

    /// Starts a program with these arguments.
    pub fn start(&self, name: &'static str, args: &[&str]) -> Running {
        self.program(name, args).start()
    }
}

/// A program that is not started yet.
pub struct Program {
    name: &'static str,
    command: Command,
    output: PathBuf,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
}

impl Program {
    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets an environment variable to any bytes.
    pub fn env_os(mut self, name: &str, value: &OsStr) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds an argument of any bytes.
    pub fn arg(mut self, arg: &OsStr) -> Self {
        self.command.arg(arg);
        self
    }

    /// Reads stdin from this file.
    pub fn stdin(mut self, file: &Path) -> Self {
        self.command.stdin(File::open(file).unwrap());
        self
    }

    /// Runs it as a user that file permissions apply to: as another one where the tests run as root.
    #[cfg(unix)]
    pub fn unprivileged(mut self) -> Self {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        use std::os::unix::process::CommandExt;

        const UNPRIVILEGED: u32 = 65_534;
        let folder = self.output.parent().unwrap();
        if std::fs::metadata(folder).unwrap().uid() == 0 {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
            self.command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        self
    }

    /// Lets it write no file beyond this many KiB, as on a full disk.
    #[cfg(unix)]
    pub fn with_file_limit(mut self, kib: u32) -> Self {
        let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kib * 2);
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(limited).arg(self.command.get_program()).args(self.command.get_args());
        command.env_clear().stdin(Stdio::null());
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap());
        }
        command.current_dir(self.command.get_current_dir().unwrap());
        self.command = command;
        self
    }

    /// Reads stdin from there.
    pub fn stdin_from(mut self, stdin: Stdio) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Writes stdout there, instead of keeping it for the test.
    pub fn stdout(mut self, stdout: Stdio) -> Self {
        self.stdout = Some(stdout);
        self
    }

    /// Writes stderr there, instead of keeping it for the test.
    pub fn stderr(mut self, stderr: Stdio) -> Self {
        self.stderr = Some(stderr);
        self
    }

    /// Starts the program.
    pub fn start(mut self) -> Running {
        let (stdout, stderr) = (self.output.with_extension("out"), self.output.with_extension("err"));
        let [out, err] = [&stdout, &stderr].map(|file| Stdio::from(File::create(file).unwrap()));
        self.command.stdout(self.stdout.take().unwrap_or(out)).stderr(self.stderr.take().unwrap_or(err));
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        Running { name: self.name, child, stdout, stderr }
    }

    /// Runs the program until it ends.
    pub async fn run(self) -> ProgramOutput {
        self.start().ended().await
    }
}

/// A running program. Dropping it kills it.
pub struct Running {
    name: &'static str,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Returns its stderr so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Returns its stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Returns the most memory that it has occupied so far, in MiB.
    #[cfg(target_os = "linux")]
    pub fn peak_memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
    }

    /// Returns whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for a line with this text on stderr, and returns the line. Fails the test if it ends
    /// without one.
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

    /// Waits until its admin port is open, and returns the address.
    pub async fn serves(&mut self) -> String {
        let line = self.says("serving /livez, /readyz and /metrics on http://").await;
        line.rsplit("http://").next().unwrap().to_owned()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(sent.success(), "could not send {signal} to {}", self.name);
    }

    /// Kills it as `kill -9` does. Fails the test if it had ended before.
    pub fn kill(mut self) {
        assert!(self.is_running(), "{} ended before it was killed:\n{}", self.name, self.stderr());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends `TERM` and waits until it ends.
    pub async fn drained(self) -> ProgramOutput {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until it ends.
    pub async fn ended(mut self) -> ProgramOutput {
        let goal = format!("{} ends", self.name);
        let status = eventually(&goal, async || self.child.try_wait().unwrap()).await;
        ProgramOutput {
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
        // Both fail if it has ended, which is fine.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The exit code and the output of a program.
pub struct ProgramOutput {
    name: &'static str,
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl ProgramOutput {
    /// Returns itself. Fails the test if the exit code is another one.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        let Self { name, stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "{name}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }

    /// Returns the line of stderr with the error that ended it, or an empty one.
    pub fn error(&self) -> &str {
        self.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default()
    }

    /// Returns stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}
