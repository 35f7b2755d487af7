//! Stores for tests, a dead-letter queue on them, and events and dead letters to fill them with.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ecom::render::command::Command;
use ecom_clock::{Clock, Entropy};
use ecom_dlq::DeadLetterQueue;
use ecom_dlq::next_action::NextStep;
use ecom_domain::attributes::Attributes;
use ecom_domain::backoff::Backoff;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, EventKind, HistoryAction, HistoryEntry, StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;
use ecom_domain::role::Role;
use ecom_embedded::{Embedded, Options, open};
use ecom_pipeline::actor::Actor;
use ecom_pipeline::durable::Retrier;
use ecom_pipeline::retry_policy::RetryPolicy;
use ecom_store::{DeadLetterStore, FactStore, OperationsStore};
use ecom_telemetry::metrics::RoleMetrics;

pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const DAY: i64 = 24 * HOUR;
/// Saturday, 31 January 2026, 18:00 UTC: the time of the queue's clock.
pub const NOW: i64 = 1_769_882_400 * SECOND;

/// The retry policy of the handler in these tests.
pub const POLICY: RetryPolicy = RetryPolicy {
    backoff: Backoff::IN_PLACE,
    max_age: Duration::from_hours(7 * 24),
    sweep_interval: Duration::from_hours(1),
    retention: Duration::from_hours(90 * 24),
    capacity: RetryPolicy::CAPACITY,
};

/// A store with all its ports.
pub struct TestStore {
    pub name: &'static str,
    pub facts: Arc<dyn FactStore>,
    pub dead_letter_store: Arc<dyn DeadLetterStore>,
    pub operations: Arc<dyn OperationsStore>,
    /// The number of rounds that a randomised test runs: fewer on a slow store.
    pub rounds: usize,
    _kept: Box<dyn Any + Send + Sync>,
}

impl TestStore {
    /// An embedded store in a new folder.
    pub fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<Embedded> = open(folder.path(), Options::new(Vec::new())).unwrap();
        Self::on("embedded", store, 40, folder)
    }

    /// Every available store; on Cassandra in a keyspace of this test alone.
    pub async fn all(test: &str) -> Vec<Self> {
        let mut stores = vec![Self::embedded()];
        #[cfg(feature = "cassandra")]
        if let Some(settings) = crate::services::own_keyspace(test).await {
            let store = ecom_store_cassandra::CassandraStore::connect(&settings).await.unwrap();
            stores.push(Self::on("cassandra", Arc::new(store), 8, ()));
        }
        #[cfg(not(feature = "cassandra"))]
        let _ = test;
        stores
    }

    /// Cassandra, in a keyspace that other tests write to as well. `None` without Cassandra.
    #[cfg(feature = "cassandra")]
    pub async fn shared_cassandra() -> Option<Self> {
        let settings = crate::services::keyspace().await?;
        let store = ecom_store_cassandra::CassandraStore::connect(&settings).await.unwrap();
        Some(Self::on("cassandra", Arc::new(store), 8, ()))
    }

    fn on<S: FactStore + DeadLetterStore + OperationsStore + 'static>(
        name: &'static str,
        store: Arc<S>,
        rounds: usize,
        kept: impl Any + Send + Sync,
    ) -> Self {
        Self {
            name,
            facts: store.clone(),
            dead_letter_store: store.clone(),
            operations: store,
            rounds,
            _kept: Box::new(kept),
        }
    }

    /// A dead-letter queue, at [`NOW`] as long as the test's time is paused.
    pub fn queue(&self) -> DeadLetterQueue {
        let entropy = Arc::new(Entropy::system());
        let metrics = Arc::new(RoleMetrics::new(Role::DlqHandler));
        DeadLetterQueue {
            unreadable: Arc::default(),
            facts: Arc::clone(&self.facts),
            dead_letter_store: Arc::clone(&self.dead_letter_store),
            operations: Arc::clone(&self.operations),
            retrier: Arc::new(Retrier::new(Arc::clone(&entropy), metrics)),
            clock: Clock::anchored(NOW),
            entropy,
            actor: Actor { name: "ada".into(), host: "operator".into(), run_id: "run".into() },
            window: 8,
        }
    }

    /// Records a dead letter as the handler does.
    pub async fn record(&self, dead_letter: &DeadLetter) {
        self.dead_letter_store.record(dead_letter, &received(dead_letter)).await.unwrap();
    }

    pub async fn order(&self, order: i64, t: i64) {
        self.facts.record_order(&order_event(order), EventTime::stored(t)).await.unwrap();
    }

    pub async fn payment(&self, payment: i64, order: i64, t: i64) {
        self.facts.record_payment(&payment_event(payment, order), EventTime::stored(t)).await.unwrap();
    }

    /// Writes a heartbeat of a role, as of that many seconds ago.
    pub async fn beat(&self, role: Role, seconds_ago: i64, newest_event_at: Option<i64>) {
        let heartbeat = Heartbeat {
            role: role.as_str().into(),
            host: "worker-1".into(),
            version: "0.1.0".into(),
            seen_at: NOW - seconds_ago * SECOND,
            newest_event_at,
        };
        self.operations.record_heartbeat(&heartbeat).await.unwrap();
    }
}

/// The history entry of the receipt of a dead letter.
fn received(dead_letter: &DeadLetter) -> HistoryEntry {
    let (at, id) = (dead_letter.first_failed_at + 20_000, format!("received-{}", dead_letter.t.micros()));
    HistoryEntry {
        reason: Some(dead_letter.reason),
        actor: "dlq_handler".into(),
        host: "worker-1".into(),
        run_id: Some("01890000-0000-7000-8000-000000000000".into()),
        ..HistoryEntry::new(at, id, HistoryAction::Received)
    }
}

pub fn order_event(order: i64) -> Order<'static> {
    Order {
        order_id: OrderId(order),
        customer_id: 7,
        item: "Book".into(),
        quantity: 2,
        price: 9.5,
        shipping_address: "1 Main Street".into(),
        order_status: "Pending".into(),
        creation_date: "2026-01-31T17:00:00Z".into(),
    }
}

pub fn payment_event(payment: i64, order: i64) -> Payment<'static> {
    Payment {
        payment_id: payment,
        order_id: OrderId(order),
        payment_method: "PayPal".into(),
        card_last_four: None,
        payment_status: "Completed".into(),
        payment_datetime: "2026-01-31T17:00:01Z".into(),
    }
}

/// The body of [`payment_event`].
pub fn payment_body(payment: i64, order: i64) -> String {
    format!(
        r#"{{"payment_id":{payment},"order_id":{order},"payment_method":"PayPal","payment_status":"Completed","payment_datetime":"2026-01-31T17:00:01Z"}}"#
    )
}

/// The body of [`order_event`].
pub fn order_body(order: i64) -> String {
    format!(
        r#"{{"order_id":{order},"customer_id":7,"item":"Book","quantity":2,"price":9.5,"shipping_address":"1 Main Street","order_status":"Pending","creation_date":"2026-01-31T17:00:00Z"}}"#
    )
}

/// A dead letter with this event time, reason and body that failed two seconds after its event.
pub fn dead_letter(kind: EventKind, t: i64, reason: Reason, body: &[u8]) -> DeadLetter {
    let (t, body) = (EventTime::stored(t), Bytes::copy_from_slice(body));
    DeadLetter {
        id: DeadLetterId::of(kind, t, &body),
        kind,
        t,
        body: StoredBody::keep(&body),
        attributes: Attributes::from_iter([
            ("dlq_consumer_version", "0.1.0".into()),
            ("dlq_published_at", ecom_codec::envelope::rfc3339(t.micros() + SECOND)),
            ("dlq_reason", reason.to_string()),
            ("dlq_source_subscription", "payments_data-sub".into()),
            ("event_time_us", t.micros().to_string()),
        ]),
        reason,
        detail: format!("what {reason} says"),
        order_id: None,
        payment_id: None,
        first_failed_at: t.micros() + 2 * SECOND,
        corrects: None,
    }
}

/// A payment without its order.
pub fn orphan(payment: i64, order: i64, t: i64) -> DeadLetter {
    DeadLetter {
        detail: format!("order {order} is not in the fact table"),
        order_id: Some(OrderId(order)),
        payment_id: Some(payment),
        ..dead_letter(EventKind::Payment, t, Reason::OrderNotFound, payment_body(payment, order).as_bytes())
    }
}

/// A command as an operator types it.
pub fn spell(command: &Command) -> String {
    let words = std::iter::once(command.binary.to_owned()).chain(command.words.iter().cloned());
    words.collect::<Vec<_>>().join(" ")
}

/// The command of a next step.
pub fn command(step: &NextStep) -> String {
    spell(&Command::from(&step.action))
}
