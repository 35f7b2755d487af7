//! The rows of recorded payments, newest first, and those of them that are superseded.

use scylla::DeserializeRow;

use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{PaymentCells, SupersededPayment};
use ecom_domain::order::OrderId;

/// A row of `superseded_payments`.
#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
pub(super) struct RecordedPayment {
    order_id: i64,
    t: i64,
    payment_id: i64,
    payment_method: Option<String>,
    card_last_four: Option<String>,
    payment_status: Option<String>,
    payment_datetime: Option<String>,
    superseded: Option<bool>,
}

/// The row before the current one in a scan, which is newer if both are of one order.
#[derive(Default)]
pub(super) struct NewerPayment(Option<SupersededPayment>);

impl NewerPayment {
    /// Returns the payment of the next row if it is superseded. A row that does not say so is superseded by a
    /// newer one of its order, unless that has the same values: a payment does not lose against its copy.
    pub(super) fn supersedes(&mut self, row: RecordedPayment) -> Option<SupersededPayment> {
        let payment = SupersededPayment {
            order_id: OrderId(row.order_id),
            t: EventTime::stored(row.t),
            payment: PaymentCells {
                payment_id: Some(row.payment_id),
                payment_method: row.payment_method,
                card_last_four: row.card_last_four,
                payment_status: row.payment_status,
                payment_datetime: row.payment_datetime,
            },
        };
        let newer = self.0.replace(payment.clone());
        let lost = newer.is_some_and(|newer| {
            newer.order_id == payment.order_id && newer.t > payment.t && newer.payment != payment.payment
        });
        (lost || row.superseded == Some(true)).then_some(payment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(order_id: i64, t: i64, payment_id: i64, superseded: Option<bool>) -> RecordedPayment {
        let (payment_method, payment_status) = (Some("PayPal".to_owned()), Some("Completed".to_owned()));
        let (card_last_four, payment_datetime) = (None, None);
        RecordedPayment {
            order_id,
            t,
            payment_id,
            payment_method,
            card_last_four,
            payment_status,
            payment_datetime,
            superseded,
        }
    }

    fn superseded(rows: impl IntoIterator<Item = RecordedPayment>) -> Vec<(i64, i64)> {
        let mut newer = NewerPayment::default();
        let lost = rows.into_iter().filter_map(|row| newer.supersedes(row));
        lost.map(|lost| (lost.order_id.0, lost.t.micros())).collect()
    }

    #[test]
    fn a_row_that_says_so_is_superseded_also_alone() {
        assert_eq!(superseded([row(1, 5, 9, Some(true)), row(2, 3, 9, Some(true))]), [(1, 5), (2, 3)]);
    }

    #[test]
    fn of_rows_that_do_not_say_so_the_newest_of_each_order_is_current() {
        let rows = [row(1, 5, 9, None), row(1, 4, 8, None), row(2, 3, 7, None), row(3, 2, 6, None)];
        assert_eq!(superseded(rows), [(1, 4)]);
    }

    #[test]
    fn a_copy_and_a_tie_are_not_superseded() {
        let rows = [row(1, 5, 9, None), row(1, 4, 9, None), row(1, 3, 8, None), row(1, 3, 7, None)];
        assert_eq!(superseded(rows), [(1, 3)]);
    }
}
