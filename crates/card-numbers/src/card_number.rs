//! The position of a card number.

use std::ops::Range;

use crate::brand::Brand;

/// A card number found in bytes, by position. It does not contain the digits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardNumber {
    /// The brand whose prefix and length it has.
    pub brand: Brand,
    /// The number of digits.
    pub digits: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    /// The offset of the last digits, which masking keeps.
    pub(super) kept: usize,
}

impl CardNumber {
    /// Returns the byte range from the first digit to the last.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}
