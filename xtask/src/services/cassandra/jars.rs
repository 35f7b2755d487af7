//! Cassandra's jars, from Maven Central into a cache of the user's, once.

use crate::failure::{Attempt, Failure, Outcome, say};
use crate::process::on_path;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The release; the compose file pins the same one.
const VERSION: &str = "5.0.8";

/// Jars whose absence means that a fetch was not complete.
const LANDMARKS: [&str; 8] = [
    "cassandra-all",
    "jamm",
    "logback-classic",
    "slf4j-api",
    "snakeyaml",
    "jna",
    "netty-transport-native-epoll",
    "lz4-java",
];

/// The folder of the jars, fetched now if this user has none yet.
///
/// Safe against other fetches (a lock file) and against a fetch cut short: jars arrive in a folder
/// of this process, which gets its real name only when complete. What Maven already has, it does
/// not load again.
pub fn folder(java: &Path) -> Outcome<PathBuf> {
    let cache = cache_root()?;
    let home = cache.join(format!("cassandra-{VERSION}"));
    let lib = home.join("lib");
    if missing(&lib).is_none() {
        return Ok(lib);
    }
    std::fs::create_dir_all(&cache).attempt(format_args!("create {}", cache.display()))?;
    let lock_file = cache.join(format!("cassandra-{VERSION}.lock"));
    let lock = File::create(&lock_file).attempt(format_args!("create {}", lock_file.display()))?;
    if lock.try_lock().is_err() {
        say("waiting for another fetch of Cassandra's jars");
        lock.lock().attempt(format_args!("lock {}", lock_file.display()))?;
    }
    if missing(&lib).is_none() {
        return Ok(lib);
    }
    let prefix = format!("cassandra-{VERSION}.partial-");
    remove_leftovers(&cache, &prefix);
    let partial = cache.join(format!("{prefix}{}", std::process::id()));
    fetch(java, &partial)?;
    if let Some(jar) = missing(&partial.join("lib")) {
        return Err(Failure::new(format!("maven fetched Cassandra {VERSION} without {jar}"))
            .hint(format!("remove {} and try again", partial.display())));
    }
    let _ = std::fs::remove_dir_all(&home);
    std::fs::rename(&partial, &home).attempt(format_args!("name {}", home.display()))?;
    Ok(lib)
}

/// Removes what fetches that were cut short have left; only under the lock.
fn remove_leftovers(cache: &Path, prefix: &str) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The jamm agent's jar, which measures objects for the node.
pub fn agent(lib: &Path) -> Outcome<PathBuf> {
    find(lib, "jamm").ok_or_else(|| Failure::new(format!("found no jamm jar in {}", lib.display())))
}

fn cache_root() -> Outcome<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.map(|cache| cache.join("ecom-pipeline")).ok_or_else(|| {
        Failure::new("found no folder for Cassandra's jars: neither XDG_CACHE_HOME nor HOME is set")
            .hint("set XDG_CACHE_HOME to a folder that can be written")
    })
}

/// The first landmark without a jar.
fn missing(lib: &Path) -> Option<&'static str> {
    LANDMARKS.into_iter().find(|name| find(lib, name).is_none())
}

/// The jar `name-<digit>….jar`.
fn find(lib: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(lib).ok()?.flatten().map(|entry| entry.path()).find(|path| {
        path.file_name()
            .and_then(|file| file.to_str())
            .and_then(|file| file.strip_prefix(name)?.strip_prefix('-'))
            .is_some_and(|rest| rest.ends_with(".jar") && rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

fn fetch(java: &Path, target: &Path) -> Outcome<()> {
    if on_path("mvn").is_none() {
        return Err(
            Failure::new("found no Maven to fetch Cassandra's jars with").hint("install Maven (mvn on PATH)")
        );
    }
    std::fs::create_dir_all(target).attempt(format_args!("create {}", target.display()))?;
    let pom = target.join("pom.xml");
    std::fs::write(&pom, pom_text()).attempt(format_args!("write {}", pom.display()))?;
    say(&format!("fetching Cassandra {VERSION} through Maven (about 70 MB, once per user)"));
    let log_file = target.join("maven.log");
    for attempts_left in [1, 0] {
        let log = File::create(&log_file).attempt(format_args!("create {}", log_file.display()))?;
        let errors = log.try_clone().attempt(format_args!("open {}", log_file.display()))?;
        let mut maven = Command::new("mvn");
        maven
            .args(["-B", "-ntp", "-f"])
            .arg(&pom)
            .arg("org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies")
            .args(["-DincludeScope=runtime", "-Dmdep.overWriteReleases=true"])
            .arg(format!("-DoutputDirectory={}", target.join("lib").display()))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        if let Some(home) =
            java.canonicalize().ok().and_then(|java| Some(java.parent()?.parent()?.to_path_buf()))
        {
            maven.env("JAVA_HOME", home);
        }
        if maven.status().attempt("run mvn")?.success() {
            return Ok(());
        }
        if attempts_left > 0 {
            say("maven failed, trying once more");
        }
    }
    say(&crate::process::tail(&log_file, 40));
    Err(Failure::new(format!("maven could not fetch Cassandra {VERSION}"))
        .hint(format!("its log is {}; a second run goes on where this one stopped", log_file.display())))
}

fn pom_text() -> String {
    format!(
        "\
<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local.test</groupId>
  <artifactId>cassandra-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId>
      <artifactId>cassandra-all</artifactId>
      <version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Folder;
    use super::*;

    #[test]
    fn a_folder_without_one_of_the_landmarks_does_not_count() {
        let folder = Folder::new("landmarks");
        assert_eq!(missing(folder.path()), Some("cassandra-all"));
        for name in LANDMARKS {
            std::fs::write(folder.path().join(format!("{name}-1.2.jar")), "").unwrap();
        }
        assert_eq!(missing(folder.path()), None);
        std::fs::remove_file(folder.path().join("jamm-1.2.jar")).unwrap();
        assert_eq!(missing(folder.path()), Some("jamm"));
    }

    #[test]
    fn a_longer_name_is_another_jar() {
        let folder = Folder::new("longer");
        std::fs::write(folder.path().join("jna-platform-5.13.0.jar"), "").unwrap();
        assert_eq!(find(folder.path(), "jna"), None);
        std::fs::write(folder.path().join("jna-5.13.0.jar"), "").unwrap();
        assert_eq!(find(folder.path(), "jna"), Some(folder.path().join("jna-5.13.0.jar")));
    }

    #[test]
    fn the_pom_pins_the_version() {
        assert!(pom_text().contains("<version>5.0.8</version>"));
    }
}
