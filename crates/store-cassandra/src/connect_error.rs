//! Errors of connecting to Cassandra.

use std::path::PathBuf;

use super::schema_check::SchemaDifference;
use ecom_store::StoreError;

/// An error of connecting to Cassandra.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings are invalid; no node was contacted.
    #[error("the settings for Cassandra are invalid: {0}")]
    Settings(String),
    /// No CA certificate could be read; no node was contacted.
    #[error("could not read the CA certificates of Cassandra from {}: {cause}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The error.
        cause: String,
    },
    /// The client certificate or its key could not be read; no node was contacted.
    #[error("could not read the client certificate for Cassandra from {}: {cause}", path.display())]
    ClientCertificateFile {
        /// The file.
        path: PathBuf,
        /// The error.
        cause: String,
    },
    /// No node responded.
    #[error("could not reach Cassandra at {contact_points}: {cause}")]
    Unreachable {
        /// The nodes tried.
        contact_points: String,
        /// The error of the last one.
        cause: String,
    },
    /// A node refused the login.
    #[error("Cassandra at {contact_points} refused the login{}: {cause}", user.as_ref().map(|user| format!(" of {user}")).unwrap_or_default())]
    Login {
        /// The nodes tried.
        contact_points: String,
        /// The user, where one is configured.
        user: Option<String>,
        /// The reason that the node gave.
        cause: String,
    },
    /// A node's certificate is not signed by a trusted authority, or not valid for its IP address.
    #[error("Cassandra at {contact_points} is not trusted: {cause}")]
    Untrusted {
        /// The nodes tried.
        contact_points: String,
        /// The fault of the certificate.
        cause: String,
    },
    /// A node refused the client certificate, or the lack of one.
    #[error("Cassandra at {contact_points} refused the client certificate: {cause}")]
    ClientCertificate {
        /// The nodes tried.
        contact_points: String,
        /// The reason that the node gave.
        cause: String,
    },
    /// A node answers in plain text.
    #[error(
        "Cassandra at {contact_points} does not encrypt connections: set store.cassandra.tls to false, or enable client_encryption_options in its cassandra.yaml"
    )]
    NoTls {
        /// The nodes tried.
        contact_points: String,
    },
    /// No node belongs to the local datacenter.
    #[error("Cassandra at {contact_points} has no datacenter {wanted:?}, only {present}")]
    Datacenter {
        /// The nodes tried.
        contact_points: String,
        /// The configured datacenter.
        wanted: String,
        /// The datacenters of the cluster.
        present: String,
    },
    /// The tables differ from `schema.cql`.
    #[error("{on} lacks what the pipeline needs: {}; run ecom_setup", differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Schema {
        /// The store.
        on: String,
        /// The differences.
        differences: Vec<SchemaDifference>,
    },
    /// A statement failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ConnectError {
    /// Returns whether a retry may succeed.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Store(error) => error.is_outage(),
            Self::Settings(_)
            | Self::CaFile { .. }
            | Self::ClientCertificateFile { .. }
            | Self::ClientCertificate { .. }
            | Self::Login { .. }
            | Self::Untrusted { .. }
            | Self::NoTls { .. }
            | Self::Datacenter { .. }
            | Self::Schema { .. } => false,
        }
    }
}
