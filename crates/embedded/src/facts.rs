//! The fact store port on the file. Of two writes of a column group the larger event time wins.

use std::collections::VecDeque;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use rusqlite::{Connection, OptionalExtension, Row};

use super::embedded::Embedded;
use super::superseded;
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells, PaymentCells, PaymentSlot, SupersededPayment};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_store::{FactRange, FactStore, StoreError};

/// Rows per page.
const PAGE: i64 = 1_000;
/// The most orders or payments in one job.
const GROUP: usize = 256;
/// The fewest rows that are worth a range of their own.
const RANGE: i64 = 50_000;

/// At equal event times the larger values win, whichever was written first.
const RECORD_ORDER: &str = "INSERT INTO facts (order_id, customer_id, item, quantity, price,
        shipping_address, order_status, creation_date, order_ts)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (order_id) DO UPDATE SET customer_id = excluded.customer_id, item = excluded.item,
        quantity = excluded.quantity, price = excluded.price,
        shipping_address = excluded.shipping_address, order_status = excluded.order_status,
        creation_date = excluded.creation_date, order_ts = excluded.order_ts
    WHERE facts.order_ts IS NULL OR facts.customer_id IS NULL OR excluded.order_ts > facts.order_ts
        OR (excluded.order_ts = facts.order_ts
            AND (excluded.customer_id, excluded.item, excluded.quantity, excluded.price,
                excluded.shipping_address, excluded.order_status, excluded.creation_date)
            > (facts.customer_id, coalesce(facts.item, ''), coalesce(facts.quantity, 0),
                coalesce(facts.price, 0), coalesce(facts.shipping_address, ''),
                coalesce(facts.order_status, ''), coalesce(facts.creation_date, '')))";
/// Writes a payment where there is none, which is the usual case.
const RECORD_FIRST_PAYMENT: &str = "UPDATE facts SET payment_id = ?2, payment_method = ?3,
        card_last_four = ?4, payment_status = ?5, payment_datetime = ?6, payment_ts = ?7
    WHERE order_id = ?1 AND payment_id IS NULL";
const RECORD_PAYMENT: &str = "INSERT INTO facts (order_id, payment_id, payment_method, card_last_four,
        payment_status, payment_datetime, payment_ts)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (order_id) DO UPDATE SET payment_id = excluded.payment_id,
        payment_method = excluded.payment_method, card_last_four = excluded.card_last_four,
        payment_status = excluded.payment_status, payment_datetime = excluded.payment_datetime,
        payment_ts = excluded.payment_ts
    WHERE facts.payment_ts IS NULL OR facts.payment_id IS NULL OR excluded.payment_ts > facts.payment_ts
        OR (excluded.payment_ts = facts.payment_ts
            AND (excluded.payment_id, excluded.payment_method, coalesce(excluded.card_last_four, ''),
                excluded.payment_status, excluded.payment_datetime)
            > (facts.payment_id, coalesce(facts.payment_method, ''), coalesce(facts.card_last_four, ''),
                coalesce(facts.payment_status, ''), coalesce(facts.payment_datetime, '')))";
const SELECT_PAYMENT_SLOT: &str =
    "SELECT payment_id, payment_method, card_last_four, payment_status, payment_datetime,
    payment_ts, customer_id FROM facts WHERE order_id = ?1";
const SELECT_FACT: &str =
    "SELECT payment_id, payment_method, card_last_four, payment_status, payment_datetime,
    payment_ts, customer_id, item, quantity, price, shipping_address, order_status, creation_date, order_ts,
    order_id FROM facts";

#[async_trait]
impl FactStore for Embedded {
    async fn record_orders(&self, orders: &[(&Order<'_>, EventTime)]) -> Result<(), StoreError> {
        let orders: Vec<_> = orders.iter().map(|(order, t)| ((*order).clone().into_owned(), *t)).collect();
        self.engine
            .write(move |connection| {
                orders.iter().try_for_each(|(order, t)| record_order(connection, order, *t))
            })
            .await
            .map_err(|error| self.store_error("record an order", error))
    }

    async fn payment_slots(&self, order_ids: &[OrderId]) -> Result<Vec<PaymentSlot>, StoreError> {
        let order_ids = order_ids.to_vec();
        self.engine
            .read(move |connection| order_ids.iter().map(|id| payment_slot(connection, *id)).collect())
            .await
            .map_err(|error| self.store_error("look up an order", error))
    }

    async fn record_payments(&self, payments: &[(&Payment<'_>, EventTime)]) -> Result<(), StoreError> {
        let payments: Vec<_> =
            payments.iter().map(|(payment, t)| ((*payment).clone().into_owned(), *t)).collect();
        self.engine
            .write(move |connection| {
                payments.iter().try_for_each(|(payment, t)| record_payment(connection, payment, *t))
            })
            .await
            .map_err(|error| self.store_error("record a payment", error))
    }

    fn group_size(&self) -> usize {
        GROUP
    }

    async fn fact(&self, order_id: OrderId) -> Result<Option<Fact>, StoreError> {
        self.engine
            .read(move |connection| one_fact(connection, order_id))
            .await
            .map_err(|error| self.store_error("read a fact", error))
    }

    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>> {
        self.facts_in(FactRange { after: i64::MIN, through: i64::MAX })
    }

    async fn fact_ranges(&self, at_most: u32) -> Result<Vec<FactRange>, StoreError> {
        self.engine
            .read(move |connection| range_ends(connection, i64::from(at_most)))
            .await
            .map(FactRange::ending_at)
            .map_err(|error| self.store_error("read the ends of the fact table", error))
    }

    fn facts_in(&self, range: FactRange) -> BoxStream<'_, Result<Fact, StoreError>> {
        let read = move |connection: &Connection, after: &i64| facts_in(connection, *after, range.through);
        self.pages("read facts", range.after, read, |fact| fact.order_id.0)
    }

    async fn record_superseded(&self, superseded: &SupersededPayment) -> Result<(), StoreError> {
        let superseded = superseded.clone();
        self.engine
            .write(move |connection| superseded::record(connection, &superseded))
            .await
            .map_err(|error| self.store_error("record a superseded payment", error))
    }

    async fn superseded_of(&self, order_id: OrderId) -> Result<Vec<SupersededPayment>, StoreError> {
        self.engine
            .read(move |connection| superseded::of_order(connection, order_id))
            .await
            .map_err(|error| self.store_error("read the superseded payments of an order", error))
    }

    fn superseded(&self) -> BoxStream<'_, Result<SupersededPayment, StoreError>> {
        let key = superseded::Key::of;
        self.pages("read the superseded payments", superseded::Key::FIRST, superseded::after, key)
    }

    fn describe(&self) -> String {
        Embedded::describe(self)
    }
}

fn record_order(connection: &Connection, order: &Order<'_>, t: EventTime) -> rusqlite::Result<()> {
    connection.prepare_cached(RECORD_ORDER)?.execute((
        order.order_id.0,
        order.customer_id,
        &*order.item,
        order.quantity,
        order.price,
        &*order.shipping_address,
        &*order.order_status,
        &*order.creation_date,
        t.micros(),
    ))?;
    Ok(())
}

/// Writes a payment and, in the same transaction, the one that is superseded by it or that it is superseded by:
/// no other writer can come between them.
fn record_payment(connection: &Connection, payment: &Payment<'_>, t: EventTime) -> rusqlite::Result<()> {
    let values = (
        payment.order_id.0,
        payment.payment_id,
        &*payment.payment_method,
        payment.card_last_four.as_ref().map(|card| card.as_str()),
        &*payment.payment_status,
        &*payment.payment_datetime,
        t.micros(),
    );
    if connection.prepare_cached(RECORD_FIRST_PAYMENT)?.execute(values)? == 1 {
        return Ok(());
    }
    let current = connection
        .prepare_cached(&format!("{SELECT_FACT} WHERE order_id = ?1"))?
        .query_row([payment.order_id.0], |row| Ok((payment_cells(row)?, row.get::<_, Option<i64>>(5)?)))
        .optional()?;
    if let Some((cells, written_at)) = current.filter(|(cells, _)| cells.payment_id.is_some()) {
        let written_at = EventTime::stored(written_at.unwrap_or(0));
        let slot = PaymentSlot::Taken { payment: cells, written_at };
        if let Some(loser) = SupersededPayment::loser(&slot, payment, t) {
            superseded::record(connection, &loser)?;
        }
    }
    connection.prepare_cached(RECORD_PAYMENT)?.execute(values)?;
    Ok(())
}

fn payment_slot(connection: &Connection, order_id: OrderId) -> rusqlite::Result<PaymentSlot> {
    let slot = connection
        .prepare_cached(SELECT_PAYMENT_SLOT)?
        .query_row([order_id.0], |row| {
            if row.get::<_, Option<i64>>(6)?.is_none() {
                return Ok(PaymentSlot::NoOrder);
            }
            let payment = payment_cells(row)?;
            Ok(match payment.payment_id {
                None => PaymentSlot::Empty,
                // A payment that was set by hand has no event time: any event replaces it.
                Some(_) => PaymentSlot::Taken {
                    payment,
                    written_at: EventTime::stored(row.get::<_, Option<i64>>(5)?.unwrap_or(0)),
                },
            })
        })
        .optional()?;
    Ok(slot.unwrap_or(PaymentSlot::NoOrder))
}

fn one_fact(connection: &Connection, order_id: OrderId) -> rusqlite::Result<Option<Fact>> {
    connection
        .prepare_cached(&format!("{SELECT_FACT} WHERE order_id = ?1"))?
        .query_row([order_id.0], fact)
        .optional()
}

fn facts_in(connection: &Connection, after: i64, through: i64) -> rusqlite::Result<VecDeque<Fact>> {
    connection
        .prepare_cached(&format!(
            "{SELECT_FACT} WHERE order_id > ?1 AND order_id <= ?2 ORDER BY order_id LIMIT ?3"
        ))?
        .query_map((after, through, PAGE), fact)?
        .collect()
}

/// Returns the last ids of all ranges but the last: ranges of as many rows each, at least [`RANGE`].
fn range_ends(connection: &Connection, at_most: i64) -> rusqlite::Result<Vec<i64>> {
    let rows: i64 = connection.query_row("SELECT count(*) FROM facts", [], |row| row.get(0))?;
    let ranges = (rows / RANGE).clamp(1, at_most.max(1));
    let end = |nth: i64| {
        let before = rows * nth / ranges - 1;
        let find = "SELECT order_id FROM facts ORDER BY order_id LIMIT 1 OFFSET ?1";
        connection.prepare_cached(find)?.query_row([before], |row| row.get(0))
    };
    (1..ranges).map(end).collect()
}

fn fact(row: &Row<'_>) -> rusqlite::Result<Fact> {
    let order = OrderCells {
        customer_id: row.get(6)?,
        item: row.get(7)?,
        quantity: row.get(8)?,
        price: row.get(9)?,
        shipping_address: row.get(10)?,
        order_status: row.get(11)?,
        creation_date: row.get(12)?,
    };
    let payment = payment_cells(row)?;
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(EventTime::stored));
    Ok(Fact {
        order_id: OrderId(row.get(14)?),
        order_written_at: time(13)?.filter(|_| order.customer_id.is_some()),
        order,
        payment_written_at: time(5)?.filter(|_| payment.payment_id.is_some()),
        payment,
    })
}

fn payment_cells(row: &Row<'_>) -> rusqlite::Result<PaymentCells> {
    Ok(PaymentCells {
        payment_id: row.get(0)?,
        payment_method: row.get(1)?,
        card_last_four: row.get(2)?,
        payment_status: row.get(3)?,
        payment_datetime: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use proptest::prelude::*;

    use super::super::testing::{process, raw};
    use super::*;
    use ecom_domain::payment::CardLastFour;
    use ecom_domain::verdict::{ApplyCheck, judge};

    fn order(id: i64, customer: i64) -> Order<'static> {
        Order {
            order_id: OrderId(id),
            customer_id: customer,
            item: "Laptop".into(),
            quantity: 2,
            price: 0.1,
            shipping_address: "1 Main Street".into(),
            order_status: "Shipped".into(),
            creation_date: "2024-01-21T80:01:30Z".into(),
        }
    }

    fn payment(order: i64, id: i64, card: Option<&str>) -> Payment<'static> {
        Payment {
            payment_id: id,
            order_id: OrderId(order),
            payment_method: "Card".into(),
            card_last_four: card.map(|digits| CardLastFour::try_new(digits).unwrap()),
            payment_status: "Completed".into(),
            payment_datetime: "2024-01-21T80:01:31Z".into(),
        }
    }

    fn t(micros: i64) -> EventTime {
        EventTime::stored(micros)
    }

    #[tokio::test]
    async fn an_order_and_its_payment_make_one_row_in_either_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        let (order, payment) = (order(1, 7), payment(1, 9, Some("0042")));
        store.record_payment(&payment, t(5)).await.unwrap();
        assert_eq!(store.payment_slot(OrderId(1)).await.unwrap(), PaymentSlot::NoOrder);
        assert!(!store.fact(OrderId(1)).await.unwrap().unwrap().has_order());
        store.record_order(&order, t(3)).await.unwrap();
        let fact = store.fact(OrderId(1)).await.unwrap().unwrap();
        assert!(fact.order.matches(&order) && fact.payment.matches(&payment), "{fact:?}");
        assert_eq!((fact.order_written_at, fact.payment_written_at), (Some(t(3)), Some(t(5))));
        let slot = store.payment_slot(OrderId(1)).await.unwrap();
        assert_eq!(judge(&slot, &payment, t(5)), ApplyCheck::AlreadyApplied);
    }

    #[tokio::test]
    async fn a_newer_order_leaves_the_payment_and_a_newer_payment_leaves_no_digits() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        store.record_order(&order(1, 7), t(1)).await.unwrap();
        assert_eq!(store.payment_slot(OrderId(1)).await.unwrap(), PaymentSlot::Empty);
        store.record_payment(&payment(1, 9, Some("0042")), t(2)).await.unwrap();
        store.record_order(&order(1, 8), t(9)).await.unwrap();
        store.record_payment(&payment(1, 10, None), t(3)).await.unwrap();
        store.record_payment(&payment(1, 9, Some("0042")), t(2)).await.unwrap();
        let fact = store.fact(OrderId(1)).await.unwrap().unwrap();
        assert_eq!(fact.order.customer_id, Some(8));
        assert!(fact.payment.matches(&payment(1, 10, None)), "{fact:?}");
    }

    #[tokio::test]
    async fn changes_made_by_hand_are_respected() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        store.record_order(&order(1, 7), t(1)).await.unwrap();
        store.record_payment(&payment(1, 9, None), t(2)).await.unwrap();
        let hand = raw(dir.path());
        hand.execute("UPDATE facts SET payment_id = NULL", []).unwrap();
        assert_eq!(store.payment_slot(OrderId(1)).await.unwrap(), PaymentSlot::Empty);
        assert_eq!(store.fact(OrderId(1)).await.unwrap().unwrap().payment_written_at, None);
        store.record_payment(&payment(1, 8, None), t(1)).await.unwrap();
        let slot = store.payment_slot(OrderId(1)).await.unwrap();
        assert_eq!(judge(&slot, &payment(1, 8, None), t(1)), ApplyCheck::AlreadyApplied);
        hand.execute("DELETE FROM facts", []).unwrap();
        assert_eq!(store.payment_slot(OrderId(1)).await.unwrap(), PaymentSlot::NoOrder);
        assert_eq!(store.fact(OrderId(1)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn all_rows_are_read_page_by_page() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        let fill =
            "INSERT INTO facts (order_id, customer_id, order_ts) SELECT value, value, 1 FROM json_each(?1)";
        let ids = serde_json::to_string(&(1..=2_500).collect::<Vec<i64>>()).unwrap();
        raw(dir.path()).execute(fill, [ids]).unwrap();
        let facts: Vec<Fact> = store.facts().try_collect().await.unwrap();
        assert!(facts.iter().map(|fact| fact.order_id.0).eq(1..=2_500));
    }

    #[tokio::test]
    async fn a_payment_that_replaces_none_writes_one_row_and_one_that_does_writes_both_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        let other = process(dir.path());
        let rows = "SELECT count(*) FROM superseded_payments";
        let kept = || raw(dir.path()).query_row(rows, [], |row| row.get::<_, i64>(0)).unwrap();
        store.record_order(&order(1, 7), t(1)).await.unwrap();
        store.record_payment(&payment(1, 9, Some("0042")), t(2)).await.unwrap();
        store.record_payment(&payment(1, 9, Some("0042")), t(2)).await.unwrap();
        assert_eq!(kept(), 0);
        // Neither has read what the other wrote.
        other.record_payment(&payment(1, 10, None), t(3)).await.unwrap();
        store.record_payment(&payment(1, 8, None), t(1)).await.unwrap();
        let lost: Vec<_> = store.superseded_of(OrderId(1)).await.unwrap();
        assert_eq!(lost.iter().map(|lost| lost.t).collect::<Vec<_>>(), [t(2), t(1)]);
        assert!(lost[0].payment.matches(&payment(1, 9, Some("0042"))), "{lost:?}");
        assert!(lost[1].payment.matches(&payment(1, 8, None)), "{lost:?}");
    }

    #[tokio::test]
    async fn all_superseded_payments_are_read_page_by_page() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        let fill = "INSERT INTO superseded_payments (order_id, t, payment_id)
            SELECT value / 7, value % 7, 100 FROM json_each(?1)";
        let ids = serde_json::to_string(&(7..=2_507).collect::<Vec<i64>>()).unwrap();
        raw(dir.path()).execute(fill, [ids]).unwrap();
        let all: Vec<SupersededPayment> = store.superseded().try_collect().await.unwrap();
        let keys: Vec<_> = all.iter().map(|lost| (lost.order_id, std::cmp::Reverse(lost.t))).collect();
        assert_eq!(keys.len(), 2_501);
        assert!(keys.is_sorted());
    }

    #[test]
    fn the_view_has_the_contracts_columns() {
        let dir = tempfile::tempdir().unwrap();
        let _store = process(dir.path());
        let hand = raw(dir.path());
        let view = hand.prepare("SELECT * FROM orders_payments_facts").unwrap();
        let expected = "order_id customer_id item quantity price shipping_address order_status creation_date \
            payment_id payment_method card_last_four payment_status payment_datetime";
        assert_eq!(view.column_names().collect::<Vec<_>>().join(" "), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_same_events_in_any_order_make_the_same_row(
            mut events in proptest::collection::vec((any::<bool>(), 1i64..4, 1i64..4, 0usize..3), 1..8),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let mut rows = Vec::new();
            for _ in 0..2 {
                let dir = tempfile::tempdir().unwrap();
                let store = process(dir.path());
                runtime.block_on(async {
                    for &(is_order, time, id, card) in &events {
                        let card = [None, Some("0001"), Some("0002")][card];
                        if is_order {
                            store.record_order(&order(1, id), t(time)).await.unwrap();
                        } else {
                            store.record_payment(&payment(1, id, card), t(time)).await.unwrap();
                        }
                    }
                    rows.push(store.fact(OrderId(1)).await.unwrap());
                });
                events.reverse();
            }
            prop_assert_eq!(&rows[0], &rows[1]);
        }
    }
}
