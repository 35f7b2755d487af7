//! The scripts that `ecom_setup --print` prints, read as the resources that they create.

use crate::processes::{CONFIGURATION, remove_variables};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Runs `ecom_setup --print SCRIPT` from this file and returns the resources that the script creates, each as the Terraform provider
/// describes it: its type, and the arguments that are set.
pub(super) fn resources(
    setup: &Path,
    script: &str,
    project: &str,
    settings: &[String],
) -> Result<Vec<Value>> {
    let mut command = Command::new(setup);
    command.args(["--print", script, "--project", project]).args(settings);
    remove_variables(&mut command, &CONFIGURATION);
    let output = command.output().with_context(|| format!("could not start {}", setup.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ecom_setup --print {script} failed\n{}", errors.trim_end());
    read(&String::from_utf8(output.stdout).context("the script is not UTF-8")?)
}

/// Returns the resources that a script creates.
fn read(script: &str) -> Result<Vec<Value>> {
    let mut resources = Vec::new();
    for line in script.lines().map(str::trim) {
        let is_plain =
            line.is_empty() || line.starts_with('#') || line == "set -eu" || line.starts_with("bind() ");
        if is_plain || line.ends_with(">/dev/null 2>&1 ||") {
            continue;
        }
        let words = shlex::split(line.strip_prefix("bind ").unwrap_or(line))
            .with_context(|| format!("could not split: {line}"))?;
        resources.push(resource(&words).with_context(|| format!("could not read: {line}"))?);
    }
    Ok(resources)
}

/// Returns the resource that one command creates.
fn resource(words: &[String]) -> Result<Value> {
    let (flags, words): (Vec<&String>, Vec<&String>) = words.iter().partition(|word| word.starts_with("--"));
    let mut flags: BTreeMap<&str, &str> =
        flags.iter().map(|flag| flag[2..].split_once('=').unwrap_or((&flag[2..], ""))).collect();
    let mut take = |name| flags.remove(name).with_context(|| format!("no --{name}"));
    let words: Vec<&str> = words.into_iter().map(String::as_str).collect();
    let project = take("project")?;
    let resource = match words[..] {
        ["gcloud", "pubsub", "topics", "create", name] => {
            json!({ "type": "google_pubsub_topic", "name": name, "project": project })
        }
        ["gcloud", "pubsub", "subscriptions", "create", name] => {
            ensure!(take("expiration-period")? == "never", "it expires");
            json!({ "type": "google_pubsub_subscription", "name": name, "project": project, "topic": take("topic")?,
                    "ack_deadline_seconds": take("ack-deadline")?.parse::<u64>()?,
                    "message_retention_duration": format!("{}s", seconds(take("message-retention-duration")?)?),
                    "expiration_policy": { "ttl": "" } })
        }
        ["gcloud", "iam", "service-accounts", "create", id] => {
            json!({ "type": "google_service_account", "account_id": id, "project": project,
                    "display_name": take("display-name")? })
        }
        ["gcloud", "pubsub", collection @ ("topics" | "subscriptions"), "add-iam-policy-binding", name] => {
            let kind = collection.trim_end_matches('s');
            json!({ "type": format!("google_pubsub_{kind}_iam_member"), kind: name, "project": project,
                    "role": take("role")?, "member": take("member")? })
        }
        _ => bail!("this check does not know the command"),
    };
    ensure!(flags.is_empty(), "this check does not know {:?}", flags.keys());
    Ok(resource)
}

/// Returns the seconds of a duration such as `7d` or `600s`.
fn seconds(text: &str) -> Result<u64> {
    match text.strip_suffix('d') {
        Some(days) => Ok(days.parse::<u64>()? * 86_400),
        None => text.strip_suffix('s').context("no duration")?.parse().context("no duration"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_created_resource_is_read_with_all_its_flags() {
        let script = "#!/bin/sh\nset -eu\ngcloud pubsub topics describe t --project=p >/dev/null 2>&1 ||\n  \
                      gcloud pubsub topics create t --project=p\n";
        let topic = json!({ "type": "google_pubsub_topic", "name": "t", "project": "p" });
        assert_eq!(read(script).unwrap(), [topic]);
        for unknown in [
            "gcloud pubsub topics create t --project=p --labels=a=b",
            "gcloud pubsub topics delete t --project=p",
            "rm x",
        ] {
            assert!(read(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn durations_are_read_as_seconds() {
        assert_eq!(["7d", "600s"].map(|text| seconds(text).unwrap()), [604_800, 600]);
        assert!(seconds("7").is_err());
    }
}
