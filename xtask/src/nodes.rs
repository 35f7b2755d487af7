//! `nodes`: three Cassandra nodes and the test that kills and restarts them under load.

use crate::guard::Guard;
use crate::{cargo, services};
use anyhow::Result;
use std::path::Path;

/// Runs the scenarios, which print a line each; returns the exit code.
pub fn run(root: &Path) -> Result<u8> {
    let dir = root.join("target/nodes").join(std::process::id().to_string());
    let mut guard = Guard::start(&dir)?;
    let words = ["three_nodes", "--", "--ignored", "--nocapture"].map(str::to_owned);
    let mut command = cargo(root, "test -p ecom --test it", &words);
    let result = services::ring_for(&mut command, root, &dir).and_then(|()| guard.run(&mut command));
    if !matches!(result, Ok(true)) {
        guard.keep_logs();
    }
    Ok(u8::from(!result?))
}
