//! Wall time and randomness as arguments, so that tests can control both.

mod log_throttle;

use std::sync::Mutex;
use std::time::Duration;

use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use log_throttle::LogThrottle;

/// A source of wall time.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The system clock.
    System,
    /// A fixed time plus what tokio's clock has advanced since; tests pause and skew it.
    Anchored {
        /// Microseconds since the epoch at `since`.
        anchor_us: i64,
        /// Tokio's clock at the anchor.
        since: tokio::time::Instant,
    },
}

impl Clock {
    /// A clock that reads `anchor_us` now and follows tokio's clock.
    pub fn anchored(anchor_us: i64) -> Self {
        Self::Anchored { anchor_us, since: tokio::time::Instant::now() }
    }

    /// Microseconds since the epoch.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system's clock")]
    pub fn now_us(&self) -> i64 {
        match self {
            Self::System => chrono::Utc::now().timestamp_micros(),
            Self::Anchored { anchor_us, since } => {
                anchor_us.saturating_add(i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX))
            }
        }
    }
}

/// A duration in whole microseconds.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A seeded source of jitter and of the random part of event ids.
#[derive(Debug)]
pub struct Entropy(Mutex<ChaCha8Rng>);

impl Entropy {
    /// A source that returns the same sequence for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// A source seeded by the system.
    pub fn system() -> Self {
        Self::seeded(rand::rng().random())
    }

    /// A random number in 0..1.
    pub fn share(&self) -> f64 {
        self.with(|rng| rng.random::<f64>())
    }

    /// Ten random bytes, as a `UUIDv7` takes them.
    pub fn bytes(&self) -> [u8; 10] {
        self.with(|rng| rng.random())
    }

    fn with<T>(&self, draw: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        let mut rng = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        draw(&mut rng)
    }
}
