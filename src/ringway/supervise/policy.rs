//! When to replace a worker that died, and when to give up. No I/O: deaths, failed starts and instants in, delays out.
//!
//! ```text
//!  death of a worker that served ──► counted; lived ≥ stable_after? delay := delay_min ─┐
//!  failed start of a replacement ──► not counted ───────────────────────────────────────┴─► the next one after `delay`,
//!                                                                                           delay := 2 × delay ≤ max
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use super::options::RespawnPolicy;
use crate::time::Instant;

/// The history of one seat.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    recent: VecDeque<Instant>,
    delay: Option<Duration>,
}

impl Deaths {
    /// Counts the death, at `now`, of a worker that was started at `born` and served.
    pub(super) fn count(&mut self, policy: RespawnPolicy, born: Instant, now: Instant) {
        self.recent.push_back(now);
        self.forget(policy, now);
        match policy {
            RespawnPolicy::Limited { stable_after, .. } if now.since(born) >= stable_after => {
                self.delay = None;
            }
            _ => {}
        }
    }

    /// How many deaths lie within the policy's window.
    pub(super) fn recent(&mut self, policy: RespawnPolicy, now: Instant) -> usize {
        self.forget(policy, now);
        self.recent.len()
    }

    /// Whether this seat has had too many deaths.
    pub(super) fn are_too_many(&mut self, policy: RespawnPolicy, now: Instant) -> bool {
        let recent = self.recent(policy, now);
        match policy {
            RespawnPolicy::Never => recent > 0,
            RespawnPolicy::Limited { deaths_max, .. } => recent >= deaths_max,
        }
    }

    /// The delay before the next start. Doubles the delay after it.
    pub(super) fn next_delay(&mut self, policy: RespawnPolicy) -> Duration {
        let (min, max) = match policy {
            RespawnPolicy::Never => (Duration::ZERO, Duration::ZERO),
            RespawnPolicy::Limited {
                delay_min,
                delay_max,
                ..
            } => (delay_min, delay_max),
        };
        let delay = self.delay.unwrap_or(min);
        self.delay = Some((delay * 2).min(max));
        delay
    }

    fn forget(&mut self, policy: RespawnPolicy, now: Instant) {
        let RespawnPolicy::Limited { window, .. } = policy else {
            return;
        };
        let is_old = |death: &Instant| now.since(*death) > window;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RespawnPolicy = RespawnPolicy::Limited {
        delay_min: Duration::from_millis(100),
        delay_max: Duration::from_secs(5),
        stable_after: Duration::from_secs(10),
        deaths_max: 5,
        window: Duration::from_secs(30),
    };

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// The delay after a death, in ms, and whether the deaths are too many.
    fn die(deaths: &mut Deaths, born_ms: u64, now_ms: u64) -> (u128, bool) {
        deaths.count(POLICY, at(born_ms), at(now_ms));
        let too_many = deaths.are_too_many(POLICY, at(now_ms));
        (deaths.next_delay(POLICY).as_millis(), too_many)
    }

    #[test]
    fn delays_double_and_the_fifth_death_within_thirty_seconds_is_too_many() {
        let mut deaths = Deaths::default();
        assert_eq!(die(&mut deaths, 0, 10), (100, false));
        assert_eq!(die(&mut deaths, 110, 120), (200, false));
        assert_eq!(die(&mut deaths, 320, 330), (400, false));
        assert_eq!(die(&mut deaths, 730, 740), (800, false));
        assert_eq!(die(&mut deaths, 1540, 1550), (1600, true));
        assert!(!deaths.are_too_many(POLICY, at(30_011)), "the first is old");
    }

    #[test]
    fn a_worker_that_lived_ten_seconds_starts_the_delays_over() {
        let mut deaths = Deaths::default();
        assert_eq!(die(&mut deaths, 0, 10), (100, false));
        assert_eq!(die(&mut deaths, 110, 120), (200, false));
        assert_eq!(die(&mut deaths, 320, 10_400), (100, false));
    }

    #[test]
    fn one_death_every_ten_seconds_is_never_too_many_and_delays_stay_small() {
        let mut deaths = Deaths::default();
        for death in 1..1000 {
            let now = death * 10_100;
            assert_eq!(die(&mut deaths, now - 10_000, now), (100, false));
        }
    }

    #[test]
    fn failed_starts_are_delayed_up_to_five_seconds_and_count_for_nothing() {
        let mut deaths = Deaths::default();
        let last = (0..20).map(|_| deaths.next_delay(POLICY)).last();
        assert_eq!(last, Some(Duration::from_secs(5)));
        assert!(!deaths.are_too_many(POLICY, at(1)));
    }

    #[test]
    fn never_means_never() {
        let mut deaths = Deaths::default();
        assert!(!deaths.are_too_many(RespawnPolicy::Never, at(0)));
        deaths.count(RespawnPolicy::Never, at(0), at(5));
        assert!(deaths.are_too_many(RespawnPolicy::Never, at(1_000_000)));
    }
}
