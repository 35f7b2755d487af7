//! The start of a command: calls of bus and store that are repeated while there is an outage.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::exit::CliError;
use ecom_clock::LogThrottle;

/// Pause between two attempts.
const RETRY: Duration = Duration::from_millis(500);
/// The shortest time between two warnings about a call that waits.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// A failed attempt.
pub(crate) enum Attempt {
    /// Another attempt may succeed.
    Later(CliError),
    /// No further attempt can succeed.
    Never(CliError),
}

/// The start of a command. Clones share their state.
#[derive(Clone)]
pub(crate) struct Startup {
    /// The longest that an attempt is repeated; `None` = as long as the outage lasts.
    limit: Option<Duration>,
    /// The reason that the work has not begun; `None` once it has.
    pending: Arc<Mutex<Option<String>>>,
    stop: CancellationToken,
}

impl Startup {
    /// A start that repeats each attempt for at most `limit`.
    pub(crate) fn new(limit: Duration, stop: CancellationToken) -> Self {
        Self { limit: Some(limit), pending: Arc::new(Mutex::new(Some("starting".to_owned()))), stop }
    }

    /// The same start, which repeats each attempt for as long as the outage lasts.
    pub(crate) fn without_limit(self) -> Self {
        Self { limit: None, ..self }
    }

    /// Returns the reason that the work has not begun, for probes.
    pub(crate) fn pending(&self) -> Option<String> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Marks the start as complete.
    pub(crate) fn complete(&self) {
        self.set_pending(None);
    }

    /// Repeats an attempt to connect until it succeeds, cannot succeed, or has failed for the time limit. A
    /// signal ends the attempt.
    pub(crate) async fn reach<T>(
        &self,
        connect: impl AsyncFn() -> Result<T, Attempt>,
    ) -> Result<T, CliError> {
        self.ask(async || {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(Attempt::Never(stopped())),
                connected = connect() => connected,
            }
        })
        .await
    }

    /// Repeats a call of a connected bus until it succeeds, cannot succeed, or has failed for the time limit.
    /// A signal ends the wait between two attempts.
    pub(crate) async fn ask<T>(&self, call: impl AsyncFn() -> Result<T, Attempt>) -> Result<T, CliError> {
        let started = Instant::now();
        let mut warnings = LogThrottle::every(WARN_EVERY);
        loop {
            let error = match call().await {
                Ok(value) => return Ok(value),
                Err(Attempt::Never(error)) => return Err(error),
                Err(Attempt::Later(error)) => error,
            };
            let patience = match self.limit {
                Some(limit) if started.elapsed() + RETRY >= limit => return Err(error),
                Some(limit) => format!("for {}", humantime::format_duration(limit)),
                None => "until it succeeds".to_owned(),
            };
            self.set_pending(Some(format!("starting: {error}")));
            if warnings.admit(Instant::now()).is_some() {
                tracing::warn!("{error}; trying {patience}");
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(stopped()),
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    fn set_pending(&self, reason: Option<String>) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

fn stopped() -> CliError {
    CliError::failed("stopped before bus and store were reached")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn startup() -> Startup {
        Startup::new(Duration::from_secs(30), CancellationToken::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_up_to_the_limit_and_then_fails_with_its_error() {
        let (startup, started) = (startup(), Instant::now());
        let down = async || Err::<(), _>(Attempt::Later(CliError::failed("down")));
        let error = startup.reach(down).await.unwrap_err();
        assert_eq!(error.to_string(), "down");
        assert!(started.elapsed() > Duration::from_secs(29) && started.elapsed() < Duration::from_secs(31));
        assert_eq!(startup.pending().as_deref(), Some("starting: down"));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_an_outage_of_hours_is_waited_out() {
        let (startup, attempts) = (startup().without_limit(), Cell::new(0));
        let up_at_last = async || {
            attempts.set(attempts.get() + 1);
            if attempts.get() < 20_000 { Err(Attempt::Later(CliError::failed("down"))) } else { Ok(()) }
        };
        startup.reach(up_at_last).await.unwrap();
        startup.complete();
        assert_eq!(startup.pending(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_or_a_signal_ends_the_wait_at_once() {
        let (startup, started) = (startup().without_limit(), Instant::now());
        let refused = async || Err::<(), _>(Attempt::Never(CliError::failed("refused")));
        assert_eq!(startup.reach(refused).await.unwrap_err().to_string(), "refused");
        startup.stop.cancel();
        startup.ask(async || Ok(())).await.unwrap();
        let silent = async || std::future::pending::<Result<(), Attempt>>().await;
        let error = startup.reach(silent).await.unwrap_err();
        assert_eq!(error.to_string(), "stopped before bus and store were reached");
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
