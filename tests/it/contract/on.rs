//! How each adapter is opened for a case.

use std::sync::Arc;

use futures_util::FutureExt;

use super::{Open, Subject};

#[cfg(any(feature = "embedded", feature = "pubsub"))]
use {super::BusSubject, crate::services::unique, std::time::Duration};

/// A folder of its own for each case.
#[cfg(feature = "embedded")]
pub mod embedded {
    use std::path::PathBuf;

    use ecom_bus::Bus;
    use ecom_embedded::{Embedded, Options, Route, open};
    use ecom_store::{DeadLetterStore, FactStore, OperationsStore};

    use super::*;

    pub async fn bus() -> Option<BusSubject> {
        let (topic, subscription, unheard) = (unique("topic"), unique("subscription"), unique("unheard"));
        let routes = vec![Route::new(&topic, &subscription), Route::unsubscribed(&unheard)];
        let folder = tempfile::tempdir().unwrap();
        let open: Open<dyn Bus> = opener(folder.path().into(), routes, |embedded| embedded);
        Some(BusSubject {
            bus: Subject::new(open, 100, folder).await,
            topic,
            subscription,
            unheard,
            ack_deadline: Duration::from_secs(1),
            patience: Duration::from_secs(30),
        })
    }

    pub async fn facts() -> Option<Subject<dyn FactStore>> {
        let folder = tempfile::tempdir().unwrap();
        let open: Open<dyn FactStore> = opener(folder.path().into(), Vec::new(), |embedded| embedded);
        Some(Subject::new(open, 100, folder).await)
    }

    pub async fn dead_letter_store() -> Option<Subject<dyn DeadLetterStore>> {
        let folder = tempfile::tempdir().unwrap();
        let open: Open<dyn DeadLetterStore> = opener(folder.path().into(), Vec::new(), |embedded| embedded);
        Some(Subject::new(open, 100, folder).await)
    }

    pub async fn operations() -> Option<Subject<dyn OperationsStore>> {
        let folder = tempfile::tempdir().unwrap();
        let open: Open<dyn OperationsStore> = opener(folder.path().into(), Vec::new(), |embedded| embedded);
        Some(Subject::new(open, 100, folder).await)
    }

    fn opener<P: ?Sized + Send + Sync + 'static>(
        folder: PathBuf,
        routes: Vec<Route>,
        seen_as: fn(Arc<Embedded>) -> Arc<P>,
    ) -> Open<P> {
        Arc::new(move || {
            let options = Options::new(routes.clone());
            let handle = seen_as(open(&folder, options).unwrap());
            async move { handle }.boxed()
        })
    }
}

/// A project of its own for each case: the emulator takes any.
#[cfg(feature = "pubsub")]
pub mod pubsub {
    use ecom_bus::Bus;
    use ecom_bus_pubsub::provision::{Pair, Wanted, apply};
    use ecom_bus_pubsub::{Pubsub, PubsubSettings};
    use google_cloud_auth::credentials::anonymous;
    use google_cloud_pubsub::client::TopicAdmin;

    use super::*;
    use crate::services::emulator;

    pub async fn bus() -> Option<BusSubject> {
        let host = emulator()?;
        let settings = PubsubSettings::new(unique("project")).on_emulator(&host);
        let wanted = Wanted { ack_deadline: LEASE, ..Wanted::default() };
        apply(&Pubsub::connect(settings.clone()).await.unwrap(), &wanted).await.unwrap();
        let unheard = unique("unheard");
        create_topic(&host, format!("projects/{}/topics/{unheard}", settings.project)).await;

        let open: Open<dyn Bus> = Arc::new(move || {
            let settings = settings.clone();
            async move { Arc::new(Pubsub::connect(settings).await.unwrap()) as Arc<dyn Bus> }.boxed()
        });
        let Pair { topic, subscription } = wanted.orders;
        Some(BusSubject {
            bus: Subject::new(open, 10, ()).await,
            topic,
            subscription,
            unheard,
            ack_deadline: LEASE,
            patience: Duration::from_secs(90),
        })
    }

    /// The shortest that streams are given.
    const LEASE: Duration = Duration::from_secs(10);

    /// Provisioning never creates a topic without a subscription.
    async fn create_topic(host: &str, name: String) {
        let admin = TopicAdmin::builder()
            .with_endpoint(format!("http://{host}"))
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap();
        admin.create_topic().set_name(name).send().await.unwrap();
    }
}

/// One keyspace for all cases of a run: they keep apart by their ids.
#[cfg(feature = "cassandra")]
pub mod cassandra {
    use ecom_store::{DeadLetterStore, FactStore, OperationsStore};
    use ecom_store_cassandra::CassandraStore;

    use super::*;
    use crate::services::keyspace;

    pub async fn facts() -> Option<Subject<dyn FactStore>> {
        let open: Open<dyn FactStore> = opener(keyspace().await?, |store| store);
        Some(Subject::new(open, 10, ()).await)
    }

    pub async fn dead_letter_store() -> Option<Subject<dyn DeadLetterStore>> {
        let open: Open<dyn DeadLetterStore> = opener(keyspace().await?, |store| store);
        Some(Subject::new(open, 10, ()).await)
    }

    pub async fn operations() -> Option<Subject<dyn OperationsStore>> {
        let open: Open<dyn OperationsStore> = opener(keyspace().await?, |store| store);
        Some(Subject::new(open, 10, ()).await)
    }

    fn opener<P: ?Sized + Send + Sync + 'static>(
        settings: ecom_store_cassandra::CassandraSettings,
        seen_as: fn(Arc<CassandraStore>) -> Arc<P>,
    ) -> Open<P> {
        Arc::new(move || {
            let settings = settings.clone();
            async move { seen_as(Arc::new(CassandraStore::connect(&settings).await.unwrap())) }.boxed()
        })
    }
}
