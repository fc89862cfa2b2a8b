//! Time as an argument: a monotonic instant in nanoseconds. The owner of a loop reads it once per turn and passes it
//! down. A test can invent one; a protocol state machine never reads a clock.
#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::time::Duration;

/// Nanoseconds on a monotonic clock whose zero is the first reading in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The zero of the clock, for tests and as "not yet".
    pub const ZERO: Self = Self(0);

    /// An instant that is never reached.
    pub const NEVER: Self = Self(u64::MAX);

    /// An instant `ns` nanoseconds after the zero.
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the zero.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    /// Saturates: a sum beyond the end of the clock is never reached.
    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Reads the monotonic clock (CLOCK_MONOTONIC through the vDSO, about 25 ns).
pub fn now() -> Instant {
    static ZERO: OnceLock<std::time::Instant> = OnceLock::new();
    let elapsed = ZERO.get_or_init(std::time::Instant::now).elapsed();
    Instant(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// The time of day: since the beginning of 1970 in UTC, without leap seconds; zero if the clock is set before that. It
/// may jump. To measure a duration, use [`now`].
pub fn unix_now() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}
