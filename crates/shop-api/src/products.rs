//! Products: list, read, create and replace.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{Api, CallContext};
use super::body::{Faults, Fields};
use super::extract::{JsonBody, NoQuery, StaffCall};
use super::pages::{PageParameters, PageRequest, token};
use super::preconditions::{Preconditions, ReadConditions, WriteConditions, entity_tag};
use super::problem::{Problem, ProblemCode};
use super::query::Query;
use super::schemas;
use super::sku::{self, SkuPath};
use ecom_domain::backoff::Backoff;
use ecom_shop_domain::inventory::{Product, Stock, restocked};
use ecom_shop_domain::money::Currency;
use ecom_shop_store::ReadGuarantee;

/// The most units on hand.
const MAX_ON_HAND: i64 = 1_000_000_000;
/// The writes that may be lost to reservations before the next one waits.
const PROMPT_ATTEMPTS: u32 = 3;

/// The routes of products.
pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(read, put))
}

/// A product to create or to replace.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "it documents the body, which is read field by field to name every fault at once"
)]
struct PutProduct {
    /// The name.
    #[schema(min_length = 1, max_length = 255, example = "Laptop")]
    name: String,
    /// The price of one.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 999.00)]
    price: f64,
    /// Currency code of ISO 4217; USD by default.
    #[schema(schema_with = schemas::currency_or_usd)]
    currency: Option<String>,
    /// The units that are there, reserved ones included.
    #[schema(minimum = 0, maximum = 1_000_000_000, example = 100)]
    on_hand: i64,
}

/// A product.
#[derive(Serialize, ToSchema)]
#[schema(as = Product)]
struct ProductView {
    /// The stock keeping unit, which identifies it.
    #[schema(example = "LAPTOP")]
    sku: String,
    /// The name.
    name: String,
    /// The price of one.
    #[schema(value_type = f64, example = 999.00)]
    price: Box<RawValue>,
    /// Currency code of ISO 4217.
    currency: &'static str,
    /// The units that are there, reserved ones included.
    on_hand: i64,
    /// Of those, units that orders have reserved.
    reserved: i64,
    /// The units that can be ordered now.
    available: i64,
    /// The number of changes, reservations included; the entity tag is this in quotation marks.
    version: i64,
}

/// A page of products.
#[derive(Serialize, ToSchema)]
struct ProductList {
    /// The products.
    products: Vec<ProductView>,
    /// The token of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

impl ProductView {
    fn of(product: &Product) -> Self {
        Self {
            sku: product.sku.clone(),
            name: product.name.clone(),
            price: product.currency.to_json(product.price_minor),
            currency: product.currency.code(),
            on_hand: product.stock.on_hand,
            reserved: product.stock.reserved,
            available: product.stock.available(),
            version: product.stock.version,
        }
    }

    /// Returns an answer with a product and its entity tag.
    fn answer(status: StatusCode, product: &Product) -> Response {
        tagged((status, Json(Self::of(product))), product)
    }
}

fn tagged(answer: impl IntoResponse, product: &Product) -> Response {
    let mut answer = answer.into_response();
    answer.headers_mut().extend(entity_tag(product.stock.version).map(|tag| (ETAG, tag)));
    answer
}

/// List products
///
/// In no order, each exactly once.
#[utoipa::path(
    get, path = "/products", tag = "products", operation_id = "listProducts",
    params(PageParameters),
    responses((status = 200, description = "A page of products", body = ProductList))
)]
async fn list(
    State(api): State<Arc<Api>>,
    _: CallContext,
    query: Query,
) -> Result<Json<ProductList>, Problem> {
    const LIST: &str = "products";
    let page: PageRequest<String> = PageRequest::read(query, LIST)?;
    let found = api.backends.inventory.products_after(page.from.as_deref(), page.size).await?;
    Ok(Json(ProductList {
        products: found.records.iter().map(ProductView::of).collect(),
        next_page_token: found.next.map(|place| token(&place, LIST)),
    }))
}

/// Read a product
///
/// Its entity tag changes with every reservation. With If-None-Match, a version that the client has already is not sent
/// again.
#[utoipa::path(
    get, path = "/products/{sku}", tag = "products", operation_id = "readProduct",
    params(
        ("sku" = String, Path, description = "The SKU", example = "LAPTOP",
            max_length = 64, pattern = "^[.]*[A-Za-z0-9_-][A-Za-z0-9._-]*$"),
        ReadConditions,
    ),
    responses(
        (status = 200, description = "The product", body = ProductView,
            headers(("ETag" = String, description = "The version, in quotation marks"))),
        (status = 304, description = "The client has this version",
            headers(("ETag" = String, description = "The version, in quotation marks"))),
    )
)]
async fn read(
    State(api): State<Arc<Api>>,
    _: CallContext,
    SkuPath(sku): SkuPath,
    conditions: Preconditions,
    _: NoQuery,
) -> Result<Response, Problem> {
    let product = api.backends.inventory.product(&sku, ReadGuarantee::Committed).await?;
    let product = product.ok_or_else(|| Problem::new(ProblemCode::NotFound))?;
    Ok(match conditions.is_known(product.stock.version) {
        true => tagged(StatusCode::NOT_MODIFIED, &product),
        false => ProductView::answer(StatusCode::OK, &product),
    })
}

/// Create or replace a product
///
/// on_hand replaces the number of units, so send the entity tag that you have read with If-Match for anything but the
/// first filling: what was sold in between would be put back otherwise. With `If-None-Match: *` a product is only created.
#[utoipa::path(
    put, path = "/products/{sku}", tag = "products", operation_id = "putProduct",
    request_body = PutProduct,
    params(
        ("sku" = String, Path, description = "The SKU: letters, digits, dots, underscores and hyphens",
            max_length = 64, pattern = "^[.]*[A-Za-z0-9_-][A-Za-z0-9._-]*$", example = "LAPTOP"),
        WriteConditions,
    ),
    responses(
        (status = 200, description = "The product, replaced", body = ProductView,
            headers(("ETag" = String, description = "The version, in quotation marks"))),
        (status = 201, description = "The product, created", body = ProductView,
            headers(("ETag" = String, description = "The version, in quotation marks")),
            links(("read" = (operation_id = "readProduct", parameters(("sku" = "$response.body#/sku")))),
                ("put" = (operation_id = "putProduct", parameters(("sku" = "$response.body#/sku")))))),
    )
)]
async fn put(
    State(api): State<Arc<Api>>,
    StaffCall(_): StaffCall,
    Path(sku): Path<String>,
    conditions: Preconditions,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let asked = ProductRequest::read(&body, sku)?;
    let inventory = &api.backends.inventory;
    for lost in 0.. {
        let stored = inventory.product(&asked.sku, ReadGuarantee::Linearizable).await?;
        conditions.allow_write(stored.as_ref().map(|stored| stored.stock.version))?;
        let product = asked.product(stored.as_ref())?;
        let status = if stored.is_none() { StatusCode::CREATED } else { StatusCode::OK };
        if let Some(stored) = stored.filter(|stored| asked.is_that(stored)) {
            return Ok(ProductView::answer(status, &stored));
        }
        if inventory.put_product(&product).await? {
            return Ok(ProductView::answer(status, &product));
        }
        if lost >= PROMPT_ATTEMPTS {
            tokio::time::sleep(Backoff::IN_PLACE.delay(lost - PROMPT_ATTEMPTS, api.entropy.share())).await;
        }
    }
    // The request is given up long before its attempts can no longer be counted.
    Err(Problem::retryable(ProblemCode::TimedOut))
}

/// A product that was asked for.
struct ProductRequest {
    sku: String,
    name: String,
    price_minor: i64,
    currency: Currency,
    on_hand: i64,
}

impl ProductRequest {
    fn read(body: &[u8], sku: String) -> Result<Self, Problem> {
        let (mut faults, mut fields) = (Faults::default(), Fields::of_body(body)?);
        sku::check(&mut faults, "sku", &sku);
        fields.require(&mut faults, &["name", "price", "on_hand"]);
        let currency = fields.currency(&mut faults, "currency");
        let name = fields.text(&mut faults, "name", 255);
        let price_minor = fields.amount(&mut faults, "price", currency, 0);
        let on_hand = fields.integer(&mut faults, "on_hand", 0..=MAX_ON_HAND);
        fields.finish(&mut faults);
        faults.check()?;
        Ok(Self {
            sku,
            name: name.unwrap_or_default(),
            price_minor: price_minor.unwrap_or_default(),
            currency,
            on_hand: on_hand.unwrap_or_default(),
        })
    }

    /// Returns the product as it is to be written in place of the stored one.
    fn product(&self, stored: Option<&Product>) -> Result<Product, Problem> {
        let stock = match stored {
            None => Stock { on_hand: self.on_hand, reserved: 0, stocked: self.on_hand, version: 1 },
            Some(stored) => restocked(&stored.stock, self.on_hand).ok_or_else(|| {
                let detail = format!("orders have reserved {}", stored.stock.reserved);
                Problem::detailed(ProblemCode::ReservedByOrders, detail)
            })?,
        };
        Ok(Product {
            sku: self.sku.clone(),
            name: self.name.clone(),
            price_minor: self.price_minor,
            currency: self.currency,
            stock,
        })
    }

    /// Returns whether a product is as asked for already.
    fn is_that(&self, stored: &Product) -> bool {
        (&self.name, self.price_minor, self.currency, self.on_hand)
            == (&stored.name, stored.price_minor, stored.currency, stored.stock.on_hand)
    }
}
