//! `ecom_facts export --format parquet`: a folder of files, each with one range of the table, several read at once.
//!
//! A file gets its name when it is complete and on disk, so that a run that was killed is continued by the same
//! command: it exports the ranges that have no file yet. The ranges are kept in the folder, because those of a
//! later run could differ. Names that begin with `_` or `.` are ignored by what reads a folder of Parquet files.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde::{Deserialize, Serialize};

use super::parquet::{Columns, begin, write};
use super::row::SupersededRow;
use crate::cli::{ExportArgs, ExportTable};
use crate::context::Context;
use crate::exit::{CliError, Exit};
use crate::inspect::Progress;
use crate::output;
use crate::render::counted;
use crate::wiring::{self, DataFolder};
use ecom_store::{FactRange, FactStore, StoreError};
use ecom_telemetry::stderr;

/// The file with the ranges, locked while a process exports.
const STATE: &str = "_export.json";
/// The file that says that no part is missing.
const FINISHED: &str = "_SUCCESS";
/// The most parts of a table.
const PARTS: u32 = 16;
/// Parts that are exported at once.
const AT_ONCE: usize = 4;
/// Rows in a row group, and in memory for each part.
const GROUP: usize = 25_000;

/// The identity of an export.
#[derive(PartialEq, Serialize, Deserialize)]
struct State {
    store: String,
    table: String,
    /// The ranges of the parts, in their order.
    ranges: Vec<[i64; 2]>,
}

/// A folder that this process exports to.
struct Folder {
    path: PathBuf,
    ranges: Vec<FactRange>,
    /// Locked until dropped.
    _state: File,
}

/// Runs `ecom_facts export --format parquet`.
pub(super) async fn export(context: &Context, args: &ExportArgs) -> Result<Exit, CliError> {
    let path = args.out.clone().ok_or_else(|| CliError::usage("--format parquet needs --out FOLDER"))?;
    let store = wiring::store(context, DataFolder::MustExist).await?;
    let facts = store.facts.as_ref();
    let folder = Folder::open(path, facts, args.table).await?;
    let exported = async {
        match args.table {
            ExportTable::Facts => folder.fill(|range| facts.facts_in(range)).await,
            ExportTable::Superseded => folder.fill(|_| SupersededRow::all(facts)).await,
        }
    };
    let again = "run the same command again to continue where it stopped";
    let (rows, there) = tokio::select! {
        biased;
        () = context.stop.cancelled() => {
            return Err(CliError::failed("stopped before everything was exported").hint(again));
        }
        exported = exported => exported.map_err(|error| error.hint(again))?,
    };
    let there = if there > 0 { format!(", {there} of them by an earlier run") } else { String::new() };
    let files = counted(folder.ranges.len() as u64, "file");
    let shown = folder.path.display();
    stderr::say(format_args!("exported {} rows to {files} in {shown}{there}", output::count(rows)));
    Ok(Exit::Done)
}

impl Folder {
    /// Opens a folder that is new, empty, or has an unfinished export of the same table.
    async fn open(path: PathBuf, facts: &dyn FactStore, table: ExportTable) -> Result<Self, CliError> {
        fs::create_dir_all(&path).map_err(|error| failed("create", &path, &error))?;
        let others = others(&path)?;
        let state = path.join(STATE);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&state);
        let file = file.as_mut().map_err(|error| failed("open", &state, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CliError::failed(format!("another process exports to {}", path.display())));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &state, &error)),
        }
        let elsewhere = "name another folder with --out, or delete this one";
        if path.join(FINISHED).exists() {
            let error = format!("the export in {} is complete", path.display());
            return Err(CliError::usage(error).hint(elsewhere));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| failed("read", &state, &error))?;
        let table = match table {
            ExportTable::Facts => "facts",
            ExportTable::Superseded => "superseded",
        };
        let found = match serde_json::from_str::<State>(&text) {
            Ok(found) if found.store == facts.describe() && found.table == table => found,
            Ok(State { store, table, .. }) => {
                let error = format!("{} has an export of {table} in {store}", path.display());
                return Err(CliError::usage(error).hint(elsewhere));
            }
            // A new folder, or a process that was killed before it began.
            Err(_) if others == 0 => {
                let ranges = match table {
                    "facts" => facts.fact_ranges(PARTS).await?,
                    _ => FactRange::ending_at([]),
                };
                let ranges = ranges.into_iter().map(|range| [range.after, range.through]).collect();
                let new = State { store: facts.describe(), table: table.to_owned(), ranges };
                let text = serde_json::to_string(&new)?;
                let written = file.rewind().and_then(|()| file.set_len(0));
                let written = written.and_then(|()| file.write_all(text.as_bytes()));
                written.and_then(|()| file.sync_all()).map_err(|error| failed("write", &state, &error))?;
                new
            }
            Err(_) => {
                let error = format!("{} has other files than those of an export", path.display());
                return Err(CliError::usage(error).hint("name an empty or a new folder with --out"));
            }
        };
        let ranges = found.ranges.iter().map(|&[after, through]| FactRange { after, through }).collect();
        let file = file.try_clone().map_err(|error| failed("open", &state, &error))?;
        Ok(Self { path, ranges, _state: file })
    }

    /// Exports the parts that are missing. Returns the number of all rows, and of the parts that were there.
    async fn fill<'f, T: Columns + Send>(
        &self,
        read: impl Fn(FactRange) -> BoxStream<'f, Result<T, StoreError>>,
    ) -> Result<(u64, usize), CliError> {
        let mut missing = Vec::new();
        let mut rows_there = 0;
        for (nth, range) in self.ranges.iter().enumerate() {
            match rows_of(&self.part(nth)) {
                Some(rows) => rows_there += rows,
                None => missing.push((nth, *range)),
            }
        }
        let there = self.ranges.len() - missing.len();
        let progress = Progress::of_parts(self.ranges.len() as u64, there as u64);
        let (rows, parts) = (AtomicU64::new(rows_there), AtomicU64::new(there as u64));
        let seen = |more: usize, done: u64| {
            let rows = rows.fetch_add(more as u64, Ordering::Relaxed) + more as u64;
            progress.parts_done(parts.fetch_add(done, Ordering::Relaxed) + done, rows);
        };
        let writing = missing.into_iter().map(|(nth, range)| self.write_part(nth, read(range), &seen));
        let written = stream::iter(writing).buffer_unordered(AT_ONCE).try_collect::<()>().await;
        progress.done();
        written?;
        let finished = self.path.join(FINISHED);
        File::create(&finished).map_err(|error| failed("create", &finished, &error))?;
        Ok((rows.into_inner(), there))
    }

    /// Writes a part under another name, and renames it once it is on disk.
    async fn write_part<T: Columns>(
        &self,
        nth: usize,
        rows: BoxStream<'_, Result<T, StoreError>>,
        seen: &impl Fn(usize, u64),
    ) -> Result<(), CliError> {
        let (part, unfinished) = (self.part(nth), self.path.join(format!(".part-{nth:05}.unfinished")));
        let file = File::create(&unfinished).map_err(|error| failed("create", &unfinished, &error))?;
        let not_written = |error: ParquetError| failed("write", &unfinished, &error);
        let mut writer = begin::<T, File>(file).map_err(not_written)?;
        let mut groups = rows.try_chunks(GROUP);
        while let Some(group) = groups.next().await {
            let group = group.map_err(|error| CliError::from(error.1))?;
            write(&mut writer, &group).map_err(not_written)?;
            seen(group.len(), 0);
        }
        let file = writer.into_inner().map_err(not_written)?;
        file.sync_all().map_err(|error| failed("write", &unfinished, &error))?;
        fs::rename(&unfinished, &part).map_err(|error| failed("create", &part, &error))?;
        seen(0, 1);
        Ok(())
    }

    fn part(&self, nth: usize) -> PathBuf {
        self.path.join(format!("part-{nth:05}.parquet"))
    }
}

/// Returns the number of rows in a part; `None` where it is missing.
fn rows_of(part: &Path) -> Option<u64> {
    let reader = SerializedFileReader::new(File::open(part).ok()?).ok()?;
    u64::try_from(reader.metadata().file_metadata().num_rows()).ok()
}

/// Returns the number of files in a folder that are not of an unfinished export without a part.
fn others(folder: &Path) -> Result<usize, CliError> {
    let entries = fs::read_dir(folder).map_err(|error| failed("read", folder, &error))?;
    Ok(entries.flatten().filter(|entry| entry.file_name() != STATE).count())
}

fn failed(what: &str, path: &Path, error: &dyn std::error::Error) -> CliError {
    CliError::failed(format!("could not {what} {}: {error}", path.display()))
}
