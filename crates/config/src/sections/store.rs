//! `[store]`: where facts and dead letters are stored.

use serde::Deserialize;

use super::super::Section;
use super::super::checks::Checks;

/// Where facts and dead letters are stored. `C` has the settings of Cassandra.
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

impl<C: Section> StoreConfig<C> {
    pub(super) fn check(&mut self, checks: &mut Checks<'_>) {
        self.cassandra.check(checks);
    }
}
