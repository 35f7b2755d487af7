//! How far a pass over the ledger is, for whoever watches; silent where nobody does.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A count on stderr, where that is a terminal. Nobody knows beforehand how many letters there are.
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    /// None read yet.
    pub(super) fn new() -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {human_pos} letters read, {per_sec}");
            bar.set_style(style.expect("the template is constant and sound"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// Says nothing.
    pub(super) fn silent() -> Self {
        Self(None)
    }

    /// This many read.
    pub(super) fn at(&self, letters: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(letters);
        }
    }

    /// All read: leaves no trace.
    pub(super) fn done(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
