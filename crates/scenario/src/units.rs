//! The published events as units: distinct pairs of kind and body. Event times are not known before
//! publishing, but they strictly increase within one producer, so the position in the stream says which event
//! is newer.
//!
//! A unit has hashes of its body and of its values instead of the body, so that millions fit into memory.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;

use crate::event_times::EventTimes;
use crate::manifest::{Manifest, ManifestError};
use crate::planned::{EventContent, PlannedEvent};
use ecom_codec::envelope::SOURCE_SUBSCRIPTION;
use ecom_domain::dead_letter::{DeadLetter, EventKind, StoredBody};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{OrderCells, PaymentCells};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;

/// Decodes a body from a file.
pub type DecodeBody = fn(EventKind, &Bytes) -> EventContent;

/// One distinct message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    /// The order id; 0 if a bad body does not have one.
    pub(super) order_id: OrderId,
    pub(super) kind: EventKind,
    /// The hash of kind and body.
    pub(super) body: u64,
    /// The hash of the values of a valid event, or the reason that the body must be dead-lettered for.
    pub(super) values: Result<u64, Reason>,
    pub(super) payment_id: Option<i64>,
    /// The index of the manifest that published it last, and the position in its stream.
    pub(super) source: u32,
    pub(super) position: u64,
    /// True if the position is the event time, in microseconds since the epoch.
    pub(super) is_timed: bool,
    /// The number of further messages with the same body.
    pub(super) copies: u32,
}

/// An event that a record in the store implies, instead of a manifest.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordedEvent {
    /// Its content: an order or a payment.
    pub content: EventContent,
    /// Its body as published.
    pub body: Bytes,
    /// Its event time, or its place among the events of its order or payment, from 0, if the record has no longer the time.
    pub at: Result<EventTime, u8>,
}

/// All published units.
#[derive(Clone, Debug)]
pub struct Units {
    /// Sorted by order id, kind and position.
    units: Vec<Unit>,
    /// The hashes of the bodies with the indices of their units, sorted by hash.
    by_body: Vec<(u64, u32)>,
    /// Each order id with the index of its first unit.
    orders: Vec<(OrderId, u32)>,
    /// The start of each source.
    started: Vec<EventTime>,
    /// The kinds of events that the manifests describe. Nothing is known about others.
    covered: Vec<EventKind>,
    /// The event times of the published messages, if they are known.
    event_times: Option<EventTimes>,
    /// The subscriptions whose messages are no events.
    without_events: Vec<String>,
}

impl Units {
    /// Returns the units of these runs together. `decode` is called for bodies from files only.
    ///
    /// # Errors
    /// [`Unbounded`](ManifestError::Unbounded) if a run never ends.
    pub fn of(manifests: &[Manifest], decode: DecodeBody) -> Result<Self, ManifestError> {
        Self::with_recorded(manifests, decode, [])
    }

    /// Returns the units of these runs together with the events that records imply, of any order and payment.
    ///
    /// # Errors
    /// [`Unbounded`](ManifestError::Unbounded) if a run never ends.
    pub fn with_recorded(
        manifests: &[Manifest],
        decode: DecodeBody,
        recorded: impl IntoIterator<Item = RecordedEvent>,
    ) -> Result<Self, ManifestError> {
        let mut runs: Vec<&Manifest> = manifests.iter().collect();
        runs.sort_by_key(|manifest| manifest.started_at_us);
        let mut units = Vec::new();
        for (source, manifest) in (0..).zip(&runs) {
            for kind in EventKind::ALL {
                units.extend(manifest.events(kind)?.map(|planned| unit(planned, source, decode)));
            }
        }
        let mut started: Vec<_> =
            runs.iter().map(|manifest| EventTime::stored(manifest.started_at_us)).collect();
        let before_recorded = units.len();
        let source = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        units.extend(recorded.into_iter().map(|event| recorded_unit(event, source)));
        let has_recorded = units.len() > before_recorded;
        if has_recorded {
            started.push(EventTime::stored(0));
        }
        let covers =
            |kind: &EventKind| has_recorded || runs.iter().any(|manifest| manifest.kind.includes(*kind));
        let covered = EventKind::ALL.into_iter().filter(covers).collect();
        Ok(Self::index(merge(units), started, covered))
    }

    fn index(mut units: Vec<Unit>, started: Vec<EventTime>, covered: Vec<EventKind>) -> Self {
        units.sort_unstable_by_key(|unit| (unit.order_id, unit.kind, unit.source, unit.position));
        let mut by_body: Vec<(u64, u32)> = units.iter().map(|unit| unit.body).zip(0..).collect();
        by_body.sort_unstable();
        let mut orders: Vec<(OrderId, u32)> = units.iter().map(|unit| unit.order_id).zip(0..).collect();
        orders.dedup_by_key(|(order_id, _)| *order_id);
        Self { units, by_body, orders, started, covered, event_times: None, without_events: Vec::new() }
    }

    /// Adds the event times of the published messages, with which write timestamps are compared.
    #[must_use]
    pub fn with_event_times(self, event_times: EventTimes) -> Self {
        Self { event_times: Some(event_times), ..self }
    }

    /// Leaves out the dead letters of subscriptions whose messages are no events.
    #[must_use]
    pub fn without_dead_letters_of(self, subscriptions: Vec<String>) -> Self {
        Self { without_events: subscriptions, ..self }
    }

    /// Returns whether a dead letter may be of an event.
    pub(super) fn may_be_event(&self, dead_letter: &DeadLetter) -> bool {
        let source = dead_letter.attributes.get(SOURCE_SUBSCRIPTION);
        source.is_none_or(|source| self.without_events.iter().all(|other| other != source))
    }

    /// Returns whether this unit may have been written at this time.
    pub(super) fn may_be_at(&self, index: usize, t: EventTime) -> bool {
        let unit = &self.units[index];
        if unit.is_timed {
            return u64::try_from(t.micros()) == Ok(unit.position);
        }
        self.event_times.as_ref().is_none_or(|times| times.has(unit.body, t))
    }

    /// Returns whether the manifests describe events of this kind.
    pub(super) fn covers(&self, kind: EventKind) -> bool {
        self.covered.contains(&kind)
    }

    /// Returns the number of units.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Returns whether nothing was published.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Returns the number of distinct order ids.
    pub(super) fn orders(&self) -> usize {
        self.orders.len()
    }

    /// Returns the order id at this index.
    pub(super) fn order_id(&self, order: usize) -> OrderId {
        self.orders[order].0
    }

    /// Returns the index of this order id.
    pub(super) fn order(&self, order_id: OrderId) -> Option<usize> {
        self.orders.binary_search_by_key(&order_id, |(order_id, _)| *order_id).ok()
    }

    /// Returns the indices of the units of one order, older before newer within a kind.
    pub(super) fn of_order(&self, order: usize) -> std::ops::Range<usize> {
        let from = self.orders[order].1 as usize;
        let until = self.orders.get(order + 1).map_or(self.units.len(), |(_, next)| *next as usize);
        from..until
    }

    /// Returns the indices of the units of one order that have these values, older before newer.
    pub(super) fn showing(&self, order: usize, kind: EventKind, values: u64) -> Vec<usize> {
        let shows = |unit: &Unit| unit.kind == kind && unit.values == Ok(values);
        self.of_order(order).filter(|index| shows(&self.units[*index])).collect()
    }

    /// Returns the unit at this index.
    pub(super) fn unit(&self, index: usize) -> &Unit {
        &self.units[index]
    }

    /// Returns the index of the unit with this body.
    pub(super) fn find(&self, kind: EventKind, body: &StoredBody) -> Option<usize> {
        let wanted = body_hash(kind, body);
        let found = self.by_body.binary_search_by_key(&wanted, |(hash, _)| *hash).ok()?;
        Some(self.by_body[found].1 as usize)
    }

    /// Returns whether `shown`, which a row shows with this write timestamp, may have superseded `unit`.
    /// Within a run, it must be newer; across runs, it must not be older than the run of `unit`.
    pub(super) fn supersedes(&self, shown: &Unit, written_at: Option<EventTime>, unit: &Unit) -> bool {
        if shown.source == unit.source {
            return shown.position > unit.position;
        }
        written_at.is_some_and(|written_at| written_at >= self.started[unit.source as usize])
    }
}

fn unit(planned: PlannedEvent, source: u32, decode: DecodeBody) -> Unit {
    let content = match planned.content {
        EventContent::Foreign => decode(planned.kind, &planned.body),
        known @ (EventContent::Order(_)
        | EventContent::Payment(_)
        | EventContent::Rejected(_)
        | EventContent::Masked(_)) => known,
    };
    let mut kept = StoredBody::keep(&planned.body);
    let mut order_id = planned.order_id;
    let (values, payment_id) = match content {
        EventContent::Order(order) => {
            order_id = Some(order.order_id);
            (Ok(order_values(&order)), None)
        }
        EventContent::Payment(payment) => {
            order_id = Some(payment.order_id);
            (Ok(payment_values(&payment)), Some(payment.payment_id))
        }
        EventContent::Rejected(reason) => (Err(reason), None),
        EventContent::Masked(masked) => {
            kept = StoredBody::keep(&masked);
            (Err(Reason::PanDetected), None)
        }
        EventContent::Foreign => (Err(Reason::Undecodable), None),
    };
    Unit {
        order_id: order_id.unwrap_or(OrderId(0)),
        kind: planned.kind,
        body: body_hash(planned.kind, &kept),
        values,
        payment_id,
        source,
        position: planned.event,
        is_timed: false,
        copies: 0,
    }
}

fn recorded_unit(RecordedEvent { content, body, at }: RecordedEvent, source: u32) -> Unit {
    let kind = match content {
        EventContent::Payment(_) => EventKind::Payment,
        _ => EventKind::Order,
    };
    let (position, is_timed) = match at {
        Ok(t) => (u64::try_from(t.micros()).unwrap_or_default(), true),
        Err(place) => (u64::from(place), false),
    };
    let planned = PlannedEvent { kind, order_id: None, body, content, sequence: position, event: position };
    Unit { is_timed, ..unit(planned, source, |_, _| EventContent::Foreign) }
}

/// Merges units of equal kind and body into one at the newest position.
fn merge(mut units: Vec<Unit>) -> Vec<Unit> {
    units.sort_unstable_by_key(|unit| (unit.body, unit.source, unit.position));
    units.dedup_by(|newer, kept| {
        let same = newer.body == kept.body;
        if same {
            kept.copies += 1;
            (kept.source, kept.position, kept.is_timed) = (newer.source, newer.position, newer.is_timed);
        }
        same
    });
    units
}

/// Hashes a body. Bodies that the dead-letter store truncates are identified by their SHA-256.
pub(crate) fn body_hash(kind: EventKind, body: &StoredBody) -> u64 {
    let content = body.sha256.as_ref().map_or(&*body.bytes, |sha256| sha256.as_bytes());
    hash(&(kind, body.length, content))
}

/// Hashes the order columns of a row.
pub(super) fn order_cells(cells: &OrderCells) -> u64 {
    hash(&(
        cells.customer_id,
        cells.item.as_deref(),
        cells.quantity,
        cells.price.map(bits),
        cells.shipping_address.as_deref(),
        cells.order_status.as_deref(),
        cells.creation_date.as_deref(),
    ))
}

/// Hashes the payment columns of a row.
pub(super) fn payment_cells(cells: &PaymentCells) -> u64 {
    hash(&(
        cells.payment_id,
        cells.payment_method.as_deref(),
        cells.card_last_four.as_deref(),
        cells.payment_status.as_deref(),
        cells.payment_datetime.as_deref(),
    ))
}

fn order_values(order: &Order<'_>) -> u64 {
    order_cells(&OrderCells::from(order))
}

fn payment_values(payment: &Payment<'_>) -> u64 {
    payment_cells(&PaymentCells::from(payment))
}

/// Returns equal bits for equal numbers, zero and negative zero included.
fn bits(number: f64) -> u64 {
    (number + 0.0).to_bits()
}

/// Hashes a value. The hash is compared within this process only.
fn hash<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::ScenarioPlan;
    use crate::manifest::{EventSource, ManifestBody, Streams};
    use crate::mixture::Mixture;

    fn no_foreign(_: EventKind, _: &Bytes) -> EventContent {
        EventContent::Foreign
    }

    fn run(started_at_us: i64, mixture: Mixture) -> Manifest {
        let plan = ScenarioPlan::try_new(5, 1..=200, mixture).expect("a valid plan");
        Manifest::new(
            Streams::Both,
            EventSource::Scenario(plan),
            format!("run-{started_at_us}"),
            started_at_us,
        )
    }

    #[test]
    fn a_replayed_run_adds_copies_and_no_units() {
        let mixture = Mixture { order_updates: 0.5, second_payments: 0.5, ..Mixture::PLAIN };
        let once = Units::of(&[run(1, mixture)], no_foreign).expect("bounded");
        let twice = Units::of(&[run(2, mixture), run(1, mixture)], no_foreign).expect("bounded");
        assert_eq!(once.len(), twice.len());
        for (before, after) in once.units.iter().zip(&twice.units) {
            assert_eq!((before.body, before.position, before.copies), (after.body, after.position, 0));
            assert_eq!((after.source, after.copies), (1, 1));
        }
    }

    #[test]
    fn duplicates_are_copies_of_one_unit() {
        let units =
            Units::of(&[run(1, Mixture { duplicates: 1.0, ..Mixture::PLAIN })], no_foreign).expect("bounded");
        assert_eq!(units.len(), 400);
        assert!(units.units.iter().all(|unit| unit.copies == 1));
        assert_eq!(units.orders(), 200);
        assert_eq!(units.of_order(199), 398..400);
    }

    #[test]
    fn a_body_from_a_file_is_decoded() {
        fn decode(_: EventKind, body: &Bytes) -> EventContent {
            match &body[..] {
                b"pan" => EventContent::Masked(Bytes::from_static(b"***")),
                _ => EventContent::Rejected(Reason::Invalid),
            }
        }
        let huge = Bytes::from(vec![b' '; 2 * 1024 * 1024]);
        let bodies = [huge.clone(), Bytes::from_static(b"pan"), huge.clone()].map(ManifestBody).to_vec();
        let manifest = Manifest::new(Streams::Payments, EventSource::Bodies { bodies }, "file".to_owned(), 1);
        let units = Units::of(&[manifest], decode).expect("bounded");
        assert_eq!(units.len(), 2);
        let found = |kind, body: &Bytes| {
            units.find(kind, &StoredBody::keep(body)).map(|index| units.unit(index).values)
        };
        assert_eq!(found(EventKind::Payment, &huge), Some(Err(Reason::Invalid)));
        assert_eq!(found(EventKind::Payment, &Bytes::from_static(b"***")), Some(Err(Reason::PanDetected)));
        assert_eq!(found(EventKind::Payment, &Bytes::from_static(b"pan")), None);
        assert_eq!(found(EventKind::Order, &huge), None);
    }
}
