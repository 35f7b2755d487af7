//! Every fault at every operation of every role, alone and in pairs, in a world in which each kind of event
//! happens once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ecom_bus::Message;

use crate::conditions::Conditions;
use crate::faults::{Fault, Injector, Operation};
use crate::foreign::{FIRST_ORDER, message, order, payment};
use crate::oracle::CARD_NUMBER;
use crate::runner;
use crate::running_role::RunningRole;
use crate::schedules;
use crate::world::{Role, World};

/// The roles, each of which meets every fault while the others meet none.
const ROLES: [Role; 4] = [Role::Orders, Role::Payments, Role::Handler, Role::Operator];
/// The time from the first messages to the order that arrives after its payment.
const LATE: Duration = Duration::from_millis(150);
/// The most that a script of commands may take.
const SCRIPT: Duration = Duration::from_secs(600);

/// A fault, or two, at operations of one role.
#[derive(Clone, Debug)]
pub struct Case {
    /// The role that meets them.
    pub role: Role,
    /// The faults, by the number of the operation.
    pub faults: BTreeMap<usize, Fault>,
}

/// The result of all cases of a role.
#[derive(Debug)]
pub struct RoleReport {
    /// The role.
    pub role: Role,
    /// Its operations without a fault.
    pub operations: usize,
    /// Cases with one fault, and with two.
    pub cases: [usize; 2],
    /// Cases that violated a rule.
    pub violations: Vec<(Case, String)>,
    /// The time that they took.
    pub elapsed: Duration,
}

/// Runs every fault at every operation of each role; with `pairs`, every two of them, too.
pub fn run(pairs: bool) -> Vec<RoleReport> {
    ROLES.map(|role| run_role(role, pairs)).into()
}

#[expect(clippy::disallowed_methods, reason = "the time that the cases take is real")]
fn run_role(role: Role, pairs: bool) -> RoleReport {
    let started = Instant::now();
    let none = Case { role, faults: BTreeMap::new() };
    let operations = runner::on_paused_time(run_case(&none));
    let faults_at = |operations: &[Operation]| -> Vec<(usize, Fault)> {
        let at = |(index, operation): (usize, &Operation)| {
            let operation = *operation;
            let applies = Fault::ALL.into_iter().filter(move |fault| fault.applies_to(operation));
            applies.map(move |fault| (index, fault)).collect::<Vec<_>>()
        };
        operations.iter().enumerate().flat_map(at).collect()
    };
    let singles: Vec<Case> = faults_at(&operations)
        .into_iter()
        .map(|fault| Case { role, faults: BTreeMap::from([fault]) })
        .collect();
    let mut violations = Vec::new();
    // The second fault may meet an operation that the first one made necessary.
    let ran = run_all(&singles, &mut violations);
    let mut doubles = Vec::new();
    for (case, operations) in singles.iter().zip(ran).filter(|_| pairs) {
        let (first, fault) = case.faults.iter().next().expect("it has one");
        for (second, other) in faults_at(&operations).into_iter().filter(|(second, _)| second > first) {
            doubles.push(Case { role, faults: BTreeMap::from([(*first, *fault), (second, other)]) });
        }
    }
    run_all(&doubles, &mut violations);
    RoleReport {
        role,
        operations: operations.len(),
        cases: [singles.len(), doubles.len()],
        violations,
        elapsed: started.elapsed(),
    }
}

/// Runs the cases on every processor. Returns the operations of each.
fn run_all(cases: &[Case], violations: &mut Vec<(Case, String)>) -> Vec<Vec<Operation>> {
    let results = Mutex::new(vec![Vec::new(); cases.len()]);
    let found = Mutex::new(Vec::new());
    runner::in_parallel(cases.len() as u64, |number| {
        let index = usize::try_from(number).expect("an index of the cases");
        match runner::checked(run_case(&cases[index])) {
            Ok(operations) => results.lock().expect("no holder panics")[index] = operations,
            Err(message) => found.lock().expect("no holder panics").push((cases[index].clone(), message)),
        }
        true
    });
    violations.extend(found.into_inner().expect("no holder panics"));
    results.into_inner().expect("no holder panics")
}

/// Runs a case; returns the operations of its role.
///
/// # Panics
/// If a rule is violated.
pub async fn run_case(case: &Case) -> Vec<Operation> {
    let world = World::new(1, Conditions { scripted: true, ..Conditions::calm() });
    let mut running = Vec::new();
    let mut operations = None;
    for role in ROLES {
        let faults = if role == case.role { case.faults.clone() } else { BTreeMap::new() };
        let injector = std::sync::Arc::new(Injector::scripted(format!("{role:?}"), faults, &world.faults));
        if role == case.role {
            operations = Some(std::sync::Arc::clone(&injector));
        }
        running.push(RunningRole::start(&world, role, injector));
    }
    let started = world.broker.now_us();
    let event = |body: String, at: i64| message(body, Some((started + at).to_string()));
    let [paid, late, missing, invalid] = [0, 1, 2, 3].map(|n| FIRST_ORDER + n);
    let orders = [
        event(order(paid, 1, "1.5"), 1),
        event(order(paid, 2, "0.1"), 2),
        event(order(invalid, 3, "1.5").replace(r#""quantity":"#, r#""quantity":-"#), 3),
    ];
    let first = event(payment(paid, 2, "0623"), 11);
    let payments: [Message; 6] = [
        first.clone(),
        first,
        event(payment(paid, 4, "0623"), 12),
        event(payment(late, 5, "0623"), 13),
        event(payment(missing, 6, "0623"), 14),
        event(payment(paid, 8, CARD_NUMBER), 15),
    ];
    world.broker.publish_batch("orders", orders.to_vec());
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.broker.publish_batch("payments", payments.to_vec());
    tokio::time::sleep(LATE).await;
    world.broker.publish_batch("orders", vec![event(order(late, 7, "1.5"), 21)]);
    let script = tokio::time::timeout(SCRIPT, async {
        while !world.commands.script_is_done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(script.await.is_ok(), "the operator's commands do not end");
    world.heal();
    let operator = running.pop().expect("the operator is the last");
    operator.end(world.seed).await;
    world.finish(running).await;
    schedules::check(&world, &BTreeMap::new());
    operations.expect("the role is one of these").operations()
}
