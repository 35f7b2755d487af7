//! Errors as RFC 9457 problem details, of a closed set of codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use ecom_bus::PublishError;
use ecom_store::StoreError;

macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:ident, $title:literal, $explanation:literal;)+) => {
        /// The code of a problem: the last part of its `type`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum ProblemCode {
            $($(#[doc = $doc])+ $name,)+
        }

        impl ProblemCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the code as it is written.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            /// Returns the status of the response.
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)+
                }
            }

            /// Returns the summary, the same for every problem of this code.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)+
                }
            }

            /// Returns what the problem means and what to do about it, for `/problems/CODE`.
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Self::$name => $explanation,)+
                }
            }
        }
    };
}

problems! {
    /// The body is not JSON.
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not one JSON object",
        "The body could not be read as exactly one JSON object in UTF-8. Nothing was recorded.";
    /// A query parameter is unknown or has a wrong value.
    InvalidQuery = "invalid_query", BAD_REQUEST, "A query parameter is invalid",
        "A query parameter is unknown, is given twice or has a value that it cannot have; the member errors names each.";
    /// A page token was not made by this API for this list.
    PageTokenInvalid = "page_token_invalid", BAD_REQUEST, "The page token is invalid",
        "A page token is valid only for the list and the filters that it was returned for. Begin again without one.";
    /// A header has a wrong value.
    InvalidHeader = "invalid_header", BAD_REQUEST, "A header is invalid",
        "An Idempotency-Key is given once and has 1 to 255 visible ASCII characters. If-Match and If-None-Match are * or entity tags in quotation marks, as the ETag of an answer is.";
    /// No key, or an unknown one.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "An API key is required",
        "Send the API key as Authorization: Bearer KEY, or as the password of HTTP Basic, with any user name. api_service key makes one.";
    /// The key's role may not do this.
    Forbidden = "forbidden", FORBIDDEN, "This key may not do this",
        "The role of the API key has no right to this operation, or to a field of the request. A page of another origin has none to change anything.";
    /// There is nothing at this path, or nothing that this key may see.
    NotFound = "not_found", NOT_FOUND, "Not found",
        "There is no such resource, or none that this API key may see.";
    /// The path exists, and not this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The method is not allowed",
        "The path exists with other methods; the Allow header names them.";
    /// The order is paid.
    AlreadyPaid = "already_paid", CONFLICT, "The order is already paid",
        "A payment of this order was completed. Nothing was charged a second time.";
    /// Another payment of the order is being processed.
    PaymentInProgress = "payment_in_progress", CONFLICT, "A payment of this order is in progress",
        "An order has at most one payment in progress. Wait for its outcome: GET the order.";
    /// The order ended without a payment.
    OrderCancelled = "order_cancelled", CONFLICT, "The order was cancelled",
        "The order was cancelled or refused, so it cannot be paid. Nothing was charged.";
    /// The order is paid, is being paid, or has ended.
    NotCancellable = "not_cancellable", CONFLICT, "The order cannot be cancelled",
        "Only an order that is neither paid nor being paid can be cancelled.";
    /// The order is not paid.
    NotPaid = "not_paid", CONFLICT, "The order is not paid",
        "An order is confirmed once it is paid, without being asked. Only then its confirmation can be sent again.";
    /// Too few units are available.
    InsufficientStock = "insufficient_stock", CONFLICT, "Too few units are available",
        "The order was refused, because so many units of a product are not available; detail names it. Nothing was charged, and a cart keeps its lines. The order is at Location. Its key keeps this outcome: order fewer units, or try again, with a new key.";
    /// The total is not the one that the customer has seen.
    TotalChanged = "total_changed", CONFLICT, "The total has changed",
        "The total is not expected_total any more, because a price, the cart or the shipping fee has changed; detail has both. Nothing was recorded: show the new total, and send it with the same key.";
    /// The units on hand would be fewer than orders have reserved.
    ReservedByOrders = "reserved_by_orders", CONFLICT, "Orders have reserved more units",
        "The units on hand include those that orders have reserved, so on_hand cannot be below these; detail has their number. Nothing was changed.";
    /// The product has another version than the request requires.
    PreconditionFailed = "precondition_failed", PRECONDITION_FAILED, "The product has another version",
        "The product has changed, or been created, since it was read, or it does not exist. Nothing was changed: read it, and send the request with its entity tag.";
    /// The body does not arrive.
    RequestTooSlow = "request_too_slow", REQUEST_TIMEOUT, "The request arrives too slowly",
        "The body did not arrive within 10 s. Nothing was recorded: repeat the request with the same idempotency key.";
    /// The body is above the limit.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large",
        "A body has at most 64 KiB.";
    /// The body is not declared as JSON.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The media type is not supported",
        "Send the body as JSON, with Content-Type: application/json.";
    /// Fields are missing, unknown, given twice, or have wrong values.
    InvalidRequest = "invalid_request", UNPROCESSABLE_ENTITY, "The request is invalid",
        "The member errors names every field at fault by its JSON pointer. Nothing was recorded: mend the request and send it again with the same key.";
    /// A text contains a full card number.
    CardNumberPresent = "card_number_present", UNPROCESSABLE_ENTITY, "A card number is present",
        "A text contains a full payment card number. It was neither stored nor logged. Send the last four digits only.";
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The idempotency key was used for another request",
        "A key belongs to one request for ever. Repeat that request unchanged, or use a new key for a new one.";
    /// The amount is not that of the order.
    AmountMismatch = "amount_mismatch", UNPROCESSABLE_ENTITY, "The amount is not the total of the order",
        "An order is paid at once and in full. Leave the amount out, or send the total of the order. Nothing was charged.";
    /// There is nothing to check out.
    CartEmpty = "cart_empty", UNPROCESSABLE_ENTITY, "The cart is empty",
        "The request names no lines, and the customer's cart has none. Nothing was recorded.";
    /// Too many requests of one account.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests",
        "This API key has sent more requests than it may. Retry-After says how many seconds to wait.";
    /// A fault of this program.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error",
        "This is a fault of the API. Repeat the request with the same idempotency key; the log has the request id.";
    /// The store does not answer.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, "The store is unavailable",
        "It is unknown whether the request was recorded. Repeat it with the same idempotency key after Retry-After seconds.";
    /// The bus does not answer.
    BusUnavailable = "bus_unavailable", SERVICE_UNAVAILABLE, "The message bus is unavailable",
        "It is unknown whether the request is going to be processed. Repeat it with the same idempotency key after Retry-After seconds. What it created remains recorded; unless it is repeated, that is refused at its deadline and nothing is charged.";
    /// Too many requests at the same time.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Too many requests at the same time",
        "The API serves as many requests as it can. Repeat the request with the same idempotency key after Retry-After seconds.";
    /// The request took too long.
    TimedOut = "timed_out", SERVICE_UNAVAILABLE, "The request took too long",
        "The request was given up after 30 s. It is unknown whether it was recorded: repeat it with the same idempotency key after Retry-After seconds.";
}

/// Where to look for the pages that explain the codes.
pub(crate) const PROBLEMS: &str = "/problems";
/// The most faults that a problem names.
const MAX_FAULTS: usize = 100;
/// The longest name of a client's field that is repeated, in characters.
const MAX_NAME: usize = 64;

/// A problem that a request ended with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The code.
    pub code: ProblemCode,
    /// What is wrong with this request, without repeating its values.
    pub detail: Option<String>,
    /// The faults of single fields.
    pub errors: Vec<FieldFault>,
    /// The seconds after which the request may be repeated.
    pub retry_after: Option<u64>,
}

/// A fault of a field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct FieldFault {
    /// The field, as a JSON pointer into the body, or the name of a parameter of path or query or of a header.
    #[schema(example = "/lines/0/quantity")]
    pub pointer: String,
    /// The fault.
    #[schema(example = "must be 1 to 1000000")]
    pub detail: String,
}

/// Problem details as of RFC 9457.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// The kind of problem; a page that explains it.
    #[schema(example = "/problems/invalid_request")]
    r#type: String,
    /// The summary of the kind.
    title: &'static str,
    /// The status of the response.
    #[schema(example = 422)]
    status: u16,
    /// What is wrong with this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The id of this request, as in the header X-Request-Id and in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The faults of single fields, at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldFault>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(code: ProblemCode) -> Self {
        Self { code, detail: None, errors: Vec::new(), retry_after: None }
    }

    /// A problem with what is wrong with the request.
    pub fn detailed(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(code) }
    }

    /// A problem after which the same request may succeed at once.
    pub(crate) fn retryable(code: ProblemCode) -> Self {
        Self { retry_after: Some(1), ..Self::new(code) }
    }

    /// A problem with one fault.
    pub fn of_field(code: ProblemCode, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            errors: vec![FieldFault { pointer: pointer.into(), detail: detail.into() }],
            ..Self::new(code)
        }
    }

    /// Returns the response, for the request with this id.
    pub(crate) fn respond(mut self, request_id: Option<&str>) -> Response {
        self.errors.truncate(MAX_FAULTS);
        let body = ProblemBody {
            r#type: format!("{PROBLEMS}/{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: self.detail,
            instance: request_id.map(|id| format!("/requests/{id}")),
            errors: self.errors,
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (self.code.status(), [(header::CONTENT_TYPE, content_type)], json).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == ProblemCode::Unauthenticated {
            for challenge in ["Bearer", "Basic realm=\"ecom\", charset=\"UTF-8\""] {
                response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
        }
        response
    }
}

/// Returns the name of a field or parameter as an answer may repeat it: it is the client's text.
pub(crate) fn repeatable(name: &str) -> &str {
    let is_long = name.chars().count() > MAX_NAME;
    if is_long || !ecom_card_numbers::find(name.as_bytes()).is_empty() { "…" } else { name }
}

impl IntoResponse for Problem {
    /// The problem travels as an extension; the outermost layer writes it, with the id of the request.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_outage() {
            tracing::debug!("{error}");
            return Self::retryable(ProblemCode::StoreUnavailable);
        }
        tracing::error!("{error}");
        Self::new(ProblemCode::Internal)
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        if error.is_outage() {
            tracing::debug!("{error}");
            return Self::retryable(ProblemCode::BusUnavailable);
        }
        tracing::error!("{error}");
        Self::new(ProblemCode::Internal)
    }
}
