//! Orders as clients see them.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::api::Api;
use super::confirmation::ConfirmationView;
use super::problem::Problem;
use ecom_domain::event_time::EventTime;
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::order::{OrderLine, OrderRecord};
use ecom_shop_domain::order_number;
use ecom_shop_domain::payment::PaymentRecord;
use ecom_shop_domain::time::rfc3339;
use ecom_shop_store::ReadGuarantee;

/// An order.
#[derive(Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderView {
    #[serde(flatten)]
    summary: OrderSummary,
    /// The lines.
    lines: Vec<LineView>,
    /// The price of all lines together.
    #[schema(value_type = f64)]
    merchandise_total: Box<RawValue>,
    /// The shipping fee.
    #[schema(value_type = f64)]
    shipping_fee: Box<RawValue>,
    /// The address to ship it to.
    shipping_address: String,
    /// The address to send the confirmation to.
    email: Option<String>,
    /// The last payment.
    payment: Option<PaymentSummary>,
    /// The confirmation; null before it was sent or given up.
    confirmation: Option<ConfirmationView>,
    /// Whether the fact table shows this status of the order.
    in_table: bool,
}

/// An order in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderSummary {
    /// The id.
    #[schema(example = 7_312_094_417_265_033_i64)]
    order_id: i64,
    /// The number, for people.
    #[schema(example = "ORD-6FT9-YK4W-8C9J")]
    number: String,
    /// The idempotency key it was created with.
    idempotency_key: String,
    /// Pending, Processing, Completed, Cancelled or Refused.
    status: &'static str,
    /// Why it was cancelled or refused.
    detail: Option<String>,
    /// The customer.
    customer_id: i64,
    /// The currency of all its amounts.
    currency: &'static str,
    /// The amount to be paid.
    #[schema(value_type = f64)]
    total: Box<RawValue>,
    /// When it was created.
    #[schema(format = "date-time")]
    created_at: String,
    /// The time at which its status began.
    #[schema(format = "date-time")]
    updated_at: String,
}

/// A line of an order.
#[derive(Serialize, ToSchema)]
pub(crate) struct LineView {
    /// The name of the item.
    item: String,
    /// The product; null for an item that is none.
    sku: Option<String>,
    /// The quantity.
    quantity: i64,
    /// The price of one, if it is known.
    #[schema(value_type = Option<f64>)]
    unit_price: Option<Box<RawValue>>,
}

/// A payment of an order.
#[derive(Serialize, ToSchema)]
pub(crate) struct PaymentSummary {
    /// The id.
    #[schema(example = "7840217733091245")]
    transaction_id: String,
    /// pending, processing, completed or failed.
    status: String,
    /// The method.
    payment_method: Option<String>,
    /// Why it failed.
    error_message: Option<String>,
}

/// A page of orders.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderList {
    /// The orders.
    orders: Vec<OrderSummary>,
    /// The token of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

impl OrderView {
    /// Returns an order with its last payment, and compares it with the fact table.
    pub(crate) async fn read(api: &Api, order: &OrderRecord) -> Result<Self, Problem> {
        let payment = last_payment(api, order).await?;
        let fact = match order.state.is_published() {
            true => api.backends.facts.fact(order.order_id).await?,
            false => None,
        };
        let in_table = fact.is_some_and(|fact| {
            fact.order_written_at == Some(EventTime::stored(order.state_at))
                && fact.order.order_status.as_deref() == Some(order.state.status())
        });
        Ok(Self::of(order, payment.as_ref(), in_table))
    }

    /// Returns an order with its last payment.
    pub(crate) fn of(order: &OrderRecord, payment: Option<&PaymentRecord>, in_table: bool) -> Self {
        let (currency, document) = (order.currency, &order.document);
        Self {
            summary: OrderSummary::of(order),
            lines: document.lines.iter().map(|line| LineView::of(line, currency)).collect(),
            merchandise_total: currency.to_json(document.merchandise_minor),
            shipping_fee: currency.to_json(document.shipping_minor),
            shipping_address: document.shipping_address.clone(),
            email: document.email.clone(),
            payment: payment.map(PaymentSummary::of),
            confirmation: order.notice.as_ref().map(ConfirmationView::of),
            in_table,
        }
    }
}

async fn last_payment(api: &Api, order: &OrderRecord) -> Result<Option<PaymentRecord>, Problem> {
    if order.document.payment_method.is_none() {
        // One that was recorded and is not begun yet.
        let next = api.payment_of(order.order_id, order.attempt + 1, ReadGuarantee::Committed).await?;
        if next.is_some() {
            return Ok(next);
        }
    }
    match order.attempt {
        0 => Ok(None),
        attempt => api.payment_of(order.order_id, attempt, ReadGuarantee::Committed).await,
    }
}

impl OrderSummary {
    fn of(order: &OrderRecord) -> Self {
        Self {
            order_id: order.order_id.0,
            number: order_number::format(order.order_id.0),
            idempotency_key: order.request.key.clone(),
            status: order.state.status(),
            detail: order.detail.clone(),
            customer_id: order.customer_id,
            currency: order.currency.code(),
            total: order.currency.to_json(order.total_minor),
            created_at: rfc3339(order.created_at),
            updated_at: rfc3339(order.state_at),
        }
    }
}

impl LineView {
    fn of(line: &OrderLine, currency: Currency) -> Self {
        Self {
            item: line.item.clone(),
            sku: line.sku.clone(),
            quantity: line.quantity,
            unit_price: line.unit_price_minor.map(|price| currency.to_json(price)),
        }
    }
}

impl PaymentSummary {
    fn of(payment: &PaymentRecord) -> Self {
        Self {
            transaction_id: payment.payment_id.to_string(),
            status: payment.state.as_str().to_lowercase(),
            payment_method: payment.payment_method.clone(),
            error_message: payment.error_message.clone(),
        }
    }
}

impl OrderList {
    pub(crate) fn of(orders: &[OrderRecord], next_page_token: Option<String>) -> Self {
        Self { orders: orders.iter().map(OrderSummary::of).collect(), next_page_token }
    }
}
