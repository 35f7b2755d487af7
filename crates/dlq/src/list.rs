//! Letters one by one: the newest few, or all of them as they are stored.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::Desk;
use super::selection::{Detail, Selected, Selection};
use ecom_domain::attributes::Attributes;
use ecom_pipeline::assess::assess;
use ecom_store::StoreError;

/// Bodies read at once for letters that are shown with them.
const BODIES: usize = 16;

impl Desk {
    /// The selected letters that failed last, newest first, without bodies. Keeps no more than
    /// `limit` in memory; calls `seen` with the number of letters looked at.
    pub async fn newest(
        &self,
        selection: &Selection,
        limit: usize,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Selected>, StoreError> {
        let mut newest = BTreeMap::new();
        let mut letters = self.select(selection, Detail::Brief);
        let mut count = 0;
        while let Some(selected) = letters.try_next().await? {
            count += 1;
            seen(count);
            let letter = &selected.record.letter;
            let key = (letter.first_failed_at, letter.id.clone());
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

    /// The same letters with their bodies and verdicts, in the same order; those removed meanwhile
    /// are left out.
    pub fn whole(&self, letters: Vec<Selected>) -> BoxStream<'_, Result<Selected, StoreError>> {
        stream::iter(letters)
            .map(move |selected| async move {
                let Some(record) = self.ledger.letter(&selected.record.letter.id).await? else {
                    return Ok(None);
                };
                let verdict = match selected.verdict {
                    Some(verdict) => verdict,
                    None => assess(self.facts.as_ref(), &record.letter).await?,
                };
                Ok(Some(Selected { record, verdict: Some(verdict) }))
            })
            .buffered(self.window.clamp(1, BODIES))
            .try_filter_map(|selected| std::future::ready(Ok(selected)))
            .boxed()
    }
}

/// A letter without what makes it large.
pub(super) fn without_body(mut selected: Selected) -> Selected {
    selected.record.letter.body.bytes = Bytes::new();
    selected.record.letter.attributes = Attributes::new();
    selected
}
