//! The classification of driver errors: outages, which are retried, and refusals, which are permanent.

use scylla::errors::{
    BadQuery, ConnectionPoolError, DbError, DeserializationError, ExecutionError, IntoRowsResultError,
    MaybeFirstRowError, PrepareError, RequestAttemptError, RowsError,
};

use super::connection_fault::ConnectionFault;
use ecom_store::StoreError;

/// The class of an error: whether a repetition of the statement may succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ErrorClass {
    /// It may: the result is unknown, or the cluster is unavailable.
    Outage,
    /// It may once the node and this process accept each other again.
    NotAdmitted,
    /// It cannot.
    Refusal,
}

/// Classifies an execution error. Variants that a later driver adds are outages: they are retried and logged,
/// and never become a decision about a message.
#[deny(clippy::wildcard_enum_match_arm)]
pub(super) fn classify(error: &ExecutionError) -> ErrorClass {
    match error {
        ExecutionError::LastAttemptError(attempt) => of_attempt(attempt),
        // The statement is fixed in the code, so the fault is in the values.
        ExecutionError::BadQuery(
            BadQuery::PartitionKeyExtraction
            | BadQuery::SerializationError(_)
            | BadQuery::ValuesTooLongForKey(..)
            | BadQuery::TooManyQueriesInBatchStatement(_),
        ) => ErrorClass::Refusal,
        ExecutionError::PrepareError(error) => of_prepare(error),
        ExecutionError::ConnectionPoolError(error) => of_pool(error),
        // No node, no connection, or no response in time: the statement may have been applied.
        ExecutionError::EmptyPlan
        | ExecutionError::RequestTimeout(_)
        | ExecutionError::SchemaAgreementError(_)
        | ExecutionError::MetadataError(_)
        | ExecutionError::BadQuery(_) => ErrorClass::Outage,
        // Never requested.
        ExecutionError::UseKeyspaceError(_) => ErrorClass::Refusal,
        _ => ErrorClass::Outage,
    }
}

/// Classifies a prepare error.
#[deny(clippy::wildcard_enum_match_arm)]
fn of_prepare(error: &PrepareError) -> ErrorClass {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => of_attempt(first_attempt),
        PrepareError::ConnectionPoolError(error) => of_pool(error),
        PrepareError::PreparedStatementIdsMismatch => ErrorClass::Refusal,
        _ => ErrorClass::Outage,
    }
}

/// Classifies the error of a pool without a connection.
fn of_pool(error: &ConnectionPoolError) -> ErrorClass {
    if ConnectionFault::of_pool(error).is_some() { ErrorClass::NotAdmitted } else { ErrorClass::Outage }
}

#[deny(clippy::wildcard_enum_match_arm)]
fn of_attempt(error: &RequestAttemptError) -> ErrorClass {
    match error {
        RequestAttemptError::DbError(error, _) => of_server(error),
        RequestAttemptError::UnableToAllocStreamId | RequestAttemptError::BrokenConnectionError(_) => {
            ErrorClass::Outage
        }
        // Values or responses that do not match the statement, or a statement whose id changed after it was
        // prepared: a repetition fails again.
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_)
        | RequestAttemptError::BodyExtensionsParseError(_)
        | RequestAttemptError::CqlResultParseError(_)
        | RequestAttemptError::CqlErrorParseError(_)
        | RequestAttemptError::UnexpectedResponse(_)
        | RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch
        | RequestAttemptError::NonfinishedPagingState => ErrorClass::Refusal,
        _ => ErrorClass::Outage,
    }
}

#[deny(clippy::wildcard_enum_match_arm)]
fn of_server(error: &DbError) -> ErrorClass {
    match error {
        // Too few replicas, or replicas that are slow, busy or failing: others, or the same ones later, may
        // succeed.
        DbError::Unavailable { .. }
        | DbError::Overloaded
        | DbError::IsBootstrapping
        | DbError::TruncateError
        | DbError::ReadTimeout { .. }
        | DbError::WriteTimeout { .. }
        | DbError::ReadFailure { .. }
        | DbError::WriteFailure { .. }
        | DbError::RateLimitReached { .. }
        | DbError::ServerError => ErrorClass::Outage,
        // The driver prepares again by itself; the statement was evicted once more in between.
        DbError::Unprepared { .. } => ErrorClass::Outage,
        // The statement, the schema or the permissions must change first.
        DbError::SyntaxError
        | DbError::Invalid
        | DbError::AlreadyExists { .. }
        | DbError::FunctionFailure { .. }
        | DbError::AuthenticationError
        | DbError::Unauthorized
        | DbError::ConfigError
        | DbError::ProtocolError => ErrorClass::Refusal,
        DbError::Other(_) | _ => ErrorClass::Outage,
    }
}

/// An error of a statement, before [`at`](Self::at) classifies it as a [`StoreError`].
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum StatementError {
    /// The driver could not execute it.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The driver could not prepare it.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The response has no rows.
    #[error(transparent)]
    NotRows(#[from] IntoRowsResultError),
    /// The rows have other types than the code expects.
    #[error(transparent)]
    FirstRow(#[from] MaybeFirstRowError),
    /// The rows have other types than the code expects.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A row could not be decoded.
    #[error(transparent)]
    Row(#[from] DeserializationError),
    /// A stored value that the pipeline never writes.
    #[error("{id} has the unknown value {value:?} in column {column}")]
    Word {
        /// The row, by its id.
        id: String,
        /// The column.
        column: &'static str,
        /// The value.
        value: String,
    },
    /// A cell that a row needs is null, or has a value that cannot be used and is not to be shown.
    #[error("{id} cannot be read: column {column} {fault}")]
    Cell {
        /// The row, by its id.
        id: String,
        /// The column.
        column: &'static str,
        /// What is wrong with the cell, as in "is null".
        fault: String,
    },
}

impl StatementError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Execution(error) => classify(error),
            Self::Prepare(error) => of_prepare(error),
            Self::NotRows(_)
            | Self::FirstRow(_)
            | Self::Rows(_)
            | Self::Row(_)
            | Self::Word { .. }
            | Self::Cell { .. } => ErrorClass::Refusal,
        }
    }

    fn connection_fault(&self) -> Option<ConnectionFault> {
        match self {
            Self::Execution(
                ExecutionError::ConnectionPoolError(error)
                | ExecutionError::PrepareError(PrepareError::ConnectionPoolError(error)),
            )
            | Self::Prepare(PrepareError::ConnectionPoolError(error)) => ConnectionFault::of_pool(error),
            _ => None,
        }
    }

    /// Returns whether replicas answered that they cannot read, as they do at too many tombstones.
    pub(super) fn is_read_failure(&self) -> bool {
        matches!(
            self,
            Self::Execution(ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::ReadFailure { .. },
                _
            )))
        )
    }

    /// Returns the error of the port; `what` is the operation, as a verb phrase, and `on` the name of the store. Timeouts
    /// and all other unknown outcomes are [`StoreError::Unavailable`].
    pub fn at(self, what: &'static str, on: &str) -> StoreError {
        let on = on.to_owned();
        match self.class() {
            ErrorClass::Outage => StoreError::Unavailable { what, on, source: Box::new(self) },
            ErrorClass::NotAdmitted => match self.connection_fault() {
                Some(fault) => StoreError::NotAdmitted { what, on, source: Box::new(fault) },
                None => StoreError::NotAdmitted { what, on, source: Box::new(self) },
            },
            ErrorClass::Refusal => StoreError::Refused { what, on, source: Box::new(self) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::errors::WriteType;
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
            // Of a conditional write that met another: it may have been applied.
            server(DbError::WriteTimeout {
                consistency: Consistency::LocalSerial,
                received: 1,
                required: 2,
                write_type: WriteType::Cas,
            }),
            server(DbError::ServerError),
        ] {
            assert_eq!(classify(&error), ErrorClass::Outage, "{error}");
        }
    }

    #[test]
    fn a_refused_login_or_certificate_of_a_running_session_is_told_from_an_outage() {
        let broken =
            |error: std::io::Error| ConnectionPoolError::Broken { last_connection_error: error.into() };
        let tls = |error: rustls::Error| broken(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
        let expired = tls(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired));
        for error in [
            ExecutionError::ConnectionPoolError(expired.clone()),
            ExecutionError::PrepareError(PrepareError::ConnectionPoolError(expired)),
        ] {
            let error = StatementError::from(error).at("record an order", "Cassandra at h:1");
            assert!(error.is_not_admitted() && error.is_outage());
            assert_eq!(
                error.to_string(),
                "could not record an order on Cassandra at h:1: it is not trusted: its certificate has expired"
            );
        }
        let refused = broken(std::io::ErrorKind::ConnectionRefused.into());
        assert_eq!(classify(&ExecutionError::ConnectionPoolError(refused)), ErrorClass::Outage);
    }

    #[test]
    fn what_the_server_never_accepts_is_a_refusal() {
        for error in [
            server(DbError::Invalid),
            server(DbError::SyntaxError),
            server(DbError::Unauthorized),
            server(DbError::AuthenticationError),
            server(DbError::ConfigError),
            ExecutionError::BadQuery(BadQuery::PartitionKeyExtraction),
            ExecutionError::LastAttemptError(RequestAttemptError::RepreparedIdMissingInBatch),
        ] {
            assert_eq!(classify(&error), ErrorClass::Refusal, "{error}");
        }
    }

    #[test]
    fn the_ports_error_names_the_store_and_the_cause() {
        let outage = StatementError::from(ExecutionError::EmptyPlan)
            .at("record an order", "Cassandra at h:1, keyspace k");
        assert!(outage.is_outage());
        assert!(
            outage.to_string().starts_with("could not record an order on Cassandra at h:1, keyspace k: ")
        );
        let refusal = StatementError::from(server(DbError::Invalid))
            .at("record an order", "Cassandra at h:1, keyspace k");
        assert!(!refusal.is_outage());
        assert!(refusal.to_string().contains("said the server"), "{refusal}");
    }
}
