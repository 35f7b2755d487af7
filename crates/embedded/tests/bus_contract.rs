//! The bus contract on the embedded bus, with a separate folder for each case.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use ecom_bus::Bus;
use ecom_bus::contract::{BusSubject, OpenBus, unique_name};
use ecom_embedded::{Options, Route, open};
use futures_util::FutureExt;

async fn embedded() -> Option<BusSubject> {
    let (topic, subscription) = (unique_name("topic"), unique_name("subscription"));
    let unsubscribed_topic = unique_name("unsubscribed");
    let routes = vec![Route::new(&topic, &subscription), Route::unsubscribed(&unsubscribed_topic)];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let location = path.canonicalize().unwrap().display().to_string();
    let open: OpenBus = Arc::new(move || {
        let bus: Arc<dyn Bus> = open(&path, Options::new(routes.clone())).unwrap();
        async move { bus }.boxed()
    });
    Some(BusSubject {
        bus: open().await,
        open,
        location,
        topic,
        subscription,
        unsubscribed_topic,
        ack_deadline: Duration::from_secs(1),
        patience: Duration::from_secs(30),
        kept: Box::new(folder),
    })
}

mod every_bus {
    ecom_bus::bus_contract_tests!(super::embedded);
}

mod exact_delivery {
    ecom_bus::exact_delivery_contract_tests!(super::embedded);
}
