//! The sender to a mail server.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::time::Instant;

use super::confirmation::Confirmation;
use super::mail::mail;
use super::sender::{SendError, Sender};
use super::settings::{CredentialsFile, Encryption};

/// The most connections that are kept for later.
const IDLE: usize = 16;
/// The longest time that a connection is kept without a mail.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// Permanent replies that are about the login, not about the mail.
const OF_LOGIN: [u16; 4] = [530, 534, 535, 538];

/// A mail server, and how to log in.
pub struct SmtpServer {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The encryption of the connection.
    pub encryption: Encryption,
    /// The authorities and the name that its certificate is checked against.
    pub tls: TlsParameters,
    /// The user and the password, if it asks for a login; read again for each connection.
    pub credentials: Option<CredentialsFile>,
}

/// Sends each confirmation as a mail to a mail server, which carries it further.
pub struct SmtpSender {
    server: SmtpServer,
    from: Mailbox,
    /// Connections between two mails, each with the time since when. One whose mail was not answered is closed: the answer
    /// would be taken for that of the next.
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl SmtpSender {
    /// Returns a sender of mails from this address. It connects with the first mail.
    pub fn new(server: SmtpServer, from: Mailbox) -> Self {
        Self { server, from, idle: Mutex::default() }
    }

    /// Returns a connection that answers: a kept one, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, SendError> {
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((mut connection, since)) = kept else { break };
            if since.elapsed() < IDLE_TIME && connection.test_connected().await {
                return Ok(connection);
            }
        }
        let SmtpServer { host, port, .. } = &self.server;
        self.connect().await.map_err(|cause| {
            SendError::Retryable(format!("could not connect to the mail server {host}:{port}: {cause}"))
        })
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, String> {
        let SmtpServer { host, port, encryption, tls, credentials } = &self.server;
        let hello = ClientId::Domain(self.from.email.domain().to_owned());
        let implicit = (*encryption == Encryption::Implicit).then(|| tls.clone());
        let address = (host.as_str(), *port);
        let connecting = AsyncSmtpConnection::connect_tokio1(address, None, &hello, implicit, None);
        let mut connection = connecting.await.map_err(|error| error.to_string())?;
        match encryption {
            Encryption::Starttls => connection.starttls(tls.clone(), &hello).await,
            Encryption::StarttlsIfOffered if connection.can_starttls() => {
                connection.starttls(tls.clone(), &hello).await
            }
            Encryption::StarttlsIfOffered | Encryption::Implicit | Encryption::None => Ok(()),
        }
        .map_err(|error| error.to_string())?;
        if let Some(file) = credentials {
            let (user, password) = file.read()?;
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let credentials = Credentials::new(user, password);
            let login = connection.auth(&mechanisms, &credentials).await;
            login.map_err(|error| format!("the login failed: {error}"))?;
        }
        Ok(connection)
    }

    /// Keeps a connection for later, or ends it.
    async fn keep(&self, mut connection: AsyncSmtpConnection) {
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE {
                idle.push((connection, Instant::now()));
                return;
            }
        }
        connection.abort().await;
    }
}

#[async_trait]
impl Sender for SmtpSender {
    fn needs_email(&self) -> bool {
        true
    }

    async fn send(&self, confirmation: &Confirmation<'_>) -> Result<(), SendError> {
        let mail = mail(confirmation, &self.from)?;
        let (envelope, text) = (mail.envelope(), mail.formatted());
        let mut connection = self.connection().await?;
        let mut options = Vec::new();
        let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        if !text.is_ascii() || !envelope.to().iter().chain(envelope.from()).all(is_ascii) {
            let offers = |extension| connection.server_info().supports_feature(extension);
            if !offers(Extension::SmtpUtfEight) || !offers(Extension::EightBitMime) {
                self.keep(connection).await;
                let cause = "the mail server takes no addresses with characters beyond ASCII";
                return Err(SendError::Permanent(cause.to_owned()));
            }
            options
                .extend([MailParameter::SmtpUtfEight, MailParameter::Body(MailBodyParameter::EightBitMime)]);
        }
        // About the sender, not about this mail.
        let mail = connection.command(Mail::new(envelope.from().cloned(), options)).await;
        mail.map_err(|error| SendError::Retryable(reply("the sender", &error)))?;
        for to in envelope.to() {
            let rcpt = connection.command(Rcpt::new(to.clone(), Vec::new())).await;
            rcpt.map_err(|error| refusal("the recipient", &error))?;
        }
        connection.command(Data).await.map_err(|error| refusal("the mail", &error))?;
        connection.message(&text).await.map_err(|error| refusal("the mail", &error))?;
        self.keep(connection).await;
        Ok(())
    }
}

fn refusal(what: &str, error: &Error) -> SendError {
    let code = error.status().map(u16::from);
    let is_permanent = error.is_permanent() && code.is_none_or(|code| !OF_LOGIN.contains(&code));
    let cause = reply(what, error);
    if is_permanent { SendError::Permanent(cause) } else { SendError::Retryable(cause) }
}

/// Returns what the server answered to a part of a mail.
fn reply(what: &str, error: &Error) -> String {
    let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    match error.status() {
        Some(code) => format!("the mail server refused {what}: {code} {text}").trim_end().to_owned(),
        None => format!("the mail server did not answer to {what}: {error}"),
    }
}
