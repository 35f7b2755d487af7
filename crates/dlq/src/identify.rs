//! Dead letters by the beginning of their ids.

use super::DeadLetterQueue;
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterIdPrefix};
use ecom_store::StoreError;

/// The most ids that are named where a prefix is not unique.
const CANDIDATES: usize = 10;

/// The reason why a prefix does not identify a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum IdentifyError {
    /// No id begins with it.
    #[error("there is no dead letter {prefix} in {store}")]
    NotFound {
        /// The prefix.
        prefix: DeadLetterIdPrefix,
        /// The store, with host or path.
        store: String,
    },
    /// Several ids begin with it.
    #[error("{prefix} is the beginning of several dead letters in {store}")]
    Ambiguous {
        /// The prefix.
        prefix: DeadLetterIdPrefix,
        /// The first ten of the ids.
        candidates: Vec<DeadLetterId>,
        /// The store, with host or path.
        store: String,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DeadLetterQueue {
    /// Returns the id that begins with each prefix. A whole id is returned as it is, without reading the store.
    pub async fn identify(
        &self,
        prefixes: &[DeadLetterIdPrefix],
    ) -> Result<Vec<DeadLetterId>, IdentifyError> {
        let mut ids = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            ids.push(match prefix.whole() {
                Some(id) => id.clone(),
                None => self.identify_one(prefix).await?,
            });
        }
        Ok(ids)
    }

    async fn identify_one(&self, prefix: &DeadLetterIdPrefix) -> Result<DeadLetterId, IdentifyError> {
        let mut candidates = self.dead_letter_store.ids_with_prefix(prefix, CANDIDATES).await?;
        let (prefix, store) = (prefix.clone(), self.facts.describe());
        match candidates.len() {
            0 => Err(IdentifyError::NotFound { prefix, store }),
            1 => Ok(candidates.remove(0)),
            _ => Err(IdentifyError::Ambiguous { prefix, candidates, store }),
        }
    }
}
