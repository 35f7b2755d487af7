//! The manifest of a load: every idempotency key with what was asked, written before the request is sent, and the id that
//! was answered.
//!
//! A file of JSON lines, numbered within a run, so that a line that is gone is noticed. Runs are appended. Whatever kills
//! the process leaves at most one incomplete line, the last of its run: its request was not sent, or its answer is treated
//! as none.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::requests::RecordKind;

/// The manifest cannot be written or read.
#[derive(thiserror::Error, Debug)]
pub enum ManifestError {
    /// It cannot be written.
    #[error("could not write the manifest {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It cannot be read.
    #[error("could not read the manifest {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It has none of the lines that a manifest has.
    #[error("{} is no manifest of transaction_generator", .0.display())]
    NoManifest(PathBuf),
    /// Another process writes it.
    #[error("another process writes the manifest {}", .0.display())]
    InUse(PathBuf),
}

/// A line of a manifest.
#[derive(Serialize, Deserialize)]
struct Line {
    /// Its number in the run, from 0.
    n: u64,
    #[serde(flatten)]
    entry: LineEntry,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LineEntry {
    /// A run begins.
    Run { id: String, api: String, seed: u64 },
    /// A request, before it is sent.
    Asked { key: String, kind: RecordKind, request: Value },
    /// The id that a request was answered with.
    Answered { key: String, id: i64 },
}

/// A manifest that is being written.
#[derive(Debug)]
pub struct ManifestWriter {
    path: PathBuf,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    /// `None` once a line could not be written: what follows it would make it unreadable.
    file: Option<File>,
    n: u64,
}

impl ManifestWriter {
    /// Opens a manifest, and begins a run behind those that it has.
    ///
    /// # Errors
    /// It cannot be written, or another process writes it.
    pub fn append(path: &Path, run: &str, api: &str, seed: u64) -> Result<Self, ManifestError> {
        let failed = |source| ManifestError::Write { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ManifestError::InUse(path.to_owned())),
            // Some network file systems have no locks.
            Err(TryLockError::Error(source)) if source.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        if !ends_with_a_line(&mut file).map_err(failed)? {
            file.write_all(b"\n").map_err(failed)?;
        }
        let writer = Self { path: path.to_owned(), lines: Mutex::new(Lines { file: Some(file), n: 0 }) };
        writer.write(LineEntry::Run { id: run.to_owned(), api: api.to_owned(), seed })?;
        Ok(writer)
    }

    /// Writes a request. It may be sent once this has returned.
    pub(crate) fn asked(&self, key: &str, kind: RecordKind, request: &Value) -> Result<(), ManifestError> {
        self.write(LineEntry::Asked { key: key.to_owned(), kind, request: request.clone() })
    }

    /// Writes the id that a request was answered with.
    pub(crate) fn answered(&self, key: &str, id: i64) -> Result<(), ManifestError> {
        self.write(LineEntry::Answered { key: key.to_owned(), id })
    }

    fn write(&self, entry: LineEntry) -> Result<(), ManifestError> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |source| ManifestError::Write { path: self.path.clone(), source };
        let Lines { file, n } = &mut *lines;
        let open = file.as_mut().ok_or_else(|| failed(std::io::Error::other("an earlier line failed")))?;
        let mut line = serde_json::to_vec(&Line { n: *n, entry }).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        if let Err(source) = open.write_all(&line) {
            *file = None;
            return Err(failed(source));
        }
        *n += 1;
        Ok(())
    }
}

fn ends_with_a_line(file: &mut File) -> std::io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// A request as manifests have it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) kind: RecordKind,
    /// The body, as JSON.
    pub(crate) request: String,
    /// The id that was answered.
    pub(crate) answered: Option<i64>,
    /// The id that it was found under.
    pub(crate) found: Option<i64>,
}

/// The contents of manifests.
#[derive(Debug, Default)]
pub struct Manifests {
    pub(crate) asked: HashMap<String, Asked>,
    /// The runs: the prefixes of the keys.
    pub(crate) runs: BTreeSet<String>,
    /// The faults of the manifests themselves.
    pub(crate) faults: Vec<String>,
    /// Lines that were not written to their end.
    pub(crate) incomplete_lines: u64,
}

impl Manifests {
    /// Reads manifests.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read(paths: &[PathBuf]) -> Result<Self, ManifestError> {
        let mut manifests = Self::default();
        for path in paths {
            let read = manifests.add(path);
            if read.map_err(|source| ManifestError::Read { path: path.clone(), source })? == 0 {
                return Err(ManifestError::NoManifest(path.clone()));
            }
        }
        if manifests.asked.is_empty() {
            manifests.faults.push("there is nothing to prove: no line asks for a record".to_owned());
        }
        Ok(manifests)
    }

    /// Adds a manifest. Returns the number of lines that could be read.
    fn add(&mut self, path: &Path) -> std::io::Result<u64> {
        let mut file = BufReader::new(File::open(path)?);
        let (mut text, mut number, mut next, mut read) = (Vec::new(), 0, 0, 0);
        // A line that is not JSON is incomplete if its run ends with it.
        let mut unread = None;
        while file.read_until(b'\n', &mut text)? > 0 {
            number += 1;
            let place = format!("line {number} of {}", path.display());
            match serde_json::from_slice::<Line>(&text) {
                Ok(Line { n, entry }) => {
                    let is_run = matches!(entry, LineEntry::Run { .. });
                    match unread.take() {
                        Some(_) if is_run => self.incomplete_lines += 1,
                        Some(unread) => self.faults.push(format!("{unread} cannot be read")),
                        None => {}
                    }
                    if is_run {
                        next = 0;
                    }
                    if n != next {
                        self.faults.push(format!("{place} has the number {n} of its run instead of {next}"));
                    }
                    next = n + 1;
                    read += 1;
                    self.take(entry, &place);
                }
                Err(_) => {
                    if let Some(unread) = unread.replace(place) {
                        self.faults.push(format!("{unread} cannot be read"));
                    }
                    next += 1;
                }
            }
            text.clear();
        }
        self.incomplete_lines += u64::from(unread.is_some());
        Ok(read)
    }

    fn take(&mut self, entry: LineEntry, place: &str) {
        match entry {
            LineEntry::Run { id, .. } => {
                self.runs.insert(id);
            }
            LineEntry::Asked { key, kind, request } => {
                self.runs.insert(run_of(&key).to_owned());
                let asked = Asked { kind, request: request.to_string(), answered: None, found: None };
                if self.asked.insert(key, asked).is_some() {
                    self.faults.push(format!("{place} has a key that an earlier line has"));
                }
            }
            LineEntry::Answered { key, id } => match self.asked.get_mut(&key) {
                None => {
                    self.faults.push(format!("{place}: {key} was answered, and no line says what was asked"))
                }
                Some(asked) => match asked.answered.replace(id) {
                    Some(other) if other != id => {
                        self.faults.push(format!("{place}: {key} was answered as {other} and as {id}"));
                    }
                    Some(_) | None => {}
                },
            },
        }
    }
}

/// Returns the name of a run: letters alone, because digits beside those of its keys might look like a card number.
pub fn run_name(random: [u8; 10]) -> String {
    random.map(|byte| char::from(b'a' + byte % 26)).iter().collect()
}

/// Returns the run that a key is of.
pub(crate) fn run_of(key: &str) -> &str {
    key.split_once('-').map_or(key, |(run, _)| run)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request() -> Value {
        json!({"sender": "a", "receiver": "b", "amount": 10, "currency": "USD"})
    }

    fn write(path: &Path, run: &str) {
        let writer = ManifestWriter::append(path, run, "http://x", 7).unwrap();
        for n in 0..3 {
            let key = format!("{run}-{n}");
            writer.asked(&key, RecordKind::Transaction, &request()).unwrap();
            writer.answered(&key, n).unwrap();
        }
    }

    fn read(path: &Path) -> Manifests {
        Manifests::read(&[path.to_owned()]).unwrap()
    }

    #[test]
    fn every_run_of_a_file_is_read_and_one_that_was_killed_ends_with_an_incomplete_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        write(&path, "one");
        // Killed in the middle of a line, and started again.
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert_eq!(read(&path).incomplete_lines, 1);
        write(&path, "two");
        let found = read(&path);
        assert_eq!((found.faults, found.incomplete_lines), (vec![], 1));
        assert_eq!(found.runs, ["one", "two"].map(str::to_owned).into());
        let answered = |key: &str| found.asked[key].answered;
        assert_eq!((answered("one-1"), answered("one-2"), answered("two-2")), (Some(1), None, Some(2)));
        assert_eq!(found.asked["two-0"].request, request().to_string());
    }

    #[test]
    fn a_line_that_is_gone_or_changed_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        write(&path, "one");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let changed = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            change(&mut lines);
            std::fs::write(&path, lines.join("\n")).unwrap();
            read(&path).faults.join("; ")
        };
        assert_eq!(changed(&|_| {}), "");
        let removed = changed(&|lines| drop(lines.remove(2)));
        assert!(
            removed.contains("line 3 of") && removed.contains("the number 3 of its run instead of 2"),
            "{removed}"
        );
        let removed = changed(&|lines| drop(lines.remove(1)));
        assert!(removed.contains("one-0 was answered, and no line says what was asked"), "{removed}");
        assert!(changed(&|lines| drop(lines.remove(0))).contains("the number 1 of its run instead of 0"));
        assert!(changed(&|lines| lines[3] = "{".to_owned()).contains("line 4 of"));
        let twice = changed(&|lines| lines.push(r#"{"n":7,"answered":{"key":"one-0","id":5}}"#.to_owned()));
        assert!(twice.contains("one-0 was answered as 0 and as 5"), "{twice}");
    }

    #[test]
    fn a_file_without_requests_proves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        for text in ["", "[package]\nname = \"ecom\"\n"] {
            std::fs::write(&path, text).unwrap();
            let found = Manifests::read(std::slice::from_ref(&path));
            assert!(matches!(found, Err(ManifestError::NoManifest(_))), "{found:?}");
        }
        std::fs::write(&path, "").unwrap();
        ManifestWriter::append(&path, "one", "http://x", 7).unwrap();
        assert_eq!(read(&path).faults, ["there is nothing to prove: no line asks for a record"]);
    }

    #[test]
    fn a_manifest_has_one_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let writer = ManifestWriter::append(&path, "one", "http://x", 7).unwrap();
        let second = ManifestWriter::append(&path, "two", "http://x", 7);
        assert!(matches!(second, Err(ManifestError::InUse(_))));
        drop(writer);
        ManifestWriter::append(&path, "two", "http://x", 7).unwrap();
    }
}
