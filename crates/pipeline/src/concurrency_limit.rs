//! The concurrency limit of a consumer: the number of deliveries processed at a time. It follows the store. A
//! store that answers slowly may let more through when more is asked of it at once; a store at its capacity
//! only queues. Latency does not tell the two apart, so the limit is doubled for half a second, or for as
//! long as the store takes to answer as many calls, and throughput decides whether it stays.

use std::time::Duration;

/// The limit a consumer starts with: enough to bring a single Cassandra node to its capacity. In groups of ten, these are
/// about a hundred requests.
pub const START: usize = 1_024;
/// The time between two calls of [`ConcurrencyLimit::tick`].
pub const TICK: Duration = Duration::from_millis(125);
/// The fewest ticks a measurement takes.
const TICKS: u32 = 4;
/// Measurements between two trials at a steady rate: about a minute.
const REST: u32 = 100;
/// Rates are deliveries per this many ticks.
const PRECISION: u64 = 1_000;
/// A doubled limit stays when throughput is above this percentage of the rate before.
const GAIN: u64 = 120;
/// A halved limit stays when throughput is at least this percentage of the rate before.
const KEPT: u64 = 90;
/// The limit binds where this percentage of it is being processed on average: groups that were finished free a part of
/// it until others take their places, and now and then the bus delivers nothing for a moment.
const FULL: u64 = 85;
/// A new trial begins when throughput falls below the first or rises above the second of these percentages of
/// the steady rate.
const DROP: u64 = 67;
const RISE: u64 = 150;

/// The bounds of a concurrency limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConcurrencyBounds {
    /// The lowest limit, and the first; at least 1.
    pub least: usize,
    /// The highest limit: it bounds memory.
    pub most: usize,
}

impl ConcurrencyBounds {
    /// Bounds with `most` raised to at least 1 and `least` clamped to `1..=most`.
    pub fn new(least: usize, most: usize) -> Self {
        let most = most.max(1);
        Self { least: least.clamp(1, most), most }
    }
}

/// A concurrency limit that follows the throughput of the store.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    bounds: ConcurrencyBounds,
    size: usize,
    trial: Trial,
    measurement: Measurement,
}

/// The question the current measurement answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trial {
    /// None for this many measurements, unless throughput is far from the steady rate.
    None { steady: u64, left: u32 },
    /// Does a doubled limit let more through than this rate?
    Wider { before: u64 },
    /// Does a halved limit let about as much through as this rate?
    Narrower { before: u64 },
}

/// A measurement under way. Each stage ends when as many deliveries were finished as the limit allows at
/// once, so that a change has taken effect before it is measured.
#[derive(Debug)]
struct Measurement {
    stage: Stage,
    ticks: u32,
    from: u64,
    /// The deliveries that were being processed, summed over the ticks.
    busy: u64,
}

/// The stage of a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    TakingEffect,
    Measuring,
}

impl Measurement {
    fn new(stage: Stage, from: u64) -> Self {
        Self { stage, ticks: 0, from, busy: 0 }
    }
}

impl ConcurrencyLimit {
    /// A limit at its lower bound.
    pub fn new(bounds: ConcurrencyBounds) -> Self {
        let trial = Trial::None { steady: 0, left: 0 };
        let measurement = Measurement::new(Stage::TakingEffect, 0);
        Self { bounds, size: bounds.least, trial, measurement }
    }

    /// The number of deliveries that may be processed now.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns true when both bounds are equal: there is nothing to adapt.
    pub fn is_fixed(&self) -> bool {
        self.bounds.least == self.bounds.most
    }

    /// Adapts the limit. To be called every [`TICK`] with the deliveries finished since the start and those
    /// being processed now.
    pub fn tick(&mut self, finished: u64, busy: usize) {
        let measurement = &mut self.measurement;
        measurement.ticks += 1;
        measurement.busy += busy as u64;
        let is_full = measurement.busy * 100 >= self.size as u64 * u64::from(measurement.ticks) * FULL;
        let through = finished.saturating_sub(measurement.from);
        let is_enough = through >= self.size as u64 || !is_full;
        match measurement.stage {
            Stage::TakingEffect if is_enough => *measurement = Measurement::new(Stage::Measuring, finished),
            Stage::Measuring if is_enough && measurement.ticks >= TICKS => {
                let rate = through * PRECISION / u64::from(measurement.ticks);
                self.measurement = Measurement::new(Stage::TakingEffect, finished);
                self.decide(rate, is_full);
            }
            Stage::TakingEffect | Stage::Measuring => {}
        }
    }

    /// Sets the next limit from the rate measured, in deliveries per [`PRECISION`] ticks.
    fn decide(&mut self, rate: u64, is_full: bool) {
        if !is_full {
            // The limit does not bind.
            self.size = (self.size / 2).max(self.bounds.least);
            self.trial = Trial::None { steady: 0, left: 0 };
            return;
        }
        match self.trial {
            Trial::None { steady, left } if left == 0 || rate * 100 < steady * DROP => self.try_wider(rate),
            Trial::None { steady, .. } if rate * 100 > steady * RISE => self.try_narrower(rate),
            Trial::None { steady, left } => self.trial = Trial::None { steady, left: left - 1 },
            Trial::Wider { before } if rate * 100 > before * GAIN => self.try_wider(rate),
            Trial::Wider { before } => {
                self.size /= 2;
                self.try_narrower(before);
            }
            Trial::Narrower { before } if rate * 100 >= before * KEPT => self.try_narrower(rate),
            Trial::Narrower { before } => {
                self.size = (self.size * 2).min(self.bounds.most);
                self.rest(before);
            }
        }
    }

    fn try_wider(&mut self, before: u64) {
        match self.size * 2 {
            wider if wider <= self.bounds.most => (self.size, self.trial) = (wider, Trial::Wider { before }),
            _ => self.try_narrower(before),
        }
    }

    fn try_narrower(&mut self, before: u64) {
        match self.size / 2 {
            narrower if narrower >= self.bounds.least => {
                (self.size, self.trial) = (narrower, Trial::Narrower { before });
            }
            _ => self.rest(before),
        }
    }

    fn rest(&mut self, steady: u64) {
        self.trial = Trial::None { steady, left: REST };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lowest limit.
    const LEAST: usize = 256;

    /// A store that takes `latency` seconds per call and handles `capacity` calls a second at most.
    struct Simulated {
        limit: ConcurrencyLimit,
        finished: f64,
    }

    impl Simulated {
        fn new(most: usize) -> Self {
            Self { limit: ConcurrencyLimit::new(ConcurrencyBounds::new(LEAST, most)), finished: 0.0 }
        }

        /// The limit and the rate at each tick, for so many seconds in which `arriving` messages a second
        /// arrive.
        fn run(&mut self, seconds: u32, latency: f64, capacity: f64, arriving: f64) -> Vec<(usize, f64)> {
            let mut seen = Vec::new();
            for tick in 0..seconds * 8 {
                let size = self.limit.size();
                let possible = (size as f64 / latency).min(capacity);
                let rate = possible.min(arriving);
                self.finished += rate * TICK.as_secs_f64();
                // A few groups have just been finished, and others have not taken their places yet. Now and then most.
                let free = if tick % 11 == 0 { size / 3 } else { size / 20 };
                let busy = if arriving >= possible { size - free } else { size / 2 };
                self.limit.tick(self.finished as u64, busy);
                seen.push((size, rate));
            }
            seen
        }
    }

    const PLENTY: f64 = 1e9;

    #[test]
    fn a_store_that_becomes_slow_gets_more_calls_at_a_time_and_throughput_stays() {
        let mut simulated = Simulated::new(4_096);
        let seen = simulated.run(30, 0.005, 15_000.0, PLENTY);
        assert_eq!(
            seen.last(),
            Some(&(LEAST, 15_000.0)),
            "it is at its capacity, more calls would only wait"
        );
        let seen = simulated.run(15, 0.1, 15_000.0, PLENTY);
        assert_eq!(seen[0], (LEAST, 2_560.0));
        assert_eq!(seen.last(), Some(&(2_048, 15_000.0)));
        let seen = simulated.run(15, 0.005, 15_000.0, 10_000.0);
        assert_eq!(seen.last(), Some(&(LEAST, 10_000.0)), "as many are not needed any more");
    }

    #[test]
    fn trials_cost_at_most_three_percent_of_the_throughput() {
        let mut simulated = Simulated::new(4_096);
        simulated.run(15, 0.1, 15_000.0, PLENTY);
        let seen = simulated.run(600, 0.1, 15_000.0, PLENTY);
        let mean = seen.iter().map(|(_, rate)| rate).sum::<f64>() / seen.len() as f64;
        assert!(mean > 15_000.0 * 0.97, "{mean}");
    }

    #[test]
    fn the_upper_bound_is_kept_however_slow_the_store() {
        let mut simulated = Simulated::new(1_000);
        let seen = simulated.run(300, 3.0, 15_000.0, PLENTY);
        assert!(seen.iter().all(|(size, _)| (LEAST..=1_000).contains(size)), "{seen:?}");
        assert_eq!(simulated.limit.size(), 512);
    }

    #[test]
    fn a_limit_that_grew_by_coincidence_shrinks_again_at_once() {
        let mut simulated = Simulated::new(4_096);
        // The store warms up: throughput rises each second, whatever the limit.
        for capacity in 1..=10 {
            simulated.run(1, 0.001, f64::from(capacity) * 1_500.0, PLENTY);
        }
        let seen = simulated.run(12, 0.001, 15_000.0, PLENTY);
        assert_eq!(seen.last(), Some(&(LEAST, 15_000.0)));
    }

    #[test]
    fn an_upper_bound_below_the_start_fixes_the_limit() {
        let mut limit = ConcurrencyLimit::new(ConcurrencyBounds::new(LEAST, 17));
        assert!(limit.is_fixed());
        for finished in 0..100 {
            limit.tick(finished, 17);
        }
        assert_eq!(limit.size(), 17);
        assert_eq!(ConcurrencyBounds::new(LEAST, 0), ConcurrencyBounds { least: 1, most: 1 });
    }
}
