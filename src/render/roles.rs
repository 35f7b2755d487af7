//! The roles' signs of life, and what they say about the dead letters.

use serde::Serialize;

use super::{count, plain, span, time};
use ecom_codec::envelope::rfc3339;
use ecom_dlq::diagnosis::{DLQ_HANDLER, Diagnosis, ORDER_CONSUMER, RoleStatus, RoleStatuses};

/// A role for programs.
#[derive(Serialize)]
pub(crate) struct RoleJson<'r> {
    role: &'r str,
    alive: bool,
    hosts_alive: usize,
    last_seen_at: Option<String>,
    last_seen_age_seconds: Option<i64>,
    host: Option<&'r str>,
    version: Option<&'r str>,
    newest_event_at: Option<String>,
}

impl<'r> RoleJson<'r> {
    pub(crate) fn all(roles: &'r RoleStatuses, now: i64) -> Vec<Self> {
        roles.roles.iter().map(|role| Self::of(role, now)).collect()
    }

    fn of(role: &'r RoleStatus, now: i64) -> Self {
        let last = role.last.as_ref();
        Self {
            role: &role.name,
            alive: role.hosts_alive > 0,
            hosts_alive: role.hosts_alive,
            last_seen_at: last.map(|last| rfc3339(last.seen_at)),
            last_seen_age_seconds: last.map(|last| now.saturating_sub(last.seen_at).max(0) / 1_000_000),
            host: last.map(|last| last.host.as_str()),
            version: last.map(|last| last.version.as_str()),
            newest_event_at: role.newest_event_at.map(rfc3339),
        }
    }
}

/// A cause for programs.
#[derive(Serialize)]
pub(crate) struct CauseJson {
    cause: &'static str,
    role: &'static str,
    says: String,
}

impl CauseJson {
    pub(crate) fn all(causes: &[Diagnosis], now: i64) -> Vec<Self> {
        let one = |cause: &Diagnosis| Self { cause: word(cause), role: cause.role(), says: says(cause, now) };
        causes.iter().map(one).collect()
    }
}

fn word(cause: &Diagnosis) -> &'static str {
    match cause {
        Diagnosis::NeverSeen { .. } => "never_seen",
        Diagnosis::Silent { .. } => "silent",
        Diagnosis::Behind { .. } => "behind",
    }
}

/// A cause in one sentence.
pub(crate) fn says(cause: &Diagnosis, now: i64) -> String {
    match cause {
        Diagnosis::NeverSeen { role } => format!("{role} was never seen: {}", consequence(role)),
        Diagnosis::Silent { role, host, version, seen_at } => format!(
            "{role} last seen {} ago on {} ({}): {}",
            span(now.saturating_sub(*seen_at)),
            plain(host),
            plain(version),
            consequence(role)
        ),
        Diagnosis::Behind { orders_at, payments_at, ahead } => format!(
            "order_consumer is behind: its newest order is of {}, {} before the newest waiting payment; {} waiting \
             payments are newer than any order it has recorded",
            time(*orders_at),
            span(payments_at.saturating_sub(*orders_at)),
            count(*ahead)
        ),
    }
}

fn consequence(role: &str) -> &'static str {
    match role {
        ORDER_CONSUMER => "payments wait for orders that nobody records",
        DLQ_HANDLER => {
            "nothing is retried, and dead letters on the topic are not in the dead-letter store yet"
        }
        _ => "nobody joins payments",
    }
}

/// One line a role, the missed ones marked.
pub(crate) fn lines(roles: &RoleStatuses, causes: &[Diagnosis], now: i64) -> String {
    let mut text = String::new();
    for role in &roles.roles {
        let against = causes.iter().find(|cause| cause.role() == role.name);
        let line = match (against, &role.last) {
            (Some(cause), _) => format!("✗ {}", says(cause, now)),
            (None, Some(last)) => {
                let age = span(now.saturating_sub(last.seen_at));
                let mark = if role.hosts_alive > 0 { "✓" } else { "·" };
                let others = match role.hosts_alive {
                    0 | 1 => String::new(),
                    hosts => format!(", and on {} more", hosts - 1),
                };
                let (host, version) = (plain(&last.host), plain(&last.version));
                let newest = role.newest_event_at.map_or_else(String::new, |at| {
                    format!("; newest event {} ago", span(now.saturating_sub(at)))
                });
                format!("{mark} {} seen {age} ago on {host} ({version}){others}{newest}", plain(&role.name))
            }
            (None, None) => continue,
        };
        text.push_str(&format!("  {line}\n"));
    }
    text
}
