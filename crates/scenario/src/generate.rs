//! The two streams of a scenario, generated lazily: only the ids of late orders are kept in memory.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::case::OrderCase;
use crate::mixture::{Mixture, MixtureError};
use crate::planned::PlannedEvent;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::OrderId;

/// The largest order id of a scenario. Payment ids are ten times as large, and none may look like a card
/// number.
pub const LARGEST_ORDER_ID: i64 = 10_000_000_000;

/// The maximum distance of a copy from the first message of its event, in messages of the stream. A producer
/// has to remember the event ids and times of as many messages.
pub const MAX_COPY_DISTANCE: u64 = 2;

/// The plan of a scenario. Equal plans publish equal messages.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "UncheckedPlan", into = "UncheckedPlan")]
pub struct ScenarioPlan {
    seed: u64,
    first: i64,
    last: i64,
    mixture: Mixture,
    cycle: bool,
    count: Option<u64>,
}

/// A plan in a manifest, before validation.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedPlan {
    seed: u64,
    first: i64,
    last: i64,
    mixture: Mixture,
    #[serde(default)]
    cycle: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// An invalid plan.
#[derive(thiserror::Error, Clone, PartialEq, Debug)]
pub enum PlanError {
    /// The range of order ids is empty or exceeds the bounds.
    #[error("orders {first} to {last}: order ids must ascend, from at least 1 to at most {LARGEST_ORDER_ID}")]
    Orders {
        /// The first order id.
        first: i64,
        /// The last order id.
        last: i64,
    },
    /// A share of the mixture is out of bounds.
    #[error("mixture: {0}")]
    Mixture(#[from] MixtureError),
}

impl ScenarioPlan {
    /// Creates the plan of a scenario that visits each order id once.
    ///
    /// # Errors
    /// If the order ids or the mixture are out of bounds.
    pub fn try_new(seed: u64, orders: RangeInclusive<i64>, mixture: Mixture) -> Result<Self, PlanError> {
        let (first, last) = orders.into_inner();
        if first < 1 || last < first || last > LARGEST_ORDER_ID {
            return Err(PlanError::Orders { first, last });
        }
        Ok(Self { seed, first, last, mixture: mixture.validated()?, cycle: false, count: None })
    }

    /// Starts again with the first order id after the last, publishing equal values as new events.
    #[must_use]
    pub fn cycling(mut self) -> Self {
        self.cycle = true;
        self
    }

    /// Stops after this many order ids, counted in every cycle. That is not the number of messages: a missing
    /// order has none, an updated order has two.
    #[must_use]
    pub fn stopping_after(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Returns whether it ends.
    pub fn is_bounded(&self) -> bool {
        !self.cycle || self.count.is_some()
    }

    /// Returns the number of order ids that it visits, or `None` if it never ends.
    pub fn len(&self) -> Option<u64> {
        let span = self.last.abs_diff(self.first) + 1;
        match (self.cycle, self.count) {
            (true, count) => count,
            (false, Some(count)) => Some(count.min(span)),
            (false, None) => Some(span),
        }
    }

    /// Returns whether it visits no order id.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Returns the order id at this position.
    fn order_id(&self, position: u64) -> OrderId {
        let span = self.last.abs_diff(self.first) + 1;
        OrderId(self.first.saturating_add_unsigned(position % span))
    }

    fn case(&self, order_id: OrderId) -> OrderCase {
        OrderCase::of(self.seed, &self.mixture, order_id)
    }
}

impl TryFrom<UncheckedPlan> for ScenarioPlan {
    type Error = PlanError;

    fn try_from(plan: UncheckedPlan) -> Result<Self, PlanError> {
        let checked = Self::try_new(plan.seed, plan.first..=plan.last, plan.mixture)?;
        Ok(Self { cycle: plan.cycle, count: plan.count, ..checked })
    }
}

impl From<ScenarioPlan> for UncheckedPlan {
    fn from(ScenarioPlan { seed, first, last, mixture, cycle, count }: ScenarioPlan) -> Self {
        Self { seed, first, last, mixture, cycle, count }
    }
}

/// Returns the messages on the orders topic, in publishing order.
pub fn order_events(plan: &ScenarioPlan) -> impl Iterator<Item = PlannedEvent> + Send + use<> {
    numbered(OrderCases::of(plan), OrderCase::order_events)
}

/// Returns the messages on the payments topic, in publishing order.
pub fn payment_events(plan: &ScenarioPlan) -> impl Iterator<Item = PlannedEvent> + Send + use<> {
    numbered(payment_cases(plan), OrderCase::payment_events)
}

/// Returns the order id of each message of this kind, in publishing order, without generating the messages.
pub fn order_ids(plan: &ScenarioPlan, kind: EventKind) -> Box<dyn Iterator<Item = OrderId> + Send> {
    let ids = move |case: OrderCase| std::iter::repeat_n(case.order_id, case.messages(kind));
    match kind {
        EventKind::Order => Box::new(OrderCases::of(plan).flat_map(ids)),
        EventKind::Payment => Box::new(payment_cases(plan).flat_map(ids)),
    }
}

/// Returns the messages of these cases, with positions in the stream.
fn numbered<C>(
    cases: C,
    events: fn(&OrderCase) -> Vec<PlannedEvent>,
) -> impl Iterator<Item = PlannedEvent> + Send + use<C>
where
    C: Iterator<Item = OrderCase> + Send,
{
    let mut count = 0;
    cases.flat_map(move |case| {
        let events = events(&case);
        let base = count;
        count += events.len() as u64;
        events.into_iter().map(move |planned| planned.at(base))
    })
}

/// Returns the cases in the order in which their payments are published.
fn payment_cases(plan: &ScenarioPlan) -> impl Iterator<Item = OrderCase> + Send + use<> {
    let plan = plan.clone();
    (0..plan.len().unwrap_or(u64::MAX)).map(move |position| plan.case(plan.order_id(position)))
}

/// The cases in the order in which their orders are published. Late orders are kept as (position, id).
struct OrderCases {
    plan: ScenarioPlan,
    position: u64,
    late: VecDeque<(u64, OrderId)>,
}

impl OrderCases {
    fn of(plan: &ScenarioPlan) -> Self {
        Self { plan: plan.clone(), position: 0, late: VecDeque::new() }
    }
}

impl Iterator for OrderCases {
    type Item = OrderCase;

    fn next(&mut self) -> Option<OrderCase> {
        loop {
            let ended = self.plan.len().is_some_and(|len| self.position >= len);
            match self.late.front() {
                Some((due, _)) if ended || *due <= self.position => {
                    let (_, order_id) = self.late.pop_front()?;
                    return Some(self.plan.case(order_id));
                }
                _ if ended => return None,
                _ => {
                    let case = self.plan.case(self.plan.order_id(self.position));
                    self.position += 1;
                    if !case.late {
                        return Some(case);
                    }
                    let due = self.position.saturating_add(self.plan.mixture.late_by);
                    self.late.push_back((due, case.order_id));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invalid::Defect;
    use crate::planned::EventContent;
    use crate::reference::Reference;
    use ecom_domain::reason::Reason;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};
    use std::collections::{BTreeMap, BTreeSet};

    fn plan(orders: RangeInclusive<i64>, mixture: Mixture) -> ScenarioPlan {
        ScenarioPlan::try_new(7, orders, mixture).expect("a valid plan")
    }

    /// A mixture with high shares.
    fn rough() -> Mixture {
        Mixture {
            late_orders: 0.2,
            missing_orders: 0.1,
            duplicates: 0.3,
            order_updates: 0.3,
            second_payments: 0.3,
            invalid: 0.3,
            late_by: 20,
        }
    }

    fn digest(events: impl Iterator<Item = PlannedEvent>) -> String {
        let mut hash = Sha256::new();
        for planned in events {
            hash.update(&planned.body);
            hash.update(planned.event.to_be_bytes());
        }
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_seed_always_gives_the_same_bytes() {
        let plan = plan(1..=500, rough());
        assert_eq!(digest(order_events(&plan)), "9dab8ff25c443c5b");
        assert_eq!(digest(payment_events(&plan)), "9a31f64355782c7f");
    }

    #[test]
    fn order_ids_agree_with_the_messages() {
        let plan = plan(1..=500, rough());
        let ids_of = |events: Vec<PlannedEvent>| -> Vec<OrderId> {
            events.into_iter().map(|planned| planned.order_id.expect("each has an order id")).collect()
        };
        let orders = ids_of(order_events(&plan).collect());
        assert_eq!(order_ids(&plan, EventKind::Order).collect::<Vec<_>>(), orders);
        let payments = ids_of(payment_events(&plan).collect());
        assert_eq!(order_ids(&plan, EventKind::Payment).collect::<Vec<_>>(), payments);
    }

    #[test]
    fn a_part_of_the_range_has_the_same_messages_as_in_the_whole() {
        let bodies = |orders| -> BTreeMap<_, Vec<_>> {
            let plan = plan(orders, rough());
            let mut bodies = BTreeMap::<_, Vec<_>>::new();
            for planned in order_events(&plan).chain(payment_events(&plan)) {
                bodies.entry((planned.order_id, planned.kind)).or_default().push(planned.body);
            }
            bodies
        };
        let whole = bodies(1..=200);
        for (key, part) in bodies(90..=130) {
            assert_eq!(whole[&key], part, "{key:?}");
        }
    }

    #[test]
    fn a_late_order_is_published_late_by_orders_after_its_turn_or_at_the_end() {
        let plan = plan(1..=1_000, Mixture { late_orders: 0.1, late_by: 30, ..Mixture::PLAIN });
        let ids: Vec<i64> = order_events(&plan).filter_map(|p| p.order_id).map(|id| id.0).collect();
        assert_eq!(ids.len(), 1_000);
        let late: BTreeSet<i64> = (1..=1_000).filter(|id| plan.case(OrderId(*id)).late).collect();
        assert!((60..140).contains(&late.len()), "{}", late.len());
        for (position, id) in ids.iter().enumerate() {
            let after: Vec<&i64> = ids[..position].iter().filter(|other| !late.contains(other)).collect();
            let ahead = after.iter().filter(|other| **other > id).count();
            match late.contains(id) {
                true if id + 30 <= 1_000 => {
                    assert!(ids[..position].contains(&(id + 30)) || late.contains(&(id + 30)), "{id}");
                    assert!((20..=30).contains(&ahead), "{id} came after {ahead}");
                }
                true => assert!(position > 900),
                false => assert_eq!(ahead, 0),
            }
        }
    }

    #[test]
    fn shares_are_close_to_the_mixture() {
        let mixture = Mixture::default();
        let cases: Vec<OrderCase> = (1..=20_000).map(|id| OrderCase::of(3, &mixture, OrderId(id))).collect();
        let share =
            |is: fn(&OrderCase) -> bool| cases.iter().filter(|case| is(case)).count() as f64 / 20_000.0;
        for (is, asked) in [
            ((|case| case.missing) as fn(&OrderCase) -> bool, mixture.missing_orders),
            (|case| case.late, mixture.late_orders),
            (|case| case.order_duplicate, mixture.duplicates),
            (|case| case.payment_duplicate, mixture.duplicates),
            (|case| case.order_update, mixture.order_updates),
            (|case| case.second_payment, mixture.second_payments),
            (|case| case.invalid_order.is_some(), mixture.invalid),
            (|case| case.invalid_payment.is_some(), mixture.invalid),
        ] {
            assert!((share(is) - asked).abs() < asked * 0.25, "asked {asked}, got {}", share(is));
        }
    }

    #[test]
    fn bodies_are_distinct_per_kind_except_for_copies() {
        let plan = plan(1..=3_000, Mixture { invalid: 1.0, ..rough() });
        let mut bodies = BTreeSet::new();
        for planned in order_events(&plan).chain(payment_events(&plan)).filter(|p| !p.is_copy()) {
            let text = String::from_utf8_lossy(&planned.body).into_owned();
            assert!(bodies.insert((planned.kind, planned.body)), "{text}");
        }
    }

    #[test]
    fn the_decoder_reads_every_body_as_planned() {
        let plan = plan(1..=2_000, Mixture { invalid: 1.0, ..rough() });
        let reference = Reference { seed: 7, count: Some(500) };
        let scenario = order_events(&plan).chain(payment_events(&plan));
        for planned in scenario.chain(reference.order_events()).chain(reference.payment_events()) {
            let text = String::from_utf8_lossy(&planned.body);
            assert_eq!(EventContent::of(planned.kind, &planned.body), planned.content, "{text}");
        }
    }

    #[test]
    fn only_bodies_with_a_card_defect_have_a_card_number() {
        let orders = LARGEST_ORDER_ID - 2_000..=LARGEST_ORDER_ID;
        let plan = plan(orders, Mixture { invalid: 1.0, ..rough() });
        for planned in order_events(&plan).chain(payment_events(&plan)) {
            let text = String::from_utf8_lossy(&planned.body);
            if let EventContent::Masked(masked) = &planned.content {
                assert_eq!(ecom_card_numbers::find(&planned.body).len(), 1, "{text}");
                assert!(ecom_card_numbers::find(masked).is_empty());
                continue;
            }
            let longest = text
                .split(|c: char| !matches!(c, '0'..='9' | ' ' | '-'))
                .map(|run| run.chars().filter(char::is_ascii_digit).count());
            assert!(longest.max() < Some(13), "{text}");
        }
    }

    #[test]
    fn every_defect_occurs_and_has_the_form_that_its_reason_says() {
        let plan = plan(1..=1_000, Mixture { invalid: 1.0, ..Mixture::PLAIN });
        let mut reasons = BTreeSet::new();
        for planned in order_events(&plan).chain(payment_events(&plan)) {
            let parsed = serde_json::from_slice::<serde_json::Value>(&planned.body);
            let is_object = parsed.is_ok_and(|value| value.is_object());
            let text = String::from_utf8_lossy(&planned.body);
            match planned.content {
                EventContent::Rejected(Reason::Undecodable) => assert!(!is_object, "{text}"),
                EventContent::Masked(_) => {}
                _ => assert!(is_object, "{text}"),
            }
            match planned.content {
                EventContent::Rejected(reason) => reasons.insert((planned.kind, reason)),
                EventContent::Masked(_) => reasons.insert((planned.kind, Reason::PanDetected)),
                EventContent::Order(_) | EventContent::Payment(_) | EventContent::Foreign => false,
            };
        }
        assert_eq!(reasons.len(), 6);
        let cases: Vec<OrderCase> = (1..=1_000).map(|id| plan.case(OrderId(id))).collect();
        let orders: BTreeSet<Defect> = cases.iter().filter_map(|case| case.invalid_order).collect();
        let payments: BTreeSet<Defect> = cases.iter().filter_map(|case| case.invalid_payment).collect();
        for (kind, occurring) in [(EventKind::Order, orders), (EventKind::Payment, payments)] {
            assert_eq!(Defect::all(kind).count(), Defect::COUNT);
            assert_eq!(occurring, Defect::all(kind).collect());
        }
    }

    #[test]
    fn a_copy_has_the_body_of_the_first_message_and_follows_within_the_maximum_distance() {
        let plan = plan(1..=500, rough());
        let streams: [Vec<PlannedEvent>; 2] =
            [order_events(&plan).collect(), payment_events(&plan).collect()];
        for stream in streams {
            let mut bodies = BTreeMap::new();
            let mut copies = 0;
            for planned in stream {
                assert!(planned.sequence - planned.event <= MAX_COPY_DISTANCE);
                copies += u64::from(planned.is_copy());
                let first = bodies.entry(planned.event).or_insert_with(|| planned.body.clone());
                assert_eq!(*first, planned.body);
            }
            assert!(copies > 50);
        }
    }

    #[test]
    fn a_cycle_repeats_and_a_count_ends_it() {
        let plan = plan(1..=3, Mixture::PLAIN).cycling();
        assert!(!plan.is_bounded());
        let plan = plan.stopping_after(7);
        let ids: Vec<i64> = payment_events(&plan).filter_map(|p| p.order_id).map(|id| id.0).collect();
        assert_eq!(ids, [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn order_ids_out_of_bounds_are_errors() {
        for (first, last) in [(0, 5), (5, 4), (-3, 3), (1, LARGEST_ORDER_ID + 1)] {
            let refused = ScenarioPlan::try_new(1, RangeInclusive::new(first, last), Mixture::PLAIN);
            assert_eq!(refused, Err(PlanError::Orders { first, last }));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn positions_have_no_gaps_and_payment_ids_are_distinct(seed: u64, first in 1i64..1_000_000, len in 0i64..200) {
            let plan = ScenarioPlan::try_new(seed, first..=first + len, rough()).expect("valid");
            let mut payments = BTreeSet::new();
            for (position, planned) in payment_events(&plan).enumerate() {
                prop_assert_eq!(planned.sequence, position as u64);
                if let (EventContent::Payment(payment), false) = (&planned.content, planned.is_copy()) {
                    prop_assert!(payments.insert(payment.payment_id));
                }
            }
        }
    }
}
