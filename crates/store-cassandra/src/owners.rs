//! The nodes that own partitions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use scylla::client::session::Session;
use scylla::cluster::{ClusterState, NodeRef};
use scylla::policies::load_balancing::{FallbackPlan, LoadBalancingPolicy, RoutingInfo};
use scylla::routing::Shard;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use uuid::Uuid;

/// The node that owns a partition, by its host id; `None` where it does not matter, or is not known.
pub(super) type Owner = Option<Uuid>;

/// Finds the owners of partitions, and leads requests to them.
pub(super) struct Owners {
    datacenter: String,
    /// The policy of the session.
    others: Arc<dyn LoadBalancingPolicy>,
    policies: Mutex<HashMap<Uuid, Arc<dyn LoadBalancingPolicy>>>,
}

impl Owners {
    pub(super) fn new(datacenter: String, others: Arc<dyn LoadBalancingPolicy>) -> Self {
        Self { datacenter, others, policies: Mutex::default() }
    }

    /// Returns the number of nodes in the local datacenter.
    pub(super) fn count(&self, session: &Session) -> usize {
        let cluster = session.get_cluster_state();
        cluster.get_nodes_info().iter().filter(|node| self.is_local(node)).count()
    }

    fn is_local(&self, node: NodeRef<'_>) -> bool {
        node.datacenter.as_deref() == Some(&*self.datacenter)
    }

    /// Returns the owner of the partition that a statement reads or writes with these values: the first of its
    /// replicas in the local datacenter that answers.
    pub(super) fn of(
        &self,
        session: &Session,
        statement: &PreparedStatement,
        values: &impl SerializeRow,
    ) -> Owner {
        let cluster = session.get_cluster_state();
        if cluster.get_nodes_info().len() < 2 {
            return None;
        }
        let token = statement.calculate_token(values).ok()??;
        let table = statement.get_table_spec()?;
        let replicas = cluster.get_token_endpoints(table.ks_name(), table.table_name(), token);
        let mut nodes = replicas.iter().map(|(node, _)| node).filter(|node| self.is_local(node));
        nodes.find(|node| node.is_connected()).map(|node| node.host_id)
    }

    /// Returns the policy that leads every request for a partition to the first of its replicas in the local datacenter.
    pub(super) fn first_replica_policy(&self) -> Arc<dyn LoadBalancingPolicy> {
        Arc::new(FirstReplica { datacenter: self.datacenter.clone(), others: Arc::clone(&self.others) })
    }

    /// Returns the policy that leads a request to this node, if it answers.
    pub(super) fn policy(&self, owner: Owner) -> Option<Arc<dyn LoadBalancingPolicy>> {
        let owner = owner?;
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let others = || Arc::new(OwnerFirst { owner, others: Arc::clone(&self.others) });
        Some(Arc::clone(policies.entry(owner).or_insert_with(|| others())))
    }
}

/// Picks the first replica of a partition, and other nodes while none answers.
///
/// The driver's policy without shuffling would pick the same replica each time, too, but another one in each process: its
/// order is drawn when it is built.
#[derive(Debug)]
struct FirstReplica {
    datacenter: String,
    others: Arc<dyn LoadBalancingPolicy>,
}

impl FirstReplica {
    fn of<'a>(&'a self, request: &RoutingInfo<'_>, cluster: &'a ClusterState) -> Option<NodeRef<'a>> {
        let (token, table) = (request.token?, request.table?);
        let strategy = &cluster.get_keyspace(table.ks_name())?.strategy;
        let replicas =
            cluster.replica_locator().replicas_for_token(token, strategy, Some(&self.datacenter), table);
        replicas.into_replicas_ordered().into_iter().map(|(node, _)| node).find(|node| node.is_connected())
    }
}

impl LoadBalancingPolicy for FirstReplica {
    fn pick<'a>(
        &'a self,
        request: &'a RoutingInfo<'_>,
        cluster: &'a ClusterState,
    ) -> Option<(NodeRef<'a>, Option<Shard>)> {
        let first = self.of(request, cluster);
        first.map(|node| (node, None)).or_else(|| self.others.pick(request, cluster))
    }

    fn fallback<'a>(&'a self, request: &'a RoutingInfo<'_>, cluster: &'a ClusterState) -> FallbackPlan<'a> {
        self.others.fallback(request, cluster)
    }

    fn name(&self) -> String {
        format!("the first replica, then {}", self.others.name())
    }
}

/// Picks the owner, and other nodes while it does not answer.
#[derive(Debug)]
struct OwnerFirst {
    owner: Uuid,
    others: Arc<dyn LoadBalancingPolicy>,
}

impl LoadBalancingPolicy for OwnerFirst {
    fn pick<'a>(
        &'a self,
        request: &'a RoutingInfo<'_>,
        cluster: &'a ClusterState,
    ) -> Option<(NodeRef<'a>, Option<Shard>)> {
        let is_owner = |node: &NodeRef<'_>| node.host_id == self.owner && node.is_connected();
        let owner = cluster.get_nodes_info().iter().find(is_owner);
        owner.map(|node| (node, None)).or_else(|| self.others.pick(request, cluster))
    }

    fn fallback<'a>(&'a self, request: &'a RoutingInfo<'_>, cluster: &'a ClusterState) -> FallbackPlan<'a> {
        self.others.fallback(request, cluster)
    }

    fn name(&self) -> String {
        format!("the owner, then {}", self.others.name())
    }
}
