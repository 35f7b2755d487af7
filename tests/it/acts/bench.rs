//! A store with a desk on it, letters of this test's own, and a bus whose messages can be counted.

use std::any::Any;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use ecom_bus::{Message, Publisher, Receipt, Received};
use ecom_clock::Chance;
use ecom_dlq::Desk;
use ecom_dlq::plan::Purpose;
use ecom_dlq::run::{Ended, Entry, Pace};
use ecom_dlq::selection::Selection;
use ecom_domain::event_time::EventTime;
use ecom_domain::letter::{Action, HistoryEntry, Kind, Letter, LetterId, State};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::run::{Deed, Run};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::letters::Actor;
use ecom_pipeline::settler::Settler;
use ecom_store::{FactStore, Journal, Ledger};
use tokio_util::sync::CancellationToken;

use crate::reading::place;
pub use crate::reading::place::{
    HOUR, NOW, POLICY, SECOND, letter, order_body, order_event, orphan, payment_body, payment_event,
};

/// No test hangs the run; far above what any takes.
pub async fn within_the_limit<T>(case: impl Future<Output = T>) -> T {
    crate::waiting::within(Duration::from_secs(240), "the case hangs", case).await
}

pub struct Bench {
    pub facts: Arc<dyn FactStore>,
    pub ledger: Arc<dyn Ledger>,
    pub journal: Arc<dyn Journal>,
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

    fn on<S: FactStore + Ledger + Journal + 'static>(
        store: Arc<S>,
        rounds: usize,
        kept: impl Any + Send + Sync,
    ) -> Self {
        let (facts, ledger) = (store.clone(), store.clone());
        Self { facts, ledger, journal: store, rounds, _kept: Box::new(kept) }
    }

    pub fn desk(&self) -> Desk {
        place::desk(&self.facts, &self.ledger, &self.journal, Chance::system(), 4)
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

    /// Records a letter as the handler does.
    pub async fn record(&self, letter: &Letter) {
        let entry = HistoryEntry {
            at: letter.first_failed_at + SECOND,
            entry_id: format!("received-{}", letter.t.micros()),
            action: Action::Received,
            outcome: letter.reason.as_str().into(),
            actor: "dlq_handler".into(),
            host: "worker-1".into(),
            note: None,
            run_id: Some("role".into()),
        };
        self.ledger.record(letter, &entry).await.unwrap();
    }

    pub async fn state(&self, letter: &Letter) -> State {
        self.ledger.letter(&letter.id).await.unwrap().unwrap().state()
    }

    /// Actions and outcomes of a letter's history, oldest first, without its arrival.
    pub async fn history(&self, letter: &Letter) -> Vec<HistoryEntry> {
        let mut history = self.ledger.history(&letter.id).await.unwrap();
        history.retain(|line| line.action != Action::Received);
        history
    }

    /// The payment that the row of an order shows.
    pub async fn shown(&self, order: i64) -> Option<i64> {
        self.facts.fact(OrderId(order)).await.unwrap().and_then(|fact| fact.payment.payment_id)
    }

    /// One open letter of each verdict, each about an order of its own.
    pub async fn one_of_each(&self) -> [Letter; 6] {
        let (base, t) = (self.own_order(), self.own_time());
        let letters = [
            orphan(11, base, t),
            orphan(21, base + 1, t),
            orphan(31, base + 2, t),
            orphan(41, base + 3, t),
            Letter { reason: Reason::TimestampTie, ..orphan(51, base + 4, t) },
            letter(Kind::Payment, t, Reason::Undecodable, b"\xff not an object"),
        ];
        for order in [base, base + 1, base + 2, base + 4] {
            self.order(order, t - HOUR).await;
        }
        self.payment(10, base, t - 1).await;
        self.payment(21, base + 1, t).await;
        self.payment(32, base + 2, t + 1).await;
        self.payment(52, base + 4, t).await;
        for letter in &letters {
            self.record(letter).await;
        }
        letters
    }

    /// A run over these letters.
    pub async fn begin(&self, desk: &Desk, deed: Deed, letters: &[&Letter]) -> Run {
        let plan = desk.plan(deed, named(letters), Purpose::Begin, &|_| {}).await.unwrap();
        assert!(plan.missing.is_empty(), "{:?}", plan.missing);
        desk.begin(plan, Some("because".into())).await.unwrap()
    }

    /// Begins a run over these letters and works through it.
    pub async fn act(&self, deed: Deed, letters: &[&Letter]) -> Ended {
        let desk = self.desk();
        let run = self.begin(&desk, deed, letters).await;
        let settler = desk.settler(&run, POLICY);
        desk.work(run, &settler, &pace(Entry::Fresh, 0)).await.unwrap()
    }

    /// What a handler settles letters with.
    pub fn handler(&self) -> Settler {
        let desk = self.desk();
        Settler {
            facts: desk.facts,
            ledger: desk.ledger,
            retrying: desk.retrying,
            locks: ecom_pipeline::order_locks::OrderLocks::new(),
            policy: POLICY,
            clock: desk.clock,
            chance: desk.chance,
            actor: Actor { name: "dlq_handler".into(), host: "worker-1".into(), run_id: "role".into() },
            note: None,
        }
    }
}

/// These letters by id.
pub fn named(letters: &[&Letter]) -> Selection {
    Selection { ids: ids(letters), ..Selection::default() }
}

pub fn ids(letters: &[&Letter]) -> Vec<LetterId> {
    letters.iter().map(|letter| letter.id.clone()).collect()
}

pub fn pace(entry: Entry, canary: u64) -> Pace<'static> {
    Pace { entry, rate: None, canary, stop: CancellationToken::new(), done: &|_| {} }
}

/// What the verdicts of a plan are, with how many letters have each.
pub fn verdicts(plan: &ecom_dlq::plan::Plan) -> Vec<(Verdict, u64)> {
    plan.verdicts.iter().map(|(verdict, letters)| (*verdict, *letters)).collect()
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
    pub fn received(&self) -> Vec<Received> {
        let receive = |(number, message): (usize, Message)| Received {
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
