//! Full card numbers (primary account numbers, PANs): where they are in some bytes, and the same
//! bytes without them.
//!
//! A card number is a run of 13 to 19 digits, small gaps of spaces or dashes allowed, that has a
//! prefix and a length of one of six brands and passes the Luhn check. What is searched need be
//! neither JSON nor UTF-8; escapes of JSON are read where there are any. Masked, every byte of a
//! digit becomes `*` except for the last four digits: no byte moves, and PCI DSS 3.4.1 allows more.

mod brand;
mod iban;
mod run;
mod symbol;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

pub use brand::Brand;
use run::Run;
use symbol::{ESCAPED, PLAIN, Symbol, symbol};

/// Bytes between two looks: whatever has as many digits as a card number is met.
const STRIDE: usize = 8;

/// No card number has fewer digits, and no digit takes less than a byte.
const LEAST: usize = 13;

/// A card number in some bytes. It does not know its digits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Card {
    /// Whose prefix and length it has.
    pub brand: Brand,
    /// How many digits it has.
    pub digits: usize,
    start: usize,
    end: usize,
    /// Where the digits begin that stay.
    kept: usize,
}

impl Card {
    /// The bytes from its first digit to its last.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// The card numbers in these bytes, by where they begin. Allocates nothing where there is none, and
/// looks at every eighth byte alone where there are no numbers.
pub fn find(bytes: &[u8]) -> Vec<Card> {
    // Floating point writes a long number in few digits.
    if bytes.len() < LEAST && !bytes.contains(&b'.') {
        return Vec::new();
    }
    let runny = if bytes.contains(&b'\\') { &ESCAPED } else { &PLAIN };
    let is_runny = |byte: &u8| runny[usize::from(*byte)];
    let mut cards = Vec::new();
    let (mut probe, mut done) = (STRIDE - 1, 0);
    while let Some(byte) = bytes.get(probe) {
        if !is_runny(byte) {
            probe += STRIDE;
            continue;
        }
        let start =
            bytes[done..probe].iter().rposition(|byte| !is_runny(byte)).map_or(done, |at| done + at + 1);
        let end = bytes[probe..].iter().position(|byte| !is_runny(byte)).map_or(bytes.len(), |at| probe + at);
        // A number that went through floating point has digits on both sides of its point.
        let is_part = bytes.get(end) == Some(&b'.') || start > 0 && bytes[start - 1] == b'.';
        if is_part || end - start >= LEAST {
            search(bytes, start..end, &mut cards);
        }
        (probe, done) = (end + STRIDE, end);
    }
    cards.sort_by_key(|card| card.start);
    cards
}

/// Adds the card numbers in a stretch of bytes that can be digits and gaps.
fn search(bytes: &[u8], stretch: Range<usize>, cards: &mut Vec<Card>) {
    let mut at = stretch.start;
    while at < stretch.end {
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

/// A body without a full card number, borrowed from its message until it is needed as bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct CleanBody<'b>(Cow<'b, Bytes>);

/// A body that had card numbers in it and has none now. Only masking makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct MaskedBody(Bytes);

impl CleanBody<'_> {
    /// The bytes as sent.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_owned()
    }

    /// The same body, sharing its bytes instead of borrowing them.
    pub fn into_owned(self) -> CleanBody<'static> {
        CleanBody(Cow::Owned(self.0.into_owned()))
    }
}

impl MaskedBody {
    /// The bytes as sent, but for the digits.
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

/// The body as it may leave, and the card numbers that must not: those of [`find`] of which `keep`
/// does not know better where they stand.
pub fn screen(
    body: &Bytes,
    keep: impl FnOnce(&mut Vec<Card>),
) -> Result<CleanBody<'_>, (MaskedBody, Vec<Card>)> {
    let mut cards = find(body);
    if !cards.is_empty() {
        keep(&mut cards);
    }
    if cards.is_empty() {
        return Ok(CleanBody(Cow::Borrowed(body)));
    }
    Err((MaskedBody(masked(body, &cards).into()), cards))
}

/// These bytes without their card numbers.
pub fn mask(bytes: &[u8]) -> Cow<'_, [u8]> {
    let cards = find(bytes);
    if cards.is_empty() { Cow::Borrowed(bytes) } else { Cow::Owned(masked(bytes, &cards)) }
}

/// A text without its card numbers.
pub fn mask_text(text: &str) -> Cow<'_, str> {
    match mask(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        // Whole characters are replaced, so it is UTF-8 still.
        Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
    }
}

fn masked(bytes: &[u8], cards: &[Card]) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VISA: &str = "4111111111111111";

    fn mask(text: &str) -> String {
        mask_text(text).into_owned()
    }

    #[test]
    fn a_card_number_is_masked_but_for_its_last_four_digits() {
        for (text, masked) in [
            (VISA, "************1111"),
            ("card 4111 1111 1111 1111, please", "card **** **** **** 1111, please"),
            ("4111-1111-1111-1111", "****-****-****-1111"),
            ("4111 - 1111 - 1111 - 1111", "**** - **** - **** - 1111"),
            ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "* * * * * * * * * * * * 1 1 1 1"),
            ("3782 822463 10005", "**** ****** *0005"),
            ("pan=30569309025904;", "pan=**********5904;"),
            ("x4222222222222y", "x*********2222y"),
            ("4000000000000000006.0", "***************0006.0"),
            ("-4111111111111111", "-************1111"),
            ("4111\u{a0}1111\u{2011}1111 1111", "****\u{a0}****\u{2011}**** 1111"),
        ] {
            assert_eq!(mask(text), masked);
            assert_eq!(mask(masked), masked);
        }
    }

    #[test]
    fn digits_that_are_escaped_or_of_another_script_are_digits() {
        let escaped: String = VISA.chars().map(|digit| format!("\\u{:04x}", u32::from(digit))).collect();
        assert_eq!(mask(&escaped), "*".repeat(12 * 6) + &"\\u0031".repeat(4));
        assert_eq!(mask("\\u0034111 1111\\u00201111\\u002d1111"), "********* ****\\u0020****\\u002d1111");
        assert_eq!(mask("4\\\\u0031\\\\u00311111111111111").matches('*').count(), 1 + 14 + 9);
        let wide: String =
            VISA.chars().filter_map(|digit| char::from_u32(u32::from(digit) + 0xfee0)).collect();
        assert_eq!(mask(&wide), "*".repeat(12 * 3) + "\u{ff11}\u{ff11}\u{ff11}\u{ff11}");
        let utf16: Vec<u8> = VISA.bytes().flat_map(|digit| [digit, 0]).collect();
        assert_eq!(find(&utf16).len(), 1);
    }

    #[test]
    fn a_number_that_went_through_floating_point_is_found() {
        assert_eq!(mask("4.111111111111111E15"), "*.***********1111E15");
        assert_eq!(mask("{\"a\":4.11111111100071e+15}"), "{\"a\":*.***********071e+15}");
        assert_eq!(mask("[4.111111111108E15]"), "[*.***********8E15]", "zeros at the end are known");
        assert_eq!(mask("[4.111111111111112E15]"), "[4.111111111111112E15]", "fails the check");
        assert_eq!(mask("[4.111111111111111E14]"), "[4.111111111111111E14]", "not a whole number");
    }

    #[test]
    fn what_stands_beside_a_card_number_does_not_hide_it() {
        for (text, masked) in [
            ("2 4111 1111 1111 1111 12 27 123", "2 **** **** **** 1111 12 27 123"),
            ("4111111111111111 5555555555554444", "************1111 ************4444"),
            ("01-4111111111111111-02", "01-************1111-02"),
            ("%B4111111111111111^DOE/J^2512", "%B************1111^DOE/J^2512"),
            ("2024-01-21 4111 1111 1111 1111", "2024-01-21 **** **** **** 1111"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }

    #[test]
    fn card_numbers_that_overlap_are_masked_both() {
        let text = "4000 0000 0000 4004 0000 0000 0008";
        let cards = find(text.as_bytes());
        assert_eq!(cards.len(), 2, "{cards:?}");
        assert!(cards[0].end > cards[1].start);
        assert_eq!(mask(text), "**** **** **** **** **** **** 0008");
    }

    #[test]
    fn what_only_looks_alike_stays() {
        for text in [
            "4111111111111112",
            "41111111111111111111",
            "941111111111111111111",
            "1700000000000000",
            "+49 151 12345603",
            "+4915112345603",
            "sizes 38 39 40 41 42 43 44 45 46 47 48",
            "4111,1111,1111,1111",
            "4111    1111    1111    1111",
            "iban DK46 0004 0044 0116 92, DK4600040044011692",
            "{\"price\":777.4222222222222}",
            "[1.0, -0.4222222222222 ]",
        ] {
            assert_eq!(mask(text), text);
        }
        assert_ne!(mask("v1.4222222222222 and more"), "v1.4222222222222 and more", "no JSON number");
    }

    fn check_digit(mut number: Vec<u8>) -> Option<Vec<u8>> {
        number.push(0);
        (0..10).find_map(|digit| {
            *number.last_mut()? = digit;
            Brand::of(&number).map(|_| number.clone())
        })
    }

    prop_compose! {
        fn card()(range in prop_oneof![
            Just(("4", 13)), Just(("4", 16)), Just(("4", 19)), Just(("2221", 16)), Just(("2720", 16)), Just(("55", 16)),
            Just(("34", 15)), Just(("37", 15)), Just(("6011", 16)), Just(("649", 19)), Just(("3528", 16)),
            Just(("3589", 17)), Just(("300", 14)), Just(("36", 14)), Just(("38", 16)),
        ], rest in proptest::collection::vec(0u8..10, 19)) -> Vec<u8> {
            let (prefix, length) = range;
            let mut number: Vec<u8> = prefix.bytes().map(|digit| digit - b'0').chain(rest).collect();
            number.truncate(length - 1);
            check_digit(number).expect("one of ten")
        }
    }

    fn spelt(digit: u8, how: u8) -> String {
        let character = char::from(b'0' + digit);
        match how {
            0 => format!("\\u003{character}"),
            1 => char::from_u32(0xff10 + u32::from(digit)).map(String::from).unwrap_or_default(),
            _ => character.to_string(),
        }
    }

    proptest! {
        #[test]
        fn any_card_number_in_any_spelling_is_masked(number in card(), how in proptest::collection::vec((0u8..8, "|||||| |-| - "), 19), before in "[a-z\": ]{0,12}[a-z\":]", after in "[a-z\",}][a-z ]{0,12}") {
            let spelling: String = number.iter().zip(&how).enumerate().map(|(nth, (digit, (how, gap)))| {
                if nth == 0 { spelt(*digit, *how) } else { format!("{gap}{}", spelt(*digit, *how)) }
            }).collect();
            let text = format!("{before}{spelling}{after}");
            let masked = mask(&text);
            prop_assert_eq!(masked.len(), text.len());
            let left = symbol::digits(masked.as_bytes(), 0, masked.len()).count();
            prop_assert_eq!(left, 4, "{} {}", text, masked);
            prop_assert!(masked.starts_with(&before) && masked.ends_with(&after));
        }

        #[test]
        fn masking_twice_is_masking_once_and_moves_nothing(text in "([0-9]{1,6}[ -]?|4111 1111 1111 1111|4222222222222|x|4 |\\\\u0034|5555 55|30569309025904[ -]?){0,24}") {
            let masked = mask(&text);
            prop_assert_eq!(mask(&masked), masked.clone());
            prop_assert_eq!(masked.len(), text.len());
            prop_assert!(find(masked.as_bytes()).is_empty());
        }

        #[test]
        fn any_bytes_can_be_searched(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), b'0'..=b'9', Just(b'\\'), Just(b'.')], 0..300)) {
            let body = Bytes::from(bytes);
            match screen(&body, |_| {}) {
                Ok(clean) => prop_assert_eq!(clean.into_bytes(), body),
                Err((masked, cards)) => {
                    let masked = masked.into_bytes();
                    prop_assert!(!cards.is_empty());
                    prop_assert!(masked.iter().zip(&body).all(|(now, was)| now == was || *now == b'*'));
                    prop_assert!(find(&masked).is_empty());
                }
            }
        }
    }
}
