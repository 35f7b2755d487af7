//! Wake-ups of the receive loops of a topic, within one process.

use std::sync::Arc;

use tokio::sync::watch;

/// Wakes the receive loops of a topic when a message becomes deliverable.
#[derive(Clone, Default)]
pub(super) struct TopicNotifier(Arc<watch::Sender<()>>);

impl TopicNotifier {
    /// Wakes every subscriber.
    pub(super) fn notify(&self) {
        self.0.send_replace(());
    }

    /// Returns a receiver of all later notifications.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}
