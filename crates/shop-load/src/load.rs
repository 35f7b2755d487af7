//! Load: requests at an interval (an open loop), or of users who wait for each answer (a closed loop).

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::client::{ApiClient, pause};
use super::counts::{LoadCounts, MeasuredFrom};
use super::manifest::{ManifestError, ManifestWriter};
use super::requests::{Creates, RecordKind, name_key};

/// The most requests of an open loop that are not answered yet. Those that are due beyond wait, and the wait counts in
/// their times.
const MAX_IN_FLIGHT: usize = 1_000;
/// The longest life of a request whose answer is not waited for.
const CUT_AFTER: Duration = Duration::from_millis(20);
/// The customers and senders of an open loop.
const OPEN_LOOP_USERS: u64 = 1_000;

/// The times at which requests are sent.
#[derive(Clone, Debug)]
pub enum Arrivals {
    /// One each interval, whether those before are answered or not.
    Interval(Duration),
    /// Each user sends one, waits for its answer, thinks, and sends the next.
    Users {
        /// The number of users.
        users: u64,
        /// The shortest and the longest time that a user thinks.
        think: RangeInclusive<Duration>,
        /// Users who begin per second; `None` = all at once.
        spawn_rate: Option<f64>,
    },
}

impl Arrivals {
    /// Returns the start of the times that requests take.
    pub fn measured_from(&self) -> MeasuredFrom {
        match self {
            Self::Interval(_) => MeasuredFrom::Schedule,
            Self::Users { .. } => MeasuredFrom::Sending,
        }
    }
}

/// Load to send.
#[derive(Clone, Debug)]
pub struct Load {
    /// The times at which requests are sent.
    pub arrivals: Arrivals,
    /// The kinds of records: each request draws one of them.
    pub creates: Vec<Creates>,
    /// The number of requests, each with a key of its own; `None` = until stopped.
    pub count: Option<u64>,
    /// The time after which no request begins; `None` = until stopped.
    pub duration: Option<Duration>,
    /// The longest wait for answers after the end.
    pub grace: Duration,
    /// The prefix of the idempotency keys, which no earlier load had.
    pub run: String,
    /// The seed of the contents.
    pub seed: u64,
    /// Send each request twice at once.
    pub send_twice: bool,
    /// The share of requests that are sent once more before, without waiting for the answer.
    pub cut: f64,
}

/// Sends load until everything is answered, its time is over, or it is stopped; after that nothing new begins, and what has
/// begun is repeated until it is answered, for the grace period at most. A manifest keeps every key, so that another process
/// can prove what became of it.
///
/// # Errors
/// The manifest cannot be written. Nothing is sent that is not in it.
pub async fn send(
    client: &ApiClient,
    load: &Load,
    manifest: Option<&ManifestWriter>,
    counts: &LoadCounts,
    stop: &CancellationToken,
) -> Result<(), ManifestError> {
    let sending = Sending {
        client,
        load,
        manifest,
        counts,
        ended: stop.child_token(),
        abandoned: CancellationToken::new(),
        error: Mutex::default(),
    };
    let work = async {
        match &load.arrivals {
            Arrivals::Interval(interval) => sending.at_interval(*interval).await,
            Arrivals::Users { users, think, spawn_rate } => {
                join_all((0..*users).map(|user| sending.user(user, *users, think, *spawn_rate))).await;
            }
        }
    };
    let ending = async {
        let over = async {
            match load.duration {
                Some(duration) => sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = sending.ended.cancelled() => {}
            () = over => sending.ended.cancel(),
        }
        sleep(load.grace).await;
        sending.abandoned.cancel();
    };
    let (mut work, ending) = (pin!(work), pin!(ending));
    tokio::select! {
        biased;
        () = &mut work => {}
        () = ending => work.await,
    }
    let error = sending.error.lock().unwrap_or_else(PoisonError::into_inner).take();
    error.map_or(Ok(()), Err)
}

/// A load that is being sent.
struct Sending<'a> {
    client: &'a ApiClient,
    load: &'a Load,
    manifest: Option<&'a ManifestWriter>,
    counts: &'a LoadCounts,
    /// Cancelled when nothing new begins.
    ended: CancellationToken,
    /// Cancelled when answers are no longer waited for.
    abandoned: CancellationToken,
    error: Mutex<Option<ManifestError>>,
}

/// A request with its key.
struct KeyedRequest {
    key: String,
    kind: RecordKind,
    body: Value,
    is_cut: bool,
    cut_after: Duration,
}

/// The outcome of a request.
enum Outcome {
    Recorded(i64),
    Failed(String),
    Unanswered,
}

impl Sending<'_> {
    /// Sends one request each interval.
    async fn at_interval(&self, interval: Duration) {
        let mut dice = ChaCha8Rng::seed_from_u64(self.load.seed);
        let mut in_flight = FuturesUnordered::new();
        let (mut due, mut n) = (Instant::now(), 0);
        let is_last = |n: u64| self.load.count.is_some_and(|count| n >= count);
        while !is_last(n) {
            tokio::select! {
                biased;
                () = self.ended.cancelled() => break,
                Some(()) = in_flight.next() => continue,
                () = sleep_until(due), if in_flight.len() < MAX_IN_FLIGHT => {}
            }
            let user = dice.random_range(0..OPEN_LOOP_USERS);
            let request = self.request(&mut dice, format!("{}-{n}", self.load.run), user);
            in_flight.push(self.perform(request, due));
            (due, n) = (due + interval, n + 1);
        }
        while in_flight.next().await.is_some() {}
    }

    /// Sends the requests of a user, one after the other.
    async fn user(&self, user: u64, users: u64, think: &RangeInclusive<Duration>, spawn_rate: Option<f64>) {
        let begins_after = spawn_rate.map_or(0.0, |rate| user as f64 / rate);
        if !self.waits(Duration::try_from_secs_f64(begins_after).unwrap_or(Duration::MAX)).await {
            return;
        }
        let mut dice = ChaCha8Rng::seed_from_u64(self.load.seed.wrapping_mul(1_000_003).wrapping_add(user));
        let share = |count: u64| count / users + u64::from(user < count % users);
        let count = self.load.count.map_or(u64::MAX, share);
        for n in 0..count {
            if n > 0 && !self.waits(dice.random_range(think.clone())).await || self.ended.is_cancelled() {
                return;
            }
            let request = self.request(&mut dice, format!("{}-{user}-{n}", self.load.run), user);
            self.perform(request, Instant::now()).await;
        }
    }

    /// Waits; returns false if the load has ended meanwhile.
    async fn waits(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => false,
            () = sleep(time) => true,
        }
    }

    fn request(&self, dice: &mut ChaCha8Rng, key: String, user: u64) -> KeyedRequest {
        // One choice costs no random number, so that a load of one kind has its contents from its seed alone.
        let creates = match &self.load.creates[..] {
            [only] => only,
            several => several.choose(dice).unwrap_or(&Creates::Orders),
        };
        let mut body = creates.body(dice, user);
        if matches!(creates, Creates::Transactions(_)) && self.manifest.is_some() {
            name_key(&mut body, &key);
        }
        KeyedRequest {
            key,
            kind: creates.kind(),
            body,
            is_cut: dice.random::<f64>() < self.load.cut,
            cut_after: dice.random_range(Duration::ZERO..CUT_AFTER),
        }
    }

    /// Sends a request until it is answered, and counts what became of it.
    async fn perform(&self, request: KeyedRequest, mut since: Instant) {
        if !self.is_noted(|manifest| manifest.asked(&request.key, request.kind, &request.body)) {
            return;
        }
        self.counts.requests.inc();
        if request.is_cut {
            // The request is on its way, and nobody reads the answer.
            let begins = Instant::now();
            self.counts.sent.inc();
            self.counts.cut.inc();
            let sending = self.client.post(request.kind.path(), &request.key, &request.body);
            drop(timeout(request.cut_after, sending).await);
            since += begins.elapsed();
        }
        let outcome = match self.load.send_twice {
            true => {
                let (one, other) = tokio::join!(self.create(&request, since), self.create(&request, since));
                one.and(other)
            }
            false => self.create(&request, since).await,
        };
        match outcome {
            Outcome::Recorded(_) => self.counts.recorded.inc(),
            Outcome::Failed(failure) => self.counts.fail(format!("{}: {failure}", request.key)),
            Outcome::Unanswered => self.counts.unanswered.inc(),
        }
    }

    /// Sends a request until it is answered or abandoned.
    async fn create(&self, request: &KeyedRequest, since: Instant) -> Outcome {
        let KeyedRequest { key, kind, body, .. } = request;
        for attempts in 1.. {
            self.counts.sent.inc();
            let Some(answer) = self.unless_abandoned(self.client.post(kind.path(), key, body)).await else {
                break;
            };
            let reason = match &answer {
                Ok(answer) if answer.status.is_success() => {
                    self.counts.took.observe(since.elapsed());
                    if answer.is_replayed {
                        self.counts.replayed.inc();
                    }
                    let Some(id) = kind.id(&answer.body) else {
                        return Outcome::Failed(format!("the answer has no id: {}", answer.body));
                    };
                    self.is_noted(|manifest| manifest.answered(key, id));
                    return Outcome::Recorded(id);
                }
                Ok(answer) if !answer.may_be_repeated() => {
                    return Outcome::Failed(format!("{} {}", answer.status, answer.body));
                }
                Ok(answer) => {
                    format!("POST {} was answered with {} {}", kind.path(), answer.status, answer.body)
                }
                Err(error) => error.to_string(),
            };
            self.counts.note_repetition(reason);
            if self.unless_abandoned(sleep(pause(attempts, answer.as_ref().ok()))).await.is_none() {
                break;
            }
            self.counts.repeated.inc();
        }
        Outcome::Unanswered
    }

    async fn unless_abandoned<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.abandoned.cancelled() => None,
            done = work => Some(done),
        }
    }

    /// Writes to the manifest, if there is one. Ends the load if that fails.
    fn is_noted(&self, write: impl FnOnce(&ManifestWriter) -> Result<(), ManifestError>) -> bool {
        let Some(Err(error)) = self.manifest.map(write) else { return true };
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.ended.cancel();
        false
    }
}

impl Outcome {
    /// Returns what became of a request that was sent twice.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Recorded(one), Self::Recorded(other)) if one != other => {
                Self::Failed(format!("recorded as {one} and as {other}"))
            }
            (failed @ Self::Failed(_), _) | (_, failed @ Self::Failed(_)) => failed,
            (recorded @ Self::Recorded(_), _) | (_, recorded @ Self::Recorded(_)) => recorded,
            (Self::Unanswered, Self::Unanswered) => Self::Unanswered,
        }
    }
}
