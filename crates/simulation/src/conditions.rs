//! The conditions of a schedule: what is published, which roles run, and which faults they meet.

use std::time::Duration;

use ecom_domain::backoff::Backoff;
use ecom_pipeline::early_payments::EarlyPaymentSettings;
use ecom_pipeline::retry_policy::RetryPolicy;
use ecom_scenario::Mixture;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::faults::FaultRates;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// The conditions of a schedule, which its seed decides.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// The number of orders.
    pub orders: i64,
    /// The irregularities among them.
    pub mixture: Mixture,
    /// Payment consumers, and dead-letter handlers.
    pub copies: usize,
    /// Operators, who type commands on dead letters.
    pub operators: usize,
    /// The largest clock skew of a process, in microseconds.
    pub skew: i64,
    /// The largest clock skew of a producer.
    pub producer_skew: i64,
    /// The faults of each role.
    pub rates: FaultRates,
    /// The share of roles that are stopped and started again every 20 ms.
    pub stopped: f64,
    /// The share of deliveries whose lease ends early.
    pub lease_ends_early: f64,
    /// True if publishers that are not ours take part.
    pub foreign: bool,
    /// True if two payments of an order have one T. Then nothing is done twice at once: that is the stated exception.
    pub tie: bool,
    /// True if scans cannot read a part of the dead-letter store until the faults end.
    pub unreadable: bool,
    /// True if operators type the same commands one after another, instead of random ones.
    pub scripted: bool,
    /// True if rows are deleted by hand.
    pub deletes: bool,
    /// The policy of the dead-letter handlers.
    pub policy: RetryPolicy,
    /// The early-payment buffer.
    pub early_payments: EarlyPaymentSettings,
}

impl Conditions {
    /// A world without faults.
    pub fn calm() -> Self {
        Self {
            orders: 3,
            mixture: Mixture { late_by: 3, ..ROUGH },
            copies: 1,
            operators: 0,
            skew: 0,
            producer_skew: 0,
            rates: FaultRates::default(),
            stopped: 0.0,
            lease_ends_early: 0.0,
            foreign: false,
            tie: false,
            unreadable: false,
            scripted: false,
            deletes: false,
            policy: RetryPolicy {
                backoff: Backoff::try_new(Duration::from_millis(50), Duration::from_secs(2))
                    .expect("50 ms is below 2 s"),
                max_age: Duration::from_secs(1),
                sweep_interval: Duration::from_millis(700),
                retention: Duration::from_secs(86_400),
                capacity: 50_000,
            },
            early_payments: EarlyPaymentSettings {
                grace: Duration::from_millis(40),
                limit: 3,
                bytes: 100_000,
            },
        }
    }

    /// Returns the conditions of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x00c0_9d17_1045);
        let mut conditions = Self::calm();
        conditions.orders = rng.random_range(2..=10);
        conditions.mixture = ROUGH;
        conditions.copies = if rng.random_bool(0.5) { 2 } else { 1 };
        conditions.operators = if rng.random_bool(0.3) { 2 } else { 0 };
        conditions.skew = if rng.random_bool(0.3) { HOUR } else { 3 * SECOND };
        conditions.rates = FaultRates {
            unknown: rng.random_range(0.0..0.25),
            killed: rng.random_range(0.0..0.02),
            frozen: if rng.random_bool(0.2) { 0.005 } else { 0.0 },
            refused: if rng.random_bool(0.1) { 0.002 } else { 0.0 },
            ack_lost: rng.random_range(0.0..0.15),
        };
        conditions.stopped = rng.random_range(0.0..0.05);
        conditions.lease_ends_early = rng.random_range(0.0..0.1);
        conditions.foreign = rng.random_bool(0.3);
        conditions.unreadable = rng.random_bool(0.2);
        conditions.deletes = rng.random_bool(0.1);
        // A row that is deleted by hand hides its older events only.
        conditions.producer_skew = if conditions.deletes { 0 } else { conditions.skew };
        if rng.random_bool(0.3) {
            conditions.policy.max_age = Duration::from_secs(3_600);
            conditions.policy.capacity = rng.random_range(1..4);
            conditions.policy.sweep_interval = Duration::from_secs(3_600);
            // What could not be read is looked at again after that interval.
            conditions.unreadable = false;
        }
        if conditions.operators > 0 && rng.random_bool(0.3) {
            conditions.policy.retention = Duration::from_millis(rng.random_range(20..200));
            conditions.policy.sweep_interval = Duration::from_millis(100);
        }
        if rng.random_bool(0.03) {
            let calm = Self::calm();
            let rates = FaultRates { ack_lost: conditions.rates.ack_lost, ..calm.rates };
            return Self { tie: true, orders: 2, rates, ..calm };
        }
        conditions
    }

    /// Returns true if resolved dead letters are removed within the schedule.
    pub fn removes(&self) -> bool {
        self.policy.retention < Duration::from_secs(60)
    }
}

/// A mixture with a large share of every irregularity.
const ROUGH: Mixture = Mixture {
    late_orders: 0.35,
    missing_orders: 0.15,
    duplicates: 0.3,
    order_updates: 0.3,
    second_payments: 0.4,
    invalid: 0.2,
    late_by: 12,
};
