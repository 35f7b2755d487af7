//! Applies `schema.cql`, and says what differs from it: for `ecom_setup`, the only binary that runs DDL.

use scylla::client::session::Session;

use super::errors::Cause;
use super::schema::{SCHEMA_CQL, Schema, Table, in_keyspace, with_replication};
use super::session::{ConnectError, Trouble, open};
use super::settings::CassandraSettings;
use super::upgrade;

/// One line of the checklist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was looked at, with its keyspace.
    pub name: String,
    /// What was found.
    pub state: CheckState,
    /// Where it differs, or why nothing is known.
    pub detail: Option<String>,
    /// A command that mends it, as it stands.
    pub fix: Option<String>,
}

/// What a check found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CheckState {
    /// As it should be.
    Present,
    /// Not there.
    Missing,
    /// There, and not as it should be.
    Different,
    /// It could not be looked at.
    Unknown,
}

impl CheckState {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Missing => "missing",
            Self::Different => "different",
            Self::Unknown => "unknown",
        }
    }
}

/// Creates what is missing and waits until every node knows it; changes nothing that is there. A
/// keyspace of an earlier version is brought up to date; begun and not finished, it is begun again.
/// Returns the checklist as it is then.
pub async fn apply(settings: &CassandraSettings) -> Result<Vec<Check>, ConnectError> {
    let session = open(settings).await?;
    let is_of_an_earlier_version = upgrade::is_due(&troubles(&session, settings).await?, &settings.keyspace);
    let (additions, creations): (Vec<String>, Vec<String>) =
        Schema::read().statements.into_iter().partition(|cql| cql.starts_with("ALTER"));
    run(&session, settings, creations).await?;
    if is_of_an_earlier_version {
        upgrade::fill_dead_letters_by_order(&session, settings).await?;
    }
    run(&session, settings, additions).await?;
    checklist(&session, settings).await
}

/// Runs statements of `schema.cql` and waits until every node knows what they changed.
async fn run(
    session: &Session,
    settings: &CassandraSettings,
    statements: Vec<String>,
) -> Result<(), ConnectError> {
    for cql in statements {
        let cql = with_replication(&in_keyspace(&cql, &settings.keyspace), &settings.replication.cql());
        let done = session.query_unpaged(cql, ()).await;
        done.map_err(|error| Cause::from(error).at("apply schema.cql", &settings.name()))?;
    }
    let agreed = session.await_schema_agreement().await;
    agreed.map(drop).map_err(|error| {
        let cause = Cause::from(scylla::errors::ExecutionError::from(error));
        cause.at("wait until its nodes agree on the schema", &settings.name()).into()
    })
}

/// The checklist, without changing anything. A cluster that cannot be reached is a line of it.
pub async fn check(settings: &CassandraSettings) -> Vec<Check> {
    let looked = async {
        let session = open(settings).await?;
        checklist(&session, settings).await
    };
    looked.await.unwrap_or_else(|error: ConnectError| {
        let detail = Some(error.to_string());
        vec![Check { name: settings.name(), state: CheckState::Unknown, detail, fix: None }]
    })
}

/// `schema.cql` with the configured keyspace and replication: pipe it to `cqlsh`.
pub fn print_cql(settings: &CassandraSettings) -> String {
    with_replication(&in_keyspace(SCHEMA_CQL, &settings.keyspace), &settings.replication.cql())
}

async fn checklist(session: &Session, settings: &CassandraSettings) -> Result<Vec<Check>, ConnectError> {
    let troubles = troubles(session, settings).await?;
    let keyspace = &settings.keyspace;
    let mut list = vec![Check {
        name: format!("Cassandra at {}, datacenter {}", settings.hosts(), settings.local_datacenter),
        state: CheckState::Present,
        detail: None,
        fix: None,
    }];
    let no_keyspace = troubles.contains(&Trouble::NoKeyspace(keyspace.clone()));
    list.push(line(format!("keyspace {keyspace}"), no_keyspace.then_some(&troubles[..]), settings));
    for table in Schema::read().tables {
        let name = format!("{keyspace}.{}", table.name);
        let of_table: Vec<Trouble> = if no_keyspace {
            vec![Trouble::NoTable(name.clone())]
        } else {
            troubles.iter().filter(|trouble| trouble.is_of(&name)).cloned().collect()
        };
        list.push(line(format!("table {name}"), (!of_table.is_empty()).then_some(&of_table), settings));
    }
    Ok(list)
}

/// The line of one thing and what is wrong with it.
fn line(name: String, troubles: Option<&[Trouble]>, settings: &CassandraSettings) -> Check {
    let Some(troubles) = troubles else {
        return Check { name, state: CheckState::Present, detail: None, fix: None };
    };
    let gone = |trouble: &Trouble| matches!(trouble, Trouble::NoKeyspace(_) | Trouble::NoTable(_));
    let state = if troubles.iter().any(gone) { CheckState::Missing } else { CheckState::Different };
    let detail: Vec<String> = troubles.iter().map(ToString::to_string).collect();
    Check { name, state, detail: Some(detail.join(", ")), fix: fix(troubles, settings) }
}

/// What mends these; nothing does where a column has another type, since Cassandra never changes it.
/// A column that `ecom_setup` adds to keyspaces of earlier versions is left to it.
fn fix(troubles: &[Trouble], settings: &CassandraSettings) -> Option<String> {
    let mut additions = Vec::new();
    for trouble in troubles {
        match trouble {
            Trouble::NoKeyspace(_) | Trouble::NoTable(_) => return Some("ecom_setup".to_owned()),
            Trouble::NoColumn { name, .. } if name.ends_with(upgrade::LATEST_COLUMN) => {
                return Some("ecom_setup".to_owned());
            }
            Trouble::NoColumn { name, wanted } => {
                let (table, column) = name.rsplit_once('.')?;
                additions.push(format!("ALTER TABLE {table} ADD IF NOT EXISTS {column} {wanted};"));
            }
            Trouble::OtherColumn { .. } => return None,
        }
    }
    let contact_point = settings.contact_points.first()?;
    let (host, port) = contact_point.rsplit_once(':').unwrap_or((contact_point, "9042"));
    Some(format!("cqlsh {host} {port} -e \"{}\"", additions.join(" ")))
}

impl Trouble {
    /// Whether it is about this table, named with its keyspace.
    fn is_of(&self, table: &str) -> bool {
        match self {
            Self::NoKeyspace(_) => false,
            Self::NoTable(name) => name == table,
            Self::NoColumn { name, .. } | Self::OtherColumn { name, .. } => {
                name.rsplit_once('.').is_some_and(|(of, _)| of == table)
            }
        }
    }
}

/// Everything that is not as `schema.cql` says; columns beside it are nobody's business here.
pub(super) async fn troubles(
    session: &Session,
    settings: &CassandraSettings,
) -> Result<Vec<Trouble>, ConnectError> {
    const KEYSPACE: &str = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    const COLUMNS: &str =
        "SELECT table_name, column_name, type, kind FROM system_schema.columns WHERE keyspace_name = ?";
    let keyspace = settings.keyspace.as_str();
    let read = async {
        let found = session.query_unpaged(KEYSPACE, (keyspace,)).await?.into_rows_result()?;
        if found.rows_num() == 0 {
            return Ok(vec![Trouble::NoKeyspace(keyspace.to_owned())]);
        }
        let found = session.query_unpaged(COLUMNS, (keyspace,)).await?.into_rows_result()?;
        let found = found.rows::<FoundColumn>()?.collect::<Result<Vec<_>, _>>()?;
        Ok::<_, Cause>(
            Schema::read().tables.iter().flat_map(|table| compare(keyspace, table, &found)).collect(),
        )
    };
    read.await.map_err(|cause| cause.at("read its schema", &settings.name()).into())
}

/// Table, column, type and kind, as `system_schema.columns` has them.
type FoundColumn = (String, String, String, String);

/// What a table lacks.
fn compare(keyspace: &str, table: &Table, found: &[FoundColumn]) -> Vec<Trouble> {
    let name = format!("{keyspace}.{}", table.name);
    if !found.iter().any(|(of, ..)| *of == table.name) {
        return vec![Trouble::NoTable(name)];
    }
    let trouble = |column: &super::schema::Column| {
        let name = format!("{name}.{}", column.name);
        let there = found.iter().find(|(of, called, ..)| *of == table.name && *called == column.name);
        let Some((_, _, cql_type, kind)) = there else {
            return Some(Trouble::NoColumn { name, wanted: column.cql_type.clone() });
        };
        (*cql_type != column.cql_type || kind != column.kind.as_str()).then(|| Trouble::OtherColumn {
            name,
            wanted: format!("{} ({})", column.cql_type, column.kind.as_str()),
            found: format!("{cql_type} ({kind})"),
        })
    };
    table.columns.iter().filter_map(trouble).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::CassandraStore;
    use crate::settings::Replication;
    use crate::testing::{in_keyspace, settings};

    fn found(table: &Table) -> Vec<FoundColumn> {
        let row = |column: &super::super::schema::Column| {
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
    fn missing_and_other_columns_are_named_and_more_columns_are_not() {
        let schema = Schema::read();
        let table = schema.table("orders_payments_facts").expect("the fact table");
        let mut columns = found(table);
        columns.push((table.name.clone(), "loyalty".into(), "text".into(), "regular".into()));
        assert_eq!(compare("k", table, &columns), []);
        columns.retain(|(_, name, ..)| name != "item");
        columns[1].2 = "text".into();
        let troubles: Vec<String> = compare("k", table, &columns).iter().map(ToString::to_string).collect();
        assert_eq!(
            troubles,
            [
                "column k.orders_payments_facts.customer_id is text (regular), not bigint (regular)",
                "column k.orders_payments_facts.item is missing",
            ]
        );
        assert_eq!(compare("k", table, &[]), [Trouble::NoTable("k.orders_payments_facts".into())]);
    }

    #[test]
    fn a_missing_column_has_a_command_and_another_type_has_none() {
        let missing = Trouble::NoColumn { name: "k.facts.item".into(), wanted: "text".into() };
        let other = Trouble::OtherColumn { name: "k.facts.x".into(), wanted: "a".into(), found: "b".into() };
        let settings = CassandraSettings::default();
        let command = r#"cqlsh 127.0.0.1 9042 -e "ALTER TABLE k.facts ADD IF NOT EXISTS item text;""#;
        assert_eq!(fix(std::slice::from_ref(&missing), &settings).as_deref(), Some(command));
        assert_eq!(fix(&[missing, other], &settings), None);
    }

    #[test]
    fn the_printed_cql_has_the_configured_keyspace_and_replication() {
        let settings = CassandraSettings {
            keyspace: "mine".into(),
            replication: Replication::Datacenters(vec![("dc1".into(), 3)]),
            ..Default::default()
        };
        let cql = print_cql(&settings);
        assert!(cql.contains("CREATE TABLE IF NOT EXISTS mine.dead_letters ("));
        assert!(cql.contains("    WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3};"));
    }

    #[test]
    fn a_column_that_came_later_is_left_to_ecom_setup() {
        let name = "k.dead_letters.corrects".to_owned();
        let later = Trouble::NoColumn { name, wanted: "text".into() };
        assert_eq!(fix(&[later], &CassandraSettings::default()).as_deref(), Some("ecom_setup"));
    }

    #[tokio::test]
    async fn before_ecom_setup_nothing_opens_and_every_line_of_the_checklist_is_missing() {
        let Some(settings) = settings("absent") else { return };
        let error = CassandraStore::connect(&settings).await.expect_err("no keyspace");
        let text = error.to_string();
        assert!(
            text.contains(&format!("keyspace {} is missing; run ecom_setup", settings.keyspace)),
            "{text}"
        );
        let states: Vec<CheckState> = check(&settings).await.into_iter().map(|line| line.state).collect();
        assert_eq!(states[0], CheckState::Present);
        assert_eq!(states[1..], [CheckState::Missing; 9]);
    }

    #[tokio::test]
    async fn a_wrong_datacenter_is_named_with_those_there_are() {
        let Some(settings) = settings("dc") else { return };
        let settings = CassandraSettings { local_datacenter: "nowhere".into(), ..settings };
        let error = CassandraStore::connect(&settings).await.expect_err("no such datacenter");
        assert!(error.to_string().contains(r#"has no datacenter "nowhere", only "#), "{error}");
    }

    #[tokio::test]
    async fn applying_twice_changes_nothing_and_a_dropped_column_is_found_and_mended() {
        in_keyspace("setup", async |scratch| {
            let settings = &scratch.settings;
            let again = apply(settings).await.expect("applied again");
            assert!(again.iter().all(|line| line.state == CheckState::Present), "{again:?}");
            scratch.cql("ALTER TABLE ecom_store.dead_letters DROP detail").await;
            let error = CassandraStore::connect(settings).await.expect_err("a column is missing");
            let name = format!("column {}.dead_letters.detail is missing", settings.keyspace);
            assert!(error.to_string().contains(&name), "{error}");
            let lines = check(settings).await;
            let line = lines.iter().find(|line| line.state == CheckState::Different).expect("one differs");
            let fix = line.fix.as_deref().expect("it can be mended");
            let cql = fix.split('"').nth(1).expect("a statement in quotes");
            scratch.cql(cql.trim_end_matches(';')).await;
            CassandraStore::connect(settings).await.expect("mended");
        })
        .await;
    }
}
