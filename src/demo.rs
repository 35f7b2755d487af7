//! `ecom_demo`: all five roles in one process on the embedded default, ending with proof.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::admin;
use super::cli::{Demo, Format};
use super::config::{self, Config, Loaded};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::facts::verification_text;
use super::heartbeats::beside;
use super::output;
use super::producers::{mixture, outgoing};
use super::roles::{RoleDeps, RoleHandle, close, write_summary};
use super::wiring::{self, DataFolder};
use ecom_config::{Origin, Set};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;
use ecom_pipeline::produce::{ProducerSettings, produce};
use ecom_pipeline::summary::Summary;
use ecom_pipeline::sweep::sweep;
use ecom_scenario::{
    EventContent, EventSource, Manifest, ScenarioPlan, Streams, Units, Verification, verify,
};

/// How long a payment waits for its order here, where nobody chose: late orders come as late as they
/// can, so that their payments are seen to go through the dead letters and back.
const ORDER_GRACE: &str = "250ms";
/// Between two looks at how far the run is.
const LOOK: Duration = Duration::from_millis(25);
/// The folder's marker: only a folder a demo made is started afresh.
const MARKER: &str = ".ecom-demo";
/// The store's file.
const STORE: &str = "ecom_store.db";
/// The manifest beside the data.
const MANIFEST: &str = "manifest.json";

/// The five roles' counters.
struct Roles {
    orders_producer: RoleHandle,
    payments_producer: RoleHandle,
    order_consumer: RoleHandle,
    payment_consumer: RoleHandle,
    dlq_handler: RoleHandle,
}

impl Roles {
    fn new(context: &Context) -> Self {
        let role = |name| RoleHandle::new(name, &context.entropy);
        Self {
            orders_producer: role("orders_producer"),
            payments_producer: role("payments_producer"),
            order_consumer: role("order_consumer"),
            payment_consumer: role("payment_consumer"),
            dlq_handler: role("dlq_handler").with_dead_letter_gauges(context.clock),
        }
    }

    fn all(&self) -> [&RoleHandle; 5] {
        let Self { orders_producer, payments_producer, order_consumer, payment_consumer, dlq_handler } = self;
        [orders_producer, payments_producer, order_consumer, payment_consumer, dlq_handler]
    }
}

/// Runs `ecom_demo`.
pub(crate) async fn main(context: Context, cli: &Demo) -> Result<Exit, CliError> {
    let folder = config::data_dir(&context.config)?.to_owned();
    may_start_afresh(&folder)?;
    if context.common.check {
        output::data(&format!("✓ nothing to provision; {} would be started afresh\n", folder.display()))?;
        return Ok(Exit::Done);
    }
    afresh(&folder)?;
    let plan = plan(&context.config, cli.orders)?;
    let started = Instant::now();
    let (bus, store) = wiring::both(&context, DataFolder::Create).await?;
    let run = context.actor("ecom_demo").run_id;
    let manifest = Manifest::new(Streams::Both, EventSource::Scenario(plan), run, context.clock.now_us());
    manifest.write(&folder.join(MANIFEST)).map_err(|error| CliError::failed(error.to_string()))?;
    let deps = RoleDeps {
        bus,
        store,
        config: Arc::new(context.config.clone()),
        clock: context.clock,
        entropy: Arc::clone(&context.entropy),
        bounds: ecom_pipeline::consume::StopConditions::default(),
        stop: context.stop.child_token(),
    };
    let roles = Roles::new(&context);
    let found = admin::beside(&context, &roles.all(), run_roles(&context, &deps, &roles, &manifest)).await?;
    close(deps.bus.as_ref()).await;
    let took = started.elapsed();
    write_summary(&context, &roles.all().map(|role| Summary::of(&role.metrics, took)))?;
    report(&context, cli, &found, took)?;
    Ok(if found.is_clean() { Exit::Done } else { Exit::NegativeResult })
}

/// What the demo sets where nobody chose, and its folder: the one a flag names, else one within the
/// configured, for it is emptied.
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
        own.push(set("embedded.data_dir", folder.to_string_lossy().into_owned()));
    }
    own
}

/// Refuses a folder that something else made.
fn may_start_afresh(folder: &Path) -> Result<(), CliError> {
    if folder.join(STORE).exists() && !folder.join(MARKER).exists() {
        return Err(CliError::usage(format!("{} holds a store that no demo made", folder.display()))
            .hint("name another folder: --data-dir DIR"));
    }
    Ok(())
}

/// Empties the folder of an earlier demo.
fn afresh(folder: &Path) -> Result<(), CliError> {
    let failed =
        |error: std::io::Error| CliError::failed(format!("could not empty {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    for name in [STORE, "ecom_store.db-wal", "ecom_store.db-shm", MANIFEST] {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::write(folder.join(MARKER), "").map_err(failed)
}

fn plan(config: &Config, orders: u32) -> Result<ScenarioPlan, CliError> {
    ScenarioPlan::try_new(config.producer.seed, 1..=i64::from(orders), mixture(&config.producer))
        .map_err(|error| CliError::usage(error.to_string()))
}

/// Runs all roles until everything published has been handled, makes one pass over the dead-letter store,
/// and verifies.
async fn run_roles(
    context: &Context,
    deps: &RoleDeps,
    roles: &Roles,
    manifest: &Manifest,
) -> Result<Verification, CliError> {
    let actor = context.actor("dlq_handler");
    let consuming = async {
        let handling = deps.dlq_handler(&roles.dlq_handler, actor.clone());
        let outcome = tokio::try_join!(
            beside(deps, &roles.order_consumer, deps.order_consumer(&roles.order_consumer)),
            beside(deps, &roles.payment_consumer, deps.payment_consumer(&roles.payment_consumer)),
            beside(deps, &roles.dlq_handler, handling),
        );
        outcome.map(drop)
    };
    let producing = async {
        let topics = &deps.config.bus.topics;
        let (paid, all_paid) = tokio::sync::oneshot::channel();
        let payments = async {
            publish(deps, &roles.payments_producer, manifest, EventKind::Payment, async { Ok(()) }).await?;
            // The other end is there as long as orders are published.
            let _ = paid.send(());
            Ok::<_, CliError>(())
        };
        let after_payments = async {
            let _ = all_paid.await;
            drained(deps, &topics.payments).await
        };
        let orders = publish(deps, &roles.orders_producer, manifest, EventKind::Order, after_payments);
        tokio::try_join!(
            beside(deps, &roles.orders_producer, orders),
            beside(deps, &roles.payments_producer, payments),
        )?;
        at_rest(deps).await?;
        let summary = sweep(&deps.resolver(&roles.dlq_handler, actor.clone()), None).await;
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
    let units = Units::of(std::slice::from_ref(manifest), EventContent::of)
        .map_err(|error| CliError::failed(error.to_string()))?;
    Ok(verify(&units, deps.store.facts.as_ref(), deps.store.dead_letter_store.as_ref()).await?)
}

/// Publishes one stream; its late part, where that comes last, only after `before_late`.
async fn publish(
    deps: &RoleDeps,
    handle: &RoleHandle,
    manifest: &Manifest,
    kind: EventKind,
    before_late: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    let config = &deps.config;
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
    };
    let mut events = manifest.events(kind).map_err(|error| CliError::failed(error.to_string()))?;
    let on_time = on_time(manifest.source.order_ids(kind));
    produce(&settings, outgoing(events.by_ref().take(on_time))).await?;
    before_late.await?;
    produce(&settings, outgoing(events)).await?;
    Ok(())
}

/// How many events come before the late ones: all of them, where late ones come in between and so
/// wait for their positions alone.
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

/// Waits until every message was acked: sources first, for they publish dead letters before they
/// ack. Counters would not do: a message that came twice counts twice.
async fn at_rest(deps: &RoleDeps) -> Result<(), CliError> {
    let topics = &deps.config.bus.topics;
    for topic in [&topics.orders, &topics.payments, &topics.dead_letters] {
        drained(deps, topic).await?;
    }
    Ok(())
}

/// Waits until every message of the topic was acked, or the run is stopped.
async fn drained(deps: &RoleDeps, topic: &str) -> Result<(), CliError> {
    while deps.bus.is_drained(topic).await? == Some(false) && !deps.stop.is_cancelled() {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Shows how far the run is, until dropped: a bar on a terminal, a line a second elsewhere.
async fn show_progress(roles: &Roles, manifest: &Manifest) {
    let planned = |kind| manifest.source.order_ids(kind).count() as u64;
    let total = planned(EventKind::Order) + planned(EventKind::Payment);
    let on_terminal = std::io::stderr().is_terminal();
    let target = if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:32} {human_pos} of {human_len} messages, {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style);
    let mut said = Instant::now();
    loop {
        // A message that came twice was settled twice.
        let done =
            (roles.order_consumer.metrics.finished() + roles.payment_consumer.metrics.finished()).min(total);
        bar.set_position(done);
        if !on_terminal && said.elapsed() >= Duration::from_secs(1) {
            eprintln!("{} of {} messages", output::count(done), output::count(total));
            said = Instant::now();
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn report(context: &Context, cli: &Demo, found: &Verification, took: Duration) -> Result<(), CliError> {
    let folder = config::data_dir(&context.config)?;
    let seed = context.config.producer.seed;
    if cli.format() == Format::Json {
        let value = serde_json::json!({
            "seed": seed,
            "orders": cli.orders,
            "data_dir": folder,
            "elapsed_seconds": took.as_secs_f64(),
            "clean": found.is_clean(),
            "verification": found,
        });
        return output::data(&format!("{value:#}\n"));
    }
    let said = verification_text(found).replace("rows as published", &format!("rows as seed {seed} says"));
    let published = found.orders.published
        + found.orders.duplicates
        + found.payments.published
        + found.payments.duplicates;
    let rate = published as f64 / took.as_secs_f64().max(0.001);
    let shown = output::quoted(&folder.display().to_string());
    let common = context.common.clone().on_folder(folder);
    output::data(&format!(
        "{said}\n{} messages in {:.1} s ({rate:.0}/s), kept in {shown}\n\nnext:\n  {} report\n  {} show 1\n  \
         sqlite3 {shown}/ecom_store.db 'SELECT * FROM orders_payments_facts LIMIT 5'\n",
        output::count(published),
        took.as_secs_f64(),
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
