//! What the client's errors mean here.

use std::error::Error as StdError;
use std::sync::Arc;
use std::{fmt, io};

use google_cloud_gax::error::CredentialsError;
use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::Error;

/// What a failed call says about the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// What was asked for does not exist.
    Missing,
    /// This identity may not.
    Denied,
    /// The same call cannot succeed.
    Refused,
    /// Trying again may succeed.
    Outage,
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        if let Some(status) = error.status() {
            return Self::of_code(status.code);
        }
        let lasting_credentials = error.is_authentication()
            && !chain(error).any(|e| e.downcast_ref::<CredentialsError>().is_some_and(|e| e.is_transient()));
        if lasting_credentials || error.is_serialization() || error.is_binding() {
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
            // Unavailable and its kin, and codes not known yet.
            _ => Self::Outage,
        }
    }
}

/// An error told by its cause: the status, or the innermost source.
#[derive(Debug)]
pub(super) struct Cause {
    text: String,
    source: Box<dyn StdError + Send + Sync>,
}

impl Cause {
    pub(super) fn of(error: impl StdError + Send + Sync + 'static) -> Self {
        Self { text: told(&error), source: Box::new(error) }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.source.as_ref())
    }
}

/// One line for people: `NOT_FOUND: …`, `connection refused`.
pub(super) fn told(error: &(dyn StdError + 'static)) -> String {
    if let Some(status) = chain(error).find_map(|e| client_error(e).and_then(Error::status)) {
        return format!("{}: {}", status.code, status.message);
    }
    let io = chain(error).find_map(|e| e.downcast_ref::<io::Error>());
    if let Some(io) = io.filter(|io| io.kind() != io::ErrorKind::Other) {
        return io.kind().to_string();
    }
    chain(error).last().map_or_else(String::new, ToString::to_string)
}

/// One batch's messages share its error.
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
    fn every_status_has_its_meaning() {
        let table = [
            (Code::NotFound, Failure::Missing),
            (Code::PermissionDenied, Failure::Denied),
            (Code::InvalidArgument, Failure::Refused),
            (Code::FailedPrecondition, Failure::Refused),
            (Code::OutOfRange, Failure::Refused),
            (Code::AlreadyExists, Failure::Refused),
            (Code::Unimplemented, Failure::Refused),
            (Code::Unauthenticated, Failure::Refused),
            (Code::Unavailable, Failure::Outage),
            (Code::DeadlineExceeded, Failure::Outage),
            (Code::ResourceExhausted, Failure::Outage),
            (Code::Aborted, Failure::Outage),
            (Code::Internal, Failure::Outage),
            (Code::Unknown, Failure::Outage),
            (Code::Cancelled, Failure::Outage),
            (Code::DataLoss, Failure::Outage),
        ];
        for (code, meaning) in table {
            assert_eq!(Failure::of(&status(code, "x")), meaning, "{code:?}");
        }
    }

    #[test]
    fn credentials_that_may_come_back_are_an_outage_and_others_are_not() {
        let lasting = Error::authentication(CredentialsError::from_msg(false, "no such key"));
        assert_eq!(Failure::of(&lasting), Failure::Refused);
        let passing = Error::authentication(CredentialsError::from_msg(true, "metadata server"));
        assert_eq!(Failure::of(&passing), Failure::Outage);
    }

    #[test]
    fn silence_and_broken_connections_are_outages() {
        assert_eq!(Failure::of(&Error::timeout("late")), Failure::Outage);
        assert_eq!(Failure::of(&Error::io("reset")), Failure::Outage);
        assert_eq!(Failure::of(&Error::connect("refused")), Failure::Outage);
    }

    #[test]
    fn an_error_is_told_by_its_status_or_its_innermost_cause() {
        let missing = Cause::of(status(Code::NotFound, "no such topic"));
        assert_eq!(missing.to_string(), "NOT_FOUND: no such topic");
        let batch =
            google_cloud_pubsub::error::PublishError::Rpc(Arc::new(status(Code::NotFound, "no such topic")));
        assert_eq!(Cause::of(batch).to_string(), "NOT_FOUND: no such topic");
        let refused = Cause::of(Error::io(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert_eq!(refused.to_string(), "connection refused");
    }
}
