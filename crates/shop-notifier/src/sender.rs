//! The port of senders.

use async_trait::async_trait;

use super::confirmation::Confirmation;

/// Sends confirmations over one channel.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Returns whether it sends to the customer's e-mail address, without which there is nobody to send to.
    fn needs_email(&self) -> bool;

    /// Sends a confirmation. After `Ok` it is in the hands of the receiver. The future may be dropped: then it was sent, or it
    /// was not.
    async fn send(&self, confirmation: &Confirmation<'_>) -> Result<(), SendError>;
}

/// The error of a confirmation that was not sent, or of which it is unknown.
#[derive(Clone, PartialEq, Eq, thiserror::Error, Debug)]
pub enum SendError {
    /// Another attempt may succeed: the receiver is away, overloaded, or wants this one later.
    #[error("{0}")]
    Retryable(String),
    /// This confirmation will not be accepted.
    #[error("{0}")]
    Permanent(String),
}

impl SendError {
    /// Returns whether another attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Retryable(_))
    }

    /// Returns the same error with a changed cause.
    pub(crate) fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Retryable(cause) => Self::Retryable(change(cause)),
            Self::Permanent(cause) => Self::Permanent(change(cause)),
        }
    }
}
