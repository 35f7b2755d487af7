//! The names of the operations, by which requests are counted.

use std::collections::{BTreeSet, HashMap};

use axum::http::Method;
use utoipa::openapi::OpenApi;

use super::docs;
use super::server::described;

/// The name of what is no operation: probes, pages, and paths that are not there.
const NONE: &str = "none";

/// The ids of the operations in the description, by route and method.
pub(crate) struct Operations(HashMap<String, Vec<(Method, String)>>);

impl Operations {
    /// Reads the operations of a description.
    pub(crate) fn of(description: &OpenApi) -> Self {
        let of_path = |item: &utoipa::openapi::PathItem| {
            let methods = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::DELETE, &item.delete),
            ];
            let id = |(method, operation): (Method, &Option<utoipa::openapi::path::Operation>)| {
                Some((method, operation.as_ref()?.operation_id.clone()?))
            };
            methods.into_iter().filter_map(id).collect()
        };
        Self(description.paths.paths.iter().map(|(path, item)| (path.clone(), of_path(item))).collect())
    }

    /// Returns the name of the operation that a request asks for.
    pub(crate) fn name(&self, method: &Method, route: &str) -> &str {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let of_route = self.0.get(route).into_iter().flatten();
        of_route.filter(|(known, _)| known == method).map(|(_, id)| id.as_str()).next().unwrap_or(NONE)
    }

    /// Returns every name.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let ids = self.0.values().flatten().map(|(_, id)| id.clone());
        ids.chain([NONE.to_owned()]).collect()
    }
}

/// Returns the names by which requests are counted: the ids of the operations in the description, and `none`.
pub fn operations() -> BTreeSet<String> {
    let (_, description) = described(docs::description(false));
    Operations::of(&description).names()
}
