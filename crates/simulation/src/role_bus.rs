//! The bus as one process of a role reaches it: its publishers, subscriptions and acks meet its faults.

use std::sync::Arc;

use async_trait::async_trait;
use ecom_bus::{
    Backlog, Bus, BusError, Delivery, Feed, Lease, Message, PublishError, Publisher, Receipt,
    ReceivedMessage, SubscribeOptions, Subscription, TopicState,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::faults::{Fault, Injector, Operation};

/// The broker as one process of a role reaches it.
#[derive(Clone)]
pub struct RoleBus {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The faults of the role.
    pub injector: Arc<Injector>,
    /// Cancelled when the process is asked to stop.
    pub stop: CancellationToken,
}

struct SimulatedLease {
    bus: RoleBus,
    topic: String,
    received: ReceivedMessage,
    lease: Option<u64>,
}

impl Lease for SimulatedLease {
    fn ack(mut self: Box<Self>) {
        let Some(lease) = self.lease.take() else { return };
        let RoleBus { broker, injector, .. } = &self.bus;
        if !injector.is_dead()
            && let Err(missing) = broker.check(&self.topic, &self.received)
        {
            broker.violation(format!("acked {} on {}: {missing}", self.received.id, self.topic));
        }
        let arrives = matches!(injector.at_ack(&self.received.id), None | Some(Fault::KilledAfter));
        broker.finish(lease, arrives);
    }

    fn nack(mut self: Box<Self>) {
        let Some(lease) = self.lease.take() else { return };
        let RoleBus { broker, injector, stop } = &self.bus;
        if !stop.is_cancelled() && !injector.is_dead() && !injector.is_refused() {
            broker.violation(format!("nacked {} on {} while running", self.received.id, self.topic));
        }
        broker.finish(lease, false);
    }
}

impl Drop for SimulatedLease {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        // Some processes that are killed keep their leases until they end.
        if !self.bus.injector.is_dead() || !self.bus.broker.keeps_leases_of_the_dead() {
            self.bus.broker.finish(lease, false);
        }
    }
}

struct SimulatedFeed {
    bus: RoleBus,
    topic: String,
    stop: CancellationToken,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

#[async_trait]
impl Feed for SimulatedFeed {
    fn answers(&self) -> bool {
        true
    }

    async fn backlog(&self) -> Backlog {
        match self.bus.is_drained(&self.topic).await {
            Ok(Some(true)) => Backlog::Empty,
            Ok(Some(false)) | Err(_) => Backlog::Left,
            Ok(None) => Backlog::Unknown,
        }
    }

    fn close(&self) {
        self.stop.cancel();
    }

    async fn stopped(&self) {
        while self.tasks.lock().await.join_next().await.is_some() {}
    }
}

async fn feed(bus: RoleBus, topic: String, channel: mpsc::Sender<Delivery>, stop: CancellationToken) {
    loop {
        let Ok(permit) = (tokio::select! {
            biased;
            () = stop.cancelled() => return,
            permit = channel.reserve() => permit,
        }) else {
            return;
        };
        let changed = bus.broker.changed();
        let due = match bus.broker.take(&topic) {
            Ok((lease, received)) => {
                let (bus, topic, lease) = (bus.clone(), topic.clone(), Some(lease));
                let lease = SimulatedLease { bus, topic, received: received.clone(), lease };
                permit.send(Delivery::new(received, Box::new(lease)));
                continue;
            }
            Err(due) => due,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = changed => {}
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

struct SimulatedPublisher {
    bus: RoleBus,
    topic: String,
}

#[async_trait]
impl Publisher for SimulatedPublisher {
    async fn publish(&self, message: Message) -> Receipt {
        let (RoleBus { broker, injector, .. }, topic) = (self.bus.clone(), self.topic.clone());
        Receipt::new(async move {
            let fault = injector.next(Operation::Publish, &topic).await;
            let unavailable =
                || PublishError::Unavailable { topic: topic.clone(), source: "simulated".into() };
            if fault == Some(Fault::Failed) {
                return Err(unavailable());
            }
            let delay = broker.random_delay();
            let delay = if fault == Some(Fault::AppliedLate) { delay + 200 } else { delay };
            let now_us = broker.now_us();
            let id = broker.store(&topic, message, now_us, delay);
            match fault {
                Some(Fault::AnswerLost | Fault::AppliedLate) => return Err(unavailable()),
                Some(Fault::KilledAfter) => injector.kill().await,
                _ => {}
            }
            Ok(id)
        })
    }

    async fn flush(&self) {}
}

#[async_trait]
impl Bus for RoleBus {
    async fn publisher(&self, topic: &str, _: usize) -> Result<Arc<dyn Publisher>, BusError> {
        Ok(Arc::new(SimulatedPublisher { bus: self.clone(), topic: topic.to_owned() }))
    }

    async fn subscribe(
        &self,
        subscription: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, BusError> {
        let topic = subscription.trim_end_matches("-sub").to_owned();
        let (sender, receiver) = mpsc::channel(options.buffer);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(feed(self.clone(), topic.clone(), sender, stop.clone()));
        let tasks = tokio::sync::Mutex::new(tasks);
        let feed = SimulatedFeed { bus: self.clone(), topic, stop, tasks };
        Ok(Subscription::new(receiver, Box::new(feed)))
    }

    async fn topic_state(&self, _: &str) -> Result<TopicState, BusError> {
        Ok(TopicState::Subscribed)
    }

    async fn is_drained(&self, topic: &str) -> Result<Option<bool>, BusError> {
        Ok(Some(self.broker.is_drained(topic)))
    }

    fn describe(&self) -> String {
        "simulated".to_owned()
    }

    async fn close(&self) {}
}
