//! Where the workspace is, and how to call cargo in it.

use crate::failure::{Failure, Outcome};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace's root: asked at run time, so that a binary shared between checkouts cannot
/// answer with the one it was built in.
pub fn root() -> Outcome<PathBuf> {
    if let Some(manifest) = std::env::var_os("CARGO_MANIFEST_DIR")
        && let Some(root) = Path::new(&manifest).parent()
        && is_root(root)
    {
        return Ok(root.to_path_buf());
    }
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(format!("could not read the current folder ({error})")))?;
    here.ancestors().find(|folder| is_root(folder)).map(Path::to_path_buf).ok_or_else(|| {
        Failure::new(format!("found no workspace at or above {}", here.display()))
            .hint("run `cargo xtask` inside the repository")
    })
}

fn is_root(folder: &Path) -> bool {
    folder.join("xtask").join("Cargo.toml").is_file() && folder.join("Cargo.toml").is_file()
}

/// Where cargo puts what it builds.
pub fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target))
}

/// A cargo command in the workspace's root, with stdin closed and without the variables that
/// `cargo run` set for xtask itself (some build scripts would rebuild because of them).
pub fn cargo(root: &Path, words: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(words).current_dir(root).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if set_by_cargo_run(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn set_by_cargo_run(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name == "CARGO_PRIMARY_PACKAGE"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_folder_above_xtask() {
        let root = root().unwrap();
        assert!(root.join("xtask").join("src").join("main.rs").is_file(), "{}", root.display());
    }

    #[test]
    fn only_what_cargo_run_sets_is_taken_out_of_the_environment() {
        assert!(set_by_cargo_run(OsStr::new("CARGO_PKG_NAME")));
        assert!(set_by_cargo_run(OsStr::new("CARGO_MANIFEST_DIR")));
        assert!(!set_by_cargo_run(OsStr::new("CARGO_TARGET_DIR")));
        assert!(!set_by_cargo_run(OsStr::new("CARGO_HOME")));
    }
}
