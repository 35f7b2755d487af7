//! Faults of a connection that waiting does not mend: what the node, or this process, does not accept.

use std::fmt;

use rustls::{CertificateError, Error as TlsError, InvalidMessage};
use scylla::errors::{ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError};

/// A fault of a connection that lasts until the configuration of this process or of the cluster changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ConnectionFault {
    /// The node refused the login, for the reason that it gave.
    Login(String),
    /// This process does not accept the node's certificate.
    Untrusted(String),
    /// The node answers in plain text.
    NoTls,
}

impl fmt::Display for ConnectionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login(reason) => write!(f, "it refuses the login: {reason}"),
            Self::Untrusted(cause) => write!(f, "it is not trusted: {cause}"),
            Self::NoTls => f.write_str("it does not encrypt connections, but store.cassandra.tls is true"),
        }
    }
}

impl std::error::Error for ConnectionFault {}

impl ConnectionFault {
    /// Returns the fault of a pool whose last connection failed; `None` if another attempt may succeed.
    pub(super) fn of_pool(error: &ConnectionPoolError) -> Option<Self> {
        match error {
            ConnectionPoolError::Broken { last_connection_error } => Self::of(last_connection_error),
            _ => None,
        }
    }

    /// Returns the fault of a connection; `None` if another attempt may succeed.
    pub(super) fn of(error: &ConnectionError) -> Option<Self> {
        match error {
            ConnectionError::ConnectionSetupRequestError(error) => match error.get_error() {
                ConnectionSetupRequestErrorKind::DbError(
                    DbError::AuthenticationError | DbError::Unauthorized,
                    reason,
                ) => Some(Self::Login(reason.clone())),
                ConnectionSetupRequestErrorKind::MissingAuthentication => Some(Self::Login(
                    "the node asks for a user and a password, but none are configured".to_owned(),
                )),
                _ => None,
            },
            ConnectionError::IoError(error) => match error.get_ref()?.downcast_ref()? {
                TlsError::InvalidCertificate(error) => Some(Self::Untrusted(of_certificate(error))),
                TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => Some(Self::NoTls),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Returns the fault of a certificate, as a sentence about it.
fn of_certificate(error: &CertificateError) -> String {
    match error {
        // A signature is bad where an authority was replaced by another one of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "none of the authorities in store.cassandra.ca_file (by default those \
             of the system) signed its certificate"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is the clock of this host right?".to_owned()
        }
        CertificateError::NotValidForName => "its certificate is for another address".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let for_whom = if presented.is_empty() { "no address".to_owned() } else { presented.join(", ") };
            format!("its certificate is for {for_whom}, not for {}", expected.to_str())
        }
        other => format!("its certificate is invalid: {other:?}"),
    }
}
