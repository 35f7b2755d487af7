//! Creates the schema, its extensions, and topics and subscriptions of an embedded file.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::extension::SchemaExtension;
use super::options::{Absent, Options, Route};

/// The schema version of `schema.sql`, kept in the file's `user_version`.
pub(super) const VERSION: i64 = 7;
/// The `user_version` of a file without a schema.
const EMPTY: i64 = 0;

const SCHEMA: &str = include_str!("schema.sql");

/// The reason that a file was not provisioned.
#[derive(Debug)]
pub(super) enum ProvisionError {
    /// The error of `SQLite`.
    Sqlite(rusqlite::Error),
    /// The file has another schema version.
    SchemaVersion { found: i64 },
    /// The file lacks an extension, which the options do not create.
    MissingExtension(SchemaExtension),
    /// The file has another version of an extension.
    ExtensionVersion { extension: SchemaExtension, found: i64 },
}

impl From<rusqlite::Error> for ProvisionError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Creates the schema in an empty file, and those extensions and routes of the options that do not exist, in
/// one transaction. Writes nothing where everything exists, and where it fails.
pub(super) fn provision(connection: &mut Connection, options: &Options) -> Result<(), ProvisionError> {
    if has_schema(connection)?
        && absent_extensions(connection, options)?.is_empty()
        && all_exist(connection, &options.routes)?
    {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have created some of it since.
    if !has_schema(&transaction)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    for extension in absent_extensions(&transaction, options)? {
        transaction.execute_batch(extension.sql)?;
        transaction.execute(
            "INSERT INTO schema_extensions (name, version) VALUES (?1, ?2)",
            (extension.name, extension.version),
        )?;
    }
    for route in &options.routes {
        create(&transaction, route)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Returns whether the file has the schema; false for an empty file.
fn has_schema(connection: &Connection) -> Result<bool, ProvisionError> {
    match connection.query_row("PRAGMA user_version", [], |row| row.get(0))? {
        EMPTY => Ok(false),
        VERSION => Ok(true),
        found => Err(ProvisionError::SchemaVersion { found }),
    }
}

/// Returns the extensions of the options that are to be created.
fn absent_extensions<'o>(
    connection: &Connection,
    options: &'o Options,
) -> Result<Vec<&'o SchemaExtension>, ProvisionError> {
    let mut absent = Vec::new();
    for extension in &options.extensions {
        let found = connection
            .prepare_cached("SELECT version FROM schema_extensions WHERE name = ?1")?
            .query_row([extension.name], |row| row.get::<_, i64>(0))
            .optional()?;
        match (found, options.absent) {
            (Some(found), _) if found == extension.version => {}
            (Some(found), _) => {
                return Err(ProvisionError::ExtensionVersion { extension: *extension, found });
            }
            (None, Absent::Create) => absent.push(extension),
            (None, Absent::Refuse) => return Err(ProvisionError::MissingExtension(*extension)),
        }
    }
    Ok(absent)
}

/// Returns the row id of a topic.
pub(super) fn topic(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM topics WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn all_exist(connection: &Connection, routes: &[Route]) -> rusqlite::Result<bool> {
    for route in routes {
        let exists = match &route.subscription {
            None => topic(connection, &route.topic)?.is_some(),
            Some(name) => connection
                .prepare_cached(
                    "SELECT 1 FROM subscriptions JOIN topics ON topics.id = topic
                     WHERE subscriptions.name = ?1 AND topics.name = ?2",
                )?
                .exists([name, &route.topic])?,
        };
        if !exists {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Creates a topic and its subscription; the subscription receives what is published from now on.
fn create(connection: &Connection, route: &Route) -> rusqlite::Result<()> {
    connection.execute("INSERT OR IGNORE INTO topics (name) VALUES (?1)", [&route.topic])?;
    if let Some(subscription) = &route.subscription {
        connection.execute(
            "INSERT OR IGNORE INTO subscriptions (name, topic, cursor)
             SELECT ?1, id, last_message FROM topics WHERE name = ?2",
            [subscription, &route.topic],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_created_once_and_another_schema_version_is_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(!has_schema(&connection).unwrap());
        for _ in 0..2 {
            provision(&mut connection, &Options::new(vec![Route::new("a", "a-sub")])).unwrap();
            assert!(has_schema(&connection).unwrap());
        }
        for other in [VERSION - 1, VERSION + 1] {
            connection.pragma_update(None, "user_version", other).unwrap();
            let error = provision(&mut connection, &Options::new(vec![Route::new("b", "b-sub")]));
            assert!(
                matches!(error, Err(ProvisionError::SchemaVersion { found }) if found == other),
                "{error:?}"
            );
            assert_eq!(topic(&connection, "b").unwrap(), None);
        }
    }

    #[test]
    fn an_extension_that_another_process_creates_meanwhile_is_not_created_again() {
        const NOTES: SchemaExtension =
            SchemaExtension { name: "note", version: 1, sql: "CREATE TABLE notes (id INTEGER PRIMARY KEY)" };
        for version in [NOTES.version, NOTES.version + 1] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("file");
            let mut connection = Connection::open(&file).unwrap();
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
            provision(&mut connection, &Options::new(Vec::new())).unwrap();
            let other = Connection::open(&file).unwrap();
            other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE notes (id)").unwrap();
            other.execute("INSERT INTO schema_extensions VALUES ('note', ?1)", [version]).unwrap();
            // It commits once this process waits for the lock.
            connection.busy_handler(Some(move |_| other.execute_batch("COMMIT").is_ok())).unwrap();
            let options = Options { extensions: vec![NOTES], ..Options::new(Vec::new()) };
            match provision(&mut connection, &options) {
                Ok(()) => assert_eq!(version, NOTES.version),
                Err(ProvisionError::ExtensionVersion { found, .. }) => assert_eq!(found, NOTES.version + 1),
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    #[test]
    fn the_dead_letters_of_an_order_are_found_by_the_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        provision(&mut connection, &Options::new(Vec::new())).unwrap();
        let plan = format!("EXPLAIN QUERY PLAN {}", super::super::dead_letters::page_of_order());
        let plan: Vec<String> = connection
            .prepare(&plan)
            .unwrap()
            .query_map((1, 2, "x", 3), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(plan[0].contains("USING INDEX dead_letters_by_order (order_id=?"), "{plan:?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
    }
}
