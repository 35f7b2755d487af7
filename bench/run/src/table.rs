//! The results: medians, ratios within a round with their spread, and every number as CSV.

use crate::measured::Measured;
use crate::options::Arm;
use clap::ValueEnum;
use std::fmt::Write;

/// A value of one round.
type Value = fn(&Round<'_>) -> Option<f64>;
/// A ratio within a round: its name, its value, the bound that it must keep and the one it aims at.
type Target = (&'static str, Value, Option<Bound>, Bound);

/// A bound of a ratio.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {bound:.2}"),
            Self::AtMost(bound) => format!("≤ {bound:.2}"),
        }
    }
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

    fn cpu_ratio(&self, arm: Arm, to: Arm) -> Option<f64> {
        Some(self.cpu(arm)? / self.cpu(to)?)
    }

    fn rate_ratio(&self, arm: Arm, to: Arm) -> Option<f64> {
        Some(self.of(arm)?.rate() / self.of(to)?.rate())
    }
}

use Arm::{GoOrders, GoPayments, MinimalOrders, MinimalPayments, Orders, OrdersAgain, OrdersSlow, Payments};
use Arm::{PythonOrders, R1Pull, R2Insert, R3Update};
use Bound::{AtLeast, AtMost};

/// The ratio that tells how far two runs of the same program differ.
const RESOLUTION: &str = "A/A: orders again ÷ orders, CPU";

#[rustfmt::skip]
const TARGETS: [Target; 10] = [
    ("orders: CPU ÷ (R1 + R2)", |round| Some(round.cpu(Orders)? / (round.cpu(R1Pull)? + round.cpu(R2Insert)?)),
        Some(AtMost(1.25)), AtMost(1.1)),
    ("payments: CPU ÷ (R1 + R3)", |round| Some(round.cpu(Payments)? / (round.cpu(R1Pull)? + round.cpu(R3Update)?)),
        Some(AtMost(1.25)), AtMost(1.1)),
    ("orders: events/s ÷ minimal loop", |round| round.rate_ratio(Orders, MinimalOrders),
        Some(AtLeast(1.0)), AtLeast(1.1)),
    ("payments: events/s ÷ minimal loop", |round| round.rate_ratio(Payments, MinimalPayments),
        Some(AtLeast(1.0)), AtLeast(1.1)),
    ("orders: events/s ÷ Go", |round| round.rate_ratio(Orders, GoOrders), Some(AtLeast(1.6)), AtLeast(2.0)),
    ("payments: events/s ÷ Go", |round| round.rate_ratio(Payments, GoPayments), Some(AtLeast(1.6)), AtLeast(2.0)),
    ("Go's CPU ÷ ours, orders", |round| round.cpu_ratio(GoOrders, Orders), Some(AtLeast(3.5)), AtLeast(5.0)),
    ("Python's CPU ÷ ours, orders", |round| round.cpu_ratio(PythonOrders, Orders),
        Some(AtLeast(20.0)), AtLeast(30.0)),
    ("orders-slow: events/s ÷ orders", |round| round.rate_ratio(OrdersSlow, Orders), None, AtLeast(0.9)),
    (RESOLUTION, |round| round.cpu_ratio(OrdersAgain, Orders), Some(AtLeast(1.0)), AtLeast(1.0)),
];

/// Returns two tables as Markdown.
pub fn markdown(all: &[Measured], machine: &str) -> String {
    let mut text = format!(
        "Medians; {machine}.\n\n\
         | arm | events/s | CPU-s per million | instructions per event | peak MB | p50 ms | p99 ms | rounds |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    for arm in Arm::value_variants() {
        let of_arm: Vec<&Measured> = all.iter().filter(|measured| measured.arm == *arm).collect();
        if of_arm.is_empty() {
            continue;
        }
        let middle = |digits: usize, value: fn(&Measured) -> Option<f64>| {
            let values = of_arm.iter().filter_map(|measured| value(measured)).collect();
            median(values).map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let cells = [
            middle(0, |measured| Some(measured.rate())),
            middle(2, |measured| Some(measured.cpu_per_million())),
            middle(0, Measured::instructions_per_event),
            middle(1, |measured| Some(measured.megabytes())),
            middle(1, |measured| measured.latency.map(|latency| latency.p50)),
            middle(1, |measured| measured.latency.map(|latency| latency.p99)),
        ];
        let _ = writeln!(text, "| {} | {} | {} |", arm.name(), cells.join(" | "), of_arm.len());
    }
    text.push_str("\n| ratio within a round | median | least | most | must | aim | |\n|---|---:|---:|---:|---:|---:|---|\n");
    for (says, value, must, aim) in TARGETS {
        let mut values: Vec<f64> = rounds(all).iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        let (Some(middle), Some(least), Some(most)) = (median(values.clone()), values.first(), values.last())
        else {
            continue;
        };
        let verdict = match (must.map(|bound| bound.holds(middle)), aim.holds(middle)) {
            _ if says == RESOLUTION => "the resolution",
            (_, true) => "aim",
            (Some(true), false) => "must",
            (Some(false), false) => "missed",
            (None, false) => "aim missed",
        };
        let (must, aim) = (must.map_or_else(|| "-".to_owned(), Bound::text), aim.text());
        let _ =
            writeln!(text, "| {says} | {middle:.2} | {least:.2} | {most:.2} | {must} | {aim} | {verdict} |");
    }
    text
}

fn rounds(all: &[Measured]) -> Vec<Round<'_>> {
    let count = all.iter().map(|measured| measured.round + 1).max().unwrap_or_default();
    (0..count).map(|round| Round(all.iter().filter(|measured| measured.round == round).collect())).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[values.len() / 2 - 1], upper) })
}

/// Returns every measurement, one a line.
pub fn csv(all: &[Measured]) -> String {
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
    text
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
                measured(Arm::R1Pull, round, 4.0),
                measured(Arm::R2Insert, round, 6.0),
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
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
