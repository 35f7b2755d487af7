//! The comparison of a cluster's schema with `schema.cql`.

use std::fmt;

use scylla::client::session::Session;

use super::errors::StatementError;
use super::schema::{Column, ColumnKind, Schema, Table};
use super::settings::CassandraSettings;
use ecom_store::StoreError;

/// A difference between `schema.cql` and a cluster. Names include keyspace and table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SchemaDifference {
    /// The keyspace does not exist, or the login may not see it.
    MissingKeyspace(String),
    /// The table does not exist.
    MissingTable(String),
    /// The column does not exist.
    MissingColumn {
        /// Keyspace, table and column.
        name: String,
        /// The type in `schema.cql`.
        wanted: String,
        /// Its kind; a column of the primary key cannot be added to a table.
        kind: ColumnKind,
    },
    /// The column has another type, or is of another kind.
    DifferentColumn {
        /// Keyspace, table and column.
        name: String,
        /// Type and kind in `schema.cql`.
        wanted: String,
        /// Type and kind in the cluster.
        found: String,
    },
}

impl fmt::Display for SchemaDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingKeyspace(name) => write!(f, "keyspace {name} is missing"),
            Self::MissingTable(name) => write!(f, "table {name} is missing"),
            Self::MissingColumn { name, .. } => write!(f, "column {name} is missing"),
            Self::DifferentColumn { name, wanted, found } => {
                write!(f, "column {name} is {found}, not {wanted}")
            }
        }
    }
}

impl SchemaDifference {
    /// Returns whether it is about this table, named with its keyspace.
    pub(super) fn is_of(&self, table: &str) -> bool {
        match self {
            Self::MissingKeyspace(_) => false,
            Self::MissingTable(name) => name == table,
            Self::MissingColumn { name, .. } | Self::DifferentColumn { name, .. } => {
                name.rsplit_once('.').is_some_and(|(of, _)| of == table)
            }
        }
    }
}

/// Returns the differences between `schema.cql` and the cluster. Additional columns are allowed.
pub(super) async fn differences(
    session: &Session,
    settings: &CassandraSettings,
) -> Result<Vec<SchemaDifference>, StoreError> {
    const KEYSPACE: &str = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    const COLUMNS: &str =
        "SELECT table_name, column_name, type, kind FROM system_schema.columns WHERE keyspace_name = ?";
    let keyspace = settings.keyspace.as_str();
    let read = async {
        let found = session.query_unpaged(KEYSPACE, (keyspace,)).await?.into_rows_result()?;
        if found.rows_num() == 0 {
            return Ok(vec![SchemaDifference::MissingKeyspace(keyspace.to_owned())]);
        }
        let found = session.query_unpaged(COLUMNS, (keyspace,)).await?.into_rows_result()?;
        let found = found.rows::<FoundColumn>()?.collect::<Result<Vec<_>, _>>()?;
        Ok::<_, StatementError>(
            Schema::read().tables.iter().flat_map(|table| compare(keyspace, table, &found)).collect(),
        )
    };
    read.await.map_err(|error| error.at("read the schema", &settings.name()))
}

/// Table, column, type and kind, as in `system_schema.columns`.
type FoundColumn = (String, String, String, String);

/// Returns the differences of one table.
fn compare(keyspace: &str, table: &Table, found: &[FoundColumn]) -> Vec<SchemaDifference> {
    let name = format!("{keyspace}.{}", table.name);
    if !found.iter().any(|(of, ..)| *of == table.name) {
        return vec![SchemaDifference::MissingTable(name)];
    }
    let difference = |column: &Column| {
        let name = format!("{name}.{}", column.name);
        let present = found.iter().find(|(of, called, ..)| *of == table.name && *called == column.name);
        let Some((_, _, cql_type, kind)) = present else {
            return Some(SchemaDifference::MissingColumn {
                name,
                wanted: column.cql_type.clone(),
                kind: column.kind,
            });
        };
        (*cql_type != column.cql_type || kind != column.kind.as_str()).then(|| {
            SchemaDifference::DifferentColumn {
                name,
                wanted: format!("{} ({})", column.cql_type, column.kind.as_str()),
                found: format!("{cql_type} ({kind})"),
            }
        })
    };
    table.columns.iter().filter_map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &Table) -> Vec<FoundColumn> {
        let row = |column: &Column| {
            (
                table.name.clone(),
                column.name.clone(),
                column.cql_type.clone(),
                column.kind.as_str().to_owned(),
            )
        };
        table.columns.iter().map(row).collect()
    }

    #[test]
    fn missing_and_different_columns_are_named_and_additional_columns_are_not() {
        let schema = Schema::read();
        let table = schema.table("orders_payments_facts").expect("the fact table");
        let mut columns = found(table);
        columns.push((table.name.clone(), "loyalty".into(), "text".into(), "regular".into()));
        assert_eq!(compare("k", table, &columns), []);
        columns.retain(|(_, name, ..)| name != "item");
        columns[1].2 = "text".into();
        let differences: Vec<String> =
            compare("k", table, &columns).iter().map(ToString::to_string).collect();
        assert_eq!(
            differences,
            [
                "column k.orders_payments_facts.customer_id is text (regular), not bigint (regular)",
                "column k.orders_payments_facts.item is missing",
            ]
        );
        assert_eq!(
            compare("k", table, &[]),
            [SchemaDifference::MissingTable("k.orders_payments_facts".into())]
        );
    }

    #[test]
    fn a_static_column_is_not_one_of_rows() {
        let schema = Schema::read();
        let table = schema.table("shop_products").expect("the products");
        let mut columns = found(table);
        assert_eq!(compare("k", table, &columns), []);
        let version = columns.iter_mut().find(|(_, name, ..)| name == "version").expect("a static column");
        version.3 = "regular".into();
        let differences: Vec<String> =
            compare("k", table, &columns).iter().map(ToString::to_string).collect();
        assert_eq!(differences, ["column k.shop_products.version is bigint (regular), not bigint (static)"]);
    }
}
