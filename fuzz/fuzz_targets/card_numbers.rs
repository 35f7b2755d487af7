//! Card numbers: what is masked has none left, keeps its length, and is masked the same again.
#![no_main]

use bytes::Bytes;
use ecom_codec::screen::{ScreenedBody, card_numbers, screen};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let body = Bytes::copy_from_slice(bytes);
    match screen(&body) {
        ScreenedBody::Clean(_) => assert_eq!(card_numbers(&body), None),
        ScreenedBody::Masked { body: masked, detail } => {
            let masked = masked.into_bytes();
            assert_eq!(masked.len(), body.len());
            assert!(!detail.is_empty());
            assert_eq!(card_numbers(&masked), None, "{masked:?}");
        }
    }
});
