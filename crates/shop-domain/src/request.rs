//! The message that asks the payment processor to look at an order or a payment. It is a pointer: what is to be done
//! follows from the record.

use serde::{Deserialize, Serialize};

use ecom_domain::order::OrderId;

/// The body of a message on the requests topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProcessingRequest {
    /// Take the order with this id to the next state in which it waits: `{"order_id": 7312094417265033}`.
    OrderId(i64),
    /// Cancel the order with this id, if it is not being paid: `{"cancel_order_id": 7312094417265033}`.
    CancelOrderId(i64),
    /// Process the payment with this id, which pays no order: `{"payment_id": 7312094417265033}`.
    PaymentId(i64),
}

impl ProcessingRequest {
    /// Returns the body of the message.
    pub fn encode(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("a number by a name serializes")
    }

    /// Reads the body of a message.
    ///
    /// # Errors
    /// The cause, for the detail of a dead letter.
    pub fn decode(body: &[u8]) -> Result<Self, String> {
        let request: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        match request {
            Self::OrderId(id) | Self::CancelOrderId(id) | Self::PaymentId(id) if id <= 0 => {
                Err(format!("the id {id} is not positive"))
            }
            request => Ok(request),
        }
    }

    /// Returns the order that it is about; `None` for a payment without an order.
    pub fn order_id(self) -> Option<OrderId> {
        match self {
            Self::OrderId(id) | Self::CancelOrderId(id) => Some(OrderId(id)),
            Self::PaymentId(_) => None,
        }
    }

    /// Returns the payment that it is about; `None` for an order.
    pub fn payment_id(self) -> Option<i64> {
        match self {
            Self::PaymentId(id) => Some(id),
            Self::OrderId(_) | Self::CancelOrderId(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_and_nothing_else_is_one() {
        for request in [
            ProcessingRequest::OrderId(7),
            ProcessingRequest::CancelOrderId(7),
            ProcessingRequest::PaymentId(8),
        ] {
            assert_eq!(ProcessingRequest::decode(&request.encode()), Ok(request));
        }
        assert_eq!(ProcessingRequest::OrderId(7).encode(), br#"{"order_id":7}"#);
        for body in [
            "",
            "7",
            "{}",
            r#"{"order_id":0}"#,
            r#"{"order_id":"7"}"#,
            r#"{"order_id":7,"payment_id":8}"#,
            r#"{"item":7}"#,
        ] {
            assert!(ProcessingRequest::decode(body.as_bytes()).is_err(), "{body}");
        }
    }
}
