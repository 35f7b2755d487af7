//! Claims of correction numbers, as the history of a dead letter keeps them.

use crate::order::OrderId;

/// A claim of a correction number for a corrected body.
///
/// The number decides the event time of the correction, so no two bodies may use the same one. A claim is
/// written to the history before the body is published: a correction that is repeated after a crash finds
/// its number again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorrectionClaim {
    /// The correction number, counted from 0.
    pub number: u32,
    /// The SHA-256 of the corrected body, in hex.
    pub sha256: String,
    /// The order that the corrected body is about.
    pub order_id: OrderId,
    /// The corrected body; empty in a withdrawn claim.
    pub body: String,
    /// The status of the claim.
    pub status: ClaimStatus,
}

/// The status of a claim.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ClaimStatus {
    /// The body uses the number.
    Claimed,
    /// The body gave the number up, because another body had claimed it at the same time.
    Withdrawn,
}

impl ClaimStatus {
    /// Every status.
    pub const ALL: [Self; 2] = [Self::Claimed, Self::Withdrawn];

    /// Returns the word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Returns the status with this word; `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl CorrectionClaim {
    /// Returns the id of the history entry of this claim: the same for every write of it.
    pub fn entry_id(&self) -> String {
        let kind = match self.status {
            ClaimStatus::Claimed => "correction",
            ClaimStatus::Withdrawn => "withdrawn",
        };
        format!("{kind}-{}-{}", self.number, self.sha256)
    }
}
