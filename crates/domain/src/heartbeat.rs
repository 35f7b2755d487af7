//! Heartbeats of the roles.

/// The last heartbeat of a role on a host, with its progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// The name of the role.
    pub role: String,
    /// The host it runs on. All processes of one role on one host share a row.
    pub host: String,
    /// The version it runs.
    pub version: String,
    /// The time it was written, by the role's clock, in microseconds since the epoch.
    pub seen_at: i64,
    /// The watermark: the largest event time among the events it has processed, in microseconds since the
    /// epoch; `None` before the first.
    pub newest_event_at: Option<i64>,
}
