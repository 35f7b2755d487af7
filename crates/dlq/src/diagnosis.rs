//! Why dead letters are there, as far as the roles' signs of life tell.

use std::time::Duration;

use super::next::{Command, Step};
use ecom_clock::micros;
use ecom_domain::event_time::EventTime;
use ecom_domain::heartbeat::Heartbeat;
use ecom_pipeline::heartbeat::INTERVAL;

/// Records orders.
pub const ORDER_CONSUMER: &str = "order_consumer";
/// Takes dead letters into the dead-letter store and retries what waits.
pub const DLQ_HANDLER: &str = "dlq_handler";
/// Joins payments.
pub const PAYMENT_CONSUMER: &str = "payment_consumer";
/// The roles that must run for dead letters to become fewer, first the one that is missed most often.
pub const ROLES: [&str; 3] = [ORDER_CONSUMER, DLQ_HANDLER, PAYMENT_CONSUMER];

/// A role that has missed three signs of life is taken as gone. Leaves room for clocks that differ.
pub const SILENT_AFTER: Duration = Duration::from_secs(3 * INTERVAL.as_secs());
/// Payments newer than the newest recorded order by more than this wait for orders that are behind.
pub const BEHIND_AFTER: Duration = Duration::from_secs(60);

/// What is known of a role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleStatus {
    /// Its name.
    pub name: String,
    /// Its last sign of life on any host; `None` where there never was one.
    pub last: Option<Heartbeat>,
    /// Hosts it was lately seen on.
    pub hosts_alive: usize,
    /// The latest T among the events it settled, on any host.
    pub newest_event_at: Option<i64>,
}

/// What is known of all roles: first those that must run, then whatever else was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleStatuses {
    /// The roles.
    pub roles: Vec<RoleStatus>,
}

impl RoleStatuses {
    /// What the signs of life say now.
    pub fn of(heartbeats: &[Heartbeat], now: i64) -> Self {
        let mut names: Vec<&str> = ROLES.into();
        for heartbeat in heartbeats {
            if !names.contains(&heartbeat.role.as_str()) {
                names.push(&heartbeat.role);
            }
        }
        let role = |name: &str| {
            let own = || heartbeats.iter().filter(|heartbeat| heartbeat.role == name);
            RoleStatus {
                name: name.to_owned(),
                last: own().max_by_key(|heartbeat| heartbeat.seen_at).cloned(),
                hosts_alive: own().filter(|heartbeat| is_alive(heartbeat, now)).count(),
                newest_event_at: own().filter_map(|heartbeat| heartbeat.newest_event_at).max(),
            }
        };
        Self { roles: names.into_iter().map(role).collect() }
    }

    /// Whether a role was lately seen anywhere.
    pub fn is_alive(&self, name: &str) -> bool {
        self.roles.iter().any(|role| role.name == name && role.hosts_alive > 0)
    }

    /// Payments of a later T than this are newer than every order recorded so far, by far; `None`
    /// where nothing tells.
    pub fn orders_reach(&self) -> Option<EventTime> {
        let orders = self.roles.iter().find(|role| role.name == ORDER_CONSUMER)?;
        let reached = orders.newest_event_at?.saturating_add(micros(BEHIND_AFTER));
        Some(EventTime::stored(reached))
    }
}

fn is_alive(heartbeat: &Heartbeat, now: i64) -> bool {
    now.saturating_sub(heartbeat.seen_at) <= micros(SILENT_AFTER)
}

/// The dead letters that wait for their orders.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Waiting {
    /// How many.
    pub dead_letters: u64,
    /// How many of them are of a later T than orders were recorded up to.
    pub ahead: u64,
    /// The latest T among them.
    pub newest_at: Option<i64>,
}

impl Waiting {
    /// Counts one more.
    pub fn add(&mut self, t: EventTime, orders_reach: Option<EventTime>) {
        self.dead_letters += 1;
        self.ahead += u64::from(orders_reach.is_some_and(|reach| t > reach));
        self.newest_at = self.newest_at.max(Some(t.micros()));
    }
}

/// Something that keeps dead letters open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Diagnosis {
    /// A role that must run was never seen.
    NeverSeen {
        /// Which.
        role: &'static str,
    },
    /// A role that must run was not seen lately.
    Silent {
        /// Which.
        role: &'static str,
        /// Where it was last.
        host: String,
        /// Which version that was.
        version: String,
        /// When, microseconds since the epoch.
        seen_at: i64,
    },
    /// Orders are recorded, but payments wait that are newer than all of them.
    Behind {
        /// The latest T among recorded orders, microseconds since the epoch.
        orders_at: i64,
        /// The latest T among waiting payments.
        payments_at: i64,
        /// Waiting payments newer than the orders.
        ahead: u64,
    },
}

impl Diagnosis {
    /// The role it is about.
    pub fn role(&self) -> &'static str {
        match self {
            Self::NeverSeen { role } | Self::Silent { role, .. } => role,
            Self::Behind { .. } => ORDER_CONSUMER,
        }
    }

    /// What to run against it, where that is known.
    pub fn step(&self) -> Option<Step> {
        match self {
            Self::NeverSeen { role } => Some(Step::new(Command::start(role), effect(role))),
            Self::Silent { role, host, .. } => {
                Some(Step::new(Command::start(role), format!("on {host}: {}", effect(role))))
            }
            Self::Behind { .. } => None,
        }
    }
}

/// What a role that runs again does for the dead letters.
fn effect(role: &str) -> &'static str {
    match role {
        ORDER_CONSUMER => "records the orders that payments wait for",
        DLQ_HANDLER => "takes dead letters off the topic, retries what waits",
        _ => "joins the payments that are on their topic",
    }
}

/// What keeps dead letters open, the most telling first; empty where all roles are well.
pub fn causes(roles: &RoleStatuses, waiting: &Waiting) -> Vec<Diagnosis> {
    let mut causes = Vec::new();
    for name in ROLES {
        let role = roles.roles.iter().find(|role| role.name == name);
        let last = role.and_then(|role| role.last.as_ref());
        if !roles.is_alive(name) {
            causes.push(match last {
                None => Diagnosis::NeverSeen { role: name },
                Some(last) => Diagnosis::Silent {
                    role: name,
                    host: last.host.clone(),
                    version: last.version.clone(),
                    seen_at: last.seen_at,
                },
            });
        } else if name == ORDER_CONSUMER
            && waiting.ahead > 0
            && let (Some(orders_at), Some(payments_at)) =
                (role.and_then(|role| role.newest_event_at), waiting.newest_at)
        {
            causes.push(Diagnosis::Behind { orders_at, payments_at, ahead: waiting.ahead });
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOW: i64 = 1_750_000_000 * SECOND;

    fn beat(role: &str, host: &str, ago: i64, newest: Option<i64>) -> Heartbeat {
        Heartbeat {
            role: role.into(),
            host: host.into(),
            version: "0.1.0".into(),
            seen_at: NOW - ago * SECOND,
            newest_event_at: newest,
        }
    }

    fn all_alive() -> Vec<Heartbeat> {
        ROLES.into_iter().map(|role| beat(role, "a", 5, None)).collect()
    }

    #[test]
    fn roles_that_were_never_seen_are_missed() {
        let causes = causes(&RoleStatuses::of(&[], NOW), &Waiting::default());
        assert_eq!(causes, ROLES.map(|role| Diagnosis::NeverSeen { role }));
    }

    #[test]
    fn a_role_is_silent_where_no_host_of_it_was_seen_lately() {
        let mut beats = all_alive();
        beats[0].seen_at = NOW - 6 * 3_600 * SECOND;
        let silent = causes(&RoleStatuses::of(&beats, NOW), &Waiting::default());
        let [Diagnosis::Silent { role: ORDER_CONSUMER, host, seen_at, .. }] = &silent[..] else {
            panic!("{silent:?}")
        };
        assert_eq!((host.as_str(), *seen_at), ("a", NOW - 6 * 3_600 * SECOND));
        beats.push(beat(ORDER_CONSUMER, "b", 3, None));
        assert_eq!(causes(&RoleStatuses::of(&beats, NOW), &Waiting::default()), []);
    }

    #[test]
    fn a_sign_of_life_from_a_clock_ahead_of_ours_counts() {
        let mut beats = all_alive();
        beats[1].seen_at = NOW + 3 * SECOND;
        assert_eq!(causes(&RoleStatuses::of(&beats, NOW), &Waiting::default()), []);
    }

    #[test]
    fn orders_are_behind_where_payments_wait_that_are_much_newer() {
        let mut beats = all_alive();
        beats[0].newest_event_at = Some(NOW - 900 * SECOND);
        beats.push(beat(ORDER_CONSUMER, "gone", 86_400, Some(NOW - 800 * SECOND)));
        let roles = RoleStatuses::of(&beats, NOW);
        let mut waiting = Waiting::default();
        waiting.add(EventTime::stored(NOW - 790 * SECOND), roles.orders_reach());
        assert_eq!(causes(&roles, &waiting), [], "ten seconds are not much");
        waiting.add(EventTime::stored(NOW - 60 * SECOND), roles.orders_reach());
        let behind =
            Diagnosis::Behind { orders_at: NOW - 800 * SECOND, payments_at: NOW - 60 * SECOND, ahead: 1 };
        assert_eq!(causes(&roles, &waiting), [behind]);
    }

    #[test]
    fn a_role_that_need_not_run_is_known_and_not_missed() {
        let mut beats = all_alive();
        beats.push(beat("orders_producer", "a", 9_000, None));
        let roles = RoleStatuses::of(&beats, NOW);
        assert_eq!(roles.roles.len(), 4);
        assert!(!roles.is_alive("orders_producer"));
        assert_eq!(causes(&roles, &Waiting::default()), []);
    }
}
