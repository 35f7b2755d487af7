//! `ecom_setup`, and `--check` of every binary.

use super::cli::{Print, Setup};
use super::config;
use super::context::Context;
use super::exit::{CliError, Exit};
use super::output;
use super::wiring;
use ecom_config::{BusKind, StoreKind};
use ecom_domain::role::RoleName;
use ecom_telemetry::stderr;

/// The mark of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// It is as it must be.
    Good,
    /// It works, but something else is better.
    #[cfg_attr(not(feature = "cassandra"), expect(dead_code, reason = "advice is about Cassandra"))]
    Advice,
    /// It is missing or wrong.
    Bad,
}

impl Mark {
    #[cfg(feature = "pubsub")]
    fn of(is_good: bool) -> Self {
        if is_good { Self::Good } else { Self::Bad }
    }

    fn sign(self) -> char {
        match self {
            Self::Good => '✓',
            Self::Advice => '!',
            Self::Bad => '✗',
        }
    }
}

/// The rights in the store that a program needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Those of a role.
    Of(RoleName),
    /// Those of this producer, which only publishes.
    Producer(RoleName),
    /// Those of a reader of all tables.
    Reader,
    /// None beyond those to create what is missing.
    Setup,
}

impl Rights {
    /// The role of `cql/roles.cql` that has them.
    #[cfg(feature = "cassandra")]
    fn role(self) -> Option<&'static str> {
        match self {
            Self::Of(role) => Some(role.as_str()),
            Self::Producer(_) => Some("heartbeat"),
            Self::Reader => Some("analyst"),
            Self::Setup => None,
        }
    }

    /// Returns what the binary with these rights does on the bus; `None` if it creates everything there.
    #[cfg(feature = "pubsub")]
    fn bus_use(self, config: &config::Config) -> Option<ecom_bus_pubsub::BusUse<'_>> {
        use ecom_bus_pubsub::BusUse;
        match self {
            Self::Of(role) | Self::Producer(role) => {
                bus_uses(config).into_iter().find(|used| used.binary == role.as_str())
            }
            Self::Reader => Some(BusUse { binary: "ecom_facts", receives: vec![], publishes: vec![] }),
            Self::Setup => None,
        }
    }
}

/// A line of the checklist: something that is needed, whether it is there, and how to create it.
struct Line {
    mark: Mark,
    what: String,
    fix: Option<String>,
}

/// Runs `ecom_setup`.
pub(crate) async fn main(context: Context, cli: &Setup) -> Result<Exit, CliError> {
    match cli.print {
        Some(what) => print(&context, what).map(|()| Exit::Done),
        None if context.common.check => check(&context, Rights::Setup).await,
        None => apply(&context).await,
    }
}

/// Checks that everything needed exists, with this process's permissions; a negative result if not.
pub(crate) async fn check(context: &Context, rights: Rights) -> Result<Exit, CliError> {
    let lines = lines(context, Mode::Check(rights)).await?;
    show(&lines)?;
    Ok(if lines.iter().all(|line| line.mark != Mark::Bad) { Exit::Done } else { Exit::NegativeResult })
}

async fn apply(context: &Context) -> Result<Exit, CliError> {
    let lines = lines(context, Mode::Apply).await?;
    show(&lines)?;
    if lines.iter().any(|line| line.mark == Mark::Bad) {
        return Ok(Exit::NegativeResult);
    }
    stderr::say("next: start order_consumer, payment_consumer and dlq_handler with the same configuration");
    Ok(Exit::Done)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Check(Rights),
    Apply,
}

async fn lines(context: &Context, mode: Mode) -> Result<Vec<Line>, CliError> {
    let mut lines = Vec::new();
    let config = &context.config;
    if config.bus.kind == BusKind::Embedded || config.store.kind == StoreKind::Embedded {
        lines.push(embedded(context, mode).await);
    }
    if config.bus.kind == BusKind::Pubsub {
        lines.extend(pubsub(context, mode).await?);
    }
    if config.store.kind == StoreKind::Cassandra {
        lines.extend(cassandra(context, mode).await?);
    }
    Ok(lines)
}

fn show(lines: &[Line]) -> Result<(), CliError> {
    let mut text = String::new();
    for line in lines {
        text.push(line.mark.sign());
        text.push(' ');
        text.push_str(&line.what);
        text.push('\n');
        if let Some(fix) = line.fix.as_ref().filter(|_| line.mark != Mark::Good) {
            text.push_str("    fix: ");
            text.push_str(fix);
            text.push('\n');
        }
    }
    output::data(&text)
}

async fn embedded(context: &Context, mode: Mode) -> Line {
    let folder = match mode {
        Mode::Check(_) => wiring::DataFolder::MustExist,
        Mode::Apply => wiring::DataFolder::Create,
    };
    let is_there = async || wiring::embedded(context, wiring::DataFolder::MustExist).await.is_ok();
    let state = if matches!(mode, Mode::Check(_)) || is_there().await { "present" } else { "created" };
    match wiring::embedded(context, folder).await {
        Ok(name) => Line { mark: Mark::Good, what: format!("{name} {state}"), fix: None },
        Err(error) => Line {
            mark: Mark::Bad,
            what: error.to_string(),
            fix: config::data_dir(&context.config)
                .ok()
                .map(|folder| format!("ecom_setup --embedded --data-dir {}", output::quoted(folder))),
        },
    }
}

#[cfg(feature = "pubsub")]
fn wanted(context: &Context) -> ecom_bus_pubsub::DesiredTopics {
    use ecom_bus_pubsub::{DesiredTopics, SubscribedTopic};
    let (topics, subscriptions) = (&context.config.bus.topics, &context.config.bus.subscriptions);
    let pair = |topic: &str, subscription: &str| SubscribedTopic {
        topic: topic.to_owned(),
        subscription: subscription.to_owned(),
    };
    DesiredTopics {
        orders: pair(&topics.orders, &subscriptions.orders),
        payments: pair(&topics.payments, &subscriptions.payments),
        dead_letters: pair(&topics.dead_letters, &subscriptions.dead_letters),
        #[cfg(feature = "shop")]
        others: {
            let shop = &context.config.shop;
            vec![
                pair(&shop.topics.requests, &shop.subscriptions.requests),
                pair(&shop.topics.notices, &shop.subscriptions.notices),
            ]
        },
        ..DesiredTopics::default()
    }
}

#[cfg(feature = "pubsub")]
async fn pubsub(context: &Context, mode: Mode) -> Result<Vec<Line>, CliError> {
    use ecom_bus_pubsub::provision::{self, ResourceCheck, ResourceStatus};
    let bus = wiring::pubsub(context).await?;
    let items = match mode {
        Mode::Check(rights) => {
            let used = rights.bus_use(&context.config);
            provision::check(&bus, &wanted(context), used.as_ref()).await?
        }
        Mode::Apply => provision::apply(&bus, &wanted(context)).await?,
    };
    let line = |item: ResourceCheck| {
        let state = match &item.status {
            ResourceStatus::Present => "present".to_owned(),
            ResourceStatus::Created => "created".to_owned(),
            ResourceStatus::Missing => "missing".to_owned(),
            ResourceStatus::Unknown(why) => format!("unknown: {why}"),
            ResourceStatus::Different(what) => format!("different: {what}"),
        };
        Line {
            mark: Mark::of(item.status.is_good()),
            what: format!("{} {state}", item.name),
            fix: Some(item.fix),
        }
    };
    Ok(items.into_iter().map(line).collect())
}

#[cfg(not(feature = "pubsub"))]
async fn pubsub(_: &Context, _: Mode) -> Result<Vec<Line>, CliError> {
    Err(not_built("pubsub"))
}

#[cfg(feature = "cassandra")]
async fn cassandra(context: &Context, mode: Mode) -> Result<Vec<Line>, CliError> {
    use ecom_store_cassandra::provision::{self, CheckState};
    let (missing, checks) = match mode {
        Mode::Check(rights) => {
            (Vec::new(), provision::check(&context.config.store.cassandra, rights.role()).await)
        }
        Mode::Apply => {
            let (before, after) = wiring::apply_schema(context).await?;
            let missing = before.into_iter().filter(|check| check.state == CheckState::Missing);
            (missing.map(|check| check.name).collect(), after)
        }
    };
    let line = |check: provision::Check| {
        let state = match check.state == CheckState::Present && missing.contains(&check.name) {
            true => "created",
            false => check.state.as_str(),
        };
        let detail = check.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        Line {
            mark: match check.state {
                CheckState::Present => Mark::Good,
                CheckState::Discouraged | CheckState::Optional => Mark::Advice,
                CheckState::Missing | CheckState::Different | CheckState::Unknown => Mark::Bad,
            },
            what: format!("{} {state}{detail}", check.name),
            fix: check.fix.map(|fix| match fix.as_str() {
                "ecom_setup" => output::command("ecom_setup", &context.common),
                _ => fix,
            }),
        }
    };
    Ok(checks.into_iter().map(line).collect())
}

#[cfg(not(feature = "cassandra"))]
async fn cassandra(_: &Context, _: Mode) -> Result<Vec<Line>, CliError> {
    Err(not_built("cassandra"))
}

#[cfg(feature = "pubsub")]
fn print_gcloud(context: &Context, iam: bool) -> Result<String, CliError> {
    let settings = &context.config.bus.pubsub;
    if settings.project.is_empty() {
        return Err(CliError::usage("bus.pubsub.project is not set").hint("pass --project ID"));
    }
    Ok(match iam {
        true => ecom_bus_pubsub::print_iam(settings, &bus_uses(&context.config)),
        false => ecom_bus_pubsub::print_gcloud(settings, &wanted(context)),
    })
}

/// Returns what each binary does on the bus.
#[cfg(feature = "pubsub")]
fn bus_uses(config: &config::Config) -> Vec<ecom_bus_pubsub::BusUse<'_>> {
    use ecom_bus_pubsub::BusUse;
    let (topics, subscriptions) = (&config.bus.topics, &config.bus.subscriptions);
    let dead_letters = topics.dead_letters.as_str();
    let of = |binary, receives, publishes| BusUse { binary, receives, publishes };
    let uses = vec![
        of("orders_producer", vec![], vec![topics.orders.as_str()]),
        of("payments_producer", vec![], vec![topics.payments.as_str()]),
        of("order_consumer", vec![subscriptions.orders.as_str()], vec![dead_letters]),
        of("payment_consumer", vec![subscriptions.payments.as_str()], vec![dead_letters]),
        of("dlq_handler", vec![subscriptions.dead_letters.as_str()], vec![&topics.orders, &topics.payments]),
    ];
    #[cfg(feature = "shop")]
    let shop = &config.shop;
    #[cfg(feature = "shop")]
    let uses = [
        uses,
        vec![
            of("api_service", vec![], vec![shop.topics.requests.as_str(), &shop.topics.notices]),
            of(
                "payment_processor",
                vec![shop.subscriptions.requests.as_str()],
                vec![
                    &shop.topics.requests,
                    &shop.topics.notices,
                    &topics.orders,
                    &topics.payments,
                    dead_letters,
                ],
            ),
            of("notifier", vec![shop.subscriptions.notices.as_str()], vec![dead_letters]),
        ],
    ]
    .concat();
    uses
}

#[cfg(not(feature = "pubsub"))]
fn print_gcloud(_: &Context, _: bool) -> Result<String, CliError> {
    Err(not_built("pubsub"))
}

#[cfg(feature = "cassandra")]
fn print_cql(context: &Context) -> Result<String, CliError> {
    Ok(ecom_store_cassandra::provision::print_cql(&context.config.store.cassandra))
}

#[cfg(not(feature = "cassandra"))]
fn print_cql(_: &Context) -> Result<String, CliError> {
    Err(not_built("cassandra"))
}

#[cfg(not(all(feature = "pubsub", feature = "cassandra")))]
fn not_built(feature: &str) -> CliError {
    CliError::usage(format!("this binary was built without the feature {feature}"))
        .hint("build with default features: cargo build --release")
}

fn print(context: &Context, what: Print) -> Result<(), CliError> {
    let text = match what {
        Print::Gcloud => print_gcloud(context, false)?,
        Print::Iam => print_gcloud(context, true)?,
        Print::Cql => print_cql(context)?,
    };
    output::data(&text)
}
