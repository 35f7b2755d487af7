//! The store in memory, with writes that time out: applied, lost, or applied later.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use ecom_domain::dead_letter::{DeadLetterState, HistoryAction};
use ecom_store::StoreError;
use ecom_store::memory::{Interceptor, MemoryStore, Tables, Write};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub type SimulatedStore = MemoryStore<Timeouts>;

/// Pauses before every operation but a scan, and times out.
pub struct Timeouts(Mutex<State>);

struct State {
    rng: ChaCha8Rng,
    faults: bool,
    late: Vec<Write>,
    late_writes: u64,
}

impl Timeouts {
    pub fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self(Mutex::new(State { rng, faults: true, late: Vec::new(), late_writes: 0 }))
    }

    /// Ends all faults. Returns the writes that were to be applied later.
    pub fn heal(&self) -> Vec<Write> {
        let mut state = self.state();
        state.faults = false;
        std::mem::take(&mut state.late)
    }

    pub fn late_writes(&self) -> u64 {
        self.state().late_writes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn pause(&self, tables: &Mutex<Tables>) {
        let wait = self.state().rng.random_range(0..4);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let mut state = self.state();
        if !state.late.is_empty() && state.rng.random_bool(0.05) {
            let late = state.late.len();
            let index = state.rng.random_range(0..late);
            state.late.swap_remove(index)(&mut tables.lock().unwrap());
        }
    }
}

fn timeout(what: &'static str) -> StoreError {
    StoreError::Unavailable { what, on: "simulated".into(), source: "timeout".into() }
}

#[async_trait]
impl Interceptor for Timeouts {
    async fn read(&self, what: &'static str, tables: &Mutex<Tables>) -> Result<(), StoreError> {
        if what.starts_with("scan") {
            return Ok(());
        }
        self.pause(tables).await;
        let mut state = self.state();
        if state.faults && state.rng.random_bool(0.05) { Err(timeout(what)) } else { Ok(()) }
    }

    async fn write(
        &self,
        what: &'static str,
        tables: &Mutex<Tables>,
        write: Write,
    ) -> Result<(), StoreError> {
        self.pause(tables).await;
        let mut state = self.state();
        let tables = &mut tables.lock().unwrap();
        if !state.faults || state.rng.random_bool(0.85) {
            write(tables);
            return Ok(());
        }
        match state.rng.random_range(0..3) {
            0 => write(tables),
            1 => {
                state.late_writes += 1;
                state.late.push(write);
            }
            _ => {}
        }
        Err(timeout(what))
    }
}

/// Asserts that every dead letter was received, and that exactly the recovered ones have an entry that
/// says so. A reopened one may have such an entry from an earlier generation.
pub fn check_histories(tables: &Tables, seed: u64) {
    for record in tables.records() {
        let id = &record.dead_letter.id;
        let did = |action| tables.histories[id].values().any(|entry| entry.action == action);
        assert!(did(HistoryAction::Received), "seed {seed}: {id} was never received");
        let recovered = record.state() == DeadLetterState::Recovered;
        let reopened = record.progress.generation > 0;
        let says_so = did(HistoryAction::Recovered);
        assert!(recovered == says_so || says_so && reopened, "seed {seed}: {id} {record:?}");
    }
}
