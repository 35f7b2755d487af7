//! One Cassandra node as a plain Java process: jars from Maven, configuration generated here.

mod conf;
mod jars;

pub use conf::CommitlogSync;

use super::state::{Record, Runner};
use super::up::await_ready;
use super::{Service, java, port};
use crate::failure::{Attempt, Outcome};
use crate::process::start_detached;
use std::path::{Path, PathBuf};

/// What is needed to start it here.
#[derive(Debug)]
pub struct Tools {
    java: PathBuf,
    lib: PathBuf,
}

/// Looks for Java 17 and the jars; fetches the jars once per user.
pub fn find() -> Outcome<Tools> {
    let java = java::for_cassandra()?;
    let lib = jars::folder(&java)?;
    Ok(Tools { java, lib })
}

/// Starts it and waits until clients can connect. `preferred` ports are taken if free.
pub fn start(tools: &Tools, dir: &Path, preferred: &[u16], sync: CommitlogSync) -> Outcome<Record> {
    let [native, storage, tls_storage] = port::choose([preferred, &[7000], &[7001]])?;
    let home = data_folder(dir);
    let node = conf::Node { home: &home, jars: &tools.lib, native, storage, tls_storage, sync };
    write_files(&node, jars::agent(&tools.lib)?.as_path())?;
    let arguments = home.join("conf").join("java.args");
    let marker = format!("@{}", arguments.display());
    let command = [tools.java.display().to_string(), marker.clone()];
    let log = Service::Cassandra.log(dir);
    let pid = start_detached(&command, &home, &log)?;
    let record = Record { address: format!("127.0.0.1:{native}"), runner: Runner::Native { pid, marker } };
    super::state::write(dir, Service::Cassandra, &record)?;
    await_ready(Service::Cassandra, dir, &record)?;
    Ok(record)
}

/// Where a node keeps its data and configuration.
pub fn data_folder(dir: &Path) -> PathBuf {
    dir.join("cassandra")
}

fn write_files(node: &conf::Node<'_>, agent: &Path) -> Outcome<()> {
    let folder = node.home.join("conf");
    for needed in [&folder, &node.home.join("tmp"), &node.home.join("triggers")] {
        std::fs::create_dir_all(needed).attempt(format_args!("create {}", needed.display()))?;
    }
    let files = [
        ("cassandra.yaml", conf::yaml(node)),
        ("logback.xml", conf::LOGBACK.to_owned()),
        ("java.args", conf::java_arguments(node, agent)),
    ];
    for (name, text) in files {
        let file = folder.join(name);
        std::fs::write(&file, text).attempt(format_args!("write {}", file.display()))?;
    }
    Ok(())
}

/// Whether the log says that start-up is over.
pub fn says_ready(log: &Path) -> bool {
    std::fs::read(log).is_ok_and(|raw| String::from_utf8_lossy(&raw).contains("Startup complete"))
}
