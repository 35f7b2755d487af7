//! How many deliveries are worked on at once. A store that answers more slowly lets more through when
//! more are asked of it at a time; one that is at its limit only lets them wait longer. Which it is
//! cannot be told from its latency, so it is tried: twice as many, for half a second or for as long as
//! each of them takes.

use std::time::Duration;

/// Where a window begins: what brings a single Cassandra node to its limit.
pub const START: usize = 256;
/// How often a window is looked at.
pub const TICK: Duration = Duration::from_millis(125);
/// Ticks of a measurement at least.
const TICKS: u32 = 4;
/// Measurements until something is tried without an occasion: about a minute.
const REST: u32 = 100;
/// A rate counts what is settled in so many ticks.
const PRECISION: u64 = 1_000;
/// More than these parts of a hundred must come through twice the window for it to stay …
const GAIN: u64 = 120;
/// … and these of what came through before for half of it to stay.
const KEPT: u64 = 90;
/// A change of what comes through that makes trying worth while, in parts of a hundred.
const DROP: u64 = 67;
const RISE: u64 = 150;

/// The bounds of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConcurrencyBounds {
    /// Where it begins, and what it never falls below; at least one.
    pub least: usize,
    /// What it never exceeds: bounds memory.
    pub most: usize,
}

impl ConcurrencyBounds {
    /// From so many, as far as that may be, to at most `most`.
    pub fn from(least: usize, most: usize) -> Self {
        let most = most.max(1);
        Self { least: least.clamp(1, most), most }
    }
}

/// A window that follows the store.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    bounds: ConcurrencyBounds,
    size: usize,
    trial: Trial,
    measured: Measured,
}

/// What is being found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trial {
    /// Nothing, for so many measurements, unless much more or less than this comes through.
    None { usual: u64, left: u32 },
    /// Whether more comes through than this did through half of it.
    Wider { before: u64 },
    /// Whether about as much comes through as this did through twice as many.
    Narrower { before: u64 },
}

/// A measurement under way. It begins when a change has taken effect, and takes long enough: both
/// are when as many were settled as are worked on at once.
#[derive(Debug)]
struct Measured {
    stage: Stage,
    ticks: u32,
    from: u64,
    always_full: bool,
}

/// How far a measurement has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    TakingEffect,
    Measuring,
}

impl Measured {
    fn new(stage: Stage, from: u64) -> Self {
        Self { stage, ticks: 0, from, always_full: true }
    }
}

impl ConcurrencyLimit {
    /// A window at its least.
    pub fn new(bounds: ConcurrencyBounds) -> Self {
        let trial = Trial::None { usual: 0, left: 0 };
        Self { bounds, size: bounds.least, trial, measured: Measured::new(Stage::TakingEffect, 0) }
    }

    /// How many deliveries may be worked on now.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether there is anything to follow.
    pub fn is_fixed(&self) -> bool {
        self.bounds.least == self.bounds.most
    }

    /// To be called every [`TICK`], with how many deliveries were settled since the beginning and are
    /// worked on now.
    pub fn tick(&mut self, settled: u64, busy: usize) {
        let measured = &mut self.measured;
        measured.ticks += 1;
        measured.always_full &= busy >= self.size;
        let through = settled.saturating_sub(measured.from);
        let enough = through >= self.size as u64 || !measured.always_full;
        match measured.stage {
            Stage::TakingEffect if enough => *measured = Measured::new(Stage::Measuring, settled),
            Stage::Measuring if enough && measured.ticks >= TICKS => {
                let (rate, full) = (through * PRECISION / u64::from(measured.ticks), measured.always_full);
                self.measured = Measured::new(Stage::TakingEffect, settled);
                self.decide(rate, full);
            }
            Stage::TakingEffect | Stage::Measuring => {}
        }
    }

    /// What follows from `rate`, settled deliveries in [`PRECISION`] ticks, while the window was full, or
    /// was not.
    fn decide(&mut self, rate: u64, full: bool) {
        if !full {
            // As many are not needed.
            self.size = (self.size / 2).max(self.bounds.least);
            self.trial = Trial::None { usual: 0, left: 0 };
            return;
        }
        match self.trial {
            Trial::None { usual, left } if left == 0 || rate * 100 < usual * DROP => self.try_wider(rate),
            Trial::None { usual, .. } if rate * 100 > usual * RISE => self.try_narrower(rate),
            Trial::None { usual, left } => self.trial = Trial::None { usual, left: left - 1 },
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

    fn rest(&mut self, usual: u64) {
        self.trial = Trial::None { usual, left: REST };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that takes `latency` seconds for each and handles `limit` a second at most, asked by as
    /// many at once as the window allows.
    struct Simulated {
        window: ConcurrencyLimit,
        settled: f64,
    }

    impl Simulated {
        fn new(most: usize) -> Self {
            Self { window: ConcurrencyLimit::new(ConcurrencyBounds::from(START, most)), settled: 0.0 }
        }

        /// Sizes and the rates that came of them, tick by tick, for so many seconds, of which `queued`
        /// messages arrive in each.
        fn run(&mut self, seconds: u32, latency: f64, limit: f64, queued: f64) -> Vec<(usize, f64)> {
            let mut seen = Vec::new();
            for _ in 0..seconds * 8 {
                let size = self.window.size();
                let possible = (size as f64 / latency).min(limit);
                let rate = possible.min(queued);
                self.settled += rate * TICK.as_secs_f64();
                let busy = if queued >= possible { size } else { size / 2 };
                self.window.tick(self.settled as u64, busy);
                seen.push((size, rate));
            }
            seen
        }
    }

    const PLENTY: f64 = 1e9;

    #[test]
    fn a_store_that_becomes_slow_is_asked_for_more_at_a_time_and_lets_as_much_through() {
        let mut simulated = Simulated::new(4_096);
        let seen = simulated.run(30, 0.005, 15_000.0, PLENTY);
        assert_eq!(seen.last(), Some(&(START, 15_000.0)), "it is at its limit, more would only wait");
        let seen = simulated.run(15, 0.1, 15_000.0, PLENTY);
        assert_eq!(seen[0], (START, 2_560.0));
        assert_eq!(seen.last(), Some(&(2_048, 15_000.0)));
        let seen = simulated.run(15, 0.005, 15_000.0, 10_000.0);
        assert_eq!(seen.last(), Some(&(START, 10_000.0)), "as many are not needed any more");
    }

    #[test]
    fn what_comes_through_is_held_but_for_trials_that_are_short_and_seldom() {
        let mut simulated = Simulated::new(4_096);
        simulated.run(15, 0.1, 15_000.0, PLENTY);
        let seen = simulated.run(600, 0.1, 15_000.0, PLENTY);
        let mean = seen.iter().map(|(_, rate)| rate).sum::<f64>() / seen.len() as f64;
        assert!(mean > 15_000.0 * 0.97, "{mean}");
    }

    #[test]
    fn the_bound_is_kept_however_slow_the_store() {
        let mut simulated = Simulated::new(1_000);
        let seen = simulated.run(300, 3.0, 15_000.0, PLENTY);
        assert!(seen.iter().all(|(size, _)| (START..=1_000).contains(size)), "{seen:?}");
        assert_eq!(simulated.window.size(), 512);
    }

    #[test]
    fn a_window_widened_by_a_chance_gain_is_narrowed_again_at_once() {
        let mut simulated = Simulated::new(4_096);
        // The store warms up: more comes through each second, whatever the window.
        for limit in 1..=10 {
            simulated.run(1, 0.001, f64::from(limit) * 1_500.0, PLENTY);
        }
        let seen = simulated.run(12, 0.001, 15_000.0, PLENTY);
        assert_eq!(seen.last(), Some(&(START, 15_000.0)));
    }

    #[test]
    fn a_bound_below_the_start_is_the_window() {
        let mut window = ConcurrencyLimit::new(ConcurrencyBounds::from(START, 17));
        assert!(window.is_fixed());
        for settled in 0..100 {
            window.tick(settled, 17);
        }
        assert_eq!(window.size(), 17);
        assert_eq!(ConcurrencyBounds::from(START, 0), ConcurrencyBounds { least: 1, most: 1 });
    }
}
