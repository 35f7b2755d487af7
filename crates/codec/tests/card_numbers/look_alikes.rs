//! Numbers other than card numbers that orders and payments contain.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The name of a kind of number, and a function that makes one.
pub type LookAlike = (&'static str, fn(&mut ChaCha8Rng) -> String);

/// The kinds of numbers that look like card numbers. In a form, `#` is any digit.
pub const LOOK_ALIKES: [LookAlike; 34] = [
    ("sequential order id", |rng| (4_000_000_000_u64 + rng.random_range(0..1_000_000_000)).to_string()),
    ("dated order id", |rng| filled(rng, "2024012#-########")),
    ("prefixed order id", |rng| filled(rng, "ORD-2024-##########")),
    ("Amazon order id", |rng| filled(rng, "11#-#######-#######")),
    ("order id of 20 digits", |rng| filled(rng, "####################")),
    ("order id of 12 digits", |rng| filled(rng, "############")),
    ("snowflake id", |rng| {
        (1_700_000_000_000_000_000_u64 + rng.random_range(0..200_000_000_000_000_000)).to_string()
    }),
    ("epoch seconds", |rng| (1_700_000_000_u64 + rng.random_range(0..200_000_000)).to_string()),
    ("epoch milliseconds", |rng| (1_700_000_000_000_u64 + rng.random_range(0..200_000_000_000)).to_string()),
    ("epoch microseconds", |rng| {
        (1_700_000_000_000_000_u64 + rng.random_range(0..200_000_000_000_000)).to_string()
    }),
    ("epoch nanoseconds", |rng| {
        (1_700_000_000_000_000_000_u64 + rng.random_range(0..200_000_000_000_000_000)).to_string()
    }),
    ("UUID", |rng| uuid::Builder::from_random_bytes(rng.random()).into_uuid().to_string()),
    ("UUID without dashes", |rng| {
        uuid::Builder::from_random_bytes(rng.random()).into_uuid().simple().to_string()
    }),
    ("SHA-1", |rng| (0..40).map(|_| char::from_digit(rng.random_range(0..16), 16).unwrap()).collect()),
    ("US phone", |rng| filled(rng, "+1 ###-###-####")),
    ("German mobile phone", |rng| filled(rng, "+49 15# ########")),
    ("German mobile phone without gaps", |rng| filled(rng, "+4917#########")),
    ("British phone", |rng| filled(rng, "+44 7### ######")),
    ("French phone", |rng| filled(rng, "+33 6 ## ## ## ##")),
    ("Indian phone", |rng| filled(rng, "+91-#####-#####")),
    ("two national phones", |rng| filled(rng, "0171 #######, 030 ########")),
    ("UPS tracking", |rng| filled(rng, "1Z999AA##########")),
    ("FedEx tracking", |rng| filled(rng, "7###########")),
    ("USPS tracking", |rng| filled(rng, "94## #### #### #### #### ##")),
    ("DHL tracking", |rng| filled(rng, "00340434###########")),
    ("path with a date", |rng| filled(rng, "/2024/01/2#/########")),
    ("name with a date", |rng| filled(rng, "export_2024_01_2#_##########")),
    ("German phone with a slash", |rng| filled(rng, "0171/####### 030/########")),
    ("phones on two lines", |rng| filled(rng, "0171 #######\\n030 ########")),
    ("quantities on lines", |rng| filled(rng, "##\\n##\\n##\\n##\\n##\\n##\\n##\\n##")),
    ("form", |rng| filled(rng, "id=##########&at=17########&from=%2B49+15#+########")),
    ("escaped URL", |rng| filled(rng, "https:\\/\\/example.com\\/2024\\/########\\/####")),
    ("number with separators", |rng| filled(rng, "1_###_###_###_###")),
    ("ISBN-13", |rng| filled(rng, "978-3-####-####-#")),
];

/// Returns the nth look-alike and its kind: the kinds take turns.
pub fn look_alike(nth: usize) -> (&'static str, String) {
    let (kind, make) = LOOK_ALIKES[nth % LOOK_ALIKES.len()];
    (kind, make(&mut ChaCha8Rng::seed_from_u64(nth as u64)))
}

fn filled(rng: &mut ChaCha8Rng, form: &str) -> String {
    form.chars().map(|c| if c == '#' { char::from(b'0' + rng.random_range(0..10u8)) } else { c }).collect()
}
