//! Finds and masks full card numbers (primary account numbers, PANs) in any bytes.
//!
//! A card number is a run of 13 to 19 digits, with gaps of a few spaces, dashes, underscores, slashes or line ends between them, that has the
//! prefix and a length of one of six brands and passes the Luhn check. The bytes need not be JSON or UTF-8;
//! JSON escapes, HTML character references and percent-encoded gaps are decoded if there are any. Masking replaces every byte of a digit by `*`, except for the
//! last four digits. The length never changes, and less stays visible than PCI DSS 3.4.1 allows.

mod brand;
mod card_number;
mod encoding;
mod find;
mod iban;
mod mask;
mod run;
mod symbol;

pub use brand::Brand;
pub use card_number::CardNumber;
pub use find::find;
pub use mask::{CleanBody, MaskedBody, mask, mask_text, screen};

#[cfg(test)]
mod tests {
    use super::{Brand, find, mask_text, screen, symbol};
    use bytes::Bytes;
    use proptest::prelude::*;

    const VISA: &str = "4111111111111111";

    fn mask(text: &str) -> String {
        mask_text(text).into_owned()
    }

    #[test]
    fn a_card_number_is_masked_except_for_its_last_four_digits() {
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
            ("4111_1111_1111_1111", "****_****_****_1111"),
            ("4111/1111/1111/1111", "****/****/****/1111"),
            ("4111\\/1111\\/1111\\/1111", "****\\/****\\/****\\/1111"),
            ("4111\n1111\n1111\n1111", "****\n****\n****\n1111"),
            ("4111\r\n1111\t1111\r\n1111", "****\r\n****\t****\r\n1111"),
            ("4111\\n1111\\r\\n1111\\t1111", "****\\n****\\r\\n****\\t1111"),
            ("4111&nbsp;1111&nbsp;1111&nbsp;1111", "****&nbsp;****&nbsp;****&nbsp;1111"),
            ("4111&#160;1111&#xA0;1111&amp;nbsp;1111", "****&#160;****&#xA0;****&amp;nbsp;1111"),
            ("4111\\u0026nbsp;1111&ndash;1111&shy;1111", "****\\u0026nbsp;****&ndash;****&shy;1111"),
            ("4&#49;11&nbsp;111111111111", "********&nbsp;********1111"),
            ("4111%201111%201111%201111", "****%20****%20****%201111"),
            ("4111%2D1111%0a1111%C2%A01111", "****%2D****%0a****%C2%A01111"),
            ("4111%E2%80%911111%25201111_1111", "****%E2%80%91****%2520****_1111"),
            ("card=4111+1111+1111+1111&x=1", "card=****+****+****+1111&x=1"),
            ("4111\u{a0}1111\u{2011}1111 1111", "****\u{a0}****\u{2011}**** 1111"),
        ] {
            assert_eq!(mask(text), masked);
            assert_eq!(mask(masked), masked);
        }
    }

    #[test]
    fn escaped_digits_and_digits_of_other_scripts_are_recognised() {
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
    fn a_card_number_formatted_as_floating_point_is_found() {
        assert_eq!(mask("4.111111111111111E15"), "*.***********1111E15");
        assert_eq!(mask("{\"a\":4.11111111100071e+15}"), "{\"a\":*.***********071e+15}");
        assert_eq!(mask("[4.111111111108E15]"), "[*.***********8E15]", "trailing zeros are known");
        assert_eq!(mask("[4.111111111111112E15]"), "[4.111111111111112E15]", "fails the check");
        assert_eq!(mask("[4.173011E17]"), "[4.173011E17]", "too few digits to be one");
        assert_eq!(mask("[4.111111111111111E14]"), "[4.111111111111111E14]", "not a whole number");
    }

    #[test]
    fn the_decimals_of_a_masked_number_are_still_decimals() {
        let masked = mask("{\"a\":4111111111111111.4626022666000}");
        assert_eq!(masked, "{\"a\":************1111.4626022666000}");
        assert_eq!(mask(&masked), masked);
    }

    #[test]
    fn neighbouring_digits_and_text_do_not_hide_a_card_number() {
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
    fn overlapping_card_numbers_are_both_masked() {
        let text = "4000 0000 0000 4004 0000 0000 0008";
        let cards = find(text.as_bytes());
        assert_eq!(cards.len(), 2, "{cards:?}");
        assert!(cards[0].end > cards[1].start);
        assert_eq!(mask(text), "**** **** **** **** **** **** 0008");
    }

    #[test]
    fn look_alikes_are_not_masked() {
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
            "2024/01/21 10/11/12",
            "2024_01_21_1234567",
            "1 +49 151 12345603",
            "4111&lt;1111&gt;1111&amp;1111",
            "4111%411111%3C1111%111",
            "4111&1111&1111&1111",
            "4111%1111%1111%1111",
            "4111\\q1111\\q1111\\q1111",
            "iban DK46 0004 0044 0116 92, DK4600040044011692",
            "{\"price\":777.4222222222222}",
            "[1.0, -0.4222222222222 ]",
        ] {
            assert_eq!(mask(text), text);
        }
        assert_ne!(mask("v1.4222222222222 and more"), "v1.4222222222222 and more", "not a JSON number");
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
        fn any_card_number_in_any_spelling_is_masked(number in card(), how in proptest::collection::vec((0u8..8, "|||||| |-| - |_|/|\n|&nbsp;|%20|\\\\n"), 19), before in "[a-z\": ]{0,12}[a-z\":]", after in "[a-z\",}][a-z ]{0,12}") {
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
        fn masking_is_idempotent_and_keeps_the_length(text in "([0-9]{1,6}[ -]?|4111 1111 1111 1111|4222222222222|x|4 |\\\\u0034|5555 55|30569309025904[ -]?){0,24}") {
            let masked = mask(&text);
            prop_assert_eq!(mask(&masked), masked.clone());
            prop_assert_eq!(masked.len(), text.len());
            prop_assert!(find(masked.as_bytes()).is_empty());
        }

        #[test]
        fn any_bytes_can_be_screened(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), b'0'..=b'9', Just(b'\\'), Just(b'.')], 0..300)) {
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
