//! Services as plain Java processes of this host.

use super::{CommitlogSync, Runner, Service, Started, ring};
use crate::processes::{signal, wait_until};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The release of Cassandra; the compose file names the same one.
const CASSANDRA: &str = "5.0.8";
/// What the log of an emulator or a node says when it listens.
const READY: [&str; 2] = ["Server started", "Startup complete"];
/// What [`stop`] returns of a process that had ended before.
const GONE: &str = "was not running any more";
/// The certificate of a node that encrypts, in its folder.
pub const CERTIFICATE: &str = "certificate.pem";
/// The certificate and the private key that its clients have to present.
pub const CLIENT: [&str; 2] = ["client.pem", "client.key"];
/// The keys are for 127.0.0.1 and this run alone.
const KEYSTORE_PASSWORD: &str = "changeit";
const START_LIMIT: Duration = Duration::from_secs(180);
/// The time that a service gets to end by itself.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A service's program.
pub struct Program {
    service: Service,
    java: PathBuf,
    /// The emulator's jar, or the folder of Cassandra's jars.
    jars: PathBuf,
    files: PathBuf,
}

/// Looks for the program on this host; Cassandra's jars are fetched once per user.
pub fn find(root: &Path, service: Service) -> Result<Program> {
    let (java, files) = (java()?, root.join("xtask/cassandra"));
    let jars = match service {
        Service::Emulator => emulator_jar()?,
        Service::Cassandra | Service::CassandraLogin | Service::Node(_) => cassandra_jars(&java, &files)?,
    };
    Ok(Program { service, java, jars, files })
}

/// Starts a service and waits until it is ready. It takes other ports when another process was quicker
/// to take the chosen ones, and shows the end of its log when it fails. A node of three takes exactly the two
/// ports given, which its peers have, too.
pub fn start(program: &Program, dir: &Path, mut ports: &[u16], sync: CommitlogSync) -> Result<Started> {
    let (service, name, log) = (program.service, program.service.name(), program.service.log(dir));
    let host = service.host();
    let is_of_three = matches!(service, Service::Node(_));
    let mut attempts = if is_of_three { 1 } else { 3 };
    loop {
        attempts -= 1;
        let [port, storage] = match *ports {
            [port, storage] if is_of_three => [port, storage],
            _ => free_ports(ports)?,
        };
        let command = command(program, &dir.join(name), port, storage, sync)?;
        eprintln!("starting {name}");
        Started::remove(dir, service);
        let _ = fs::rename(&log, log.with_extension("previous.log"));
        let pid = launch(command, &log).with_context(|| format!("could not start {name}"))?.id();
        let started = Started { address: format!("{host}:{port}"), runner: Runner::Native { pid } };
        started.write(dir, service)?;
        let Err(error) = await_ready(service, dir, &started) else { return Ok(started) };
        let died = stop(pid, &log, STOP_LIMIT) == GONE;
        Started::remove(dir, service);
        let text = read(&log);
        if attempts == 0 || !died || !text.to_lowercase().contains("in use") {
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("the last lines of {}:\n{end}", log.display());
            return Err(error);
        }
        eprintln!("{name} lost its port to another process, trying other ports");
        ports = &[];
    }
}

/// Returns the command of a service in `home`. Cassandra's configuration is in the repository.
pub fn command(
    program: &Program,
    home: &Path,
    port: u16,
    storage: u16,
    sync: CommitlogSync,
) -> Result<Command> {
    let Program { service, java, jars, files } = program;
    let mut command = Command::new(java);
    if *service == Service::Emulator {
        command.args(["-Xmx1g", "-jar"]).arg(jars).args(["--host=127.0.0.1", &format!("--port={port}")]);
        return Ok(command);
    }
    fs::create_dir_all(home.join("tmp")).with_context(|| format!("could not create {}", home.display()))?;
    let agent = jar(jars, "jamm-").context("Cassandra's jars are incomplete: no jamm")?;
    command.current_dir(home).args([
        format!("-javaagent:{}", agent.display()),
        format!("@{}/jvm.args", files.display()),
        format!("-Dcassandra.settings.native_transport_port={port}"),
        format!("-Dcassandra.settings.storage_port={storage}"),
    ]);
    if sync == CommitlogSync::Batch {
        let settings = ["commitlog_sync=batch", "commitlog_sync_period=0ms"];
        command.args(settings.map(|setting| format!("-Dcassandra.settings.{setting}")));
    }
    if *service == Service::CassandraLogin {
        certify(java, home)?;
        command.args([
            "-Dcassandra.settings.client_encryption_options.enabled=true",
            "-Dcassandra.settings.client_encryption_options.keystore=keystore.p12",
            &format!("-Dcassandra.settings.client_encryption_options.keystore_password={KEYSTORE_PASSWORD}"),
            "-Dcassandra.settings.client_encryption_options.store_type=PKCS12",
            "-Dcassandra.settings.client_encryption_options.require_client_auth=true",
            "-Dcassandra.settings.client_encryption_options.truststore=truststore.p12",
            &format!(
                "-Dcassandra.settings.client_encryption_options.truststore_password={KEYSTORE_PASSWORD}"
            ),
            "-Dcassandra.settings.authenticator=PasswordAuthenticator",
            "-Dcassandra.settings.authorizer=CassandraAuthorizer",
            // What is granted, revoked or changed is so at once.
            "-Dcassandra.settings.permissions_validity=0ms",
            "-Dcassandra.settings.roles_validity=0ms",
            "-Dcassandra.settings.credentials_validity=0ms",
            "-Dcassandra.superuser_setup_delay_ms=0",
        ]);
    }
    if let Service::Node(number) = service {
        command.args(ring::settings(*number));
    }
    let class_path = format!("{}:{}/*", files.display(), jars.display());
    command.args(["-cp", &class_path, "org.apache.cassandra.service.CassandraDaemon"]);
    Ok(command)
}

/// Creates a key for 127.0.0.1, [`CERTIFICATE`], which it signs itself, and [`CLIENT`], unless they are there.
fn certify(java: &Path, home: &Path) -> Result<()> {
    if home.join("truststore.p12").exists() {
        return Ok(());
    }
    // The truststore is the last: what an attempt that failed has left is not used.
    let _ = fs::remove_file(home.join("keystore.p12"));
    let keytool = java.canonicalize()?.with_file_name("keytool");
    let run = |program: &Path, words: String| {
        let mut command = Command::new(program);
        let output = command.args(words.split(' ')).current_dir(home).stdin(Stdio::null()).output();
        let output = output.with_context(|| {
            format!("could not run {}\nhint: install openssl and a JDK", program.display())
        })?;
        let text = [output.stdout, output.stderr].concat();
        ensure!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&text));
        Ok(())
    };
    let store = |name: &str| format!("-keystore {name}.p12 -storetype PKCS12 -storepass {KEYSTORE_PASSWORD}");
    let (own, trusted, [certificate, key]) = (store("keystore"), store("truststore"), CLIENT);
    let pair = "-genkeypair -alias node -keyalg EC -dname CN=node -ext san=ip:127.0.0.1 -validity 3650";
    run(&keytool, format!("{pair} {own}"))?;
    run(&keytool, format!("-exportcert -rfc -alias node -file {CERTIFICATE} {own}"))?;
    // keytool exports no private key.
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let client = format!("req -x509 {curve} -subj /CN=client -days 3650 -keyout {key} -out {certificate}");
    run(Path::new("openssl"), client)?;
    run(&keytool, format!("-importcert -noprompt -alias client -file {certificate} {trusted}"))
}

/// Starts a process in a group of its own. It writes and locks `log` for as long as it runs: the lock is
/// of the open file, which the process has as its standard output.
fn launch(mut command: Command, log: &Path) -> std::io::Result<Child> {
    let output = File::create(log)?;
    output.lock()?;
    command.env("MALLOC_ARENA_MAX", "4").stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    command.process_group(0).spawn()
}

/// Returns true while the process that writes `log` runs.
pub fn is_alive(log: &Path) -> bool {
    File::open(log).is_ok_and(|log| matches!(log.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn read(log: &Path) -> String {
    fs::read(log).map(|raw| String::from_utf8_lossy(&raw).into_owned()).unwrap_or_default()
}

/// Waits until a service can be used; fails when it dies or takes too long. Its log must say that it
/// listens, too: another server may have the port.
pub fn await_ready(service: Service, dir: &Path, started: &Started) -> Result<()> {
    let Runner::Native { .. } = started.runner else { return Ok(()) };
    let (name, log) = (service.name(), service.log(dir));
    let hint = format!("hint: its log is {}", log.display());
    let listens = || READY.iter().any(|line| read(&log).contains(line));
    let ready = || listens() && service.answers(&started.address);
    let in_time = wait_until(START_LIMIT, || !is_alive(&log) || ready());
    ensure!(in_time, "{name} was not ready after {} s\n{hint}", START_LIMIT.as_secs());
    ensure!(is_alive(&log), "{name} died while starting\n{hint}");
    Ok(())
}

/// Ends the process that writes `log`: SIGTERM, then SIGKILL after `grace`. Returns what happened.
pub fn stop(pid: u32, log: &Path, grace: Duration) -> &'static str {
    if !is_alive(log) {
        return GONE;
    }
    let _ = signal(pid, Signal::TERM);
    if wait_until(grace, || !is_alive(log)) {
        return "stopped";
    }
    let _ = signal(pid, Signal::KILL);
    wait_until(Duration::from_secs(10), || !is_alive(log));
    "did not end when asked, killed"
}

/// Returns two free ports of 127.0.0.1, the first one of `preferred` if any of those is free. Free means
/// now: another process may take it before the service does.
pub fn free_ports(preferred: &[u16]) -> Result<[u16; 2]> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
    let listeners = preferred.iter().copied().chain([0]).find_map(bind).zip(bind(0));
    let (first, second) = listeners.context("found no free port on 127.0.0.1")?;
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}

/// Returns a Java 17, the version that Cassandra 5.0 runs on: of JAVA_HOME, PATH, the usual folders.
fn java() -> Result<PathBuf> {
    let folders = ["/usr/lib/jvm", "/Library/Java/JavaVirtualMachines"].into_iter().flat_map(fs::read_dir);
    let homes = folders.flatten().flatten().map(|entry| entry.path());
    let of_home = |home: PathBuf| [home.join("bin/java"), home.join("Contents/Home/bin/java")];
    let own = std::env::var_os("JAVA_HOME").map(PathBuf::from).into_iter().flat_map(of_home);
    let is_17 = |java: &PathBuf| {
        let output = Command::new(java).arg("-version").output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains(" version \"17"))
    };
    let found = own.chain(which::which("java")).chain(homes.flat_map(of_home)).find(is_17);
    found.context("found no Java 17\nhint: install a JDK 17, or set JAVA_HOME to one")
}

/// Returns the emulator's jar of the SDK that CLOUDSDK_ROOT or `gcloud` names.
fn emulator_jar() -> Result<PathBuf> {
    let ask = || Command::new("gcloud").args(["info", "--format=value(installation.sdk_root)"]).output();
    let sdk = std::env::var("CLOUDSDK_ROOT")
        .or_else(|_| ask().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()));
    let lib = Path::new(sdk.unwrap_or_default().trim()).join("platform/pubsub-emulator/lib");
    let hint = "hint: gcloud components install pubsub-emulator (Debian: google-cloud-cli-pubsub-emulator)";
    let found = jar(&lib, "cloud-pubsub-emulator-");
    found.with_context(|| format!("found no Pub/Sub emulator in a gcloud SDK\n{hint}"))
}

/// Returns the last jar whose name starts with `name`.
fn jar(folder: &Path, name: &str) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.flatten().filter(|entry| {
        let file = entry.file_name().to_string_lossy().into_owned();
        file.starts_with(name) && file.ends_with(".jar")
    });
    files.map(|entry| entry.path()).max()
}

/// Returns the folder of Cassandra's jars in the user's cache, fetched through Maven if it is not
/// there. A fetch works in a folder of its own that gets its name when complete, under a lock.
fn cassandra_jars(java: &Path, files: &Path) -> Result<PathBuf> {
    let home = crate::cache()?.join(format!("cassandra-{CASSANDRA}"));
    let (lib, partial) = (home.join("lib"), home.join("partial"));
    let _lock = super::state::lock(&home)?;
    if lib.is_dir() {
        return Ok(lib);
    }
    let hint = "hint: install Maven (mvn on PATH)";
    ensure!(which::which("mvn").is_ok(), "found no Maven to fetch Cassandra's jars with\n{hint}");
    let _ = fs::remove_dir_all(&partial);
    eprintln!("fetching Cassandra {CASSANDRA} through Maven (about 70 MB, once per user)");
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-ntp", "-q", "-f"]).arg(files.join("pom.xml"));
    maven.arg("org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies");
    maven.args(["-DincludeScope=runtime", &format!("-Dcassandra.version={CASSANDRA}")]);
    maven.arg(format!("-DoutputDirectory={}", partial.display()));
    maven.envs(java.canonicalize()?.ancestors().nth(2).map(|home| ("JAVA_HOME", home)));
    // What the first attempt has fetched, the second one does not fetch again.
    let mut attempt = || maven.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let fetched = attempt()?.success() || attempt()?.success();
    let hint = "hint: run the command again, it goes on where it stopped";
    ensure!(fetched, "maven could not fetch Cassandra {CASSANDRA}\n{hint}");
    fs::rename(&partial, &lib).with_context(|| format!("could not create {}", lib.display()))?;
    Ok(lib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_use_are_passed_over_and_none_is_given_out_twice() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        let [a, b] = free_ports(&[taken, taken]).unwrap();
        assert!(a != b && a != taken && b != taken, "{a} {b} {taken}");
    }

    #[test]
    fn only_the_process_that_writes_the_log_is_ended_even_against_its_will() {
        let log = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_alive(log.path()));
        assert_eq!(stop(std::process::id(), log.path(), Duration::ZERO), GONE);
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]);
        let mut child = launch(command, log.path()).unwrap();
        assert!(wait_until(START_LIMIT, || read(log.path()).contains("ready")));
        assert!(is_alive(log.path()));
        assert_eq!(stop(child.id(), log.path(), Duration::ZERO), "did not end when asked, killed");
        assert!(!child.wait().unwrap().success());
        assert_eq!(stop(child.id(), log.path(), Duration::ZERO), GONE);
    }
}
