//! A sign of life of a role, so that a operator can say who is missing.

/// When a role was last seen on a host, and how far it had come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// The role's name.
    pub role: String,
    /// The host it runs on; the processes of one role on one host share a row.
    pub host: String,
    /// The version it runs.
    pub version: String,
    /// When it was written, by the role's clock, microseconds since the epoch.
    pub seen_at: i64,
    /// The latest T among the events it settled, microseconds since the epoch; `None` before the
    /// first.
    pub newest_event_at: Option<i64>,
}
