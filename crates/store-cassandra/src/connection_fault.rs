//! Faults of a connection that waiting does not mend: what the node, or this process, does not accept.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage};
use scylla::errors::{
    BrokenConnectionErrorKind, ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind,
    DbError, FrameHeaderParseError,
};

/// A fault of a connection that lasts until the configuration of this process or of the cluster changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ConnectionFault {
    /// The node refused the login, for the reason that it gave.
    Login(String),
    /// This process does not accept the node's certificate.
    Untrusted(String),
    /// The node does not accept this process's certificate, or that it has none.
    ClientCertificate(String),
    /// The node answers in plain text.
    NoTls,
}

impl fmt::Display for ConnectionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login(reason) => write!(f, "it refuses the login: {reason}"),
            Self::Untrusted(cause) => write!(f, "it is not trusted: {cause}"),
            Self::ClientCertificate(cause) => write!(f, "it refuses the client certificate: {cause}"),
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
        if let Some(error) = tls_error(error) {
            return of_tls(error);
        }
        let ConnectionError::ConnectionSetupRequestError(error) = error else { return None };
        match error.get_error() {
            ConnectionSetupRequestErrorKind::DbError(
                DbError::AuthenticationError | DbError::Unauthorized,
                reason,
            ) => Some(Self::Login(reason.clone())),
            ConnectionSetupRequestErrorKind::MissingAuthentication => Some(Self::Login(
                "the node asks for a user and a password, but none are configured".to_owned(),
            )),
            _ => None,
        }
    }
}

/// Returns whether the node answered with the TLS alert `internal_error`. Cassandra does so for a fault of its own, and for a
/// client certificate that no authority of its truststore signed.
pub(super) fn is_internal_error(error: &ConnectionError) -> bool {
    matches!(tls_error(error), Some(TlsError::AlertReceived(AlertDescription::InternalError)))
}

/// Returns the error of TLS that broke a connection.
fn tls_error(error: &ConnectionError) -> Option<&TlsError> {
    let error = match error {
        ConnectionError::IoError(error) => error,
        // With TLS 1.3 a node refuses a client only once the handshake is over for it.
        ConnectionError::ConnectionSetupRequestError(error) => {
            let ConnectionSetupRequestErrorKind::BrokenConnection(error) = error.get_error() else {
                return None;
            };
            match error.downcast_ref()? {
                BrokenConnectionErrorKind::FrameHeaderParseError(FrameHeaderParseError::HeaderIoError(
                    error,
                ))
                | BrokenConnectionErrorKind::WriteError(error) => error,
                _ => return None,
            }
        }
        _ => return None,
    };
    error.get_ref()?.downcast_ref()
}

fn of_tls(error: &TlsError) -> Option<ConnectionFault> {
    match error {
        TlsError::InvalidCertificate(error) => Some(ConnectionFault::Untrusted(of_certificate(error))),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => Some(ConnectionFault::NoTls),
        TlsError::AlertReceived(alert) => of_alert(*alert).map(ConnectionFault::ClientCertificate),
        _ => None,
    }
}

/// Returns why a node refuses the certificate of this process; `None` if the alert is about something else.
fn of_alert(alert: AlertDescription) -> Option<String> {
    Some(match alert {
        AlertDescription::CertificateRequired => {
            "it asks for one; set store.cassandra.cert_file and key_file".to_owned()
        }
        AlertDescription::UnknownCA => "its authorities did not sign it".to_owned(),
        AlertDescription::CertificateExpired => "it has expired".to_owned(),
        AlertDescription::CertificateRevoked => "it is revoked".to_owned(),
        // Nodes on Java: the certificate is missing, or no authority of their truststore signed it.
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => {
            format!("its authorities did not sign it, or it is invalid ({alert:?})")
        }
        _ => return None,
    })
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
