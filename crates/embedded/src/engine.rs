//! The thread that owns the connection. Jobs arrive through a bounded channel; whatever is waiting
//! runs in one transaction (group commit) and is answered after the commit.
//!
//! The answers of a transaction go to those who asked by way of one task beside them: woken one by
//! one from the thread, each of them would cost a system call.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot, watch};

use super::database::Database;

/// Jobs waiting for the thread; beyond this, callers wait for a place.
const WAITING: usize = 1_024;
/// Transactions whose answers wait at most; beyond this, the thread waits.
const ANSWERS: usize = 8;
/// Jobs in one transaction at most: bounds how long the file is locked.
const BATCH: usize = 1_024;

/// Whether a job changes the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// Needs no lock, and is answered without waiting for the disk.
    Read,
    /// Runs in a transaction that took the write lock first.
    Write,
}

/// Wakes the feeds of a topic.
#[derive(Clone, Default)]
pub(super) struct TopicNotifier(Arc<watch::Sender<()>>);

/// Why a job was not done. The file is as it was before, or, where the commit itself failed,
/// perhaps as it was to be.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// `SQLite`'s answer, shared by all jobs of the transaction.
    #[error(transparent)]
    Sqlite(Arc<rusqlite::Error>),
    /// The thread has ended.
    #[error("the engine has ended")]
    OperationReport,
}

/// One piece of work for the thread.
pub(super) trait Job: Send {
    /// Does the work within a transaction; may be called again after that was rolled back.
    fn run(&mut self, connection: &Connection) -> Result<(), Failure>;
    /// Answers after the commit, or with what befell the whole transaction.
    fn answer(self: Box<Self>, failed: Option<&Failure>);
}

/// A handle on the thread, which ends when the last handle is dropped.
#[derive(Clone)]
pub(super) struct Engine {
    requests: mpsc::Sender<Request>,
    /// Until somebody asks, and so shows where the answers are awaited.
    done: Arc<Mutex<Option<mpsc::Receiver<Done>>>>,
}

/// A place among the waiting jobs.
pub(super) struct Place<'e>(mpsc::Permit<'e, Request>);

/// The jobs of one transaction, and what befell all of them.
struct Done {
    jobs: Vec<Box<dyn Job>>,
    failed: Option<Failure>,
}

/// The answer to a submitted job.
pub(super) struct Answer<T>(oneshot::Receiver<Result<T, Failure>>);

enum Request {
    Job(Access, Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

struct Task<W, T> {
    work: W,
    outcome: Result<T, Failure>,
    reply: oneshot::Sender<Result<T, Failure>>,
    notifier: Option<TopicNotifier>,
}

impl Engine {
    /// Starts the thread.
    pub(super) fn start(database: Database) -> std::io::Result<Self> {
        let (requests, arrivals) = mpsc::channel(WAITING);
        let (answers, done) = mpsc::channel(ANSWERS);
        let serve = move || serve(arrivals, &answers, database);
        std::thread::Builder::new().name("embedded".to_owned()).spawn(serve)?;
        Ok(Self { requests, done: Arc::new(Mutex::new(Some(done))) })
    }

    /// Runs a read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.submit(Access::Read, work, None).await.wait().await
    }

    /// Runs a write; durable after `Ok`.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.submit(Access::Write, work, None).await.wait().await
    }

    /// Hands a job over, waiting for a place. Jobs of one access run in the order
    /// they were submitted. The bell rings once the job is durable.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        access: Access,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
        notifier: Option<TopicNotifier>,
    ) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let task = Task { work, outcome: Err(Failure::OperationReport), reply, notifier };
        // Without a place the reply is dropped, which the answer reports as `OperationReport`.
        if let Ok(place) = self.place().await {
            place.take(access, Box::new(task));
        }
        Answer(answer)
    }

    /// Waits for a place.
    pub(super) async fn place(&self) -> Result<Place<'_>, Failure> {
        if let Some(done) = self.done.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tokio::spawn(answer(done));
        }
        self.requests.reserve().await.map(Place).map_err(|_| Failure::OperationReport)
    }

    /// Waits until everything submitted so far was tried.
    pub(super) async fn barrier(&self) {
        let _ = self.write(|_| Ok(())).await;
    }

    /// Waits until everything submitted so far was tried, and closes the connection.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.requests.send(Request::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

impl Place<'_> {
    /// Hands a job over.
    pub(super) fn take(self, access: Access, job: Box<dyn Job>) {
        self.0.send(Request::Job(access, job));
    }
}

impl Done {
    fn answer(self) {
        for job in self.jobs {
            job.answer(self.failed.as_ref());
        }
    }
}

impl<T> Answer<T> {
    /// Waits for the commit.
    pub(super) async fn wait(self) -> Result<T, Failure> {
        self.0.await.unwrap_or(Err(Failure::OperationReport))
    }
}

impl TopicNotifier {
    /// Wakes whoever listens.
    pub(super) fn ring(&self) {
        self.0.send_replace(());
    }

    /// Hears every ring from now on.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

impl Failure {
    /// Whether trying again may succeed.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::OperationReport => true,
            Self::Sqlite(error) => error.sqlite_error_code().is_some_and(|code| match code {
                ErrorCode::PermissionDenied
                | ErrorCode::OperationAborted
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::ReadOnly
                | ErrorCode::OperationInterrupted
                | ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::CannotOpen
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::SchemaChanged => true,
                // The statement, its values or the file itself: the same again fails again.
                _ => false,
            }),
        }
    }

    /// Whether another process holds the lock: the connection itself is sound.
    pub(super) fn is_busy(&self) -> bool {
        match self {
            Self::OperationReport => false,
            Self::Sqlite(error) => error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy),
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl<W, T> Job for Task<W, T>
where
    W: Fn(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.outcome = (self.work)(connection).map_err(Failure::from);
        self.outcome.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    fn answer(self: Box<Self>, failed: Option<&Failure>) {
        let outcome = match failed {
            Some(failure) => Err(failure.clone()),
            None => self.outcome,
        };
        if let (Ok(_), Some(notifier)) = (&outcome, &self.notifier) {
            notifier.ring();
        }
        // Whoever asked may have gone away.
        let _ = self.reply.send(outcome);
    }
}

/// Answers for the thread, until it ends.
async fn answer(mut done: mpsc::Receiver<Done>) {
    while let Some(done) = done.recv().await {
        done.answer();
    }
}

/// The thread: takes what is waiting; reads first, since they need neither lock nor disk.
fn serve(mut arrivals: mpsc::Receiver<Request>, answers: &mpsc::Sender<Done>, mut database: Database) {
    let mut waiting = Vec::with_capacity(BATCH);
    while arrivals.blocking_recv_many(&mut waiting, BATCH) > 0 {
        let (mut reads, mut writes, mut closing) = (Vec::new(), Vec::new(), Vec::new());
        for request in waiting.drain(..) {
            match request {
                Request::Job(Access::Read, job) => reads.push(job),
                Request::Job(Access::Write, job) => writes.push(job),
                Request::Close(reply) => closing.push(reply),
            }
        }
        for (access, mut jobs) in [(Access::Read, reads), (Access::Write, writes)] {
            if jobs.is_empty() {
                continue;
            }
            let failed = database.run(access, &mut jobs).err();
            // Whoever answered went away with its runtime.
            if let Err(mpsc::error::SendError(done)) = answers.blocking_send(Done { jobs, failed }) {
                done.answer();
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
