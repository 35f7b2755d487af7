//! The Pub/Sub emulator, from the jar the gcloud SDK installs.

use super::state::{Record, Runner};
use super::up::await_ready;
use super::{Service, java, port};
use crate::failure::{Attempt, Failure, Outcome};
use crate::process::{on_path, start_detached};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is needed to start it here.
#[derive(Debug)]
pub struct Tools {
    java: PathBuf,
    jar: PathBuf,
}

/// Looks for the jar and a Java to run it.
pub fn find() -> Outcome<Tools> {
    let jar = find_jar().ok_or_else(|| {
        Failure::new("found no Pub/Sub emulator in a gcloud SDK")
            .hint("gcloud components install pubsub-emulator (Debian: google-cloud-cli-pubsub-emulator)")
    })?;
    Ok(Tools { java: java::any()?, jar })
}

/// Starts it and waits until it answers. `preferred` ports are taken if free.
pub fn start(tools: &Tools, dir: &Path, preferred: &[u16]) -> Outcome<Record> {
    let [port] = port::choose([preferred])?;
    let marker = format!("-Decom.services={}", dir.display());
    let command = arguments(tools, &marker, port);
    let log = Service::Emulator.log(dir);
    let pid = start_detached(&command, dir, &log)?;
    let record = Record { address: format!("127.0.0.1:{port}"), runner: Runner::Native { pid, marker } };
    super::state::write(dir, Service::Emulator, &record)?;
    await_ready(Service::Emulator, dir, &record)?;
    Ok(record)
}

fn arguments(tools: &Tools, marker: &str, port: u16) -> Vec<String> {
    vec![
        tools.java.display().to_string(),
        "-Xmx1g".into(),
        marker.into(),
        "-jar".into(),
        tools.jar.display().to_string(),
        "--host=127.0.0.1".into(),
        format!("--port={port}"),
    ]
}

/// Whether an emulator answers `Ok` to `GET /` at `host:port`.
pub fn answers(address: &str) -> bool {
    ask(address).is_ok_and(|reply| says_ok(&reply))
}

/// Whether the log says that the server listens.
pub fn says_ready(log: &Path) -> bool {
    std::fs::read(log).is_ok_and(|raw| String::from_utf8_lossy(&raw).contains("Server started"))
}

fn ask(address: &str) -> std::io::Result<String> {
    let limit = Duration::from_secs(2);
    let target = address.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&target, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut reply = String::new();
    // The end of the connection is not needed: the first packet holds the whole answer.
    let mut buffer = [0; 1024];
    while !says_ok(&reply) {
        match stream.read(&mut buffer)? {
            0 => break,
            count => reply.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    Ok(reply)
}

fn says_ok(reply: &str) -> bool {
    reply.starts_with("HTTP/1.1 200")
        && reply.split_once("\r\n\r\n").is_some_and(|(_, body)| body.trim_start().starts_with("Ok"))
}

/// The newest emulator jar of the first SDK that has one. `gcloud info` is asked last: it is slow.
fn find_jar() -> Option<PathBuf> {
    sdk_roots().iter().find_map(|root| newest_jar(root)).or_else(|| newest_jar(&ask_gcloud().ok()?))
}

fn sdk_roots() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = std::env::var_os("CLOUDSDK_ROOT").map(PathBuf::from).into_iter().collect();
    if let Some(gcloud) = on_path("gcloud").and_then(|file| file.canonicalize().ok()) {
        roots.extend(gcloud.ancestors().nth(2).map(Path::to_path_buf));
    }
    if let Some(home) = std::env::var_os("HOME") {
        roots.push(Path::new(&home).join("google-cloud-sdk"));
    }
    for folder in ["/usr/lib", "/usr/share", "/usr/local", "/usr/local/share", "/opt", "/opt/homebrew/share"]
    {
        roots.push(Path::new(folder).join("google-cloud-sdk"));
    }
    roots
}

fn ask_gcloud() -> Outcome<PathBuf> {
    let output = Command::new("gcloud")
        .args(["info", "--format=value(installation.sdk_root)"])
        .output()
        .attempt("ask gcloud for its folder")?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn newest_jar(sdk_root: &Path) -> Option<PathBuf> {
    let lib = sdk_root.join("platform").join("pubsub-emulator").join("lib");
    std::fs::read_dir(lib)
        .ok()?
        .flatten()
        .filter_map(|entry| Some((jar_version(entry.file_name().to_str()?)?, entry.path())))
        .max()
        .map(|(_, jar)| jar)
}

/// The version in `cloud-pubsub-emulator-0.8.20-all.jar`, as numbers that compare.
fn jar_version(name: &str) -> Option<Vec<u32>> {
    let version = name.strip_prefix("cloud-pubsub-emulator-")?.strip_suffix("-all.jar")?;
    Some(version.split(['.', '-']).map(|part| part.parse().unwrap_or(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Folder;
    use super::*;

    #[test]
    fn the_newest_of_several_jars_is_taken() {
        let folder = Folder::new("jars");
        let lib = folder.path().join("platform/pubsub-emulator/lib");
        std::fs::create_dir_all(&lib).unwrap();
        assert_eq!(newest_jar(folder.path()), None);
        for name in ["0.8.9-all.jar", "0.8.20-all.jar", "0.8.30-sources.jar"] {
            std::fs::write(lib.join(format!("cloud-pubsub-emulator-{name}")), "").unwrap();
        }
        std::fs::write(lib.join("other.jar"), "").unwrap();
        assert_eq!(newest_jar(folder.path()), Some(lib.join("cloud-pubsub-emulator-0.8.20-all.jar")));
    }

    #[test]
    fn the_command_line_carries_the_marker_and_the_port() {
        let tools = Tools { java: "/j/java".into(), jar: "/s/e.jar".into() };
        assert_eq!(
            arguments(&tools, "-Decom.services=/t", 8085),
            [
                "/j/java",
                "-Xmx1g",
                "-Decom.services=/t",
                "-jar",
                "/s/e.jar",
                "--host=127.0.0.1",
                "--port=8085"
            ]
        );
    }

    #[test]
    fn only_an_ok_in_the_body_counts_as_ready() {
        assert!(says_ok("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nOk\n"));
        assert!(!says_ok("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"));
        assert!(!says_ok("HTTP/1.1 503 Service Unavailable\r\n\r\nOk"));
        assert!(!says_ok(""));
    }
}
