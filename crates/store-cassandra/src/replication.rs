//! The replication of the keyspace.

use std::collections::{BTreeMap, BTreeSet};

use scylla::client::session::Session;

use super::errors::StatementError;
use super::provision::{Check, CheckState, cqlsh};
use super::settings::CassandraSettings;
use ecom_store::StoreError;

/// Returns the line of a keyspace whose replication ignores datacenters; `None` for any other, and where the keyspace
/// does not exist. It is wrong where there are several datacenters, whose quorums it does not serve; elsewhere it
/// only makes Cassandra warn at every statement.
pub(super) async fn check(
    session: &Session,
    settings: &CassandraSettings,
) -> Result<Option<Check>, StoreError> {
    const REPLICATION: &str = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let read = async {
        let rows = session.query_unpaged(REPLICATION, (settings.keyspace.as_str(),)).await?;
        let row = rows.into_rows_result()?.maybe_first_row::<(BTreeMap<String, String>,)>()?;
        Ok::<_, StatementError>(row.map(|(replication,)| replication))
    };
    let replication = read.await.map_err(|error| error.at("read the replication", &settings.name()))?;
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info().iter();
    let datacenters: BTreeSet<&str> = nodes.filter_map(|node| node.datacenter.as_deref()).collect();
    Ok(replication.and_then(|replication| simple(&replication, &datacenters, settings)))
}

/// Returns the line of a keyspace with this replication, if it is `SimpleStrategy`.
fn simple(
    replication: &BTreeMap<String, String>,
    datacenters: &BTreeSet<&str>,
    settings: &CassandraSettings,
) -> Option<Check> {
    let CassandraSettings { keyspace, local_datacenter, .. } = settings;
    if !replication.get("class")?.ends_with("SimpleStrategy") {
        return None;
    }
    let copies = replication.get("replication_factor").map_or("1", String::as_str);
    let (state, effect) = match datacenters.len() {
        0 | 1 => (CheckState::Discouraged, "Cassandra warns about it at every statement"),
        _ => {
            (CheckState::Different, "a quorum of one datacenter does not see all rows; then repair all nodes")
        }
    };
    let detail = format!("its replication is SimpleStrategy, which ignores datacenters and racks; {effect}");
    let wanted = format!("{{'class': 'NetworkTopologyStrategy', '{local_datacenter}': {copies}}}");
    let cql = format!("ALTER KEYSPACE {keyspace} WITH replication = {wanted};");
    Some(Check {
        name: format!("keyspace {keyspace}"),
        state,
        detail: Some(detail),
        fix: cqlsh(settings, &cql),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision;
    use crate::testing::in_keyspace;

    fn replication(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn simple_strategy_is_discouraged_and_wrong_where_there_are_several_datacenters() {
        let settings = CassandraSettings { local_datacenter: "dc1".into(), ..Default::default() };
        let of = |class, datacenters: &[&str]| {
            let replication = replication(&[("class", class), ("replication_factor", "3")]);
            simple(&replication, &datacenters.iter().copied().collect(), &settings)
        };
        let one = of("org.apache.cassandra.locator.SimpleStrategy", &["dc1"]).unwrap();
        assert_eq!(one.state, CheckState::Discouraged);
        assert_eq!(
            one.fix.as_deref(),
            Some(
                "cqlsh 127.0.0.1 9042 -e \"ALTER KEYSPACE ecom_store WITH replication = \
                 {'class': 'NetworkTopologyStrategy', 'dc1': 3};\""
            )
        );
        assert_eq!(of("SimpleStrategy", &["dc1", "dc2"]).unwrap().state, CheckState::Different);
        assert_eq!(of("org.apache.cassandra.locator.NetworkTopologyStrategy", &["dc1", "dc2"]), None);
    }

    #[tokio::test]
    async fn a_keyspace_with_simple_strategy_is_named_with_the_statement_that_changes_it() {
        in_keyspace("simple", async |scratch| {
            let of_keyspace = async || provision::check(&scratch.settings, None).await.remove(1);
            assert_eq!(of_keyspace().await.state, CheckState::Present);
            let simple = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
            scratch.cql(&format!("ALTER KEYSPACE ecom_store WITH replication = {simple}")).await;
            let line = of_keyspace().await;
            assert_eq!(line.state, CheckState::Discouraged, "{line:?}");
            assert!(line.detail.unwrap().contains("SimpleStrategy"));
            let fix = line.fix.unwrap();
            scratch.cql(fix.split('"').nth(1).unwrap().trim_end_matches(';')).await;
            assert_eq!(of_keyspace().await.state, CheckState::Present);
        })
        .await;
    }
}
