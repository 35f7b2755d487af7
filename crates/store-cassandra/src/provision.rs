//! Provisioning: applies `schema.cql` and checks it, for `ecom_setup`, the only binary that runs DDL.

use scylla::client::session::Session;

use super::connect_error::ConnectError;
use super::errors::StatementError;
use super::replication;
use super::rights;
use super::schema::{ColumnKind, SCHEMA_CQL, Schema, in_keyspace, table, with_replication};
use super::schema_check::{SchemaDifference, differences};
use super::session::open;
use super::settings::CassandraSettings;

/// A line of the checklist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// The thing checked, with its keyspace.
    pub name: String,
    /// The result.
    pub state: CheckState,
    /// The differences, or the error of the check.
    pub detail: Option<String>,
    /// A command that fixes it, to be run as it is.
    pub fix: Option<String>,
}

/// The result of a check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CheckState {
    /// It is as in `schema.cql`.
    Present,
    /// It does not exist.
    Missing,
    /// It differs from `schema.cql`.
    Different,
    /// It could not be checked.
    Unknown,
    /// It works, but something else is better.
    Discouraged,
    /// It does not exist, and everything but monitoring works without it.
    Optional,
}

impl CheckState {
    /// Returns the word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Missing => "missing",
            Self::Different => "different",
            Self::Unknown => "unknown",
            Self::Discouraged => "discouraged",
            Self::Optional => "missing, for monitoring only",
        }
    }
}

/// Creates what is missing, waits until all nodes agree on the schema, and returns the checklist after
/// that. Changes nothing that exists: a table that differs from `schema.cql` is reported, not altered. Needs a right
/// only for what is missing.
pub async fn apply(settings: &CassandraSettings) -> Result<Vec<Check>, ConnectError> {
    let session = open(settings).await?;
    let differences = differences(&session, settings).await?;
    let no_keyspace = differences.contains(&SchemaDifference::MissingKeyspace(settings.keyspace.clone()));
    for cql in Schema::read().statements {
        let is_missing = match table(&cql) {
            Some(table) => {
                let name = format!("{}.{}", settings.keyspace, table.name);
                differences.contains(&SchemaDifference::MissingTable(name))
            }
            None => false,
        };
        if !no_keyspace && !is_missing {
            continue;
        }
        let cql = with_replication(&in_keyspace(&cql, &settings.keyspace), &settings.replication());
        let done = session.query_unpaged(cql, ()).await;
        done.map_err(|error| StatementError::from(error).at("apply schema.cql", &settings.name()))?;
    }
    session.await_schema_agreement().await.map_err(|error| {
        let error = StatementError::from(scylla::errors::ExecutionError::from(error));
        error.at("wait until all nodes agree on the schema", &settings.name())
    })?;
    checklist(&session, settings, None).await
}

/// Returns the checklist, without changing anything; with the rights of this role of `cql/roles.cql`, which the
/// login needs. A cluster that cannot be reached is a line of it.
pub async fn check(settings: &CassandraSettings, role: Option<&str>) -> Vec<Check> {
    let looked = async {
        let session = open(settings).await?;
        checklist(&session, settings, role).await
    };
    looked.await.unwrap_or_else(|error: ConnectError| {
        let detail = Some(error.to_string());
        vec![Check { name: settings.name(), state: CheckState::Unknown, detail, fix: None }]
    })
}

/// Returns `schema.cql` with the configured keyspace and replication, for `cqlsh`.
pub fn print_cql(settings: &CassandraSettings) -> String {
    with_replication(&in_keyspace(SCHEMA_CQL, &settings.keyspace), &settings.replication())
}

async fn checklist(
    session: &Session,
    settings: &CassandraSettings,
    role: Option<&str>,
) -> Result<Vec<Check>, ConnectError> {
    let differences = differences(session, settings).await?;
    let keyspace = &settings.keyspace;
    let mut list = vec![Check {
        name: format!("Cassandra at {}, datacenter {}", settings.hosts(), settings.local_datacenter),
        state: CheckState::Present,
        detail: None,
        fix: None,
    }];
    let no_keyspace = differences.contains(&SchemaDifference::MissingKeyspace(keyspace.clone()));
    list.push(line(format!("keyspace {keyspace}"), no_keyspace.then_some(&differences[..]), settings));
    for table in Schema::read().tables {
        let name = format!("{keyspace}.{}", table.name);
        let of_table: Vec<SchemaDifference> = if no_keyspace {
            vec![SchemaDifference::MissingTable(name.clone())]
        } else {
            differences.iter().filter(|difference| difference.is_of(&name)).cloned().collect()
        };
        list.push(line(format!("table {name}"), (!of_table.is_empty()).then_some(&of_table), settings));
    }
    if let Some(check) = replication::check(session, settings).await? {
        list[1] = check;
    }
    if let Some(role) = role {
        list.extend(rights::checks(session, settings, role).await?);
    }
    Ok(list)
}

/// Returns the line of one thing and its differences.
fn line(name: String, differences: Option<&[SchemaDifference]>, settings: &CassandraSettings) -> Check {
    let Some(differences) = differences else {
        return Check { name, state: CheckState::Present, detail: None, fix: None };
    };
    let is_missing = |difference: &SchemaDifference| {
        matches!(difference, SchemaDifference::MissingKeyspace(_) | SchemaDifference::MissingTable(_))
    };
    let state = if differences.iter().any(is_missing) { CheckState::Missing } else { CheckState::Different };
    let detail: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Check { name, state, detail: Some(detail.join(", ")), fix: fix(differences, settings) }
}

/// Returns a command that fixes the differences; `None` where there is none, since Cassandra changes neither
/// the type of a column nor the primary key of a table.
fn fix(differences: &[SchemaDifference], settings: &CassandraSettings) -> Option<String> {
    let mut additions = Vec::new();
    for difference in differences {
        match difference {
            SchemaDifference::MissingKeyspace(_) | SchemaDifference::MissingTable(_) => {
                return Some("ecom_setup".to_owned());
            }
            SchemaDifference::MissingColumn {
                name,
                wanted,
                kind: kind @ (ColumnKind::Regular | ColumnKind::Static),
            } => {
                let (table, column) = name.rsplit_once('.')?;
                let kind = if *kind == ColumnKind::Static { " static" } else { "" };
                additions.push(format!("ALTER TABLE {table} ADD IF NOT EXISTS {column} {wanted}{kind};"));
            }
            SchemaDifference::MissingColumn { .. } | SchemaDifference::DifferentColumn { .. } => return None,
        }
    }
    cqlsh(settings, &additions.join(" "))
}

/// Returns the command that runs statements, whose names may have double quotes; `None` without a contact point.
pub(super) fn cqlsh(settings: &CassandraSettings, cql: &str) -> Option<String> {
    let contact_point = settings.contact_points.first()?;
    let (host, port) = contact_point.rsplit_once(':').unwrap_or((contact_point, "9042"));
    Some(format!("cqlsh {host} {port} -e \"{}\"", cql.replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::CassandraStore;
    use crate::testing::{in_keyspace, settings};

    #[test]
    fn a_missing_regular_column_has_a_fix_and_another_type_or_a_key_column_has_none() {
        let missing = SchemaDifference::MissingColumn {
            name: "k.facts.item".into(),
            wanted: "text".into(),
            kind: ColumnKind::Regular,
        };
        let other = SchemaDifference::DifferentColumn {
            name: "k.facts.x".into(),
            wanted: "a".into(),
            found: "b".into(),
        };
        let settings = CassandraSettings::default();
        let command = r#"cqlsh 127.0.0.1 9042 -e "ALTER TABLE k.facts ADD IF NOT EXISTS item text;""#;
        assert_eq!(fix(std::slice::from_ref(&missing), &settings).as_deref(), Some(command));
        assert_eq!(fix(&[missing, other], &settings), None);
        let of_partition = SchemaDifference::MissingColumn {
            name: "k.products.name".into(),
            wanted: "text".into(),
            kind: ColumnKind::Static,
        };
        let command = fix(&[of_partition], &settings).unwrap();
        assert!(
            command.ends_with(r#""ALTER TABLE k.products ADD IF NOT EXISTS name text static;""#),
            "{command}"
        );
        let of_key = SchemaDifference::MissingColumn {
            name: "k.facts.id".into(),
            wanted: "text".into(),
            kind: ColumnKind::PartitionKey,
        };
        assert_eq!(fix(&[of_key], &settings), None);
    }

    #[test]
    fn the_printed_cql_has_the_configured_keyspace_and_replication() {
        let settings = CassandraSettings {
            keyspace: "mine".into(),
            local_datacenter: "dc1".into(),
            replication_factor: 3,
            ..Default::default()
        };
        let cql = print_cql(&settings);
        assert!(cql.contains("CREATE TABLE IF NOT EXISTS mine.dead_letters ("));
        assert!(cql.contains("    WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3};"));
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
        let states: Vec<CheckState> =
            check(&settings, None).await.into_iter().map(|line| line.state).collect();
        assert_eq!(states[0], CheckState::Present);
        assert_eq!(states[1..], [CheckState::Missing; 15]);
    }

    #[tokio::test]
    async fn a_wrong_datacenter_is_named_with_those_of_the_cluster() {
        let Some(settings) = settings("dc") else { return };
        let settings = CassandraSettings { local_datacenter: "nowhere".into(), ..settings };
        let error = CassandraStore::connect(&settings).await.expect_err("no such datacenter");
        assert!(error.to_string().contains(r#"has no datacenter "nowhere", only "#), "{error}");
    }

    #[tokio::test]
    async fn applying_twice_changes_nothing_and_a_dropped_column_is_found_and_fixed() {
        in_keyspace("setup", async |scratch| {
            let settings = &scratch.settings;
            let again = apply(settings).await.expect("applied again");
            assert!(again.iter().all(|line| line.state == CheckState::Present), "{again:?}");
            scratch.cql("ALTER TABLE ecom_store.dead_letters DROP detail").await;
            let error = CassandraStore::connect(settings).await.expect_err("a column is missing");
            let name = format!("column {}.dead_letters.detail is missing", settings.keyspace);
            assert!(error.to_string().contains(&name), "{error}");
            let lines = check(settings, None).await;
            let line = lines.iter().find(|line| line.state == CheckState::Different).expect("one differs");
            let fix = line.fix.as_deref().expect("it has a fix");
            let cql = fix.split('"').nth(1).expect("a statement in quotes");
            scratch.cql(cql.trim_end_matches(';')).await;
            CassandraStore::connect(settings).await.expect("fixed");
        })
        .await;
    }
}
