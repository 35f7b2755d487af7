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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ecom_store::contract::service_address;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::session::open;
    use crate::settings::CassandraSettings;
    use crate::store::CassandraStore;
    use crate::testing::{settings, superuser};

    /// An authority for the certificates of nodes.
    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        file: tempfile::NamedTempFile,
    }

    impl Authority {
        fn new(name: &str) -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
            Self { issuer: Issuer::new(params, key), file }
        }

        /// Returns a certificate for this address, expired or not, with its key.
        fn certify(&self, address: &str, is_expired: bool) -> (CertificateDer<'static>, KeyPair) {
            let mut params = CertificateParams::new(vec![address.to_owned()]).unwrap();
            if is_expired {
                (params.not_before, params.not_after) =
                    (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
            }
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &self.issuer).unwrap().der().clone(), key)
        }
    }

    /// Starts a node that presents this certificate, and closes the connection after the handshake; returns its
    /// address.
    async fn node((certificate, key): (CertificateDer<'static>, KeyPair)) -> String {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(acceptor.accept(stream).await);
            }
        });
        address
    }

    /// Connects to a node with TLS, and returns the error.
    async fn refused(node: String, authority: &Authority) -> ConnectError {
        let settings = CassandraSettings {
            contact_points: vec![node],
            tls: true,
            ca_file: Some(authority.file.path().to_owned()),
            connect_timeout: Duration::from_secs(20),
            ..CassandraSettings::default()
        };
        CassandraStore::connect(&settings).await.expect_err("it is no node")
    }

    #[tokio::test]
    async fn each_fault_of_a_certificate_is_named_and_none_is_an_outage() {
        let (own, other, former) = (Authority::new("own"), Authority::new("other"), Authority::new("own"));
        let unknown = "none of the authorities in store.cassandra.ca_file (by default those of the system) signed \
                       its certificate";
        for (certificate, fault) in [
            (other.certify("127.0.0.1", false), unknown),
            (former.certify("127.0.0.1", false), unknown),
            (own.certify("127.0.0.1", true), "its certificate has expired"),
            (own.certify("10.0.0.7", false), "its certificate is for "),
        ] {
            let node = node(certificate).await;
            let error = refused(node.clone(), &own).await;
            let text = error.to_string();
            assert!(text.starts_with(&format!("Cassandra at {node} is not trusted: {fault}")), "{text}");
            assert!(!error.is_outage());
        }
        let wrong_name = refused(node(own.certify("10.0.0.7", false)).await, &own).await.to_string();
        assert!(wrong_name.contains("10.0.0.7") && wrong_name.ends_with("not for 127.0.0.1"), "{wrong_name}");
        let good = refused(node(own.certify("127.0.0.1", false)).await, &own).await;
        assert!(good.is_outage(), "only the handshake works: {good}");
    }

    #[tokio::test]
    async fn tls_against_a_node_without_it_is_told_and_no_outage() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plain = listener.local_addr().unwrap().to_string();
        let answering = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // The first frame of Cassandra's answer to a version of its protocol that it does not know.
                stream.read_u8().await.ok();
                stream.write_all(&[0x85, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 10, 0, 0]).await.ok();
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
            }
        });
        let error = refused(plain.clone(), &Authority::new("own")).await;
        assert_eq!(
            error.to_string(),
            format!(
                "Cassandra at {plain} does not encrypt connections: set store.cassandra.tls to false, or enable \
                 client_encryption_options in its cassandra.yaml"
            )
        );
        assert!(!error.is_outage());
        answering.abort();
        let Some(real) = settings("tls") else { return };
        let error = refused(real.contact_points[0].clone(), &Authority::new("own")).await;
        assert!(matches!(error, ConnectError::NoTls { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_real_node_that_encrypts_is_trusted_by_its_authority_and_plain_text_to_it_is_told() {
        let Some(node) =
            superuser("tls_node").filter(|_| service_address("CASSANDRA_LOGIN_CA_FILE").is_some())
        else {
            return;
        };
        open(&node).await.expect("it is trusted");
        let other = Authority::new("other");
        let untrusting = CassandraSettings { ca_file: Some(other.file.path().to_owned()), ..node.clone() };
        let error = open(&untrusting).await.unwrap_err();
        assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
        let plain = CassandraSettings { tls: false, ca_file: None, ..node.clone() };
        let error = open(&plain).await.unwrap_err();
        assert!(error.to_string().contains("if it asks for TLS, set store.cassandra.tls to true"), "{error}");
    }
}
