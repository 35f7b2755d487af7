//! Data on stdout or in a file. A closed pipe is success.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use super::cli::Common;
use super::exit::CliError;
use crate::render::command::Command;
pub(crate) use crate::render::{count, list, table};

/// The reader of stdout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reader {
    /// It may read more.
    Reads,
    /// It has closed the pipe.
    Closed,
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
    quoted(&format!("{from}{}", path.display()))
}

/// Returns whether a shell finds this file by its bare name.
fn is_found_by_name(file: &Path) -> bool {
    let (Some(name), Some(path)) = (file.file_name(), std::env::var_os("PATH")) else { return false };
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|found| found.is_file());
    found.is_some_and(|found| found.canonicalize().ok() == file.canonicalize().ok())
}

/// A word, quoted for a shell if needed.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("config/local.toml"), "config/local.toml");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
