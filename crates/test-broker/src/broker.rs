//! The broker: its state, and the handle that tests hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;

use crate::command::{Command, ConnectionFault};
use crate::connection;
use crate::faults::Faults;
use crate::topics::Topics;

/// The interval at which leases are checked for their deadlines.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(20);

/// The state of a broker, shared by its connections.
pub(crate) struct Shared {
    topics: Mutex<Topics>,
    pub(crate) faults: Faults,
    /// Notifies the streams that messages or room may be there.
    pub(crate) changed: Notify,
    pub(crate) end_streams: broadcast::Sender<Code>,
    pub(crate) cut_connections: broadcast::Sender<ConnectionFault>,
    /// The number of requests to open a stream.
    pub(crate) streams_opened: AtomicU64,
    pub(crate) connections: AtomicU64,
    next_stream: AtomicU64,
}

impl Shared {
    pub(crate) fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes topics or subscriptions, and wakes the streams.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Topics) -> T) -> T {
        let changed = change(&mut self.topics());
        self.changed.notify_waiters();
        changed
    }

    pub(crate) fn next_stream(&self) -> u64 {
        self.next_stream.fetch_add(1, Ordering::Relaxed)
    }

    async fn expire_leases(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EXPIRY_INTERVAL).await;
            if self.topics().expire_leases(Instant::now()) {
                self.changed.notify_waiters();
            }
        }
    }
}

/// A running broker; dropping it closes its port and its connections.
pub struct TestBroker {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Aborted when they are dropped.
    _tasks: JoinSet<()>,
}

/// The counters of a subscription.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SubscriptionReport {
    /// The number of messages that are not acked.
    pub unacked: usize,
    /// The number of outstanding deliveries.
    pub outstanding: usize,
    /// The bytes of the outstanding deliveries.
    pub outstanding_bytes: usize,
    /// The number of leases that reached their deadline.
    pub expired: u64,
    /// The number of open streams.
    pub streams: usize,
    /// The number of deliveries of each message, by message id.
    pub deliveries: BTreeMap<String, u32>,
}

impl TestBroker {
    /// Starts a broker on a free port of this host.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start() -> io::Result<Self> {
        Self::start_on("127.0.0.1:0").await
    }

    /// Starts a broker on this address.
    ///
    /// # Errors
    /// If the port cannot be opened.
    pub async fn start_on(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            topics: Mutex::default(),
            faults: Faults::default(),
            changed: Notify::new(),
            end_streams: broadcast::channel(64).0,
            cut_connections: broadcast::channel(64).0,
            streams_opened: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            next_stream: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(connection::accept(listener, shared.clone()));
        tasks.spawn(shared.clone().expire_leases());
        Ok(Self { address, shared, _tasks: tasks })
    }

    /// Returns the address, `host:port`, as an emulator's is given.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Carries out a [`Command`] and returns its answer.
    ///
    /// # Errors
    /// If the line is not a command, or the file of an archive cannot be created.
    pub fn command(&self, line: &str) -> Result<String, String> {
        match line.parse()? {
            Command::EndStreams(code) => drop(self.shared.end_streams.send(code)),
            Command::Connections(fault) => drop(self.shared.cut_connections.send(fault)),
            Command::ReverseQueue => self.shared.topics().reverse_queues(),
            Command::Rule(point, effect, extent) => self.shared.faults.add(point, effect, extent),
            Command::Clear => self.shared.faults.clear(),
            Command::Report => return Ok(self.report()),
            Command::Archive(path) => {
                let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                self.shared.topics().archive = Some(file);
            }
        }
        Ok("ok".to_owned())
    }

    /// Returns the counters of a subscription, given by its full name; zeros if it does not exist.
    pub fn subscription(&self, name: &str) -> SubscriptionReport {
        let topics = self.shared.topics();
        topics.subscriptions.get(name).map_or_else(SubscriptionReport::default, |subscription| {
            let (outstanding, outstanding_bytes) = subscription.outstanding();
            SubscriptionReport {
                unacked: subscription.unacked(),
                outstanding,
                outstanding_bytes,
                expired: subscription.expired,
                streams: subscription.streams(),
                deliveries: subscription.deliveries.clone().into_iter().collect(),
            }
        })
    }

    /// Returns the number of requests to open a stream so far.
    pub fn streams_opened(&self) -> u64 {
        self.shared.streams_opened.load(Ordering::Relaxed)
    }

    /// Returns the number of times that a rule took effect.
    pub fn faults(&self) -> u64 {
        self.shared.faults.struck()
    }

    fn report(&self) -> String {
        let mut text = format!(
            "published {} connections {} streams_opened {} faults {}",
            self.shared.topics().published,
            self.shared.connections.load(Ordering::Relaxed),
            self.streams_opened(),
            self.faults(),
        );
        let names: Vec<_> = self.shared.topics().subscriptions.keys().cloned().collect();
        for name in names {
            let of = self.subscription(&name);
            let deliveries: u64 = of.deliveries.values().map(|count| u64::from(*count)).sum();
            let SubscriptionReport { unacked, outstanding, expired, streams, .. } = of;
            let _ = write!(
                text,
                "; {name} unacked {unacked} outstanding {outstanding} expired {expired} streams {streams} \
                 deliveries {deliveries}",
            );
        }
        text
    }
}
