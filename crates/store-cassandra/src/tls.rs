//! TLS configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::connect_error::ConnectError;

/// The files with the CA certificates that the operating system trusts; the first that exists is used.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Returns the file with the CA certificates that the operating system trusts.
pub(super) fn system_authorities() -> &'static Path {
    let present = SYSTEM_AUTHORITIES.iter().map(Path::new).find(|file| file.exists());
    present.unwrap_or(Path::new(SYSTEM_AUTHORITIES[0]))
}

/// Returns a TLS configuration that trusts the CA certificates in `file` and no others.
pub(super) fn client_config(file: &Path) -> Result<Arc<ClientConfig>, ConnectError> {
    let fault = |cause: String| ConnectError::CaFile { path: file.to_owned(), cause };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| fault(error.to_string()))? {
        let certificate = certificate.map_err(|error| fault(error.to_string()))?;
        roots.add(certificate).map_err(|error| fault(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fault("the file has no certificate".to_owned()));
    }
    // Name the provider: another client in the process may link a second one, and rustls then panics.
    let provider =
        CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
