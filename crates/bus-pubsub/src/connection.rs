//! A connection that several streams share: fewer and fuller frames than with one each.

use std::sync::Arc;

use google_cloud_pubsub::client::Subscriber;
use tokio::sync::Mutex;

use super::connect::Access;
use ecom_bus::BusError;

/// Streams on one connection: as many share its death, and the client opens at most 100 calls on each.
pub(super) const STREAMS: usize = 8;

/// One connection, built when it is first asked for and again when a stream found it dead.
pub(super) struct Connection {
    access: Arc<Access>,
    current: Mutex<Option<Shared>>,
}

/// A subscriber on the connection, and how many there were before it.
#[derive(Clone)]
pub(super) struct Shared {
    generation: u64,
    pub(super) subscriber: Subscriber,
}

impl Connection {
    pub(super) fn new(access: Arc<Access>) -> Self {
        Self { access, current: Mutex::default() }
    }

    /// The present subscriber; a new one when the present one is `dead`, for whoever says so first.
    pub(super) async fn subscriber(&self, dead: Option<&Shared>) -> Result<Shared, BusError> {
        let mut current = self.current.lock().await;
        let last = current.as_ref().map(|shared| shared.generation);
        if let Some(shared) = current.as_ref()
            && dead.is_none_or(|dead| dead.generation < shared.generation)
        {
            return Ok(shared.clone());
        }
        let subscriber = self.access.subscriber().await?;
        let shared = Shared { generation: last.map_or(0, |last| last + 1), subscriber };
        *current = Some(shared.clone());
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::PubsubSettings;
    use super::*;

    #[tokio::test]
    async fn a_dead_connection_is_replaced_once_however_many_streams_say_so() {
        let settings = PubsubSettings::new("shop").on_emulator("127.0.0.1:1");
        let connection = Connection::new(Arc::new(Access::new(settings).unwrap()));
        let first = connection.subscriber(None).await.unwrap();
        assert_eq!(connection.subscriber(None).await.unwrap().generation, first.generation);
        let second = connection.subscriber(Some(&first)).await.unwrap();
        assert_eq!(second.generation, first.generation + 1);
        assert_eq!(connection.subscriber(Some(&first)).await.unwrap().generation, second.generation);
    }
}
