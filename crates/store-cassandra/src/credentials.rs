//! The login, read again for each connection.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ecom_clock::LogThrottle;
use ecom_config::Secret;
use scylla::authentication::{
    AuthError, AuthenticatorProvider, AuthenticatorSession, PlainTextAuthenticator,
};
use tokio::time::Instant;

use super::settings::{CassandraSettings, read_password};

/// The shortest time between two warnings about a password file.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Logs in with the password that the file has at that time, so that a changed password needs no restart.
pub(super) struct Credentials {
    user: String,
    /// The password of the configuration.
    password: Secret,
    file: Option<PathBuf>,
    warnings: Mutex<LogThrottle>,
}

impl Credentials {
    /// Returns the credentials of the settings; `None` without a user.
    pub(super) fn of(settings: &CassandraSettings) -> Option<Self> {
        Some(Self {
            user: settings.user.clone()?,
            password: settings.password.clone(),
            file: settings.password_file.clone(),
            warnings: Mutex::new(LogThrottle::every(WARN_EVERY)),
        })
    }

    async fn password(&self) -> Secret {
        let Some(file) = self.file.clone() else { return self.password.clone() };
        let read = tokio::task::spawn_blocking(move || read_password(Path::new(&file))).await;
        match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(password) => password,
            Err(why) => {
                let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                if warnings.admit(Instant::now()).is_some() {
                    tracing::warn!("{why}; logging in with the password that it had at the start");
                }
                self.password.clone()
            }
        }
    }
}

#[async_trait]
impl AuthenticatorProvider for Credentials {
    async fn start_authentication_session(
        &self,
        authenticator: &str,
    ) -> Result<(Option<Vec<u8>>, Box<dyn AuthenticatorSession>), AuthError> {
        let password = self.password().await.expose().to_owned();
        let plain = PlainTextAuthenticator::new(self.user.clone(), password);
        plain.start_authentication_session(authenticator).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_password_is_the_one_that_the_file_has_now() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let settings = CassandraSettings {
            user: Some("ada".into()),
            password: Secret::new("at the start"),
            password_file: Some(file.path().to_owned()),
            ..CassandraSettings::default()
        };
        let credentials = Credentials::of(&settings).unwrap();
        for (written, used) in [("first\n", "first"), ("second", "second"), ("", "at the start")] {
            std::fs::write(file.path(), written).unwrap();
            assert_eq!(credentials.password().await.expose(), used);
            let (response, _) = credentials.start_authentication_session("").await.unwrap();
            assert_eq!(response.unwrap(), format!("\0ada\0{used}").into_bytes());
        }
    }
}
