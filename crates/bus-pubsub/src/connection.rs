//! A connection that several streams share, which takes fewer and fuller frames than one connection each.

use std::sync::Arc;

use google_cloud_pubsub::client::Subscriber;
use tokio::sync::Mutex;

use crate::clients::ClientFactory;
use ecom_bus::BusError;

/// The number of streams on one connection. They all end if it breaks, and the client opens at most 100 calls
/// on a connection.
pub(super) const STREAMS_PER_CONNECTION: usize = 8;

/// A connection that is opened on first use, and again when a stream reports it dead.
pub(super) struct SharedConnection {
    clients: Arc<ClientFactory>,
    current: Mutex<Option<SharedSubscriber>>,
}

/// A subscriber on a shared connection, with the number of connections before it.
#[derive(Clone)]
pub(super) struct SharedSubscriber {
    generation: u64,
    pub(super) subscriber: Subscriber,
}

impl SharedConnection {
    pub(super) fn new(clients: Arc<ClientFactory>) -> Self {
        Self { clients, current: Mutex::default() }
    }

    /// Returns the current subscriber. If it is the `dead` one, it is replaced by one on a new connection
    /// first.
    pub(super) async fn subscriber(
        &self,
        dead: Option<&SharedSubscriber>,
    ) -> Result<SharedSubscriber, BusError> {
        let mut current = self.current.lock().await;
        let last = current.as_ref().map(|shared| shared.generation);
        if let Some(shared) = current.as_ref()
            && dead.is_none_or(|dead| dead.generation < shared.generation)
        {
            return Ok(shared.clone());
        }
        let subscriber = self.clients.subscriber().await?;
        let shared = SharedSubscriber { generation: last.map_or(0, |last| last + 1), subscriber };
        *current = Some(shared.clone());
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PubsubSettings;

    #[tokio::test]
    async fn a_dead_connection_is_replaced_once_if_several_streams_report_it() {
        let settings = PubsubSettings::new("shop").on_emulator("127.0.0.1:1");
        let connection = SharedConnection::new(Arc::new(ClientFactory::try_new(settings).unwrap()));
        let first = connection.subscriber(None).await.unwrap();
        assert_eq!(connection.subscriber(None).await.unwrap().generation, first.generation);
        let second = connection.subscriber(Some(&first)).await.unwrap();
        assert_eq!(second.generation, first.generation + 1);
        assert_eq!(connection.subscriber(Some(&first)).await.unwrap().generation, second.generation);
    }
}
