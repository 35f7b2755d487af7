//! Fixtures of this crate's tests.

use std::path::Path;

use ecom_embedded::rusqlite::params_from_iter;
use ecom_embedded::{Options, open};

use super::{EmbeddedShop, SCHEMA};

/// Opens the shop as a separate process would.
pub(super) fn shop(dir: &Path) -> EmbeddedShop {
    let options = Options { extensions: vec![SCHEMA], ..Options::new(Vec::new()) };
    EmbeddedShop::new(open(dir, options).unwrap())
}

/// Returns the steps by which a statement finds its rows, in the settings of the engine's connection.
pub(super) async fn plan(shop: &EmbeddedShop, sql: &str) -> Vec<String> {
    let sql = format!("EXPLAIN QUERY PLAN {sql}");
    let plan = shop.embedded.read("explain a statement", move |connection| {
        let mut statement = connection.prepare(&sql)?;
        let nulls = vec![None::<i64>; statement.parameter_count()];
        statement.query_map(params_from_iter(nulls), |row| row.get(3))?.collect()
    });
    plan.await.unwrap()
}
