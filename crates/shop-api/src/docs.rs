//! The OpenAPI description, and the pages that explain problems.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, Header, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    ResponseBuilder, SecurityRequirement,
};

use super::problem::{FieldFault, Problem, ProblemBody, ProblemCode};

const DESCRIPTION: &str = "\
Orders, payments and transactions, recorded exactly once in effect and processed in the background.

**Idempotency.** Send an Idempotency-Key of your own with every POST that creates something, and keep it with what you \
create it for. Repeat a request that was not answered with the same key: it is recorded once, and the answer is the \
record as it is now. Keys never expire. Without a key the server makes one, and a repetition is another order.

**Errors** are problem details (RFC 9457); `type` is a page that explains the code. A request with a fault records \
nothing: mend it and send it again with the same key.

**Amounts** are decimals with at most the decimals of their currency.

**Lists** come in pages: send next_page_token as page_token with the same filters, until there is none.";

/// Returns the description without paths.
pub(crate) fn description(is_key_required: bool) -> OpenApi {
    let info = InfoBuilder::new()
        .title("ecom: orders and payments")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build();
    let components = ComponentsBuilder::new().schema_from::<ProblemBody>().schema_from::<FieldFault>();
    let builder = OpenApiBuilder::new().info(info);
    if !is_key_required {
        return builder.components(Some(components.build())).build();
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = components.security_scheme("api_key", bearer).build();
    let none: [&str; 0] = [];
    builder.components(Some(components)).security(Some([SecurityRequirement::new("api_key", none)])).build()
}

/// Adds what operations have in common: the headers of an answer to a request that records something, and the problems that
/// an operation may end with.
pub(crate) fn complete(description: &mut OpenApi) {
    let is_key_required = description.security.is_some();
    for (path, item) in &mut description.paths.paths {
        for (operation, is_write) in [(&mut item.get, false), (&mut item.post, true)] {
            let Some(operation) = operation else { continue };
            add_headers(operation);
            let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
            for code in problems_of(operation, path, is_write, is_key_required) {
                by_status.entry(code.status().as_u16()).or_default().push(code.as_str());
            }
            for (status, codes) in by_status {
                let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
                let response = ResponseBuilder::new()
                    .description(codes.join(", "))
                    .content("application/problem+json", body)
                    .build();
                operation.responses.responses.insert(status.to_string(), RefOr::T(response));
            }
        }
    }
}

fn add_headers(operation: &mut Operation) {
    let Some(RefOr::T(created)) = operation.responses.responses.get_mut("201") else { return };
    for (name, description) in [
        ("Location", "Where to read it"),
        ("Idempotency-Key", "The key that it was recorded under"),
        ("Idempotent-Replayed", "true, if it was recorded before"),
    ] {
        let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String));
        header.description = Some(description.to_owned());
        created.headers.insert(name.to_owned(), RefOr::T(header));
    }
}

/// Returns the problems that an operation may end with.
fn problems_of(operation: &Operation, path: &str, is_write: bool, is_key_required: bool) -> Vec<ProblemCode> {
    use ProblemCode as Code;
    let has_parameter = |name: &str| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == name))
    };
    let of_operation: &[Code] = match operation.operation_id.as_deref() {
        Some("createOrder" | "createTransaction" | "referenceCreate" | "loadTestCreate") => {
            &[Code::IdempotencyKeyReused]
        }
        Some("payOrder") => &[
            Code::AlreadyPaid,
            Code::PaymentInProgress,
            Code::OrderCancelled,
            Code::AmountMismatch,
            Code::IdempotencyKeyReused,
        ],
        Some("cancelOrder") => &[Code::NotCancellable],
        _ => &[],
    };
    let body = [Code::MalformedJson, Code::RequestTooSlow, Code::BodyTooLarge, Code::UnsupportedMediaType]
        .into_iter()
        .chain([Code::InvalidRequest, Code::CardNumberPresent]);
    let groups = [
        (is_key_required, vec![Code::Unauthenticated, Code::Forbidden, Code::RateLimited]),
        (true, vec![Code::InvalidQuery]),
        (has_parameter("page_token"), vec![Code::PageTokenInvalid]),
        (has_parameter("Idempotency-Key"), vec![Code::InvalidHeader, Code::CardNumberPresent]),
        (path.contains('{'), vec![Code::NotFound]),
        (operation.request_body.is_some(), body.collect()),
        (true, of_operation.to_vec()),
        (is_write, vec![Code::BusUnavailable]),
        (true, vec![Code::Internal, Code::StoreUnavailable, Code::Overloaded, Code::TimedOut]),
    ];
    let mut codes = Vec::new();
    for code in groups.into_iter().filter(|(is_due, _)| *is_due).flat_map(|(_, codes)| codes) {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
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
