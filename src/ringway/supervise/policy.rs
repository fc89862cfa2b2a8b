//! When a worker that died is replaced, and when the supervisor gives up. Pure: deaths and instants in, verdicts out.
//!
//! ```text
//!  death ──► exit code 2 or 3 ────────────────────────────► GiveUp(Refused)
//!        ──► deaths_max within window ────────────────────► GiveUp(TooManyDeaths)
//!        ──► else ── lived ≥ stable_after? delay := min ──► RespawnAfter(delay), then delay := 2 × delay ≤ max
//! ```

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::time::Duration;

use super::options::RespawnPolicy;
use crate::exit::Exit;
use crate::time::Instant;

/// The history of one seat.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    recent: VecDeque<Instant>,
    delay: Option<Duration>,
}

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    RespawnAfter(Duration),
    GiveUp(GiveUp),
}

/// Why there will be no new worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// The worker refused its options or its machine: the next one would, too.
    Refused(Exit),
    /// It died too often.
    TooManyDeaths { deaths: usize, within: Duration },
}

impl Deaths {
    /// Judges the death at `now` of a worker that was started at `born`.
    pub(super) fn handle_death(
        &mut self,
        policy: RespawnPolicy,
        born: Instant,
        now: Instant,
        status: Option<ExitStatus>,
    ) -> Verdict {
        let exit = status
            .and_then(|status| status.code())
            .and_then(Exit::from_code);
        if let Some(exit @ (Exit::Usage | Exit::Environment)) = exit {
            return Verdict::GiveUp(GiveUp::Refused(exit));
        }
        let RespawnPolicy::Limited {
            delay_min,
            delay_max,
            stable_after,
            deaths_max,
            window,
        } = policy
        else {
            return Verdict::GiveUp(GiveUp::TooManyDeaths {
                deaths: 1,
                within: now.since(born),
            });
        };
        self.recent.push_back(now);
        while self
            .recent
            .front()
            .is_some_and(|death| now.since(*death) > window)
        {
            self.recent.pop_front();
        }
        if self.recent.len() >= deaths_max {
            return Verdict::GiveUp(GiveUp::TooManyDeaths {
                deaths: self.recent.len(),
                within: window,
            });
        }
        let delay = match self.delay {
            Some(delay) if now.since(born) < stable_after => delay,
            _ => delay_min,
        };
        self.delay = Some((delay * 2).min(delay_max));
        Verdict::RespawnAfter(delay)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const KILLED: i32 = 9;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn die(deaths: &mut Deaths, born_ms: u64, now_ms: u64, raw: i32) -> Verdict {
        let status = Some(ExitStatus::from_raw(raw));
        deaths.handle_death(RespawnPolicy::default(), at(born_ms), at(now_ms), status)
    }

    fn after(ms: u64) -> Verdict {
        Verdict::RespawnAfter(Duration::from_millis(ms))
    }

    #[test]
    fn delays_double_and_the_fifth_death_within_thirty_seconds_is_the_last() {
        let mut deaths = Deaths::default();
        assert_eq!(die(&mut deaths, 0, 10, KILLED), after(100));
        assert_eq!(die(&mut deaths, 110, 120, KILLED), after(200));
        assert_eq!(die(&mut deaths, 320, 330, KILLED), after(400));
        assert_eq!(die(&mut deaths, 730, 740, KILLED), after(800));
        let within = Duration::from_secs(30);
        assert_eq!(
            die(&mut deaths, 1540, 1550, KILLED),
            Verdict::GiveUp(GiveUp::TooManyDeaths { deaths: 5, within })
        );
    }

    #[test]
    fn a_worker_that_lived_ten_seconds_starts_the_delays_over() {
        let mut deaths = Deaths::default();
        assert_eq!(die(&mut deaths, 0, 10, KILLED), after(100));
        assert_eq!(die(&mut deaths, 110, 120, KILLED), after(200));
        assert_eq!(die(&mut deaths, 320, 10_400, KILLED), after(100));
    }

    #[test]
    fn one_death_every_ten_seconds_never_ends_the_server_and_delays_stay_small() {
        let mut deaths = Deaths::default();
        for death in 1..1000 {
            assert_eq!(
                die(&mut deaths, death * 10_100 - 10_000, death * 10_100, KILLED),
                after(100)
            );
        }
    }

    #[test]
    fn delays_stop_at_five_seconds() {
        let policy = RespawnPolicy::Limited {
            delay_min: Duration::from_millis(100),
            delay_max: Duration::from_secs(5),
            stable_after: Duration::from_secs(10),
            deaths_max: 100,
            window: Duration::from_secs(30),
        };
        let mut deaths = Deaths::default();
        let last = (0..20)
            .map(|i| deaths.handle_death(policy, at(i), at(i), None))
            .last();
        assert_eq!(last, Some(after(5000)));
    }

    #[test]
    fn a_worker_that_refuses_its_options_is_believed_at_once() {
        let mut deaths = Deaths::default();
        assert_eq!(
            die(&mut deaths, 0, 1, 2 << 8),
            Verdict::GiveUp(GiveUp::Refused(Exit::Usage))
        );
        assert_eq!(
            die(&mut deaths, 0, 1, 3 << 8),
            Verdict::GiveUp(GiveUp::Refused(Exit::Environment))
        );
        assert_eq!(die(&mut deaths, 0, 1, 1 << 8), after(100));
    }

    #[test]
    fn never_means_never() {
        let verdict = Deaths::default().handle_death(RespawnPolicy::Never, at(0), at(5), None);
        let within = Duration::from_millis(5);
        assert_eq!(
            verdict,
            Verdict::GiveUp(GiveUp::TooManyDeaths { deaths: 1, within })
        );
    }
}
