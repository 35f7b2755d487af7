//! Which failures of the driver are an outage, and which are a refusal that stays.

use scylla::errors::{
    BadQuery, ConnectionPoolError, DbError, DeserializationError, ExecutionError, IntoRowsResultError,
    MaybeFirstRowError, PrepareError, RequestAttemptError, RowsError,
};

use ecom_store::StoreError;

/// Whether trying the same statement again may succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// Outcome unknown, or not now.
    Outage,
    /// Not as it is.
    CorrectionError,
}

/// What this failure of an execution is. Variants a later driver adds count as outages: retried,
/// loudly, rather than taken for a verdict on a message.
#[deny(clippy::wildcard_enum_match_arm)]
pub(super) fn classify(error: &ExecutionError) -> Failure {
    match error {
        ExecutionError::LastAttemptError(attempt) => of_attempt(attempt),
        // The statement is known to the code; what is wrong is a value or a number of values.
        ExecutionError::BadQuery(
            BadQuery::PartitionKeyExtraction
            | BadQuery::SerializationError(_)
            | BadQuery::ValuesTooLongForKey(..)
            | BadQuery::TooManyQueriesInBatchStatement(_),
        ) => Failure::CorrectionError,
        ExecutionError::PrepareError(error) => of_prepare(error),
        // No node to ask, no connection to one, or no answer in time: it may have been applied.
        ExecutionError::EmptyPlan
        | ExecutionError::ConnectionPoolError(_)
        | ExecutionError::RequestTimeout(_)
        | ExecutionError::SchemaAgreementError(_)
        | ExecutionError::MetadataError(_)
        | ExecutionError::BadQuery(_) => Failure::Outage,
        // We never ask for it.
        ExecutionError::UseKeyspaceError(_) => Failure::CorrectionError,
        _ => Failure::Outage,
    }
}

/// What this failure to prepare is.
#[deny(clippy::wildcard_enum_match_arm)]
fn of_prepare(error: &PrepareError) -> Failure {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => of_attempt(first_attempt),
        PrepareError::ConnectionPoolError(
            ConnectionPoolError::Broken { .. }
            | ConnectionPoolError::Initializing
            | ConnectionPoolError::NodeDisabledByHostFilter,
        )
        | PrepareError::ConnectionPoolError(_) => Failure::Outage,
        PrepareError::PreparedStatementIdsMismatch => Failure::CorrectionError,
        _ => Failure::Outage,
    }
}

#[deny(clippy::wildcard_enum_match_arm)]
fn of_attempt(error: &RequestAttemptError) -> Failure {
    match error {
        RequestAttemptError::DbError(error, _) => of_server(error),
        RequestAttemptError::UnableToAllocStreamId | RequestAttemptError::BrokenConnectionError(_) => {
            Failure::Outage
        }
        // Values or answers that do not fit the statement, or a statement that is another one since
        // it was prepared: the same again ends the same.
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_)
        | RequestAttemptError::BodyExtensionsParseError(_)
        | RequestAttemptError::CqlResultParseError(_)
        | RequestAttemptError::CqlErrorParseError(_)
        | RequestAttemptError::UnexpectedResponse(_)
        | RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch
        | RequestAttemptError::NonfinishedPagingState => Failure::CorrectionError,
        _ => Failure::Outage,
    }
}

#[deny(clippy::wildcard_enum_match_arm)]
fn of_server(error: &DbError) -> Failure {
    match error {
        // Too few replicas, too slow, too busy, or failing: others, or the same later, may do it.
        DbError::Unavailable { .. }
        | DbError::Overloaded
        | DbError::IsBootstrapping
        | DbError::TruncateError
        | DbError::ReadTimeout { .. }
        | DbError::WriteTimeout { .. }
        | DbError::ReadFailure { .. }
        | DbError::WriteFailure { .. }
        | DbError::RateLimitReached { .. }
        | DbError::ServerError => Failure::Outage,
        // The driver prepares it again by itself; this one was evicted once more in between.
        DbError::Unprepared { .. } => Failure::Outage,
        // The statement, the schema or the role must change first.
        DbError::SyntaxError
        | DbError::Invalid
        | DbError::AlreadyExists { .. }
        | DbError::FunctionFailure { .. }
        | DbError::AuthenticationError
        | DbError::Unauthorized
        | DbError::ConfigError
        | DbError::ProtocolError => Failure::CorrectionError,
        DbError::Other(_) | _ => Failure::Outage,
    }
}

/// Any failure of the adapter, on its way to a [`StoreError`].
#[derive(thiserror::Error, Debug)]
pub(super) enum Cause {
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// An answer that is not rows.
    #[error(transparent)]
    NotRows(#[from] IntoRowsResultError),
    /// Rows of other types than asked for.
    #[error(transparent)]
    FirstRow(#[from] MaybeFirstRowError),
    #[error(transparent)]
    Rows(#[from] RowsError),
    #[error(transparent)]
    Row(#[from] DeserializationError),
    /// A stored value the pipeline never writes.
    #[error("{id} has {column} {value:?}, which is none of its values")]
    Word { id: String, column: &'static str, value: String },
}

impl Cause {
    fn failure(&self) -> Failure {
        match self {
            Self::Execution(error) => classify(error),
            Self::Prepare(error) => of_prepare(error),
            Self::NotRows(_) | Self::FirstRow(_) | Self::Rows(_) | Self::Row(_) | Self::Word { .. } => {
                Failure::CorrectionError
            }
        }
    }

    /// The port's error; `what` was attempted on the store called `on`.
    pub(super) fn at(self, what: &'static str, on: &str) -> StoreError {
        let on = on.to_owned();
        match self.failure() {
            Failure::Outage => StoreError::Unavailable { what, on, source: Box::new(self) },
            Failure::CorrectionError => StoreError::Refused { what, on, source: Box::new(self) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::frame::types::Consistency;
    use std::time::Duration;

    fn server(error: DbError) -> ExecutionError {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, "said the server".into()))
    }

    #[test]
    fn timeouts_missing_replicas_and_broken_pools_are_outages() {
        let consistency = Consistency::LocalQuorum;
        let pool = ConnectionPoolError::Initializing;
        for error in [
            ExecutionError::RequestTimeout(Duration::from_secs(5)),
            ExecutionError::EmptyPlan,
            ExecutionError::ConnectionPoolError(pool.clone()),
            ExecutionError::PrepareError(PrepareError::ConnectionPoolError(pool)),
            ExecutionError::LastAttemptError(RequestAttemptError::UnableToAllocStreamId),
            server(DbError::Unavailable { consistency, required: 2, alive: 1 }),
            server(DbError::Overloaded),
            server(DbError::IsBootstrapping),
            server(DbError::ReadTimeout { consistency, received: 1, required: 2, data_present: false }),
            server(DbError::ServerError),
        ] {
            assert_eq!(classify(&error), Failure::Outage, "{error}");
        }
    }

    #[test]
    fn what_the_server_will_never_accept_is_a_refusal() {
        for error in [
            server(DbError::Invalid),
            server(DbError::SyntaxError),
            server(DbError::Unauthorized),
            server(DbError::AuthenticationError),
            server(DbError::ConfigError),
            ExecutionError::BadQuery(BadQuery::PartitionKeyExtraction),
            ExecutionError::LastAttemptError(RequestAttemptError::RepreparedIdMissingInBatch),
        ] {
            assert_eq!(classify(&error), Failure::CorrectionError, "{error}");
        }
    }

    #[test]
    fn the_ports_error_names_the_store_and_the_cause() {
        let outage =
            Cause::from(ExecutionError::EmptyPlan).at("record an order", "Cassandra at h:1, keyspace k");
        assert!(outage.is_outage());
        assert!(
            outage.to_string().starts_with("could not record an order on Cassandra at h:1, keyspace k: ")
        );
        let refusal =
            Cause::from(server(DbError::Invalid)).at("record an order", "Cassandra at h:1, keyspace k");
        assert!(!refusal.is_outage());
        assert!(refusal.to_string().contains("said the server"), "{refusal}");
    }
}
