//! The results: medians, ratios within a round with their spread, and every number as CSV.

use crate::options::Arm;
use anyhow::Result;
use clap::ValueEnum;
use std::fmt::{self, Write};

/// The result of one arm in one round, counted from 0. Seconds pass from the first permitted event to the last one
/// done; processor time is the process's own in that span; memory is the most that was ever resident, in bytes;
/// instructions are those in user mode, where they could be counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub arm: Arm,
    pub round: u32,
    pub events: u64,
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub peak_rss: u64,
    pub instructions: Option<u64>,
    /// Requests that each Cassandra node got from one of the binaries.
    pub requests: Option<Vec<u64>>,
    /// Median and 99th percentile of the time from publishing to the visible row, in milliseconds.
    pub latency: Option<[f64; 2]>,
}

impl Measured {
    /// Returns events per second.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// Returns processor seconds per million events.
    fn cpu_per_million(&self) -> f64 {
        self.cpu_seconds / self.events as f64 * 1e6
    }
}

/// A number of each measurement: its name as CSV, in the table of medians (if it has a column there) with its
/// decimals, and its value.
type Column = (&'static str, Option<(&'static str, usize)>, fn(&Measured) -> Option<f64>);

#[rustfmt::skip]
const COLUMNS: [Column; 11] = [
    ("events", None, |one| Some(one.events as f64)),
    ("seconds", None, |one| Some(one.seconds)),
    ("events_per_s", Some(("events/s", 0)), |one| Some(one.rate())),
    ("cpu_s", None, |one| Some(one.cpu_seconds)),
    ("cpu_s_per_million", Some(("CPU-s per million", 2)), |one| Some(one.cpu_per_million())),
    ("instructions_per_event", Some(("instructions per event", 0)),
        |one| one.instructions.map(|all| all as f64 / one.events as f64)),
    ("requests_per_event", Some(("requests per event", 2)),
        |one| Some(one.requests.as_ref()?.iter().sum::<u64>() as f64 / one.events as f64)),
    ("peak_rss_bytes", None, |one| Some(one.peak_rss as f64)),
    ("peak_rss_mb", Some(("peak MB", 1)), |one| Some(one.peak_rss as f64 / 1e6)),
    ("p50_ms", Some(("p50 ms", 1)), |one| one.latency.map(|[p50, _]| p50)),
    ("p99_ms", Some(("p99 ms", 1)), |one| one.latency.map(|[_, p99]| p99)),
];

/// Prints the numbers of the table that were measured.
impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:17}", self.arm.name())?;
        for (_, shown, value) in COLUMNS {
            if let (Some((name, digits)), Some(value)) = (shown, value(self)) {
                write!(f, " {value:>8.digits$} {name}")?;
            }
        }
        if let Some(nodes) = self.requests.as_ref().filter(|nodes| nodes.len() > 1) {
            write!(f, "  requests by node: {nodes:?}")?;
        }
        Ok(())
    }
}

use Arm::{
    DlqHandler, DlqHandlerUngrouped, Embedded, GoOrders, GoPayments, MinimalOrders, MinimalPayments, Orders,
    OrdersAgain, OrdersSlow, OrdersUngrouped, Payments, PaymentsUngrouped, R1Pull, R2Grouped, R2Insert,
    R3Grouped, R3Update, SqliteRaw,
};

/// A ratio within a round: its name, the number it is of, that of one arm over the sum of others, its bound
/// and the one it aims at, and the side of them it must be on.
type Target = (&'static str, fn(&Measured) -> f64, Arm, &'static [Arm], char, Option<f64>, f64);

const CPU: fn(&Measured) -> f64 = Measured::cpu_per_million;
const RATE: fn(&Measured) -> f64 = Measured::rate;
const MEDIAN: fn(&Measured) -> f64 = |measured| measured.latency.map_or(f64::NAN, |[median, _]| median);
const MEMORY: fn(&Measured) -> f64 = |measured| measured.peak_rss as f64 / 1e6;

#[rustfmt::skip]
const TARGETS: [Target; 18] = [
    ("orders: CPU ÷ (R1 + R2)", CPU, Orders, &[R1Pull, R2Insert], '≤', Some(0.8), 0.6),
    ("payments: CPU ÷ (R1 + R3)", CPU, Payments, &[R1Pull, R3Update], '≤', Some(0.6), 0.45),
    ("orders: CPU ÷ (R1 + R2g)", CPU, Orders, &[R1Pull, R2Grouped], '≤', Some(1.6), 1.3),
    ("payments: CPU ÷ (R1 + R3g)", CPU, Payments, &[R1Pull, R3Grouped], '≤', Some(1.6), 1.3),
    ("orders: events/s ÷ minimal loop", RATE, Orders, &[MinimalOrders], '≥', Some(1.15), 1.3),
    ("payments: events/s ÷ minimal loop", RATE, Payments, &[MinimalPayments], '≥', Some(1.5), 1.8),
    ("orders: events/s ÷ Go", RATE, Orders, &[GoOrders], '≥', Some(1.8), 2.2),
    ("payments: events/s ÷ Go", RATE, Payments, &[GoPayments], '≥', Some(1.8), 2.2),
    ("Go's CPU ÷ ours, orders", CPU, GoOrders, &[Orders], '≥', Some(5.0), 7.0),
    ("Go's CPU ÷ ours, payments", CPU, GoPayments, &[Payments], '≥', Some(6.0), 7.0),
    ("dlq-handler: CPU ÷ ungrouped", CPU, DlqHandler, &[DlqHandlerUngrouped], '≤', Some(0.45), 0.3),
    ("orders: p50 ÷ ungrouped", MEDIAN, Orders, &[OrdersUngrouped], '≤', Some(1.05), 1.0),
    ("payments: p50 ÷ ungrouped", MEDIAN, Payments, &[PaymentsUngrouped], '≤', Some(1.05), 1.0),
    ("orders-slow: events/s ÷ orders", RATE, OrdersSlow, &[Orders], '≥', Some(0.85), 0.95),
    ("embedded: messages/s ÷ 1,000", |one| one.rate() / 1e3, Embedded, &[], '≥', Some(35.0), 50.0),
    ("embedded: events/s ÷ sqlite-raw", RATE, Embedded, &[SqliteRaw], '≥', Some(0.5), 0.7),
    ("orders: peak memory, MB", MEMORY, Orders, &[], '≤', Some(25.0), 20.0),
    ("A/A: orders again ÷ orders, CPU", CPU, OrdersAgain, &[Orders], '≥', Some(1.0), 1.0),
];

/// Returns two tables as Markdown.
pub fn markdown(all: &[Measured], machine: &str) -> String {
    let columns = COLUMNS.iter().filter_map(|(_, shown, value)| Some((shown.as_ref()?, value)));
    let names: Vec<&str> = columns.clone().map(|((name, _), _)| *name).collect();
    let (names, lines) = (names.join(" | "), "---:|".repeat(names.len()));
    let mut text = format!("Medians; {machine}.\n\n| arm | {names} | rounds |\n|---|{lines}---:|\n");
    for arm in Arm::value_variants().iter().filter(|arm| all.iter().any(|one| one.arm == **arm)) {
        let of_arm: Vec<&Measured> = all.iter().filter(|measured| measured.arm == *arm).collect();
        let _ = write!(text, "| {} |", arm.name());
        for ((_, digits), value) in columns.clone() {
            let mut values: Vec<f64> = of_arm.iter().filter_map(|measured| value(measured)).collect();
            let _ = match median(&mut values) {
                Some(value) => write!(text, " {value:.digits$} |"),
                None => write!(text, " - |"),
            };
        }
        let _ = writeln!(text, " {} |", of_arm.len());
    }
    text.push_str("\n| ratio within a round | median | least | most | must | aim | |\n|---|---:|---:|---:|---:|---:|---|\n");
    let rounds = all.iter().map(|measured| measured.round + 1).max().unwrap_or_default();
    for (name, number, arm, over, side, must, aim) in TARGETS {
        let ratio = |round| {
            let of = |arm| all.iter().find(|one| one.round == round && one.arm == arm).map(number);
            let sum = over.iter().map(|arm| of(*arm)).sum::<Option<f64>>()?;
            Some(if over.is_empty() { of(arm)? } else { of(arm)? / sum })
        };
        let mut values: Vec<f64> = (0..rounds).filter_map(ratio).collect();
        let (Some(middle), Some(low), Some(high)) = (median(&mut values), values.first(), values.last())
        else {
            continue;
        };
        let is_met = |bound| if side == '≤' { middle <= bound } else { middle >= bound };
        let verdict = match (must.map(is_met), is_met(aim)) {
            // It shows how far two runs of the same program differ.
            _ if arm == OrdersAgain => "the resolution",
            (_, true) => "aim",
            (Some(true), false) => "must",
            (Some(false), false) => "missed",
            (None, false) => "aim missed",
        };
        let must = must.map_or_else(|| "-".to_owned(), |must| format!("{side} {must:.2}"));
        let spread = format!("{middle:.2} | {low:.2} | {high:.2}");
        let _ = writeln!(text, "| {name} | {spread} | {must} | {side} {aim:.2} | {verdict} |");
    }
    text
}

/// Sorts values and returns the one in the middle.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[values.len() / 2 - 1], upper) })
}

/// Returns every measurement as CSV, one a line.
pub fn csv(all: &[Measured]) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["round", "arm"].into_iter().chain(COLUMNS.map(|(name, ..)| name)))?;
    for measured in all {
        let values =
            COLUMNS.map(|(.., value)| value(measured).map_or_else(String::new, |value| value.to_string()));
        csv.write_record([(measured.round + 1).to_string(), measured.arm.name()].into_iter().chain(values))?;
    }
    Ok(csv.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_one_round_and_the_middle_one_counts() {
        let one = |arm, round, seconds, cpu_seconds| {
            let (events, peak_rss) = (1_000_000, 20_000_000);
            let (instructions, requests, latency) = (None, None, None);
            Measured { arm, round, events, seconds, cpu_seconds, peak_rss, instructions, requests, latency }
        };
        let mut all = vec![one(OrdersSlow, 0, 400.0, 10.0)];
        for (round, ours) in [(0, 10.0), (1, 30.0), (2, 12.0)] {
            all.extend([one(R1Pull, round, 100.0, 4.0), one(R2Insert, round, 100.0, 6.0)]);
            all.push(one(Orders, round, 100.0, ours));
        }
        let text = markdown(&all, "a machine");
        for line in [
            "| orders: CPU ÷ (R1 + R2) | 1.20 | 1.00 | 3.00 | ≤ 0.80 | ≤ 0.60 | missed |",
            "| orders-slow: events/s ÷ orders | 0.25 | 0.25 | 0.25 | ≥ 0.85 | ≥ 0.95 | missed |",
            "| orders: peak memory, MB | 20.00 | 20.00 | 20.00 | ≤ 25.00 | ≤ 20.00 | aim |",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("Python"), "{text}");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
