//! A confirmation to send.

use ecom_shop_domain::order::OrderRecord;
use ecom_shop_domain::order_number;

/// A confirmation of an order.
#[derive(Clone, Copy, Debug)]
pub struct Confirmation<'o> {
    /// The order as it is now.
    pub order: &'o OrderRecord,
    /// The time of the notice that this confirmation follows because somebody asked to send it again, in microseconds since
    /// the epoch; `None` for the first one.
    pub again_after: Option<i64>,
    /// The time of this attempt to send it, in microseconds since the epoch.
    pub at: i64,
}

impl Confirmation<'_> {
    /// Returns the id, its parts separated by this character: the same at every attempt, and another one if it is sent again
    /// on request, so that receivers drop duplicates and nothing else.
    pub fn id(&self, separator: char) -> String {
        let mut id = format!("{}{separator}confirmed", self.order.order_id);
        if let Some(again_after) = self.again_after {
            id.push_str(&format!("{separator}{again_after}"));
        }
        id
    }

    /// Returns the number of the order, as people know it.
    pub fn number(&self) -> String {
        order_number::format(self.order.order_id.0)
    }
}
