//! The rights of the login, compared with those that `cql/roles.cql` grants to a role.

use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

use super::errors::StatementError;
use super::provision::{Check, CheckState, cqlsh};
use super::schema::{Schema, in_keyspace};
use super::settings::CassandraSettings;
use ecom_store::StoreError;

/// The text of `cql/roles.cql`.
const ROLES_CQL: &str = include_str!("../../../cql/roles.cql");
/// The table that a process works without, unseen by monitoring.
const HEARTBEATS: &str = "role_heartbeats";

/// A statement of `roles.cql` that grants a right.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Grant {
    /// `SELECT` or `MODIFY`.
    permission: String,
    /// `KEYSPACE ecom_store` or `TABLE ecom_store.facts`, with the configured keyspace.
    on: String,
    /// The tables that it is about, without the keyspace.
    tables: Vec<String>,
}

/// Returns the grants of a role.
fn grants_of(role: &str, keyspace: &str) -> Vec<Grant> {
    let grant = |line: &str| {
        let (permission, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
        let (on, to) = rest.strip_suffix(';')?.split_once(" TO ")?;
        let tables = match on.split_once('.') {
            Some((_, table)) => vec![table.to_owned()],
            None => Schema::read().tables.into_iter().map(|table| table.name).collect(),
        };
        let on = in_keyspace(on, keyspace);
        (to == role).then(|| Grant { permission: permission.to_owned(), on, tables })
    };
    ROLES_CQL.lines().filter_map(grant).collect()
}

/// A right that the login has: a permission on a resource, as Cassandra prints it.
type Right = (String, String);

/// Returns the lines of the checklist about the rights that this role of `roles.cql` has and the login has not. No
/// lines for a cluster that asks for no login or gives everyone all rights.
pub(super) async fn checks(
    session: &Session,
    settings: &CassandraSettings,
    role: &str,
) -> Result<Vec<Check>, StoreError> {
    let Some(user) = &settings.user else { return Ok(Vec::new()) };
    let found = rights(session, user).await.map_err(|error| error.at("list its rights", &settings.name()))?;
    let Some(rights) = found else { return Ok(Vec::new()) };
    let keyspace = &settings.keyspace;
    let missing: Vec<Grant> = grants_of(role, keyspace)
        .into_iter()
        .filter(|grant| !grant.tables.iter().all(|table| is_granted(&rights, grant, keyspace, table)))
        .collect();
    if missing.is_empty() {
        let name = format!("the rights of {user}, as of {role} in cql/roles.cql,");
        return Ok(vec![Check { name, state: CheckState::Present, detail: None, fix: None }]);
    }
    let line = |Grant { permission, on, tables }| Check {
        name: format!(
            "the right of {user} to {permission} {}",
            on.replace("TABLE", "table").replace("KEYSPACE", "keyspace")
        ),
        state: if tables == [HEARTBEATS] && permission == "MODIFY" {
            CheckState::Optional
        } else {
            CheckState::Missing
        },
        detail: None,
        fix: cqlsh(settings, &format!("GRANT {permission} ON {on} TO {};", quoted(user))),
    };
    Ok(missing.into_iter().map(line).collect())
}

fn is_granted(rights: &[Right], grant: &Grant, keyspace: &str, table: &str) -> bool {
    let parents = [
        format!("<table {keyspace}.{table}>"),
        format!("<all tables in {keyspace}>"),
        format!("<keyspace {keyspace}>"),
        "<all keyspaces>".to_owned(),
    ];
    rights.iter().any(|(permission, on)| *permission == grant.permission && parents.contains(on))
}

/// Returns the rights of a login, also by the roles that it has; `None` if it has all.
async fn rights(session: &Session, user: &str) -> Result<Option<Vec<Right>>, StatementError> {
    let roles = session.query_unpaged(format!("LIST ROLES OF {}", quoted(user)), ()).await;
    let roles = match roles {
        // Without logins there are no roles to list, and without an authorizer no rights.
        Err(error) if is_unsupported(&error) => return Ok(None),
        roles => roles?.into_rows_result()?,
    };
    for role in roles.rows::<scylla::value::Row>()? {
        let is_superuser = role?.columns.get(1).and_then(|value| value.as_ref()?.as_boolean());
        if is_superuser == Some(true) {
            return Ok(None);
        }
    }
    let listed = session.query_unpaged(format!("LIST ALL PERMISSIONS OF {}", quoted(user)), ()).await;
    let listed = match listed {
        Err(error) if is_unsupported(&error) => return Ok(None),
        listed => listed?,
    };
    // Nothing to list is an answer without rows.
    if !listed.is_rows() {
        return Ok(Some(Vec::new()));
    }
    let mut rights = Vec::new();
    for right in listed.into_rows_result()?.rows::<(String, String, String, String)>()? {
        let (_, _, resource, permission) = right?;
        rights.push((permission, resource));
    }
    Ok(Some(rights))
}

fn is_unsupported(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Invalid | DbError::Unauthorized,
            _
        ))
    )
}

/// Returns the name of a role as CQL writes it.
fn quoted(role: &str) -> String {
    let is_plain = role.starts_with(|c: char| c.is_ascii_lowercase())
        && role.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain { role.to_owned() } else { format!("\"{}\"", role.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use ecom_config::Secret;

    use super::*;
    use crate::provision;
    use crate::session::open;
    use crate::testing::superuser;

    #[test]
    fn the_grants_of_a_role_are_those_of_the_file() {
        let grants = grants_of("order_consumer", "mine");
        let shown: Vec<String> =
            grants.iter().map(|grant| format!("{} ON {}", grant.permission, grant.on)).collect();
        assert_eq!(
            shown,
            ["MODIFY ON TABLE mine.orders_payments_facts", "MODIFY ON TABLE mine.role_heartbeats"]
        );
        for role in [
            "payment_consumer",
            "dlq_handler",
            "heartbeat",
            "analyst",
            "api_service",
            "payment_processor",
            "notifier",
        ] {
            assert!(!grants_of(role, "mine").is_empty(), "{role}");
        }
    }

    #[test]
    fn a_right_on_the_keyspace_or_on_all_of_them_is_one_on_each_table() {
        let grant = grants_of("analyst", "mine").remove(0);
        assert_eq!(grant.tables.len(), Schema::read().tables.len());
        let is_granted = |permission: &str, on: &str| {
            is_granted(&[(permission.to_owned(), on.to_owned())], &grant, "mine", "dead_letters")
        };
        for on in ["<all keyspaces>", "<keyspace mine>", "<all tables in mine>", "<table mine.dead_letters>"]
        {
            assert!(is_granted("SELECT", on), "{on}");
            assert!(!is_granted("MODIFY", on), "{on}");
        }
        for on in ["<keyspace other>", "<table mine.dead_letter_history>", "<all roles>"] {
            assert!(!is_granted("SELECT", on), "{on}");
        }
    }

    #[test]
    fn the_name_of_a_role_is_quoted_where_cql_would_change_it() {
        assert_eq!(["ada", "Ada", "a\"b"].map(quoted), ["ada", "\"Ada\"", "\"a\"\"b\""]);
    }

    /// A role without rights on a node that asks for logins, beside its superuser.
    struct Logins {
        root: CassandraSettings,
        session: Session,
        own: CassandraSettings,
    }

    impl Logins {
        /// Creates role and schema; `None` without such a node.
        async fn new(name: &str) -> Option<Self> {
            let root = superuser(name)?;
            provision::apply(&root).await.unwrap();
            let session = open(&root).await.unwrap();
            let user = format!("{name}_{}", std::process::id());
            let own =
                CassandraSettings { user: Some(user.clone()), password: Secret::new("own"), ..root.clone() };
            let logins = Self { root, session, own };
            logins.cql(&format!("CREATE ROLE {user} WITH LOGIN = true AND PASSWORD = 'own'")).await;
            Some(logins)
        }

        async fn cql(&self, cql: &str) {
            let done = self.session.query_unpaged(cql, ()).await;
            done.map(drop).unwrap_or_else(|error| panic!("{cql}: {error}"));
        }

        async fn drop(self) {
            self.cql(&format!("DROP KEYSPACE {}", self.root.keyspace)).await;
            self.cql(&format!("DROP ROLE {}", self.own.user.as_ref().unwrap())).await;
        }
    }

    #[tokio::test]
    async fn a_login_without_rights_is_shown_each_statement_that_grants_what_its_role_needs() {
        let Some(logins) = Logins::new("rights").await else { return };
        for role in [
            "order_consumer",
            "payment_consumer",
            "heartbeat",
            "analyst",
            "dlq_handler",
            "api_service",
            "payment_processor",
            "notifier",
        ] {
            let missing = || async {
                let checks = provision::check(&logins.own, Some(role)).await;
                checks.into_iter().filter(|check| check.state != CheckState::Present).collect::<Vec<_>>()
            };
            let user = logins.own.user.as_ref().unwrap();
            let before = missing().await;
            let fixes: Vec<String> = before
                .iter()
                .map(|check| check.fix.clone().unwrap().split('"').nth(1).unwrap().to_owned())
                .collect();
            let wanted: Vec<String> = grants_of(role, &logins.own.keyspace)
                .iter()
                .map(|grant| format!("GRANT {} ON {} TO {user};", grant.permission, grant.on))
                .collect();
            assert_eq!(fixes, wanted, "{role}");
            let optional = before.iter().filter(|check| check.state == CheckState::Optional).count();
            assert_eq!(optional, usize::from(role != "analyst"), "{role}");
            for fix in &fixes {
                logins.cql(fix.trim_end_matches(';')).await;
            }
            assert_eq!(missing().await, [], "{role}");
            for fix in fixes {
                let revoke = fix.replace("GRANT", "REVOKE").replace(" TO ", " FROM ");
                logins.cql(revoke.trim_end_matches(';')).await;
            }
        }
        assert!(
            provision::check(&logins.root, Some("dlq_handler"))
                .await
                .iter()
                .all(|check| check.state == CheckState::Present)
        );
        logins.drop().await;
    }

    #[tokio::test]
    async fn setup_needs_a_right_only_for_what_is_missing() {
        let Some(logins) = Logins::new("setup_rights").await else { return };
        let (keyspace, user) = (&logins.root.keyspace, logins.own.user.as_ref().unwrap());
        let all_present = provision::apply(&logins.own).await.unwrap();
        assert!(all_present.iter().all(|check| check.state == CheckState::Present), "{all_present:?}");
        logins.cql(&format!("DROP TABLE {keyspace}.bulk_operations")).await;
        let refused = provision::apply(&logins.own).await.unwrap_err().to_string();
        assert!(refused.contains("CREATE permission on"), "{refused}");
        logins.cql(&format!("GRANT CREATE ON KEYSPACE {keyspace} TO {user}")).await;
        let created = provision::apply(&logins.own).await.unwrap();
        assert!(created.iter().all(|check| check.state == CheckState::Present), "{created:?}");
        logins.drop().await;
    }
}
