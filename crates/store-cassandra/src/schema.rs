//! `schema.cql` parsed into its statements, tables and columns.

/// The text of `schema.cql`.
pub(super) const SCHEMA_CQL: &str = include_str!("../../../schema.cql");
/// The keyspace named in `schema.cql` and in the statements.
const KEYSPACE: &str = "ecom_store";

/// The content of `schema.cql`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schema {
    /// The statements in order, without comments and semicolons.
    pub statements: Vec<String>,
    /// The tables they create.
    pub tables: Vec<Table>,
}

/// A table of the schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// The name without the keyspace.
    pub name: String,
    /// The columns in the order of the file.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// The name.
    pub name: String,
    /// The CQL type in lowercase, as `system_schema.columns` spells it.
    pub cql_type: String,
    /// The kind.
    pub kind: ColumnKind,
}

/// The kind of a column: its part in the primary key, or whether it has one value a row or a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnKind {
    /// A partition key column.
    PartitionKey,
    /// A clustering column.
    Clustering,
    /// Not in the primary key, one value a row.
    Regular,
    /// Not in the primary key, one value a partition.
    Static,
}

impl ColumnKind {
    /// Returns the word used in `system_schema.columns`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PartitionKey => "partition_key",
            Self::Clustering => "clustering",
            Self::Regular => "regular",
            Self::Static => "static",
        }
    }
}

impl Schema {
    /// Parses `schema.cql`.
    pub fn read() -> Self {
        let text: String = SCHEMA_CQL.lines().map(without_comment).collect::<Vec<_>>().join("\n");
        let statements: Vec<String> =
            text.split(';').map(str::trim).filter(|cql| !cql.is_empty()).map(str::to_owned).collect();
        let tables = statements.iter().filter_map(|cql| table(cql)).collect();
        Self { statements, tables }
    }

    /// Returns the table with this name; `None` where there is none.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// Replaces the keyspace in `cql`. `keyspace` must be a valid name.
pub(super) fn in_keyspace(cql: &str, keyspace: &str) -> String {
    cql.replace(KEYSPACE, keyspace)
}

/// Replaces the replication map of the CREATE KEYSPACE statement in `cql`.
pub(super) fn with_replication(cql: &str, replication: &str) -> String {
    let before = cql.find("CREATE KEYSPACE").unwrap_or_default();
    let map = cql[before..].find('{').and_then(|from| {
        let from = before + from;
        cql[from..].find('}').map(|until| (from, from + until + 1))
    });
    match map {
        Some((from, until)) => format!("{}{replication}{}", &cql[..from], &cql[until..]),
        None => cql.to_owned(),
    }
}

fn without_comment(line: &str) -> &str {
    line.split_once("--").map_or(line, |(cql, _)| cql)
}

/// Parses a CREATE TABLE statement; `None` for any other statement.
pub(super) fn table(cql: &str) -> Option<Table> {
    let rest = cql.strip_prefix("CREATE TABLE IF NOT EXISTS")?;
    let (name, rest) = rest.split_once('(')?;
    // Table options follow, some of them with parentheses.
    let (body, _options) = rest.split_once("\n)")?;
    let name = name.trim().rsplit('.').next()?.to_owned();
    let mut columns = Vec::new();
    for part in split_top(body) {
        let lower = part.to_lowercase();
        if let Some(key) = lower.strip_prefix("primary key") {
            set_keys(&mut columns, key.trim());
        } else if let Some((name, cql_type)) = lower.split_once(char::is_whitespace) {
            let cql_type = cql_type.trim();
            let of_kind = |words, kind| Some((cql_type.strip_suffix(words)?, kind));
            let (cql_type, kind) = of_kind(" primary key", ColumnKind::PartitionKey)
                .or_else(|| of_kind(" static", ColumnKind::Static))
                .unwrap_or((cql_type, ColumnKind::Regular));
            columns.push(Column { name: name.to_owned(), cql_type: cql_type.trim().to_owned(), kind });
        }
    }
    Some(Table { name, columns })
}

/// Sets the kind of the columns in a primary key `((a, b), c, d)` or `(a, c, d)`.
fn set_keys(columns: &mut [Column], key: &str) {
    let key = key.strip_prefix('(').and_then(|key| key.strip_suffix(')')).unwrap_or(key);
    for (place, part) in split_top(key).into_iter().enumerate() {
        let kind = if place == 0 { ColumnKind::PartitionKey } else { ColumnKind::Clustering };
        for name in part.trim_matches(['(', ')']).split(',').map(str::trim) {
            if let Some(column) = columns.iter_mut().find(|column| column.name == name) {
                column.kind = kind;
            }
        }
    }
}

/// Splits at commas outside of parentheses and angle brackets.
fn split_top(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c: char| {
        match c {
            '(' | '<' => depth += 1,
            ')' | '>' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(table: &str) -> Vec<String> {
        let schema = Schema::read();
        let table = schema.table(table).expect("a table of schema.cql");
        table
            .columns
            .iter()
            .map(|column| format!("{} {} {}", column.name, column.cql_type, column.kind.as_str()))
            .collect()
    }

    #[test]
    fn the_fact_table_has_exactly_its_thirteen_columns() {
        assert_eq!(
            shape("orders_payments_facts"),
            [
                "order_id bigint partition_key",
                "customer_id bigint regular",
                "item text regular",
                "quantity bigint regular",
                "price double regular",
                "shipping_address text regular",
                "order_status text regular",
                "creation_date text regular",
                "payment_id bigint regular",
                "payment_method text regular",
                "card_last_four text regular",
                "payment_status text regular",
                "payment_datetime text regular",
            ]
        );
    }

    #[test]
    fn keys_and_nested_types_are_read() {
        let dead_letters = shape("dead_letters");
        assert_eq!(
            &dead_letters[..3],
            ["day int partition_key", "bucket smallint partition_key", "id text clustering"]
        );
        assert!(dead_letters.contains(&"attributes frozen<map<text, text>> regular".to_owned()));
        let history = shape("dead_letter_history");
        assert_eq!(
            &history[2..5],
            ["id text clustering", "at timestamp clustering", "entry_id text clustering"]
        );
        let partitions =
            ["day int partition_key", "bucket smallint clustering", "registered_at timestamp regular"];
        assert_eq!(shape("dead_letter_partitions"), partitions);
        let by_order = shape("dead_letters_by_order");
        assert_eq!(by_order, ["order_id bigint partition_key", "t bigint clustering", "id text clustering"]);
        assert_eq!(shape("role_heartbeats")[..2], ["role text partition_key", "host text clustering"]);
    }

    #[test]
    fn static_columns_are_told_from_those_of_rows() {
        assert_eq!(
            shape("shop_products"),
            [
                "sku text partition_key",
                "order_id bigint clustering",
                "name text static",
                "price_minor bigint static",
                "currency text static",
                "on_hand bigint static",
                "reserved bigint static",
                "stocked bigint static",
                "version bigint static",
                "quantity bigint regular",
                "state text regular",
            ]
        );
        let by_name =
            table("CREATE TABLE IF NOT EXISTS k.t (static TEXT PRIMARY KEY, a TEXT static, b TEXT\n)");
        let kinds =
            by_name.expect("a table").columns.into_iter().map(|column| (column.cql_type, column.kind));
        let [key, of_partition, of_row] = [ColumnKind::PartitionKey, ColumnKind::Static, ColumnKind::Regular]
            .map(|kind| ("text".to_owned(), kind));
        assert_eq!(kinds.collect::<Vec<_>>(), [key, of_partition, of_row]);
    }

    #[test]
    fn every_statement_may_be_repeated() {
        let schema = Schema::read();
        assert_eq!(schema.statements.len(), 15);
        assert!(schema.statements.iter().all(|cql| cql.contains("IF NOT EXISTS")));
        assert_eq!(schema.tables.len(), 14);
    }

    #[test]
    fn keyspace_and_replication_are_replaced_and_nothing_else_is() {
        let cql = with_replication(&in_keyspace(SCHEMA_CQL, "mine"), "{'class': 'X'}");
        assert!(!cql.contains(KEYSPACE));
        assert!(cql.contains("CREATE KEYSPACE IF NOT EXISTS mine\n    WITH replication = {'class': 'X'};"));
        assert!(cql.contains("{'class': 'NetworkTopologyStrategy', 'my_datacenter': 3}"));
        assert_eq!(cql.lines().count(), SCHEMA_CQL.lines().count());
    }
}
