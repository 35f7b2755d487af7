//! `shop`: the long tests of the shop, on both backends, with the foreign programs that they need.

use crate::guard::Guard;
use crate::{cargo, services};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// The Python packages of the tests.
const REQUIREMENTS: &str = "tests/it/processes/shop_requirements.txt";

/// Runs the tests, which print a line each; returns the exit code.
pub fn run(root: &Path) -> Result<u8> {
    let python = root.join("target/shop-python");
    install(root, &python)?;
    let dir = root.join("target/services-shop").join(std::process::id().to_string());
    let words = ["long_", "--", "--ignored", "--nocapture", "--test-threads=1"].map(str::to_owned);
    let mut of_notifier = cargo(root, "test --all-features -p ecom-shop-notifier", &[]);
    of_notifier.env("SHOP_PYTHON", &python);
    let mut command = cargo(root, "test --all-features -p ecom --test it", &words);
    command.env("SHOP_PYTHON", python);
    let passed = Guard::over(&dir, |guard| {
        let missing = services::up_for(&mut command, root, &dir, services::Logins::Unused)?;
        if let Some((_, error)) = missing.into_iter().next() {
            return Err(error);
        }
        Ok(guard.run(&mut of_notifier)? & guard.run(&mut command)?)
    })?;
    Ok(u8::from(!passed))
}

/// Installs the Python packages into an environment of their own.
fn install(root: &Path, python: &Path) -> Result<()> {
    let done = |command: &mut Command| -> Result<()> {
        let name = format!("{command:?}");
        let status = command.current_dir(root).stdin(Stdio::null()).stdout(Stdio::null()).status();
        ensure!(status.with_context(|| format!("could not start {name}"))?.success(), "{name} failed");
        Ok(())
    };
    if !python.join("bin/python").is_file() {
        done(Command::new("python3").args(["-m", "venv"]).arg(python))?;
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS];
    done(Command::new(python.join("bin/python")).args(pip))
}
