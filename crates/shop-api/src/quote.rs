//! The price of lines of products: lines that are named, or those of the customer's cart.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::api::Api;
use super::body::Faults;
use super::checkout_request::{MAX_LINES, WantedLines};
use super::problem::{Problem, ProblemCode};
use ecom_shop_domain::inventory::Product;
use ecom_shop_domain::pricing::{Priced, PricingError, WantedLine, price};
use ecom_shop_store::{CartLine, ReadGuarantee};

/// The most products that a request reads at the same time.
const READS: usize = 16;

/// Lines of products with their prices.
pub(crate) struct Quote {
    pub(crate) priced: Priced,
    /// The product of each line, as it was read for its price.
    pub(crate) products: Vec<Product>,
}

impl Api {
    /// Returns the products with these SKUs; those that do not exist are left out.
    pub(crate) async fn products(
        &self,
        skus: impl Iterator<Item = String>,
    ) -> Result<BTreeMap<String, Product>, Problem> {
        let skus: BTreeSet<String> = skus.collect();
        let read = async |sku: String| self.backends.inventory.product(&sku, ReadGuarantee::Committed).await;
        let mut found = stream::iter(skus).map(read).buffered(READS);
        let mut products = BTreeMap::new();
        while let Some(product) = found.try_next().await? {
            products.extend(product.map(|product| (product.sku.clone(), product)));
        }
        Ok(products)
    }

    /// Prices lines, or a customer's cart.
    pub(crate) async fn quote(
        &self,
        customer_id: Option<i64>,
        lines: &WantedLines,
    ) -> Result<Quote, Problem> {
        let cart = match customer_id.filter(|_| lines.need_the_cart()) {
            Some(customer_id) => self.backends.carts.cart(customer_id).await?,
            None => Vec::new(),
        };
        let wanted = wanted(lines, &cart)?;
        let products = self.products(wanted.iter().map(|line| line.sku.clone())).await?;
        let mut faults = Faults::default();
        let mut with_products = Vec::with_capacity(wanted.len());
        for (at, line) in wanted.into_iter().enumerate() {
            match products.get(&line.sku) {
                Some(product) => with_products.push((line, product.clone())),
                None => faults.add(lines.pointer(at, "sku"), lines.about(&line.sku, "is not a product")),
            }
        }
        faults.check()?;
        let priced = price(&with_products, self.shipping_fee);
        let products: Vec<Product> = with_products.into_iter().map(|(_, product)| product).collect();
        let priced = priced.map_err(|error| match error {
            PricingError::Empty => Problem::new(ProblemCode::CartEmpty),
            PricingError::Currencies(at) => {
                let sku = products.get(at).map_or("a product", |product| &product.sku);
                let detail = lines.about(sku, "is priced in another currency than the first line");
                Problem::of_field(ProblemCode::InvalidRequest, lines.pointer(at, "sku"), detail)
            }
            PricingError::TooExpensive => {
                Problem::of_field(ProblemCode::InvalidRequest, "/lines", "are too expensive together")
            }
        })?;
        Ok(Quote { priced, products })
    }
}

/// Returns the lines that are wanted, with the quantities of the cart where none is named.
fn wanted(lines: &WantedLines, cart: &[CartLine]) -> Result<Vec<WantedLine>, Problem> {
    let of_cart = |line: &CartLine| WantedLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
        in_cart_since: Some(line.written_at),
    };
    let Some(named) = &lines.0 else {
        if cart.len() > MAX_LINES {
            let detail = format!("the cart has more than {MAX_LINES} lines: name those to order");
            return Err(Problem::of_field(ProblemCode::InvalidRequest, "/lines", detail));
        }
        return Ok(cart.iter().map(of_cart).collect());
    };
    let mut faults = Faults::default();
    let mut wanted = Vec::with_capacity(named.len());
    for (at, line) in named.iter().enumerate() {
        let in_cart = || cart.iter().find(|in_cart| in_cart.sku == line.sku).map(of_cart);
        let by_name =
            line.quantity.map(|quantity| WantedLine { sku: line.sku.clone(), quantity, in_cart_since: None });
        match by_name.or_else(in_cart) {
            Some(line) => wanted.push(line),
            None => faults.add(lines.pointer(at, "quantity"), "is missing, and the cart has no such line"),
        }
    }
    faults.check().map(|()| wanted)
}
