//! The Docker Compose files: whether they are valid, and whether the commands in their headers work.

use super::namespaces::{self, PACKAGES};
use super::{Place, image, prometheus};
use crate::{cache, services};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// The files of all roles and services, the later on top of the earlier.
const FILES: [&str; 2] = ["docker-compose-cassandra.yml", "deploy/compose.yml"];
const VALIDATOR: (&str, &str) = ("github.com/compose-spec/compose-go/v2/cmd", "v2.16.2");

/// Validates the files by the Compose Specification, and checks that the roles run as hardened as the image can.
pub(super) fn files(place: &Place<'_>) -> Result<bool> {
    read(place, &FILES[..1])?;
    let both = read(place, &FILES)?;
    let services = both["services"].as_object().context("the files have no services")?;
    let roles = services.iter().filter(|(_, service)| service["image"] == "ecom");
    let mut faults = Vec::new();
    let mut count = 0;
    for (name, role) in roles {
        count += 1;
        let program = role["command"][0].as_str().unwrap_or_default();
        if !place.root.join(format!("src/bin/{program}.rs")).is_file() {
            faults.push(format!("{name} runs {program:?}, which is no program"));
        }
        for (key, value) in [
            ("read_only", json!(true)),
            ("cap_drop", json!(["ALL"])),
            ("security_opt", json!(["no-new-privileges:true"])),
            ("stop_grace_period", json!("30s")),
        ] {
            if role[key] != value {
                faults.push(format!("{name} has {key} {}, not {value}", role[key]));
            }
        }
    }
    ensure!(count >= 7, "only {count} services run the image");
    let mounts = services.values().flat_map(|service| service["volumes"].as_array().into_iter().flatten());
    for source in mounts.filter(|mount| mount["type"] == "bind").filter_map(|mount| mount["source"].as_str())
    {
        // The user writes api-keys.
        if !place.root.join(source).is_file() && !source.ends_with("/api-keys") {
            faults.push(format!("{source} is mounted, but is no file"));
        }
    }
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    Ok(faults.is_empty())
}

/// Runs the commands of [`FILES`] on a Docker engine in namespaces of its own, as `up.sh` beside this file says. The images of
/// Cassandra, the emulator and Prometheus are stood in for by this host's own programs.
pub(super) fn runs(place: &Place<'_>) -> Result<bool> {
    for program in ["gcloud", "curl", "iptables"] {
        place.program(program, "install the packages google-cloud-cli, curl and iptables")?;
    }
    let packages = place.debian("docker", &[&PACKAGES[..], &["docker.io"]].concat())?;
    let compose = place.go_module("xtask/src/ops/compose", "github.com/docker/compose/v2/cmd")?;
    services::fetch(place.root).map_err(|error| place.lacks(&format!("{error:#}")))?;
    let home = place.root.join("target/ops/compose");
    let _ = fs::remove_dir_all(&home);
    let plugins = home.join("client/cli-plugins");
    fs::create_dir_all(&plugins).with_context(|| format!("could not create {}", plugins.display()))?;
    symlink(compose, plugins.join("docker-compose"))?;
    image::archive(place, &home.join("ecom.tar"))?;
    for (file, stand_ins) in FILES.iter().zip(stand_ins(place, &home)?) {
        let name = Path::new(file).with_extension("json");
        fs::write(home.join(name.file_name().context("a file has a name")?), stand_ins.to_string())?;
    }
    let mut command = namespaces::command(place, &packages, &home);
    command.arg(place.root.join("xtask/src/ops/compose/up.sh")).arg(packages).args(FILES);
    namespaces::succeeds(command.current_dir(place.root), &home)
}

/// Returns, for each of [`FILES`], an override file that replaces the images by the programs of this host, mounted read-only.
fn stand_ins(place: &Place<'_>, home: &Path) -> Result<[Value; 2]> {
    let cqlsh = place.cqlsh()?;
    let path = format!("{}:{}", cqlsh.display(), std::env::var("PATH").unwrap_or_default());
    let mut folders = vec![place.root.to_owned(), cache()?];
    for entry in fs::read_dir("/").context("could not read /")? {
        let entry = entry?;
        let own = ["boot", "dev", "etc", "lost+found", "proc", "run", "sys", "tmp", "var"];
        if entry.file_type()?.is_dir() && !own.iter().any(|name| entry.file_name() == *name) {
            folders.push(entry.path());
        }
    }
    let volumes: Vec<String> = folders.iter().map(|it| format!("{0}:{0}:ro", it.display())).collect();
    let stand_in = |own: Value| {
        let mut service = json!({
            "image": "stand-in",
            "volumes": volumes,
            "environment": { "PATH": path, "HOME": "/tmp" },
            // Not every host may raise a limit.
            "ulimits": { "nofile": 1024 },
        });
        for (key, value) in own.as_object().into_iter().flatten() {
            service[key] = value.clone();
        }
        service
    };
    // Clients connect to the address that a node tells them.
    let told =
        "-Dcassandra.settings.rpc_address=0.0.0.0 -Dcassandra.settings.broadcast_rpc_address=cassandra";
    let node = services::node_command(place.root, &home.join("node"))?;
    let words =
        [node.get_program()].into_iter().chain(told.split(' ').map(OsStr::new)).chain(node.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let data = "/var/lib/cassandra";
    let services = json!({
        "cassandra": stand_in(json!({
            "entrypoint": words,
            "working_dir": data,
            "tmpfs": [format!("{data}/tmp:exec")],
        })),
        "cassandra-schema": stand_in(json!({})),
        "pubsub-emulator": stand_in(json!({})),
    });
    let prometheus = stand_in(json!({
        "entrypoint": [prometheus::programs(place)?.join("prometheus")],
        "working_dir": "/tmp",
    }));
    Ok([services, json!({ "prometheus": prometheus })].map(|services| json!({ "services": services })))
}

/// Returns the model of Compose files with every profile.
fn read(place: &Place<'_>, files: &[&str]) -> Result<Value> {
    let mut validator = Command::new(place.go(VALIDATOR.0, VALIDATOR.1)?);
    validator.args(["-format", "json"]).args(files).current_dir(place.root);
    let output = validator.env("COMPOSE_PROFILES", "emulator,shop").env_remove("ECOM_IMAGE").output()?;
    ensure!(output.status.success(), "{files:?}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the validator prints no JSON")
}
