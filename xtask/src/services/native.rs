//! Services as plain Java processes of this host.

use super::{CommitlogSync, Runner, Service, Started, await_ready, connect};
use crate::process::{self, on_path};
use anyhow::{Context, Result, anyhow, bail};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The release of Cassandra; the compose file names the same one.
const CASSANDRA: &str = "5.0.8";

/// A service's program.
#[derive(Debug)]
pub struct Program {
    service: Service,
    java: PathBuf,
    /// The emulator's jar, or the folder of Cassandra's jars.
    jars: PathBuf,
    /// Cassandra's files of the repository.
    files: PathBuf,
}

/// Looks for the program on this host; Cassandra's jars are fetched once per user.
pub fn find(root: &Path, service: Service) -> Result<Program> {
    let (java, files) = (java()?, root.join("xtask/cassandra"));
    let jars = match service {
        Service::Emulator => emulator_jar()?,
        Service::Cassandra => cassandra_jars(&java, &files)?,
    };
    Ok(Program { service, java, jars, files })
}

/// Starts a service in a process group of its own and waits until it is ready. It takes other ports
/// when another process was quicker to take the chosen ones, and shows the end of its log when it fails.
pub fn start(program: &Program, dir: &Path, ports: &[u16], sync: CommitlogSync) -> Result<Started> {
    let (service, mut ports) = (program.service, ports);
    let (name, log) = (service.name(), service.log(dir));
    let marker = format!("-Decom.service={}/{name}", dir.display());
    for attempts_left in [2, 1, 0] {
        let [port, storage, tls_storage] = free_ports([ports, &[7000], &[7001]])?;
        let mut command = match service {
            Service::Emulator => emulator(program, &marker, port),
            Service::Cassandra => {
                cassandra(program, &marker, &data_folder(dir), [port, storage, tls_storage], sync)?
            }
        };
        eprintln!("starting {name}");
        let _ = fs::rename(&log, log.with_extension("previous.log"));
        let output = File::create(&log).with_context(|| format!("could not create {}", log.display()))?;
        command.env("MALLOC_ARENA_MAX", "4").stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.process_group(0).spawn().with_context(|| format!("could not start {name}"))?;
        let (pid, address) = (child.id(), format!("127.0.0.1:{port}"));
        let started = Started { address, runner: Runner::Native { pid, marker: marker.clone() } };
        started.write(dir, service)?;
        let Err(error) = await_ready(service, dir, &started) else { return Ok(started) };
        let died = !process::is_alive(pid, &marker);
        process::stop(pid, &marker, service.patience().1);
        Started::remove(dir, service);
        if attempts_left > 0 && died && process::tail(&log, 200).to_lowercase().contains("in use") {
            eprintln!("{name} lost its port to another process, trying other ports");
            ports = &[];
            continue;
        }
        eprintln!("the last lines of {}:\n{}", log.display(), process::tail(&log, 40));
        return Err(error);
    }
    bail!("{name} found no ports it could keep")
}

fn emulator(program: &Program, marker: &str, port: u16) -> Command {
    let mut command = Command::new(&program.java);
    command.args(["-Xmx1g", marker, "-jar"]).arg(&program.jars);
    command.args(["--host=127.0.0.1", &format!("--port={port}")]);
    command
}

/// Writes `cassandra.yaml` and returns the command; logback and the JVM's flags are in the repository.
fn cassandra(
    program: &Program,
    marker: &str,
    home: &Path,
    ports: [u16; 3],
    sync: CommitlogSync,
) -> Result<Command> {
    for folder in ["conf", "tmp", "triggers"] {
        fs::create_dir_all(home.join(folder))
            .with_context(|| format!("could not create {}", home.display()))?;
    }
    let template = fs::read_to_string(program.files.join("cassandra.yaml"))?;
    fs::write(home.join("conf/cassandra.yaml"), yaml(&template, ports, sync))?;
    let mut agent = std::ffi::OsString::from("-javaagent:");
    agent.push(jar(&program.jars, "jamm-").context("Cassandra's jars are incomplete: no jamm")?);
    let mut command = Command::new(&program.java);
    command.current_dir(home).arg(marker).arg(agent);
    for (property, folder) in [
        ("java.io.tmpdir", "tmp"),
        ("jna.tmpdir", "tmp"),
        ("cassandra.triggers_dir", "triggers"),
        ("cassandra.storagedir", ""),
        ("cassandra.logdir", ""),
    ] {
        command.arg(format!("-D{property}={}", home.join(folder).display()));
    }
    // Cassandra and logback find their files on the class path: conf first, it has the filled-in one.
    let class_path = format!("conf:{}:{}/*", program.files.display(), program.jars.display());
    command.arg(format!("@{}", program.files.join("jvm.args").display()));
    command.args(["-cp", &class_path, "org.apache.cassandra.service.CassandraDaemon"]);
    Ok(command)
}

fn yaml(template: &str, [native, storage, tls_storage]: [u16; 3], sync: CommitlogSync) -> String {
    let sync = match sync {
        CommitlogSync::Periodic => "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms\n",
        CommitlogSync::Batch => "commitlog_sync: batch\n",
    };
    let filled = [("{native}", native), ("{storage}", storage), ("{tls_storage}", tls_storage)]
        .iter()
        .fold(template.to_owned(), |text, (name, port)| text.replace(name, &port.to_string()));
    filled + sync
}

/// Returns the folder of a node's data and configuration.
pub fn data_folder(dir: &Path) -> PathBuf {
    dir.join("cassandra")
}

/// Returns true if the log says that the service listens; another server may hold its port.
pub fn log_says_ready(service: Service, log: &Path) -> bool {
    let line = match service {
        Service::Emulator => "Server started",
        Service::Cassandra => "Startup complete",
    };
    fs::read(log).is_ok_and(|raw| String::from_utf8_lossy(&raw).contains(line))
}

/// Returns true if an emulator answers `Ok` to `GET /`.
pub fn emulator_answers(address: &str) -> bool {
    let ask = || -> Option<String> {
        let mut stream = connect(address, Service::Emulator.usual_port())?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
        let mut reply = Vec::new();
        // Where the connection stays open, the read times out with the answer.
        let _ = stream.read_to_end(&mut reply);
        Some(String::from_utf8_lossy(&reply).into_owned())
    };
    ask().is_some_and(|reply| {
        let body = reply.split_once("\r\n\r\n").map(|(_, body)| body.trim_start().starts_with("Ok"));
        reply.starts_with("HTTP/1.1 200") && body == Some(true)
    })
}

/// Returns one free port per list: the first of the list that is free, else any. Free means now:
/// another process may take it before the service does.
pub fn free_ports<const N: usize>(preferred: [&[u16]; N]) -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    for ports in preferred {
        let mut candidates = ports.iter().copied().chain([0]);
        let listener = candidates.find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
        held.push(listener.context("found no free port on 127.0.0.1")?);
    }
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Returns a Java 17, the version that Cassandra 5.0 runs on: of JAVA_HOME, PATH, the usual folders.
fn java() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")).into_iter().collect();
    found.extend(on_path("java"));
    for folder in ["/usr/lib/jvm", "/Library/Java/JavaVirtualMachines"] {
        let homes = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        found.extend(homes.flat_map(|home| [home.join("bin/java"), home.join("Contents/Home/bin/java")]));
    }
    let is_17 = |java: &PathBuf| {
        let output = Command::new(java).arg("-version").output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains(" version \"17"))
    };
    found.into_iter().find(is_17).context("found no Java 17\nhint: install a JDK 17, or set JAVA_HOME to one")
}

/// Returns the emulator's jar of the SDK that CLOUDSDK_ROOT or `gcloud` names.
fn emulator_jar() -> Result<PathBuf> {
    let ask = || Command::new("gcloud").args(["info", "--format=value(installation.sdk_root)"]).output();
    let sdk = match std::env::var("CLOUDSDK_ROOT") {
        Ok(root) => root,
        Err(_) => {
            ask().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        }
    };
    let lib = Path::new(sdk.trim()).join("platform/pubsub-emulator/lib");
    jar(&lib, "cloud-pubsub-emulator-").ok_or_else(|| {
        anyhow!(
            "found no Pub/Sub emulator in a gcloud SDK\nhint: gcloud components install pubsub-emulator \
             (Debian: google-cloud-cli-pubsub-emulator)"
        )
    })
}

/// Returns the last jar whose name starts with `name`.
fn jar(folder: &Path, name: &str) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "jar")
            && path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
    };
    files.filter(is_it).max()
}

/// Returns the folder of Cassandra's jars in the user's cache, fetched through Maven if it is not
/// there. A fetch works in a folder of its own that gets its name when complete, under a lock.
fn cassandra_jars(java: &Path, files: &Path) -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let cache = cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("ecom-pipeline");
    let home = cache.join(format!("cassandra-{CASSANDRA}"));
    let (lib, partial) = (home.join("lib"), cache.join(format!("cassandra-{CASSANDRA}.partial")));
    if jar(&lib, "cassandra-all-").is_some() {
        return Ok(lib);
    }
    if on_path("mvn").is_none() {
        bail!("found no Maven to fetch Cassandra's jars with\nhint: install Maven (mvn on PATH)");
    }
    fs::create_dir_all(&cache).with_context(|| format!("could not create {}", cache.display()))?;
    let lock = File::create(cache.join(format!("cassandra-{CASSANDRA}.lock")))?;
    lock.lock().context("could not lock the cache of Cassandra's jars")?;
    if jar(&lib, "cassandra-all-").is_some() {
        return Ok(lib);
    }
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    eprintln!("fetching Cassandra {CASSANDRA} through Maven (about 70 MB, once per user)");
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-ntp", "-q", "-f"]).arg(files.join("pom.xml"));
    maven.arg("org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies");
    maven.args(["-DincludeScope=runtime", &format!("-Dcassandra.version={CASSANDRA}")]);
    maven.arg(format!("-DoutputDirectory={}", partial.join("lib").display()));
    if let Some(home) = java.canonicalize()?.ancestors().nth(2) {
        maven.env("JAVA_HOME", home);
    }
    // What the first attempt has fetched, the second one does not fetch again.
    let mut attempt = || maven.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    if !attempt()?.success() && !attempt()?.success() {
        bail!(
            "maven could not fetch Cassandra {CASSANDRA}\nhint: run the command again, it goes on where it stopped"
        );
    }
    let _ = fs::remove_dir_all(&home);
    fs::rename(&partial, &home).with_context(|| format!("could not create {}", home.display()))?;
    Ok(lib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yaml_names_the_chosen_ports_and_the_commit_log_mode_and_each_key_once() {
        let template = include_str!("../../cassandra/cassandra.yaml");
        for (sync, lines) in [
            (CommitlogSync::Periodic, ["commitlog_sync: periodic", "commitlog_sync_period: 10000ms"]),
            (CommitlogSync::Batch, ["commitlog_sync: batch", "storage_port: 7100"]),
        ] {
            let yaml = yaml(template, [9142, 7100, 7101], sync);
            let all = [
                "native_transport_port: 9142",
                "ssl_storage_port: 7101",
                "      - seeds: \"127.0.0.1:7100\"",
            ];
            for line in all.into_iter().chain(lines) {
                assert!(yaml.lines().any(|found| found == line), "no line {line:?} in\n{yaml}");
            }
            assert!(!yaml.contains('{'), "{yaml}");
            let keys =
                yaml.lines().filter(|line| !line.starts_with([' ', '#'])).map(|line| line.split(':').next());
            let mut keys: Vec<_> = keys.collect();
            let all = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), all);
        }
    }

    #[test]
    fn ports_in_use_are_passed_over_and_none_is_given_out_twice() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = [taken.local_addr().unwrap().port()];
        let _holds = TcpListener::bind((Ipv4Addr::LOCALHOST, taken[0]));
        let [a, b, c] = free_ports([&taken, &taken, &[]]).unwrap();
        assert!(a != b && b != c && a != c, "{a} {b} {c}");
    }
}
