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
Products, carts, orders, payments and transactions. Orders and payments are recorded exactly once in effect and processed \
in the background.

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
        .title("ecom: products, carts, orders and payments")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build();
    let components = ComponentsBuilder::new().schema_from::<ProblemBody>().schema_from::<FieldFault>();
    let builder = OpenApiBuilder::new().info(info);
    if !is_key_required {
        return builder.components(Some(components.build())).build();
    }
    let schemes = [
        ("api_key", HttpAuthScheme::Bearer, "The API key"),
        ("basic", HttpAuthScheme::Basic, "The API key as the password, with any user name"),
    ];
    let components = schemes.iter().fold(components, |components, (name, scheme, description)| {
        let mut scheme = Http::new(scheme.clone());
        scheme.description = Some((*description).to_owned());
        components.security_scheme(*name, SecurityScheme::Http(scheme))
    });
    // Either of them is enough.
    let either = schemes.map(|(name, ..)| SecurityRequirement::new::<_, _, &str>(name, []));
    builder.components(Some(components.build())).security(Some(either)).build()
}

/// Adds what operations have in common: the problems that an operation may end with, and the headers of its answers.
pub(crate) fn complete(description: &mut OpenApi) {
    let is_key_required = description.security.is_some();
    for (path, item) in &mut description.paths.paths {
        let writes = [&mut item.post, &mut item.put, &mut item.delete];
        let operations = writes.into_iter().map(|operation| (operation, true));
        for (operation, is_write) in operations.chain([(&mut item.get, false)]) {
            let Some(operation) = operation else { continue };
            let codes = problems_of(operation, path, is_write, is_key_required);
            let is_record = codes.contains(&ProblemCode::IdempotencyKeyReused);
            let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
            for code in codes {
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
            add_headers(operation, is_record, is_key_required);
        }
    }
}

fn add_headers(operation: &mut Operation, is_record: bool, is_key_required: bool) {
    let is_waiting = has_parameter(operation, "Prefer");
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let is_recorded = is_record && matches!(status.as_str(), "201" | "202");
        let is_limited = is_key_required && status != "401";
        for (is_due, name, description) in [
            (is_recorded, "Location", "Where to read it"),
            (is_recorded, "Idempotency-Key", "The key that it was recorded under"),
            (is_recorded, "Idempotent-Replayed", "true, if it was recorded before"),
            (is_recorded && is_waiting, "Preference-Applied", "wait=SECONDS, if that was preferred"),
            (is_limited, "RateLimit-Policy", "\"account\";q=REQUESTS;w=SECONDS: what an account may send"),
            (
                is_limited,
                "RateLimit",
                "\"account\";r=REQUESTS;t=SECONDS: what is left, and when it is all there again",
            ),
        ] {
            let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String));
            header.description = Some(description.to_owned());
            response.headers.extend(is_due.then(|| (name.to_owned(), RefOr::T(header))));
        }
    }
}

fn has_parameter(operation: &Operation, name: &str) -> bool {
    let mut parameters = operation.parameters.iter().flatten();
    parameters.any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == name))
}

/// Returns the problems that an operation may end with.
fn problems_of(operation: &Operation, path: &str, is_write: bool, is_key_required: bool) -> Vec<ProblemCode> {
    use ProblemCode as Code;
    let of_operation: &[Code] = match operation.operation_id.as_deref() {
        Some("createOrder") => &[Code::InsufficientStock, Code::IdempotencyKeyReused, Code::BusUnavailable],
        Some("checkout") => &[
            Code::InsufficientStock,
            Code::TotalChanged,
            Code::CartEmpty,
            Code::IdempotencyKeyReused,
            Code::BusUnavailable,
        ],
        Some("createTransaction" | "referenceCreate" | "loadTestCreate") => {
            &[Code::IdempotencyKeyReused, Code::BusUnavailable]
        }
        Some("payOrder") => &[
            Code::AlreadyPaid,
            Code::PaymentInProgress,
            Code::OrderCancelled,
            Code::AmountMismatch,
            Code::IdempotencyKeyReused,
            Code::BusUnavailable,
        ],
        Some("cancelOrder") => &[Code::NotCancellable, Code::BusUnavailable],
        Some("sendConfirmation") => &[Code::NotPaid, Code::BusUnavailable],
        Some("previewCheckout") => &[Code::CartEmpty],
        Some("putProduct") => &[Code::ReservedByOrders, Code::PreconditionFailed],
        _ => &[],
    };
    let body = [Code::MalformedJson, Code::RequestTooSlow, Code::BodyTooLarge, Code::UnsupportedMediaType]
        .into_iter()
        .chain([Code::InvalidRequest, Code::CardNumberPresent]);
    let has_parameter = |name| has_parameter(operation, name);
    let groups = [
        (is_key_required, vec![Code::Unauthenticated, Code::Forbidden, Code::RateLimited]),
        (is_write, vec![Code::Forbidden]),
        (true, vec![Code::InvalidQuery]),
        (has_parameter("page_token"), vec![Code::PageTokenInvalid]),
        (has_parameter("Idempotency-Key"), vec![Code::InvalidHeader, Code::CardNumberPresent]),
        (has_parameter("If-None-Match"), vec![Code::InvalidHeader]),
        (path.contains('{'), vec![Code::NotFound]),
        (operation.request_body.is_some(), body.collect()),
        (true, of_operation.to_vec()),
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
