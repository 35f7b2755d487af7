//! The Docker Compose files.

use super::Place;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
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

/// Returns the model of Compose files with every profile.
fn read(place: &Place<'_>, files: &[&str]) -> Result<Value> {
    let mut validator = Command::new(place.go(VALIDATOR.0, VALIDATOR.1)?);
    validator.args(["-format", "json"]).args(files).current_dir(place.root);
    let output = validator.env("COMPOSE_PROFILES", "emulator,shop").env_remove("ECOM_IMAGE").output()?;
    ensure!(output.status.success(), "{files:?}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the validator prints no JSON")
}
