//! Creates the schema, topics and subscriptions of an embedded file.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::options::Route;

/// The schema version of `schema.sql`, kept in the file's `user_version`.
pub(super) const VERSION: i64 = 6;
/// The `user_version` of a file without a schema.
const EMPTY: i64 = 0;

const SCHEMA: &str = include_str!("schema.sql");

/// Creates the schema in an empty file, and those of `routes` that do not exist, in one transaction.
/// Writes nothing where everything exists, or where the file has another schema version. Returns the
/// file's schema version.
pub(super) fn provision(connection: &mut Connection, routes: &[Route]) -> rusqlite::Result<i64> {
    let found = version(connection)?;
    let is_complete = found == VERSION && all_exist(connection, routes)?;
    if is_complete || !matches!(found, EMPTY | VERSION) {
        return Ok(found);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have created the schema since.
    match version(&transaction)? {
        EMPTY => {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        VERSION => {}
        other => return Ok(other),
    }
    for route in routes {
        create(&transaction, route)?;
    }
    transaction.commit()?;
    Ok(VERSION)
}

/// Returns the row id of a topic.
pub(super) fn topic(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM topics WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
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
        assert_eq!(version(&connection).unwrap(), EMPTY);
        for _ in 0..2 {
            assert_eq!(provision(&mut connection, &[Route::new("a", "a-sub")]).unwrap(), VERSION);
        }
        for other in [VERSION - 1, VERSION + 1] {
            connection.pragma_update(None, "user_version", other).unwrap();
            assert_eq!(provision(&mut connection, &[Route::new("b", "b-sub")]).unwrap(), other);
            assert_eq!(topic(&connection, "b").unwrap(), None);
        }
    }

    #[test]
    fn the_dead_letters_of_an_order_are_found_by_the_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        provision(&mut connection, &[]).unwrap();
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
