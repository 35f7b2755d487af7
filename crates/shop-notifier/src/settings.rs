//! The settings of the notifier: the section `[shop.notifier]`.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
use reqwest::Url;
use serde::{Deserialize, Deserializer};
use standardwebhooks::Webhook;

use super::folder::FolderSender;
use super::sender::Sender;
use super::smtp::{SmtpSender, SmtpServer};
use super::webhook::WebhookSender;
use ecom_config::fields::{
    MINUTE, SECOND, checked, duration, none_if_empty, number, number_or_automatic, path_or_none,
};

/// The sender of mails into a folder where none is configured.
const FROM: &str = "Shop <shop@localhost>";

/// The beginning of a certificate in a PEM file.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The notifier.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifierSettings {
    /// The channel; a folder by default.
    pub channel: Channel,
    /// The sender of mails; `None` by default, which a folder alone can do without.
    #[serde(deserialize_with = "mailbox_or_none")]
    pub from: Option<Mailbox>,
    /// The folder of mails; `None` by default.
    #[serde(deserialize_with = "path_or_none")]
    pub folder: Option<PathBuf>,
    /// The time limit of an attempt, 1 s to 5 min; 30 s by default.
    #[serde(deserialize_with = "duration::<_, SECOND, { 5 * MINUTE }>")]
    pub timeout: Duration,
    /// The most confirmations that are being sent at the same time, 1 to 256; 4 by default. As many may be sent twice if the
    /// process is killed.
    #[serde(deserialize_with = "number::<_, _, 1, 256>")]
    pub concurrency: usize,
    /// The mail server.
    pub smtp: SmtpSettings,
    /// The webhook.
    pub webhook: WebhookSettings,
}

/// A way of confirmations to customers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A file each, in a folder.
    Folder,
    /// Mails, to a mail server.
    Smtp,
    /// Signed requests, to a URL.
    Webhook,
}

/// The mail server.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpSettings {
    /// The host; `None` by default.
    #[serde(deserialize_with = "none_if_empty")]
    pub host: Option<String>,
    /// The port; `None` (the default) is the usual one of the encryption.
    #[serde(deserialize_with = "number_or_automatic::<_, 65_535>")]
    pub port: Option<usize>,
    /// The encryption of the connection; STARTTLS by default.
    pub tls: Encryption,
    /// PEM file of the only authorities to trust; `None` (the default) trusts those of the system.
    #[serde(deserialize_with = "path_or_none")]
    pub ca_file: Option<PathBuf>,
    /// The file of the login, `USER:PASSWORD`; `None` by default.
    #[serde(deserialize_with = "path_or_none")]
    pub credentials_file: Option<PathBuf>,
}

/// The encryption of a connection to a mail server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// By STARTTLS; a server that does not offer it is sent nothing.
    Starttls,
    /// By STARTTLS if the server offers it, which somebody on the way can prevent.
    StarttlsIfOffered,
    /// From the first byte on.
    Implicit,
    /// Not at all.
    None,
}

/// The webhook.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// The URL; `None` by default.
    #[serde(deserialize_with = "none_if_empty")]
    pub url: Option<String>,
    /// The file of the secret that signs the requests; `None` by default.
    #[serde(deserialize_with = "path_or_none")]
    pub secret_file: Option<PathBuf>,
}

/// A file of a login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CredentialsFile(PathBuf);

/// The settings are not enough for a sender, or wrong: what to change.
#[derive(Clone, PartialEq, Eq, thiserror::Error, Debug)]
#[error("{0}")]
pub struct SenderFault(String);

impl Encryption {
    /// Returns the usual port.
    fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Implicit => 465,
            Self::StarttlsIfOffered | Self::None => 25,
        }
    }

    /// Returns whether nothing is ever sent in clear.
    fn is_certain(self) -> bool {
        matches!(self, Self::Starttls | Self::Implicit)
    }
}

impl NotifierSettings {
    /// Returns the sender of the configured channel, with this folder where none is configured; `None` where one must be.
    ///
    /// # Errors
    /// A setting is missing or wrong, or a file cannot be read.
    pub fn sender(&self, default_folder: Option<&Path>) -> Result<Arc<dyn Sender>, SenderFault> {
        match self.channel {
            Channel::Folder => {
                let (folder, from) = self.folder(default_folder)?;
                let opened = FolderSender::open(folder.clone(), from).map_err(|error| {
                    let folder = folder.display();
                    SenderFault(format!("could not create the folder of confirmations {folder}: {error}"))
                });
                Ok(Arc::new(opened?))
            }
            Channel::Smtp => self.smtp().map(|sender| Arc::new(sender) as _),
            Channel::Webhook => self.webhook().map(|sender| Arc::new(sender) as _),
        }
    }

    /// Checks that the configured channel has what it needs, and creates nothing.
    ///
    /// # Errors
    /// As [`sender`](Self::sender), but for a folder that cannot be created.
    pub fn check(&self, default_folder: Option<&Path>) -> Result<(), SenderFault> {
        match self.channel {
            Channel::Folder => self.folder(default_folder).map(drop),
            Channel::Smtp => self.smtp().map(drop),
            Channel::Webhook => self.webhook().map(drop),
        }
    }

    fn folder(&self, default_folder: Option<&Path>) -> Result<(PathBuf, Mailbox), SenderFault> {
        let folder = self.folder.as_deref().or(default_folder);
        let folder = folder.ok_or_else(|| self.missing("folder"))?.to_owned();
        let from = match &self.from {
            Some(from) => from.clone(),
            None => FROM.parse().map_err(|_| self.missing("from"))?,
        };
        Ok((folder, from))
    }

    fn smtp(&self) -> Result<SmtpSender, SenderFault> {
        let SmtpSettings { host, port, tls: encryption, ca_file, credentials_file } = &self.smtp;
        let from = self.from.clone().ok_or_else(|| self.missing("from"))?;
        let host = host.clone().ok_or_else(|| self.missing("smtp.host"))?;
        let credentials = credentials_file.clone().map(CredentialsFile);
        if let Some(file) = &credentials {
            if !encryption.is_certain() && !is_of_this_host(&host) {
                return Err(SenderFault(format!(
                    "shop.notifier.smtp.credentials_file is set, and the login could be sent in clear: \
                     shop.notifier.smtp.tls must be \"starttls\" or \"implicit\", is {encryption}"
                )));
            }
            file.read().map_err(SenderFault)?;
        }
        let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or_else(|| encryption.port());
        let tls = tls(&host, ca_file.as_deref())?;
        let server = SmtpServer { host, port, encryption: *encryption, tls, credentials };
        Ok(SmtpSender::new(server, from))
    }

    fn webhook(&self) -> Result<WebhookSender, SenderFault> {
        let url = self.webhook.url.as_ref().ok_or_else(|| self.missing("webhook.url"))?;
        let is_http = |url: &Url| matches!(url.scheme(), "http" | "https");
        let url = Url::parse(url).ok().filter(is_http).ok_or_else(|| {
            SenderFault(
                "shop.notifier.webhook.url must be a URL that begins with https:// or http://".to_owned(),
            )
        })?;
        let file = self.webhook.secret_file.as_ref().ok_or_else(|| self.missing("webhook.secret_file"))?;
        let secret = read(file).map_err(SenderFault)?;
        let key = Some(secret.trim()).filter(|secret| !secret.is_empty());
        let key = key.and_then(|secret| Webhook::new(secret).ok()).ok_or_else(|| {
            SenderFault(format!(
                "{} must contain the secret of the webhook and nothing else: whsec_ and base64",
                file.display()
            ))
        })?;
        let failed = |error| SenderFault(format!("could not create an HTTP client: {error}"));
        WebhookSender::try_new(url, key).map_err(failed)
    }

    fn missing(&self, key: &str) -> SenderFault {
        SenderFault(format!(
            "shop.notifier.{key} is required because shop.notifier.channel is {}",
            self.channel
        ))
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "\"folder\" and bus and store are not the embedded ones",
            Self::Smtp => "\"smtp\"",
            Self::Webhook => "\"webhook\"",
        })
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starttls => "\"starttls\"",
            Self::StarttlsIfOffered => "\"starttls_if_offered\"",
            Self::Implicit => "\"implicit\"",
            Self::None => "\"none\"",
        })
    }
}

impl CredentialsFile {
    /// Reads user and password.
    ///
    /// # Errors
    /// The file cannot be read, or is not `USER:PASSWORD`.
    pub(crate) fn read(&self) -> Result<(String, String), String> {
        let text = read(&self.0)?;
        let login = text.lines().next().and_then(|line| line.split_once(':'));
        let (user, password) = login.ok_or_else(|| {
            format!("{} must contain the login to the mail server, USER:PASSWORD", self.0.display())
        })?;
        Ok((user.to_owned(), password.to_owned()))
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("could not read {}: {error}", file.display()))
}

fn tls(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, SenderFault> {
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(file) = ca_file {
        let fault = |error: &dyn fmt::Display| {
            SenderFault(format!("could not read the certificates of {}: {error}", file.display()))
        };
        let pem = std::fs::read(file).map_err(|error| fault(&error))?;
        if !pem.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE) {
            return Err(fault(&"it has none"));
        }
        parameters = parameters.certificate_store(CertificateStore::None);
        parameters =
            parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| fault(&error))?);
    }
    parameters.build().map_err(|error| SenderFault(format!("could not prepare TLS with {host}: {error}")))
}

/// Returns whether a host is this one.
fn is_of_this_host(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn mailbox_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Mailbox>, D::Error> {
    checked(deserializer, |text| match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            format!("must be an e-mail address such as \"Shop <shop@example.com>\", is \"{text}\"")
        }),
    })
}
