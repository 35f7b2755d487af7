//! The fact store port on Cassandra.

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use scylla::DeserializeRow;

use super::errors::StatementError;
use super::groups::Write;
use super::store::CassandraStore;
use super::superseded::{NewerPayment, RecordedPayment};
use super::values;
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells, PaymentCells, PaymentSlot, SupersededPayment};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_store::{FactRange, FactStore, StoreError};

/// The number of nodes beyond which groups do not grow.
const MAX_NODES_PER_GROUP: usize = 10;

#[async_trait]
impl FactStore for CassandraStore {
    async fn record_orders(&self, orders: &[(&Order<'_>, EventTime)]) -> Result<(), StoreError> {
        let writes = orders.iter().map(|(order, t)| {
            let bytes = values::order_bytes(order);
            Write::new(&self.statements.record_order, values::order(order, *t), bytes)
        });
        self.write_all(&writes.collect::<Vec<_>>())
            .await
            .map_err(|error| error.at("record an order", &self.name))
    }

    async fn payment_slots(&self, order_ids: &[OrderId]) -> Result<Vec<PaymentSlot>, StoreError> {
        self.slots(order_ids).await.map_err(|error| error.at("look up an order", &self.name))
    }

    async fn record_payments(&self, payments: &[(&Payment<'_>, EventTime)]) -> Result<(), StoreError> {
        let statements = &self.statements;
        let writes = payments.iter().map(|(payment, t)| {
            let bytes = values::payment_bytes(payment);
            (Write::new(&statements.record_payment, values::payment(payment, *t), bytes), payment, *t)
        });
        let done = if self.record_all_payments {
            let writes = writes.map(|(write, payment, t)| {
                write.boxed().with(&statements.record_beside, Box::new(values::beside(payment, t)))
            });
            self.write_all(&writes.collect::<Vec<_>>()).await
        } else {
            self.write_all(&writes.map(|(write, ..)| write).collect::<Vec<_>>()).await
        };
        done.map_err(|error| error.at("record a payment", &self.name))
    }

    /// As many as make full requests to each node, if the nodes own the same share.
    fn group_size(&self) -> usize {
        let nodes = self.owners.count(&self.session).clamp(1, MAX_NODES_PER_GROUP);
        self.request_limit.partitions.saturating_mul(nodes)
    }

    async fn fact(&self, order_id: OrderId) -> Result<Option<Fact>, StoreError> {
        let read = async {
            let response = self.session.execute_unpaged(&self.statements.fact, values::key(order_id)).await?;
            let rows = response.into_rows_result()?;
            Ok::<_, StatementError>(rows.maybe_first_row::<FactRow>()?.map(Fact::from))
        };
        read.await.map_err(|error| error.at("read a fact", &self.name))
    }

    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>> {
        self.rows::<FactRow, _>("read the facts", &self.statements.facts, ()).map_ok(Fact::from).boxed()
    }

    async fn fact_ranges(&self, at_most: u32) -> Result<Vec<FactRange>, StoreError> {
        let parts = i128::from(at_most.max(1));
        let end = |nth: i128| i128::from(i64::MIN) + (nth << 64) / parts;
        Ok(FactRange::ending_at((1..parts).filter_map(|nth| i64::try_from(end(nth)).ok())))
    }

    fn facts_in(&self, range: FactRange) -> BoxStream<'_, Result<Fact, StoreError>> {
        let tokens = (range.after, range.through);
        self.rows::<FactRow, _>("read the facts", &self.statements.facts_in, tokens)
            .map_ok(Fact::from)
            .boxed()
    }

    async fn record_superseded(&self, superseded: &SupersededPayment) -> Result<(), StoreError> {
        let values = values::superseded(superseded);
        let done = self.session.execute_unpaged(&self.statements.record_superseded, values).await;
        done.map(drop)
            .map_err(|error| StatementError::from(error).at("record a superseded payment", &self.name))
    }

    async fn superseded_of(&self, order_id: OrderId) -> Result<Vec<SupersededPayment>, StoreError> {
        const WHAT: &str = "read the superseded payments of an order";
        let mut newer = NewerPayment::default();
        self.rows::<RecordedPayment, _>(WHAT, &self.statements.superseded_of, (order_id.0,))
            .try_filter_map(move |row| std::future::ready(Ok(newer.supersedes(row))))
            .try_collect()
            .await
    }

    fn superseded(&self) -> BoxStream<'_, Result<SupersededPayment, StoreError>> {
        let mut newer = NewerPayment::default();
        self.rows::<RecordedPayment, _>("read the superseded payments", &self.statements.superseded, ())
            .try_filter_map(move |row| std::future::ready(Ok(newer.supersedes(row))))
            .boxed()
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// `order_id`, `customer_id`, the payment columns, and `WRITETIME(payment_id)`.
pub(super) type SlotRow<'a> = (
    i64,
    Option<i64>,
    Option<i64>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<i64>,
);

/// Returns the payment slot of a row. A row has an order where `customer_id` is not null: the UPDATE of a
/// payment creates rows, too.
pub(super) fn slot(row: Option<SlotRow<'_>>) -> PaymentSlot {
    let text = |cell: Option<&str>| cell.map(str::to_owned);
    match row {
        None | Some((_, None, ..)) => PaymentSlot::NoOrder,
        Some((_, Some(_), Some(payment_id), method, card, status, datetime, Some(written_at))) => {
            PaymentSlot::Taken {
                payment: PaymentCells {
                    payment_id: Some(payment_id),
                    payment_method: text(method),
                    card_last_four: text(card),
                    payment_status: text(status),
                    payment_datetime: text(datetime),
                },
                written_at: EventTime::stored(written_at),
            }
        }
        Some((_, Some(_), ..)) => PaymentSlot::Empty,
    }
}

/// A row of the fact table.
#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
struct FactRow {
    order_id: i64,
    customer_id: Option<i64>,
    item: Option<String>,
    quantity: Option<i64>,
    price: Option<f64>,
    shipping_address: Option<String>,
    order_status: Option<String>,
    creation_date: Option<String>,
    payment_id: Option<i64>,
    payment_method: Option<String>,
    card_last_four: Option<String>,
    payment_status: Option<String>,
    payment_datetime: Option<String>,
    order_written_at: Option<i64>,
    payment_written_at: Option<i64>,
}

impl From<FactRow> for Fact {
    fn from(row: FactRow) -> Self {
        Self {
            order_id: OrderId(row.order_id),
            order: OrderCells {
                customer_id: row.customer_id,
                item: row.item,
                quantity: row.quantity,
                price: row.price,
                shipping_address: row.shipping_address,
                order_status: row.order_status,
                creation_date: row.creation_date,
            },
            order_written_at: row.order_written_at.map(EventTime::stored),
            payment: PaymentCells {
                payment_id: row.payment_id,
                payment_method: row.payment_method,
                card_last_four: row.card_last_four,
                payment_status: row.payment_status,
                payment_datetime: row.payment_datetime,
            },
            payment_written_at: row.payment_written_at.map(EventTime::stored),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_customer_has_no_order() {
        assert_eq!(slot(None), PaymentSlot::NoOrder);
        let ghost = (1, None, Some(1), Some("PayPal"), None, Some("Completed"), Some("now"), Some(5));
        assert_eq!(slot(Some(ghost)), PaymentSlot::NoOrder);
    }

    #[test]
    fn an_order_without_a_payment_id_is_an_empty_slot() {
        assert_eq!(slot(Some((1, Some(7), None, None, None, None, None, None))), PaymentSlot::Empty);
    }

    #[test]
    fn a_taken_slot_has_every_cell_and_its_write_time() {
        let row = (1, Some(7), Some(1), Some("PayPal"), None, Some("Completed"), Some("now"), Some(5));
        let PaymentSlot::Taken { payment, written_at } = slot(Some(row)) else { panic!("it is taken") };
        assert_eq!(written_at, EventTime::stored(5));
        assert_eq!(payment.payment_method.as_deref(), Some("PayPal"));
        assert_eq!(payment.card_last_four, None);
    }

    use crate::testing::in_keyspace;
    use scylla::response::PagingState;

    fn order(id: i64) -> Order<'static> {
        Order {
            order_id: OrderId(id),
            customer_id: 101,
            item: "Laptop".into(),
            quantity: 2,
            price: 412.73,
            shipping_address: "1 Main St".into(),
            order_status: "Shipped".into(),
            creation_date: "2024-01-21".into(),
        }
    }

    fn payment(id: i64, card: Option<&str>) -> Payment<'static> {
        Payment {
            payment_id: id,
            order_id: OrderId(1),
            payment_method: "Credit Card".into(),
            card_last_four: card.and_then(ecom_domain::payment::CardLastFour::try_new),
            payment_status: "Completed".into(),
            payment_datetime: "2024-01-21T80:01:30Z".into(),
        }
    }

    const T: i64 = 1_705_831_290_000_000;

    #[tokio::test]
    async fn a_page_of_facts_has_fewer_tombstones_than_cassandra_warns_of() {
        in_keyspace("page", async |scratch| {
            let store = &scratch.store;
            for id in 1..=1_500 {
                let payment = Payment { order_id: OrderId(id), ..payment(id, None) };
                store.record_payment(&payment, EventTime::stored(T)).await.expect("written");
            }
            let facts = &store.statements.facts;
            let page = store.session().execute_single_page(facts, (), PagingState::start()).await;
            let (page, _) = page.expect("read");
            assert_eq!(page.warnings().collect::<Vec<_>>(), Vec::<&str>::new());
        })
        .await;
    }

    #[tokio::test]
    async fn of_two_payments_the_later_stays_whole_in_either_order_of_arrival() {
        in_keyspace("order", async |scratch| {
            let store = &scratch.store;
            let later = payment(2, None);
            store.record_order(&order(1), EventTime::stored(T)).await.expect("written");
            assert_eq!(store.payment_slot(OrderId(1)).await.expect("read"), PaymentSlot::Empty);
            for (t, payment) in
                [(T + 1, payment(1, Some("4242"))), (T + 2, later.clone()), (T, payment(3, Some("0001")))]
            {
                store.record_payment(&payment, EventTime::stored(t)).await.expect("written");
            }
            store.record_order(&order(1), EventTime::stored(T)).await.expect("written again");
            let fact = store.fact(OrderId(1)).await.expect("read").expect("there");
            assert!(fact.order.matches(&order(1)) && fact.payment.matches(&later), "{fact:?}");
            assert_eq!(fact.order_written_at, Some(EventTime::stored(T)));
            assert_eq!(fact.payment_written_at, Some(EventTime::stored(T + 2)));
            let PaymentSlot::Taken { payment: current, written_at } =
                store.payment_slot(OrderId(1)).await.expect("read")
            else {
                panic!("there is a payment");
            };
            assert!(current.matches(&later));
            assert_eq!(written_at, EventTime::stored(T + 2));
        })
        .await;
    }

    #[tokio::test]
    async fn a_payment_without_its_order_creates_a_row_without_an_order() {
        in_keyspace("ghost", async |scratch| {
            let store = &scratch.store;
            assert_eq!(store.fact(OrderId(1)).await.expect("read"), None);
            store.record_payment(&payment(1, None), EventTime::stored(T)).await.expect("written");
            assert_eq!(store.payment_slot(OrderId(1)).await.expect("read"), PaymentSlot::NoOrder);
            assert!(!store.fact(OrderId(1)).await.expect("read").expect("a row").has_order());
        })
        .await;
    }

    #[tokio::test]
    async fn a_scan_reads_every_row_once_over_several_pages() {
        in_keyspace("scan", async |scratch| {
            let store = &scratch.store;
            let all = 1..=9_001;
            futures_util::stream::iter(all.clone())
                .map(|id| async move { store.record_order(&order(id), EventTime::stored(T)).await })
                .buffer_unordered(128)
                .try_collect::<()>()
                .await
                .expect("written");
            let mut ids: Vec<i64> =
                store.facts().map_ok(|fact| fact.order_id.0).try_collect().await.expect("read");
            ids.sort_unstable();
            assert!(ids.into_iter().eq(all));
        })
        .await;
    }

    #[tokio::test]
    async fn a_statement_that_can_never_succeed_is_refused_and_not_an_outage() {
        in_keyspace("refused", async |scratch| {
            let store = &scratch.store;
            store.record_order(&order(1), EventTime::stored(T)).await.expect("written");
            scratch.cql("DROP TABLE ecom_store.orders_payments_facts").await;
            let error = store.record_order(&order(1), EventTime::stored(T)).await.expect_err("no table");
            assert!(matches!(error, StoreError::Refused { .. }), "{error}");
            assert!(error.to_string().contains(&store.describe()), "{error}");
        })
        .await;
    }

    #[tokio::test]
    async fn of_a_refused_group_each_order_that_is_valid_can_be_written_alone() {
        in_keyspace("refused_member", async |scratch| {
            let store = &scratch.store;
            // Cassandra does not take this write timestamp.
            let t = |id: i64| EventTime::stored(if id == 7 { i64::MIN } else { T });
            let orders: Vec<_> = (1..=10).map(order).collect();
            let orders: Vec<_> = orders.iter().map(|order| (order, t(order.order_id.0))).collect();
            let error = store.record_orders(&orders).await.expect_err("one is invalid");
            assert!(matches!(error, StoreError::Refused { .. }), "{error}");
            for (order, t) in &orders {
                let alone = store.record_order(order, *t).await;
                assert_eq!(alone.is_err(), order.order_id.0 == 7, "{alone:?}");
            }
            let ids: Vec<_> = (1..=10).map(OrderId).collect();
            let slots = store.payment_slots(&ids).await.expect("read");
            let is_there = slots.iter().map(|slot| *slot == PaymentSlot::Empty);
            assert!(is_there.eq((1..=10).map(|id| id != 7)), "{slots:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn an_update_made_by_hand_wins_over_older_events() {
        in_keyspace("hand", async |scratch| {
            let store = &scratch.store;
            store.record_order(&order(1), EventTime::stored(T)).await.expect("written");
            let by_hand =
                "UPDATE ecom_store.orders_payments_facts SET order_status = 'Lost' WHERE order_id = 1";
            scratch.cql(by_hand).await;
            store.record_order(&order(1), EventTime::stored(T + 1)).await.expect("written");
            let fact = store.fact(OrderId(1)).await.expect("read").expect("there");
            assert_eq!(fact.order.order_status.as_deref(), Some("Lost"));
        })
        .await;
    }
}
