//! Card brands: the prefixes and lengths of six of them, and the Luhn check.

/// A card brand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the brands' own")]
pub enum Brand {
    Visa,
    Mastercard,
    AmericanExpress,
    Discover,
    Jcb,
    DinersClub,
}

impl Brand {
    /// Returns the brand of a card number, or `None` if the digits (values 0 to 9) are not one: they must
    /// have the prefix and a length of a brand and a valid Luhn check digit. Nine of ten digit sequences with
    /// a matching prefix and length fail the check.
    pub fn of(digits: &[u8]) -> Option<Self> {
        let first_six = digits.get(..6)?.iter().fold(0, |number, digit| number * 10 + u32::from(*digit));
        Self::of_prefix(first_six, digits.len()).filter(|_| passes_luhn(digits))
    }

    /// Returns the brand that issues numbers of this length with these first six digits.
    fn of_prefix(first_six: u32, length: usize) -> Option<Self> {
        Some(match (first_six, length) {
            (400_000..=499_999, 13 | 16 | 18 | 19) => Self::Visa,
            (222_100..=272_099 | 510_000..=559_999, 16) => Self::Mastercard,
            (340_000..=349_999 | 370_000..=379_999, 15) => Self::AmericanExpress,
            (601_100..=601_199 | 622_126..=622_925 | 644_000..=659_999, 16..=19) => Self::Discover,
            // Issued from 3528 to 3589; test numbers use the whole block. Old numbers had 15 digits.
            (350_000..=359_999, 16..=19) | (180_000..=180_099 | 213_100..=213_199, 15) => Self::Jcb,
            (300_000..=305_999 | 309_000..=309_999 | 360_000..=369_999 | 380_000..=399_999, 14..=19) => {
                Self::DinersClub
            }
            _ => return None,
        })
    }

    /// Returns whether a card number of any brand begins with these two digits.
    pub fn may_begin_with(first: u8, second: u8) -> bool {
        matches!(first * 10 + second, 18 | 21..=27 | 30 | 34..=49 | 51..=55 | 60 | 62 | 64 | 65)
    }

    /// Returns the brand's name as it is written in text: `American Express`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Visa => "Visa",
            Self::Mastercard => "Mastercard",
            Self::AmericanExpress => "American Express",
            Self::Discover => "Discover",
            Self::Jcb => "JCB",
            Self::DinersClub => "Diners Club",
        }
    }
}

/// Returns whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1, annex B).
fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .zip([false, true].into_iter().cycle())
        .map(|(digit, doubled)| match u32::from(*digit) * if doubled { 2 } else { 1 } {
            over @ 10.. => over - 9,
            number => number,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: &str) -> Option<Brand> {
        Brand::of(&number.bytes().map(|digit| digit - b'0').collect::<Vec<_>>())
    }

    #[test]
    fn the_brands_test_numbers_are_recognised() {
        for (number, brand) in [
            ("4111111111111111", Brand::Visa),
            ("4222222222222", Brand::Visa),
            ("4000000000000000006", Brand::Visa),
            ("5555555555554444", Brand::Mastercard),
            ("2223003122003222", Brand::Mastercard),
            ("2720992593319364", Brand::Mastercard),
            ("378282246310005", Brand::AmericanExpress),
            ("341111111111111", Brand::AmericanExpress),
            ("6011111111111117", Brand::Discover),
            ("6011981111111113", Brand::Discover),
            ("6221261111117766", Brand::Discover),
            ("3530111333300000", Brand::Jcb),
            ("3566002020360505", Brand::Jcb),
            ("30569309025904", Brand::DinersClub),
            ("38520000023237", Brand::DinersClub),
            ("36227206271667", Brand::DinersClub),
        ] {
            assert_eq!(of(number), Some(brand), "{number}");
        }
    }

    /// Returns the prefix padded with zeros to this length, with a valid check digit.
    fn checked(prefix: &str, length: usize) -> Vec<u8> {
        let mut digits: Vec<u8> = prefix.bytes().map(|digit| digit - b'0').collect();
        digits.resize(length, 0);
        while !passes_luhn(&digits) {
            digits[length - 1] += 1;
        }
        digits
    }

    #[test]
    fn every_prefix_range_and_length_has_exact_bounds() {
        for (prefix, length, brand) in [
            ("4", 13, Some(Brand::Visa)),
            ("4", 14, None),
            ("4", 17, None),
            ("4", 18, Some(Brand::Visa)),
            ("222099", 16, None),
            ("222100", 16, Some(Brand::Mastercard)),
            ("272099", 16, Some(Brand::Mastercard)),
            ("272100", 16, None),
            ("50", 16, None),
            ("51", 16, Some(Brand::Mastercard)),
            ("559999", 16, Some(Brand::Mastercard)),
            ("56", 16, None),
            ("51", 17, None),
            ("33", 15, None),
            ("34", 15, Some(Brand::AmericanExpress)),
            ("37", 15, Some(Brand::AmericanExpress)),
            ("37", 16, None),
            ("601099", 16, None),
            ("6011", 19, Some(Brand::Discover)),
            ("622125", 16, None),
            ("622925", 16, Some(Brand::Discover)),
            ("643999", 16, None),
            ("644", 16, Some(Brand::Discover)),
            ("65", 16, Some(Brand::Discover)),
            ("66", 16, None),
            ("3528", 16, Some(Brand::Jcb)),
            ("3589", 19, Some(Brand::Jcb)),
            ("3528", 15, None),
            ("2131", 15, Some(Brand::Jcb)),
            ("2131", 16, None),
            ("305999", 14, Some(Brand::DinersClub)),
            ("306", 14, None),
            ("3095", 16, Some(Brand::DinersClub)),
            ("36", 13, None),
            ("39", 19, Some(Brand::DinersClub)),
            ("1", 16, None),
            ("9", 16, None),
        ] {
            assert_eq!(Brand::of(&checked(prefix, length)), brand, "{prefix}, {length} digits");
        }
    }

    #[test]
    fn the_first_two_digits_agree_with_the_prefix_ranges() {
        for (first, second) in (0..10).flat_map(|first| (0..10).map(move |second| (first, second))) {
            let two = u32::from(first * 10 + second);
            let mut prefixes = two * 10_000..(two + 1) * 10_000;
            let begins = prefixes
                .any(|first_six| (13..=19).any(|length| Brand::of_prefix(first_six, length).is_some()));
            assert_eq!(Brand::may_begin_with(first, second), begins, "{two}");
        }
    }

    #[test]
    fn a_number_with_a_wrong_check_digit_is_not_a_card_number() {
        for number in ["4111111111111112", "5555555555554445", "378282246310006", "4", ""] {
            assert_eq!(of(number), None, "{number}");
        }
    }
}
