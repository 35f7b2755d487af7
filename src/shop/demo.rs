//! `ecom_demo --shop`: the API, two payment processors, a notifier and the pipeline in one process on the embedded default,
//! with users who order and pay; verified, and then served until Ctrl-C.

mod mails;
mod race;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::mails::Mails;
use self::race::Race;
use self::report::report;
use super::api_service::{self, bind, keys};
use super::stores::ShopStores;
use super::{notifier, payment_processor};
use crate::admin::run_with_admin;
use crate::cli::{Demo, Format};
use crate::config::{self, Config, Loaded};
use crate::context::Context;
use crate::demo::{at_rest, check_folder, drained, empty};
use crate::exit::{CliError, Exit};
use crate::heartbeats::run_with_heartbeat;
use crate::output;
use crate::role_handle::RoleHandle;
use crate::roles::RoleDeps;
use crate::shutdown::close;
use crate::wiring::{self, DataFolder};
use ecom_config::{Origin, Set};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::role::Role;
use ecom_pipeline::stop_conditions::StopConditions;
use ecom_pipeline::sweep::{WaitingDeadLetters, sweep};
use ecom_scenario::{EventContent, Units, Verification, verify};
use ecom_shop::audit::{ShopAudit, audit};
use ecom_shop_domain::gateway::{ChargeOutcome, simulated};
use ecom_shop_domain::payment::PaymentState;
use ecom_shop_load::client::ApiClient;
use ecom_shop_load::counts::LoadCounts;
use ecom_shop_load::load::{Arrivals, Load, send};
use ecom_shop_load::requests::{Creates, TransactionMix};
use ecom_telemetry::stderr;

/// The orders that the users create.
const ORDERS: u64 = 1_000;
/// The users who create orders.
const USERS: u64 = 50;
/// The transactions without an order.
const TRANSACTIONS: u64 = 100;
/// How often the second processor is killed.
const KILLS: u32 = 3;
/// The life of the second processor before it is killed.
const LIFE: Duration = Duration::from_millis(400);
/// The time between two looks at the records.
const LOOK: Duration = Duration::from_millis(100);
/// The longest wait for the records to come to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// The defaults of this demo: fast enough to watch.
pub(crate) fn own_settings(loaded: &Loaded) -> Vec<Set> {
    let own = [
        ("shop.processor.payment_delay", "200ms"),
        ("shop.processor.completion_delay", "1s"),
        // What the killed processor had in flight is delivered again after this.
        ("embedded.ack_deadline", "2s"),
    ];
    let is_default = |key: &str| loaded.origin(key) == Some(&Origin::Default);
    let own = own.into_iter().filter(|(key, _)| is_default(key));
    own.map(|(key, value)| Set::flag("ecom_demo", key, value)).collect()
}

/// What the story ended with.
#[derive(Serialize)]
struct Story {
    seed: u64,
    race: Race,
    orders: Created,
    transactions: Created,
    payments_completed: u64,
    payments_failed: u64,
    /// Payments with another outcome than seed and id say.
    payments_unexpected: u64,
    mails: Mails,
    orders_by_state: BTreeMap<&'static str, u64>,
    record_differences: Vec<String>,
    verification: Verification,
    clean: bool,
}

/// What users created.
#[derive(Serialize)]
struct Created {
    /// The idempotency keys that were used.
    asked: u64,
    /// Distinct records in the store.
    recorded: u64,
    /// Requests sent.
    sent: u64,
    /// Answers that said that the request had been recorded before.
    replayed: u64,
    p50_seconds: f64,
    p99_seconds: f64,
    faults: Vec<String>,
}

impl Created {
    fn of(load: &Load, counts: &LoadCounts, recorded: u64) -> Self {
        Self {
            asked: load.count.unwrap_or_default(),
            recorded,
            sent: counts.sent.get(),
            replayed: counts.replayed.get(),
            p50_seconds: counts.took.at(0.5).as_secs_f64(),
            p99_seconds: counts.took.at(0.99).as_secs_f64(),
            faults: counts.failures(),
        }
    }

    fn is_clean(&self) -> bool {
        self.faults.is_empty() && self.recorded == self.asked
    }
}

/// Runs `ecom_demo --shop`.
pub(crate) async fn main(context: Context, cli: &Demo) -> Result<Exit, CliError> {
    let folder = config::data_dir(&context.config)?.to_owned();
    check_folder(&folder)?;
    if context.common.check {
        output::data(&format!("✓ nothing to provision; the demo would empty {}\n", folder.display()))?;
        return Ok(Exit::Done);
    }
    let server = bind(&context.config).await?;
    let address = server.local_addr()?;
    empty(&context, &folder)?;
    let sender = mails::sender(&context.config, &folder)?;
    let (bus, store) = wiring::both(&context, DataFolder::Create).await?;
    let stores = ShopStores::of(&store).await?;
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
    let handles = Handles::new(&context);
    let api = with_heartbeat(
        &deps,
        &handles.api,
        deps.serve_api(&handles.api, server, keys(&context.config)?, stores.clone()),
    );
    let roles = async {
        let consuming = EventKind::ALL.map(|kind| {
            let handle = handles.consumer(kind);
            with_heartbeat(&deps, handle, deps.consume_events(kind, handle))
        });
        let actor = context.actor(Role::DlqHandler.as_str());
        let handling = with_heartbeat(&deps, &handles.handler, deps.dlq_handler(&handles.handler, actor));
        let [first, second] = &handles.processors;
        let processing = with_heartbeat(&deps, first, deps.process_payments(first, stores.clone()));
        let often_killed = process_and_be_killed(&deps, second, &stores);
        let notifying =
            with_heartbeat(&deps, &handles.notifier, deps.notify(&handles.notifier, stores.clone(), sender));
        tokio::try_join!(api, try_join_all(consuming), handling, processing, often_killed, notifying)
            .map(drop)
    };
    let telling = async {
        let mut story = tell(&context, &deps, &handles, &stores, &format!("http://{address}")).await?;
        story.mails = Mails::count(&folder, &story.orders_by_state)?;
        story.clean &= story.mails.is_clean();
        let is_clean = story.clean;
        report(cli, &story, &folder, &format!("http://{address}"))?;
        if cli.format() == Format::Table {
            stderr::say(format_args!("serving http://{address}/docs until Ctrl-C"));
            context.stop.cancelled().await;
        }
        deps.stop.cancel();
        Ok(is_clean)
    };
    let running = async {
        let ((), is_clean) = tokio::try_join!(roles, telling)?;
        close(deps.bus.as_ref()).await;
        Ok(if is_clean { Exit::Done } else { Exit::NegativeResult })
    };
    run_with_admin(&context, &handles.all(), running).await
}

/// The handles of the roles.
struct Handles {
    api: RoleHandle,
    consumers: [RoleHandle; 2],
    handler: RoleHandle,
    processors: [RoleHandle; 2],
    notifier: RoleHandle,
}

impl Handles {
    fn new(context: &Context) -> Self {
        let handler = RoleHandle::new(Role::DlqHandler, context);
        Self {
            api: RoleHandle::new(api_service::ROLE, context),
            consumers: EventKind::ALL.map(|kind| RoleHandle::new(Role::consumer_of(kind), context)),
            handler: handler.with_dead_letter_gauges(context.clock),
            processors: [(); 2].map(|()| RoleHandle::new(payment_processor::ROLE, context)),
            notifier: RoleHandle::new(notifier::ROLE, context),
        }
    }

    fn consumer(&self, kind: EventKind) -> &RoleHandle {
        match kind {
            EventKind::Order => &self.consumers[0],
            EventKind::Payment => &self.consumers[1],
        }
    }

    fn all(&self) -> Vec<&RoleHandle> {
        let others = [&self.api, &self.handler, &self.processors[0], &self.notifier];
        others.into_iter().chain(&self.consumers).collect()
    }
}

async fn with_heartbeat<T>(deps: &RoleDeps, handle: &RoleHandle, role: impl Future<Output = T>) -> T {
    run_with_heartbeat(handle, deps.clock, &deps.store.operations, role).await
}

/// Runs a payment processor that is killed a few times, in the middle of whatever it does.
async fn process_and_be_killed(
    deps: &RoleDeps,
    handle: &RoleHandle,
    stores: &ShopStores,
) -> Result<(), CliError> {
    for _ in 0..KILLS {
        let life = tokio::time::timeout(LIFE, deps.process_payments(handle, stores.clone()));
        if let Ok(ended) = life.await {
            return ended;
        }
    }
    deps.process_payments(handle, stores.clone()).await
}

/// Lets users order and pay, waits until everything has come to rest, and verifies it.
async fn tell(
    context: &Context,
    deps: &RoleDeps,
    handles: &Handles,
    stores: &ShopStores,
    base: &str,
) -> Result<Story, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::failed(error.to_string());
    let client = ApiClient::try_new(base, None).map_err(|error| failed(&error))?;
    let seed = deps.config.shop.processor.seed;
    let load = |creates: Creates, users: u64, count: u64, run: &str| Load {
        arrivals: Arrivals::Users { users, think: Duration::ZERO..=Duration::ZERO, spawn_rate: None },
        creates: vec![creates],
        count: Some(count),
        duration: None,
        grace: Duration::ZERO,
        run: run.to_owned(),
        seed,
        send_twice: true,
        cut: 0.05,
    };
    let orders = load(Creates::Orders, USERS, ORDERS, "order");
    let transactions =
        load(Creates::Transactions(TransactionMix::default()), 10, TRANSACTIONS, "transaction");
    let [of_orders, of_transactions] = [(); 2].map(|()| LoadCounts::default());
    let never = CancellationToken::new();
    let sending = async {
        tokio::join!(
            race::buy(&client),
            send(&client, &orders, None, &of_orders, &never),
            send(&client, &transactions, None, &of_transactions, &never)
        )
    };
    let (race_faults, sent_orders, sent_transactions) = tokio::select! {
        biased;
        () = context.stop.cancelled() => return Err(stopped()),
        sent = sending => sent,
    };
    sent_orders.and(sent_transactions).map_err(|error| failed(&error))?;
    let audit = come_to_rest(context, deps, handles, stores).await?;
    let units = Units::with_recorded(&[], EventContent::of, audit.events).map_err(|error| failed(&error))?;
    let verification =
        verify(&units, deps.store.facts.as_ref(), deps.store.dead_letter_store.as_ref()).await?;
    let (completed, failed, unexpected) = outcomes(&deps.config, stores).await?;
    let recorded_transactions = audit.transactions;
    let race = race::outcome(stores, race_faults).await?;
    let all_orders: u64 = audit.orders.values().sum();
    let recorded_orders = all_orders.saturating_sub(race::BUYERS.unsigned_abs());
    let mut story = Story {
        seed,
        race,
        orders: Created::of(&orders, &of_orders, recorded_orders),
        transactions: Created::of(&transactions, &of_transactions, recorded_transactions),
        payments_completed: completed,
        payments_failed: failed,
        payments_unexpected: unexpected,
        mails: Mails::default(),
        orders_by_state: audit.orders,
        record_differences: audit.differences,
        verification,
        clean: false,
    };
    story.clean = story.race.is_clean()
        && story.orders.is_clean()
        && story.transactions.is_clean()
        && story.payments_unexpected == 0
        && story.record_differences.is_empty()
        && story.verification.is_clean();
    Ok(story)
}

/// Waits until every order and payment is final and every message is acked, makes one pass over the dead-letter store, and
/// returns what the records add up to.
async fn come_to_rest(
    context: &Context,
    deps: &RoleDeps,
    handles: &Handles,
    stores: &ShopStores,
) -> Result<ShopAudit, CliError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        drained(deps, &deps.config.shop.topics.requests).await?;
        let now = deps.clock.now_us();
        let found = add_up(stores, now).await?;
        let open = ["accepted", "placed", "paying", "paid"].map(|state| found.orders.get(state));
        let is_open = open.into_iter().flatten().sum::<u64>() > 0
            || found
                .payments
                .keys()
                .any(|state| PaymentState::parse(state).is_some_and(|state| !state.is_final()));
        if !is_open || tokio::time::Instant::now() >= deadline {
            break;
        }
        if context.stop.is_cancelled() {
            return Err(stopped());
        }
        tokio::time::sleep(LOOK).await;
    }
    drained(deps, &deps.config.shop.topics.notices).await?;
    at_rest(deps).await?;
    let resolver = deps.resolver(&handles.handler, context.actor(Role::DlqHandler.as_str()));
    sweep(&resolver, WaitingDeadLetters::AreAttempted).await?;
    add_up(stores, deps.clock.now_us()).await
}

async fn add_up(stores: &ShopStores, now: i64) -> Result<ShopAudit, CliError> {
    let (orders, payments) = (stores.orders.as_ref(), stores.payments.as_ref());
    Ok(audit(orders, payments, stores.inventory.as_ref(), now).await?)
}

fn stopped() -> CliError {
    CliError::failed("stopped before the end; nothing was verified")
}

/// Returns the number of completed payments, of failed ones, and of those with another outcome than seed and id say.
async fn outcomes(config: &Config, stores: &ShopStores) -> Result<(u64, u64, u64), CliError> {
    let processor = &config.shop.processor;
    let (mut completed, mut failed, mut unexpected) = (0, 0, 0);
    let mut all = stores.payments.payments();
    while let Some(payment) = all.try_next().await? {
        let expected = match simulated(&payment, processor.seed, processor.success_rate) {
            ChargeOutcome::Completed => PaymentState::Completed,
            ChargeOutcome::Failed(_) => PaymentState::Failed,
        };
        unexpected += u64::from(payment.state != expected);
        match payment.state {
            PaymentState::Completed => completed += 1,
            _ => failed += 1,
        }
    }
    Ok((completed, failed, unexpected))
}
