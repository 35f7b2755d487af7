//! The status of each role, one line a role.

use super::terminal::plain;
use super::{count, span, time};
use ecom_dlq::role_status::{RoleProblem, RoleStatuses};
use ecom_domain::role::Role;

/// A problem with a role, in one sentence.
pub(crate) fn problem(problem: &RoleProblem, now: i64) -> String {
    match problem {
        RoleProblem::NeverSeen { role } => format!("{role} was never seen: {}", consequence(*role)),
        RoleProblem::Silent { role, host, version, seen_at } => format!(
            "{role} last seen {} ago on {} ({}): {}",
            span(now.saturating_sub(*seen_at)),
            plain(host),
            plain(version),
            consequence(*role)
        ),
        RoleProblem::Behind { role, orders_at, payments_at, ahead } => format!(
            "{role} is behind: its newest order is from {}, {} older than the newest waiting payment; {} waiting \
             payments are newer than every recorded order",
            time(*orders_at),
            span(payments_at.saturating_sub(*orders_at)),
            count(*ahead)
        ),
    }
}

/// The effect on dead letters while a role does not run.
fn consequence(role: Role) -> &'static str {
    match role {
        Role::OrderConsumer => "no orders are recorded, so payments wait",
        Role::DlqHandler => "dead letters are neither read from their topic nor retried",
        Role::PaymentConsumer => "payments are not joined to their orders",
        Role::OrdersProducer | Role::PaymentsProducer => "no events are published",
    }
}

/// One line a role: first those that have a problem, marked ✗, then those that run, ✓, or do not run and need not, ·.
pub(crate) fn lines(roles: &RoleStatuses, problems: &[RoleProblem], now: i64) -> (String, String) {
    let (mut causes, mut others) = (String::new(), String::new());
    for role in &roles.roles {
        let own = problems.iter().find(|problem| problem.role().as_str() == role.name);
        let line = match (own, &role.last) {
            (Some(own), _) => format!("✗ {}", problem(own, now)),
            (None, Some(last)) => {
                let age = span(now.saturating_sub(last.seen_at));
                let mark = if role.hosts_alive > 0 { "✓" } else { "·" };
                let elsewhere = match role.hosts_alive {
                    0 | 1 => String::new(),
                    hosts => format!(", and on {} more", hosts - 1),
                };
                let (host, version) = (plain(&last.host), plain(&last.version));
                let newest = role.newest_event_at.map_or_else(String::new, |at| {
                    format!("; newest event {} ago", span(now.saturating_sub(at)))
                });
                format!(
                    "{mark} {} seen {age} ago on {host} ({version}){elsewhere}{newest}",
                    plain(&role.name)
                )
            }
            (None, None) => continue,
        };
        let text = if own.is_some() { &mut causes } else { &mut others };
        text.push_str(&format!("  {line}\n"));
    }
    (causes, others)
}
