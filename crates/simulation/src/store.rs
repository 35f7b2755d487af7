//! The store in memory, whose operations meet the faults of a role.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ecom_domain::dead_letter::{DeadLetterState, HistoryAction};
use ecom_store::StoreError;
use ecom_store::memory::{Interceptor, MemoryStore, Tables, Write};

use crate::faults::{Fault, Injector, Operation};

/// The store as one role reaches it.
pub type RoleStore = MemoryStore<StoreFaults>;

/// Writes that are applied later.
#[derive(Clone, Default)]
pub struct LateWrites(Arc<Mutex<Vec<Write>>>);

impl LateWrites {
    /// Applies the writes that are still to come.
    pub fn apply(&self, tables: &mut Tables) {
        for write in std::mem::take(&mut *self.writes()) {
            write(tables);
        }
    }

    /// Applies the oldest one now and then, so that each comes at some time.
    fn apply_one(&self, injector: &Injector, tables: &Mutex<Tables>) {
        let mut writes = self.writes();
        if !writes.is_empty() && injector.chance(0.1) {
            let write = writes.remove(0);
            drop(writes);
            write(&mut tables.lock().expect("no holder panics"));
        }
    }

    fn writes(&self) -> std::sync::MutexGuard<'_, Vec<Write>> {
        self.0.lock().expect("no holder panics")
    }
}

/// The part of the dead-letter store that scans cannot read, as the start of its ids.
pub type UnreadablePart = Arc<Mutex<Option<String>>>;

/// Injects the faults of a role into its operations on the store.
pub struct StoreFaults {
    /// Decides which.
    pub injector: Arc<Injector>,
    /// Writes that are applied later, of all roles.
    pub late: LateWrites,
    /// The part that scans cannot read at present.
    pub unreadable: UnreadablePart,
}

fn unavailable(what: &'static str) -> StoreError {
    StoreError::Unavailable { what, on: "simulated".into(), source: "timeout".into() }
}

fn refused(what: &'static str) -> StoreError {
    StoreError::Refused { what, on: "simulated".into(), source: "invalid".into() }
}

#[async_trait]
impl Interceptor for StoreFaults {
    async fn read(&self, what: &'static str, tables: &Mutex<Tables>) -> Result<(), StoreError> {
        let fault = self.injector.next(Operation::Read, what).await;
        self.late.apply_one(&self.injector, tables);
        match fault {
            None | Some(Fault::Frozen) => Ok(()),
            Some(Fault::Refused) => Err(refused(what)),
            Some(_) => Err(unavailable(what)),
        }
    }

    async fn write(
        &self,
        what: &'static str,
        tables: &Mutex<Tables>,
        write: Write,
    ) -> Result<(), StoreError> {
        let fault = self.injector.next(Operation::Write, what).await;
        let now = |write: Write| write(&mut tables.lock().expect("no holder panics"));
        match fault {
            None | Some(Fault::Frozen) => {
                now(write);
                Ok(())
            }
            Some(Fault::Refused) => Err(refused(what)),
            Some(Fault::AnswerLost) => {
                now(write);
                Err(unavailable(what))
            }
            Some(Fault::AppliedLate) => {
                self.late.writes().push(write);
                Err(unavailable(what))
            }
            Some(Fault::KilledAfter) => {
                now(write);
                self.injector.kill().await;
                Ok(())
            }
            Some(Fault::Failed | Fault::KilledBefore) => Err(unavailable(what)),
        }
    }

    fn unreadable_part(&self) -> Option<String> {
        self.unreadable.lock().expect("no holder panics").clone()
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
