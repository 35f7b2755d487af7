//! `nodes`: three Cassandra nodes and the test that kills and restarts them under load.

use crate::guard::Guard;
use crate::services::CommitlogSync;
use crate::{cargo, services};
use anyhow::Result;
use std::path::Path;

/// Runs the scenarios, which print a line each; returns the exit code.
pub fn run(root: &Path) -> Result<u8> {
    let dir = root.join("target/nodes").join(std::process::id().to_string());
    let words = ["three_nodes", "--", "--ignored", "--nocapture"].map(str::to_owned);
    let mut command = cargo(root, "test -p ecom --test it", &words);
    let passed = Guard::over(&dir, |guard| {
        // A killed node keeps what it acknowledged.
        services::ring_for(&mut command, root, &dir, CommitlogSync::Batch)?;
        guard.run(&mut command)
    })?;
    Ok(u8::from(!passed))
}
