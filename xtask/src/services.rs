//! `services up`, `down`, `status`: a Pub/Sub emulator and a Cassandra node for this host.

mod cassandra;
mod docker;
mod emulator;
mod java;
mod options;
mod port;
mod state;
#[cfg(test)]
pub mod testing;

pub use options::Options;

use crate::failure::{Attempt, Failure, Outcome, print, say};
use crate::process::{self, End};
use crate::workspace;
use state::{Record, Runner};
use std::fs::File;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What this project needs to run beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Google's Pub/Sub emulator.
    Emulator,
    /// One Cassandra node.
    Cassandra,
}

impl Service {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Emulator, Self::Cassandra];

    /// Its name in commands, files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emulator => "emulator",
            Self::Cassandra => "cassandra",
        }
    }

    /// The variable that tells programs where it is.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Emulator => "PUBSUB_EMULATOR_HOST",
            Self::Cassandra => "CASSANDRA_CONTACT_POINTS",
        }
    }

    /// The port it has when nobody else has it.
    fn usual_port(self) -> u16 {
        match self {
            Self::Emulator => 8085,
            Self::Cassandra => 9042,
        }
    }

    /// How long it may take to start before it counts as failed.
    fn patience(self) -> Duration {
        match self {
            Self::Emulator => Duration::from_secs(60),
            Self::Cassandra => Duration::from_secs(180),
        }
    }

    /// How long it may take to end before it is killed.
    fn grace(self) -> Duration {
        match self {
            Self::Emulator => Duration::from_secs(5),
            Self::Cassandra => Duration::from_secs(30),
        }
    }

    /// Its log, when it runs natively.
    fn log(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.log", self.name()))
    }

    /// Whether it answers at `address`.
    fn answers(self, address: &str) -> bool {
        match self {
            Self::Emulator => emulator::answers(address),
            Self::Cassandra => address.split(',').any(|point| accepts(point.trim())),
        }
    }

    /// Whether the log of a native start says that it is ready: another server may have won the
    /// port and answer in its place.
    fn log_says_ready(self, log: &Path) -> bool {
        match self {
            Self::Emulator => emulator::says_ready(log),
            Self::Cassandra => cassandra::says_ready(log),
        }
    }
}

/// A service that can be used.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Which.
    pub service: Service,
    /// `host:port`, or a list of them for Cassandra.
    pub address: String,
    /// By whom it runs, in words.
    pub how: String,
}

impl Endpoint {
    fn export(&self) -> String {
        format!("export {}={}", self.service.variable(), shell_word(&self.address))
    }
}

/// Runs `services WORDS`.
pub fn command(words: &[&str]) -> Outcome<u8> {
    let root = workspace::root()?;
    let Some((verb, rest)) = words.split_first() else {
        return Err(Failure::usage("services needs a word more: up, down or status"));
    };
    match *verb {
        "up" => up_command(&root, &Options::up(&root, rest)?),
        "down" => {
            let options = Options::down(&root, rest)?;
            down(&root, &options.dir, options.wipe)?;
            Ok(0)
        }
        "status" => status(&root, &Options::status(&root, rest)?.dir),
        other => {
            Err(Failure::usage(format!("unknown command: services {other}"))
                .hint("up, down or status"))
        }
    }
}

fn up_command(root: &Path, options: &Options) -> Outcome<u8> {
    let mut code = 0;
    for result in up(root, options)? {
        match result {
            Ok(endpoint) => {
                say(&format!(
                    "{} at {}: {}",
                    endpoint.service.name(),
                    endpoint.address,
                    endpoint.how
                ));
                print(&endpoint.export());
            }
            Err(failure) => {
                say(&failure.to_string());
                code = failure.code();
            }
        }
    }
    if code == 0 && !options.env {
        say("export these two lines, or: eval \"$(cargo xtask services up --env)\"");
        say("they end with: cargo xtask services down");
    }
    Ok(code)
}

/// Brings the services up, both at once; one result per service asked for. What runs already is
/// left as it is.
pub fn up(root: &Path, options: &Options) -> Outcome<Vec<Outcome<Endpoint>>> {
    let _lock = lock(&options.dir)?;
    Ok(std::thread::scope(|scope| {
        let wanted = Service::ALL
            .into_iter()
            .filter(|service| options.only.is_none_or(|only| only == *service));
        let threads: Vec<_> =
            wanted.map(|service| scope.spawn(move || bring_up(root, options, service))).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Failure::new("a starting thread panicked")))
            })
            .collect()
    }))
}

fn bring_up(root: &Path, options: &Options, service: Service) -> Outcome<Endpoint> {
    let dir = &options.dir;
    let record = state::read(dir, service)?;
    if let Some(address) = given(service, record.as_ref()) {
        if service.answers(&address) {
            return Ok(Endpoint {
                service,
                address,
                how: format!("given by {}", service.variable()),
            });
        }
        return Err(Failure::new(format!("nothing answers at {} = {address}", service.variable()))
            .hint(format!("start it, or have one started: unset {}", service.variable())));
    }
    if let Some(record) = &record
        && is_running(root, service, record)
    {
        await_ready(service, dir, record)?;
        return Ok(endpoint(service, record, "running already"));
    }
    // A service that died comes back where its clients look for it.
    let before = record.as_ref().and_then(Record::port);
    let usual = (!options.free_ports).then_some(service.usual_port());
    let preferred: Vec<u16> = before.into_iter().chain(usual).collect();
    let record = start(root, options, service, &preferred)?;
    Ok(endpoint(service, &record, "started now"))
}

fn start(root: &Path, options: &Options, service: Service, preferred: &[u16]) -> Outcome<Record> {
    let native = match service {
        Service::Emulator => emulator::find().map(|tools| {
            start_native(&options.dir, service, preferred, |dir, ports| {
                emulator::start(&tools, dir, ports)
            })
        }),
        Service::Cassandra => cassandra::find().map(|tools| {
            start_native(&options.dir, service, preferred, |dir, ports| {
                cassandra::start(&tools, dir, ports, options.sync)
            })
        }),
    };
    native.unwrap_or_else(|native| match docker::find() {
        Ok(()) => docker::start(root, &options.dir, service, preferred),
        Err(docker) => Err(neither(service, &native, &docker)),
    })
}

fn neither(service: Service, native: &Failure, docker: &Failure) -> Failure {
    let failure = Failure::new(format!(
        "cannot start {}: {}; {}",
        service.name(),
        native.what(),
        docker.what()
    ));
    let other = format!("set {} to one that runs", service.variable());
    match native.way_out() {
        Some(way) => failure.hint(format!("{way}; or {other}")),
        None => failure.hint(other),
    }
}

/// Starts a process, again on other ports when somebody else was quicker to take them. A process
/// that dies while starting shows the end of its log.
fn start_native(
    dir: &Path,
    service: Service,
    preferred: &[u16],
    start: impl Fn(&Path, &[u16]) -> Outcome<Record>,
) -> Outcome<Record> {
    say(&format!("starting {}", service.name()));
    let log = service.log(dir);
    let mut ports = preferred;
    for more in [true, true, false] {
        let failure = match start(dir, ports) {
            Ok(record) => return Ok(record),
            Err(failure) => failure,
        };
        if let Ok(Some(record)) = state::read(dir, service) {
            stop(dir, service, &record);
        }
        if more && process::tail(&log, 200).to_lowercase().contains("in use") {
            say(&format!(
                "{} lost its port to another process, trying other ports",
                service.name()
            ));
            ports = &[];
            continue;
        }
        say(&format!("the last lines of {}:\n{}", log.display(), process::tail(&log, 40)));
        return Err(failure);
    }
    Err(Failure::new(format!("{} found no ports it could keep", service.name())))
}

/// Waits until a started service can be used; fails when it dies or takes too long.
fn await_ready(service: Service, dir: &Path, record: &Record) -> Outcome<()> {
    let Runner::Native { pid, marker } = &record.runner else {
        return Ok(());
    };
    let log = service.log(dir);
    let start = Instant::now();
    loop {
        if !process::is_ours(*pid, marker) {
            return Err(Failure::new(format!("{} died while starting", service.name()))
                .hint(format!("its log is {}", log.display())));
        }
        if service.log_says_ready(&log) && service.answers(&record.address) {
            return Ok(());
        }
        if start.elapsed() > service.patience() {
            let waited = service.patience().as_secs();
            return Err(Failure::new(format!("{} was not ready after {waited} s", service.name()))
                .hint(format!("its log is {}", log.display())));
        }
        std::thread::sleep(process::GLANCE);
    }
}

/// Ends what `up` started in `dir`, and nothing else.
pub fn down(root: &Path, dir: &Path, wipe: bool) -> Outcome<()> {
    if !dir.exists() {
        say("nothing was started here");
        return Ok(());
    }
    let _lock = lock(dir)?;
    let mut stopped = Vec::new();
    for service in Service::ALL {
        let Some(record) = state::read(dir, service)? else {
            continue;
        };
        match &record.runner {
            Runner::Native { .. } => stop(dir, service, &record),
            Runner::Docker { project } => {
                docker::stop(root, project, wipe)?;
                state::remove(dir, service);
                say(&format!("{} stopped", service.name()));
            }
        }
        stopped.push((service, record.address));
    }
    if stopped.is_empty() {
        say("nothing was started here");
    }
    if wipe {
        let data = cassandra::data_folder(dir);
        if data.exists() {
            std::fs::remove_dir_all(&data).attempt(format_args!("remove {}", data.display()))?;
        }
    }
    for (service, address) in stopped {
        if std::env::var(service.variable()).is_ok_and(|value| value == address) {
            say(&format!("this shell still points at it: unset {}", service.variable()));
        }
    }
    Ok(())
}

fn stop(dir: &Path, service: Service, record: &Record) {
    if let Runner::Native { pid, marker } = &record.runner {
        let how = match process::stop(*pid, marker, service.grace()) {
            End::AlreadyGone => "was not running any more",
            End::Asked => "stopped",
            End::Killed => "did not end when asked, killed",
        };
        say(&format!("{} (pid {pid}) {how}", service.name()));
    }
    state::remove(dir, service);
}

fn status(root: &Path, dir: &Path) -> Outcome<u8> {
    let mut code = 0;
    for service in Service::ALL {
        let record = state::read(dir, service)?;
        let (runs, text) = describe(root, dir, service, record.as_ref());
        print(&format!("{:<10} {text}", service.name()));
        if !runs {
            code = 3;
        }
    }
    Ok(code)
}

fn describe(root: &Path, dir: &Path, service: Service, record: Option<&Record>) -> (bool, String) {
    let start = "start it: cargo xtask services up";
    if let Some(address) = given(service, record) {
        let variable = service.variable();
        return if service.answers(&address) {
            (true, format!("running at {address}, given by {variable}"))
        } else {
            (
                false,
                format!(
                    "does not answer at {address}, given by {variable}; start it, or unset {variable}"
                ),
            )
        };
    }
    let Some(record) = record else {
        return (false, format!("not running; {start}"));
    };
    let running = is_running(root, service, record);
    match &record.runner {
        Runner::Native { pid, .. } => {
            let log = service.log(dir);
            let log = log.display();
            if !running {
                (false, format!("died (pid {pid} is gone, its log is {log}); {start}"))
            } else if service.answers(&record.address) {
                (
                    true,
                    format!(
                        "running at {}, started by `services up` (pid {pid}), log {log}",
                        record.address
                    ),
                )
            } else {
                (
                    false,
                    format!("alive (pid {pid}) but not answering at {}, log {log}", record.address),
                )
            }
        }
        Runner::Docker { project } if running => (
            true,
            format!(
                "running at {}, started by `services up` in Docker (project {project})",
                record.address
            ),
        ),
        Runner::Docker { project } => {
            (false, format!("its container (project {project}) does not run; {start}"))
        }
    }
}

fn is_running(root: &Path, service: Service, record: &Record) -> bool {
    match &record.runner {
        Runner::Native { pid, marker } => process::is_ours(*pid, marker),
        Runner::Docker { project } => docker::is_running(root, project, service),
    }
}

fn endpoint(service: Service, record: &Record, verb: &str) -> Endpoint {
    let how = match &record.runner {
        Runner::Native { pid, .. } => format!("{verb} (pid {pid})"),
        Runner::Docker { project } => format!("{verb} in Docker (project {project})"),
    };
    Endpoint { service, address: record.address.clone(), how }
}

/// The address the environment gives, unless it is the very one that was started here: a shell
/// that evaluated `up --env` still owns its services.
fn given(service: Service, record: Option<&Record>) -> Option<String> {
    let address =
        std::env::var(service.variable()).ok().filter(|value| !value.trim().is_empty())?;
    (record.map(|record| record.address.as_str()) != Some(address.as_str())).then_some(address)
}

fn accepts(point: &str) -> bool {
    let with_port = if point.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        point.to_owned()
    } else {
        format!("{point}:{}", Service::Cassandra.usual_port())
    };
    with_port.to_socket_addrs().is_ok_and(|mut found| {
        found.any(|target| TcpStream::connect_timeout(&target, Duration::from_secs(2)).is_ok())
    })
}

/// A value as one word of a shell.
fn shell_word(value: &str) -> String {
    if value.chars().all(|c| c.is_ascii_alphanumeric() || ".:,_-[]".contains(c)) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

/// One `up` or `down` at a time in a folder.
fn lock(dir: &Path) -> Outcome<File> {
    std::fs::create_dir_all(dir).attempt(format_args!("create {}", dir.display()))?;
    let file = dir.join("lock");
    let lock = File::create(&file).attempt(format_args!("create {}", file.display()))?;
    lock.lock().attempt(format_args!("lock {}", file.display()))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_line_is_safe_to_evaluate() {
        let endpoint = |address: &str| Endpoint {
            service: Service::Cassandra,
            address: address.into(),
            how: String::new(),
        };
        assert_eq!(
            endpoint("127.0.0.1:9042").export(),
            "export CASSANDRA_CONTACT_POINTS=127.0.0.1:9042"
        );
        assert_eq!(endpoint("a; rm -r b").export(), "export CASSANDRA_CONTACT_POINTS='a; rm -r b'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
    }

    #[test]
    fn a_contact_point_is_reached_when_something_listens() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(Service::Cassandra.answers(&format!("127.0.0.1:1, {address}")));
        assert!(!Service::Emulator.answers("127.0.0.1:1"));
        assert!(!accepts(""));
    }

    #[test]
    fn a_record_of_a_process_that_is_gone_reads_as_died() {
        let folder = testing::Folder::new("died");
        let record = Record {
            address: "127.0.0.1:1".into(),
            runner: Runner::Native { pid: u32::MAX, marker: "nobody".into() },
        };
        let (runs, text) = describe(folder.path(), folder.path(), Service::Emulator, Some(&record));
        if given(Service::Emulator, Some(&record)).is_none() {
            assert!(!runs);
            assert!(text.starts_with("died (pid 4294967295 is gone"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_had_names_both_reasons_and_the_way_out() {
        let failure = neither(
            Service::Cassandra,
            &Failure::new("found no Java 17").hint("install it"),
            &Failure::new("no Docker engine answers `docker info`"),
        );
        assert_eq!(
            failure.to_string(),
            "error: cannot start cassandra: found no Java 17; no Docker engine answers `docker info`\n\
             hint: install it; or set CASSANDRA_CONTACT_POINTS to one that runs"
        );
    }
}
