//! The spans of this program.

use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;

use opentelemetry::trace::{SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use super::ids::Ids;
use super::otlp::{Active, active};
use super::{CurrentSpan, PublishedMessage, ReceivedSpan, TRACEPARENT, traceparent};
use crate::metrics::{CallOutcome, StoreOperation, Topic};
use ecom_domain::attributes::Attributes;

/// A span, which ends when it is dropped. Empty while traces are off, and where its trace is not sampled.
#[derive(Default, Debug)]
pub struct TraceSpan(Option<Box<Context>>);

impl Drop for TraceSpan {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

impl TraceSpan {
    fn new(active: &Active, builder: SpanBuilder, parent: &Context) -> Self {
        let context = Context::new().with_span(active.tracer.build_with_context(builder, parent));
        Self(Some(Box::new(context)))
    }

    /// Sets an attribute.
    pub fn set(&self, name: &'static str, value: impl Display) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value.to_string()));
        }
    }

    /// Sets an attribute that is a number.
    pub fn set_number(&self, name: &'static str, value: i64) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value));
        }
    }

    /// Marks the span as failed, with this kind of error. An error's text is left out: it may quote a body.
    pub fn fail(&self, kind: &'static str) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new("error.type", kind));
            context.span().set_status(Status::error(""));
        }
    }

    /// Returns the scope of the span: the calls of bus and store that are made in it are children of the span.
    pub fn scope(&self) -> TraceScope {
        TraceScope(self.0.as_deref().cloned())
    }
}

/// The spans that calls of bus and store are children of.
#[derive(Clone, Default, Debug)]
pub struct TraceScope(Option<Context>);

impl TraceScope {
    /// Runs a future in this scope.
    pub fn run<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        within(self.0.clone(), future)
    }
}

/// Spans that deliveries have in common for a while, by the places of the deliveries in their group.
struct Members(Arc<[Option<Context>]>);

/// Returns the scope of a group of deliveries: a call of the store that is made in it has a child of the span of each
/// delivery that it is for.
pub fn group<'s>(spans: impl Iterator<Item = &'s TraceSpan>) -> TraceScope {
    let group = active().map(|_| spans.map(|span| span.0.as_deref().cloned()).collect::<Arc<[_]>>());
    let group = group.filter(|group| group.iter().any(Option::is_some));
    TraceScope(group.map(|group| Context::new().with_value(Members(group))))
}

async fn within<F: Future>(context: Option<Context>, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|task| {
        let _attached = context.clone().map(Context::attach);
        future.as_mut().poll(task)
    })
    .await
}

/// Begins the span of an event that is published. Returns it with the event's attribute [`TRACEPARENT`]; `None` while traces
/// are off.
pub fn published_event(topic: Topic) -> (TraceSpan, Option<String>) {
    let Some(active) = active() else { return (TraceSpan::default(), None) };
    if active.samples() {
        let span = TraceSpan::new(active, active.publishing(topic), &Context::new());
        let traceparent = span.traceparent();
        return (span, traceparent);
    }
    // Whoever receives the event is not to begin a trace of its own.
    let ids = Ids::default();
    let traceparent = traceparent::format(ids.new_trace_id(), ids.new_span_id(), false);
    (TraceSpan::default(), Some(traceparent))
}

/// Begins the span of a delivery.
pub fn delivery(received: ReceivedSpan<'_>) -> TraceSpan {
    let Some(active) = active() else { return TraceSpan::default() };
    let ReceivedSpan { subscription, id, attempt, attributes } = received;
    let Some(parent) = active.sampled_parent(attributes.get(TRACEPARENT)) else {
        return TraceSpan::default();
    };
    let mut attributes = vec![
        KeyValue::new("messaging.system", active.names.bus),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.destination.name", subscription.to_owned()),
        KeyValue::new("messaging.destination.subscription.name", subscription.to_owned()),
        KeyValue::new("messaging.message.id", id.to_owned()),
    ];
    if attempt > 0 {
        attributes.push(KeyValue::new("messaging.gcp_pubsub.message.delivery_attempt", i64::from(attempt)));
    }
    let builder = SpanBuilder::from_name(format!("process {subscription}"))
        .with_kind(SpanKind::Consumer)
        .with_attributes(attributes);
    TraceSpan::new(active, builder, &parent)
}

/// Begins the span of an attempt to apply a dead letter, whose message had this attribute [`TRACEPARENT`].
pub fn retry(traceparent: Option<&str>, trigger: &'static str, id: &str) -> TraceSpan {
    let Some(active) = active() else { return TraceSpan::default() };
    // The trace of a message without one ended with its recording.
    let Some(parent) = traceparent.and_then(|text| active.sampled_parent(Some(text))) else {
        return TraceSpan::default();
    };
    let attributes = vec![KeyValue::new("trigger", trigger), KeyValue::new("dead_letter.id", id.to_owned())];
    TraceSpan::new(active, SpanBuilder::from_name("retry").with_attributes(attributes), &parent)
}

/// Begins the span of an HTTP request, with its header [`TRACEPARENT`].
pub fn request(method: &str, route: &str, traceparent: Option<&str>) -> TraceSpan {
    let Some(active) = active() else { return TraceSpan::default() };
    let Some(parent) = active.sampled_parent(traceparent) else { return TraceSpan::default() };
    let attributes = vec![
        KeyValue::new("http.request.method", method.to_owned()),
        KeyValue::new("http.route", route.to_owned()),
    ];
    let builder = SpanBuilder::from_name(format!("{method} {route}"))
        .with_kind(SpanKind::Server)
        .with_attributes(attributes);
    TraceSpan::new(active, builder, &parent)
}

/// Begins the span of a message that is published within another span; `None` if the calling code is in none.
pub fn publish(topic: Option<Topic>, attributes: &Attributes) -> Option<PublishedMessage> {
    let active = active()?;
    Context::map_current(|parent| {
        let span = match topic {
            Some(topic) if parent.has_active_span() => {
                TraceSpan::new(active, active.publishing(topic), parent)
            }
            _ => TraceSpan::default(),
        };
        let traceparent = span.traceparent().or_else(|| traceparent_of(parent))?;
        let has_none = attributes.get(TRACEPARENT).is_none();
        let attributes = has_none.then(|| {
            let mut attributes = attributes.clone();
            attributes.insert(TRACEPARENT, traceparent);
            attributes
        });
        Some(PublishedMessage { span, attributes })
    })
}

/// The spans of a call of the store: one for each delivery that it is for.
#[derive(Debug)]
pub struct StoreCall(Box<[TraceSpan]>);

impl StoreCall {
    /// Ends the spans.
    pub fn end(self, outcome: CallOutcome) {
        for span in self.0 {
            match outcome {
                CallOutcome::Ok => {}
                outcome => span.fail(outcome.as_str()),
            }
        }
    }
}

/// Begins the spans of a call of the store within another span, or within a [group] for those of its deliveries for which
/// `is_for` returns true.
pub fn store_call(operation: Option<StoreOperation>, is_for: impl Fn(usize) -> bool) -> StoreCall {
    let (Some(active), Some(operation)) = (active(), operation) else { return StoreCall(Box::default()) };
    let child = |parent: &Context| TraceSpan::new(active, active.calling(operation), parent);
    let spans: Box<[TraceSpan]> = Context::map_current(|context| match context.get::<Members>() {
        Some(Members(group)) => {
            let members = group.iter().enumerate().filter(|(place, _)| is_for(*place));
            members.filter_map(|(_, member)| member.as_ref().map(child)).collect::<Box<[_]>>()
        }
        None if context.has_active_span() => Box::from([child(context)]),
        None => Box::default(),
    });
    StoreCall(spans)
}

/// Returns the span that the calling code is in.
pub fn current() -> Option<CurrentSpan> {
    active()?;
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| CurrentSpan {
            trace_id: span.trace_id().to_string(),
            span_id: span.span_id().to_string(),
        })
    })
}

impl TraceSpan {
    /// Returns the span as the parent of others.
    fn traceparent(&self) -> Option<String> {
        self.0.as_deref().and_then(traceparent_of)
    }
}

fn traceparent_of(context: &Context) -> Option<String> {
    let span = context.span();
    let span: &SpanContext = span.span_context();
    span.is_valid().then(|| traceparent::format(span.trace_id(), span.span_id(), span.is_sampled()))
}

impl Active {
    /// Decides whether a trace that begins here is sampled.
    fn samples(&self) -> bool {
        is_sampled(self.sample_ratio)
    }

    /// Returns the parent of a span whose trace is sampled, empty if the trace begins here. `None` if it is not sampled.
    fn sampled_parent(&self, traceparent: Option<&str>) -> Option<Context> {
        if traceparent.is_some_and(traceparent::is_unsampled) {
            return None;
        }
        match traceparent.and_then(traceparent::parse) {
            Some(parent) => parent.is_sampled().then(|| Context::new().with_remote_span_context(parent)),
            None => self.samples().then(Context::new),
        }
    }

    fn publishing(&self, topic: Topic) -> SpanBuilder {
        let topic = &self.names.topics[topic as usize];
        SpanBuilder::from_name(format!("publish {topic}")).with_kind(SpanKind::Producer).with_attributes(
            vec![
                KeyValue::new("messaging.system", self.names.bus),
                KeyValue::new("messaging.operation.name", "publish"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.destination.name", topic.clone()),
            ],
        )
    }

    fn calling(&self, operation: StoreOperation) -> SpanBuilder {
        SpanBuilder::from_name(operation.as_str()).with_kind(SpanKind::Client).with_attributes(vec![
            KeyValue::new("db.system.name", self.names.store),
            KeyValue::new("db.operation.name", operation.as_str()),
        ])
    }
}

/// Decides at random, with this probability.
fn is_sampled(ratio: f64) -> bool {
    let random = u64::from_be_bytes(RandomIdGenerator::default().new_span_id().to_bytes());
    // A number from 0 to 1 has 53 bits.
    ((random >> 11) as f64) < ratio * (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_sampled() {
        let sampled = |ratio| (0..20_000).filter(|_| is_sampled(ratio)).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 20_000));
        // Ten standard deviations and more.
        assert!((4_400..5_600).contains(&sampled(0.25)));
        assert!((50..400).contains(&sampled(0.01)));
    }
}
