//! A bound of the bytes that are in memory at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A budget of bytes that its users share. A share larger than the budget is granted alone.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    total: u32,
    free: Arc<Semaphore>,
}

/// A share of a budget; dropping it gives the bytes back.
#[must_use = "the bytes are given back at once"]
#[derive(Debug)]
pub struct ByteShare(OwnedSemaphorePermit);

impl ByteShare {
    /// Returns the number of bytes.
    pub fn bytes(&self) -> usize {
        self.0.num_permits()
    }
}

impl ByteBudget {
    /// Creates a budget of 1 byte to 4 GiB.
    pub fn new(bytes: usize) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let total = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, most);
        Self { total, free: Arc::new(Semaphore::new(total as usize)) }
    }

    /// Returns the size of the budget.
    pub fn total(&self) -> usize {
        self.total as usize
    }

    /// Waits for a share of this many bytes. Shares are granted in the order in which they were asked for.
    pub async fn share(&self, bytes: usize) -> ByteShare {
        let share = Arc::clone(&self.free).acquire_many_owned(self.capped(bytes)).await;
        ByteShare(share.expect("the budget is never closed"))
    }

    /// Returns a share of this many bytes if it is free now.
    pub fn try_share(&self, bytes: usize) -> Option<ByteShare> {
        Arc::clone(&self.free).try_acquire_many_owned(self.capped(bytes)).ok().map(ByteShare)
    }

    fn capped(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_budget_and_a_larger_one_is_granted_alone() {
        let budget = ByteBudget::new(100);
        let share = budget.try_share(60).unwrap();
        assert!(budget.try_share(41).is_none());
        let other = budget.try_share(40).unwrap();
        drop(other);
        assert!(budget.try_share(1_000).is_none());
        drop(share);
        let alone = budget.try_share(1_000).unwrap();
        assert_eq!((alone.bytes(), budget.total()), (100, 100));
        assert!(budget.try_share(1).is_none());
    }

    #[test]
    fn a_budget_has_at_least_a_byte_and_at_most_what_can_be_counted() {
        assert_eq!(ByteBudget::new(0).total(), 1);
        assert_eq!(ByteBudget::new(usize::MAX).total(), u32::MAX as usize);
    }
}
