//! Namespaces for daemons that need a host to themselves: network, mounts, processes and a cgroup of their own.

use super::Place;
use super::tools::passes;
use anyhow::{Context, Result};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The address of this host in the namespaces.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The folder of a check in the namespaces.
pub(super) const HOME: &str = "/run/node";
/// Debian's packages to run containers with; catatonit is process 1.
pub(super) const PACKAGES: [&str; 4] = ["containerd", "runc", "libseccomp2", "catatonit"];

/// Returns a command that runs what is added to it in namespaces, with `home` as [`HOME`]. `packages` is the folder of
/// [`PACKAGES`].
pub(super) fn command(place: &Place<'_>, packages: &Path, home: &Path) -> Command {
    // Unless the whole tree of processes ended with this one, containers would remain.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--mount", "--pid", "--fork"]);
    command.args(["--kill-child=KILL", "--mount-proc"]);
    command.arg(packages.join("usr/bin/catatonit")).arg("--");
    command.arg(place.root.join("xtask/src/ops/namespaces/enter.sh")).arg(home);
    command.env_remove("PUBSUB_EMULATOR_HOST").env_remove("CASSANDRA_CONTACT_POINTS");
    command
}

/// Runs a command made by [`command`], and removes the cgroups that it leaves and, if it succeeds, `home`; returns whether it
/// succeeded.
pub(super) fn succeeds(command: &mut Command, home: &Path) -> Result<bool> {
    let passed = passes(command);
    // Of version 2 or 1. A group can be removed once its processes are gone.
    let script = "for group in /sys/fs/cgroup/ecom-node /sys/fs/cgroup/*/ecom-node; do
        [ ! -d $group ] || find $group -depth -type d -exec rmdir {} + 2>/dev/null || exit 1
    done";
    for _ in 0..10 {
        if Command::new("sh").args(["-c", script]).status().is_ok_and(|status| status.success()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let passed = passed?;
    if passed {
        fs::remove_dir_all(home).with_context(|| format!("could not remove {}", home.display()))?;
    } else {
        eprintln!("the logs are in {}", home.display());
    }
    Ok(passed)
}
