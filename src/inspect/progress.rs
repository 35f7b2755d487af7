//! How far a pass over the dead-letter store is, for whoever watches; silent where nobody does.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A count on stderr, where that is a terminal. Nobody knows beforehand how many dead letters there are.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// None read yet.
    pub(crate) fn new() -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {human_pos} dead letters read, {per_sec}");
            bar.set_style(style.expect("the template is constant and sound"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// None of this many done.
    pub(crate) fn of(dead_letters: u64) -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(dead_letters), ProgressDrawTarget::stderr());
            let style = "{wide_bar} {human_pos} of {human_len} dead letters, {eta} to go";
            bar.set_style(ProgressStyle::with_template(style).expect("the template is constant and sound"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// Says nothing.
    pub(crate) fn silent() -> Self {
        Self(None)
    }

    /// This many read.
    pub(crate) fn at(&self, dead_letters: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(dead_letters);
        }
    }

    /// All read: leaves no trace.
    pub(crate) fn done(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
