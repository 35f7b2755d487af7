//! Publishing events: stamped once with id and time, bounded in flight, retried through outages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::durable::{Durable, Retrier, RoleError};
use super::pacer::Pacer;
use ecom_bus::{Attributes, Message, Publisher};
use ecom_clock::{Clock, Entropy};
use ecom_domain::event_time::EventTime;
use ecom_telemetry::metrics::{RoleMetrics, Topic};
use ecom_telemetry::traces::{self, TRACEPARENT, TraceSpan};

/// An event to publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutgoingEvent {
    /// Its body.
    pub body: Bytes,
    /// The number of the event. A message with the number of an earlier event, at most [`DUPLICATE_DISTANCE`]
    /// events before, is a duplicate: it is published with that event's id and time.
    pub event: u64,
}

/// The number of recent events whose duplicates keep their id and time.
pub const DUPLICATE_DISTANCE: usize = 8;

/// The most bytes of bodies in flight. A larger body is published alone.
const MAX_OUTSTANDING_BYTES: usize = 64 * 1024 * 1024;

/// The number of the last event up to which the bus has acknowledged every event; 0 before the first.
#[derive(Default, Debug)]
pub struct AcknowledgedTo(AtomicU64);

impl AcknowledgedTo {
    /// Returns the number of the event.
    pub fn event(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The events that were handed to the bus, from the first that it has not acknowledged.
#[derive(Default)]
struct Unacknowledged {
    first: usize,
    /// Each with its number, and whether it was acknowledged.
    events: VecDeque<(u64, bool)>,
    bytes: usize,
}

impl Unacknowledged {
    /// Adds an event, and returns its place.
    fn add(&mut self, event: &OutgoingEvent) -> usize {
        self.events.push_back((event.event, false));
        self.bytes += event.body.len();
        self.first + self.events.len() - 1
    }

    /// Marks an event by its place, and stores the last one before the first that is left.
    fn acknowledge(&mut self, place: usize, bytes: usize, to: &AcknowledgedTo) {
        self.bytes -= bytes;
        self.events[place - self.first].1 = true;
        while let Some((event, true)) = self.events.front() {
            to.0.store(*event, Ordering::Relaxed);
            self.events.pop_front();
            self.first += 1;
        }
    }

    /// Returns whether a body of this size may be handed over as well.
    fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= MAX_OUTSTANDING_BYTES
    }
}

/// The settings of a producer.
pub struct ProducerSettings {
    /// The topic.
    pub publisher: Arc<dyn Publisher>,
    /// The topic's label.
    pub topic: Topic,
    /// The most messages in flight.
    pub max_outstanding: usize,
    /// Messages per second; `None` = as fast as the bus acknowledges them.
    pub rate: Option<f64>,
    /// Retries calls through outages.
    pub retrier: Arc<Retrier>,
    /// The role's counters.
    pub metrics: Arc<RoleMetrics>,
    /// Event times.
    pub clock: Clock,
    /// Event ids.
    pub entropy: Arc<Entropy>,
    /// Once cancelled, nothing more is published, and the run ends when all in flight is acknowledged.
    pub stop: CancellationToken,
    /// Set while publishing, for a run whose events are numbered in their order.
    pub acknowledged_to: Arc<AcknowledgedTo>,
}

/// Stamps each event once, with an id and a strictly increasing time.
#[derive(Default)]
struct EventStamper {
    last_us: i64,
    recent: VecDeque<(u64, EventTime, Attributes)>,
}

impl EventStamper {
    /// Returns the time and the attributes of an event, and its span, which a duplicate has none of.
    fn stamp(
        &mut self,
        event: u64,
        topic: Topic,
        clock: &Clock,
        entropy: &Entropy,
    ) -> (EventTime, Attributes, TraceSpan) {
        if let Some((_, t, stamped)) = self.recent.iter().find(|(known, ..)| *known == event) {
            return (*t, stamped.clone(), TraceSpan::default());
        }
        let (trace, traceparent) = traces::published_event(topic);
        let attributes = self.next(clock, entropy, traceparent);
        let t = EventTime::stored(self.last_us);
        if self.recent.len() == DUPLICATE_DISTANCE {
            self.recent.pop_front();
        }
        self.recent.push_back((event, t, attributes.clone()));
        (t, attributes, trace)
    }

    fn next(&mut self, clock: &Clock, entropy: &Entropy, traceparent: Option<String>) -> Attributes {
        self.last_us = clock.now_us().max(self.last_us + 1);
        let millis = u64::try_from(self.last_us / 1_000).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &entropy.bytes()).into_uuid();
        let own = [("event_id", id.hyphenated().to_string()), ("event_time_us", self.last_us.to_string())];
        own.into_iter().chain(traceparent.map(|traceparent| (TRACEPARENT, traceparent))).collect()
    }
}

/// Publishes the events in order and returns the number of messages once the bus has acknowledged them all.
pub async fn produce(
    settings: &ProducerSettings,
    events: impl Stream<Item = OutgoingEvent>,
) -> Result<u64, RoleError> {
    let ProducerSettings { publisher, topic, retrier, metrics, clock, entropy, stop, .. } = settings;
    let mut events = std::pin::pin!(events.fuse());
    let mut stamper = EventStamper::default();
    let mut in_flight = FuturesUnordered::new();
    let mut unacknowledged = Unacknowledged::default();
    let mut next: Option<OutgoingEvent> = None;
    let (mut published, mut ended) = (0u64, false);
    let mut pacer = Pacer::new(settings.rate);
    metrics.in_flight_limit.set(i64::try_from(settings.max_outstanding).unwrap_or(i64::MAX));
    while !(ended && next.is_none() && in_flight.is_empty()) {
        let wait = pacer.wait();
        let has_room = next.as_ref().is_some_and(|event| unacknowledged.has_room(event.body.len()));
        let may_admit = has_room && in_flight.len() < settings.max_outstanding;
        tokio::select! {
            biased;
            () = stop.cancelled(), if !ended => (next, ended) = (None, true),
            Some((place, bytes, published_at)) = in_flight.next() => {
                let (t, _durable): (EventTime, Durable) = published_at?;
                unacknowledged.acknowledge(place, bytes, &settings.acknowledged_to);
                metrics.in_flight.dec();
                metrics.published.inc();
                metrics.advance_watermark(t);
                published += 1;
            }
            event = events.next(), if next.is_none() && !ended => (ended, next) = (event.is_none(), event),
            () = tokio::time::sleep_until(wait.unwrap_or_else(tokio::time::Instant::now)), if may_admit && wait.is_some() => {}
            () = std::future::ready(()), if may_admit && wait.is_none() => {
                let Some(event) = next.take() else { continue };
                let (t, attributes, trace) = stamper.stamp(event.event, *topic, clock, entropy);
                let (place, bytes) = (unacknowledged.add(&event), event.body.len());
                let message = Message { body: event.body, attributes };
                let publishing = retrier.publishing(*topic);
                in_flight.push(async move {
                    let published = publishing.published(publisher.as_ref(), &message).await;
                    let published = published.inspect(|(_, id)| trace.set("messaging.message.id", id));
                    let published = published.inspect_err(|_| trace.fail("refused"));
                    (place, bytes, published.map(|(durable, _)| (t, durable)))
                });
                metrics.in_flight.inc();
                pacer.admit();
            }
        }
    }
    publisher.flush().await;
    Ok(published)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: u64, bytes: usize) -> OutgoingEvent {
        OutgoingEvent { body: Bytes::from(vec![b'x'; bytes]), event }
    }

    #[test]
    fn every_event_up_to_the_last_acknowledged_one_is_acknowledged() {
        let (to, mut unacknowledged) = (AcknowledgedTo::default(), Unacknowledged::default());
        let places = [3, 4, 7, 9].map(|number| unacknowledged.add(&event(number, 1)));
        for (place, acknowledged_to) in [(1, 0), (2, 0), (0, 7), (3, 9)] {
            unacknowledged.acknowledge(places[place], 1, &to);
            assert_eq!(to.event(), acknowledged_to);
        }
        let place = unacknowledged.add(&event(10, 1));
        unacknowledged.acknowledge(place, 1, &to);
        assert_eq!((to.event(), unacknowledged.bytes), (10, 0));
    }

    #[test]
    fn bodies_in_flight_are_bounded_in_bytes_and_a_larger_one_is_alone() {
        let (to, mut unacknowledged) = (AcknowledgedTo::default(), Unacknowledged::default());
        assert!(unacknowledged.has_room(MAX_OUTSTANDING_BYTES + 1));
        let place = unacknowledged.add(&event(1, 10));
        assert!(unacknowledged.has_room(MAX_OUTSTANDING_BYTES - 10));
        assert!(!unacknowledged.has_room(MAX_OUTSTANDING_BYTES - 9));
        unacknowledged.acknowledge(place, 10, &to);
        assert!(unacknowledged.has_room(MAX_OUTSTANDING_BYTES));
    }
}
