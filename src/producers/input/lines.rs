//! Reading lines: without their ends, a byte order mark or blank lines, in bounded memory.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::is_stdin;
use crate::output;

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A line to publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// Its number over all files, from 1.
    pub(super) number: u64,
    /// Its bytes without its end.
    pub(super) body: Bytes,
}

/// A line that is too long to be published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TooLong {
    file: String,
    line: u64,
    bytes: u64,
    limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, bytes, limit) =
            (output::count(self.line), output::count(self.bytes), output::count(self.limit as u64));
        let file = &self.file;
        write!(f, "line {line} of {file} is rejected: it has {bytes} bytes, at most {limit} are published")
    }
}

/// A line, or its rejection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum LineOrReject {
    /// A line to publish.
    Line(Line),
    /// A line that is too long.
    TooLong(TooLong),
}

impl LineOrReject {
    /// The bytes that it occupies.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Line(line) => line.body.len(),
            Self::TooLong(_) => 0,
        }
    }
}

/// An input that could not be read to its end.
#[derive(Debug)]
pub(super) struct ReadError {
    file: String,
    line: u64,
    source: std::io::Error,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, source } = self;
        write!(f, "could not read line {} of {file}: {source}", output::count(*line))
    }
}

/// The lines of files, one after the other. Ends after an error.
pub(super) struct InputLines {
    paths: VecDeque<PathBuf>,
    reading: Option<BufReader<Box<dyn Read + Send>>>,
    /// The files so far, each with the number of lines before it.
    files: Vec<(u64, String)>,
    number: u64,
    skip: u64,
    limit: usize,
}

/// A line as it was read: its first bytes, and the number of all of them.
struct RawLine {
    kept: Vec<u8>,
    bytes: u64,
}

impl InputLines {
    /// The lines of these files but the first `skip`. A line of more than `limit` bytes is rejected.
    pub(super) fn new(paths: Vec<PathBuf>, skip: u64, limit: usize) -> Self {
        Self { paths: paths.into(), reading: None, files: Vec::new(), number: 0, skip, limit }
    }

    /// The files so far, each with the number of lines before it.
    pub(super) fn files(&self) -> &[(u64, String)] {
        &self.files
    }

    /// Returns whether the next line is not in memory as a whole.
    pub(super) fn may_wait(&self) -> bool {
        self.reading.as_ref().is_none_or(|reader| !reader.buffer().contains(&b'\n'))
    }

    /// Opens the next file; `None` after the last.
    fn open(&mut self) -> Option<Result<(), ReadError>> {
        let path = self.paths.pop_front()?;
        self.files.push((self.number, name(&path)));
        let opened: std::io::Result<Box<dyn Read + Send>> = match is_stdin(&path) {
            true => Ok(Box::new(std::io::stdin())),
            false => std::fs::File::open(&path).map(|file| Box::new(file) as Box<dyn Read + Send>),
        };
        Some(
            opened
                .map(|file| self.reading = Some(BufReader::with_capacity(64 * 1024, file)))
                .map_err(|source| self.failed(source)),
        )
    }

    /// The error of reading the next line; nothing is read after it.
    fn failed(&mut self, source: std::io::Error) -> ReadError {
        self.paths.clear();
        self.reading = None;
        let (before, file) = self.files.last().cloned().unwrap_or_default();
        ReadError { file, line: self.number - before + 1, source }
    }

    /// The line as it is published; `None` if it is skipped or blank.
    fn taken(&self, raw: RawLine) -> Option<LineOrReject> {
        let (before, file) = self.files.last()?;
        let line = self.number - before;
        let RawLine { kept, bytes } = raw;
        let is_whole = kept.len() as u64 == bytes;
        let mut body = Bytes::from(kept);
        if line == 1 && body.starts_with(MARK) {
            body = body.slice(MARK.len()..);
        }
        if is_whole && body.ends_with(b"\r") {
            body.truncate(body.len() - 1);
        }
        if self.number <= self.skip || (is_whole && body.iter().all(u8::is_ascii_whitespace)) {
            return None;
        }
        Some(match is_whole && body.len() <= self.limit {
            true => LineOrReject::Line(Line { number: self.number, body }),
            false => LineOrReject::TooLong(TooLong { file: file.clone(), line, bytes, limit: self.limit }),
        })
    }
}

impl Iterator for InputLines {
    type Item = Result<LineOrReject, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(reader) = &mut self.reading else {
                match self.open()? {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            // Room for the mark and the carriage return of a line that is just short enough.
            match raw_line(reader, self.limit + MARK.len() + 1) {
                Err(error) => return Some(Err(self.failed(error))),
                Ok(None) => self.reading = None,
                Ok(Some(raw)) => {
                    self.number += 1;
                    if let Some(taken) = self.taken(raw) {
                        return Some(Ok(taken));
                    }
                }
            }
        }
    }
}

fn name(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() }
}

/// Reads to the end of a line, or of the file; `None` at its end. Keeps at most `most` bytes.
fn raw_line(reader: &mut impl BufRead, most: usize) -> std::io::Result<Option<RawLine>> {
    let mut line = RawLine { kept: Vec::new(), bytes: 0 };
    let mut is_begun = false;
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(is_begun.then_some(line));
        }
        is_begun = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        line.bytes += part.len() as u64;
        let room = most - line.kept.len();
        line.kept.extend_from_slice(&part[..part.len().min(room)]);
        let read = part.len() + usize::from(end.is_some());
        reader.consume(read);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads files with these contents.
    fn read(files: &[&[u8]], skip: u64, limit: usize) -> Vec<Result<LineOrReject, ReadError>> {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = files
            .iter()
            .enumerate()
            .map(|(index, contents)| {
                let path = folder.path().join(format!("{index}.jsonl"));
                std::fs::write(&path, contents).unwrap();
                path
            })
            .collect();
        InputLines::new(paths, skip, limit).collect()
    }

    fn bodies(files: &[&[u8]], skip: u64, limit: usize) -> Vec<(u64, String)> {
        let lines = read(files, skip, limit).into_iter().filter_map(|line| match line.unwrap() {
            LineOrReject::Line(Line { number, body }) => {
                Some((number, String::from_utf8(body.to_vec()).unwrap()))
            }
            LineOrReject::TooLong(_) => None,
        });
        lines.collect()
    }

    fn numbered(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
        lines.iter().map(|(number, body)| (*number, (*body).to_owned())).collect()
    }

    #[test]
    fn marks_line_ends_and_blank_lines_are_not_bodies() {
        let first = b"\xef\xbb\xbfa\r\n\r\n  \t \nb\n".as_slice();
        let second = b"\xef\xbb\xbf\nc\r\nd".as_slice();
        let expected = numbered(&[(1, "a"), (4, "b"), (6, "c"), (7, "d")]);
        assert_eq!(bodies(&[first, b"", second], 0, 10), expected);
        for skip in 0..=7 {
            let rest: Vec<_> = expected.iter().filter(|(number, _)| *number > skip).cloned().collect();
            assert_eq!(bodies(&[first, b"", second], skip, 10), rest, "skip {skip}");
        }
        // A mark elsewhere belongs to its line.
        assert_eq!(bodies(&["a\n\u{feff}b".as_bytes()], 0, 10), numbered(&[(1, "a"), (2, "\u{feff}b")]));
    }

    #[test]
    fn a_line_over_the_limit_is_rejected_and_the_next_one_is_read() {
        let long = "x".repeat(200_000);
        let text = format!("abc\r\nabcd\r\nabcde\r\n{long}\nok");
        assert_eq!(bodies(&[text.as_bytes()], 0, 4), numbered(&[(1, "abc"), (2, "abcd"), (5, "ok")]));
        let rejected: Vec<String> = read(&[text.as_bytes()], 0, 4)
            .into_iter()
            .filter_map(|line| match line.unwrap() {
                LineOrReject::TooLong(too_long) => Some(too_long.to_string()),
                LineOrReject::Line(_) => None,
            })
            .collect();
        assert_eq!(rejected.len(), 2, "{rejected:?}");
        assert!(
            rejected[0].starts_with("line 3 of ") && rejected[1].contains("it has 200,000 bytes, at most 4 ")
        );
    }

    #[test]
    fn a_marked_line_of_just_the_limit_is_published() {
        assert_eq!(bodies(&[b"\xef\xbb\xbfabcd\r\n"], 0, 4), numbered(&[(1, "abcd")]));
        assert_eq!(bodies(&[b"\xef\xbb\xbfabcde\r\n"], 0, 4), []);
    }
}
