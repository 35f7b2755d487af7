//! The ports on maps in memory, for tests: one store, whose calls a [`CallFaults`] can delay and fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::{
    CartLine, CartStore, Created, Cursor, InventoryStore, OrderStore, Page, PaymentStore, ReadGuarantee,
};
use ecom_domain::order::OrderId;
use ecom_shop_domain::inventory::{Product, Reservation, Stock, StockChange};
use ecom_shop_domain::notice::Notice;
use ecom_shop_domain::order::OrderRecord;
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_store::StoreError;

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallFault {
    /// It succeeds.
    None,
    /// It fails and changes nothing.
    Lost,
    /// It is applied, and its answer is lost.
    AnswerLost,
}

/// Decides what becomes of calls; `()` lets all of them succeed.
#[async_trait]
pub trait CallFaults: Send + Sync {
    /// Returns what becomes of a call, after any delay. `what` is the operation, as a verb phrase.
    async fn next(&self, _what: &'static str) -> CallFault {
        CallFault::None
    }
}

impl CallFaults for () {}

/// The tables.
#[derive(Default)]
pub struct Tables {
    /// Orders by id.
    pub orders: BTreeMap<OrderId, OrderRecord>,
    /// Payments by id.
    pub payments: BTreeMap<i64, PaymentRecord>,
    /// Products by SKU.
    pub products: BTreeMap<String, Product>,
    /// Reservations by SKU and order.
    pub reservations: BTreeMap<(String, OrderId), Reservation>,
    /// Lines of carts by customer and SKU: quantity, `None` once removed, and time.
    pub carts: BTreeMap<(i64, String), (Option<i64>, i64)>,
}

/// A store in memory.
#[derive(Default)]
pub struct MemoryShop<F = ()> {
    faults: F,
    tables: Arc<Mutex<Tables>>,
}

impl<F> MemoryShop<F> {
    /// Returns an empty store.
    pub fn new(faults: F) -> Self {
        Self { faults, tables: Arc::default() }
    }

    /// Returns a store on the same tables with other faults.
    pub fn sharing<G>(&self, faults: G) -> MemoryShop<G> {
        MemoryShop { faults, tables: Arc::clone(&self.tables) }
    }

    /// Locks the tables, to read or change them past the faults.
    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: CallFaults> MemoryShop<F> {
    async fn call<T>(
        &self,
        what: &'static str,
        apply: impl FnOnce(&mut Tables) -> T,
    ) -> Result<T, StoreError> {
        let fault = self.faults.next(what).await;
        let failed = || StoreError::Unavailable { what, on: "memory".into(), source: "no answer".into() };
        if fault == CallFault::Lost {
            return Err(failed());
        }
        let result = apply(&mut self.tables());
        if fault == CallFault::AnswerLost { Err(failed()) } else { Ok(result) }
    }
}

fn create<K: Ord, R: Clone>(table: &mut BTreeMap<K, R>, id: K, record: &R) -> Created<R> {
    let is_new = !table.contains_key(&id);
    let record = table.entry(id).or_insert_with(|| record.clone()).clone();
    Created { record, is_new }
}

/// Returns the newest of the records before a place.
fn newest<R>(mut records: Vec<(Cursor, R)>, before: Option<Cursor>, limit: usize) -> Page<R, Cursor> {
    records.retain(|(cursor, _)| before.is_none_or(|before| *cursor < before));
    records.sort_by_key(|(cursor, _)| std::cmp::Reverse(*cursor));
    let is_end = records.len() <= limit;
    records.truncate(limit);
    let next = records.last().map(|(cursor, _)| *cursor).filter(|_| !is_end);
    Page { records: records.into_iter().map(|(_, record)| record).collect(), next }
}

#[async_trait]
impl<F: CallFaults> OrderStore for MemoryShop<F> {
    async fn create_order(&self, order: &OrderRecord) -> Result<Created<OrderRecord>, StoreError> {
        self.call("create an order", |tables| create(&mut tables.orders, order.order_id, order)).await
    }

    async fn move_order(&self, next: &OrderRecord) -> Result<Option<OrderRecord>, StoreError> {
        self.call("move an order", |tables| {
            let stored = tables.orders.get_mut(&next.order_id)?;
            if stored.revision + 1 == next.revision {
                *stored = OrderRecord { notice: stored.notice.take(), ..next.clone() };
            }
            Some(stored.clone())
        })
        .await
    }

    async fn set_notice(
        &self,
        order_id: OrderId,
        before: Option<&Notice>,
        notice: &Notice,
    ) -> Result<Option<Notice>, StoreError> {
        self.call("write the notice of an order", |tables| {
            let stored = tables.orders.get_mut(&order_id)?;
            if stored.notice.as_ref() == before {
                stored.notice = Some(notice.clone());
            }
            stored.notice.clone()
        })
        .await
    }

    async fn order(&self, order_id: OrderId, _: ReadGuarantee) -> Result<Option<OrderRecord>, StoreError> {
        self.call("read an order", |tables| tables.orders.get(&order_id).cloned()).await
    }

    async fn orders_after(
        &self,
        place: Option<i64>,
        limit: usize,
    ) -> Result<Page<OrderRecord, i64>, StoreError> {
        self.call("read orders", |tables| {
            let from = OrderId(place.map_or(i64::MIN, |place| place.saturating_add(1)));
            let mut records: Vec<_> =
                tables.orders.range(from..).map(|(_, order)| order.clone()).take(limit + 1).collect();
            let is_end = records.len() <= limit;
            records.truncate(limit);
            let next = records.last().map(|order| order.order_id.0).filter(|_| !is_end);
            Page { records, next }
        })
        .await
    }

    async fn orders_of_customer(
        &self,
        customer_id: i64,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<OrderRecord, Cursor>, StoreError> {
        self.call("read the orders of a customer", |tables| {
            let own = tables.orders.values().filter(|order| order.customer_id == customer_id);
            let own = own.map(|order| (Cursor { at: order.created_at, id: order.order_id.0 }, order.clone()));
            newest(own.collect(), before, limit)
        })
        .await
    }

    fn due_orders(&self, after: i64, through: i64) -> BoxStream<'_, Result<OrderId, StoreError>> {
        let due = self.call("read due orders", move |tables| -> Vec<_> {
            let due = tables
                .orders
                .values()
                .filter(|order| order.due_at.is_some_and(|at| after < at && at <= through));
            due.map(|order| order.order_id).collect()
        });
        scan(due)
    }

    fn orders(&self) -> BoxStream<'_, Result<OrderRecord, StoreError>> {
        scan(self.call("read all orders", |tables| tables.orders.values().cloned().collect()))
    }
}

#[async_trait]
impl<F: CallFaults> PaymentStore for MemoryShop<F> {
    async fn create_payment(&self, payment: &PaymentRecord) -> Result<Created<PaymentRecord>, StoreError> {
        self.call("create a payment", |tables| create(&mut tables.payments, payment.payment_id, payment))
            .await
    }

    async fn move_payment(&self, next: &PaymentRecord) -> Result<Option<PaymentRecord>, StoreError> {
        self.call("move a payment", |tables| {
            let stored = tables.payments.get_mut(&next.payment_id)?;
            if stored.revision + 1 == next.revision {
                *stored = next.clone();
            }
            Some(stored.clone())
        })
        .await
    }

    async fn payment(&self, payment_id: i64, _: ReadGuarantee) -> Result<Option<PaymentRecord>, StoreError> {
        self.call("read a payment", |tables| tables.payments.get(&payment_id).cloned()).await
    }

    async fn payments_before(
        &self,
        state: Option<PaymentState>,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<PaymentRecord, Cursor>, StoreError> {
        self.call("read payments", |tables| {
            let of_state =
                tables.payments.values().filter(|payment| state.is_none_or(|state| payment.state == state));
            let of_state = of_state
                .map(|payment| (Cursor { at: payment.created_at, id: payment.payment_id }, payment.clone()));
            newest(of_state.collect(), before, limit)
        })
        .await
    }

    fn due_payments(&self, after: i64, through: i64) -> BoxStream<'_, Result<i64, StoreError>> {
        let due = self.call("read due payments", move |tables| -> Vec<_> {
            let due = tables
                .payments
                .values()
                .filter(|payment| payment.due_at.is_some_and(|at| after < at && at <= through));
            due.map(|payment| payment.payment_id).collect()
        });
        scan(due)
    }

    fn payments(&self) -> BoxStream<'_, Result<PaymentRecord, StoreError>> {
        scan(self.call("read all payments", |tables| tables.payments.values().cloned().collect()))
    }
}

#[async_trait]
impl<F: CallFaults> InventoryStore for MemoryShop<F> {
    async fn product(&self, sku: &str, _: ReadGuarantee) -> Result<Option<Product>, StoreError> {
        self.call("read a product", |tables| tables.products.get(sku).cloned()).await
    }

    async fn stock(
        &self,
        sku: &str,
        orders: &[OrderId],
    ) -> Result<Option<(Stock, BTreeMap<OrderId, Reservation>)>, StoreError> {
        self.call("read the stock of a product", |tables| {
            let stock = tables.products.get(sku)?.stock;
            let of_order = |id: &OrderId| Some((*id, *tables.reservations.get(&(sku.to_owned(), *id))?));
            Some((stock, orders.iter().filter_map(of_order).collect()))
        })
        .await
    }

    async fn change_stock(&self, change: &StockChange) -> Result<bool, StoreError> {
        self.call("change the stock of a product", |tables| {
            let Some(product) = tables.products.get_mut(&change.sku) else { return false };
            if product.stock.version + 1 != change.stock.version {
                return false;
            }
            product.stock = change.stock;
            let rows = change.reservations.iter();
            tables.reservations.extend(rows.map(|(id, row)| ((change.sku.clone(), *id), *row)));
            true
        })
        .await
    }

    async fn put_product(&self, product: &Product) -> Result<bool, StoreError> {
        self.call("write a product", |tables| {
            let version = tables.products.get(&product.sku).map_or(0, |stored| stored.stock.version);
            let is_next = version + 1 == product.stock.version;
            if is_next {
                tables.products.insert(product.sku.clone(), product.clone());
            }
            is_next
        })
        .await
    }

    async fn products_after(
        &self,
        sku: Option<&str>,
        limit: usize,
    ) -> Result<Page<Product, String>, StoreError> {
        self.call("read products", |tables| {
            let behind = tables.products.values().filter(|product| sku.is_none_or(|sku| *product.sku > *sku));
            let mut records: Vec<_> = behind.take(limit + 1).cloned().collect();
            let is_end = records.len() <= limit;
            records.truncate(limit);
            let next = records.last().map(|product| product.sku.clone()).filter(|_| !is_end);
            Page { records, next }
        })
        .await
    }

    fn reservations(&self) -> BoxStream<'_, Result<(String, OrderId, Reservation), StoreError>> {
        scan(self.call("read all reservations", |tables| {
            tables.reservations.iter().map(|((sku, id), row)| (sku.clone(), *id, *row)).collect()
        }))
    }
}

#[async_trait]
impl<F: CallFaults> CartStore for MemoryShop<F> {
    async fn put_line(
        &self,
        customer_id: i64,
        sku: &str,
        quantity: i64,
        written_at: i64,
    ) -> Result<(), StoreError> {
        self.call("write a line of a cart", |tables| {
            let line = tables.carts.entry((customer_id, sku.to_owned())).or_insert((None, i64::MIN));
            if line.1 < written_at || (line.1 == written_at && line.0.is_some_and(|stored| stored < quantity))
            {
                *line = (Some(quantity), written_at);
            }
        })
        .await
    }

    async fn remove_line(&self, customer_id: i64, sku: &str, written_at: i64) -> Result<(), StoreError> {
        self.call("remove a line of a cart", |tables| {
            let line = tables.carts.entry((customer_id, sku.to_owned())).or_insert((None, i64::MIN));
            if line.1 <= written_at {
                *line = (None, written_at);
            }
        })
        .await
    }

    async fn cart(&self, customer_id: i64) -> Result<Vec<CartLine>, StoreError> {
        self.call("read a cart", |tables| {
            let own = tables.carts.iter().filter(|((customer, _), _)| *customer == customer_id);
            own.filter_map(|((_, sku), (quantity, written_at))| {
                Some(CartLine { sku: sku.clone(), quantity: (*quantity)?, written_at: *written_at })
            })
            .collect()
        })
        .await
    }
}

fn scan<'a, T: Send + 'a>(
    read: impl Future<Output = Result<Vec<T>, StoreError>> + Send + 'a,
) -> BoxStream<'a, Result<T, StoreError>> {
    stream::once(read)
        .flat_map(|rows| match rows {
            Ok(rows) => stream::iter(rows.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        })
        .boxed()
}
