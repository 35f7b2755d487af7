//! The audit of rows, dead letters and units against each other.

mod corrections;
mod superseded;

pub(super) use corrections::MAX_CORRECTIONS;

use std::collections::BTreeMap;

use crate::units::{Unit, Units, order_cells, payment_cells};
use crate::verification::{DifferenceKind, StreamCounts, Verification};
use ecom_codec::correction::CORRECTS;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

/// The maximum number of column groups that are kept until a correction explains them.
const UNEXPLAINED_LIMIT: usize = 10_000;

/// The places in which a unit was found.
#[derive(Clone, Copy, Default)]
struct UnitPlaces {
    current: bool,
    in_dead_letter_store: bool,
    in_superseded_payments: bool,
}

/// The row of one order.
#[derive(Clone, Copy, Default)]
struct AuditedRow {
    seen: bool,
    has_order: bool,
    order: ColumnGroup,
    payment: ColumnGroup,
}

/// A column group of a row.
#[derive(Clone, Copy, Default)]
struct ColumnGroup {
    written_at: Option<EventTime>,
    /// The newest unit whose values it shows.
    shows: Option<usize>,
}

/// A column group or a superseded payment that shows no unit, pending a correction that explains it.
struct UnexplainedGroup {
    order_id: OrderId,
    fault: DifferenceKind,
    what: &'static str,
    is_current: bool,
}

/// The state of a verification, which reads rows, then dead letters, then units. Its memory is bounded by the
/// units.
pub(super) struct Audit<'u> {
    units: &'u Units,
    places: Vec<UnitPlaces>,
    rows: Vec<AuditedRow>,
    unexplained: BTreeMap<(EventTime, EventKind), Vec<UnexplainedGroup>>,
    unexplained_count: usize,
    /// The column groups that show the correction of a correction, with the dead letter to continue from.
    chains: Vec<(OrderId, EventKind, DeadLetterId)>,
    found: Verification,
}

impl<'u> Audit<'u> {
    pub(super) fn new(units: &'u Units) -> Self {
        Self {
            units,
            places: vec![UnitPlaces::default(); units.len()],
            rows: vec![AuditedRow::default(); units.orders()],
            unexplained: BTreeMap::new(),
            unexplained_count: 0,
            chains: Vec::new(),
            found: Verification::default(),
        }
    }

    /// Audits a row of the fact table.
    pub(super) fn row(&mut self, fact: &Fact) {
        self.found.rows += 1;
        let order_id = fact.order_id;
        let order = self.units.order(order_id);
        if order.is_some_and(|order| self.rows[order].seen) {
            self.found.differs(
                Some(order_id),
                DifferenceKind::Doubled,
                "is in the fact table twice".to_owned(),
            );
            return;
        }
        let (no_order, no_payment) = (fact.order == OrderCells::default(), fact.payment.is_empty());
        if no_order && no_payment {
            let what = "has a row without an order and without a payment";
            self.found.differs(Some(order_id), DifferenceKind::Invented, what.to_owned());
        }
        let mut row = AuditedRow { seen: true, has_order: fact.has_order(), ..AuditedRow::default() };
        if !no_order {
            let values = order_cells(&fact.order);
            row.order = self.group(order_id, order, EventKind::Order, values, fact.order_written_at);
        }
        if !no_payment && fact.has_order() {
            let values = payment_cells(&fact.payment);
            row.payment = self.group(order_id, order, EventKind::Payment, values, fact.payment_written_at);
        }
        if !no_payment && !fact.has_order() {
            let what = "has a payment in the fact table, but no order".to_owned();
            self.found.differs(Some(order_id), DifferenceKind::PaymentWithoutOrder, what);
        }
        if let Some(order) = order {
            self.rows[order] = row;
        }
    }

    /// Marks the units whose values a column group shows, and returns it with the newest of them.
    fn group(
        &mut self,
        order_id: OrderId,
        order: Option<usize>,
        kind: EventKind,
        values: u64,
        written_at: Option<EventTime>,
    ) -> ColumnGroup {
        let shown = order.map(|order| self.units.showing(order, kind, values)).unwrap_or_default();
        shown.iter().for_each(|index| self.places[*index].current = true);
        if shown.is_empty() {
            self.unexplained(order_id, order, kind, written_at);
        } else if let Some(at) = written_at {
            self.event_time(Some(order_id), &shown, at, format_args!("its {} columns", kind.as_str()));
        }
        ColumnGroup { written_at, shows: shown.last().copied() }
    }

    /// Checks that one of these units has this event time.
    fn event_time(
        &mut self,
        order_id: Option<OrderId>,
        units: &[usize],
        at: EventTime,
        subject: std::fmt::Arguments<'_>,
    ) {
        if !units.iter().any(|index| self.units.may_be_at(*index, at)) {
            let what = format!("{subject}: no such message has the event time {}", at.micros());
            self.found.differs(order_id, DifferenceKind::WrongEventTime, what);
        }
    }

    /// Keeps a column group that shows no unit until a correction explains it.
    fn unexplained(
        &mut self,
        order_id: OrderId,
        order: Option<usize>,
        kind: EventKind,
        at: Option<EventTime>,
    ) {
        if !self.units.covers(kind) {
            return;
        }
        let published = order.is_some_and(|order| {
            self.units
                .of_order(order)
                .map(|index| self.units.unit(index))
                .any(|u| u.kind == kind && u.values.is_ok())
        });
        let (fault, what) = match (published, kind) {
            (true, EventKind::Order) => (DifferenceKind::Mixed, "its order columns show no published event"),
            (true, EventKind::Payment) => {
                (DifferenceKind::Mixed, "its payment columns show no published event")
            }
            (false, EventKind::Order) => {
                (DifferenceKind::Invented, "is in the fact table, but was not published")
            }
            (false, EventKind::Payment) => {
                (DifferenceKind::Invented, "has a payment, but none was published")
            }
        };
        self.keep_unexplained(at, kind, UnexplainedGroup { order_id, fault, what, is_current: true });
    }

    fn keep_unexplained(&mut self, at: Option<EventTime>, kind: EventKind, group: UnexplainedGroup) {
        match at {
            Some(at) if self.unexplained_count < UNEXPLAINED_LIMIT => {
                self.unexplained_count += 1;
                self.unexplained.entry((at, kind)).or_default().push(group);
            }
            _ => self.found.differs(Some(group.order_id), group.fault, group.what.to_owned()),
        }
    }

    /// Audits a dead letter.
    pub(super) fn dead_letter(&mut self, record: &DeadLetterRecord) {
        let (dead_letter, state) = (&record.dead_letter, record.state());
        if !self.units.covers(dead_letter.kind) || !self.units.may_be_event(dead_letter) {
            return;
        }
        *self.found.dead_letters.entry((dead_letter.reason, state)).or_default() += 1;
        let Some(index) = self.units.find(dead_letter.kind, &dead_letter.body) else {
            if dead_letter.attributes.get(CORRECTS).is_none() {
                let what = format!("dead letter {} has a body that was not published", dead_letter.id);
                self.found.differs(dead_letter.order_id, DifferenceKind::InventedDeadLetter, what);
            }
            return;
        };
        self.places[index].in_dead_letter_store |= state != DeadLetterState::Recovered;
        let unit = *self.units.unit(index);
        let id = &dead_letter.id;
        self.event_time(dead_letter.order_id, &[index], dead_letter.t, format_args!("dead letter {id}"));
        self.reason(&unit, record);
        self.evidence(index, &unit, record);
    }

    /// Checks that the reason is that of the body.
    fn reason(&mut self, unit: &Unit, record: &DeadLetterRecord) {
        let reason = record.dead_letter.reason;
        let (fits, wanted) = match (unit.values, unit.kind) {
            (Err(expected), _) => (reason == expected, expected.as_str()),
            (Ok(_), EventKind::Order) => (false, "none"),
            (Ok(_), EventKind::Payment) => (
                match reason {
                    Reason::OrderNotFound => true,
                    Reason::TimestampTie => self.has_other_payments(unit),
                    Reason::Undecodable | Reason::Invalid | Reason::PanDetected | Reason::HandlerFailed => {
                        false
                    }
                },
                "order_not_found or none",
            ),
        };
        if !fits {
            let what = format!("dead letter {} is {reason}, expected {wanted}", record.dead_letter.id);
            self.found.differs(known(unit.order_id), DifferenceKind::WrongReason, what);
        }
    }

    fn has_other_payments(&self, unit: &Unit) -> bool {
        let is_payment = |index| {
            let other = self.units.unit(index);
            other.kind == EventKind::Payment && other.values.is_ok()
        };
        self.units
            .order(unit.order_id)
            .is_some_and(|order| self.units.of_order(order).filter(|index| is_payment(*index)).count() > 1)
    }

    /// Checks that a recovered dead letter has an effect and an open one has none.
    fn evidence(&mut self, index: usize, unit: &Unit, record: &DeadLetterRecord) {
        let dead_letter = &record.dead_letter;
        let row = self.units.order(unit.order_id).map(|order| self.rows[order]).unwrap_or_default();
        let written_at = match unit.kind {
            EventKind::Order => row.order.written_at,
            EventKind::Payment => row.payment.written_at,
        };
        let shown = self.places[index].current && unit.values.is_ok();
        let superseded = row.has_order && written_at.is_some_and(|at| at > dead_letter.t);
        let applied = row.has_order && shown && written_at.is_some_and(|at| at >= dead_letter.t);
        let (kind, what) = match record.state() {
            DeadLetterState::Recovered if applied || (superseded && unit.values.is_ok()) => return,
            DeadLetterState::Recovered => {
                (DifferenceKind::RecoveredWithoutEffect, "is recovered, but its row does not show it")
            }
            DeadLetterState::Waiting | DeadLetterState::Parked if applied => {
                (DifferenceKind::OpenThoughApplied, "is open, but its row shows it")
            }
            DeadLetterState::Waiting | DeadLetterState::Parked
                if dead_letter.reason == Reason::OrderNotFound && row.has_order =>
            {
                (DifferenceKind::WaitingThoughOrderThere, "waits for its order, which is in the table")
            }
            DeadLetterState::Waiting | DeadLetterState::Parked | DeadLetterState::Discarded => return,
        };
        self.found.differs(
            known(unit.order_id),
            kind,
            format!("dead letter {} of {} {what}", dead_letter.id, name(unit)),
        );
    }

    /// Determines where every unit is and returns the result.
    pub(super) fn finish(mut self) -> Verification {
        for UnexplainedGroup { order_id, fault, what, .. } in
            std::mem::take(&mut self.unexplained).into_values().flatten()
        {
            self.found.differs(Some(order_id), fault, what.to_owned());
        }
        for order in 0..self.units.orders() {
            for index in self.units.of_order(order) {
                self.count_unit(order, index);
            }
        }
        self.found
    }

    /// Counts a unit where it is.
    fn count_unit(&mut self, order: usize, index: usize) {
        let (unit, row, places) = (*self.units.unit(index), self.rows[order], self.places[index]);
        let group = match unit.kind {
            EventKind::Order => row.order,
            EventKind::Payment => row.payment,
        };
        let shown = group.shows.map(|index| self.units.unit(index));
        let newer = shown.is_some_and(|shown| self.units.supersedes(shown, group.written_at, &unit));
        let counts = self.counts(unit.kind);
        counts.published += 1;
        counts.duplicates += u64::from(unit.copies);
        if places.current {
            counts.current += 1;
        } else if places.in_dead_letter_store {
            counts.dead_letter_store += 1;
        } else if unit.values.is_ok() && row.has_order && newer {
            counts.superseded += 1;
            self.must_be_kept(order, &unit, places);
        } else {
            counts.lost += 1;
            let (kind, why) = match unit.values {
                Err(reason) => (
                    DifferenceKind::Lost,
                    format!("must be in the dead-letter store as {reason}, but is not"),
                ),
                Ok(_) if shown.is_some() => {
                    (DifferenceKind::Stale, "is lost: its row shows an older one".to_owned())
                }
                Ok(_) if row.has_order => {
                    (DifferenceKind::Lost, "is lost: its row does not show it".to_owned())
                }
                Ok(_) => (
                    DifferenceKind::Lost,
                    "is neither in the fact table nor in the dead-letter store".to_owned(),
                ),
            };
            self.found.differs(known(self.units.order_id(order)), kind, format!("{} {why}", name(&unit)));
        }
    }

    fn counts(&mut self, kind: EventKind) -> &mut StreamCounts {
        match kind {
            EventKind::Order => &mut self.found.orders,
            EventKind::Payment => &mut self.found.payments,
        }
    }
}

/// Returns the name of a unit within its order.
fn name(unit: &Unit) -> String {
    let nth = unit.position;
    match (unit.values, unit.payment_id, unit.kind) {
        (Ok(_), Some(payment_id), _) => format!("payment {payment_id}"),
        (Ok(_), None, _) => format!("the order event at position {nth}"),
        (Err(_), _, kind) => format!("the bad {} message at position {nth}", kind.as_str()),
    }
}

/// Returns the order id unless it is unknown.
fn known(order_id: OrderId) -> Option<OrderId> {
    (order_id.0 != 0).then_some(order_id)
}
