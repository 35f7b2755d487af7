//! The search for card numbers.

use std::ops::Range;

use crate::card_number::CardNumber;
use crate::encoding;
use crate::run::{DECIMALS, Run};
use crate::symbol::{BEGINS, PLAIN, Symbol, symbol};

/// The distance of the bytes that are probed. A run as long as a card number, or as the decimals of one that was
/// formatted as a floating-point number, cannot fit between two probes.
const STRIDE: usize = DECIMALS;

/// The minimum size of a card number, in bytes: 13 digits of at least a byte each.
const MIN_BYTES: usize = 13;

/// Returns the card numbers in these bytes, ordered by position. They may overlap.
///
/// Allocates only if there is a card number, and inspects only every eighth byte of text without digits and
/// encodings.
pub fn find(bytes: &[u8]) -> Vec<CardNumber> {
    // A floating-point number has few digits for a long number.
    if bytes.len() < MIN_BYTES && !bytes.contains(&b'.') {
        return Vec::new();
    }
    let mut cards = Vec::new();
    match encoding::is_possible(bytes) {
        true => search(bytes, 0..bytes.len(), &mut cards),
        false => probe(bytes, &mut cards),
    }
    cards.sort_by_key(|card| card.start);
    cards
}

/// Adds the card numbers in text without encodings to `cards`.
fn probe(bytes: &[u8], cards: &mut Vec<CardNumber>) {
    let is_run = |byte: &u8| PLAIN[usize::from(*byte)];
    let (mut probe, mut done) = (STRIDE - 1, 0);
    while let Some(byte) = bytes.get(probe) {
        if !is_run(byte) {
            probe += STRIDE;
            continue;
        }
        let start =
            bytes[done..probe].iter().rposition(|byte| !is_run(byte)).map_or(done, |at| done + at + 1);
        let end = bytes[probe..].iter().position(|byte| !is_run(byte)).map_or(bytes.len(), |at| probe + at);
        // A floating-point number has digits on both sides of its point.
        let is_part = bytes.get(end) == Some(&b'.') || start > 0 && bytes[start - 1] == b'.';
        if is_part || end - start >= MIN_BYTES {
            search(bytes, start..end, cards);
        }
        (probe, done) = (end + STRIDE, end);
    }
}

/// Adds the card numbers whose first digit is in this stretch of bytes to `cards`.
fn search(bytes: &[u8], stretch: Range<usize>, cards: &mut Vec<CardNumber>) {
    let begins = |byte: &u8| BEGINS[usize::from(*byte)];
    let mut at = stretch.start;
    while let Some(gap) = bytes.get(at..stretch.end).and_then(|rest| rest.iter().position(begins)) {
        at += gap;
        at = match symbol(bytes, at) {
            (Symbol::Digit(_), _) => {
                let run = Run::at(bytes, at);
                run.cards(bytes, cards);
                run.end
            }
            (Symbol::Gap | Symbol::Other, length) => at + length,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a card number as a floating-point number with these first decimals.
    fn formatted(decimals: &[u8]) -> String {
        let decimals: String = decimals.iter().map(|digit| char::from(b'0' + digit)).collect();
        let all = (0..10).map(|last| format!("4.{decimals}{last}e15"));
        let mut cards = all.filter(|text| Run::at(text.as_bytes(), 2).scientific(text.as_bytes()).is_some());
        cards.next().unwrap_or_default()
    }

    proptest! {
        #[test]
        fn probing_finds_what_reading_every_byte_finds(
            parts in prop::collection::vec(
                ("[a-z\u{0}-\u{8}:\"]{0,9}", "[0-9 -]{0,20}", prop::collection::vec(0u8..10, 0..14)),
                1..9,
            ),
        ) {
            let text = parts.into_iter().map(|(text, digits, decimals)| text + &digits + "," + &formatted(&decimals));
            let text: String = text.collect();
            let bytes = text.as_bytes();
            prop_assume!(!encoding::is_possible(bytes));
            let (mut probed, mut read) = (Vec::new(), Vec::new());
            probe(bytes, &mut probed);
            search(bytes, 0..bytes.len(), &mut read);
            prop_assert_eq!(probed, read, "{:?}", text);
        }
    }
}
