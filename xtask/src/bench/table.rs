//! The results: medians, ratios within a round with their spread, and every number as CSV.

use super::arm::Arm;
use super::measured::Measured;
use crate::failure::{Attempt, Outcome};
use std::fmt::Write;
use std::path::Path;

/// A ratio within a round, and what it should be.
struct Target {
    says: &'static str,
    /// The numbers divided, of one round.
    value: fn(&Round<'_>) -> Option<f64>,
    /// `None`: nothing is asked of it.
    must: Option<f64>,
    aim: f64,
    at_least: bool,
}

/// The measurements of one round.
struct Round<'m>(Vec<&'m Measured>);

impl Round<'_> {
    fn of(&self, arm: Arm) -> Option<&Measured> {
        self.0.iter().find(|measured| measured.arm == arm).copied()
    }

    fn cpu(&self, arm: Arm) -> Option<f64> {
        self.of(arm).map(Measured::cpu_per_million)
    }

    fn rate(&self, arm: Arm) -> Option<f64> {
        self.of(arm).map(Measured::rate)
    }
}

const TARGETS: [Target; 10] = [
    Target {
        says: "orders: CPU ÷ (R1 + R2)",
        value: |round| Some(round.cpu(Arm::Orders)? / (round.cpu(Arm::Pull)? + round.cpu(Arm::Insert)?)),
        must: Some(1.25),
        aim: 1.10,
        at_least: false,
    },
    Target {
        says: "payments: CPU ÷ (R1 + R3)",
        value: |round| Some(round.cpu(Arm::Payments)? / (round.cpu(Arm::Pull)? + round.cpu(Arm::Update)?)),
        must: Some(1.25),
        aim: 1.10,
        at_least: false,
    },
    Target {
        says: "orders: events/s ÷ minimal loop",
        value: |round| Some(round.rate(Arm::Orders)? / round.rate(Arm::MinimalOrders)?),
        must: Some(1.0),
        aim: 1.1,
        at_least: true,
    },
    Target {
        says: "payments: events/s ÷ minimal loop",
        value: |round| Some(round.rate(Arm::Payments)? / round.rate(Arm::MinimalPayments)?),
        must: Some(1.0),
        aim: 1.1,
        at_least: true,
    },
    Target {
        says: "orders: events/s ÷ Go",
        value: |round| Some(round.rate(Arm::Orders)? / round.rate(Arm::GoOrders)?),
        must: Some(1.6),
        aim: 2.0,
        at_least: true,
    },
    Target {
        says: "payments: events/s ÷ Go",
        value: |round| Some(round.rate(Arm::Payments)? / round.rate(Arm::GoPayments)?),
        must: Some(1.6),
        aim: 2.0,
        at_least: true,
    },
    Target {
        says: "Go's CPU ÷ ours, orders",
        value: |round| Some(round.cpu(Arm::GoOrders)? / round.cpu(Arm::Orders)?),
        must: Some(3.5),
        aim: 5.0,
        at_least: true,
    },
    Target {
        says: "Python's CPU ÷ ours, orders",
        value: |round| Some(round.cpu(Arm::PythonOrders)? / round.cpu(Arm::Orders)?),
        must: Some(20.0),
        aim: 30.0,
        at_least: true,
    },
    Target {
        says: "orders-slow: events/s ÷ orders",
        value: |round| Some(round.rate(Arm::OrdersSlow)? / round.rate(Arm::Orders)?),
        must: None,
        aim: 0.9,
        at_least: true,
    },
    Target {
        says: "A/A: orders again ÷ orders, CPU",
        value: |round| Some(round.cpu(Arm::OrdersAgain)? / round.cpu(Arm::Orders)?),
        must: Some(1.0),
        aim: 1.0,
        at_least: true,
    },
];

/// Two tables for people, as Markdown.
pub fn markdown(all: &[Measured], machine: &str) -> String {
    let mut text = format!("Medians; {machine}.\n\n");
    text.push_str("| arm | events/s | CPU-s per million | instructions per event | peak MB | p50 ms | p99 ms | rounds |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|\n");
    for arm in Arm::ALL {
        let of_arm: Vec<&Measured> = all.iter().filter(|measured| measured.arm == arm).collect();
        if of_arm.is_empty() {
            continue;
        }
        let middle = |value: &dyn Fn(&Measured) -> Option<f64>, digits: usize| {
            let values: Vec<f64> = of_arm.iter().filter_map(|measured| value(measured)).collect();
            median(&values).map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            arm.name(),
            middle(&|measured| Some(measured.rate()), 0),
            middle(&|measured| Some(measured.cpu_per_million()), 2),
            middle(&Measured::instructions_per_event, 0),
            middle(&|measured| Some(measured.megabytes()), 1),
            middle(&|measured| measured.latency.map(|latency| latency.p50), 1),
            middle(&|measured| measured.latency.map(|latency| latency.p99), 1),
            of_arm.len(),
        );
    }
    text.push_str("\n| ratio within a round | median | least | most | must | aim | |\n|---|---:|---:|---:|---:|---:|---|\n");
    for target in &TARGETS {
        let mut values: Vec<f64> = rounds(all).iter().filter_map(target.value).collect();
        values.sort_by(f64::total_cmp);
        let (Some(middle), Some(least), Some(most)) = (median(&values), values.first(), values.last()) else {
            continue;
        };
        let holds = |bound: f64| if target.at_least { middle >= bound } else { middle <= bound };
        let verdict = match (target.says.starts_with("A/A"), target.must.map(holds), holds(target.aim)) {
            (true, ..) => "the resolution",
            (false, _, true) => "aim",
            (false, Some(true), false) => "must",
            (false, Some(false), false) => "missed",
            (false, None, false) => "aim missed",
        };
        let sign = if target.at_least { "≥" } else { "≤" };
        let must = target.must.map_or_else(|| "-".to_owned(), |must| format!("{sign} {must:.2}"));
        let _ = writeln!(
            text,
            "| {} | {middle:.2} | {least:.2} | {most:.2} | {must} | {sign} {:.2} | {verdict} |",
            target.says, target.aim
        );
    }
    text
}

fn rounds(all: &[Measured]) -> Vec<Round<'_>> {
    let count = all.iter().map(|measured| measured.round + 1).max().unwrap_or_default();
    (0..count).map(|round| Round(all.iter().filter(|measured| measured.round == round).collect())).collect()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Every measurement, one a line.
pub fn write_csv(path: &Path, all: &[Measured]) -> Outcome<()> {
    let mut text = String::from(
        "round,arm,events,seconds,events_per_s,cpu_s,cpu_s_per_million,instructions_per_event,peak_rss_bytes,p50_ms,p99_ms\n",
    );
    for measured in all {
        let optional = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
        let _ = writeln!(
            text,
            "{},{},{},{:.3},{:.1},{:.3},{:.3},{},{},{},{}",
            measured.round + 1,
            measured.arm.name(),
            measured.events,
            measured.seconds,
            measured.rate(),
            measured.cpu_seconds,
            measured.cpu_per_million(),
            optional(measured.instructions_per_event()),
            measured.peak_rss,
            optional(measured.latency.map(|latency| latency.p50)),
            optional(measured.latency.map(|latency| latency.p99)),
        );
    }
    std::fs::write(path, text).attempt(format_args!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(arm: Arm, round: u32, cpu_seconds: f64) -> Measured {
        Measured {
            arm,
            round,
            events: 1_000_000,
            seconds: 100.0,
            cpu_seconds,
            peak_rss: 20_000_000,
            instructions: None,
            latency: None,
        }
    }

    #[test]
    fn ratios_are_of_one_round_and_the_middle_one_counts() {
        let mut all = Vec::new();
        for (round, ours) in [(0, 10.0), (1, 30.0), (2, 12.0)] {
            all.extend([
                measured(Arm::Pull, round, 4.0),
                measured(Arm::Insert, round, 6.0),
                measured(Arm::Orders, round, ours),
            ]);
        }
        let text = markdown(&all, "a machine");
        assert!(
            text.contains("| orders: CPU ÷ (R1 + R2) | 1.20 | 1.00 | 3.00 | ≤ 1.25 | ≤ 1.10 | must |"),
            "{text}"
        );
        assert!(!text.contains("Python"), "{text}");
    }

    #[test]
    fn a_ratio_that_nothing_is_asked_of_has_an_aim() {
        let slow = Measured { seconds: 400.0, ..measured(Arm::OrdersSlow, 0, 10.0) };
        let text = markdown(&[measured(Arm::Orders, 0, 10.0), slow], "a machine");
        let line = "| orders-slow: events/s ÷ orders | 0.25 | 0.25 | 0.25 | - | ≥ 0.90 | aim missed |";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
