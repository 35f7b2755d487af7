//! `[store]`: the store of facts and dead letters.

use serde::Deserialize;

/// The store of facts and dead letters. `C` has the settings of Cassandra.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig<C> {
    /// The store; embedded by default.
    pub kind: StoreKind,
    /// Settings of Cassandra; used if it is the store.
    pub cassandra: C,
}

/// The kinds of store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// The SQLite file in the folder of `[embedded]`.
    Embedded,
    /// Apache Cassandra.
    Cassandra,
}
