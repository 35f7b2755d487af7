//! Stock keeping units, as clients write them.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::body::Faults;
use super::problem::{Problem, ProblemCode};

/// The longest SKU, in characters.
const MAX_SKU: usize = 64;
/// The fault of a text that is no SKU.
const RULE: &str = "must have 1 to 64 letters, digits, dots, underscores or hyphens, and not dots alone";

/// Returns whether a text has the form of a SKU. Clients remove `.` and `..` from paths, so no product is called that.
fn is_sku(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_SKU).contains(&text.len()) && text.bytes().all(is_plain) && text.bytes().any(|byte| byte != b'.')
}

/// Notes what is wrong with the SKU of a new product or of a line.
pub(crate) fn check(faults: &mut Faults, pointer: &str, text: &str) {
    faults.screen(pointer, text);
    if !is_sku(text) {
        faults.add(pointer, RULE);
    }
}

/// The SKU in the path of a request. One that no product can have is not found.
pub(crate) struct SkuPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for SkuPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let sku = path.ok().map(|Path(sku)| sku);
        let is_possible = |sku: &String| is_sku(sku) && ecom_card_numbers::find(sku.as_bytes()).is_empty();
        sku.filter(is_possible).map(Self).ok_or_else(|| Problem::new(ProblemCode::NotFound))
    }
}
