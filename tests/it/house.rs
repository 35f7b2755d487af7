//! The house rules that neither Cargo nor clippy can hold: thin binaries, short files, biased selects.

use std::path::{Path, PathBuf};

/// The most lines of a binary.
const BINARY_LINES: usize = 20;
/// The most lines of a file before its tests.
const FILE_LINES: usize = 400;

#[test]
fn the_sources_keep_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut breaches = Vec::new();
    let mut files = 0;
    for folder in ["src", "crates", "tests", "xtask"] {
        for file in rust_files(&root.join(folder)) {
            files += 1;
            let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            let text = std::fs::read_to_string(&file).unwrap();
            breaches.extend(breaches_in(&name, &text).into_iter().map(|breach| format!("{name}: {breach}")));
        }
    }
    assert!(files > 200, "only {files} files were read");
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn every_test_that_the_invariants_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let section = architecture.split("## Invariants").nth(1).unwrap().split("\n## ").next().unwrap();
    let shown_by = section.lines().filter_map(|line| line.trim_end_matches([' ', '|']).rsplit('|').next());
    let named: Vec<&str> = shown_by.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() >= 9, "only {named:?} are named");
    let folders = ["src", "crates", "tests"].map(|folder| rust_files(&root.join(folder)));
    let sources: Vec<String> =
        folders.iter().flatten().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    for name in named {
        assert!(sources.iter().any(|text| text.contains(&format!("fn {name}("))), "there is no test {name}");
    }
}

#[test]
fn each_rule_notices_its_breach() {
    let long = "fn f() {}\n".repeat(FILE_LINES + 1);
    for (name, text) in [
        ("src/bin/x.rs", "fn main() { if true {} }\n"),
        ("src/bin/x.rs", &"//\n".repeat(BINARY_LINES + 1)),
        ("crates/a/src/x.rs", &long),
        ("crates/a/src/x.rs", "tokio::select! {\n    () = a => {}\n}\n"),
        ("tests/it/mod.rs", ""),
    ] {
        assert_eq!(breaches_in(name, text).len(), 1, "{name}: {text}");
    }
    let tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
    let biased = "tokio::select! {\n    biased;\n    () = a => {}\n}\n";
    for (name, text) in [("crates/a/src/x.rs", tests.as_str()), ("crates/a/src/x.rs", biased)] {
        assert_eq!(breaches_in(name, text), [""; 0]);
    }
}

/// Returns a description of each rule that a file breaks.
fn breaches_in(name: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let code: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.starts_with("//")).collect();
    if name.starts_with("src/bin/") {
        if text.lines().count() > BINARY_LINES {
            breaches.push(format!("a binary has at most {BINARY_LINES} lines"));
        }
        if code.iter().any(|line| line.contains("if ") || line.contains("match ")) {
            breaches.push("a binary decides nothing".to_owned());
        }
    }
    let is_a_test = name.starts_with("tests/") || name.contains("/tests/") || name.ends_with("tests.rs");
    let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().lines().count();
    if before_tests > FILE_LINES && !is_a_test {
        breaches.push(format!("{before_tests} lines before the tests, at most {FILE_LINES}"));
    }
    if name.ends_with("/mod.rs") {
        breaches.push("modules are foo.rs and foo/".to_owned());
    }
    for (at, _) in code.iter().enumerate().filter(|(_, line)| line.ends_with("select! {")) {
        if code.get(at + 1) != Some(&"biased;") {
            breaches.push("every select! is biased".to_owned());
        }
    }
    breaches
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files
}
