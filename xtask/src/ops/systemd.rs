//! The systemd units: whether systemd understands them, how far they are sandboxed, and whether the roles run under them.

use super::Place;
use super::tools::passes;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The units.
const UNITS: &str = "deploy/systemd";
/// The scripts of the check that boots systemd.
const SCRIPTS: &str = "xtask/src/ops/systemd";
/// The folder in which the units expect the binaries.
const BINARIES: &str = "/usr/local/bin/";
/// The highest exposure that passes, in tenths. The units have 12; without their filter of system calls, for example, 28.
const THRESHOLD: &str = "--threshold=15";

/// Checks the units without starting them.
pub(super) fn units(place: &Place<'_>) -> Result<bool> {
    place.program("systemd-analyze", "install the package systemd")?;
    let copy = copy(place.root)?;
    let mut faults = Vec::new();
    let (mut files, mut ports) = (Vec::new(), BTreeSet::new());
    for entry in fs::read_dir(&copy)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(unit) = name.strip_suffix(".service") else {
            files.extend(name.ends_with(".target").then_some(name));
            continue;
        };
        let text = fs::read_to_string(copy.join(&name))?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        // A template is checked as the instance that `systemctl enable` takes.
        let port = value("DefaultInstance=");
        files.push(format!("{unit}{}.service", port.unwrap_or_default()));
        if port.is_none() == unit.ends_with('@') || port.is_some_and(|port| !ports.insert(port.to_owned())) {
            faults.push(format!("{name} needs a DefaultInstance of its own"));
        }
    }
    ensure!(ports.len() >= 6, "{UNITS} has units of {} roles only", ports.len());
    for file in &files {
        // It succeeds in spite of keys that it does not know: only its silence is a success.
        let mut verify = Command::new("systemd-analyze");
        let output = verify.args(["verify", "--man=no", &format!("./{file}")]).current_dir(&copy).output()?;
        if !output.status.success() || !output.stderr.is_empty() {
            faults.push(format!("{file}: {}", String::from_utf8_lossy(&output.stderr).trim_end()));
        }
        if file.ends_with(".service") {
            let mut security = Command::new("systemd-analyze");
            security.args(["security", "--offline=true", "--no-pager", THRESHOLD, &format!("./{file}")]);
            let output = security.current_dir(&copy).output()?;
            if !output.status.success() {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let overall = text.trim_end().lines().next_back().unwrap_or_default();
                faults.push(format!("{overall}\nhint: systemd-analyze security --offline=true ./{file}"));
            }
        }
    }
    faults.extend(stop_timeout(place.root)?);
    for fault in &faults {
        eprintln!("{fault}");
    }
    eprintln!("{} units, {} faults", files.len(), faults.len());
    Ok(faults.is_empty())
}

/// Boots systemd in namespaces of its own and runs the roles there as services; see `boot.sh`.
pub(super) fn boot(place: &Place<'_>) -> Result<bool> {
    for program in ["unshare", "/lib/systemd/systemd", "systemd-sysusers", "curl", "runuser"] {
        place.program(program, "install the packages systemd, util-linux and curl")?;
    }
    if !rustix::process::geteuid().is_root() {
        return Err(place.lacks("this check mounts file systems, and needs root for it"));
    }
    let programs = std::path::absolute(place.tested_programs()?)?;
    let script = place.root.join(SCRIPTS).join("boot.sh");
    passes(Command::new("bash").arg(script).args([&place.root.join(UNITS), &programs]))
}

/// Copies the units to a folder where the program of each exists: `systemd-analyze` looks for it.
fn copy(root: &Path) -> Result<PathBuf> {
    let copy = root.join("target/ops/systemd");
    let _ = fs::remove_dir_all(&copy);
    let mut folders = vec![(root.join(UNITS), copy.clone())];
    while let Some((from, to)) = folders.pop() {
        fs::create_dir_all(&to).with_context(|| format!("could not create {}", to.display()))?;
        for entry in fs::read_dir(&from).with_context(|| format!("could not read {}", from.display()))? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push((entry.path(), target));
                continue;
            }
            let text = fs::read_to_string(entry.path())?;
            let mut lines = Vec::new();
            for line in text.lines() {
                let command = line.strip_prefix("ExecStart=").and_then(|it| it.strip_prefix(BINARIES));
                if let Some(program) = command.and_then(|it| it.split(' ').next()) {
                    let source = root.join(format!("src/bin/{program}.rs"));
                    ensure!(source.is_file(), "{}: there is no binary {program}", entry.path().display());
                    lines.push("ExecStart=/bin/sh".to_owned());
                } else {
                    lines.push(line.to_owned());
                }
            }
            fs::write(target, lines.join("\n") + "\n")?;
        }
    }
    Ok(copy)
}

/// Returns a fault unless a stopping service has longer than `shutdown.grace_period` and the 2 s to close the bus.
fn stop_timeout(root: &Path) -> Result<Option<String>> {
    let seconds = |file: &str, key: &str, end: &str| -> Result<u64> {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("could not read {file}"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix(end));
        value.and_then(|value| value.parse().ok()).with_context(|| format!("{file} has no {key}N{end}"))
    };
    let grace = seconds("config/default.toml", "grace_period = \"", "s\"")?;
    let stop = seconds("deploy/systemd/ecom-.service.d/10-common.conf", "TimeoutStopSec=", "s")?;
    let is_short = stop <= grace + 2;
    Ok(is_short.then(|| format!("TimeoutStopSec is {stop} s, and the grace period {grace} s and 2 s more")))
}
