//! Confirmations as mails.

use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};

use super::confirmation::Confirmation;
use super::sender::SendError;
use ecom_shop_domain::order::OrderRecord;

/// The header that keeps automatic answers away (RFC 3834).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// Returns the confirmation as a mail from this sender: plain text, whose `Message-ID` is the same at every attempt.
///
/// # Errors
/// Permanent: the order's e-mail address is none.
pub fn mail(confirmation: &Confirmation<'_>, from: &Mailbox) -> Result<Message, SendError> {
    let order = confirmation.order;
    let to = order.document.email.as_deref().unwrap_or_default().trim();
    let to: Mailbox = to
        .parse()
        .map_err(|_| SendError::Permanent("the order's e-mail address is not a valid one".to_owned()))?;
    let at = Duration::from_micros(u64::try_from(confirmation.at).unwrap_or_default());
    let message_id = format!("<{}@{}>", confirmation.id('.'), from.email.domain());
    let mail = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(format!("Order {} is confirmed", confirmation.number()))
        .date(SystemTime::UNIX_EPOCH + at)
        .message_id(Some(message_id))
        .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .body(text(confirmation));
    mail.map_err(|error| SendError::Permanent(format!("could not write the mail: {error}")))
}

/// Returns the text of the mail.
fn text(confirmation: &Confirmation<'_>) -> String {
    let OrderRecord { currency, total_minor, document, .. } = confirmation.order;
    let mut text =
        format!("Thank you for your order {}. It is paid and confirmed.\n\n", confirmation.number());
    for line in &document.lines {
        text.push_str(&format!("{} × {}", line.quantity, one_line(&line.item)));
        if let Some(price) = line.unit_price_minor {
            text.push_str(&format!(", {} {currency} each", currency.format(price)));
        }
        text.push('\n');
    }
    if document.shipping_minor != 0 {
        text.push_str(&format!("Shipping: {} {currency}\n", currency.format(document.shipping_minor)));
    }
    text.push_str(&format!(
        "Total: {} {currency}\n\nIt will be shipped to:\n",
        currency.format(*total_minor)
    ));
    for line in document.shipping_address.lines() {
        text.push_str(&format!("{}\n", one_line(line)));
    }
    text
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
