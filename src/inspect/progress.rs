//! The progress of a pass over the dead-letter store, or of an export, on stderr if that is a terminal.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::render::count;

/// The style of a progress bar. In its template, `{rate}` is the number per second.
pub(crate) fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("templates are constant and sound");
    style.with_key("rate", |state: &ProgressState, text: &mut dyn Write| {
        // A text that cannot be written is a bar without its rate.
        let _ = text.write_str(&rate(state.per_sec()));
    })
}

/// A rate as a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive and far below 2^53"
)]
fn rate(per_second: f64) -> String {
    format!("{}/s", count(per_second.round() as u64))
}

/// A progress bar; silent if stderr is not a terminal.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Counts dead letters of unknown number.
    pub(crate) fn new() -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {human_pos} dead letters read, {rate}"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// Counts exported rows of unknown number.
    pub(crate) fn of_rows() -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {human_pos} rows exported");
            bar.set_style(style.expect("the template is constant and sound"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// Counts up to this many parts of an export, some of which are there already; the rows are a message.
    #[cfg(feature = "parquet")]
    pub(crate) fn of_parts(parts: u64, there: u64) -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(parts), ProgressDrawTarget::stderr());
            let style = "{wide_bar} {pos} of {len} parts, {msg} rows, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).expect("the template is constant and sound"));
            bar.set_position(there);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        }))
    }

    /// Sets the number of parts and of rows done.
    #[cfg(feature = "parquet")]
    pub(crate) fn parts_done(&self, parts: u64, rows: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(parts);
            bar.set_message(crate::output::count(rows));
        }
    }

    /// Counts up to this many dead letters.
    pub(crate) fn of(dead_letters: u64) -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(dead_letters), ProgressDrawTarget::stderr());
            bar.set_style(style("{wide_bar} {human_pos} of {human_len} dead letters, {eta} left"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_whole_number() {
        assert_eq!([28_535.828_5, 0.4, 1.5].map(rate), ["28,536/s", "0/s", "2/s"]);
    }
}
