//! The rows that people and programs see.

use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use serde::Serialize;

use ecom_codec::envelope::rfc3339;
use ecom_domain::fact::{Fact, SupersededPayment};
use ecom_store::{FactStore, StoreError};

/// The number of rows that are looked up at once.
const LOOKUPS: usize = 32;

/// The 13 columns of the fact table.
#[derive(Serialize)]
pub(super) struct Row<'f> {
    pub(super) order_id: i64,
    pub(super) customer_id: Option<i64>,
    pub(super) item: Option<&'f str>,
    pub(super) quantity: Option<i64>,
    pub(super) price: Option<f64>,
    pub(super) shipping_address: Option<&'f str>,
    pub(super) order_status: Option<&'f str>,
    pub(super) creation_date: Option<&'f str>,
    pub(super) payment_id: Option<i64>,
    pub(super) payment_method: Option<&'f str>,
    pub(super) card_last_four: Option<&'f str>,
    pub(super) payment_status: Option<&'f str>,
    pub(super) payment_datetime: Option<&'f str>,
}

impl<'f> From<&'f Fact> for Row<'f> {
    fn from(fact: &'f Fact) -> Self {
        let (order, payment) = (&fact.order, &fact.payment);
        Self {
            order_id: fact.order_id.0,
            customer_id: order.customer_id,
            item: order.item.as_deref(),
            quantity: order.quantity,
            price: order.price,
            shipping_address: order.shipping_address.as_deref(),
            order_status: order.order_status.as_deref(),
            creation_date: order.creation_date.as_deref(),
            payment_id: payment.payment_id,
            payment_method: payment.payment_method.as_deref(),
            card_last_four: payment.card_last_four.as_deref(),
            payment_status: payment.payment_status.as_deref(),
            payment_datetime: payment.payment_datetime.as_deref(),
        }
    }
}

/// A payment that lost, with the payment that it lost against.
#[derive(Serialize)]
pub(super) struct SupersededRow {
    pub(super) order_id: i64,
    pub(super) payment_id: Option<i64>,
    pub(super) payment_method: Option<String>,
    pub(super) card_last_four: Option<String>,
    pub(super) payment_status: Option<String>,
    pub(super) payment_datetime: Option<String>,
    pub(super) event_time: String,
    /// The next newer payment of the order; `None` where the row has no newer one any more.
    pub(super) superseded_by: Option<i64>,
    #[serde(skip)]
    #[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "Parquet has a type for it"))]
    pub(super) event_time_us: i64,
}

impl SupersededRow {
    fn new(superseded: SupersededPayment, superseded_by: Option<i64>) -> Self {
        let SupersededPayment { order_id, t, payment } = superseded;
        Self {
            order_id: order_id.0,
            payment_id: payment.payment_id,
            payment_method: payment.payment_method,
            card_last_four: payment.card_last_four,
            payment_status: payment.payment_status,
            payment_datetime: payment.payment_datetime,
            event_time: rfc3339(t.micros()),
            superseded_by,
            event_time_us: t.micros(),
        }
    }

    /// Returns the superseded payments of one order, newest first.
    pub(super) fn of(superseded: Vec<SupersededPayment>, fact: Option<&Fact>) -> Vec<Self> {
        let mut newer = fact.and_then(|fact| fact.payment.payment_id);
        let row = |superseded: SupersededPayment| {
            let by = std::mem::replace(&mut newer, superseded.payment.payment_id);
            Self::new(superseded, by)
        };
        superseded.into_iter().map(row).collect()
    }

    /// Streams those of all orders. The current payment of each order is looked up.
    pub(super) fn all(facts: &dyn FactStore) -> BoxStream<'_, Result<Self, StoreError>> {
        let orders = by_order(facts.superseded());
        let rows = orders.map(move |of_order| async move {
            let of_order = of_order?;
            let order_id = of_order[0].order_id;
            Ok::<_, StoreError>(Self::of(of_order, facts.fact(order_id).await?.as_ref()))
        });
        let rows = rows.buffered(LOOKUPS);
        rows.map_ok(|rows| futures_util::stream::iter(rows).map(Ok)).try_flatten().boxed()
    }
}

/// Groups the payments of a stream that follow each other and are of one order.
fn by_order<'s>(
    superseded: BoxStream<'s, Result<SupersededPayment, StoreError>>,
) -> impl futures_util::Stream<Item = Result<Vec<SupersededPayment>, StoreError>> + Send + 's {
    let start = (superseded, None::<SupersededPayment>);
    futures_util::stream::try_unfold(start, |(mut rest, mut first)| async move {
        let mut of_order: Vec<SupersededPayment> = first.take().into_iter().collect();
        while let Some(next) = rest.try_next().await? {
            if of_order.first().is_some_and(|first| first.order_id != next.order_id) {
                first = Some(next);
                break;
            }
            of_order.push(next);
        }
        Ok((!of_order.is_empty()).then_some((of_order, (rest, first))))
    })
}
