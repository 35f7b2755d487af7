//! The workspace's folders, and cargo commands in it.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the workspace's root. It is looked up at run time: with a shared target folder, two
/// checkouts may run the same binary.
pub fn root() -> Result<PathBuf> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(manifest) => PathBuf::from(manifest),
        None => std::env::current_dir().context("could not read the current folder")?,
    };
    let root = start.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file());
    root.map(Path::to_path_buf).with_context(|| {
        format!(
            "found no workspace at or above {}\nhint: run `cargo xtask` inside the repository",
            start.display()
        )
    })
}

/// Returns the folder that cargo builds into.
pub fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target))
}

/// Returns a cargo command in the root, without input and without the variables that `cargo run`
/// set for xtask itself, which would make some build scripts run again.
pub fn cargo<S: AsRef<str>>(root: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let arguments: Vec<String> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
    eprintln!("cargo {}", arguments.join(" "));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name == "CARGO_PRIMARY_PACKAGE"
        {
            command.env_remove(name);
        }
    }
    command
}
