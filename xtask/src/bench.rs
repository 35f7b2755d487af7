//! `bench`: the binaries beside the raw limits of the two services and beside peers, in one run.
//!
//! Rounds are interleaved and their order shuffled, every arm has a fresh topic, subscription and
//! table, load comes in a closed loop from one generator, and an arm whose rows are not all right is
//! void. What counts are ratios within a round: the host's speed cancels out.

mod arm;
mod busy;
mod launch;
mod measured;
mod options;
mod peers;
mod relay;
mod run;
mod table;

use crate::failure::{Attempt, Failure, Outcome, say};
use crate::guard::Guard;
use crate::services::{self, Service};
use crate::workspace::{self, cargo};
use arm::Arm;
use launch::Place;
use measured::Measured;
use options::Options;
use relay::Relay;
use std::path::Path;

/// What is measured, and what it needs.
const BINARIES: [&str; 5] = ["order_consumer", "payment_consumer", "dlq_handler", "ecom_setup", "limits"];

/// Runs it.
pub fn command(words: &[&str]) -> Outcome<u8> {
    let root = workspace::root()?;
    let options = Options::parse(&root, words)?;
    // The guard removes its folder in the end; results, logs and peers stay.
    let services = options.out.join("services");
    std::fs::create_dir_all(&services).attempt(format_args!("create {}", services.display()))?;
    let mut guard = Guard::start(&services)?;
    let place = prepare(&root, &options, &mut guard)?;
    let arms = slowed(&place, peers::available(&root, &options, options.arms()));
    warm_up(&place, &options)?;
    let mut results = Vec::new();
    for round in 0..options.rounds {
        for arm in shuffled(&arms, round) {
            let result = run::arm(&place, arm, &options, round);
            match &result {
                Ok(measured) => say(&format!("round {}: {}", round + 1, measured.line())),
                Err(failure) => {
                    say(&format!("round {}: {} is void: {}", round + 1, arm.name(), failure.what()))
                }
            }
            results.push((round, arm, result));
        }
    }
    let good: Vec<Measured> = results.iter().filter_map(|(.., result)| result.clone().ok()).collect();
    let void = results.len() - good.len();
    table::write_csv(&options.out.join("bench.csv"), &good)?;
    crate::failure::print(&table::markdown(&good, &busy::machine()));
    say(&format!("every measurement: {}", options.out.join("bench.csv").display()));
    if void > 0 {
        say(&format!("{void} of {} measurements are void", results.len()));
    }
    Ok(u8::from(void > 0))
}

/// Builds what is measured, and finds or starts the services.
fn prepare(root: &Path, options: &Options, guard: &mut Guard) -> Outcome<Place> {
    let mut words = vec!["build", "--profile", "dist", "-p", "ecom", "-p", "limits"];
    words.extend(BINARIES.iter().flat_map(|name| ["--bin", name]));
    if options.build {
        say(&format!("cargo {}", words.join(" ")));
        if !guard.run(&mut cargo(root, &words))? {
            return Err(Failure::new("what is to be measured does not build"));
        }
    }
    let services = services::Options::new(options.out.join("services"));
    let mut addresses = Vec::new();
    for (service, result) in Service::ALL.into_iter().zip(services::up(root, &services)?) {
        let endpoint = result?;
        say(&format!("{} at {}: {}", service.name(), endpoint.address, endpoint.how));
        addresses.push(endpoint.address);
    }
    let [emulator, cassandra] = &addresses[..] else {
        return Err(Failure::new("a service has no address"));
    };
    Ok(Place {
        binaries: workspace::target(root).join("dist"),
        peers: options.out.join("peers"),
        logs: options.out.join("logs"),
        emulator: emulator.clone(),
        cassandra: cassandra.clone(),
    })
}

/// The arms, without those that need a relay where none can stand before Cassandra.
fn slowed(place: &Place, mut arms: Vec<Arm>) -> Vec<Arm> {
    if arms.iter().any(|arm| arm.is_slowed())
        && let Err(failure) = Relay::start(place)
    {
        say(&format!("left out: Cassandra made slow ({})", failure.what()));
        arms.retain(|arm| !arm.is_slowed());
    }
    arms
}

/// A JVM is measured warm or not at all: at least 200,000 events through both services first.
fn warm_up(place: &Place, options: &Options) -> Outcome<()> {
    let mut warmed = 0;
    while warmed < options.warm_up {
        for arm in [Arm::Update, Arm::MinimalOrders] {
            let measured = run::arm(place, arm, options, 0)?;
            say(&format!("warming up: {}", measured.line()));
            warmed += measured.events;
        }
    }
    Ok(())
}

/// The arms in an order of its own per round, so that none always follows the same one.
fn shuffled(arms: &[Arm], round: u32) -> Vec<Arm> {
    let mut order = arms.to_vec();
    let mut state = u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
    for last in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let pick = usize::try_from(state % (last as u64 + 1)).unwrap_or_default();
        order.swap(last, pick);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_arm_once_in_an_order_of_its_own() {
        let arms = Arm::ALL;
        let (first, second) = (shuffled(&arms, 0), shuffled(&arms, 1));
        assert_ne!(first, second);
        for arm in arms {
            assert_eq!(first.iter().filter(|other| **other == arm).count(), 1);
        }
    }
}
