//! Orders: whatever is accepted has exactly the values that a JSON parser reads; a rejection says why.
#![no_main]

mod body;

use ecom_codec::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match json::order(bytes) {
    Err(rejection) => body::check_rejection(&rejection, bytes),
    Ok(order) => {
        let value = body::parsed(bytes);
        assert_eq!(value["order_id"].as_i64(), Some(order.order_id.0));
        assert_eq!(value["customer_id"].as_i64(), Some(order.customer_id));
        assert_eq!(value["quantity"].as_i64(), Some(order.quantity));
        assert_eq!(value["price"].as_f64(), Some(order.price));
        assert_eq!(value["item"].as_str(), Some(&*order.item));
        assert_eq!(value["shipping_address"].as_str(), Some(&*order.shipping_address));
        assert_eq!(value["order_status"].as_str(), Some(&*order.order_status));
        assert_eq!(value["creation_date"].as_str(), Some(&*order.creation_date));
        assert!(order.order_id.0 > 0 && order.customer_id > 0 && order.quantity > 0);
        assert!(order.price.is_finite() && order.price >= 0.0);
    }
});
