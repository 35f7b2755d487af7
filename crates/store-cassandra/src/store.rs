//! The store: a session with a checked schema and prepared statements.

use std::fmt;
use std::sync::Arc;

use scylla::client::session::Session;
use scylla::policies::load_balancing::LoadBalancingPolicy;
use scylla::statement::prepared::PreparedStatement;

use super::connect_error::ConnectError;
use super::errors::StatementError;
use super::groups::RequestLimit;
use super::owners::Owners;
use super::registrations::Registrations;
use super::settings::CassandraSettings;
use super::statements::{self, Statements};
use super::{schema_check, session};

/// The store on Cassandra. Implements the ports `FactStore`, `DeadLetterStore` and `OperationsStore`.
///
/// An adapter of other ports on the same keyspace shares its session: it prepares its own statements with
/// [`prepare`](Self::prepare), executes them on [`session`](Self::session) or page by page with [`rows`](Self::rows), and
/// turns errors into those of its ports with [`StatementError::at`].
pub struct CassandraStore {
    pub(super) session: Session,
    pub(super) statements: Statements,
    pub(super) owners: Owners,
    pub(super) request_limit: RequestLimit,
    pub(super) registered: Registrations,
    pub(super) name: String,
    keyspace: String,
    pub(super) record_all_payments: bool,
}

impl CassandraStore {
    /// Connects, checks the datacenter and the schema, and prepares every statement. Never runs DDL.
    pub async fn connect(settings: &CassandraSettings) -> Result<Self, ConnectError> {
        let session = session::open(settings).await?;
        let name = settings.name();
        session::within(settings, async {
            let differences = schema_check::differences(&session, settings).await?;
            if !differences.is_empty() {
                return Err(ConnectError::Schema { on: name, differences });
            }
            let statements = Statements::prepare(&session, &settings.keyspace)
                .await
                .map_err(|error| error.at("prepare its statements", &name))?;
            Ok(Self {
                session,
                statements,
                owners: Owners::new(settings.local_datacenter.clone(), session::policy(settings)),
                request_limit: RequestLimit {
                    partitions: settings.partitions_per_request,
                    bytes: settings.bytes_per_request,
                },
                registered: Registrations::default(),
                name,
                keyspace: settings.keyspace.clone(),
                record_all_payments: settings.record_all_payments,
            })
        })
        .await
    }

    /// Returns the session. Its datacenter and schema are checked. By default statements are executed at `LOCAL_QUORUM`,
    /// on the replicas of the local datacenter, and the driver repeats none.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the store as people name it, for errors: kind, hosts and keyspace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Prepares a statement for the configured keyspace, which `cql` calls `ecom_store`. It must be idempotent, and name the
    /// columns that it reads.
    pub async fn prepare(&self, cql: &str) -> Result<PreparedStatement, StatementError> {
        statements::prepare(&self.session, &self.keyspace, cql).await
    }

    /// Returns a policy that leads all requests for a partition to the same node, whichever process sends them: to the
    /// first of its replicas in the local datacenter that answers.
    pub fn first_replica_policy(&self) -> Arc<dyn LoadBalancingPolicy> {
        self.owners.first_replica_policy()
    }
}

impl fmt::Debug for CassandraStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraStore").field("name", &self.name).finish_non_exhaustive()
    }
}
