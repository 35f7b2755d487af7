//! The frame of every binary: configuration, guard, logging, runtime, signals.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cli::Common;
use super::config::{self, Config, Loaded};
use super::exit::{self, CliError, Exit};
use super::logs;
use super::startup::Startup;
use super::traces;
use ecom_clock::{Clock, Entropy};
use ecom_config::{Set, Sources};
use ecom_pipeline::actor::Actor;
use ecom_telemetry::stderr;

/// The context of a command.
pub(crate) struct Context {
    /// The settings.
    pub(crate) config: Config,
    /// The flags that all binaries share.
    pub(crate) common: Common,
    /// Wall time.
    pub(crate) clock: Clock,
    /// Jitter and ids.
    pub(crate) entropy: Arc<Entropy>,
    /// Cancelled by the first signal.
    pub(crate) stop: CancellationToken,
    /// The calls of bus and store at the start.
    pub(crate) startup: Startup,
    /// The start of the process.
    pub(crate) started: Instant,
    /// The errors of the parts of the dead-letter store that were passed over.
    pub(crate) unreadable: Arc<Mutex<BTreeSet<String>>>,
}

impl Context {
    /// Returns an error if parts of the dead-letter store were passed over: what was printed is incomplete.
    pub(crate) fn require_all_read(&self) -> Result<(), CliError> {
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if unreadable.is_empty() {
            return Ok(());
        }
        let errors = Vec::from_iter(unreadable.iter().map(String::as_str)).join("\n");
        Err(CliError::failed(format!("{errors}\nthe dead letters of these parts are missing above"))
            .hint("if Cassandra read too many tombstones, they go with compaction after gc_grace_seconds"))
    }

    /// The context of a role. With an admin port, whoever watches it sees an outage there, so the role waits
    /// it out at its start, too; otherwise it fails after `connect.timeout`, as every other command does.
    pub(crate) fn of_role(self) -> Self {
        match self.config.admin.listen {
            Some(_) => Self { startup: self.startup.without_limit(), ..self },
            None => self,
        }
    }

    /// The signature of a person's history entries: `ECOM_ACTOR`, else user@host.
    pub(crate) fn person(&self) -> Actor {
        self.actor(&format!("{}@{}", user_name(), host_name()))
    }

    /// The signature of history entries: `ECOM_ACTOR`, else this name.
    pub(crate) fn actor(&self, name: &str) -> Actor {
        let own = std::env::var_os("ECOM_ACTOR").map(|own| own.to_string_lossy().into_owned());
        Actor::new(own.as_deref().unwrap_or(name), &host_name(), self.run_id())
    }

    /// A new id for a run of this process (`UUIDv7`).
    pub(crate) fn run_id(&self) -> String {
        let millis = u64::try_from(self.clock.now_us() / 1_000).unwrap_or_default();
        let run = uuid::Builder::from_unix_timestamp_millis(millis, &self.entropy.bytes()).into_uuid();
        run.hyphenated().to_string()
    }
}

/// The name of the user that the process runs as, for histories; `unknown` where the system has none.
fn user_name() -> String {
    whoami::username().unwrap_or_else(|_| "unknown".to_owned())
}

/// The name of the host, for histories and heartbeats; `unknown` where the system has none.
pub(super) fn host_name() -> String {
    whoami::hostname().unwrap_or_else(|_| "unknown".to_owned())
}

/// The guard against running on the embedded default where another backend seems to be meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Guard {
    /// The command refuses to run.
    On,
    /// The command always runs on the embedded backend.
    Exempt,
}

/// Loads the configuration and runs the command on a runtime of one thread.
pub(crate) fn main<F>(common: &Common, flags: Vec<Set>, guard: Guard, command: F) -> ExitCode
where
    F: AsyncFnOnce(Context) -> Result<Exit, CliError>,
{
    main_with(common, flags, |_| Vec::new(), guard, command)
}

/// The same for a command that overrides defaults; `own` returns the overrides.
pub(crate) fn main_with<F>(
    common: &Common,
    flags: Vec<Set>,
    own: impl Fn(&Loaded) -> Vec<Set>,
    guard: Guard,
    command: F,
) -> ExitCode
where
    F: AsyncFnOnce(Context) -> Result<Exit, CliError>,
{
    exit::code(prepared(common, flags, own, guard).and_then(|loaded| match loaded {
        None => Ok(Exit::Done),
        Some(loaded) => run(common, loaded, command),
    }))
}

/// The configuration; `None` once `--print-config` has printed it.
fn prepared(
    common: &Common,
    flags: Vec<Set>,
    own: impl Fn(&Loaded) -> Vec<Set>,
    guard: Guard,
) -> Result<Option<Loaded>, CliError> {
    let mut sets = common.sets();
    sets.extend(flags);
    let mut sources = Sources::from_process(common.config.clone(), sets);
    let mut loaded = load(&sources)?;
    let own = own(&loaded);
    if !own.is_empty() {
        sources.sets.extend(own);
        loaded = load(&sources)?;
    }
    ecom_config::guard(&loaded, &sources.env, common.embedded || guard == Guard::Exempt)
        .map_err(|error| CliError::usage(error.to_string()).hint(error.hint()))?;
    refuse_without_effect(&sources.sets, &loaded.config)?;
    if common.print_config {
        for warning in &loaded.warnings {
            stderr::say(format_args!("warning: {warning}"));
        }
        super::output::data(&loaded.print())?;
        return Ok(None);
    }
    Ok(Some(loaded))
}

/// Refuses a flag of a backend that is not used.
fn refuse_without_effect(sets: &[Set], config: &Config) -> Result<(), CliError> {
    for set in sets.iter().filter(|set| set.origin != "--set") {
        if let Some(unused) = config::unused(config, &set.key) {
            return Err(CliError::usage(format!("{} has no effect: {unused}", set.origin))
                .hint("leave it out, or choose the backend it is for"));
        }
    }
    Ok(())
}

fn load(sources: &Sources) -> Result<Loaded, CliError> {
    ecom_config::load(sources).map_err(|faults| {
        let hints = faults.hints().join("\n");
        let stop = CliError::usage(faults.to_string());
        if hints.is_empty() { stop } else { stop.hint(hints) }
    })
}

fn run<F>(common: &Common, loaded: Loaded, command: F) -> Result<Exit, CliError>
where
    F: AsyncFnOnce(Context) -> Result<Exit, CliError>,
{
    logs::init(&loaded, common.verbosity())?;
    let traces = traces::start(&loaded)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = tokio::spawn(watch_signals(stop.clone()));
        let startup = Startup::new(loaded.config.connect.timeout, stop.clone());
        let context = Context {
            config: loaded.config,
            common: common.clone(),
            clock: Clock::System,
            entropy: Arc::new(Entropy::system()),
            stop,
            startup,
            started: Instant::now(),
            unreadable: Arc::default(),
        };
        let outcome = command(context).await;
        signals.abort();
        outcome
    });
    traces::finish(traces);
    outcome
}

/// Stops on the first signal, and ends the process on the second.
async fn watch_signals(stop: CancellationToken) {
    if signal().await.is_err() {
        return;
    }
    stop.cancel();
    if signal().await.is_ok() {
        stderr::say(
            "stopped by a second signal; the bus delivers what was in flight again on the next start",
        );
        std::process::exit(130);
    }
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(windows)]
async fn signal() -> std::io::Result<()> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    let mut terminate = tokio::signal::windows::ctrl_break()?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
