//! Compares the published events with the store, unit by unit.
//!
//! Once the pipeline is idle, each unit is the first of: current (its row shows all its values), in the
//! dead-letter store (as a dead letter that is not recovered), superseded (its order exists, and its row
//! shows a newer event), lost. Every row, every superseded payment and every dead letter must belong to a unit,
//! and every superseded payment is kept.

use futures_util::StreamExt;

use crate::audit::{Audit, MAX_CORRECTIONS};
use crate::units::Units;
use crate::verification::Verification;
use ecom_domain::dead_letter::{DeadLetterId, HistoryAction};
use ecom_store::{DeadLetterStore, FactStore, Scan, StoreError};

/// Reads all facts, superseded payments and dead letters once and determines where every unit is. The pipeline must be idle,
/// and the dead-letter store swept; a unit in flight is reported as lost.
///
/// # Errors
/// The error of the store, which makes the result unknown.
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
    let mut superseded = facts.superseded();
    while let Some(payment) = superseded.next().await {
        audit.superseded(&payment?);
    }
    let mut dead_letters = dead_letter_store.dead_letters(Scan::ALL);
    while let Some(record) = dead_letters.next().await {
        let record = record?;
        audit.dead_letter(&record);
        if audit.may_explain(&record) && was_corrected(dead_letter_store, &record.dead_letter.id).await? {
            audit.correction(&record);
        }
    }
    for (order_id, kind, mut corrected) in audit.take_chains() {
        for _ in 0..MAX_CORRECTIONS {
            let Some(record) = dead_letter_store.dead_letter(&corrected).await? else { break };
            if let Some(index) = units.find(kind, &record.dead_letter.body) {
                audit.mark_corrected(order_id, kind, index);
                break;
            }
            let Some(original) = record.dead_letter.corrects else { break };
            corrected = original;
        }
    }
    Ok(audit.finish())
}

/// Returns whether the history of this dead letter has a correction.
async fn was_corrected(
    dead_letter_store: &dyn DeadLetterStore,
    id: &DeadLetterId,
) -> Result<bool, StoreError> {
    Ok(dead_letter_store.history(id).await?.iter().any(|entry| entry.action == HistoryAction::Corrected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_times::EventTimes;
    use crate::generate::ScenarioPlan;
    use crate::manifest::{EventSource, Manifest, Streams};
    use crate::mixture::Mixture;
    use crate::planned::EventContent;
    use crate::reference::Reference;
    use crate::snapshot::{
        ConsumedMessage, ScansOnly, consume, correct, dead_letter, published, set_state, sweep,
    };
    use crate::verification::DifferenceKind;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;
    use ecom_codec::envelope::SOURCE_SUBSCRIPTION;
    use ecom_domain::attributes::Attributes;
    use ecom_domain::dead_letter::{DeadLetterRecord, DeadLetterState, EventKind};
    use ecom_domain::event_time::EventTime;
    use ecom_domain::fact::{Fact, OrderCells, SupersededPayment};
    use ecom_domain::order::OrderId;
    use ecom_domain::reason::Reason;
    use ecom_store::memory::{MemoryStore, Tables};
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::seq::SliceRandom;

    const STARTED: i64 = 1_700_000_000_000_000;

    fn scenario(seed: u64, orders: i64, mixture: Mixture) -> Manifest {
        let plan = ScenarioPlan::try_new(seed, 1..=orders, mixture).expect("a valid plan");
        Manifest::new(Streams::Both, EventSource::Scenario(plan), "run".to_owned(), STARTED)
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

    /// Returns fact table and dead-letter store after these runs, with the messages consumed in random order.
    fn consumed(manifests: &[Manifest], shuffle: u64) -> (Tables, Vec<ConsumedMessage>) {
        let mut messages: Vec<ConsumedMessage> = manifests.iter().flat_map(published).collect();
        messages.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(shuffle));
        let mut memory = Tables::default();
        messages.iter().for_each(|message| consume(&mut memory, message));
        sweep(&mut memory, &messages);
        (memory, messages)
    }

    fn verified(manifests: &[Manifest], memory: &Tables) -> Verification {
        let decode = |_: EventKind, _: &Bytes| EventContent::Rejected(Reason::Invalid);
        let units = Units::of(manifests, decode).expect("bounded runs");
        let store = MemoryStore::new(ScansOnly, memory.clone());
        verify(&units, &store, &store).now_or_never().expect("it never waits").expect("nor fails")
    }

    /// Returns the result of `verify` after a change to a clean fact table and dead-letter store.
    fn verified_after(change: impl FnOnce(&mut Tables, &[ConsumedMessage])) -> Verification {
        let runs = [scenario(1, 200, rough())];
        let (mut memory, messages) = consumed(&runs, 9);
        assert!(verified(&runs, &memory).is_clean());
        change(&mut memory, &messages);
        verified(&runs, &memory)
    }

    /// Returns an archive of these messages.
    fn archive(messages: &[ConsumedMessage]) -> String {
        let line = |message: &ConsumedMessage| {
            let data = BASE64_STANDARD.encode(&message.body);
            let (kind, t) = (message.kind.as_str(), message.t.micros());
            format!(
                r#"{{"topic":"{kind}","message":{{"data":"{data}","attributes":{{"event_time_us":"{t}"}},"messageId":"1","publishTime":"2026-01-01T00:00:00Z"}}}}"#
            )
        };
        messages.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn another_time_than_the_message_has_is_found() {
        let runs = [scenario(1, 200, rough())];
        let (clean, messages) = consumed(&runs, 9);
        let found_after = |change: &dyn Fn(&mut Tables)| {
            let kind_of = |topic: &str| EventKind::ALL.into_iter().find(|kind| kind.as_str() == topic);
            let times = EventTimes::read(archive(&messages).as_bytes(), kind_of).expect("an archive");
            let units = Units::of(&runs, |_, _| EventContent::Foreign).expect("bounded runs");
            let mut memory = clean.clone();
            change(&mut memory);
            let store = MemoryStore::new(ScansOnly, memory);
            let units = units.with_event_times(times);
            verify(&units, &store, &store).now_or_never().expect("it never waits").expect("nor fails")
        };
        let later = |t: EventTime| EventTime::stored(t.micros() + 1);
        assert!(found_after(&|_| {}).is_clean());
        let changes: [&dyn Fn(&mut Tables); _] = [
            &|memory| {
                let row = row_with(memory, Fact::has_order);
                row.order_written_at = row.order_written_at.map(later);
            },
            &|memory| {
                let row = row_with(memory, |fact| fact.has_order() && !fact.payment.is_empty());
                row.payment_written_at = row.payment_written_at.map(later);
            },
            &|memory| {
                let ((order_id, t, id), payment) =
                    memory.superseded.pop_first().expect("a superseded payment");
                memory.superseded.insert((order_id, EventTime::stored(t.micros() - 1), id), payment);
            },
            &|memory| {
                let poison = dead_letter_with(memory, Reason::Invalid, DeadLetterState::Parked);
                let dead_letter = memory.dead_letters.get_mut(&poison.dead_letter.id).expect("there");
                dead_letter.t = later(dead_letter.t);
            },
        ];
        for change in changes {
            let found = found_after(change);
            assert_eq!(faults(&found), [(DifferenceKind::WrongEventTime, 1)], "{found}");
        }
    }

    fn faults(found: &Verification) -> Vec<(DifferenceKind, u64)> {
        found.faults.iter().map(|(fault, count)| (*fault, *count)).collect()
    }

    /// Returns the first row with this property.
    fn row_with(memory: &mut Tables, has: impl Fn(&Fact) -> bool) -> &mut Fact {
        memory.facts.values_mut().find(|fact| has(fact)).expect("such a row")
    }

    fn dead_letter_with(memory: &Tables, reason: Reason, state: DeadLetterState) -> DeadLetterRecord {
        let wanted =
            |record: &DeadLetterRecord| record.dead_letter.reason == reason && record.state() == state;
        memory.records().find(wanted).expect("such a dead letter")
    }

    #[test]
    fn every_unit_of_a_clean_run_is_accounted_for() {
        let runs = [scenario(1, 200, rough())];
        let (memory, _) = consumed(&runs, 3);
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
        let found = verified(&runs, &Tables::default());
        assert_eq!(found.difference_count(), found.orders.published + found.payments.published);
        assert_eq!(found.differences.len(), 100);
        assert_eq!(found.orders.lost, found.orders.published);
        assert!(found.to_string().contains("more"), "{found}");
    }

    #[test]
    fn a_lost_order_is_found() {
        let found = verified_after(|memory, _| {
            let plain = memory.facts.values().find(|fact| fact.payment.is_empty()).map(|fact| fact.order_id);
            assert_eq!(plain, None, "every order has a payment");
            let order_id = memory.facts.values().next().expect("a row").order_id;
            memory.facts.remove(&order_id);
        });
        assert!(found.orders.lost >= 1 && found.payments.lost >= 1, "{found}");
        assert!(
            found
                .faults
                .keys()
                .all(|fault| [DifferenceKind::Lost, DifferenceKind::RecoveredWithoutEffect].contains(fault))
        );
    }

    #[test]
    fn a_lost_payment_is_found() {
        let found = verified_after(|memory, messages| {
            let ids = orders_with_one_applied_payment(memory, messages);
            let row = row_with(memory, |fact| ids.contains(&fact.order_id));
            (row.payment, row.payment_written_at) = Default::default();
        });
        assert_eq!(faults(&found), [(DifferenceKind::Lost, 1)], "{found}");
        assert_eq!((found.orders.lost, found.payments.lost), (0, 1));
    }

    /// Returns the orders in the table with exactly one payment, which never was in the dead-letter store.
    fn orders_with_one_applied_payment(memory: &Tables, messages: &[ConsumedMessage]) -> Vec<OrderId> {
        let payments_of = |order_id| {
            let is_its = |m: &&ConsumedMessage| matches!(&m.content, EventContent::Payment(p) if p.order_id == order_id);
            let mut bodies: Vec<&Bytes> = messages.iter().filter(is_its).map(|m| &m.body).collect();
            bodies.sort();
            bodies.dedup();
            bodies.len()
        };
        let in_dead_letter_store =
            |order_id| memory.dead_letters.values().any(|dead_letter| dead_letter.order_id == Some(order_id));
        let ids = memory.facts.keys().copied();
        ids.filter(|order_id| payments_of(*order_id) == 1 && !in_dead_letter_store(*order_id)).collect()
    }

    #[test]
    fn a_mixed_row_is_found_in_both_column_groups() {
        let found = verified_after(|memory, messages| {
            let ids = orders_with_one_applied_payment(memory, messages);
            let row = row_with(memory, |fact| ids.contains(&fact.order_id));
            row.payment.card_last_four = match row.payment.card_last_four {
                Some(_) => None,
                None => Some("1234".to_owned()),
            };
        });
        assert_eq!(faults(&found), [(DifferenceKind::Lost, 1), (DifferenceKind::Mixed, 1)], "{found}");
        let found = verified_after(|memory, _| {
            row_with(memory, Fact::has_order).order.shipping_address = None;
        });
        assert_eq!(found.faults.get(&DifferenceKind::Mixed), Some(&1), "{found}");
    }

    #[test]
    fn a_stale_row_is_found() {
        let found = verified_after(|memory, messages| {
            let stale = messages.iter().find_map(|message| match &message.content {
                EventContent::Order(order) => {
                    let row = memory.facts.get(&order.order_id)?;
                    (row.order_written_at > Some(message.t)).then(|| (order.clone(), message.t))
                }
                _ => None,
            });
            let (order, t) = stale.expect("a superseded order event");
            let row = row_with(memory, |fact| fact.order_id == order.order_id);
            (row.order, row.order_written_at) = (OrderCells::from(&order), Some(t));
        });
        assert_eq!(faults(&found), [(DifferenceKind::Stale, 1)], "{found}");
        assert_eq!(found.orders.lost, 1);
    }

    #[test]
    fn a_superseded_payment_that_was_not_kept_is_found() {
        let found = verified_after(|memory, _| {
            memory.superseded.pop_first().expect("a superseded payment");
        });
        assert_eq!(faults(&found), [(DifferenceKind::SupersededNotKept, 1)], "{found}");
        assert_eq!(found.payments.lost, 0);
    }

    #[test]
    fn a_kept_payment_that_did_not_lose_is_found() {
        let current = |memory: &Tables, messages: &[ConsumedMessage]| {
            let ids = orders_with_one_applied_payment(memory, messages);
            let row = memory.facts[&ids[0]].clone();
            SupersededPayment {
                order_id: ids[0],
                t: row.payment_written_at.expect("paid"),
                payment: row.payment,
            }
        };
        let found = verified_after(|memory, messages| {
            let kept = current(memory, messages);
            memory.record_superseded(SupersededPayment { t: EventTime::stored(1), ..kept });
        });
        assert_eq!(faults(&found), [(DifferenceKind::NotSuperseded, 1)], "{found}");
        let found = verified_after(|memory, messages| {
            let mut kept = current(memory, messages);
            kept.payment.payment_status = Some("invented".to_owned());
            memory.record_superseded(SupersededPayment { t: EventTime::stored(1), ..kept });
        });
        assert_eq!(faults(&found), [(DifferenceKind::Invented, 1)], "{found}");
        let found = verified_after(|memory, messages| {
            let kept = current(memory, messages);
            memory.record_superseded(SupersededPayment { order_id: OrderId(99_999), ..kept });
        });
        assert_eq!(faults(&found), [(DifferenceKind::Invented, 1)], "{found}");
    }

    #[test]
    fn invented_rows_are_found_with_any_content() {
        let found = verified_after(|memory, _| {
            let mut row = memory.facts.values().next().expect("a row").clone();
            row.order_id = OrderId(99_999);
            memory.facts.insert(row.order_id, row.clone());
            row = Fact { order_id: OrderId(-5), order: OrderCells::default(), ..row };
            memory.facts.insert(row.order_id, row.clone());
            row = Fact { order_id: OrderId(0), payment: Default::default(), ..row };
            memory.facts.insert(row.order_id, row);
        });
        assert_eq!(
            faults(&found),
            [(DifferenceKind::Invented, 3), (DifferenceKind::PaymentWithoutOrder, 1)],
            "{found}"
        );
    }

    #[test]
    fn the_order_of_a_missing_order_is_invented() {
        let found = verified_after(|memory, _| {
            let missing = dead_letter_with(memory, Reason::OrderNotFound, DeadLetterState::Waiting)
                .dead_letter
                .order_id;
            let mut row = memory.facts.values().next().expect("a row").clone();
            row.order_id = missing.expect("readable");
            (row.payment, row.payment_written_at) = Default::default();
            memory.facts.insert(row.order_id, row);
        });
        assert_eq!(found.faults.get(&DifferenceKind::Invented), Some(&1), "{found}");
        assert!(found.faults.contains_key(&DifferenceKind::WaitingThoughOrderThere), "{found}");
    }

    #[test]
    fn a_manifest_of_one_stream_does_not_cover_the_other() {
        let both = scenario(1, 200, rough());
        let (memory, _) = consumed(std::slice::from_ref(&both), 9);
        for streams in [Streams::Orders, Streams::Payments] {
            let alone = Manifest { kind: streams, ..both.clone() };
            let found = verified(&[alone], &memory);
            assert!(found.is_clean(), "{streams:?}: {found}");
        }
    }

    #[test]
    fn an_invented_dead_letter_is_found() {
        let found = verified_after(|memory, messages| {
            let message =
                ConsumedMessage { body: Bytes::from_static(b"{\"invented\":1}"), ..messages[0].clone() };
            dead_letter(memory, &message, Reason::Invalid, None);
        });
        assert_eq!(faults(&found), [(DifferenceKind::InventedDeadLetter, 1)], "{found}");
    }

    #[test]
    fn a_dead_letter_of_a_subscription_without_events_is_left_out() {
        let runs = [scenario(1, 50, rough())];
        let (mut memory, messages) = consumed(&runs, 9);
        let message =
            ConsumedMessage { body: Bytes::from_static(b"{\"order_id\":1}"), ..messages[0].clone() };
        dead_letter(&mut memory, &message, Reason::Invalid, None);
        let id = DeadLetterId::of(message.kind, message.t, &message.body);
        let source = Attributes::from_iter([(SOURCE_SUBSCRIPTION, "requests".to_owned())]);
        memory.dead_letters.get_mut(&id).expect("it is there").attributes = source;
        let decode = |_: EventKind, _: &Bytes| EventContent::Rejected(Reason::Invalid);
        for (subscription, is_clean) in [("requests", true), ("orders", false)] {
            let units = Units::of(&runs, decode).expect("bounded runs");
            let units = units.without_dead_letters_of(vec![subscription.to_owned()]);
            let store = MemoryStore::new(ScansOnly, memory.clone());
            let found =
                verify(&units, &store, &store).now_or_never().expect("it never waits").expect("nor fails");
            assert_eq!(found.is_clean(), is_clean, "{subscription}: {found}");
        }
    }

    #[test]
    fn a_dead_letter_recovered_without_effect_is_found() {
        let found = verified_after(|memory, _| {
            let waiting = dead_letter_with(memory, Reason::OrderNotFound, DeadLetterState::Waiting);
            set_state(memory, &waiting.dead_letter.id, DeadLetterState::Recovered);
        });
        assert_eq!(
            faults(&found),
            [(DifferenceKind::Lost, 1), (DifferenceKind::RecoveredWithoutEffect, 1)],
            "{found}"
        );
        let found = verified_after(|memory, _| {
            let poison = dead_letter_with(memory, Reason::Invalid, DeadLetterState::Parked);
            set_state(memory, &poison.dead_letter.id, DeadLetterState::Recovered);
        });
        assert_eq!(
            faults(&found),
            [(DifferenceKind::Lost, 1), (DifferenceKind::RecoveredWithoutEffect, 1)],
            "{found}"
        );
    }

    #[test]
    fn an_open_dead_letter_that_is_applied_is_found() {
        let found = verified_after(|memory, _| {
            let shows = |record: &DeadLetterRecord| {
                let row = record.dead_letter.order_id.and_then(|order_id| memory.facts.get(&order_id));
                row.is_some_and(|row| row.payment_written_at == Some(record.dead_letter.t))
            };
            let applied = memory.records().find(shows).expect("one").dead_letter.id;
            set_state(memory, &applied, DeadLetterState::Parked);
        });
        assert_eq!(faults(&found), [(DifferenceKind::OpenThoughApplied, 1)], "{found}");
        assert_eq!(found.payments.lost, 0);
    }

    #[test]
    fn a_wrong_reason_and_a_dead_lettered_valid_message_are_found() {
        let found = verified_after(|memory, messages| {
            let poison = dead_letter_with(memory, Reason::Invalid, DeadLetterState::Parked);
            memory.dead_letters.get_mut(&poison.dead_letter.id).expect("there").reason =
                Reason::HandlerFailed;
            let good = messages.iter().find(|message| matches!(message.content, EventContent::Order(_)));
            dead_letter(memory, good.expect("an order"), Reason::Invalid, None);
        });
        assert_eq!(
            faults(&found),
            [(DifferenceKind::WrongReason, 2), (DifferenceKind::OpenThoughApplied, 1)],
            "{found}"
        );
    }

    #[test]
    fn a_bad_message_missing_from_the_dead_letter_store_is_lost() {
        let found = verified_after(|memory, _| {
            let poison = dead_letter_with(memory, Reason::Undecodable, DeadLetterState::Parked);
            memory.dead_letters.remove(&poison.dead_letter.id);
        });
        assert_eq!(faults(&found), [(DifferenceKind::Lost, 1)], "{found}");
    }

    #[test]
    fn a_discarded_dead_letter_still_holds_its_message() {
        let found = verified_after(|memory, _| {
            for reason in [Reason::Undecodable, Reason::OrderNotFound] {
                let open = if reason == Reason::OrderNotFound {
                    DeadLetterState::Waiting
                } else {
                    DeadLetterState::Parked
                };
                let dead_letter = dead_letter_with(memory, reason, open);
                set_state(memory, &dead_letter.dead_letter.id, DeadLetterState::Discarded);
            }
        });
        assert!(found.is_clean(), "{found}");
    }

    #[test]
    fn a_row_may_show_a_correction() {
        let corrected = |memory: &mut Tables, messages: &[ConsumedMessage], nth, noted| {
            let ids = orders_with_one_applied_payment(memory, messages);
            let order_id = ids[0];
            let bad = messages.iter().find(|m| {
                let is_bad_payment =
                    m.kind == EventKind::Payment && matches!(m.content, EventContent::Rejected(_));
                is_bad_payment && Some(m.t) > memory.facts[&order_id].payment_written_at
            });
            let bad = bad.expect("a later bad payment");
            let bad_id = DeadLetterId::of(bad.kind, bad.t, &bad.body);
            set_state(memory, &bad_id, DeadLetterState::Discarded);
            if noted {
                correct(memory, &bad_id);
            }
            let row = row_with(memory, |fact| fact.order_id == order_id);
            row.payment.payment_id = Some(4_711);
            row.payment_written_at = Some(bad.t.correction(nth));
        };
        let found = verified_after(|memory, messages| corrected(memory, messages, 2, true));
        assert_eq!(found.corrected, 1, "{found}");
        assert!(!found.faults.contains_key(&DifferenceKind::Mixed), "{found}");
        let found = verified_after(|memory, messages| corrected(memory, messages, 99, true));
        assert_eq!(found.faults.get(&DifferenceKind::Mixed), Some(&1), "{found}");
        let found = verified_after(|memory, messages| corrected(memory, messages, 2, false));
        assert_eq!(
            found.faults.get(&DifferenceKind::Mixed),
            Some(&1),
            "without a correction in the history: {found}"
        );
    }

    #[test]
    fn a_second_run_supersedes_the_first_and_its_loss_is_found() {
        let first = scenario(1, 50, Mixture::PLAIN);
        let second = Manifest { started_at_us: STARTED + 1_000_000, ..scenario(2, 50, Mixture::PLAIN) };
        let runs = [second, first.clone()];
        let (memory, _) = consumed(&runs, 5);
        let found = verified(&runs, &memory);
        assert!(found.is_clean(), "{found}");
        assert_eq!((found.orders.superseded, found.payments.superseded), (50, 50));
        let (memory, _) = consumed(&[first], 5);
        assert_eq!(verified(&runs, &memory).orders.lost, 50);
    }

    #[test]
    fn most_payments_of_the_reference_are_in_the_dead_letter_store() {
        let source = EventSource::Reference(Reference { seed: 1, count: Some(200) });
        let runs = [Manifest::new(Streams::Both, source, "run".to_owned(), STARTED)];
        let (memory, _) = consumed(&runs, 5);
        let found = verified(&runs, &memory);
        assert!(found.is_clean(), "{found}");
        assert_eq!((found.orders.current, found.orders.superseded), (80, 120));
        assert_eq!((found.payments.current, found.payments.dead_letter_store), (80, 120));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_run_by_the_rules_is_clean(seed: u64, shuffle: u64, orders in 1i64..120, cycles in 1u64..3, shares in proptest::array::uniform6(0.0f64..1.0)) {
            let [late_orders, missing_orders, duplicates, order_updates, second_payments, invalid] = shares;
            let mixture = Mixture { late_orders, missing_orders, duplicates, order_updates, second_payments, invalid, late_by: 7 };
            let count = orders.unsigned_abs() * cycles;
            let plan = ScenarioPlan::try_new(seed, 1..=orders, mixture).expect("valid").cycling().stopping_after(count);
            let runs = [Manifest::new(Streams::Both, EventSource::Scenario(plan), "run".to_owned(), STARTED)];
            let (memory, _) = consumed(&runs, shuffle);
            let found = verified(&runs, &memory);
            prop_assert!(found.is_clean(), "{}", found);
        }
    }
}
