//! The audit of the table of superseded payments: it holds each payment that lost, and no other.

use super::{Audit, UnexplainedGroup, UnitPlaces, known, name};
use crate::units::{Unit, payment_cells};
use crate::verification::DifferenceKind;
use ecom_domain::dead_letter::EventKind;
use ecom_domain::fact::SupersededPayment;

impl Audit<'_> {
    /// Audits a superseded payment; after all rows.
    pub(crate) fn superseded(&mut self, superseded: &SupersededPayment) {
        let SupersededPayment { order_id, t, payment } = superseded;
        if !self.units.covers(EventKind::Payment) {
            return;
        }
        let invented = UnexplainedGroup {
            order_id: *order_id,
            fault: DifferenceKind::Invented,
            what: "has a superseded payment that was not published",
            is_current: false,
        };
        let Some(order) = self.units.order(*order_id) else {
            return self.keep_unexplained(Some(*t), EventKind::Payment, invented);
        };
        let payment_id = payment.payment_id.unwrap_or_default();
        let values = payment_cells(payment);
        let shown = self.units.showing(order, EventKind::Payment, values);
        for &index in &shown {
            let unit = *self.units.unit(index);
            // A copy of it may have lost against another payment before this copy won.
            let may_be_both = unit.copies > 0 || self.has_other_payments(&unit);
            if self.places[index].current && !may_be_both {
                let what = format!("payment {payment_id} is superseded, but its row shows it");
                self.found.differs(Some(*order_id), DifferenceKind::NotSuperseded, what);
            }
            self.places[index].in_superseded_payments = true;
        }
        // Where the row has no payment at all, the newer one is lost, and found as such.
        if self.rows[order].payment.written_at.is_some_and(|written_at| written_at <= *t) {
            let what = format!("payment {payment_id} is superseded, but its row has no newer one");
            self.found.differs(Some(*order_id), DifferenceKind::NotSuperseded, what);
        } else if shown.is_empty() {
            self.keep_unexplained(Some(*t), EventKind::Payment, invented);
        } else {
            let subject = format_args!("superseded payment {payment_id}");
            self.event_time(Some(*order_id), &shown, *t, subject);
        }
    }

    /// Checks that a unit which a newer one superseded was kept.
    pub(super) fn must_be_kept(&mut self, order: usize, unit: &Unit, places: UnitPlaces) {
        if unit.kind == EventKind::Payment && !places.in_superseded_payments {
            let what = format!("{} is superseded, but not in superseded_payments", name(unit));
            let order_id = known(self.units.order_id(order));
            self.found.differs(order_id, DifferenceKind::SupersededNotKept, what);
        }
    }
}
