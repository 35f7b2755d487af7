//! Publishing in two phases: a place in the window now, the receipt later.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;

use super::message::Message;

/// Publishes on one topic.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Waits for a place in the window and hands the message over. The place is given back when
    /// the receipt resolves or is dropped.
    async fn publish(&self, message: Message) -> Receipt;

    /// Waits until everything handed over has been tried.
    async fn flush(&self);
}

/// Resolves to the message id once the message is durable on the bus.
#[must_use = "a message without its receipt may be lost"]
pub struct Receipt(Pin<Box<dyn Future<Output = Result<String, PublishError>> + Send>>);

impl Receipt {
    /// A receipt that resolves as the future does.
    pub fn new(outcome: impl Future<Output = Result<String, PublishError>> + Send + 'static) -> Self {
        Self(Box::pin(outcome))
    }
}

impl Future for Receipt {
    type Output = Result<String, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// Why a message is not known to be published.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// Not known to be durable; publishing it again may succeed (and may make a duplicate).
    #[error("could not publish on {topic}: {source}")]
    Unavailable {
        /// The topic's full name.
        topic: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Not published; publishing the same again cannot succeed.
    #[error("{topic} refused the message: {source}")]
    Refused {
        /// The topic's full name.
        topic: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl PublishError {
    /// Whether publishing again may succeed.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { .. } => false,
        }
    }
}
