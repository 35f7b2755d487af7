//! Three Cassandra nodes of one cluster, at 127.0.0.1, 127.0.0.2 and 127.0.0.3.

use super::{CommitlogSync, Options, Service, Started, lock, native};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The nodes, the one that the others ask for the cluster first.
pub const NODES: [Service; 3] = [Service::Node(1), Service::Node(2), Service::Node(3)];
/// The variable with the contact points of the cluster.
pub const VARIABLE: &str = "CASSANDRA_RING";
/// A third of the tokens for each node.
const TOKENS: [i64; 3] = [i64::MIN, -3_074_457_345_618_258_603, 3_074_457_345_618_258_602];

/// Returns the settings in which a node of three differs from a single one.
pub fn settings(number: u8) -> [String; 5] {
    let token = TOKENS[usize::from(number.clamp(1, 3)) - 1];
    [
        format!("-Dcassandra.settings.listen_address=127.0.0.{number}"),
        format!("-Dcassandra.settings.rpc_address=127.0.0.{number}"),
        format!("-Dcassandra.settings.initial_token={token}"),
        // The time in which a node meets the others.
        "-Dcassandra.ring_delay_ms=5000".to_owned(),
        "-Dcassandra.system_auth.default_rf=3".to_owned(),
    ]
}

/// Starts those of these nodes that do not run, one after the other; returns the contact points of all three.
pub fn up(root: &Path, dir: &Path, numbers: &[u8], sync: CommitlogSync) -> Result<String> {
    let _lock = lock(dir)?;
    let ports = ports(dir)?;
    for node in numbers.iter().copied().map(Service::Node) {
        let started = Started::read(dir, node)?;
        if !started.is_some_and(|started| started.is_running(dir, node)) {
            native::start(&native::find(root, node)?, dir, &ports, sync)?;
        }
    }
    Ok(NODES.map(|node| format!("{}:{}", node.host(), ports[0])).join(","))
}

/// Brings an emulator and the three nodes up in `dir` for `command`, which gets their addresses and the means
/// to start a node again. Returns the contact points.
pub fn up_for(command: &mut Command, root: &Path, dir: &Path, sync: CommitlogSync) -> Result<String> {
    let options = Options { only: Some(Service::Emulator), free_ports: true, ..Options::default() };
    for (service, result) in super::up(root, dir, &options)? {
        command.env(service.variable(), result?);
    }
    let nodes = up(root, dir, &[1, 2, 3], sync)?;
    command.env(VARIABLE, &nodes);
    command.env("CASSANDRA_RING_DIR", dir).env("XTASK", std::env::current_exe()?);
    Ok(nodes)
}

/// Returns the ports of clients and of peers in `dir`, which all nodes share: clients expect each node at the
/// port of the contact point.
fn ports(dir: &Path) -> Result<[u16; 2]> {
    let file = dir.join("ring-ports.json");
    if !file.exists() {
        fs::write(&file, serde_json::to_vec(&native::free_ports(&[])?)?)
            .with_context(|| format!("could not write {}", file.display()))?;
    }
    let read =
        fs::read(&file).map_err(anyhow::Error::from).and_then(|text| Ok(serde_json::from_slice(&text)?));
    read.with_context(|| format!("could not read {}", file.display()))
}
