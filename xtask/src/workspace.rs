//! The workspace's root, cargo commands in it, and programs on PATH.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the workspace's root. It is looked up at run time: with a shared target folder, two
/// checkouts may run the same binary.
pub fn root() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let start =
        manifest.map_or_else(std::env::current_dir, Ok).context("could not read the current folder")?;
    let root = start.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file());
    root.map(Path::to_path_buf).with_context(|| {
        let start = start.display();
        format!("found no workspace at or above {start}\nhint: run `cargo xtask` inside the repository")
    })
}

/// Returns a cargo command in the root, without input and without the variables that `cargo run`
/// set for xtask itself, which would make some build scripts run again.
pub fn cargo<S: AsRef<str>>(root: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let arguments: Vec<String> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
    eprintln!("cargo {}", arguments.join(" "));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_PRIMARY_PACKAGE"].iter().any(|it| name.starts_with(it)) {
            command.env_remove(name);
        }
    }
    command
}

/// Returns the first file called `name` on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
