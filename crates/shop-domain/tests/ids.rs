//! Ids and order numbers of many requests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashSet;

use ecom_shop_domain::identity::{FIRST, RequestKey, order_ids};
use ecom_shop_domain::order_number;

/// The number of ids to draw.
const IDS: usize = 1_000_000;

#[test]
fn a_million_ids_are_distinct_exact_in_javascript_and_no_card_numbers() {
    let mut ids = HashSet::with_capacity(IDS);
    for n in 0..IDS {
        let request = RequestKey { account: "shop".into(), key: n.to_string() };
        let id = order_ids(&request).next().unwrap().0;
        assert!((FIRST..FIRST + 1_000_000_000_000_000).contains(&id) && id < 1 << 53);
        ids.insert(id);
    }
    assert_eq!(ids.len(), IDS);
    let text: Vec<String> = ids.iter().map(ToString::to_string).collect();
    assert!(ecom_card_numbers::find(text.join("\n").as_bytes()).is_empty());
}

#[test]
fn an_order_number_reads_back_and_one_wrong_symbol_is_always_noticed() {
    const ALPHABET: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    for n in 0..2_000 {
        let request = RequestKey { account: "shop".into(), key: n.to_string() };
        let id = order_ids(&request).next().unwrap().0;
        let number = order_number::format(id);
        assert_eq!(number.len(), 18, "{number}");
        assert!(number.bytes().all(|symbol| symbol.is_ascii_alphanumeric() || symbol == b'-'), "{number}");
        assert!(ecom_card_numbers::find(number.as_bytes()).is_empty(), "{number}");
        let typed = number.to_lowercase().replace('0', "o").replace('1', "l");
        for text in [number.clone(), typed, number.replacen('-', "", 3).replacen("ORD", "ORD-", 1)] {
            assert_eq!(order_number::parse(&text), Some(id), "{text}");
        }
        for at in 4..number.len() {
            for symbol in ALPHABET {
                let mut wrong = number.clone().into_bytes();
                if wrong[at] != b'-' && wrong[at] != *symbol {
                    wrong[at] = *symbol;
                    let wrong = String::from_utf8(wrong).unwrap();
                    assert_eq!(order_number::parse(&wrong), None, "{wrong} for {number}");
                }
            }
        }
    }
    for text in [
        "",
        "ORD-",
        "ORD",
        "7312094417265033",
        "ORD-6FT9",
        "ORD-6FT9-YK4W-8C9J-0",
        "ÖRD-6FT9",
        "ORD-*******-****",
    ] {
        assert_eq!(order_number::parse(text), None, "{text}");
    }
}
