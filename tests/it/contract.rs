//! What the docs of the ports promise, as suites of cases stamped onto every adapter.

/// Makes every case a test of its own on every implementation; each implementation is named by its
/// feature and by its module in `on`. A case that is not listed is dead code, which the lints find.
macro_rules! stamp {
    ($port:ident on $($feature:literal $implementation:ident),+: $cases:tt) => {
        $(stamp! { @one $port $feature $implementation $cases })+
    };
    (@one $port:ident $feature:literal $implementation:ident [$($case:ident),+ $(,)?]) => {
        #[cfg(feature = $feature)]
        mod $implementation {
            $(
                #[tokio::test]
                async fn $case() {
                    if let Some(subject) = crate::contract::on::$implementation::$port().await {
                        let case = super::$case(&subject);
                        crate::waiting::within(crate::contract::CASE_LIMIT, "the case hangs", case).await;
                    }
                }
            )+
        }
    };
}

#[cfg(any(feature = "embedded", feature = "pubsub"))]
mod bus;
#[cfg(feature = "embedded")]
mod bus_strict;
#[cfg(any(feature = "embedded", feature = "cassandra"))]
mod dead_letters;
#[cfg(any(feature = "embedded", feature = "cassandra"))]
mod dead_letters_model;
#[cfg(any(feature = "embedded", feature = "cassandra"))]
mod dead_letters_of_order;
#[cfg(any(feature = "embedded", feature = "cassandra"))]
mod facts;
mod on;
#[cfg(any(feature = "embedded", feature = "cassandra"))]
mod operations;

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

/// No case hangs the run; far above what any takes.
const CASE_LIMIT: Duration = Duration::from_secs(240);

/// Opens one more handle, as another process would.
pub type Open<P> = Arc<dyn Fn() -> BoxFuture<'static, Arc<P>> + Send + Sync>;

/// An adapter under test, seen through its port.
pub struct Subject<P: ?Sized> {
    port: Arc<P>,
    open: Open<P>,
    /// How many random schedules this adapter is fast enough for, in hundredths of the full number.
    pub effort: usize,
    /// What must outlive the port: its folder.
    _kept: Box<dyn Any + Send + Sync>,
}

impl<P: ?Sized> Subject<P> {
    /// The first handle on what `open` opens.
    pub async fn new(open: Open<P>, effort: usize, kept: impl Any + Send + Sync) -> Self {
        Self { port: open().await, open, effort, _kept: Box::new(kept) }
    }

    /// One more handle.
    pub async fn another(&self) -> Arc<P> {
        (self.open)().await
    }

    /// `full` cases on the fastest adapter, fewer on others, always one.
    #[allow(dead_code, reason = "stores draw schedules, a bus alone does not")]
    pub fn share_of(&self, full: u64) -> u64 {
        (full * self.effort as u64 / 100).max(1)
    }
}

impl<P: ?Sized> Deref for Subject<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.port
    }
}

/// A bus under test, with names of its own.
#[cfg(any(feature = "embedded", feature = "pubsub"))]
pub struct BusSubject {
    /// The bus.
    pub bus: Subject<dyn ecom_bus::Bus>,
    /// A topic that `subscription` is on.
    pub topic: String,
    /// The subscription on `topic`.
    pub subscription: String,
    /// A topic that nobody subscribes.
    pub unheard: String,
    /// The shortest lease this bus gives.
    pub ack_deadline: Duration,
    /// How long to wait for what must come; longer than a few leases.
    pub patience: Duration,
}
