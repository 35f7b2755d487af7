//! The store: a session with a checked schema and prepared statements.

use std::fmt;

use scylla::client::session::Session;

use super::connect_error::ConnectError;
use super::groups::RequestLimit;
use super::owners::Owners;
use super::registrations::Registrations;
use super::settings::CassandraSettings;
use super::statements::Statements;
use super::{schema_check, session};

/// The store on Cassandra. Implements the ports `FactStore`, `DeadLetterStore` and `OperationsStore`.
pub struct CassandraStore {
    pub(super) session: Session,
    pub(super) statements: Statements,
    pub(super) owners: Owners,
    pub(super) request_limit: RequestLimit,
    pub(super) registered: Registrations,
    pub(super) name: String,
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
                record_all_payments: settings.record_all_payments,
            })
        })
        .await
    }
}

impl fmt::Debug for CassandraStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraStore").field("name", &self.name).finish_non_exhaustive()
    }
}
