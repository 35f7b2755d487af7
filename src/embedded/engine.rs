//! The thread that owns the connection. Jobs arrive through a bounded channel; whatever is waiting
//! runs in one transaction (group commit) and is answered after the commit.

use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot, watch};

use super::database::Database;

/// Jobs waiting for the thread; beyond this, callers wait for a place.
const WAITING: usize = 1_024;
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
pub(super) struct Bell(Arc<watch::Sender<()>>);

/// Why a job was not done. The file is as it was before, or, where the commit itself failed,
/// perhaps as it was to be.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// `SQLite`'s answer, shared by all jobs of the transaction.
    #[error(transparent)]
    Sqlite(Arc<rusqlite::Error>),
    /// The thread has ended.
    #[error("the engine has ended")]
    Ended,
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
    bell: Option<Bell>,
}

impl Engine {
    /// Starts the thread.
    pub(super) fn start(database: Database) -> std::io::Result<Self> {
        let (requests, arrivals) = mpsc::channel(WAITING);
        std::thread::Builder::new().name("embedded".to_owned()).spawn(move || serve(arrivals, database))?;
        Ok(Self { requests })
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
        bell: Option<Bell>,
    ) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let task = Task { work, outcome: Err(Failure::Ended), reply, bell };
        // A failed send drops the reply, which the answer reports as `Ended`.
        let _ = self.requests.send(Request::Job(access, Box::new(task))).await;
        Answer(answer)
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

impl<T> Answer<T> {
    /// Waits for the commit.
    pub(super) async fn wait(self) -> Result<T, Failure> {
        self.0.await.unwrap_or(Err(Failure::Ended))
    }
}

impl Bell {
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
            Self::Ended => true,
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
            Self::Ended => false,
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
        if let (Ok(_), Some(bell)) = (&outcome, &self.bell) {
            bell.ring();
        }
        // Whoever asked may have gone away.
        let _ = self.reply.send(outcome);
    }
}

/// The thread: takes what is waiting; reads first, since they need neither lock nor disk.
fn serve(mut arrivals: mpsc::Receiver<Request>, mut database: Database) {
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
        database.run(Access::Read, reads);
        database.run(Access::Write, writes);
        if !closing.is_empty() {
            database.close();
        }
        for reply in closing {
            let _ = reply.send(());
        }
    }
}
