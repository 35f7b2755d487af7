//! Schemas of the description that no attribute can write.

use std::sync::LazyLock;

use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use ecom_shop_domain::money::Currency;

/// Every currency code that is accepted.
static CODES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let letters = || 'A'..='Z';
    let pairs = letters().flat_map(|first| letters().map(move |second| (first, second)));
    let codes =
        pairs.flat_map(|(first, second)| letters().map(move |third| format!("{first}{second}{third}")));
    codes.filter(|code| Currency::try_new(code).is_some()).collect()
});

/// Returns the schema of a currency.
pub(crate) fn currency() -> Schema {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("Currency code of ISO 4217."))
        .enum_values(Some(CODES.iter().cloned()))
        .examples(["USD"]);
    Schema::Object(schema.build())
}

/// Returns the schema of a currency that may be left out.
pub(crate) fn currency_or_usd() -> Schema {
    let schema = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .description(Some("Currency code of ISO 4217; USD by default."))
        .enum_values(Some(CODES.iter().cloned().map(Some).chain([None])))
        .examples(["USD"]);
    Schema::Object(schema.build())
}

/// Returns the schema of the ids of items.
pub(crate) fn item_ids() -> Schema {
    let id = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(i64::MIN)).maximum(Some(i64::MAX));
    let schema = utoipa::openapi::ArrayBuilder::new()
        .description(Some("The items ordered."))
        .items(id)
        .min_items(Some(1))
        .max_items(Some(100))
        .examples([serde_json::json!([1, 2])]);
    Schema::Array(schema.build())
}
