//! The masking of card numbers.

use std::borrow::Cow;

use bytes::Bytes;

use crate::card_number::CardNumber;
use crate::find::find;
use crate::symbol::{Symbol, symbol};

/// A body without card numbers, except for those that [`screen`] was allowed to keep. It borrows the message's
/// body until its bytes are needed.
#[derive(Clone, PartialEq, Eq)]
pub struct CleanBody<'b>(Cow<'b, Bytes>);

/// A body whose card numbers were masked. Only [`screen`] makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct MaskedBody(Bytes);

impl CleanBody<'_> {
    /// Returns the bytes as sent.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_owned()
    }

    /// Returns the same body, sharing its bytes instead of borrowing them.
    pub fn into_owned(self) -> CleanBody<'static> {
        CleanBody(Cow::Owned(self.0.into_owned()))
    }
}

impl MaskedBody {
    /// Returns the masked bytes; their length is that of the bytes as sent.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl std::fmt::Debug for CleanBody<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CleanBody").field("length", &self.0.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MaskedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaskedBody").field("length", &self.0.len()).finish_non_exhaustive()
    }
}

/// Screens a body for card numbers. `exempt` is called with those that [`find`] returns, and removes the ones
/// that may stay.
///
/// # Errors
/// The masked body and its card numbers, unless `exempt` leaves none.
pub fn screen(
    body: &Bytes,
    exempt: impl FnOnce(&mut Vec<CardNumber>),
) -> Result<CleanBody<'_>, (MaskedBody, Vec<CardNumber>)> {
    let mut cards = find(body);
    if !cards.is_empty() {
        exempt(&mut cards);
    }
    if cards.is_empty() {
        return Ok(CleanBody(Cow::Borrowed(body)));
    }
    Err((MaskedBody(masked(body, &cards).into()), cards))
}

/// Masks the card numbers in bytes. Borrows if there are none.
pub fn mask(bytes: &[u8]) -> Cow<'_, [u8]> {
    let cards = find(bytes);
    if cards.is_empty() { Cow::Borrowed(bytes) } else { Cow::Owned(masked(bytes, &cards)) }
}

/// Masks the card numbers in a text. Borrows if there are none.
pub fn mask_text(text: &str) -> Cow<'_, str> {
    match mask(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        // Whole characters are replaced, so the text stays UTF-8.
        Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
    }
}

fn masked(bytes: &[u8], cards: &[CardNumber]) -> Vec<u8> {
    let mut masked = bytes.to_vec();
    for card in cards {
        let mut at = card.start;
        while at < card.kept {
            let (found, length) = symbol(bytes, at);
            if matches!(found, Symbol::Digit(_)) {
                masked[at..at + length].fill(b'*');
            }
            at += length;
        }
    }
    masked
}
