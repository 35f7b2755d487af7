//! TLS configuration.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ecom_clock::LogThrottle;
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tokio::time::Instant;

use super::connect_error::ConnectError;
use super::settings::CassandraSettings;

/// The files with the CA certificates that the operating system trusts; the first that exists is used.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The shortest time between two warnings about the files of a client certificate.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Returns the file with the CA certificates that the operating system trusts.
pub(super) fn system_authorities() -> &'static Path {
    let present = SYSTEM_AUTHORITIES.iter().map(Path::new).find(|file| file.exists());
    present.unwrap_or(Path::new(SYSTEM_AUTHORITIES[0]))
}

/// Returns the TLS configuration of the settings: the CA certificates that it trusts, and the certificate that it presents.
pub(super) fn client_config(settings: &CassandraSettings) -> Result<Arc<ClientConfig>, ConnectError> {
    let file = settings.ca_file.as_deref().unwrap_or_else(|| system_authorities());
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
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(error.to_string()))?
        .with_root_certificates(roots);
    Ok(Arc::new(match (&settings.cert_file, &settings.key_file) {
        (Some(certificate), Some(key)) => {
            let files = ClientFiles { certificate: certificate.clone(), key: key.clone(), provider };
            config.with_client_cert_resolver(Arc::new(ClientCertificate::read(files)?))
        }
        _ => config.with_no_client_auth(),
    }))
}

/// The files of a client certificate and its key.
#[derive(Debug)]
struct ClientFiles {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
}

impl ClientFiles {
    /// Reads the files, and checks that the key is that of the certificate.
    fn read(&self) -> Result<Arc<CertifiedKey>, ConnectError> {
        let fault =
            |path: &Path, cause: String| ConnectError::ClientCertificateFile { path: path.to_owned(), cause };
        let of_certificate = |error: &dyn ToString| fault(&self.certificate, error.to_string());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&self.certificate)
            .map_err(|error| of_certificate(&error))?
            .collect();
        let chain = chain.map_err(|error| of_certificate(&error))?;
        if chain.is_empty() {
            return Err(of_certificate(&"the file has no certificate"));
        }
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| fault(&self.key, error.to_string()))?;
        let certified = CertifiedKey::from_der(chain, key, &self.provider);
        certified.map(Arc::new).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                fault(&self.key, "it is not the key of the certificate".to_owned())
            }
            error => fault(&self.key, error.to_string()),
        })
    }
}

/// A client certificate, read again for each connection, so that a renewed one needs no restart.
#[derive(Debug)]
struct ClientCertificate {
    files: ClientFiles,
    /// The last certificate that could be read.
    last: Mutex<Arc<CertifiedKey>>,
    warnings: Mutex<LogThrottle>,
}

impl ClientCertificate {
    fn read(files: ClientFiles) -> Result<Self, ConnectError> {
        let last = Mutex::new(files.read()?);
        Ok(Self { files, last, warnings: Mutex::new(LogThrottle::every(WARN_EVERY)) })
    }
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.files.read() {
            Ok(read) => *last = read,
            Err(error) => {
                let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                if warnings.admit(Instant::now()).is_some() {
                    tracing::warn!("{error}; presenting the one that it had before");
                }
            }
        }
        Some(Arc::clone(&last))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use ecom_store::contract::service_address;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use rustls::server::danger::ClientCertVerifier;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::session::open;
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
    async fn node(certified: (CertificateDer<'static>, KeyPair)) -> String {
        listening(certified, WebPkiClientVerifier::no_client_auth()).await
    }

    /// Starts such a node that asks for certificates of this authority.
    async fn asking(certified: (CertificateDer<'static>, KeyPair), clients: &Authority) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(clients.file.path()).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        listening(certified, verifier).await
    }

    async fn listening(
        (certificate, key): (CertificateDer<'static>, KeyPair),
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> String {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
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

    fn settings_of(node: String, authority: &Authority) -> CassandraSettings {
        CassandraSettings {
            contact_points: vec![node],
            tls: true,
            ca_file: Some(authority.file.path().to_owned()),
            connect_timeout: Duration::from_secs(20),
            ..CassandraSettings::default()
        }
    }

    /// Connects to a node with TLS, and returns the error.
    async fn refused(node: String, authority: &Authority) -> ConnectError {
        CassandraStore::connect(&settings_of(node, authority)).await.expect_err("it is no node")
    }

    /// The files of a client certificate.
    struct Client {
        folder: tempfile::TempDir,
    }

    impl Client {
        fn of(authority: &Authority) -> Self {
            let client = Self { folder: tempfile::tempdir().unwrap() };
            client.renew(authority);
            client
        }

        /// Writes another certificate and its key.
        fn renew(&self, authority: &Authority) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(Vec::new()).unwrap();
            let certificate = params.signed_by(&key, &authority.issuer).unwrap();
            std::fs::write(self.certificate(), certificate.pem()).unwrap();
            std::fs::write(self.key(), key.serialize_pem()).unwrap();
        }

        fn certificate(&self) -> PathBuf {
            self.folder.path().join("client.pem")
        }

        fn key(&self) -> PathBuf {
            self.folder.path().join("client.key")
        }

        fn presented_by(&self, settings: CassandraSettings) -> CassandraSettings {
            CassandraSettings { cert_file: Some(self.certificate()), key_file: Some(self.key()), ..settings }
        }
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
        let plain =
            CassandraSettings { tls: false, ca_file: None, cert_file: None, key_file: None, ..node.clone() };
        let error = open(&plain).await.unwrap_err();
        assert!(error.to_string().contains("if it asks for TLS, set store.cassandra.tls to true"), "{error}");
    }

    #[tokio::test]
    async fn a_real_node_that_asks_for_client_certificates_refuses_none_and_an_unknown_one() {
        let Some(node) =
            superuser("mutual_tls").filter(|_| service_address("CASSANDRA_LOGIN_CERT_FILE").is_some())
        else {
            return;
        };
        open(&node).await.expect("the certificate is known");
        let address = &node.contact_points[0];
        let without = CassandraSettings { cert_file: None, key_file: None, ..node.clone() };
        assert_eq!(
            open(&without).await.unwrap_err().to_string(),
            format!(
                "Cassandra at {address} refused the client certificate: it asks for one; set \
                 store.cassandra.cert_file and key_file"
            )
        );
        let unknown = Client::of(&Authority::new("others"));
        let error = open(&unknown.presented_by(node.clone())).await.unwrap_err();
        let told = "if it does not trust the certificate of store.cassandra.cert_file, add its authority";
        assert!(error.to_string().contains(told), "{error}");
    }

    #[tokio::test]
    async fn a_node_that_asks_for_client_certificates_refuses_the_others_for_a_reason_that_is_told() {
        let (nodes, clients) = (Authority::new("nodes"), Authority::new("clients"));
        let node = asking(nodes.certify("127.0.0.1", false), &clients).await;
        let without = settings_of(node.clone(), &nodes);
        let error = CassandraStore::connect(&without).await.expect_err("it has no certificate");
        assert_eq!(
            error.to_string(),
            format!(
                "Cassandra at {node} refused the client certificate: it asks for one; set store.cassandra.cert_file \
                 and key_file"
            )
        );
        assert!(!error.is_outage());
        let unknown = Client::of(&Authority::new("others"));
        let error = CassandraStore::connect(&unknown.presented_by(without.clone())).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!(
                "Cassandra at {node} refused the client certificate: its authorities "
            )),
            "{text}"
        );
        assert!(!error.is_outage());
        let known = Client::of(&clients);
        let error = CassandraStore::connect(&known.presented_by(without)).await.unwrap_err();
        assert!(error.is_outage(), "only the handshake works: {error}");
    }

    #[tokio::test]
    async fn a_renewed_client_certificate_is_presented_and_a_broken_file_is_not() {
        let authority = Authority::new("clients");
        let client = Client::of(&authority);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let files = ClientFiles { certificate: client.certificate(), key: client.key(), provider };
        let resolver = ClientCertificate::read(files).unwrap();
        let presented = || resolver.resolve(&[], &[]).unwrap().cert.clone();
        let first = presented();
        assert_eq!(presented(), first);
        client.renew(&authority);
        let second = presented();
        assert_ne!(second, first);
        // Half of a renewal: a key of another certificate.
        std::fs::write(client.key(), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert_eq!(presented(), second);
        std::fs::remove_file(client.certificate()).unwrap();
        assert_eq!(presented(), second);
    }

    #[tokio::test]
    async fn files_of_a_client_certificate_that_are_no_pair_are_refused_before_a_node_is_contacted() {
        let authority = Authority::new("clients");
        let client = Client::of(&authority);
        let settings = client.presented_by(settings_of("127.0.0.1:1".into(), &authority));
        let told = async || CassandraStore::connect(&settings).await.unwrap_err().to_string();
        let why =
            format!("could not read the client certificate for Cassandra from {}: ", client.key().display());
        std::fs::write(client.key(), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert_eq!(told().await, why.clone() + "it is not the key of the certificate");
        std::fs::write(client.key(), "").unwrap();
        assert!(told().await.starts_with(&why), "{}", told().await);
        std::fs::write(client.certificate(), "").unwrap();
        assert!(told().await.ends_with("client.pem: the file has no certificate"), "{}", told().await);
    }
}
