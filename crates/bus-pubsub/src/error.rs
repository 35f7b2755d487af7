//! The client library's errors: whether a retry may succeed, and their cause in one line.

use std::error::Error as StdError;
use std::sync::Arc;
use std::{fmt, io};

use google_cloud_gax::error::CredentialsError;
use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::Error;

/// The class of a failed call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ErrorClass {
    /// The resource does not exist.
    Missing,
    /// This identity has no permission.
    Denied,
    /// The same call cannot succeed.
    Refused,
    /// Trying again may succeed.
    Outage,
}

impl ErrorClass {
    /// Classifies an error of the client library.
    pub(super) fn of(error: &Error) -> Self {
        if let Some(status) = error.status() {
            return Self::of_code(status.code);
        }
        let permanent_credentials = error.is_authentication()
            && !chain(error).any(|e| e.downcast_ref::<CredentialsError>().is_some_and(|e| e.is_transient()));
        if permanent_credentials || error.is_serialization() || error.is_binding() {
            return Self::Refused;
        }
        Self::Outage
    }

    fn of_code(code: Code) -> Self {
        match code {
            Code::NotFound => Self::Missing,
            Code::PermissionDenied => Self::Denied,
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::AlreadyExists
            | Code::Unimplemented
            | Code::Unauthenticated => Self::Refused,
            // Unavailable and similar codes, and codes that are not known yet.
            _ => Self::Outage,
        }
    }
}

/// An error that is displayed as its root cause.
#[derive(Debug)]
pub(super) struct RootCause {
    text: String,
    source: Box<dyn StdError + Send + Sync>,
}

impl RootCause {
    pub(super) fn of(error: impl StdError + Send + Sync + 'static) -> Self {
        Self { text: root_cause(&error), source: Box::new(error) }
    }
}

impl fmt::Display for RootCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for RootCause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.source.as_ref())
    }
}

/// Returns the root cause in one line: the status (`NOT_FOUND: …`), or the innermost source (`connection
/// refused`).
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    if let Some(status) = chain(error).find_map(|e| client_error(e).and_then(Error::status)) {
        return format!("{}: {}", status.code, status.message);
    }
    let io = chain(error).find_map(|e| e.downcast_ref::<io::Error>());
    if let Some(io) = io.filter(|io| io.kind() != io::ErrorKind::Other) {
        return io.kind().to_string();
    }
    chain(error).last().map_or_else(String::new, ToString::to_string)
}

/// Downcasts to the client library's error. The messages of a batch share one.
fn client_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    error.downcast_ref::<Error>().or_else(|| error.downcast_ref::<Arc<Error>>().map(AsRef::as_ref))
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

#[cfg(test)]
pub(super) fn status(code: Code, message: &str) -> Error {
    Error::service(google_cloud_gax::error::rpc::Status::default().set_code(code).set_message(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_code_has_its_class() {
        let table = [
            (Code::NotFound, ErrorClass::Missing),
            (Code::PermissionDenied, ErrorClass::Denied),
            (Code::InvalidArgument, ErrorClass::Refused),
            (Code::FailedPrecondition, ErrorClass::Refused),
            (Code::OutOfRange, ErrorClass::Refused),
            (Code::AlreadyExists, ErrorClass::Refused),
            (Code::Unimplemented, ErrorClass::Refused),
            (Code::Unauthenticated, ErrorClass::Refused),
            (Code::Unavailable, ErrorClass::Outage),
            (Code::DeadlineExceeded, ErrorClass::Outage),
            (Code::ResourceExhausted, ErrorClass::Outage),
            (Code::Aborted, ErrorClass::Outage),
            (Code::Internal, ErrorClass::Outage),
            (Code::Unknown, ErrorClass::Outage),
            (Code::Cancelled, ErrorClass::Outage),
            (Code::DataLoss, ErrorClass::Outage),
        ];
        for (code, meaning) in table {
            assert_eq!(ErrorClass::of(&status(code, "x")), meaning, "{code:?}");
        }
    }

    #[test]
    fn temporary_credential_errors_are_an_outage_and_permanent_ones_are_not() {
        let permanent = Error::authentication(CredentialsError::from_msg(false, "no such key"));
        assert_eq!(ErrorClass::of(&permanent), ErrorClass::Refused);
        let temporary = Error::authentication(CredentialsError::from_msg(true, "metadata server"));
        assert_eq!(ErrorClass::of(&temporary), ErrorClass::Outage);
    }

    #[test]
    fn timeouts_and_broken_connections_are_outages() {
        assert_eq!(ErrorClass::of(&Error::timeout("late")), ErrorClass::Outage);
        assert_eq!(ErrorClass::of(&Error::io("reset")), ErrorClass::Outage);
        assert_eq!(ErrorClass::of(&Error::connect("refused")), ErrorClass::Outage);
    }

    #[test]
    fn the_root_cause_is_the_status_or_the_innermost_source() {
        let missing = RootCause::of(status(Code::NotFound, "no such topic"));
        assert_eq!(missing.to_string(), "NOT_FOUND: no such topic");
        let batch =
            google_cloud_pubsub::error::PublishError::Rpc(Arc::new(status(Code::NotFound, "no such topic")));
        assert_eq!(RootCause::of(batch).to_string(), "NOT_FOUND: no such topic");
        let refused = RootCause::of(Error::io(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert_eq!(refused.to_string(), "connection refused");
    }
}
