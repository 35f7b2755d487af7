//! Payments: whatever is accepted has exactly the values that a JSON parser reads; a rejection says why.
#![no_main]

mod body;

use ecom_codec::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match json::payment(bytes) {
    Err(rejection) => body::check_rejection(&rejection, bytes),
    Ok(payment) => {
        let value = body::parsed(bytes);
        assert_eq!(value["payment_id"].as_i64(), Some(payment.payment_id));
        assert_eq!(value["order_id"].as_i64(), Some(payment.order_id.0));
        assert_eq!(value["payment_method"].as_str(), Some(&*payment.payment_method));
        assert_eq!(value["payment_status"].as_str(), Some(&*payment.payment_status));
        assert_eq!(value["payment_datetime"].as_str(), Some(&*payment.payment_datetime));
        let card = payment.card_last_four.as_ref().map(|card| card.as_str().to_owned());
        assert_eq!(value.get("card_last_four").and_then(|card| card.as_str()), card.as_deref());
        assert!(payment.order_id.0 > 0 && payment.payment_id > 0);
    }
});
