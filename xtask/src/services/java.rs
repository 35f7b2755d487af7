//! Finds a Java runtime, and the one version Cassandra 5 runs on.

use crate::failure::{Failure, Outcome};
use crate::process::on_path;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Java version that Cassandra 5.0 supports beside 11; later ones refuse to start it.
const FOR_CASSANDRA: u32 = 17;

/// Any Java that runs the emulator: 11 or later.
pub fn any() -> Outcome<PathBuf> {
    candidates().into_iter().find(|java| version(java).is_some_and(|found| found >= 11)).ok_or_else(|| {
        Failure::new("found no Java 11 or later").hint("install a JDK 17, or set JAVA_HOME to one")
    })
}

/// Java 17.
pub fn for_cassandra() -> Outcome<PathBuf> {
    candidates()
        .into_iter()
        .find(|java| version(java) == Some(FOR_CASSANDRA))
        .ok_or_else(|| Failure::new("found no Java 17").hint("install a JDK 17, or set JAVA_HOME to one"))
}

/// The `java` of JAVA_HOME, of PATH, and of the usual folders, in this order.
fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some(home) = std::env::var_os("JAVA_HOME") {
        found.push(Path::new(&home).join("bin").join("java"));
    }
    found.extend(on_path("java"));
    for folder in ["/usr/lib/jvm", "/Library/Java/JavaVirtualMachines"] {
        let mut homes: Vec<PathBuf> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        homes.sort();
        for home in homes {
            found.push(home.join("bin").join("java"));
            found.push(home.join("Contents").join("Home").join("bin").join("java"));
        }
    }
    found.retain(|java| java.is_file());
    found
}

fn version(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").output().ok()?;
    major(&String::from_utf8_lossy(&output.stderr))
}

/// The major version in what `java -version` says: `"17.0.15"` is 17, `"1.8.0_402"` is 8.
fn major(said: &str) -> Option<u32> {
    let quoted = said.split('"').nth(1)?;
    let mut parts = quoted.split(|c: char| !c.is_ascii_digit());
    match parts.next()?.parse().ok()? {
        1 => parts.next()?.parse().ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_old_and_new_forms() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(major("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(major("java version \"1.8.0_402\""), Some(8));
        assert_eq!(major("no java here"), None);
    }
}
