//! IBANs whose account numbers are all digits. Danish, Finnish and Norwegian ones are as long as a card
//! number, and one in forty would be taken for one.

use crate::symbol::digits;

/// The countries whose IBANs have no letters besides the country code, and the number of digits.
const COUNTRIES: [([u8; 2], usize); 24] = [
    (*b"NO", 13),
    (*b"BE", 14),
    (*b"DK", 16),
    (*b"FI", 16),
    (*b"FO", 16),
    (*b"GL", 16),
    (*b"SI", 17),
    (*b"AT", 18),
    (*b"BA", 18),
    (*b"EE", 18),
    (*b"LT", 18),
    (*b"XK", 18),
    (*b"HR", 19),
    (*b"DE", 20),
    (*b"ME", 20),
    (*b"RS", 20),
    (*b"IL", 21),
    (*b"CZ", 22),
    (*b"ES", 22),
    (*b"SE", 22),
    (*b"SK", 22),
    (*b"PT", 23),
    (*b"HU", 26),
    (*b"PL", 26),
];

/// Returns whether the digits from `start` to `end` are an IBAN together with the two letters before them:
/// they must have the length of the country and pass the check of ISO 13616.
pub(super) fn is_iban(bytes: &[u8], start: usize, end: usize) -> bool {
    let [before @ .., first, second] = &bytes[..start] else { return false };
    let is_separate = !before.last().is_some_and(u8::is_ascii_alphanumeric);
    let country = COUNTRIES.iter().find(|(letters, _)| *letters == [*first, *second]);
    let Some((letters, length)) = country.filter(|_| is_separate) else { return false };
    let (mut number, mut count) = ([0u8; 26], 0);
    for digit in digits(bytes, start, end) {
        let Some(place) = number.get_mut(count) else { return false };
        (*place, count) = (digit, count + 1);
    }
    if count != *length {
        return false;
    }
    let (check, account) = number[..count].split_at(2);
    let letters = letters.iter().flat_map(|letter| [(letter - b'A' + 10) / 10, (letter - b'A' + 10) % 10]);
    let moved = account.iter().copied().chain(letters).chain(check.iter().copied());
    moved.fold(0, |rest, digit| (rest * 10 + u32::from(digit)) % 97) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str) -> bool {
        let start = text.find(|c: char| c.is_ascii_digit()).expect("digits");
        is_iban(text.as_bytes(), start, text.len())
    }

    #[test]
    fn the_registrys_examples_are_ibans_and_near_misses_are_not() {
        for iban in [
            "NO9386011117947",
            "BE68539007547034",
            "DK50 0040 0440 1162 43",
            "FI2112345600000785",
            "AT611904300234573201",
            "DE89 3704 0044 0532 0130 00",
            "HU42117730161111101800000000",
        ] {
            assert!(is(iban), "{iban}");
            assert!(is(&format!("iban: {iban}")));
            assert!(!is(&format!("X{iban}")) && !is(&iban[1..]) && !is(&iban[2..]), "{iban}");
            assert!(!is(&format!("{}0", &iban[..iban.len() - 1])) || iban.ends_with('0'), "{iban}");
            assert!(!is(&format!("{iban}0")), "{iban}");
        }
    }
}
