//! The newest dead letters of a selection.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::DeadLetterQueue;
use super::selection::{Detail, SelectedDeadLetter, Selection};
use ecom_domain::attributes::Attributes;
use ecom_pipeline::apply_check::assess;
use ecom_store::StoreError;

/// The most bodies in memory at once.
const BODIES: usize = 16;

impl DeadLetterQueue {
    /// The selected dead letters that failed last, newest first, without bodies. Keeps at most `limit` in
    /// memory; calls `seen` with the number of dead letters read so far.
    pub async fn newest(
        &self,
        selection: &Selection,
        limit: usize,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<SelectedDeadLetter>, StoreError> {
        let mut newest = BTreeMap::new();
        let mut dead_letters = self.select(selection, Detail::Brief);
        let mut count = 0;
        while let Some(selected) = dead_letters.try_next().await? {
            count += 1;
            seen(count);
            let dead_letter = &selected.record.dead_letter;
            let key = (dead_letter.first_failed_at, dead_letter.id.clone());
            let is_wanted = newest.len() < limit || newest.first_key_value().is_some_and(|(k, _)| key > *k);
            if is_wanted {
                newest.insert(key, without_body(selected));
                if newest.len() > limit {
                    newest.pop_first();
                }
            }
        }
        Ok(newest.into_values().rev().collect())
    }

    /// Reads these dead letters again with their bodies and verdicts, in the same order; leaves out those
    /// that were removed meanwhile.
    pub fn with_bodies(
        &self,
        dead_letters: Vec<SelectedDeadLetter>,
    ) -> BoxStream<'_, Result<SelectedDeadLetter, StoreError>> {
        stream::iter(dead_letters)
            .map(move |selected| async move {
                let Some(record) =
                    self.dead_letter_store.dead_letter(&selected.record.dead_letter.id).await?
                else {
                    return Ok(None);
                };
                let verdict = match selected.verdict {
                    Some(verdict) => verdict,
                    None => assess(self.facts.as_ref(), &record.dead_letter).await?,
                };
                Ok(Some(SelectedDeadLetter { record, verdict: Some(verdict) }))
            })
            .buffered(self.window.clamp(1, BODIES))
            .try_filter_map(|selected| std::future::ready(Ok(selected)))
            .boxed()
    }
}

/// Drops a dead letter's body and attributes, to keep many in memory.
pub(super) fn without_body(mut selected: SelectedDeadLetter) -> SelectedDeadLetter {
    selected.record.dead_letter.body.bytes = Bytes::new();
    selected.record.dead_letter.attributes = Attributes::new();
    selected
}
