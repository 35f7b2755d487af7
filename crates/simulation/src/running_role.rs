//! A role that is started again whenever its process ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::faults::Injector;
use crate::world::{FINISH, Role, World};

/// A role that runs: when its process is killed, refused or stopped, another one is started.
pub struct RunningRole {
    /// The role.
    pub role: Role,
    /// The faults of its processes.
    pub injector: Arc<Injector>,
    ended: CancellationToken,
    current: Arc<Mutex<CancellationToken>>,
    task: tokio::task::JoinHandle<u64>,
}

impl RunningRole {
    /// Starts a role.
    pub fn start(world: &Arc<World>, role: Role, injector: Arc<Injector>) -> Self {
        let ended = CancellationToken::new();
        let current = Arc::new(Mutex::new(ended.child_token()));
        let supervised =
            supervise(Arc::clone(world), role, Arc::clone(&injector), ended.clone(), Arc::clone(&current));
        Self { role, injector, ended, current, task: tokio::spawn(supervised) }
    }

    /// Asks the current process to stop; the next one is started when it has.
    pub fn stop_process(&self) {
        self.current.lock().expect("no holder panics").cancel();
    }

    /// Stops the role and waits for its process. Returns the number of its processes.
    ///
    /// # Panics
    /// If it does not stop in time, or has panicked.
    pub async fn end(self, seed: u64) -> u64 {
        self.ended.cancel();
        let ended = tokio::time::timeout(FINISH, self.task).await;
        let ended = ended.unwrap_or_else(|_| panic!("seed {seed}: {:?} does not stop", self.role));
        ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// Runs one process of a role after another until `ended`. Returns their number.
async fn supervise(
    world: Arc<World>,
    role: Role,
    injector: Arc<Injector>,
    ended: CancellationToken,
    current: Arc<Mutex<CancellationToken>>,
) -> u64 {
    let mut processes = 0;
    while !ended.is_cancelled() {
        processes += 1;
        let stop = ended.child_token();
        *current.lock().expect("no holder panics") = stop.clone();
        injector.restart();
        let process = world.process(&injector, &stop);
        let mut task = tokio::spawn(Arc::clone(&world).run(role, process));
        let result = tokio::select! {
            biased;
            () = injector.until_killed() => {
                task.abort();
                (&mut task).await
            }
            result = &mut task => result,
        };
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) if injector.is_refused() => {
                // As an orchestrator starts it again.
                let _ = error;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(Err(error)) => panic!("seed {}: {role:?} failed: {error}", world.seed),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
    processes
}
