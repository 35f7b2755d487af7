//! Tests with connections to the emulator that break or go silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{body, emulator, message, next, options, provisioned, publish, settings, soon, until_answers};
use crate::{Pubsub, PubsubSettings};
use ecom_bus::{Bus, SubscribeOptions};

/// A TCP relay that can freeze its open connections, which then deliver nothing without closing, and that can
/// close all connections.
struct Relay {
    host: String,
    freeze: watch::Sender<u64>,
    down: watch::Sender<bool>,
}

impl Relay {
    async fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (freeze, frozen) = watch::channel(0u64);
        let (down, is_down) = watch::channel(false);
        let upstream = Arc::new(upstream.to_owned());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let upstream = upstream.clone();
                let (mut frozen, mut is_down) = (frozen.clone(), is_down.clone());
                frozen.mark_unchanged();
                tokio::spawn(async move {
                    if *is_down.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect(upstream.as_str()).await.unwrap();
                    tokio::select! {
                        biased;
                        () = async { drop(is_down.wait_for(|down| *down).await) } => {}
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = frozen.changed() => std::future::pending::<()>().await,
                    }
                });
            }
        });
        Self { host, freeze, down }
    }

    fn close_all(&self) {
        self.down.send_replace(true);
    }

    fn restore(&self) {
        self.down.send_replace(false);
    }

    fn freeze_open_connections(&self) {
        self.freeze.send_modify(|times| *times += 1);
    }
}

#[tokio::test]
async fn an_unreachable_bus_does_not_answer_until_it_is_back() {
    let Some(host) = emulator() else { return };
    let relay = Relay::to(&host).await;
    let bus =
        provisioned(PubsubSettings { rpc_timeout: Duration::from_secs(1), ..settings(&relay.host) }).await;
    let subscription = bus.subscribe("orders_data-sub", options(1)).await.unwrap();
    relay.close_all();
    until_answers(&subscription, false).await;
    relay.restore();
    until_answers(&subscription, true).await;
    soon("stop", subscription.stop()).await;
}

#[tokio::test]
async fn a_publisher_replaces_a_silent_connection() {
    let Some(host) = emulator() else { return };
    let relay = Relay::to(&host).await;
    let settings = PubsubSettings { publish_timeout: Duration::from_secs(1), ..settings(&relay.host) };
    let bus = provisioned(settings).await;
    let publisher = bus.publisher("orders_data", 100).await.unwrap();
    publisher.publish(message("before")).await.await.unwrap();
    relay.freeze_open_connections();
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
    relay.freeze_open_connections();
    // The emulator also delivers messages to the dead stream, for an ack deadline each, so publish until one
    // arrives.
    soon("a delivery on a new connection", async {
        loop {
            publish(&direct, "orders_data", ["after".to_owned()]).await;
            let received = tokio::time::timeout(Duration::from_secs(1), subscription.next()).await;
            let Ok(delivery) = received else { continue };
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
