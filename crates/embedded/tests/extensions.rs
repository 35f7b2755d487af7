//! Tables of other crates in the file: who creates them, who is refused, and how their statements run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use ecom_embedded::rusqlite::{self, Connection};
use ecom_embedded::{FILE_NAME, OpenError, Options, Route, SchemaExtension, open};
use ecom_store::StoreError;
use futures_util::TryStreamExt;

const NOTES: SchemaExtension = SchemaExtension {
    name: "note",
    version: 3,
    sql: "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
        CREATE INDEX notes_by_text ON notes (text);",
};
const OTHERS: SchemaExtension =
    SchemaExtension { name: "other", version: 1, sql: "CREATE TABLE others (id INTEGER PRIMARY KEY)" };

fn with(extensions: &[SchemaExtension]) -> Options {
    Options {
        extensions: extensions.to_vec(),
        busy_timeout: Duration::from_secs(10),
        ..Options::new(vec![Route::new("a", "a-sub")])
    }
}

fn existing_with(extensions: &[SchemaExtension]) -> Options {
    Options {
        extensions: extensions.to_vec(),
        busy_timeout: Duration::from_millis(20),
        ..Options::existing()
    }
}

fn raw(dir: &Path) -> Connection {
    let connection = Connection::open(dir.join(FILE_NAME)).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

fn number(dir: &Path, sql: &str) -> i64 {
    raw(dir).query_row(sql, [], |row| row.get(0)).unwrap()
}

fn objects(dir: &Path) -> i64 {
    number(dir, "SELECT count(*) FROM sqlite_schema")
}

/// Opens the file with the extensions from several threads at once, and without them from one.
fn open_at_once(dir: &Path) {
    std::thread::scope(|scope| {
        let own: [&[SchemaExtension]; 4] = [&[NOTES, OTHERS], &[OTHERS, NOTES], &[NOTES], &[]];
        let opened: Vec<_> =
            (0..8).map(|n| scope.spawn(move || open(dir, with(own[n % own.len()])).map(drop))).collect();
        for process in opened {
            process.join().unwrap().unwrap();
        }
    });
    let recorded = "SELECT group_concat(name || version) = 'note3,other1' FROM schema_extensions";
    assert_eq!(number(dir, recorded), 1);
    assert_eq!(number(dir, "SELECT count(*) FROM notes"), 0);
    assert_eq!(number(dir, "SELECT count(*) FROM others"), 0);
}

#[test]
fn of_concurrent_openers_of_no_file_one_creates_the_extension_and_none_fails() {
    let dir = tempfile::tempdir().unwrap();
    open_at_once(&dir.path().join("data"));
}

#[test]
fn of_concurrent_openers_of_a_file_without_the_extension_one_creates_it_and_none_fails() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), with(&[])).unwrap());
    let base = objects(dir.path());
    open_at_once(dir.path());
    assert_eq!(objects(dir.path()), base + 3, "two tables and an index");
}

#[tokio::test]
async fn a_process_without_the_extension_goes_on_when_another_creates_it() {
    let dir = tempfile::tempdir().unwrap();
    let older = open(dir.path(), with(&[])).unwrap();
    let count = |connection: &Connection| {
        connection.prepare_cached("SELECT count(*) FROM facts")?.query_row([], |row| row.get::<_, i64>(0))
    };
    let insert =
        |connection: &Connection| connection.prepare_cached("INSERT INTO facts DEFAULT VALUES")?.execute([]);
    older.write("write a fact", insert).await.unwrap();
    assert_eq!(older.read("count the facts", count).await.unwrap(), 1);
    let newer = open(dir.path(), with(&[NOTES])).unwrap();
    older.write("write a fact", insert).await.unwrap();
    assert_eq!(older.read("count the facts", count).await.unwrap(), 2);
    assert_eq!(newer.read("count the facts", count).await.unwrap(), 2);
}

#[test]
fn another_version_of_an_extension_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), with(&[NOTES])).unwrap());
    let before = objects(dir.path());
    for version in [NOTES.version - 1, NOTES.version + 1] {
        let other = SchemaExtension { version, sql: "CREATE TABLE more (id)", ..NOTES };
        for options in [existing_with(&[other]), with(&[OTHERS, other])] {
            let error = open(dir.path(), options).unwrap_err();
            let OpenError::ExtensionVersion { extension, found, expected, .. } = error else {
                panic!("{error}")
            };
            assert_eq!((extension, found, expected), (NOTES.name, NOTES.version, version));
            let text = error.to_string();
            let start =
                format!("{} has version 3 of the note tables, but", dir.path().join(FILE_NAME).display());
            assert!(text.starts_with(&start) && text.contains("move the file away"), "{text}");
        }
    }
    assert_eq!(objects(dir.path()), before, "nothing is created beside it");
    assert!(open(dir.path(), with(&[])).is_ok(), "who does not use it is not refused");
}

#[test]
fn a_file_without_the_extension_is_told_apart_and_left_alone_where_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), with(&[OTHERS])).unwrap());
    let before = objects(dir.path());
    // It needs no lock.
    let stopped = raw(dir.path());
    stopped.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = open(dir.path(), existing_with(&[OTHERS, NOTES])).unwrap_err();
    assert!(matches!(error, OpenError::MissingExtension { extension: "note", .. }), "{error}");
    let file = dir.path().join(FILE_NAME);
    let text = "has no note tables: no program that uses them has opened it yet";
    assert_eq!(error.to_string(), format!("{} {text}", file.display()));
    assert!(open(dir.path(), existing_with(&[OTHERS])).is_ok());
    stopped.execute_batch("COMMIT").unwrap();
    assert_eq!(objects(dir.path()), before);
}

#[test]
fn an_empty_file_stays_empty_where_the_extension_is_not_created() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE_NAME), "").unwrap();
    let error = open(dir.path(), existing_with(&[NOTES])).unwrap_err();
    assert!(matches!(error, OpenError::MissingExtension { .. }), "{error}");
    assert_eq!((objects(dir.path()), number(dir.path(), "PRAGMA user_version")), (0, 0));
}

#[test]
fn where_an_extension_cannot_be_created_nothing_is() {
    let dir = tempfile::tempdir().unwrap();
    let broken = SchemaExtension { sql: "CREATE TABLE notes (id); CREATE TABLE notes (id)", ..NOTES };
    let error = open(dir.path(), with(&[OTHERS, broken])).unwrap_err();
    assert!(error.to_string().contains("table notes already exists"), "{error}");
    assert_eq!((objects(dir.path()), number(dir.path(), "PRAGMA user_version")), (0, 0));
    drop(open(dir.path(), with(&[OTHERS, NOTES])).unwrap());
}

#[tokio::test]
async fn statements_of_another_crate_run_in_the_engine_and_fail_alone() {
    let dir = tempfile::tempdir().unwrap();
    let process = open(dir.path(), with(&[NOTES])).unwrap();
    let insert = |id: i64| {
        move |connection: &Connection| {
            connection.execute("INSERT INTO notes VALUES (?1, 'n')", [id])?;
            connection.execute("UPDATE notes SET text = text || id WHERE id = ?1", [id])
        }
    };
    let (first, again, second) = tokio::join!(
        process.write("write a note", insert(1)),
        process.write("write a note", insert(1)),
        process.write("write a note", insert(2)),
    );
    assert_eq!((first.unwrap(), second.unwrap()), (1, 1));
    let error = again.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("refused to write a note: UNIQUE constraint failed"), "{error}");
    let read = |connection: &Connection, after: &i64| -> rusqlite::Result<VecDeque<(i64, String)>> {
        connection
            .prepare_cached("SELECT id, text FROM notes WHERE id > ?1 ORDER BY id LIMIT 1")?
            .query_map([after], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    };
    let notes: Vec<(i64, String)> =
        process.pages("read the notes", 0, read, |(id, _)| *id).try_collect().await.unwrap();
    assert_eq!(notes, [(1, "n1".to_owned()), (2, "n2".to_owned())]);
    let number = |connection: &Connection| {
        connection.query_row("SELECT text FROM notes", [], |row| row.get::<_, i64>(0))
    };
    let error = process.read("read a note", number).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
}
