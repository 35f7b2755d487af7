//! Text that must not be shown.

use std::fmt;

use serde::Deserialize;

/// The name serde knows [`Secret`] by.
pub(super) const NAME: &str = "Secret";

/// Text that must not be shown: `Debug` masks it, and there is no `Display`.
///
/// Its key must be named `password` or end in `_password`: only then is the value masked by `--print-config`
/// and refused on the command line, in builds without its adapter as well.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Keeps the text from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns true if there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}
