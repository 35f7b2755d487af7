//! The bus contract on the test broker, and on the Pub/Sub emulator that `PUBSUB_EMULATOR_HOST` names, with a
//! separate project for each case.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use ecom_bus::Bus;
use ecom_bus::contract::{BusSubject, OpenBus, service_address, unique_name};
use ecom_bus_pubsub::provision::apply;
use ecom_bus_pubsub::{DesiredTopics, Pubsub, PubsubSettings, SubscribedTopic};
use ecom_test_broker::TestBroker;
use futures_util::FutureExt;
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::TopicAdmin;

/// The shortest ack deadline of Pub/Sub.
const ACK_DEADLINE: Duration = Duration::from_secs(10);

async fn emulator() -> Option<BusSubject> {
    let host = service_address("PUBSUB_EMULATOR_HOST")?;
    Some(subject(host, Box::new(())).await)
}

async fn test_broker() -> Option<BusSubject> {
    let broker = TestBroker::start().await.unwrap();
    Some(subject(broker.address(), Box::new(broker)).await)
}

async fn subject(host: String, kept: Box<dyn Any + Send + Sync>) -> BusSubject {
    let settings = PubsubSettings::new(unique_name("project")).on_emulator(&host);
    let desired = DesiredTopics { ack_deadline: ACK_DEADLINE, ..DesiredTopics::default() };
    apply(&Pubsub::connect(settings.clone()).await.unwrap(), &desired).await.unwrap();
    let unsubscribed_topic = unique_name("unsubscribed");
    create_topic(&host, format!("projects/{}/topics/{unsubscribed_topic}", settings.project)).await;
    let open: OpenBus = Arc::new(move || {
        let settings = settings.clone();
        async move { Arc::new(Pubsub::connect(settings).await.unwrap()) as Arc<dyn Bus> }.boxed()
    });
    let SubscribedTopic { topic, subscription } = desired.orders;
    BusSubject {
        bus: open().await,
        open,
        location: host,
        topic,
        subscription,
        unsubscribed_topic,
        ack_deadline: ACK_DEADLINE,
        patience: Duration::from_secs(180),
        kept,
    }
}

/// Creates a topic without a subscription, which provisioning never does.
async fn create_topic(host: &str, name: String) {
    let admin = TopicAdmin::builder()
        .with_endpoint(format!("http://{host}"))
        .with_credentials(anonymous::Builder::new().build())
        .build()
        .await
        .unwrap();
    admin.create_topic().set_name(name).send().await.unwrap();
}

mod every_bus {
    mod on_the_emulator {
        ecom_bus::bus_contract_tests!(super::super::emulator);
    }

    mod on_the_test_broker {
        ecom_bus::bus_contract_tests!(super::super::test_broker);
    }
}
