//! Connections to the emulator that hang up or go silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{body, emulator, message, next, options, provisioned, publish, settings, soon, until_it_answers};
use crate::{Pubsub, PubsubSettings};
use ecom_bus::{Bus, SubscribeOptions};

/// A relay whose present connections can be made to swallow everything without closing, and that can
/// hang up on everybody.
struct Relay {
    host: String,
    freeze: watch::Sender<u64>,
    away: watch::Sender<bool>,
}

impl Relay {
    async fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (freeze, frozen) = watch::channel(0u64);
        let (away, is_away) = watch::channel(false);
        let upstream = Arc::new(upstream.to_owned());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let upstream = upstream.clone();
                let (mut frozen, mut is_away) = (frozen.clone(), is_away.clone());
                frozen.mark_unchanged();
                tokio::spawn(async move {
                    if *is_away.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect(upstream.as_str()).await.unwrap();
                    tokio::select! {
                        biased;
                        () = async { drop(is_away.wait_for(|away| *away).await) } => {}
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = frozen.changed() => std::future::pending::<()>().await,
                    }
                });
            }
        });
        Self { host, freeze, away }
    }

    fn go_away(&self) {
        self.away.send_replace(true);
    }

    fn come_back(&self) {
        self.away.send_replace(false);
    }

    fn freeze_what_is_open(&self) {
        self.freeze.send_modify(|times| *times += 1);
    }
}

#[tokio::test]
async fn a_bus_that_is_away_does_not_answer_until_it_is_back() {
    let Some(host) = emulator() else { return };
    let relay = Relay::to(&host).await;
    let bus =
        provisioned(PubsubSettings { rpc_timeout: Duration::from_secs(1), ..settings(&relay.host) }).await;
    let subscription = bus.subscribe("orders_data-sub", options(1)).await.unwrap();
    relay.go_away();
    until_it_answers(&subscription, false).await;
    relay.come_back();
    until_it_answers(&subscription, true).await;
    soon("stop", subscription.stop()).await;
}

#[tokio::test]
async fn a_publisher_leaves_a_connection_that_went_silent() {
    let Some(host) = emulator() else { return };
    let relay = Relay::to(&host).await;
    let settings = PubsubSettings { publish_timeout: Duration::from_secs(1), ..settings(&relay.host) };
    let bus = provisioned(settings).await;
    let publisher = bus.publisher("orders_data", 100).await.unwrap();
    publisher.publish(message("before")).await.await.unwrap();
    relay.freeze_what_is_open();
    let error = soon("the failure", publisher.publish(message("during")).await).await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    soon("a new connection", publisher.publish(message("after")).await).await.unwrap();
}

#[tokio::test]
async fn a_silent_stream_is_replaced_on_a_new_connection() {
    let Some(host) = emulator() else { return };
    let relay = Relay::to(&host).await;
    let relayed = settings(&relay.host);
    let direct = provisioned(PubsubSettings { emulator_host: Some(host), ..relayed.clone() }).await;
    let bus = Pubsub::connect(relayed).await.unwrap();
    let rotating = SubscribeOptions { idle_rotation: Some(Duration::from_secs(8)), ..options(1) };
    let subscription = bus.subscribe("orders_data-sub", rotating).await.unwrap();
    publish(&direct, "orders_data", ["before".to_owned()]).await;
    next(&subscription).await.ack();
    relay.freeze_what_is_open();
    // The emulator hands messages to the dead stream, too, and keeps them there for a lease: one
    // after the other, until one comes through.
    soon("a delivery on a new connection", async {
        loop {
            publish(&direct, "orders_data", ["after".to_owned()]).await;
            let came = tokio::time::timeout(Duration::from_secs(1), subscription.next()).await;
            let Ok(delivery) = came else { continue };
            let delivery = delivery.expect("the subscription is not stopped");
            let found = body(&delivery);
            delivery.ack();
            if found == "after" {
                break;
            }
        }
    })
    .await;
}
