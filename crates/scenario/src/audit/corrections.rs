//! Column groups that show no unit because they show the correction of one.

use super::{Audit, UnexplainedGroup};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, EventKind};
use ecom_domain::order::OrderId;

/// The maximum number of corrections of one dead letter that are considered.
pub(crate) const MAX_CORRECTIONS: u32 = 16;

impl Audit<'_> {
    /// Returns whether a correction of this dead letter would explain an unexplained column group, by its
    /// write timestamp.
    pub(crate) fn may_explain(&self, record: &DeadLetterRecord) -> bool {
        let dead_letter = &record.dead_letter;
        self.units.covers(dead_letter.kind)
            && (0..MAX_CORRECTIONS)
                .any(|nth| self.unexplained.contains_key(&(dead_letter.t.correction(nth), dead_letter.kind)))
    }

    /// Explains a column group by the correction of this dead letter. The dead letter may be discarded,
    /// recovered because the correction superseded it, or still open because the command was interrupted.
    pub(crate) fn correction(&mut self, record: &DeadLetterRecord) {
        let dead_letter = &record.dead_letter;
        for nth in 0..MAX_CORRECTIONS {
            let key = (dead_letter.t.correction(nth), dead_letter.kind);
            let Some(groups) = self.unexplained.get_mut(&key) else { continue };
            let wanted = |group: &UnexplainedGroup| {
                dead_letter.order_id.is_none_or(|order_id| order_id == group.order_id)
            };
            let Some(position) = groups.iter().position(wanted) else { continue };
            let group = groups.swap_remove(position);
            if !group.is_current {
                continue;
            }
            self.found.corrected += 1;
            match (self.units.find(dead_letter.kind, &dead_letter.body), &dead_letter.corrects) {
                (Some(index), _) => self.mark_corrected(group.order_id, dead_letter.kind, index),
                (None, Some(original)) => {
                    self.chains.push((group.order_id, dead_letter.kind, original.clone()));
                }
                (None, None) => {}
            }
        }
    }

    /// Takes the corrections of corrections that are to be traced back to a unit.
    pub(crate) fn take_chains(&mut self) -> Vec<(OrderId, EventKind, DeadLetterId)> {
        std::mem::take(&mut self.chains)
    }

    /// Marks a unit as current because its row shows a correction of it.
    pub(crate) fn mark_corrected(&mut self, order_id: OrderId, kind: EventKind, index: usize) {
        self.places[index].current = true;
        let Some(order) = self.units.order(order_id) else { return };
        let row = &mut self.rows[order];
        match kind {
            EventKind::Order => row.order.shows = Some(index),
            EventKind::Payment => row.payment.shows = Some(index),
        }
    }
}
