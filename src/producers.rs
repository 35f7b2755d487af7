//! `orders_producer` and `payments_producer`: from flags to a stream of events and a manifest.

mod input;

use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};

use super::admin::run_with_admin;
use super::cli::{Preset, ProducerArgs};
use super::config::Config;
use super::context::Context;
use super::exit::{CliError, Exit};
use super::heartbeats::run_producer_with_heartbeat;
use super::output;
use super::preflight::publisher;
use super::role_handle::RoleHandle;
use super::setup::{self, Rights};
use super::shutdown::{close, run_until_drained};
use super::summary::summarise;
use super::wiring;
use crate::render::counted;
use ecom_config::ProducerConfig;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::role::Role;
use ecom_pipeline::produce::{DUPLICATE_DISTANCE, OutgoingEvent, ProducerSettings, produce};
use ecom_scenario::manifest::PublishedCounts;
use ecom_scenario::{
    EventSource, MAX_COPY_DISTANCE, Manifest, Mixture, PlannedEvent, Reference, ScenarioPlan, Streams,
};
use ecom_telemetry::stderr;
use input::{Input, InputEnd, is_stdin};

/// Runs the producer of a kind of events: `orders_producer` or `payments_producer`.
pub(crate) async fn run(context: Context, args: &ProducerArgs, kind: EventKind) -> Result<Exit, CliError> {
    if context.common.check {
        return setup::check(&context, Rights::Producer(Role::producer_of(kind).into())).await;
    }
    let context = context.of_role();
    let handle = RoleHandle::new(Role::producer_of(kind), &context);
    run_with_admin(&context, &[&handle], run_producer(&context, args, kind, &handle)).await
}

async fn run_producer(
    context: &Context,
    args: &ProducerArgs,
    kind: EventKind,
    handle: &RoleHandle,
) -> Result<Exit, CliError> {
    let streams = match kind {
        EventKind::Order => Streams::Orders,
        EventKind::Payment => Streams::Payments,
    };
    let topic = context.config.bus.topics.of(kind);
    let mut source = Source::of(&context.config, args)?;
    let (bus, operations) = wiring::bus(context).await?;
    let max_outstanding = context.config.producer.max_outstanding;
    let publisher = publisher(&context.startup, bus.as_ref(), topic, max_outstanding).await?;
    context.startup.complete();
    let manifest = match &args.manifest {
        None => None,
        Some(path) => Some(write_manifest(context, path, streams, source.planned(args)?, kind)?),
    };
    let settings = settings(context, handle, publisher, kind, max_outstanding);
    let events = source.events(args, kind);
    let mut published = 0;
    let producing = async {
        published = produce(&settings, events).await?;
        Ok(())
    };
    let producing = run_producer_with_heartbeat(context, handle, operations, producing);
    let outcome = run_until_drained(context, handle, producing).await;
    if let (Some(path), Some(manifest)) = (&args.manifest, manifest) {
        close_manifest(path, manifest, kind, published, outcome.is_ok())?;
        let verify = output::command("ecom_facts", &context.common);
        let path = output::quoted(path);
        stderr::say(format_args!(
            "next, once the consumers are idle: {verify} verify --manifest {path} --wait 60s"
        ));
    }
    close(bus.as_ref()).await;
    summarise(context, handle)?;
    match source {
        Source::Planned(_) => outcome.map(|()| Exit::Done),
        Source::Input(input) => {
            let end = input.end(settings.acknowledged_to.event().max(args.skip));
            end_of_input(&end, args.skip, outcome, context.stop.is_cancelled())
        }
    }
}

/// The exit of a run that publishes an input: an input that was not read to its end is a failure, unless
/// `--count` was the end.
fn end_of_input(
    end: &InputEnd,
    skip: u64,
    outcome: Result<(), CliError>,
    stopped: bool,
) -> Result<Exit, CliError> {
    let InputEnd { done, place, .. } = end;
    let rest = format!("to publish the rest, repeat the command with --skip {done}");
    if let Err(error) = outcome {
        return Err(error.hint(rest));
    }
    if let Some(error) = &end.failed {
        return Err(CliError::failed(error).hint(rest));
    }
    if stopped && !end.is_at_end {
        let error = format!("stopped after {place}, before the end of the input");
        return Err(CliError::failed(error).hint(rest));
    }
    if !end.is_at_end {
        stderr::say(format_args!("published up to {place}; {rest}"));
    }
    if end.is_at_end && *done == skip && skip > 0 {
        stderr::say(format_args!("nothing is left of the input after --skip {skip}"));
    }
    if end.rejected == 0 {
        return Ok(Exit::Done);
    }
    let rejected = counted(end.rejected, "line");
    stderr::error(format_args!("{rejected} of the input could not be published"), None);
    Ok(Exit::NegativeResult)
}

fn settings(
    context: &Context,
    handle: &RoleHandle,
    publisher: Arc<dyn ecom_bus::Publisher>,
    kind: EventKind,
    max_outstanding: usize,
) -> ProducerSettings {
    ProducerSettings {
        publisher,
        topic: kind.into(),
        max_outstanding,
        rate: context.config.producer.rate.per_second(),
        retrier: Arc::clone(&handle.retrier),
        metrics: Arc::clone(&handle.metrics),
        clock: context.clock,
        entropy: Arc::clone(&context.entropy),
        stop: context.stop.clone(),
        acknowledged_to: Arc::default(),
    }
}

/// The source of the events.
enum Source {
    /// Generated.
    Planned(EventSource),
    /// The lines of files and stdin.
    Input(Input),
}

impl Source {
    fn of(config: &Config, args: &ProducerArgs) -> Result<Self, CliError> {
        match args.from.is_empty() {
            true => generated(&config.producer, args).map(Self::Planned),
            false => Input::open(&args.from, args.skip, line_limit(config)).map(Self::Input),
        }
    }

    /// The source as a manifest has it. Files are read for that.
    fn planned(&mut self, args: &ProducerArgs) -> Result<EventSource, CliError> {
        match self {
            Self::Planned(source) => Ok(source.clone()),
            Self::Input(_) if args.from.iter().any(|path| is_stdin(path)) => Err(CliError::usage(
                "--manifest cannot be written for --from -: stdin is not known before it is published",
            )
            .hint("put the lines into a file and pass it with --from FILE")),
            Self::Input(input) => {
                Ok(EventSource::Bodies { bodies: input.read(args.count.unwrap_or(u64::MAX))? })
            }
        }
    }

    fn events(&mut self, args: &ProducerArgs, kind: EventKind) -> BoxStream<'_, OutgoingEvent> {
        match self {
            Self::Planned(source) => outgoing(source.events(kind)).boxed(),
            Self::Input(input) => input.events(args.count.unwrap_or(u64::MAX)).boxed(),
        }
    }
}

/// The most bytes of a line that are published: 16 MiB, or what the bus takes in one message.
fn line_limit(config: &Config) -> usize {
    const LINE_LIMIT: usize = 16 * 1024 * 1024;
    match config.bus.kind {
        #[cfg(feature = "pubsub")]
        ecom_config::BusKind::Pubsub => LINE_LIMIT.min(ecom_bus_pubsub::MAX_BODY_BYTES),
        _ => LINE_LIMIT,
    }
}

/// The generated events that the arguments ask for.
fn generated(config: &ProducerConfig, args: &ProducerArgs) -> Result<EventSource, CliError> {
    if args.preset == Some(Preset::Reference) {
        return Ok(EventSource::Reference(Reference { seed: config.seed, count: args.count }));
    }
    let (first, last) = args.order_ids;
    let mut plan = ScenarioPlan::try_new(config.seed, first..=last, mixture(config))
        .map_err(|error| CliError::usage(error.to_string()))?;
    if args.cycle {
        plan = plan.cycling();
    }
    if let Some(count) = args.count {
        plan = plan.stopping_after(count);
    }
    Ok(EventSource::Scenario(plan))
}

/// The mixture of events by the configuration.
pub(crate) fn mixture(config: &ProducerConfig) -> Mixture {
    Mixture {
        late_orders: config.late_orders,
        missing_orders: config.missing_orders,
        duplicates: config.duplicates,
        order_updates: config.order_updates,
        second_payments: config.second_payments,
        invalid: config.invalid,
        late_by: config.late_by,
    }
}

// A copy is published with the event id and time of its first message, which the producer must still remember.
const _: () = assert!(MAX_COPY_DISTANCE < DUPLICATE_DISTANCE as u64);

/// Planned messages, as the pipeline publishes them.
pub(crate) fn outgoing<'s>(
    planned: impl Iterator<Item = PlannedEvent> + Send + 's,
) -> impl Stream<Item = OutgoingEvent> + Send + 's {
    stream::iter(planned.map(|planned| OutgoingEvent { body: planned.body, event: planned.event }))
}

fn write_manifest(
    context: &Context,
    path: &Path,
    streams: Streams,
    source: EventSource,
    kind: EventKind,
) -> Result<Manifest, CliError> {
    if !source.is_bounded(kind) {
        return Err(CliError::usage("--manifest needs a bounded run").hint("add --count N"));
    }
    let run = context.run_id();
    let manifest = Manifest::new(streams, source, run, context.clock.now_us());
    manifest.write(path).map_err(|error| CliError::failed(error.to_string()))?;
    Ok(manifest)
}

/// Writes the number of published events into the manifest of a run that was stopped before its end.
fn close_manifest(
    path: &Path,
    mut manifest: Manifest,
    kind: EventKind,
    published: u64,
    complete: bool,
) -> Result<(), CliError> {
    let planned = manifest.events(kind).map_err(|error| CliError::failed(error.to_string()))?.count();
    if complete && published < planned as u64 {
        manifest.published = Some(match kind {
            EventKind::Order => PublishedCounts { orders: published, payments: 0 },
            EventKind::Payment => PublishedCounts { orders: 0, payments: published },
        });
        manifest.write(path).map_err(|error| CliError::failed(error.to_string()))?;
    }
    Ok(())
}
