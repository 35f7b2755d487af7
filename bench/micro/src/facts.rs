//! A fact table that binds the values of its statements as Cassandra's does, and answers at once.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ecom::domain::event_time::EventTime;
use ecom::domain::fact::{Fact, PaymentSlot};
use ecom::domain::order::{Order, OrderId};
use ecom::domain::payment::Payment;
use ecom::store::cassandra::values;
use ecom::store::{FactStore, StoreError};
use futures_util::stream::{self, BoxStream, StreamExt};
use scylla::frame::response::result::{ColumnSpec, ColumnType, NativeType, TableSpec};
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;

use NativeType::{BigInt, Double, Text};

/// What the server says of the bound values of each statement, in their order.
const ORDER: [ColumnSpec<'_>; 9] = [
    column("order_id", BigInt),
    column("customer_id", BigInt),
    column("item", Text),
    column("quantity", BigInt),
    column("price", Double),
    column("shipping_address", Text),
    column("order_status", Text),
    column("creation_date", Text),
    column("[timestamp]", BigInt),
];
const SLOT: [ColumnSpec<'_>; 1] = [column("order_id", BigInt)];
const PAYMENT: [ColumnSpec<'_>; 7] = [
    column("[timestamp]", BigInt),
    column("payment_id", BigInt),
    column("payment_method", Text),
    column("card_last_four", Text),
    column("payment_status", Text),
    column("payment_datetime", Text),
    column("order_id", BigInt),
];

const fn column(name: &'static str, kind: NativeType) -> ColumnSpec<'static> {
    let table = TableSpec::borrowed("ecom_store", "orders_payments_facts");
    ColumnSpec::borrowed(name, ColumnType::Native(kind), table)
}

/// The table: every order is there, none is paid. The buffer is the driver's part, and reused.
#[derive(Default)]
pub struct Facts(Mutex<Vec<u8>>);

impl Facts {
    /// Binds an order's values.
    pub async fn bind_order(&self, order: &Order<'_>, t: EventTime) -> Result<(), StoreError> {
        self.bind(&ORDER, &values::order(order, t))
    }

    fn bind(&self, columns: &[ColumnSpec<'_>], values: &impl SerializeRow) -> Result<(), StoreError> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.clear();
        let context = RowSerializationContext::from_specs(columns);
        let bound = values.serialize(&context, &mut RowWriter::new(&mut buffer));
        bound.expect("the columns are the statement's");
        black_box(&buffer);
        Ok(())
    }
}

#[async_trait]
impl FactStore for Facts {
    async fn record_order(&self, order: &Order<'_>, t: EventTime) -> Result<(), StoreError> {
        self.bind_order(order, t).await
    }

    async fn payment_slot(&self, order_id: OrderId) -> Result<PaymentSlot, StoreError> {
        self.bind(&SLOT, &values::key(order_id)).map(|()| PaymentSlot::Empty)
    }

    async fn record_payment(&self, payment: &Payment<'_>, t: EventTime) -> Result<(), StoreError> {
        self.bind(&PAYMENT, &values::payment(payment, t))
    }

    async fn fact(&self, _: OrderId) -> Result<Option<Fact>, StoreError> {
        Ok(None)
    }

    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>> {
        stream::empty().boxed()
    }

    fn describe(&self) -> String {
        "a table that answers at once".to_owned()
    }
}
