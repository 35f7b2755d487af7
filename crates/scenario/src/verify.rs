//! Holds what was published against what the store has, to the unit.
//!
//! Each unit is, at quiescence, the first of: current (its row shows all its values), dead-letter store (a
//! dead letter not recovered), superseded (its order is there, and its row shows a newer event), lost.
//! And every row and every dead letter must map to a unit.

use std::collections::BTreeMap;

use futures_util::StreamExt;

use super::units::{Unit, Units, order_cells, payment_cells};
use super::verification::{Fault, StreamCounts, Verification};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind, HistoryAction};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_store::{DeadLetterStore, FactStore, Scan, StoreError};

/// How many column groups may wait for a correction that explains them.
const UNEXPLAINED_LIMIT: usize = 10_000;
/// How many corrections of one dead letter are looked for.
const CORRECTIONS: u32 = 16;
/// A correction names the dead letter it corrects.
const CORRECTS: &str = "dlq_corrects";

/// Reads all facts and all dead letters once and says where every unit ended. The pipeline must be at
/// rest, after a sweep of the dead-letter store; a unit still under way is told as lost.
pub async fn verify(
    units: &Units,
    facts: &dyn FactStore,
    dead_letter_store: &dyn DeadLetterStore,
) -> Result<Verification, StoreError> {
    let mut audit = Audit::new(units);
    let mut rows = facts.facts();
    while let Some(row) = rows.next().await {
        audit.row(&row?);
    }
    let mut dead_letters = dead_letter_store.dead_letters(Scan::ALL);
    while let Some(record) = dead_letters.next().await {
        let record = record?;
        audit.dead_letter(&record);
        if audit.may_explain(&record) && was_corrected(dead_letter_store, &record.dead_letter.id).await? {
            audit.correction(&record);
        }
    }
    for (order_id, kind, mut corrected) in std::mem::take(&mut audit.chains) {
        for _ in 0..CORRECTIONS {
            let Some(record) = dead_letter_store.dead_letter(&corrected).await? else { break };
            if let Some(index) = units.find(kind, &record.dead_letter.body) {
                audit.holds(order_id, kind, index);
                break;
            }
            let Some(of) = record.dead_letter.corrects else { break };
            corrected = of;
        }
    }
    Ok(audit.finish())
}

/// Whether the operator noted a correction of this dead letter.
async fn was_corrected(
    dead_letter_store: &dyn DeadLetterStore,
    id: &DeadLetterId,
) -> Result<bool, StoreError> {
    Ok(dead_letter_store
        .history(id)
        .await?
        .iter()
        .any(|entry| entry.action == HistoryAction::CorrectionResult))
}

/// What has been seen of one unit.
#[derive(Clone, Copy, Default)]
struct Seen {
    current: bool,
    in_dead_letter_store: bool,
}

/// What the table has of one order.
#[derive(Clone, Copy, Default)]
struct Row {
    seen: bool,
    has_order: bool,
    order: Group,
    payment: Group,
}

/// What one column group of a row shows.
#[derive(Clone, Copy, Default)]
struct Group {
    written_at: Option<EventTime>,
    /// The newest of the units whose values it shows.
    shows: Option<usize>,
}

/// A column group that shows no unit, until a correction explains it.
struct Unexplained {
    order_id: OrderId,
    fault: Fault,
    what: &'static str,
}

/// The pass over rows, then dead letters, then units. Its memory is bounded by the units.
struct Audit<'u> {
    units: &'u Units,
    seen: Vec<Seen>,
    rows: Vec<Row>,
    unexplained: BTreeMap<(EventTime, EventKind), Vec<Unexplained>>,
    unexplained_count: usize,
    /// Groups that show the correction of a correction: their order, and the dead letter to go on from.
    chains: Vec<(OrderId, EventKind, DeadLetterId)>,
    found: Verification,
}

impl<'u> Audit<'u> {
    fn new(units: &'u Units) -> Self {
        Self {
            units,
            seen: vec![Seen::default(); units.len()],
            rows: vec![Row::default(); units.orders()],
            unexplained: BTreeMap::new(),
            unexplained_count: 0,
            chains: Vec::new(),
            found: Verification::default(),
        }
    }

    fn row(&mut self, fact: &Fact) {
        self.found.rows += 1;
        let order_id = fact.order_id;
        let order = self.units.order(order_id);
        if order.is_some_and(|order| self.rows[order].seen) {
            self.found.differs(Some(order_id), Fault::Doubled, "in the table twice".to_owned());
            return;
        }
        let (no_order, no_payment) = (fact.order == OrderCells::default(), fact.payment.is_empty());
        if no_order && no_payment {
            let what = "a row without an order and without a payment";
            self.found.differs(Some(order_id), Fault::Invented, what.to_owned());
        }
        let mut row = Row { seen: true, has_order: fact.has_order(), ..Row::default() };
        if !no_order {
            row.order = Group {
                written_at: fact.order_written_at,
                shows: self.group(order, EventKind::Order, order_cells(&fact.order)),
            };
            if row.order.shows.is_none() {
                self.unexplained(order_id, order, EventKind::Order, fact.order_written_at);
            }
        }
        if !no_payment && fact.has_order() {
            row.payment = Group {
                written_at: fact.payment_written_at,
                shows: self.group(order, EventKind::Payment, payment_cells(&fact.payment)),
            };
            if row.payment.shows.is_none() {
                self.unexplained(order_id, order, EventKind::Payment, fact.payment_written_at);
            }
        }
        if !no_payment && !fact.has_order() {
            let what = "the table shows a payment without the order".to_owned();
            self.found.differs(Some(order_id), Fault::PaymentWithoutOrder, what);
        }
        if let Some(order) = order {
            self.rows[order] = row;
        }
    }

    /// Marks the units whose values a column group shows; the newest of them.
    fn group(&mut self, order: Option<usize>, kind: EventKind, values: u64) -> Option<usize> {
        let mut newest = None;
        for index in self.units.about(order?) {
            let unit = self.units.unit(index);
            if unit.kind == kind && unit.values == Ok(values) {
                self.seen[index].current = true;
                newest = Some(index);
            }
        }
        newest
    }

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
                .about(order)
                .map(|index| self.units.unit(index))
                .any(|u| u.kind == kind && u.values.is_ok())
        });
        let (fault, what) = match (published, kind) {
            (true, EventKind::Order) => (Fault::Mixed, "its order columns show no event published for it"),
            (true, EventKind::Payment) => {
                (Fault::Mixed, "its payment columns show no event published for it")
            }
            (false, EventKind::Order) => {
                (Fault::Invented, "in the table, though no such order was published")
            }
            (false, EventKind::Payment) => {
                (Fault::Invented, "has a payment, though none was published for it")
            }
        };
        match at {
            Some(at) if self.unexplained_count < UNEXPLAINED_LIMIT => {
                self.unexplained_count += 1;
                let group = Unexplained { order_id, fault, what };
                self.unexplained.entry((at, kind)).or_default().push(group);
            }
            _ => self.found.differs(Some(order_id), fault, what.to_owned()),
        }
    }

    fn dead_letter(&mut self, record: &DeadLetterRecord) {
        let (dead_letter, state) = (&record.dead_letter, record.state());
        if !self.units.covers(dead_letter.kind) {
            return;
        }
        *self.found.dead_letters.entry((dead_letter.reason, state)).or_default() += 1;
        let Some(index) = self.units.find(dead_letter.kind, &dead_letter.body) else {
            if dead_letter.attributes.get(CORRECTS).is_none() {
                let what = format!("dead letter {} holds a body that was never published", dead_letter.id);
                self.found.differs(dead_letter.order_id, Fault::InventedDeadLetter, what);
            }
            return;
        };
        self.seen[index].in_dead_letter_store |= state != DeadLetterState::Recovered;
        let unit = *self.units.unit(index);
        self.reason(&unit, record);
        self.evidence(index, &unit, record);
    }

    /// Whether a group without an explanation has a time that a correction of this dead letter would have.
    fn may_explain(&self, record: &DeadLetterRecord) -> bool {
        let dead_letter = &record.dead_letter;
        self.units.covers(dead_letter.kind)
            && (0..CORRECTIONS)
                .any(|nth| self.unexplained.contains_key(&(dead_letter.t.correction(nth), dead_letter.kind)))
    }

    /// A dead letter explains a group that shows its correction, whether it was discarded, recovered
    /// because the correction superseded it, or its operator was killed before it could discard it.
    fn correction(&mut self, record: &DeadLetterRecord) {
        let dead_letter = &record.dead_letter;
        for nth in 0..CORRECTIONS {
            let key = (dead_letter.t.correction(nth), dead_letter.kind);
            let Some(groups) = self.unexplained.get_mut(&key) else { continue };
            let wanted =
                |group: &Unexplained| dead_letter.order_id.is_none_or(|order_id| order_id == group.order_id);
            let Some(position) = groups.iter().position(wanted) else { continue };
            let group = groups.swap_remove(position);
            self.found.corrected += 1;
            match (self.units.find(dead_letter.kind, &dead_letter.body), &dead_letter.corrects) {
                (Some(index), _) => self.holds(group.order_id, dead_letter.kind, index),
                (None, Some(of)) => self.chains.push((group.order_id, dead_letter.kind, of.clone())),
                (None, None) => {}
            }
        }
    }

    /// A group shows the correction of this unit.
    fn holds(&mut self, order_id: OrderId, kind: EventKind, index: usize) {
        self.seen[index].current = true;
        let Some(order) = self.units.order(order_id) else { return };
        let row = &mut self.rows[order];
        match kind {
            EventKind::Order => row.order.shows = Some(index),
            EventKind::Payment => row.payment.shows = Some(index),
        }
    }

    /// The reason must be the body's own.
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
            self.found.differs(known(unit.order_id), Fault::WrongReason, what);
        }
    }

    fn has_other_payments(&self, unit: &Unit) -> bool {
        let is_payment = |index| {
            let other = self.units.unit(index);
            other.kind == EventKind::Payment && other.values.is_ok()
        };
        self.units
            .order(unit.order_id)
            .is_some_and(|order| self.units.about(order).filter(|index| is_payment(*index)).count() > 1)
    }

    /// A recovered dead letter needs an effect, an open one must have none.
    fn evidence(&mut self, index: usize, unit: &Unit, record: &DeadLetterRecord) {
        let dead_letter = &record.dead_letter;
        let row = self.units.order(unit.order_id).map(|order| self.rows[order]).unwrap_or_default();
        let written_at = match unit.kind {
            EventKind::Order => row.order.written_at,
            EventKind::Payment => row.payment.written_at,
        };
        let shown = self.seen[index].current && unit.values.is_ok();
        let superseded = row.has_order && written_at.is_some_and(|at| at > dead_letter.t);
        let applied = row.has_order && shown && written_at.is_some_and(|at| at >= dead_letter.t);
        let fault = match record.state() {
            DeadLetterState::Recovered if applied || (superseded && unit.values.is_ok()) => return,
            DeadLetterState::Recovered => {
                (Fault::RecoveredWithoutEffect, "is recovered, but its row does not show it")
            }
            DeadLetterState::Waiting | DeadLetterState::Parked if applied => {
                (Fault::OpenThoughApplied, "is open, but its row shows it")
            }
            DeadLetterState::Waiting | DeadLetterState::Parked
                if dead_letter.reason == Reason::OrderNotFound && row.has_order =>
            {
                (Fault::WaitingThoughOrderThere, "waits for its order, which is in the table")
            }
            DeadLetterState::Waiting | DeadLetterState::Parked | DeadLetterState::Discarded => return,
        };
        let (fault, what) = fault;
        self.found.differs(
            known(unit.order_id),
            fault,
            format!("dead letter {} of {} {what}", dead_letter.id, name(unit)),
        );
    }

    fn finish(mut self) -> Verification {
        for Unexplained { order_id, fault, what } in
            std::mem::take(&mut self.unexplained).into_values().flatten()
        {
            self.found.differs(Some(order_id), fault, what.to_owned());
        }
        for order in 0..self.units.orders() {
            for index in self.units.about(order) {
                self.settle(order, index);
            }
        }
        self.found
    }

    /// Where a unit ended.
    fn settle(&mut self, order: usize, index: usize) {
        let (unit, row, seen) = (*self.units.unit(index), self.rows[order], self.seen[index]);
        let group = match unit.kind {
            EventKind::Order => row.order,
            EventKind::Payment => row.payment,
        };
        let held = group.shows.map(|shown| self.units.unit(shown));
        let newer = held.is_some_and(|held| self.units.replaces(held, group.written_at, &unit));
        let counts = self.counts(unit.kind);
        counts.published += 1;
        counts.duplicates += u64::from(unit.copies);
        if seen.current {
            counts.current += 1;
        } else if seen.in_dead_letter_store {
            counts.dead_letter_store += 1;
        } else if unit.values.is_ok() && row.has_order && newer {
            counts.superseded += 1;
        } else {
            counts.lost += 1;
            let (fault, why) = match unit.values {
                Err(reason) => {
                    (Fault::Lost, format!("must be in the dead-letter store as {reason}, but is not"))
                }
                Ok(_) if held.is_some() => (Fault::Stale, "is lost: its row shows an older one".to_owned()),
                Ok(_) if row.has_order => (Fault::Lost, "is lost: its row does not show it".to_owned()),
                Ok(_) => (Fault::Lost, "is neither in the table nor in the dead-letter store".to_owned()),
            };
            self.found.differs(known(self.units.order_id(order)), fault, format!("{} {why}", name(&unit)));
        }
    }

    fn counts(&mut self, kind: EventKind) -> &mut StreamCounts {
        match kind {
            EventKind::Order => &mut self.found.orders,
            EventKind::Payment => &mut self.found.payments,
        }
    }
}

/// What a unit is called within its order.
fn name(unit: &Unit) -> String {
    let nth = unit.position;
    match (unit.values, unit.payment_id, unit.kind) {
        (Ok(_), Some(payment_id), _) => format!("payment {payment_id}"),
        (Ok(_), None, _) => format!("the order event published as number {nth}"),
        (Err(_), _, kind) => format!("the bad {} message published as number {nth}", kind.as_str()),
    }
}

fn known(order_id: OrderId) -> Option<OrderId> {
    (order_id.0 != 0).then_some(order_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Plan;
    use crate::manifest::{Manifest, Source, Streams};
    use crate::memory::{Memory, Message, published};
    use crate::mixture::Mixture;
    use crate::planned::Content;
    use crate::reference::Reference;
    use bytes::Bytes;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::seq::SliceRandom;

    const STARTED: i64 = 1_700_000_000_000_000;

    fn scenario(seed: u64, orders: i64, mixture: Mixture) -> Manifest {
        let plan = Plan::try_new(seed, 1..=orders, mixture).expect("a sound plan");
        Manifest::new(Streams::Both, Source::Scenario(plan), "run".to_owned(), STARTED)
    }

    fn rough() -> Mixture {
        Mixture {
            late_orders: 0.2,
            missing_orders: 0.2,
            duplicates: 0.3,
            order_updates: 0.4,
            second_payments: 0.4,
            invalid: 0.3,
            late_by: 10,
        }
    }

    /// Table and dead-letter store after these runs, their messages taken in an order of randomness.
    fn settled(manifests: &[Manifest], shuffle: u64) -> (Memory, Vec<Message>) {
        let mut messages: Vec<Message> = manifests.iter().flat_map(published).collect();
        messages.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(shuffle));
        let mut memory = Memory::default();
        messages.iter().for_each(|message| memory.take(message));
        memory.sweep(&messages);
        (memory, messages)
    }

    fn verified(manifests: &[Manifest], memory: &Memory) -> Verification {
        let decode = |_: EventKind, _: &Bytes| Content::Rejected(Reason::Invalid);
        let units = Units::of(manifests, decode).expect("bounded runs");
        verify(&units, memory, memory).now_or_never().expect("memory never waits").expect("nor fails")
    }

    /// What `verify` says after this was done to a clean table and dead-letter store.
    fn spoilt(spoil: impl FnOnce(&mut Memory, &[Message])) -> Verification {
        let runs = [scenario(1, 200, rough())];
        let (mut memory, messages) = settled(&runs, 9);
        assert!(verified(&runs, &memory).is_clean());
        spoil(&mut memory, &messages);
        verified(&runs, &memory)
    }

    fn faults(found: &Verification) -> Vec<(Fault, u64)> {
        found.faults.iter().map(|(fault, count)| (*fault, *count)).collect()
    }

    /// The first row that has this.
    fn row_with(memory: &mut Memory, has: impl Fn(&Fact) -> bool) -> &mut Fact {
        memory.facts.values_mut().find(|fact| has(fact)).expect("such a row")
    }

    fn dead_letter_with(memory: &Memory, reason: Reason, state: DeadLetterState) -> DeadLetterRecord {
        let wanted =
            |record: &&DeadLetterRecord| record.dead_letter.reason == reason && record.state() == state;
        memory.dead_letters.values().find(wanted).expect("such a dead letter").clone()
    }

    #[test]
    fn every_unit_of_a_clean_run_is_accounted_for() {
        let runs = [scenario(1, 200, rough())];
        let (memory, _) = settled(&runs, 3);
        let found = verified(&runs, &memory);
        assert!(found.is_clean(), "{found}");
        for counts in [found.orders, found.payments] {
            assert_eq!(counts.published, counts.current + counts.superseded + counts.dead_letter_store);
            assert!(
                counts.current > 100 && counts.superseded > 20 && counts.dead_letter_store > 20,
                "{counts}"
            );
            assert!(counts.duplicates > 20, "{counts}");
        }
        assert_eq!(found.rows, found.orders.current);
        let lines = found.to_string();
        assert!(lines.ends_with("clean: nothing lost, nothing invented, nothing mixed"), "{lines}");
    }

    #[test]
    fn an_empty_store_has_lost_everything() {
        let runs = [scenario(1, 200, rough())];
        let found = verified(&runs, &Memory::default());
        assert_eq!(found.difference_count(), found.orders.published + found.payments.published);
        assert_eq!(found.differences.len(), 100);
        assert_eq!(found.orders.lost, found.orders.published);
        assert!(found.to_string().contains("more"), "{found}");
    }

    #[test]
    fn a_lost_order_is_found() {
        let found = spoilt(|memory, _| {
            let plain = memory.facts.values().find(|fact| fact.payment.is_empty()).map(|fact| fact.order_id);
            assert_eq!(plain, None, "every order has a payment");
            let order_id = memory.facts.values().next().expect("a row").order_id;
            memory.facts.remove(&order_id);
        });
        assert!(found.orders.lost >= 1 && found.payments.lost >= 1, "{found}");
        assert!(
            found.faults.keys().all(|fault| [Fault::Lost, Fault::RecoveredWithoutEffect].contains(fault))
        );
    }

    #[test]
    fn a_lost_payment_is_found() {
        let found = spoilt(|memory, messages| {
            let ids = unparked_singles(memory, messages);
            let row = row_with(memory, |fact| ids.contains(&fact.order_id));
            (row.payment, row.payment_written_at) = Default::default();
        });
        assert_eq!(faults(&found), [(Fault::Lost, 1)], "{found}");
        assert_eq!((found.orders.lost, found.payments.lost), (0, 1));
    }

    /// Orders in the table with one payment that never was in the dead-letter store.
    fn unparked_singles(memory: &Memory, messages: &[Message]) -> Vec<OrderId> {
        let payments_of = |order_id| {
            let is_its = |m: &&Message| matches!(&m.content, Content::Payment(p) if p.order_id == order_id);
            let mut bodies: Vec<&Bytes> = messages.iter().filter(is_its).map(|m| &m.body).collect();
            bodies.sort();
            bodies.dedup();
            bodies.len()
        };
        let in_dead_letter_store =
            |order_id| memory.dead_letters.values().any(|r| r.dead_letter.order_id == Some(order_id));
        let ids = memory.facts.keys().copied();
        ids.filter(|order_id| payments_of(*order_id) == 1 && !in_dead_letter_store(*order_id)).collect()
    }

    #[test]
    fn a_mixed_row_is_found_in_either_group() {
        let found = spoilt(|memory, messages| {
            let ids = unparked_singles(memory, messages);
            let row = row_with(memory, |fact| ids.contains(&fact.order_id));
            row.payment.card_last_four = match row.payment.card_last_four {
                Some(_) => None,
                None => Some("1234".to_owned()),
            };
        });
        assert_eq!(faults(&found), [(Fault::Lost, 1), (Fault::Mixed, 1)], "{found}");
        let found = spoilt(|memory, _| {
            row_with(memory, Fact::has_order).order.shipping_address = None;
        });
        assert_eq!(found.faults.get(&Fault::Mixed), Some(&1), "{found}");
    }

    #[test]
    fn a_stale_row_is_found() {
        let found = spoilt(|memory, messages| {
            let stale = messages.iter().find_map(|message| match &message.content {
                Content::Order(order) => {
                    let row = memory.facts.get(&order.order_id)?;
                    (row.order_written_at > Some(message.t)).then(|| (order.clone(), message.t))
                }
                _ => None,
            });
            let (order, t) = stale.expect("a superseded order event");
            let row = row_with(memory, |fact| fact.order_id == order.order_id);
            (row.order, row.order_written_at) = (OrderCells::from(&order), Some(t));
        });
        assert_eq!(faults(&found), [(Fault::Stale, 1)], "{found}");
        assert_eq!(found.orders.lost, 1);
    }

    #[test]
    fn invented_rows_are_found_whatever_is_in_them() {
        let found = spoilt(|memory, _| {
            let mut row = memory.facts.values().next().expect("a row").clone();
            row.order_id = OrderId(99_999);
            memory.facts.insert(row.order_id, row.clone());
            row = Fact { order_id: OrderId(-5), order: OrderCells::default(), ..row };
            memory.facts.insert(row.order_id, row.clone());
            row = Fact { order_id: OrderId(0), payment: Default::default(), ..row };
            memory.facts.insert(row.order_id, row);
        });
        assert_eq!(faults(&found), [(Fault::Invented, 3), (Fault::PaymentWithoutOrder, 1)], "{found}");
    }

    #[test]
    fn the_order_of_a_missing_order_is_invented() {
        let found = spoilt(|memory, _| {
            let missing = dead_letter_with(memory, Reason::OrderNotFound, DeadLetterState::Waiting)
                .dead_letter
                .order_id;
            let mut row = memory.facts.values().next().expect("a row").clone();
            row.order_id = missing.expect("readable");
            (row.payment, row.payment_written_at) = Default::default();
            memory.facts.insert(row.order_id, row);
        });
        assert_eq!(found.faults.get(&Fault::Invented), Some(&1), "{found}");
        assert!(found.faults.contains_key(&Fault::WaitingThoughOrderThere), "{found}");
    }

    #[test]
    fn one_streams_manifest_says_nothing_about_the_other_stream() {
        let both = scenario(1, 200, rough());
        let (memory, _) = settled(std::slice::from_ref(&both), 9);
        for streams in [Streams::Orders, Streams::Payments] {
            let alone = Manifest { kind: streams, ..both.clone() };
            let found = verified(&[alone], &memory);
            assert!(found.is_clean(), "{streams:?}: {found}");
        }
    }

    #[test]
    fn a_dead_letter_nobody_published_is_found() {
        let found = spoilt(|memory, messages| {
            let message = Message { body: Bytes::from_static(b"{\"invented\":1}"), ..messages[0].clone() };
            memory.dead_letter(&message, Reason::Invalid, None);
        });
        assert_eq!(faults(&found), [(Fault::InventedDeadLetter, 1)], "{found}");
    }

    #[test]
    fn a_dead_letter_recovered_without_effect_is_found() {
        let found = spoilt(|memory, _| {
            let waiting = dead_letter_with(memory, Reason::OrderNotFound, DeadLetterState::Waiting);
            memory.state(&waiting.dead_letter.id, DeadLetterState::Recovered);
        });
        assert_eq!(faults(&found), [(Fault::Lost, 1), (Fault::RecoveredWithoutEffect, 1)], "{found}");
        let found = spoilt(|memory, _| {
            let poison = dead_letter_with(memory, Reason::Invalid, DeadLetterState::Parked);
            memory.state(&poison.dead_letter.id, DeadLetterState::Recovered);
        });
        assert_eq!(faults(&found), [(Fault::Lost, 1), (Fault::RecoveredWithoutEffect, 1)], "{found}");
    }

    #[test]
    fn an_open_dead_letter_that_is_applied_is_found() {
        let found = spoilt(|memory, _| {
            let shows = |record: &DeadLetterRecord| {
                let row = record.dead_letter.order_id.and_then(|order_id| memory.facts.get(&order_id));
                row.is_some_and(|row| row.payment_written_at == Some(record.dead_letter.t))
            };
            let applied = memory
                .dead_letters
                .values()
                .find(|record| shows(record))
                .expect("one")
                .dead_letter
                .id
                .clone();
            memory.state(&applied, DeadLetterState::Parked);
        });
        assert_eq!(faults(&found), [(Fault::OpenThoughApplied, 1)], "{found}");
        assert_eq!(found.payments.lost, 0);
    }

    #[test]
    fn a_wrong_reason_and_a_refused_good_message_are_found() {
        let found = spoilt(|memory, messages| {
            let poison = dead_letter_with(memory, Reason::Invalid, DeadLetterState::Parked);
            memory.dead_letters.get_mut(&poison.dead_letter.id).expect("there").dead_letter.reason =
                Reason::HandlerFailed;
            let good = messages.iter().find(|message| matches!(message.content, Content::Order(_)));
            memory.dead_letter(good.expect("an order"), Reason::Invalid, None);
        });
        assert_eq!(faults(&found), [(Fault::WrongReason, 2), (Fault::OpenThoughApplied, 1)], "{found}");
    }

    #[test]
    fn a_bad_message_missing_from_the_dead_letter_store_is_lost() {
        let found = spoilt(|memory, _| {
            let poison = dead_letter_with(memory, Reason::Undecodable, DeadLetterState::Parked);
            memory.dead_letters.remove(&poison.dead_letter.id);
        });
        assert_eq!(faults(&found), [(Fault::Lost, 1)], "{found}");
    }

    #[test]
    fn a_discarded_dead_letter_still_holds_its_message() {
        let found = spoilt(|memory, _| {
            for reason in [Reason::Undecodable, Reason::OrderNotFound] {
                let open = if reason == Reason::OrderNotFound {
                    DeadLetterState::Waiting
                } else {
                    DeadLetterState::Parked
                };
                let dead_letter = dead_letter_with(memory, reason, open);
                memory.state(&dead_letter.dead_letter.id, DeadLetterState::Discarded);
            }
        });
        assert!(found.is_clean(), "{found}");
    }

    #[test]
    fn a_correction_explains_the_row_that_shows_it() {
        let correct = |memory: &mut Memory, messages: &[Message], nth, noted| {
            let ids = unparked_singles(memory, messages);
            let order_id = ids[0];
            let bad = messages.iter().find(|m| {
                let about = m.kind == EventKind::Payment && matches!(m.content, Content::Rejected(_));
                about && Some(m.t) > memory.facts[&order_id].payment_written_at
            });
            let bad = bad.expect("a later bad payment");
            let bad_id = DeadLetterId::of(bad.kind, bad.t, &bad.body);
            memory.state(&bad_id, DeadLetterState::Discarded);
            if noted {
                memory.corrected.insert(bad_id);
            }
            let row = row_with(memory, |fact| fact.order_id == order_id);
            row.payment.payment_id = Some(4_711);
            row.payment_written_at = Some(bad.t.correction(nth));
        };
        let found = spoilt(|memory, messages| correct(memory, messages, 2, true));
        assert_eq!(found.corrected, 1, "{found}");
        assert!(!found.faults.contains_key(&Fault::Mixed), "{found}");
        let found = spoilt(|memory, messages| correct(memory, messages, 99, true));
        assert_eq!(found.faults.get(&Fault::Mixed), Some(&1), "{found}");
        let found = spoilt(|memory, messages| correct(memory, messages, 2, false));
        assert_eq!(found.faults.get(&Fault::Mixed), Some(&1), "nobody corrected it: {found}");
    }

    #[test]
    fn a_second_run_replaces_the_first_and_its_loss_is_seen() {
        let first = scenario(1, 50, Mixture::PLAIN);
        let second = Manifest { started_at_us: STARTED + 1_000_000, ..scenario(2, 50, Mixture::PLAIN) };
        let runs = [second, first.clone()];
        let (memory, _) = settled(&runs, 5);
        let found = verified(&runs, &memory);
        assert!(found.is_clean(), "{found}");
        assert_eq!((found.orders.superseded, found.payments.superseded), (50, 50));
        let (memory, _) = settled(&[first], 5);
        assert_eq!(verified(&runs, &memory).orders.lost, 50);
    }

    #[test]
    fn the_references_streams_leave_most_payments_in_the_dead_letter_store() {
        let source = Source::Reference(Reference { seed: 1, count: Some(200) });
        let runs = [Manifest::new(Streams::Both, source, "run".to_owned(), STARTED)];
        let (memory, _) = settled(&runs, 5);
        let found = verified(&runs, &memory);
        assert!(found.is_clean(), "{found}");
        assert_eq!((found.orders.current, found.orders.superseded), (80, 120));
        assert_eq!((found.payments.current, found.payments.dead_letter_store), (80, 120));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_the_rules_leave_behind_is_clean(seed: u64, shuffle: u64, orders in 1i64..120, cycles in 1u64..3, shares in proptest::array::uniform6(0.0f64..1.0)) {
            let [late_orders, missing_orders, duplicates, order_updates, second_payments, invalid] = shares;
            let mixture = Mixture { late_orders, missing_orders, duplicates, order_updates, second_payments, invalid, late_by: 7 };
            let count = orders.unsigned_abs() * cycles;
            let plan = Plan::try_new(seed, 1..=orders, mixture).expect("sound").cycling().stopping_after(count);
            let runs = [Manifest::new(Streams::Both, Source::Scenario(plan), "run".to_owned(), STARTED)];
            let (memory, _) = settled(&runs, shuffle);
            let found = verified(&runs, &memory);
            prop_assert!(found.is_clean(), "{}", found);
        }
    }
}
