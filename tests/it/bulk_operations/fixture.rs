//! A store with a operator on it, dead letters of this test's own, and a bus whose messages can be counted.

use std::any::Any;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use ecom_bus::{Message, Publisher, Receipt, ReceivedMessage};
use ecom_clock::Entropy;
use ecom_dlq::DeadLetterQueue;
use ecom_dlq::execute::{ExecuteOptions, OperationReport, StartMode};
use ecom_dlq::plan::PlanPurpose;
use ecom_dlq::selection::Selection;
use ecom_domain::bulk_operation::{BulkOperation, OperationKind};
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterState, EventKind, HistoryAction, HistoryEntry,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::Verdict;
use ecom_pipeline::actor::Actor;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_store::{DeadLetterStore, FactStore, OperationsStore};
use tokio_util::sync::CancellationToken;

use crate::reading::fixture as place;
pub use crate::reading::fixture::{
    HOUR, NOW, POLICY, SECOND, dead_letter, order_body, order_event, orphan, payment_body, payment_event,
};

/// No test hangs the run; far above what any takes.
pub async fn within_the_limit<T>(case: impl Future<Output = T>) -> T {
    crate::waiting::within(Duration::from_secs(240), "the case hangs", case).await
}

pub struct Bench {
    pub facts: Arc<dyn FactStore>,
    pub dead_letter_store: Arc<dyn DeadLetterStore>,
    pub operations: Arc<dyn OperationsStore>,
    /// How many rounds of a random test this store is fast enough for.
    pub rounds: usize,
    _kept: Box<dyn Any + Send + Sync>,
}

impl Bench {
    #[cfg(feature = "embedded")]
    pub fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ecom_embedded::open(folder.path(), ecom_embedded::Options::new(Vec::new())).unwrap();
        Self::on(store, 40, folder)
    }

    #[cfg(feature = "cassandra")]
    pub async fn cassandra() -> Option<Self> {
        let settings = crate::services::keyspace().await?;
        let store = ecom_store_cassandra::CassandraStore::connect(&settings).await.unwrap();
        Some(Self::on(Arc::new(store), 8, ()))
    }

    fn on<S: FactStore + DeadLetterStore + OperationsStore + 'static>(
        store: Arc<S>,
        rounds: usize,
        kept: impl Any + Send + Sync,
    ) -> Self {
        let (facts, dead_letter_store) = (store.clone(), store.clone());
        Self { facts, dead_letter_store, operations: store, rounds, _kept: Box::new(kept) }
    }

    pub fn queue(&self) -> DeadLetterQueue {
        place::queue(&self.facts, &self.dead_letter_store, &self.operations, Entropy::system(), 4)
    }

    /// An order id that no other test has, with room for nine more behind it.
    pub fn own_order(&self) -> i64 {
        static NEXT: AtomicI64 = AtomicI64::new(7_000_000);
        NEXT.fetch_add(10, Ordering::Relaxed)
    }

    /// A time of an event that no other test has, with room for a second behind it.
    pub fn own_time(&self) -> i64 {
        static NEXT: AtomicI64 = AtomicI64::new(0);
        NOW - 5 * HOUR + NEXT.fetch_add(1, Ordering::Relaxed) * SECOND
    }

    pub async fn order(&self, order: i64, t: i64) {
        self.facts.record_order(&order_event(order), EventTime::stored(t)).await.unwrap();
    }

    pub async fn payment(&self, payment: i64, order: i64, t: i64) {
        self.facts.record_payment(&payment_event(payment, order), EventTime::stored(t)).await.unwrap();
    }

    /// Records a dead letter as the handler does.
    pub async fn record(&self, dead_letter: &DeadLetter) {
        let entry = HistoryEntry {
            at: dead_letter.first_failed_at + SECOND,
            entry_id: format!("received-{}", dead_letter.t.micros()),
            action: HistoryAction::ReceivedMessage,
            outcome: dead_letter.reason.as_str().into(),
            actor: "dlq_handler".into(),
            host: "worker-1".into(),
            note: None,
            run_id: Some("role".into()),
        };
        self.dead_letter_store.record(dead_letter, &entry).await.unwrap();
    }

    pub async fn state(&self, dead_letter: &DeadLetter) -> DeadLetterState {
        self.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().unwrap().state()
    }

    /// Actions and outcomes of a dead letter's history, oldest first, without its arrival.
    pub async fn history(&self, dead_letter: &DeadLetter) -> Vec<HistoryEntry> {
        let mut history = self.dead_letter_store.history(&dead_letter.id).await.unwrap();
        history.retain(|line| line.action != HistoryAction::ReceivedMessage);
        history
    }

    /// The payment that the row of an order shows.
    pub async fn shown(&self, order: i64) -> Option<i64> {
        self.facts.fact(OrderId(order)).await.unwrap().and_then(|fact| fact.payment.payment_id)
    }

    /// One open dead letter of each verdict, each about an order of its own.
    pub async fn one_of_each(&self) -> [DeadLetter; 6] {
        let (base, t) = (self.own_order(), self.own_time());
        let dead_letters = [
            orphan(11, base, t),
            orphan(21, base + 1, t),
            orphan(31, base + 2, t),
            orphan(41, base + 3, t),
            DeadLetter { reason: Reason::TimestampTie, ..orphan(51, base + 4, t) },
            dead_letter(EventKind::Payment, t, Reason::Undecodable, b"\xff not an object"),
        ];
        for order in [base, base + 1, base + 2, base + 4] {
            self.order(order, t - HOUR).await;
        }
        self.payment(10, base, t - 1).await;
        self.payment(21, base + 1, t).await;
        self.payment(32, base + 2, t + 1).await;
        self.payment(52, base + 4, t).await;
        for dead_letter in &dead_letters {
            self.record(dead_letter).await;
        }
        dead_letters
    }

    /// A run over these dead letters.
    pub async fn begin(
        &self,
        queue: &DeadLetterQueue,
        kind: OperationKind,
        dead_letters: &[&DeadLetter],
    ) -> BulkOperation {
        let plan = queue.plan(kind, named(dead_letters), PlanPurpose::Begin, &|_| {}).await.unwrap();
        assert!(plan.missing.is_empty(), "{:?}", plan.missing);
        queue.begin(plan, Some("because".into())).await.unwrap()
    }

    /// Begins a run over these dead letters and works through it.
    pub async fn act(&self, kind: OperationKind, dead_letters: &[&DeadLetter]) -> OperationReport {
        let queue = self.queue();
        let run = self.begin(&queue, kind, dead_letters).await;
        let resolver = queue.resolver(&run, POLICY);
        queue.work(run, &resolver, &pace(StartMode::Fresh, 0)).await.unwrap()
    }

    /// What a handler settles dead letters with.
    pub fn handler(&self) -> DeadLetterResolver {
        let queue = self.queue();
        DeadLetterResolver {
            facts: queue.facts,
            dead_letter_store: queue.dead_letter_store,
            retrier: queue.retrier,
            locks: ecom_pipeline::order_locks::OrderLocks::new(),
            policy: POLICY,
            clock: queue.clock,
            entropy: queue.entropy,
            actor: Actor { name: "dlq_handler".into(), host: "worker-1".into(), run_id: "role".into() },
            note: None,
        }
    }
}

/// These dead letters by id.
pub fn named(dead_letters: &[&DeadLetter]) -> Selection {
    Selection { ids: ids(dead_letters), ..Selection::default() }
}

pub fn ids(dead_letters: &[&DeadLetter]) -> Vec<DeadLetterId> {
    dead_letters.iter().map(|dead_letter| dead_letter.id.clone()).collect()
}

pub fn pace(entry: StartMode, canary: u64) -> ExecuteOptions<'static> {
    ExecuteOptions { entry, rate: None, canary, stop: CancellationToken::new(), done: &|_| {} }
}

/// What the verdicts of a plan are, with how many dead letters have each.
pub fn verdicts(plan: &ecom_dlq::plan::OperationPlan) -> Vec<(Verdict, u64)> {
    plan.verdicts.iter().map(|(verdict, dead_letters)| (*verdict, *dead_letters)).collect()
}

/// Polls a future so many times, then drops it as a kill would; what it came to where it came to its
/// end before.
pub async fn killed_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// A topic that keeps what is published.
#[derive(Clone, Default)]
pub struct Topic(Arc<Mutex<Vec<Message>>>);

impl Topic {
    pub fn messages(&self) -> Vec<Message> {
        self.0.lock().unwrap().clone()
    }

    /// The messages as a consumer gets them.
    pub fn received(&self) -> Vec<ReceivedMessage> {
        let receive = |(number, message): (usize, Message)| ReceivedMessage {
            message,
            id: number.to_string(),
            publish_time_us: NOW,
            attempt: 1,
        };
        self.messages().into_iter().enumerate().map(receive).collect()
    }
}

#[async_trait]
impl Publisher for Topic {
    async fn publish(&self, message: Message) -> Receipt {
        let topic = self.clone();
        Receipt::new(async move {
            tokio::task::yield_now().await;
            let number = {
                let mut messages = topic.0.lock().unwrap();
                messages.push(message);
                messages.len()
            };
            tokio::task::yield_now().await;
            Ok(number.to_string())
        })
    }

    async fn flush(&self) {}
}
