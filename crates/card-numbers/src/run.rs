//! A run of digits, and the card numbers in it.

use crate::brand::Brand;
use crate::card_number::CardNumber;
use crate::iban::is_iban;
use crate::symbol::{Symbol, symbol};

/// The number of digits of the shortest card number.
const SHORTEST: usize = 13;
/// The number of digits of the longest card number.
const LONGEST: usize = 19;
/// The number of decimals of the shortest card number that is formatted as a floating-point number.
pub(super) const DECIMALS: usize = 8;
/// The maximum number of gaps between two digits: ` - `.
const WIDEST_GAP: usize = 3;
/// The number of last digits that masking keeps.
pub(super) const KEPT: usize = 4;
/// The minimum number of digits in a group of a card number that is only a part of its run: card numbers are
/// written in groups of four.
const GROUP: usize = 4;

/// The spellings of a plus sign, alone and in a form.
const PLUS: [&[u8]; 3] = [b"+", b"%2B", b"%2b"];

/// A maximal run of digits with small gaps between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The offset of the first digit.
    pub(super) start: usize,
    /// The offset after the last digit.
    pub(super) end: usize,
    /// The number of digits.
    digits: usize,
    /// The number of groups, separated by gaps.
    groups: usize,
}

impl Run {
    /// Reads the run that begins with the digit at `start`.
    pub(super) fn at(bytes: &[u8], start: usize) -> Self {
        let mut run = Self { start, end: start, digits: 0, groups: 0 };
        let (mut at, mut gap) = (start, 1);
        while at < bytes.len() {
            let (found, length) = symbol(bytes, at);
            at += length;
            match found {
                Symbol::Digit(_) => {
                    run.groups += usize::from(gap > 0);
                    run.digits += 1;
                    run.end = at;
                    gap = 0;
                }
                Symbol::Gap if gap < WIDEST_GAP => gap += 1,
                Symbol::Gap | Symbol::Other => break,
            }
        }
        run
    }

    /// Adds the card numbers in this run to `cards`.
    ///
    /// A card number begins and ends at a group boundary, never inside a longer number. One that is only a
    /// part of the run, as in `2 4111 1111 1111 1111 12 27`, must be grouped like a card number. Card numbers
    /// may overlap: the four digits that masking keeps, or digits before them, may begin another one.
    pub(super) fn cards(&self, bytes: &[u8], cards: &mut Vec<CardNumber>) {
        if let Some(card) = self.scientific(bytes) {
            cards.push(card);
            return;
        }
        if self.digits < SHORTEST || self.is_fraction(bytes) || is_iban(bytes, self.start, self.end) {
            return;
        }
        let (mut piece, mut start, mut hidden) = (self.start, self.start, None);
        loop {
            if let Some(kept) = hidden.filter(|kept| start >= *kept) {
                (piece, start, hidden) = (kept, kept, None);
            }
            if start >= self.end {
                return;
            }
            let found = match begins_card(bytes, start, self.end) {
                true => Lookahead::of(bytes, start, self.end).longest(start == piece),
                false => None,
            };
            if let Some(card) = found.filter(|card| !self.is_phone(bytes, card)) {
                if hidden.is_none() && piece < start {
                    cards.extend(Lookahead::of(bytes, piece, start).whole());
                }
                hidden = hidden.max(Some(card.kept));
                cards.push(card);
            }
            if self.groups == 1 {
                return;
            }
            start = next_group(bytes, start, self.end);
        }
    }

    /// Returns the card number that was formatted as a floating-point number: `4.111111111111111E15`. Shorter ones,
    /// such as a price of 4.2e15, show no more than the digits of a card number that anybody may see.
    pub(super) fn scientific(&self, bytes: &[u8]) -> Option<CardNumber> {
        let lead = self.start.checked_sub(2)?;
        let is_number = self.groups == 1
            && self.digits == self.end - self.start
            && (DECIMALS..LONGEST).contains(&self.digits);
        let alone = lead.checked_sub(1).is_none_or(|before| !matches!(bytes[before], b'0'..=b'9' | b'.'));
        if !is_number || !alone || !bytes[lead].is_ascii_digit() || bytes[lead + 1] != b'.' {
            return None;
        }
        let exponent = bytes[self.end..].strip_prefix(b"e").or(bytes[self.end..].strip_prefix(b"E"))?;
        let [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] =
            exponent.strip_prefix(b"+").unwrap_or(exponent)
        else {
            return None;
        };
        let digits = usize::from((tens - b'0') * 10 + (ones - b'0')) + 1;
        let zeros = digits.checked_sub(1 + self.digits)?;
        if rest.first().is_some_and(u8::is_ascii_digit) || !(SHORTEST..=LONGEST).contains(&digits) {
            return None;
        }
        let mut number = [0; LONGEST];
        let written = bytes[lead..=lead].iter().chain(&bytes[self.start..self.end]);
        number.iter_mut().zip(written).for_each(|(digit, written)| *digit = written - b'0');
        let brand = Brand::of(&number[..digits])?;
        let kept = self.end - KEPT.saturating_sub(zeros);
        Some(CardNumber { brand, digits, start: lead, end: self.end, kept })
    }

    /// Returns whether these are the decimals of a JSON number, such as a price of 777.9403479956732.
    fn is_fraction(&self, bytes: &[u8]) -> bool {
        let Some(whole) = bytes[..self.start].strip_suffix(b".").filter(|_| self.groups == 1) else {
            return false;
        };
        // Masked digits are digits: what masking leaves is no card number.
        let before = without_last(whole, |byte| byte.is_ascii_digit() || *byte == b'*');
        let after = without_exponent(&bytes[self.end..]).trim_ascii_start().first();
        before.len() < whole.len()
            && matches!(
                before.strip_suffix(b"-").unwrap_or(before).trim_ascii_end().last(),
                Some(b':' | b',' | b'[')
            )
            && matches!(after, None | Some(b',' | b'}' | b']'))
    }

    /// Returns whether this is a phone number: with its country code, a German one has 13 digits and begins
    /// with a 4. Card numbers of 13 digits are no longer issued, and none is written with a plus sign.
    fn is_phone(&self, bytes: &[u8], card: &CardNumber) -> bool {
        card.digits == SHORTEST
            && card.start == self.start
            && PLUS.iter().any(|plus| bytes[..self.start].ends_with(plus))
    }
}

/// Returns whether the digits from `start` may begin a card number, by the first two unless a gap separates
/// them.
fn begins_card(bytes: &[u8], start: usize, end: usize) -> bool {
    let (first, length) = symbol(bytes, start);
    match (first, (start + length < end).then(|| symbol(bytes, start + length).0)) {
        (Symbol::Digit(first), Some(Symbol::Digit(second))) => Brand::may_begin_with(first, second),
        _ => true,
    }
}

fn without_last(bytes: &[u8], is: impl Fn(&u8) -> bool) -> &[u8] {
    let kept = bytes.iter().rposition(|byte| !is(byte)).map_or(0, |last| last + 1);
    &bytes[..kept]
}

fn without_exponent(bytes: &[u8]) -> &[u8] {
    let [b'e' | b'E', rest @ ..] = bytes else { return bytes };
    let ([b'+' | b'-', rest @ ..] | rest) = rest;
    &rest[rest.iter().take_while(|byte| byte.is_ascii_digit()).count()..]
}

/// Returns the offset of the next group of the run, or `end` if there is none.
fn next_group(bytes: &[u8], start: usize, end: usize) -> usize {
    let (mut at, mut in_gap) = (start, false);
    while at < end {
        let (found, length) = symbol(bytes, at);
        match found {
            Symbol::Digit(_) if in_gap => return at,
            Symbol::Digit(_) => {}
            Symbol::Gap | Symbol::Other => in_gap = true,
        }
        at += length;
    }
    end
}

/// The next digits of a run, at most as many as a card number can have.
struct Lookahead {
    digits: [u8; LONGEST],
    starts: [usize; LONGEST],
    ends: [usize; LONGEST],
    count: usize,
    /// True if the digit is the last of its group.
    closes: [bool; LONGEST],
    /// True if all groups before the digit's own have at least [`GROUP`] digits.
    regular: [bool; LONGEST],
    /// True if the run has no further digits.
    is_all: bool,
}

impl Lookahead {
    fn of(bytes: &[u8], start: usize, end: usize) -> Self {
        let mut ahead = Self {
            digits: [0; LONGEST],
            starts: [0; LONGEST],
            ends: [0; LONGEST],
            count: 0,
            closes: [false; LONGEST],
            regular: [false; LONGEST],
            is_all: true,
        };
        let (mut at, mut size, mut regular) = (start, 0, true);
        while at < end {
            let (found, length) = symbol(bytes, at);
            match found {
                Symbol::Digit(_) if ahead.count == LONGEST => {
                    ahead.is_all = false;
                    return ahead;
                }
                Symbol::Digit(digit) => {
                    let nth = ahead.count;
                    (ahead.digits[nth], ahead.starts[nth], ahead.ends[nth]) = (digit, at, at + length);
                    ahead.regular[nth] = regular;
                    ahead.count += 1;
                    size += 1;
                }
                Symbol::Gap | Symbol::Other if size > 0 => {
                    ahead.closes[ahead.count - 1] = true;
                    regular &= size >= GROUP;
                    size = 0;
                }
                Symbol::Gap | Symbol::Other => {}
            }
            at += length;
        }
        if size > 0 {
            ahead.closes[ahead.count - 1] = true;
        }
        ahead
    }

    /// Returns the longest card number that begins here. `alone` says that nothing of the run comes before
    /// it.
    fn longest(&self, alone: bool) -> Option<CardNumber> {
        let fits = |count: &usize| {
            let last = count - 1;
            self.closes[last] && (self.regular[last] || (alone && self.is_all && *count == self.count))
        };
        (SHORTEST..=self.count).rev().filter(fits).find_map(|count| self.card(count))
    }

    /// Returns the card number that consists of all these digits.
    fn whole(&self) -> Option<CardNumber> {
        self.card(self.count).filter(|_| self.is_all && self.count >= SHORTEST)
    }

    fn card(&self, count: usize) -> Option<CardNumber> {
        let brand = Brand::of(&self.digits[..count])?;
        let kept = self.starts[count - KEPT];
        Some(CardNumber { brand, digits: count, start: self.starts[0], end: self.ends[count - 1], kept })
    }
}
