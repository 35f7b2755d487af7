//! Bulk operations on a test store: unique ids, a dead letter with each verdict, and a topic that records.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use ecom_bus::{Message, Publisher, Receipt, ReceivedMessage};
use ecom_dlq::DeadLetterQueue;
use ecom_dlq::execute::{ExecuteOptions, OperationReport, StartMode};
use ecom_dlq::plan::PlanPurpose;
use ecom_dlq::selection::Selection;
use ecom_domain::bulk_operation::{BulkOperation, OperationKind};
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterState, EventKind, HistoryAction, HistoryEntry,
};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::Verdict;
use ecom_pipeline::actor::Actor;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use tokio_util::sync::CancellationToken;

pub use crate::reading::fixture::{
    HOUR, NOW, POLICY, SECOND, TestStore, dead_letter, order_body, order_event, orphan, payment_body,
};

/// Fails a case that hangs. The limit is far above what any needs.
pub async fn within_the_limit<T>(case: impl Future<Output = T>) -> T {
    crate::waiting::within(Duration::from_secs(240), "the case hangs", case).await
}

impl TestStore {
    /// The queue of an operator that acts on at most four dead letters concurrently.
    pub fn operator(&self) -> DeadLetterQueue {
        DeadLetterQueue { window: 4, ..self.queue() }
    }

    /// Returns the first of ten order ids that no other test uses.
    pub fn own_order(&self) -> i64 {
        static NEXT: AtomicI64 = AtomicI64::new(7_000_000);
        NEXT.fetch_add(10, Ordering::Relaxed)
    }

    /// Returns the start of a second in which no other test has an event time.
    pub fn own_time(&self) -> i64 {
        static NEXT: AtomicI64 = AtomicI64::new(0);
        NOW - 5 * HOUR + NEXT.fetch_add(1, Ordering::Relaxed) * SECOND
    }

    pub async fn state(&self, dead_letter: &DeadLetter) -> DeadLetterState {
        self.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().unwrap().state()
    }

    /// Returns the history of a dead letter, oldest first, without its receipt.
    pub async fn history(&self, dead_letter: &DeadLetter) -> Vec<HistoryEntry> {
        let mut history = self.dead_letter_store.history(&dead_letter.id).await.unwrap();
        history.retain(|entry| entry.action != HistoryAction::Received);
        history
    }

    /// Returns the id of the payment that the row of an order shows.
    pub async fn shown(&self, order: i64) -> Option<i64> {
        self.facts.fact(OrderId(order)).await.unwrap().and_then(|fact| fact.payment.payment_id)
    }

    /// One open dead letter with each verdict, each about another order.
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

    /// Begins an operation on these dead letters.
    pub async fn begin(
        &self,
        queue: &DeadLetterQueue,
        kind: OperationKind,
        dead_letters: &[&DeadLetter],
    ) -> BulkOperation {
        let plan = queue.plan(kind, named(dead_letters), PlanPurpose::Begin, &|_| {}).await.unwrap();
        assert!(plan.not_found.is_empty(), "{:?}", plan.not_found);
        queue.begin(plan, Some("because".into())).await.unwrap()
    }

    /// Begins and executes an operation on these dead letters.
    pub async fn execute(&self, kind: OperationKind, dead_letters: &[&DeadLetter]) -> OperationReport {
        let queue = self.operator();
        let operation = self.begin(&queue, kind, dead_letters).await;
        let resolver = queue.resolver(&operation, POLICY);
        queue.execute(operation, &resolver, &options(StartMode::Fresh, 0)).await.unwrap()
    }

    /// The resolver of a handler.
    pub fn handler(&self) -> DeadLetterResolver {
        let queue = self.operator();
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
    Selection::of_ids(ids(dead_letters))
}

pub fn ids(dead_letters: &[&DeadLetter]) -> Vec<DeadLetterId> {
    dead_letters.iter().map(|dead_letter| dead_letter.id.clone()).collect()
}

pub fn options(start: StartMode, canary: u64) -> ExecuteOptions<'static> {
    ExecuteOptions { start, rate: None, canary, stop: CancellationToken::new(), done: &|_| {} }
}

/// The verdicts of a plan, with the number of dead letters that have each.
pub fn verdicts(plan: &ecom_dlq::plan::OperationPlan) -> Vec<(Verdict, u64)> {
    plan.verdicts.iter().map(|(verdict, dead_letters)| (*verdict, *dead_letters)).collect()
}

/// Polls a future this many times, then drops it as a kill would; returns its output if it ended before.
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

/// A topic that records what is published.
#[derive(Clone, Default)]
pub struct Topic(Arc<Mutex<Vec<Message>>>);

impl Topic {
    pub fn messages(&self) -> Vec<Message> {
        self.0.lock().unwrap().clone()
    }

    /// The messages as a consumer receives them.
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
