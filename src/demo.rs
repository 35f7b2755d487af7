//! `ecom_demo`: all five roles in one process on the embedded default, until everything is verified.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressDrawTarget};
use tokio::time::Instant;

use super::admin::run_with_admin;
use super::cli::{Demo, Format};
use super::config::{self, Config, Loaded};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::facts::verification_text;
use super::heartbeats::run_with_heartbeat;
use super::inspect::style;
use super::output;
use super::producers::{mixture, outgoing};
use super::role_handle::RoleHandle;
use super::roles::RoleDeps;
use super::shutdown::close;
use super::summary::write_summary;
use super::wiring::{self, DataFolder};
use ecom_config::{Origin, Set};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;
use ecom_domain::role::Role;
use ecom_pipeline::produce::{ProducerSettings, produce};
use ecom_pipeline::stop_conditions::StopConditions;
use ecom_pipeline::summary::Summary;
use ecom_pipeline::sweep::{WaitingDeadLetters, sweep};
use ecom_scenario::{
    EventContent, EventSource, Manifest, ScenarioPlan, Streams, Units, Verification, verify,
};
use ecom_telemetry::stderr;

/// The default grace period of the demo. Late orders arrive later than this, so that their payments become
/// dead letters and are recovered.
const ORDER_GRACE: &str = "250ms";
/// The time between two looks at the progress.
const LOOK: Duration = Duration::from_millis(25);
/// The marker of a folder that a demo made: only such a folder is emptied.
const MARKER: &str = ".ecom-demo";
/// The file of the store.
const STORE: &str = "ecom_store.db";
/// The file of the manifest.
const MANIFEST: &str = "manifest.json";

/// The handles of the five roles.
struct Roles([RoleHandle; Role::ALL.len()]);

impl Roles {
    fn new(context: &Context) -> Self {
        Self(Role::ALL.map(|role| {
            let handle = RoleHandle::new(role, context);
            match role {
                Role::DlqHandler => handle.with_dead_letter_gauges(context.clock),
                _ => handle,
            }
        }))
    }

    fn of(&self, role: Role) -> &RoleHandle {
        &self.0[role as usize]
    }

    /// Messages acked by the consumers. A redelivered message may count twice.
    fn acked(&self) -> u64 {
        EventKind::ALL.map(|kind| self.of(Role::consumer_of(kind)).metrics.acked()).into_iter().sum()
    }
}

/// Runs `ecom_demo`.
pub(crate) async fn main(context: Context, cli: &Demo) -> Result<Exit, CliError> {
    #[cfg(feature = "shop-embedded")]
    if cli.shop {
        return super::shop::demo::main(context, cli).await;
    }
    let folder = config::data_dir(&context.config)?.to_owned();
    check_folder(&folder)?;
    if context.common.check {
        output::data(&format!("✓ nothing to provision; the demo would empty {}\n", folder.display()))?;
        return Ok(Exit::Done);
    }
    empty(&context, &folder)?;
    let plan = plan(&context.config, cli.orders)?;
    let started = Instant::now();
    let roles = Roles::new(&context);
    let demo = run_and_verify(&context, &folder, plan, &roles);
    let (found, verified_in) = run_with_admin(&context, &roles.0.each_ref(), demo).await?;
    let elapsed = started.elapsed();
    write_summary(&context, &roles.0.each_ref().map(|role| Summary::of(&role.metrics, elapsed)))?;
    report(&context, cli, &found, elapsed.saturating_sub(verified_in), verified_in)?;
    Ok(if found.is_clean() { Exit::Done } else { Exit::NegativeResult })
}

async fn run_and_verify(
    context: &Context,
    folder: &Path,
    plan: ScenarioPlan,
    roles: &Roles,
) -> Result<(Verification, Duration), CliError> {
    let (bus, store) = wiring::both(context, DataFolder::Create).await?;
    let run = context.run_id();
    let manifest = Manifest::new(Streams::Both, EventSource::Scenario(plan), run, context.clock.now_us());
    manifest.write(&folder.join(MANIFEST)).map_err(|error| CliError::failed(error.to_string()))?;
    let deps = RoleDeps {
        bus,
        store,
        config: Arc::new(context.config.clone()),
        clock: context.clock,
        entropy: Arc::clone(&context.entropy),
        stop_conditions: StopConditions::default(),
        startup: context.startup.clone(),
        stop: context.stop.child_token(),
    };
    let found = run_roles(context, &deps, roles, &manifest).await?;
    close(deps.bus.as_ref()).await;
    Ok(found)
}

/// The demo's own defaults, and its folder: the one a flag names, else a subfolder of the configured
/// one, because the demo empties it.
pub(crate) fn own_settings(loaded: &Loaded, orders: u32) -> Vec<Set> {
    let set = |key: &str, value: String| Set::flag("ecom_demo", key, value);
    let chosen = |key: &str| loaded.origin(key) != Some(&Origin::Default);
    let mut own = Vec::new();
    if !chosen("consumer.order_grace") {
        own.push(set("consumer.order_grace", ORDER_GRACE.to_owned()));
    }
    if !chosen("producer.late_by") {
        own.push(set("producer.late_by", orders.to_string()));
    }
    if !matches!(loaded.origin("embedded.data_dir"), Some(Origin::Flag(_)))
        && let Ok(folder) = config::data_dir(&loaded.config)
    {
        let folder = folder.join("demo");
        own.push(Set::flag("ecom_demo", "embedded.data_dir", folder));
    }
    own
}

/// Refuses a folder with a store that no demo made.
pub(crate) fn check_folder(folder: &Path) -> Result<(), CliError> {
    if folder.join(STORE).exists() && !folder.join(MARKER).exists() {
        return Err(CliError::usage(format!("{} holds a store that no demo made", folder.display()))
            .hint("name another folder: --data-dir DIR"));
    }
    Ok(())
}

/// Empties the folder of an earlier demo, unless a process has its store open.
pub(crate) fn empty(context: &Context, folder: &Path) -> Result<(), CliError> {
    let failed =
        |error: std::io::Error| CliError::failed(format!("could not empty {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    wiring::remove_embedded(context)?;
    match std::fs::remove_file(folder.join(MANIFEST)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    std::fs::write(folder.join(MARKER), "").map_err(failed)
}

fn plan(config: &Config, orders: u32) -> Result<ScenarioPlan, CliError> {
    ScenarioPlan::try_new(config.producer.seed, 1..=i64::from(orders), mixture(&config.producer))
        .map_err(|error| CliError::usage(error.to_string()))
}

/// Runs all roles until everything published has been handled, makes one pass over the dead-letter store,
/// and verifies; also returns how long the verification took.
async fn run_roles(
    context: &Context,
    deps: &RoleDeps,
    roles: &Roles,
    manifest: &Manifest,
) -> Result<(Verification, Duration), CliError> {
    let actor = context.actor(Role::DlqHandler.as_str());
    let handler = roles.of(Role::DlqHandler);
    let consuming = async {
        let consuming = EventKind::ALL.map(|kind| {
            let handle = roles.of(Role::consumer_of(kind));
            with_heartbeat(deps, handle, deps.consume_events(kind, handle))
        });
        let handling = with_heartbeat(deps, handler, deps.dlq_handler(handler, actor.clone()));
        tokio::try_join!(try_join_all(consuming), handling).map(drop)
    };
    let producing = async {
        let topics = &deps.config.bus.topics;
        let (paid, all_paid) = tokio::sync::oneshot::channel();
        let payments = async {
            publish(deps, roles, manifest, EventKind::Payment, async { Ok(()) }).await?;
            // The receiver exists for as long as orders are published.
            let _ = paid.send(());
            Ok::<_, CliError>(())
        };
        let after_payments = async {
            let _ = all_paid.await;
            drained(deps, &topics.payments).await
        };
        let orders = publish(deps, roles, manifest, EventKind::Order, after_payments);
        tokio::try_join!(
            with_heartbeat(deps, roles.of(Role::OrdersProducer), orders),
            with_heartbeat(deps, roles.of(Role::PaymentsProducer), payments),
        )?;
        at_rest(deps).await?;
        let summary = sweep(&deps.resolver(handler, actor.clone()), WaitingDeadLetters::AreAttempted).await;
        deps.stop.cancel();
        summary.map(drop).map_err(CliError::from)
    };
    tokio::select! {
        biased;
        outcome = async { tokio::try_join!(consuming, producing) } => drop(outcome?),
        () = show_progress(roles, manifest) => {}
    }
    if context.stop.is_cancelled() {
        return Err(CliError::failed("stopped before the end; nothing was verified"));
    }
    let started = Instant::now();
    let units = Units::of(std::slice::from_ref(manifest), EventContent::of)
        .map_err(|error| CliError::failed(error.to_string()))?;
    let found = verify(&units, deps.store.facts.as_ref(), deps.store.dead_letter_store.as_ref()).await?;
    Ok((found, started.elapsed()))
}

async fn with_heartbeat<T>(deps: &RoleDeps, handle: &RoleHandle, role: impl Future<Output = T>) -> T {
    run_with_heartbeat(handle, deps.clock, &deps.store.operations, role).await
}

/// Publishes one stream; late events at its end wait for `before_late`.
async fn publish(
    deps: &RoleDeps,
    roles: &Roles,
    manifest: &Manifest,
    kind: EventKind,
    before_late: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    let (config, handle) = (&deps.config, roles.of(Role::producer_of(kind)));
    let topic = config.bus.topics.of(kind);
    let max_outstanding = config.producer.max_outstanding;
    let settings = ProducerSettings {
        publisher: deps.bus.publisher(topic, max_outstanding).await?,
        topic: kind.into(),
        max_outstanding,
        rate: None,
        retrier: Arc::clone(&handle.retrier),
        metrics: Arc::clone(&handle.metrics),
        clock: deps.clock,
        entropy: Arc::clone(&deps.entropy),
        stop: deps.stop.clone(),
        acknowledged_to: Arc::default(),
    };
    let mut events = manifest.events(kind).map_err(|error| CliError::failed(error.to_string()))?;
    let on_time = on_time(manifest.source.order_ids(kind));
    produce(&settings, outgoing(events.by_ref().take(on_time))).await?;
    before_late.await?;
    produce(&settings, outgoing(events)).await?;
    Ok(())
}

/// The number of events before the late ones; `usize::MAX` where late events are spread over the stream.
fn on_time(order_ids: impl Iterator<Item = Option<OrderId>>) -> usize {
    let (mut newest, mut on_time, mut late) = (None, 0, false);
    for order_id in order_ids {
        if order_id < newest {
            late = true;
        } else if late && order_id > newest {
            return usize::MAX;
        } else if !late {
            on_time += 1;
        }
        newest = newest.max(order_id);
    }
    on_time
}

/// Waits until every message is acked. Sources first: their consumers publish dead letters before they ack.
/// Counters cannot tell, because a redelivered message counts twice.
pub(crate) async fn at_rest(deps: &RoleDeps) -> Result<(), CliError> {
    let topics = &deps.config.bus.topics;
    for topic in [&topics.orders, &topics.payments, &topics.dead_letters] {
        drained(deps, topic).await?;
    }
    Ok(())
}

/// Waits until every message of the topic is acked or the run is stopped.
pub(crate) async fn drained(deps: &RoleDeps, topic: &str) -> Result<(), CliError> {
    while deps.bus.is_drained(topic).await? == Some(false) && !deps.stop.is_cancelled() {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Shows the progress until dropped: a bar on a terminal, else a line a second.
async fn show_progress(roles: &Roles, manifest: &Manifest) {
    let total: u64 = EventKind::ALL.map(|kind| manifest.source.order_ids(kind).count() as u64).iter().sum();
    let on_terminal = std::io::stderr().is_terminal();
    let target = if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = style("{bar:32} {human_pos} of {human_len} messages, {rate}");
    let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style);
    let mut said = Instant::now();
    loop {
        let done = roles.acked().min(total);
        bar.set_position(done);
        if !on_terminal && said.elapsed() >= Duration::from_secs(1) {
            stderr::say(format_args!("{} of {} messages", output::count(done), output::count(total)));
            said = Instant::now();
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn report(
    context: &Context,
    cli: &Demo,
    found: &Verification,
    ran_for: Duration,
    verified_in: Duration,
) -> Result<(), CliError> {
    let folder = config::data_dir(&context.config)?;
    let seed = context.config.producer.seed;
    if cli.format() == Format::Json {
        let value = serde_json::json!({
            "seed": seed,
            "orders": cli.orders,
            "data_dir": folder,
            "elapsed_seconds": (ran_for + verified_in).as_secs_f64(),
            "verification_seconds": verified_in.as_secs_f64(),
            "clean": found.is_clean(),
            "verification": found,
        });
        return output::data(&format!("{value:#}\n"));
    }
    let said = verification_text(found, output::screen())
        .replace("rows as published", &format!("rows as seed {seed} says"));
    let published = found.orders.published
        + found.orders.duplicates
        + found.payments.published
        + found.payments.duplicates;
    let rate = published as f64 / ran_for.as_secs_f64().max(0.001);
    let shown = output::quoted(folder);
    let common = context.common.clone().on_folder(folder);
    output::data(&format!(
        "{said}\n{} messages in {:.1} s ({rate:.0}/s), verified in {:.1} s, kept in {shown}\n\nnext:\n  \
         {} report\n  {} show 1\n  sqlite3 {shown}/ecom_store.db 'SELECT * FROM orders_payments_facts LIMIT 5'\n",
        output::count(published),
        ran_for.as_secs_f64(),
        verified_in.as_secs_f64(),
        output::command("dlq_handler", &common),
        output::command("ecom_facts", &common),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecom_scenario::Mixture;

    fn split(late_by: u64) -> (usize, usize) {
        let mixture = Mixture { late_orders: 0.2, late_by, ..Mixture::PLAIN };
        let source = EventSource::Scenario(ScenarioPlan::try_new(42, 1..=100, mixture).unwrap());
        (on_time(source.order_ids(EventKind::Order)), source.order_ids(EventKind::Order).count())
    }

    #[test]
    fn only_orders_that_come_last_wait_for_the_payments() {
        let (on_time, all) = split(100);
        assert!(0 < on_time && on_time < all, "{on_time} of {all}");
        assert_eq!(split(10).0, usize::MAX);
    }
}
