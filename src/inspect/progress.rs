//! The progress of a pass over the dead-letter store, on stderr if that is a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar; silent if stderr is not a terminal.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Counts dead letters of unknown number.
    pub(crate) fn new() -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {human_pos} dead letters read, {per_sec}");
            bar.set_style(style.expect("the template is constant and sound"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// Counts up to this many dead letters.
    pub(crate) fn of(dead_letters: u64) -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(dead_letters), ProgressDrawTarget::stderr());
            let style = "{wide_bar} {human_pos} of {human_len} dead letters, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).expect("the template is constant and sound"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// Shows nothing.
    pub(crate) fn silent() -> Self {
        Self(None)
    }

    /// Sets the number of dead letters done.
    pub(crate) fn at(&self, dead_letters: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(dead_letters);
        }
    }

    /// Removes the bar.
    pub(crate) fn done(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
