//! Publishing in two steps: hand a message over, then await its publish acknowledgement.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;

use crate::message::Message;

/// A publisher for one topic.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Hands a message over to the bus, waiting while the publisher's window is full. Returns before the
    /// message is durable; errors are reported by the receipt. The place in the window is free again when the
    /// receipt resolves or is dropped. The message is published even if the receipt is dropped.
    async fn publish(&self, message: Message) -> Receipt;

    /// Waits until every message handed over so far was published or has failed.
    async fn flush(&self);
}

/// A future publish acknowledgement. Resolves to the message id once the message is durable on the bus.
#[must_use = "a message is durable only once its receipt has resolved"]
pub struct Receipt(Pin<Box<dyn Future<Output = Result<String, PublishError>> + Send>>);

impl Receipt {
    /// Creates a receipt from the future that it resolves with.
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

/// An error of [`Publisher::publish`], reported by the receipt.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// The message may or may not be durable. Publishing it again may succeed, and may create a duplicate.
    #[error("could not publish to {topic}: {source}")]
    Unavailable {
        /// The topic's full name.
        topic: String,
        /// The error of the adapter.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The message is not published, and publishing it again cannot succeed.
    #[error("{topic} rejected the message: {source}")]
    Refused {
        /// The topic's full name.
        topic: String,
        /// The error of the adapter.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl PublishError {
    /// Returns whether publishing the message again may succeed.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { .. } => false,
        }
    }
}
