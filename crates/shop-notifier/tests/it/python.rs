//! Foreign peers in Python.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Returns a Python that has the packages that the peers import: that of the environment `SHOP_PYTHON` (`cargo xtask shop`
/// makes it), or `python3`. `None` if neither has them, and the test is skipped.
fn interpreter() -> Option<PathBuf> {
    let has_them = |python: &Path| {
        let imports = Command::new(python).args(["-c", "import aiosmtpd, standardwebhooks"]).output();
        imports.is_ok_and(|output| output.status.success())
    };
    if let Some(folder) = std::env::var_os("SHOP_PYTHON") {
        let python = Path::new(&folder).join("bin/python");
        assert!(has_them(&python), "{} has no aiosmtpd and standardwebhooks", python.display());
        return Some(python);
    }
    let python = PathBuf::from("python3");
    if has_them(&python) {
        return Some(python);
    }
    // Not `eprintln!`: the test harness hides the output of a passing test.
    writeln!(std::io::stderr(), "skipped: no python3 with aiosmtpd and standardwebhooks").ok();
    None
}

/// A peer: a script that prints a JSON value a line. It ends with the test.
pub(crate) struct Peer {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a script with arguments; `None` if there is no Python for it.
    pub(crate) fn start(script: &str, args: &[&str]) -> Option<Self> {
        let mut process = Command::new(interpreter()?)
            .args(["-u", "-c", script])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Some(Self { process, lines })
    }

    /// Writes a line to it.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Returns the next value that it prints.
    pub(crate) fn says(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
