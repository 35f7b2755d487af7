//! The groups of deliveries that are being applied together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the groups that are being applied together.
#[derive(Default)]
pub(super) struct GroupsInFlight {
    count: AtomicUsize,
    /// Notified when one of them was applied, and when a delivery that was applied alone is done.
    progress: Notify,
}

/// One of the groups, until dropped.
pub(super) struct GroupInFlight(Arc<GroupsInFlight>);

impl GroupsInFlight {
    /// Returns how many there are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Wakes the one who waits for progress.
    pub(super) fn notify(&self) {
        self.progress.notify_one();
    }

    /// Waits until fewer are in flight, or fewer deliveries.
    pub(super) async fn progress(&self) {
        self.progress.notified().await;
    }
}

impl GroupInFlight {
    /// Counts another group.
    pub(super) fn new(groups: &Arc<GroupsInFlight>) -> Self {
        groups.count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(groups))
    }
}

impl Drop for GroupInFlight {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.notify();
    }
}
