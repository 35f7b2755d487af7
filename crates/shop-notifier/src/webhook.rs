//! The sender to a webhook.

use async_trait::async_trait;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Serialize;
use serde_json::value::RawValue;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

use super::confirmation::Confirmation;
use super::sender::{SendError, Sender};
use ecom_shop_domain::time::rfc3339;

/// The type of the event.
const CONFIRMED: &str = "order.confirmed";
/// The longest part of an answer that is kept, in characters.
const ANSWER: usize = 200;

/// Posts each confirmation to a URL, signed as [Standard Webhooks](https://www.standardwebhooks.com) says. `webhook-id` is the
/// same at every attempt.
pub struct WebhookSender {
    url: Url,
    key: Webhook,
    http: Client,
}

/// The body of a request.
#[derive(Serialize)]
struct Event<'o> {
    r#type: &'static str,
    timestamp: String,
    data: Order<'o>,
}

/// The order, with the fields of the API.
#[derive(Serialize)]
struct Order<'o> {
    order_id: i64,
    number: String,
    customer_id: i64,
    total: Box<RawValue>,
    currency: &'static str,
    lines: Vec<Line<'o>>,
    email: Option<&'o str>,
}

/// A line of the order.
#[derive(Serialize)]
struct Line<'o> {
    item: &'o str,
    sku: Option<&'o str>,
    quantity: i64,
    unit_price: Option<Box<RawValue>>,
}

impl WebhookSender {
    /// Returns a sender to a URL, with this key.
    ///
    /// # Errors
    /// The HTTP client cannot be created.
    pub fn try_new(url: Url, key: Webhook) -> Result<Self, reqwest::Error> {
        let http = Client::builder().redirect(Policy::none()).build()?;
        Ok(Self { url, key, http })
    }
}

#[async_trait]
impl Sender for WebhookSender {
    fn needs_email(&self) -> bool {
        false
    }

    async fn send(&self, confirmation: &Confirmation<'_>) -> Result<(), SendError> {
        let (id, body) = (confirmation.id('-'), body(confirmation));
        let timestamp = confirmation.at / 1_000_000;
        let signature = self.key.sign(&id, timestamp, body.as_bytes());
        let signature =
            signature.map_err(|error| SendError::Permanent(format!("could not sign it: {error}")))?;
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .body(body);
        let mut answer = request.send().await.map_err(|error| {
            let cause = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
                .last()
                .map(ToString::to_string)
                .unwrap_or_default();
            SendError::Retryable(format!("the webhook did not answer: {cause}"))
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let beginning = answer.chunk().await.ok().flatten().unwrap_or_default();
        let text: String = String::from_utf8_lossy(&beginning).trim().chars().take(ANSWER).collect();
        let cause = format!("the webhook answered {status} {text}").trim_end().to_owned();
        Err(match status {
            StatusCode::GONE => SendError::Permanent(format!(
                "{cause}: it takes no confirmations any more, and shop.notifier.webhook.url must name another one"
            )),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                SendError::Retryable(cause)
            }
            status if status.is_redirection() => SendError::Retryable(format!(
                "{cause}: redirects are not followed, and shop.notifier.webhook.url must name its destination"
            )),
            status if status.is_client_error() => SendError::Permanent(cause),
            _ => SendError::Retryable(cause),
        })
    }
}

/// Returns the body of the request.
fn body(confirmation: &Confirmation<'_>) -> String {
    let order = confirmation.order;
    let lines = order.document.lines.iter().map(|line| Line {
        item: &line.item,
        sku: line.sku.as_deref(),
        quantity: line.quantity,
        unit_price: line.unit_price_minor.map(|minor| order.currency.to_json(minor)),
    });
    let event = Event {
        r#type: CONFIRMED,
        timestamp: rfc3339(confirmation.at),
        data: Order {
            order_id: order.order_id.0,
            number: confirmation.number(),
            customer_id: order.customer_id,
            total: order.currency.to_json(order.total_minor),
            currency: order.currency.code(),
            lines: lines.collect(),
            email: order.document.email.as_deref(),
        },
    };
    serde_json::to_string(&event).expect("texts and numbers by name make an object")
}
