//! Faults: what happens to each operation of a role on the bus and the store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;
use tokio::time::Instant;

/// An operation of a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A read of the store.
    Read,
    /// A write to the store.
    Write,
    /// Publishing a message.
    Publish,
    /// An ack, whose answer no role waits for.
    Ack,
}

/// A fault of an operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fault {
    /// It is not done, and the role is answered that it is unknown.
    Failed,
    /// It is done, and the role is answered that it is unknown.
    AnswerLost,
    /// The role is answered that it is unknown; it is done later.
    AppliedLate,
    /// The store refuses it, as it does an invalid statement.
    Refused,
    /// The process is killed before it is done.
    KilledBefore,
    /// The process is killed after it is done.
    KilledAfter,
    /// The process is frozen past its ack deadlines, and goes on afterwards.
    Frozen,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 7] = [
        Self::Failed,
        Self::AnswerLost,
        Self::AppliedLate,
        Self::Refused,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::Frozen,
    ];

    /// Returns the word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::AnswerLost => "answer lost",
            Self::AppliedLate => "applied late",
            Self::Refused => "refused",
            Self::KilledBefore => "killed before",
            Self::KilledAfter => "killed after",
            Self::Frozen => "frozen",
        }
    }

    /// Returns whether it can happen to this operation.
    pub fn applies_to(self, operation: Operation) -> bool {
        match operation {
            Operation::Read => !matches!(self, Self::AnswerLost | Self::AppliedLate | Self::KilledAfter),
            Operation::Write => true,
            Operation::Publish => self != Self::Refused,
            Operation::Ack => matches!(self, Self::Failed | Self::KilledBefore | Self::KilledAfter),
        }
    }
}

/// The share of operations that meet each fault.
#[derive(Clone, Copy, Default, Debug)]
pub struct FaultRates {
    /// Operations with an unknown result: a third each was done, was not done, and is done later.
    pub unknown: f64,
    /// Operations at which the process is killed, half of them after they are done.
    pub killed: f64,
    /// Operations at which the process is frozen.
    pub frozen: f64,
    /// Operations that the store refuses.
    pub refused: f64,
    /// Acks that are lost.
    pub ack_lost: f64,
}

/// The state that the injectors of a world share.
#[derive(Clone, Default)]
pub struct SharedFaults(Arc<Shared>);

#[derive(Default)]
struct Shared {
    healed: AtomicBool,
    counts: [AtomicU64; Fault::ALL.len()],
    trace: Mutex<Option<(Instant, Trace)>>,
}

/// Takes a line about each operation.
pub type Trace = Box<dyn Fn(&str) + Send>;

impl SharedFaults {
    /// Ends all random faults.
    pub fn heal(&self) {
        self.0.healed.store(true, Ordering::Relaxed);
    }

    /// Calls this function with each operation: its time, role and fault.
    pub fn trace(&self, trace: Trace) {
        *self.0.trace.lock().expect("no holder panics") = Some((Instant::now(), trace));
    }

    /// Returns how often each fault happened.
    pub fn counts(&self) -> impl Iterator<Item = (Fault, u64)> {
        Fault::ALL.into_iter().map(|fault| (fault, self.0.counts[fault as usize].load(Ordering::Relaxed)))
    }

    fn print(&self, role: &str, what: &str, fault: Option<Fault>) {
        if let Some((started, trace)) = &*self.0.trace.lock().expect("no holder panics") {
            let fault = fault.map(|fault| format!(": {}", fault.as_str())).unwrap_or_default();
            trace(&format!("{:>9.3} {role}: {what}{fault}", started.elapsed().as_secs_f64()));
        }
    }
}

/// The choice of the next fault.
enum Plan {
    /// By chance.
    Random { rng: Box<ChaCha8Rng>, rates: FaultRates },
    /// At given operations, counted from 0; every operation is recorded.
    Scripted { faults: BTreeMap<usize, Fault>, operations: Vec<Operation> },
}

/// Injects faults into the operations of one role, over all of its incarnations.
pub struct Injector {
    /// The role, for traces.
    name: String,
    plan: Mutex<Plan>,
    shared: SharedFaults,
    /// The process was killed and does nothing more.
    dead: AtomicBool,
    /// A statement was refused, which ends the role.
    refused: AtomicBool,
    killed: Notify,
}

impl Injector {
    /// Returns an injector that draws its faults until `healed`.
    pub fn random(name: String, seed: u64, rates: FaultRates, shared: &SharedFaults) -> Self {
        Self::new(name, Plan::Random { rng: Box::new(ChaCha8Rng::seed_from_u64(seed)), rates }, shared)
    }

    /// Returns an injector of these faults.
    pub fn scripted(name: String, faults: BTreeMap<usize, Fault>, shared: &SharedFaults) -> Self {
        Self::new(name, Plan::Scripted { faults, operations: Vec::new() }, shared)
    }

    fn new(name: String, plan: Plan, shared: &SharedFaults) -> Self {
        Self {
            name,
            plan: Mutex::new(plan),
            shared: shared.clone(),
            dead: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            killed: Notify::new(),
        }
    }

    /// Returns true with this probability; always if the faults are scripted.
    pub fn chance(&self, probability: f64) -> bool {
        match &mut *self.plan() {
            Plan::Scripted { .. } => true,
            Plan::Random { rng, .. } => rng.random_bool(probability),
        }
    }

    /// Returns the operations so far, if the faults are scripted.
    pub fn operations(&self) -> Vec<Operation> {
        match &*self.plan() {
            Plan::Scripted { operations, .. } => operations.clone(),
            Plan::Random { .. } => Vec::new(),
        }
    }

    /// Waits as long as an operation takes, and returns the fault that it meets. Never returns in a process
    /// that was killed.
    pub async fn next(&self, operation: Operation, what: &str) -> Option<Fault> {
        self.alive().await;
        let latency = match &mut *self.plan() {
            Plan::Random { rng, .. } => rng.random_range(0..4),
            Plan::Scripted { .. } => 1,
        };
        tokio::time::sleep(Duration::from_millis(latency)).await;
        self.alive().await;
        let fault = self.draw(operation, what);
        match fault {
            Some(Fault::KilledBefore) => self.kill().await,
            Some(Fault::Frozen) => tokio::time::sleep(FREEZE).await,
            Some(Fault::Refused) => self.refused.store(true, Ordering::Relaxed),
            _ => {}
        }
        fault
    }

    /// Returns the fault of an ack. A process that was killed sends none.
    pub fn at_ack(&self, what: &str) -> Option<Fault> {
        if self.is_dead() {
            return Some(Fault::KilledBefore);
        }
        let fault = self.draw(Operation::Ack, what);
        if matches!(fault, Some(Fault::KilledBefore | Fault::KilledAfter)) {
            self.killed();
        }
        fault
    }

    /// Kills the process; never returns.
    pub async fn kill(&self) {
        self.killed();
        self.alive().await;
    }

    /// Kills the process.
    pub fn killed(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.killed.notify_one();
    }

    /// Returns once the process is killed.
    pub async fn until_killed(&self) {
        self.killed.notified().await;
    }

    /// Starts the next process of the role.
    pub fn restart(&self) {
        self.dead.store(false, Ordering::Relaxed);
        self.refused.store(false, Ordering::Relaxed);
    }

    /// Returns true between a kill and the next start.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Returns true if the process ends because a statement was refused.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    async fn alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    fn draw(&self, operation: Operation, what: &str) -> Option<Fault> {
        let fault = match &mut *self.plan() {
            Plan::Scripted { faults, operations } => {
                operations.push(operation);
                faults.get(&(operations.len() - 1)).copied()
            }
            Plan::Random { .. } if self.shared.0.healed.load(Ordering::Relaxed) => None,
            Plan::Random { rng, rates } => rates.draw(rng, operation),
        };
        let fault = fault.filter(|fault| fault.applies_to(operation));
        self.shared.print(&self.name, what, fault);
        if let Some(fault) = fault {
            self.shared.0.counts[fault as usize].fetch_add(1, Ordering::Relaxed);
        }
        fault
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no holder panics")
    }
}

/// The time that a process is frozen: longer than the ack deadline of a simulated message.
const FREEZE: Duration = Duration::from_secs(12);

impl FaultRates {
    fn draw(&self, rng: &mut ChaCha8Rng, operation: Operation) -> Option<Fault> {
        if operation == Operation::Ack {
            return rng.random_bool(self.ack_lost).then_some(Fault::Failed);
        }
        let drawn: f64 = rng.random();
        let mut bound = 0.0;
        let mut below = |share: f64| {
            bound += share;
            drawn < bound
        };
        let third = self.unknown / 3.0;
        let shares = [
            (third, Fault::Failed),
            (third, Fault::AnswerLost),
            (third, Fault::AppliedLate),
            (self.killed / 2.0, Fault::KilledBefore),
            (self.killed / 2.0, Fault::KilledAfter),
            (self.frozen, Fault::Frozen),
            (self.refused, Fault::Refused),
        ];
        let fault = shares.into_iter().find(|(share, _)| below(*share)).map(|(_, fault)| fault);
        // An operation that cannot be done without its answer fails instead.
        fault.map(|fault| match fault {
            Fault::AnswerLost | Fault::AppliedLate if !fault.applies_to(operation) => Fault::Failed,
            fault => fault,
        })
    }
}
