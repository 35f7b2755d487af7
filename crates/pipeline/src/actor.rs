//! The signature of history entries.

/// The role or person that changes dead letters, as their history names it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// A role's name, or a person.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// The run it belongs to.
    pub run_id: String,
}
