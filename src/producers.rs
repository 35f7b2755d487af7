//! `orders_producer` and `payments_producer`: from flags to a stream of events and a manifest.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::cli::{Preset, ProducerArgs};
use super::context::Context;
use super::exit::{CliError, Exit};
use super::heartbeats::run_producer_with_heartbeat;
use super::output;
use super::preflight::require_subscription;
use super::role_handle::RoleHandle;
use super::setup;
use super::shutdown::{close, run_until_drained};
use super::summary::summarise;
use super::wiring;
use ecom_config::ProducerConfig;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::role::Role;
use ecom_pipeline::produce::{DUPLICATE_DISTANCE, OutgoingEvent, ProducerSettings, produce};
use ecom_scenario::manifest::{ManifestBody, PublishedCounts};
use ecom_scenario::{
    EventSource, MAX_COPY_DISTANCE, Manifest, Mixture, PlannedEvent, Reference, ScenarioPlan, Streams,
};
use ecom_telemetry::stderr;

/// Runs the producer of a kind of events: `orders_producer` or `payments_producer`.
pub(crate) async fn run(context: Context, args: &ProducerArgs, kind: EventKind) -> Result<Exit, CliError> {
    if context.common.check {
        return setup::check(&context).await;
    }
    let streams = match kind {
        EventKind::Order => Streams::Orders,
        EventKind::Payment => Streams::Payments,
    };
    let topic = context.config.bus.topics.of(kind);
    let source = source(&context.config.producer, args)?;
    let handle = RoleHandle::new(Role::producer_of(kind), &context.entropy);
    let (bus, operations) = wiring::bus(&context).await?;
    require_subscription(bus.as_ref(), topic).await?;
    let max_outstanding = context.config.producer.max_outstanding;
    let publisher = bus.publisher(topic, max_outstanding).await?;
    let manifest = match (&args.manifest, &source) {
        (None, _) => None,
        (Some(path), Some(source)) => Some(write_manifest(&context, path, streams, source, kind)?),
        (Some(_), None) => {
            return Err(CliError::usage(
                "--manifest cannot be written for --from -: stdin is not known before it is published",
            )
            .hint("put the lines into a file and pass it with --from FILE"));
        }
    };
    let settings = settings(&context, &handle, publisher, kind, max_outstanding);
    let events = events(source.as_ref(), args, kind).await?;
    let mut published = 0;
    let producing = async {
        published = produce(&settings, events).await?;
        Ok(())
    };
    let producing = run_producer_with_heartbeat(&context, &handle, operations, producing);
    let outcome = run_until_drained(&context, &handle, producing).await;
    if let (Some(path), Some(manifest)) = (&args.manifest, manifest) {
        close_manifest(path, manifest, kind, published, outcome.is_ok())?;
        let verify = output::command("ecom_facts", &context.common);
        let path = output::quoted(&path.display().to_string());
        stderr::say(format_args!(
            "next, once the consumers are idle: {verify} verify --manifest {path} --wait 60s"
        ));
    }
    close(bus.as_ref()).await;
    summarise(&context, &handle)?;
    outcome.map(|()| Exit::Done)
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
    }
}

/// The source of the events, where it is known before publishing; `None` = stdin, or a file that is streamed.
fn source(config: &ProducerConfig, args: &ProducerArgs) -> Result<Option<EventSource>, CliError> {
    if let Some(path) = &args.from {
        let known = args.manifest.is_some() && path != Path::new("-");
        return if known { read_bodies(path).map(Some) } else { Ok(None) };
    }
    if args.preset == Some(Preset::Reference) {
        return Ok(Some(EventSource::Reference(Reference { seed: config.seed, count: args.count })));
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
    Ok(Some(EventSource::Scenario(plan)))
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

fn read_bodies(path: &Path) -> Result<EventSource, CliError> {
    let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    let bodies = lines.into_iter().map(|line| ManifestBody(Bytes::copy_from_slice(line))).collect();
    Ok(EventSource::Bodies { bodies })
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::usage(format!("could not read {}: {error}", path.display()))
}

async fn events<'s>(
    source: Option<&'s EventSource>,
    args: &ProducerArgs,
    kind: EventKind,
) -> Result<BoxStream<'s, OutgoingEvent>, CliError> {
    let count = args.count.unwrap_or(u64::MAX);
    if let Some(source) = source {
        return Ok(outgoing(source.events(kind)).boxed());
    }
    let path = args.from.as_deref().unwrap_or(Path::new("-"));
    let bodies = if path == Path::new("-") {
        lines(tokio::io::stdin()).boxed()
    } else {
        lines(tokio::fs::File::open(path).await.map_err(|error| unreadable(path, &error))?).boxed()
    };
    let numbered = bodies.zip(stream::iter(0..count));
    Ok(numbered.map(|(body, event)| OutgoingEvent { body, event }).boxed())
}

// A copy is published with the event id and time of its first message, which the producer must still remember.
const _: () = assert!(MAX_COPY_DISTANCE < DUPLICATE_DISTANCE as u64);

/// Planned messages, as the pipeline publishes them.
pub(crate) fn outgoing<'s>(
    planned: impl Iterator<Item = PlannedEvent> + Send + 's,
) -> impl Stream<Item = OutgoingEvent> + Send + 's {
    stream::iter(planned.map(|planned| OutgoingEvent { body: planned.body, event: planned.event }))
}

/// Lines without their ends. A read error is logged and ends the stream.
fn lines(reader: impl AsyncRead + Unpin + Send) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(BufReader::new(reader), |mut reader| async move {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) => None,
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                Some((Bytes::from(line), reader))
            }
            Err(error) => {
                tracing::error!("could not read the next line: {error}");
                None
            }
        }
    })
}

fn write_manifest(
    context: &Context,
    path: &Path,
    streams: Streams,
    source: &EventSource,
    kind: EventKind,
) -> Result<Manifest, CliError> {
    if !source.is_bounded(kind) {
        return Err(CliError::usage("--manifest needs a bounded run").hint("add --count N"));
    }
    let run = context.run_id();
    let manifest = Manifest::new(streams, source.clone(), run, context.clock.now_us());
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
