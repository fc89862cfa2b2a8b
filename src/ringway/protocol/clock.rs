//! The `Date` header of responses (RFC 9110 §6.6.1).

use crate::proto::http::Date;
use crate::time::{self, Instant};

/// The current second of UTC as text. The system clock is read when a response needs a date, at most once per second.
#[derive(Debug)]
pub(crate) struct Clock {
    date: Date,
    /// The instant at which that second ends.
    until: Instant,
}

impl Clock {
    /// A clock that has not been read yet.
    pub(crate) fn new() -> Self {
        Self {
            date: Date::from_unix_s(0),
            until: Instant::ZERO,
        }
    }

    /// The date at `now`, the instant at which this turn began.
    pub(crate) fn date(&mut self, now: Instant) -> Date {
        if now >= self.until {
            let unix = time::unix_now();
            self.date = Date::from_unix_s(unix.as_secs());
            let begun = std::time::Duration::from_nanos(unix.subsec_nanos().into());
            self.until = now + (std::time::Duration::from_secs(1) - begun);
        }
        self.date
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_date_is_made_again_when_its_second_is_over() {
        let mut clock = Clock::new();
        let now = Instant::from_nanos(5_000_000_000);
        let first = clock.date(now);
        assert_ne!(first, Date::from_unix_s(0), "the clock was read");
        let until = clock.until;
        assert!(until > now && until <= now + Duration::from_secs(1));
        clock.date = Date::from_unix_s(0);
        assert_eq!(
            clock.date(Instant::from_nanos(until.nanos() - 1)),
            Date::from_unix_s(0),
            "it lasts"
        );
        assert_ne!(clock.date(until), Date::from_unix_s(0), "it is over");
    }
}
