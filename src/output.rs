//! Data on stdout or in a file. A closed pipe is success.

use std::ffi::{OsStr, OsString};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use terminal_size::{Height, Width};

use super::cli::Common;
use super::exit::CliError;
use crate::render::command::Command;
pub(crate) use crate::render::count;
use crate::render::screen::Screen;
pub(crate) use crate::render::table::list;

/// The reader of stdout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reader {
    /// It may read more.
    Reads,
    /// It has closed the pipe.
    Closed,
}

/// The screen of a text for stdout: its terminal's; unlimited if stdout is no terminal.
pub(crate) fn screen() -> Screen {
    terminal().map_or(Screen::UNLIMITED, |(columns, _)| Screen::of_columns(columns))
}

/// The screen of a text for a file, or for stdout.
pub(crate) fn screen_of(file: Option<&Path>) -> Screen {
    if file.is_some() { Screen::UNLIMITED } else { screen() }
}

/// The screen of a text for stderr.
pub(crate) fn stderr_screen() -> Screen {
    let size = terminal_size::terminal_size_of(std::io::stderr());
    size.map_or(Screen::UNLIMITED, |(Width(columns), _)| Screen::of_columns(columns.into()))
}

/// The columns and rows of the terminal that stdout is; `None` if it is none.
pub(crate) fn terminal() -> Option<(usize, usize)> {
    let (Width(columns), Height(rows)) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some((columns.into(), rows.into())).filter(|(columns, _)| *columns > 0)
}

/// Writes data to stdout.
pub(crate) fn data(text: &str) -> Result<(), CliError> {
    data_to_reader(text).map(|_| ())
}

/// Writes data to stdout, for a command that writes again and again for as long as somebody reads.
pub(crate) fn data_to_reader(text: &str) -> Result<Reader, CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Closed),
        Err(error) => Err(CliError::failed(format!("could not write to stdout: {error}"))),
    }
}

/// Writes data to a file, or to stdout.
pub(crate) fn to(file: Option<&Path>, text: &str) -> Result<(), CliError> {
    match file {
        None => data(text),
        Some(path) => std::fs::write(path, text)
            .map_err(|error| CliError::failed(format!("could not write {}: {error}", path.display()))),
    }
}

/// Opens a file, or stdout, to stream data to.
pub(crate) fn sink(file: Option<&Path>) -> Result<BufWriter<Box<dyn Write>>, CliError> {
    let sink: Box<dyn Write> = match file {
        None => Box::new(std::io::stdout().lock()),
        Some(path) => Box::new(
            std::fs::File::create(path)
                .map_err(|error| CliError::failed(format!("could not create {}: {error}", path.display())))?,
        ),
    };
    Ok(BufWriter::new(sink))
}

/// A command on the same bus and store, as a shell in this folder runs it.
pub(crate) fn spelt(wanted: &Command, common: &Common) -> String {
    let mut text = command(wanted.binary, common);
    for word in &wanted.words {
        text.push(' ');
        text.push_str(&quoted(word));
    }
    text
}

/// A sibling binary on the same bus and store, as a shell in this folder runs it: by its path, or through
/// cargo if it was not built.
pub(crate) fn command(binary: &str, common: &Common) -> String {
    let mut command = runnable(binary);
    for flag in common.places() {
        command.push(' ');
        command.push_str(&quoted(&flag));
    }
    command
}

/// The features of this binary as arguments of cargo, so that a sibling shares the compiled crates.
const FEATURES: &str = if cfg!(all(feature = "pubsub", feature = "cassandra", feature = "embedded")) {
    ""
} else if cfg!(feature = "embedded") {
    "--package ecom --no-default-features --features embedded "
} else {
    ""
};

fn runnable(binary: &str) -> String {
    let through_cargo = format!("cargo run --release {FEATURES}--bin {binary} --");
    let Ok(own) = std::env::current_exe() else { return through_cargo };
    let sibling = own.with_file_name(format!("{binary}{}", std::env::consts::EXE_SUFFIX));
    if !sibling.is_file() {
        return through_cargo;
    }
    if is_found_by_name(&sibling) {
        return binary.to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    let path = sibling.strip_prefix(here).unwrap_or(&sibling);
    // A shell looks a bare name up in PATH.
    let from = if path.components().count() == 1 { "./" } else { "" };
    let mut runnable = OsString::from(from);
    runnable.push(path);
    quoted(runnable)
}

/// Returns whether a shell finds this file by its bare name.
fn is_found_by_name(file: &Path) -> bool {
    let (Some(name), Some(path)) = (file.file_name(), std::env::var_os("PATH")) else { return false };
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|found| found.is_file());
    found.is_some_and(|found| found.canonicalize().ok() == file.canonicalize().ok())
}

/// A word, quoted for a shell if needed. Bytes that are not UTF-8 are escaped as bash, zsh and ksh read them.
pub(crate) fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    let Some(text) = word.to_str() else {
        let escape = |chunk: std::str::Utf8Chunk<'_>| {
            let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
            let valid = chunk.valid().replace('\\', "\\\\").replace('\'', "\\'");
            valid + &invalid.collect::<String>()
        };
        return format!("$'{}'", word.as_encoded_bytes().utf8_chunks().map(escape).collect::<String>());
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("config/local.toml"), "config/local.toml");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            assert_eq!(quoted(OsStr::from_bytes(b"a\xff'\\b")), r"$'a\xff\'\\b'");
        }
    }
}
