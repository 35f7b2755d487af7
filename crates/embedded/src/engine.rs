//! The engine thread, which owns the connection. Jobs arrive through a bounded channel; all jobs that are
//! waiting run in one transaction (group commit), and their results are reported after the commit.
//!
//! Results are reported by a task of the runtime: waking each caller from the thread would cost a system
//! call per caller.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::database::Database;
use super::job::{EngineError, Job, TransactionKind};

/// The capacity of the job queue; callers wait for a slot beyond it.
const QUEUE_CAPACITY: usize = 1_024;
/// The number of finished transactions whose results may wait to be reported; the thread waits beyond it.
const FINISHED_CAPACITY: usize = 8;
/// The most jobs in one transaction. Bounds how long the file is locked.
const BATCH: usize = 1_024;

/// A handle on the engine thread, which ends when the last handle is dropped.
#[derive(Clone)]
pub(super) struct Engine {
    requests: mpsc::Sender<EngineRequest>,
    /// Taken by the first caller, whose runtime then reports results.
    finished: Arc<Mutex<Option<mpsc::Receiver<FinishedTransaction>>>>,
}

/// A reserved slot in the job queue.
pub(super) struct QueueSlot<'e>(mpsc::Permit<'e, EngineRequest>);

/// The pending result of a submitted job.
pub(super) struct PendingResult<T>(oneshot::Receiver<Result<T, EngineError>>);

/// The jobs of one transaction, and the error of the whole transaction.
struct FinishedTransaction {
    jobs: Vec<Box<dyn Job>>,
    failed: Option<EngineError>,
}

enum EngineRequest {
    Run(TransactionKind, Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// A job that is a function.
struct FnJob<W, T> {
    work: W,
    result: Result<T, EngineError>,
    reply: oneshot::Sender<Result<T, EngineError>>,
}

impl Engine {
    /// Starts the thread.
    pub(super) fn start(database: Database) -> std::io::Result<Self> {
        let (requests, arrivals) = mpsc::channel(QUEUE_CAPACITY);
        let (results, finished) = mpsc::channel(FINISHED_CAPACITY);
        let serve = move || serve(arrivals, &results, database);
        std::thread::Builder::new().name("embedded".to_owned()).spawn(serve)?;
        Ok(Self { requests, finished: Arc::new(Mutex::new(Some(finished))) })
    }

    /// Runs a read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.submit(TransactionKind::Read, work).await.wait().await
    }

    /// Runs a write; durable after `Ok`.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.submit(TransactionKind::Write, work).await.wait().await
    }

    /// Submits a job, waiting for a slot in the queue. Jobs of one kind run in the order they were submitted.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        kind: TransactionKind,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> PendingResult<T> {
        let (reply, result) = oneshot::channel();
        let job = FnJob { work, result: Err(EngineError::Stopped), reply };
        // Without a slot the reply is dropped, which the pending result reports as `Stopped`.
        if let Ok(slot) = self.reserve().await {
            slot.submit(kind, Box::new(job));
        }
        PendingResult(result)
    }

    /// Waits for a slot in the job queue.
    pub(super) async fn reserve(&self) -> Result<QueueSlot<'_>, EngineError> {
        if let Some(finished) = self.finished.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tokio::spawn(report(finished));
        }
        self.requests.reserve().await.map(QueueSlot).map_err(|_| EngineError::Stopped)
    }

    /// Waits until every write submitted so far has run.
    pub(super) async fn barrier(&self) {
        let _ = self.write(|_| Ok(())).await;
    }

    /// Waits until every job submitted so far has run, then closes the connection.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.requests.send(EngineRequest::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

impl QueueSlot<'_> {
    /// Submits a job.
    pub(super) fn submit(self, kind: TransactionKind, job: Box<dyn Job>) {
        self.0.send(EngineRequest::Run(kind, job));
    }
}

impl FinishedTransaction {
    fn report(self) {
        for job in self.jobs {
            job.report(self.failed.as_ref());
        }
    }
}

impl<T> PendingResult<T> {
    /// Waits for the commit.
    pub(super) async fn wait(self) -> Result<T, EngineError> {
        self.0.await.unwrap_or(Err(EngineError::Stopped))
    }
}

impl<W, T> Job for FnJob<W, T>
where
    W: Fn(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), EngineError> {
        self.result = (self.work)(connection).map_err(EngineError::from);
        self.result.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    fn report(self: Box<Self>, failed: Option<&EngineError>) {
        let result = match failed {
            Some(error) => Err(error.clone()),
            None => self.result,
        };
        // The caller may have been dropped.
        let _ = self.reply.send(result);
    }
}

/// Reports the results of finished transactions until the thread ends.
async fn report(mut finished: mpsc::Receiver<FinishedTransaction>) {
    while let Some(transaction) = finished.recv().await {
        transaction.report();
    }
}

/// Runs the thread: takes all waiting jobs, runs the reads, then the writes.
fn serve(
    mut arrivals: mpsc::Receiver<EngineRequest>,
    results: &mpsc::Sender<FinishedTransaction>,
    mut database: Database,
) {
    let mut waiting = Vec::with_capacity(BATCH);
    while arrivals.blocking_recv_many(&mut waiting, BATCH) > 0 {
        let (mut reads, mut writes, mut closing) = (Vec::new(), Vec::new(), Vec::new());
        for request in waiting.drain(..) {
            match request {
                EngineRequest::Run(TransactionKind::Read, job) => reads.push(job),
                EngineRequest::Run(TransactionKind::Write, job) => writes.push(job),
                EngineRequest::Close(reply) => closing.push(reply),
            }
        }
        // Reads first: they need neither the lock nor the disk.
        for (kind, mut jobs) in [(TransactionKind::Read, reads), (TransactionKind::Write, writes)] {
            if jobs.is_empty() {
                continue;
            }
            let failed = database.run(kind, &mut jobs).err();
            let finished = FinishedTransaction { jobs, failed };
            // The reporting task ends with its runtime.
            if let Err(mpsc::error::SendError(finished)) = results.blocking_send(finished) {
                finished.report();
            }
        }
        if !closing.is_empty() {
            database.close();
        }
        for reply in closing {
            let _ = reply.send(());
        }
    }
}
