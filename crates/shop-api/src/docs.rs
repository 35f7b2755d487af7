//! The OpenAPI description, and the pages that explain problems.

use std::fmt::Write as _;

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, SecurityRequirement};

use super::problem::{Problem, ProblemCode};

const DESCRIPTION: &str = "\
Orders, payments and transactions, recorded exactly once in effect and processed in the background.

**Idempotency.** Send an Idempotency-Key of your own with every POST that creates something, and keep it with what you \
create it for. Repeat a request that was not answered with the same key: it is recorded once, and the answer is the \
record as it is now. Keys never expire. Without a key the server makes one, and a repetition is another order.

**Errors** are problem details (RFC 9457); `type` is a page that explains the code. A request with a fault records \
nothing: mend it and send it again with the same key.

**Amounts** are decimals with at most the decimals of their currency.";

/// Returns the description without paths.
pub(crate) fn description(is_key_required: bool) -> OpenApi {
    let info = InfoBuilder::new()
        .title("ecom: orders and payments")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build();
    let builder = OpenApiBuilder::new().info(info);
    if !is_key_required {
        return builder.build();
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = ComponentsBuilder::new().security_scheme("api_key", bearer).build();
    let none: [&str; 0] = [];
    builder.components(Some(components)).security(Some([SecurityRequirement::new("api_key", none)])).build()
}

/// Answers `/problems`: every code.
pub(crate) async fn problems() -> Response {
    let mut page = String::from("Problems of this API, by code; see /problems/CODE.\n\n");
    for code in ProblemCode::ALL {
        let _ = writeln!(page, "{:<24} {}  {}", code.as_str(), code.status().as_u16(), code.title());
    }
    text(page)
}

/// Answers `/problems/CODE`.
pub(crate) async fn problem(Path(code): Path<String>) -> Result<Response, Problem> {
    let known = ProblemCode::ALL.iter().find(|known| known.as_str() == code);
    let code = known.ok_or_else(|| Problem::new(ProblemCode::NotFound))?;
    let (status, title, explanation) = (code.status().as_u16(), code.title(), code.explanation());
    Ok(text(format!("{} ({status}): {title}\n\n{explanation}\n", code.as_str())))
}

fn text(page: String) -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(header::CONTENT_TYPE, plain)], page).into_response()
}
