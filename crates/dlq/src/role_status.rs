//! The roles' heartbeats, and the problems with roles that keep dead letters open.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::next_action::{NextAction, NextReason, NextStep};
use super::times::{self, age_seconds};
use ecom_clock::micros;
use ecom_domain::event_time::EventTime;
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::role::Role;
use ecom_pipeline::heartbeat::INTERVAL;

/// The roles that must run for dead letters to be resolved; the one whose absence causes most comes first.
pub const REQUIRED: [Role; 3] = [Role::OrderConsumer, Role::DlqHandler, Role::PaymentConsumer];

/// A role without a heartbeat for this long is not running: three intervals, which allows for clock skew.
pub const SILENT_AFTER: Duration = Duration::from_secs(3 * INTERVAL.as_secs());
/// Payments newer than the newest recorded order by more than this wait for orders that are late.
pub const BEHIND_AFTER: Duration = Duration::from_secs(60);

/// The last heartbeat of a role, over all hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleStatus {
    /// The role's name; another version may have roles that this one does not know.
    pub name: String,
    /// The newest heartbeat of any host; `None` if there never was one.
    pub last: Option<Heartbeat>,
    /// Seconds since that heartbeat.
    pub last_age_seconds: Option<i64>,
    /// Hosts with a recent heartbeat.
    pub hosts_alive: usize,
    /// The newest event time of the events it handled on any host, microseconds since the epoch.
    pub newest_event_at: Option<i64>,
}

/// All roles: the required ones first, then any other that sent a heartbeat.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(transparent)]
pub struct RoleStatuses {
    /// The roles.
    pub roles: Vec<RoleStatus>,
}

impl RoleStatuses {
    /// The status of each role at `now`, microseconds since the epoch.
    pub fn of(heartbeats: &[Heartbeat], now: i64) -> Self {
        let mut names: Vec<&str> = REQUIRED.map(Role::as_str).into();
        for heartbeat in heartbeats {
            if !names.contains(&heartbeat.role.as_str()) {
                names.push(&heartbeat.role);
            }
        }
        let role = |name: &str| {
            let own = || heartbeats.iter().filter(|heartbeat| heartbeat.role == name);
            let last = own().max_by_key(|heartbeat| heartbeat.seen_at).cloned();
            RoleStatus {
                name: name.to_owned(),
                last_age_seconds: last.as_ref().map(|last| age_seconds(last.seen_at, now)),
                last,
                hosts_alive: own().filter(|heartbeat| is_alive(heartbeat, now)).count(),
                newest_event_at: own().filter_map(|heartbeat| heartbeat.newest_event_at).max(),
            }
        };
        Self { roles: names.into_iter().map(role).collect() }
    }

    fn status(&self, role: Role) -> Option<&RoleStatus> {
        self.roles.iter().find(|status| status.name == role.as_str())
    }

    /// Returns whether a role runs on any host.
    pub fn is_alive(&self, role: Role) -> bool {
        self.status(role).is_some_and(|status| status.hosts_alive > 0)
    }

    /// The event time beyond which payments are much newer than every order recorded so far; `None` before
    /// the first recorded order.
    pub fn orders_reach(&self) -> Option<EventTime> {
        let orders = self.status(Role::OrderConsumer)?;
        let reached = orders.newest_event_at?.saturating_add(micros(BEHIND_AFTER));
        Some(EventTime::stored(reached))
    }
}

fn is_alive(heartbeat: &Heartbeat, now: i64) -> bool {
    now.saturating_sub(heartbeat.seen_at) <= micros(SILENT_AFTER)
}

impl Serialize for RoleStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'r> {
            role: &'r str,
            alive: bool,
            hosts_alive: usize,
            #[serde(serialize_with = "times::optional::serialize")]
            last_seen_at: Option<i64>,
            last_seen_age_seconds: Option<i64>,
            host: Option<&'r str>,
            version: Option<&'r str>,
            #[serde(serialize_with = "times::optional::serialize")]
            newest_event_at: Option<i64>,
        }
        let last = self.last.as_ref();
        let view = View {
            role: &self.name,
            alive: self.hosts_alive > 0,
            hosts_alive: self.hosts_alive,
            last_seen_at: last.map(|last| last.seen_at),
            last_seen_age_seconds: self.last_age_seconds,
            host: last.map(|last| last.host.as_str()),
            version: last.map(|last| last.version.as_str()),
            newest_event_at: self.newest_event_at,
        };
        view.serialize(serializer)
    }
}

/// The dead letters that wait for their orders.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WaitingDeadLetters {
    /// All of them.
    pub dead_letters: u64,
    /// Those that are much newer than every recorded order.
    pub ahead: u64,
    /// The newest event time among them, microseconds since the epoch.
    pub newest_at: Option<i64>,
}

impl WaitingDeadLetters {
    /// Adds one with event time `t`.
    pub fn add(&mut self, t: EventTime, orders_reach: Option<EventTime>) {
        self.dead_letters += 1;
        self.ahead += u64::from(orders_reach.is_some_and(|reach| t > reach));
        self.newest_at = self.newest_at.max(Some(t.micros()));
    }
}

/// A problem with a role that keeps dead letters open.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum RoleProblem {
    /// A required role never sent a heartbeat.
    NeverSeen {
        /// The role.
        role: Role,
    },
    /// A required role sent no heartbeat lately.
    Silent {
        /// The role.
        role: Role,
        /// The host of its last heartbeat.
        host: String,
        /// Its version then.
        version: String,
        /// The time of its last heartbeat, microseconds since the epoch.
        #[serde(serialize_with = "times::serialize")]
        seen_at: i64,
    },
    /// Orders are recorded, but much older ones than the payments that wait.
    Behind {
        /// The role that records orders.
        role: Role,
        /// The newest event time among recorded orders, microseconds since the epoch.
        #[serde(serialize_with = "times::serialize")]
        orders_at: i64,
        /// The newest event time among waiting payments, microseconds since the epoch.
        #[serde(serialize_with = "times::serialize")]
        payments_at: i64,
        /// Waiting payments that are much newer than every recorded order.
        ahead: u64,
    },
}

impl RoleProblem {
    /// The role with the problem.
    pub fn role(&self) -> Role {
        match self {
            Self::NeverSeen { role } | Self::Silent { role, .. } | Self::Behind { role, .. } => *role,
        }
    }

    /// The step that removes the problem; `None` if time alone does.
    pub fn step(&self) -> Option<NextStep> {
        let host = match self {
            Self::NeverSeen { .. } => None,
            Self::Silent { host, .. } => Some(host.clone()),
            Self::Behind { .. } => return None,
        };
        let action = NextAction::StartRole { role: self.role(), host };
        Some(NextStep::new(action, NextReason::RoleNotRunning))
    }
}

/// The problems that keep dead letters open, in the order of [`REQUIRED`]; empty if all required roles run
/// and orders keep up.
pub fn role_problems(roles: &RoleStatuses, waiting: &WaitingDeadLetters) -> Vec<RoleProblem> {
    let mut problems = Vec::new();
    for role in REQUIRED {
        let status = roles.status(role);
        let last = status.and_then(|status| status.last.as_ref());
        if !roles.is_alive(role) {
            problems.push(match last {
                None => RoleProblem::NeverSeen { role },
                Some(last) => RoleProblem::Silent {
                    role,
                    host: last.host.clone(),
                    version: last.version.clone(),
                    seen_at: last.seen_at,
                },
            });
        } else if role == Role::OrderConsumer
            && waiting.ahead > 0
            && let (Some(orders_at), Some(payments_at)) =
                (status.and_then(|status| status.newest_event_at), waiting.newest_at)
        {
            problems.push(RoleProblem::Behind { role, orders_at, payments_at, ahead: waiting.ahead });
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOW: i64 = 1_750_000_000 * SECOND;

    fn beat(role: Role, host: &str, ago: i64, newest: Option<i64>) -> Heartbeat {
        Heartbeat {
            role: role.as_str().into(),
            host: host.into(),
            version: "0.1.0".into(),
            seen_at: NOW - ago * SECOND,
            newest_event_at: newest,
        }
    }

    fn all_alive() -> Vec<Heartbeat> {
        REQUIRED.into_iter().map(|role| beat(role, "a", 5, None)).collect()
    }

    fn problems(heartbeats: &[Heartbeat]) -> Vec<RoleProblem> {
        role_problems(&RoleStatuses::of(heartbeats, NOW), &WaitingDeadLetters::default())
    }

    #[test]
    fn required_roles_that_were_never_seen_are_problems() {
        assert_eq!(problems(&[]), REQUIRED.map(|role| RoleProblem::NeverSeen { role }));
    }

    #[test]
    fn a_role_is_silent_if_no_host_of_it_was_seen_lately() {
        let mut beats = all_alive();
        beats[0].seen_at = NOW - 6 * 3_600 * SECOND;
        let silent = problems(&beats);
        let [RoleProblem::Silent { role: Role::OrderConsumer, host, seen_at, .. }] = &silent[..] else {
            panic!("{silent:?}")
        };
        assert_eq!((host.as_str(), *seen_at), ("a", NOW - 6 * 3_600 * SECOND));
        beats.push(beat(Role::OrderConsumer, "b", 3, None));
        assert_eq!(problems(&beats), []);
    }

    #[test]
    fn a_heartbeat_from_a_clock_ahead_of_ours_counts() {
        let mut beats = all_alive();
        beats[1].seen_at = NOW + 3 * SECOND;
        assert_eq!(problems(&beats), []);
    }

    #[test]
    fn orders_are_behind_if_payments_wait_that_are_much_newer() {
        let mut beats = all_alive();
        beats[0].newest_event_at = Some(NOW - 900 * SECOND);
        beats.push(beat(Role::OrderConsumer, "gone", 86_400, Some(NOW - 800 * SECOND)));
        let roles = RoleStatuses::of(&beats, NOW);
        let mut waiting = WaitingDeadLetters::default();
        waiting.add(EventTime::stored(NOW - 790 * SECOND), roles.orders_reach());
        assert_eq!(role_problems(&roles, &waiting), [], "ten seconds are not much");
        waiting.add(EventTime::stored(NOW - 60 * SECOND), roles.orders_reach());
        let behind = RoleProblem::Behind {
            role: Role::OrderConsumer,
            orders_at: NOW - 800 * SECOND,
            payments_at: NOW - 60 * SECOND,
            ahead: 1,
        };
        assert_eq!(role_problems(&roles, &waiting), [behind]);
    }

    #[test]
    fn a_role_that_is_not_required_is_listed_and_not_a_problem() {
        let mut beats = all_alive();
        beats.push(beat(Role::OrdersProducer, "a", 9_000, None));
        let roles = RoleStatuses::of(&beats, NOW);
        assert_eq!(roles.roles.len(), 4);
        assert!(!roles.is_alive(Role::OrdersProducer));
        assert_eq!(role_problems(&roles, &WaitingDeadLetters::default()), []);
    }
}
