//! stdout is data: tables, JSON, CSV, to stdout or a file. A closed pipe is success.

use std::io::{ErrorKind, Write};
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use super::cli::Common;
use super::exit::Stop;

/// Writes data to stdout.
pub(crate) fn data(text: &str) -> Result<(), Stop> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Stop::failed(format!("could not write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes data to the file, or to stdout where there is none.
pub(crate) fn to(file: Option<&Path>, text: &str) -> Result<(), Stop> {
    match file {
        None => data(text),
        Some(path) => std::fs::write(path, text)
            .map_err(|error| Stop::failed(format!("could not write {}: {error}", path.display()))),
    }
}

/// A plain table: first column to the left, the others to the right.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    trimmed(&table)
}

/// Without the padding before the first column and after the last.
fn trimmed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.trim_fmt().lines() {
        text.push_str(line.strip_prefix(' ').unwrap_or(line).trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one pair a line.
pub(crate) fn list(rows: impl IntoIterator<Item = [String; 2]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        table.add_row(row);
    }
    trimmed(&table)
}

/// How to run a sibling binary from here, on the same bus and store: by its path where it was
/// built, else through cargo.
pub(crate) fn command(binary: &str, common: &Common) -> String {
    let mut command = runnable(binary);
    for flag in common.places() {
        command.push(' ');
        command.push_str(&quoted(&flag));
    }
    command
}

/// The features this binary was built with, as cargo takes them: a sibling built with the same
/// shares everything that was compiled.
const FEATURES: &str = if cfg!(all(feature = "pubsub", feature = "cassandra", feature = "embedded")) {
    ""
} else if cfg!(feature = "embedded") {
    "--no-default-features --features embedded "
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
    let here = std::env::current_dir().unwrap_or_default();
    quoted(&sibling.strip_prefix(here).unwrap_or(&sibling).display().to_string())
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A number with thousands set apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let shown: Vec<String> = [0, 999, 1_000, 1_234_567].into_iter().map(count).collect();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("config/local.toml"), "config/local.toml");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
