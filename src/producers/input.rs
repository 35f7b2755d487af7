//! Bodies from files and stdin, one a line.

mod lines;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use crate::exit::CliError;
use crate::output;
use ecom_pipeline::produce::OutgoingEvent;
use ecom_scenario::manifest::ManifestBody;
use ecom_telemetry::stderr;
use lines::{InputLines, Line, LineOrReject, ReadError, TooLong};

/// The bytes of lines that are handed over together.
const BATCH_BYTES: usize = 64 * 1024;
/// The batches that are read ahead of publishing.
const READ_AHEAD: usize = 2;

type Batch = Vec<Result<LineOrReject, ReadError>>;

/// The lines of files and stdin, to be published once each.
pub(super) struct Input {
    lines: Lines,
    progress: Arc<Mutex<Progress>>,
}

enum Lines {
    /// Not read yet.
    Unread(InputLines),
    /// Those of a manifest.
    Read {
        /// The lines.
        lines: Vec<Line>,
        /// Set if no other lines are left in the files.
        is_all: bool,
    },
}

/// The progress of reading.
#[derive(Default)]
struct Progress {
    /// The files so far, each with the number of lines before it.
    files: Vec<(u64, String)>,
    rejected: u64,
    failed: Option<ReadError>,
    /// Set once the last line was handed over.
    is_at_end: bool,
}

/// The end of an input, once its run has ended.
pub(super) struct InputEnd {
    /// The number of lines, from the first file's first, that need not be read again.
    pub(super) done: u64,
    /// The last of them, as `line 17 of orders.jsonl`.
    pub(super) place: String,
    /// Lines that were too long to be published.
    pub(super) rejected: u64,
    /// The error of reading.
    pub(super) failed: Option<String>,
    /// Set if every line was read.
    pub(super) is_at_end: bool,
}

impl Input {
    /// The lines of these files, `-` = stdin, without the first `skip`. A file that cannot be opened, or is
    /// none, is a usage error.
    pub(super) fn open(files: &[PathBuf], skip: u64, line_limit: usize) -> Result<Self, CliError> {
        for path in files.iter().filter(|path| !is_stdin(path)) {
            check(path)?;
        }
        let lines = Lines::Unread(InputLines::new(files.to_vec(), skip, line_limit));
        Ok(Self { lines, progress: Arc::default() })
    }

    /// Reads all lines, at most `count`, and returns their bodies for a manifest.
    pub(super) fn read(&mut self, count: u64) -> Result<Vec<ManifestBody>, CliError> {
        let Lines::Unread(mut unread) = self.take() else { return Ok(Vec::new()) };
        let (mut read, mut is_all) = (Vec::new(), false);
        while (read.len() as u64) < count && !is_all {
            let next = unread.next();
            lock(&self.progress).files = unread.files().to_vec();
            let Some(next) = next else {
                is_all = true;
                continue;
            };
            match next {
                Ok(LineOrReject::Line(line)) => read.push(line),
                Ok(LineOrReject::TooLong(too_long)) => reject(&self.progress, &too_long),
                Err(error) => {
                    return Err(CliError::failed(error.to_string()).hint("nothing was published"));
                }
            }
        }
        let bodies = read.iter().map(|line| ManifestBody(line.body.clone())).collect();
        self.lines = Lines::Read { lines: read, is_all };
        Ok(bodies)
    }

    /// Takes the lines, which leaves none.
    fn take(&mut self) -> Lines {
        std::mem::replace(&mut self.lines, Lines::Read { lines: Vec::new(), is_all: true })
    }

    /// The lines as events, numbered by their lines, at most `count`.
    pub(super) fn events(&mut self, count: u64) -> impl Stream<Item = OutgoingEvent> + Send + use<> {
        let event = |line: Line| OutgoingEvent { body: line.body, event: line.number };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let progress = Arc::clone(&self.progress);
        let end = stream::poll_fn(move |_| {
            let mut progress = lock(&progress);
            progress.is_at_end = progress.failed.is_none();
            Poll::Ready(None)
        });
        match self.take() {
            Lines::Read { lines, is_all: true } => stream::iter(lines).chain(end).map(event).boxed(),
            Lines::Read { lines, is_all: false } => stream::iter(lines).map(event).boxed(),
            Lines::Unread(lines) => self.streamed(lines).chain(end).take(count).map(event).boxed(),
        }
    }

    /// Reads on a thread of its own, so that neither a slow pipe nor one without a line holds up the runtime or
    /// the end of the process.
    fn streamed(&self, lines: InputLines) -> impl Stream<Item = Line> + Send + use<> {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let progress = Arc::clone(&self.progress);
        std::thread::spawn(move || send(lines, &progress, &sender));
        let progress = Arc::clone(&self.progress);
        let batches = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|batch: Batch| (stream::iter(batch), receiver))
        });
        batches.flatten().filter_map(move |next| {
            let line = match next {
                Ok(LineOrReject::Line(line)) => Some(line),
                Ok(LineOrReject::TooLong(too_long)) => {
                    reject(&progress, &too_long);
                    None
                }
                Err(error) => {
                    lock(&progress).failed = Some(error);
                    None
                }
            };
            std::future::ready(line)
        })
    }

    /// The end of the input after a run that published its lines up to this number.
    pub(super) fn end(&self, published_to: u64) -> InputEnd {
        let progress = lock(&self.progress);
        let file = progress.files.iter().rev().find(|(before, _)| *before < published_to);
        let place = file.map_or_else(
            || "the first line".to_owned(),
            |(before, file)| format!("line {} of {file}", output::count(published_to - before)),
        );
        InputEnd {
            done: published_to,
            place,
            rejected: progress.rejected,
            failed: progress.failed.as_ref().map(ToString::to_string),
            is_at_end: progress.is_at_end,
        }
    }
}

/// Returns whether this path stands for stdin.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn check(path: &Path) -> Result<(), CliError> {
    let failed =
        |error: std::io::Error| CliError::usage(format!("could not read {}: {error}", path.display()));
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if kind.is_dir() {
        let error = format!("could not read {}: it is a folder", path.display());
        return Err(CliError::usage(error).hint("name its files: --from takes several"));
    }
    // Opening a pipe twice would end its writer.
    if kind.is_file() { std::fs::File::open(path).map(drop).map_err(failed) } else { Ok(()) }
}

/// Sends the lines in batches, until the end, an error, or a receiver that wants no more. A batch is sent
/// before a read that may wait.
fn send(mut lines: InputLines, progress: &Mutex<Progress>, sender: &mpsc::Sender<Batch>) {
    let (mut batch, mut bytes) = (Batch::new(), 0);
    loop {
        let next = lines.next();
        lock(progress).files = lines.files().to_vec();
        let is_last = !matches!(next, Some(Ok(_)));
        bytes += next.as_ref().map_or(0, |next| next.as_ref().map_or(0, LineOrReject::bytes));
        batch.extend(next);
        if (is_last || bytes >= BATCH_BYTES || lines.may_wait()) && !batch.is_empty() {
            if sender.blocking_send(std::mem::take(&mut batch)).is_err() {
                return;
            }
            bytes = 0;
        }
        if is_last {
            return;
        }
    }
}

fn reject(progress: &Mutex<Progress>, too_long: &TooLong) {
    lock(progress).rejected += 1;
    stderr::error(too_long, None);
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
