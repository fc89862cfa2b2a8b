//! The progress of a run, on one line of a terminal.
//!
//! Owns: that line on stderr. Never: writes when stderr is no terminal, or to stdout, where the result goes.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use crate::load::run::{Live, Phase};

/// Width of the bar in characters.
const BAR: usize = 20;

/// Width of a terminal, assumed.
const COLUMNS: usize = 80;

/// The progress line, if stderr is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    /// Names this run if it is one of several.
    prefix: String,
}

impl Progress {
    pub(super) fn new(silence: bool, prefix: String) -> Self {
        Self {
            is_shown: !silence && io::stderr().is_terminal(),
            prefix,
        }
    }

    /// Rewrites the line.
    pub(super) fn show(&self, live: &Live) {
        if self.is_shown {
            // Erases the rest of the line, because the text before may have been longer.
            write(&format!("\r{}\x1b[K", line(&self.prefix, live)));
        }
    }

    /// Erases it.
    pub(super) fn clear(&self) {
        if self.is_shown {
            write("\r\x1b[K");
        }
    }
}

/// Writes to stderr. An error, for example of a closed terminal, does not end the run.
fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The text, at most 79 characters: a full line of 80 would wrap.
fn line(prefix: &str, live: &Live) -> String {
    let mut line = format!("{prefix}{}", whole_line(live));
    line.truncate(COLUMNS - 1);
    line
}

fn whole_line(live: &Live) -> String {
    let open = format!("{} open", short(as_f64(live.connections)));
    let errors = match live.errors {
        0 => String::new(),
        errors => format!("  {} errors", short(as_f64(errors))),
    };
    match live.phase {
        Phase::Opening => format!("opening connections  {open}{errors}"),
        Phase::Finishing => format!("last answers  {open}{errors}"),
        Phase::Warmup => format!(
            "warm-up  {}/s  {open}{errors}",
            short(live.messages_per_second)
        ),
        Phase::Measuring => format!(
            "{} {}/{} s  {}/s  p99 {}  {open}{errors}",
            bar(live.elapsed, live.total),
            live.elapsed.as_secs(),
            live.total.as_secs_f64().ceil(),
            short(live.messages_per_second),
            micros(live.p99_us),
        ),
    }
}

fn bar(elapsed: Duration, total: Duration) -> String {
    let share = if total.is_zero() {
        1.0
    } else {
        elapsed.div_duration_f64(total).min(1.0)
    };
    let full = (0..BAR)
        .filter(|cell| as_f64(*cell as u64) + 0.5 <= share * as_f64(BAR as u64))
        .count();
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full))
}

/// A count in at most six characters.
fn short(count: f64) -> String {
    match count {
        1e9.. => format!("{:.1} G", count / 1e9),
        1e6.. => format!("{:.1} M", count / 1e6),
        1e4.. => format!("{:.0} k", count / 1e3),
        _ => format!("{count:.0}"),
    }
}

fn micros(us: f64) -> String {
    match us {
        1e6.. => format!("{:.1} s", us / 1e6),
        1e4.. => format!("{:.0} ms", us / 1e3),
        1e3.. => format!("{:.1} ms", us / 1e3),
        _ => format!("{us:.0} us"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown rounded to a few digits")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(phase: Phase) -> Live {
        Live {
            phase,
            elapsed: Duration::from_millis(2600),
            total: Duration::from_secs(10),
            connections: 1000,
            messages_per_second: 412_345.6,
            p99_us: 1234.0,
            errors: 0,
        }
    }

    #[test]
    fn the_line_shows_where_the_run_is() {
        assert_eq!(
            line("", &live(Phase::Measuring)),
            "[#####---------------] 2/10 s  412 k/s  p99 1.2 ms  1000 open"
        );
        assert_eq!(
            line("rate 5: ", &live(Phase::Warmup)),
            "rate 5: warm-up  412 k/s  1000 open"
        );
        let failing = Live {
            errors: 7,
            ..live(Phase::Opening)
        };
        assert_eq!(
            line("", &failing),
            "opening connections  1000 open  7 errors"
        );
    }

    #[test]
    fn the_longest_line_fits_eighty_columns() {
        let longest = Live {
            elapsed: Duration::from_secs(2_591_999),
            total: Duration::from_micros(2_591_999_999_999),
            connections: 1_000_000,
            messages_per_second: 999_949_999.0,
            p99_us: 999_999.0,
            errors: 99_999_999,
            ..live(Phase::Measuring)
        };
        let line = line("", &longest);
        assert!(
            line.len() < COLUMNS && line.contains("1.0 M open"),
            "{line}"
        );
    }

    #[test]
    fn the_bar_is_empty_at_first_and_full_at_the_end() {
        let at = |seconds| bar(Duration::from_secs(seconds), Duration::from_secs(10));
        assert_eq!(at(0), format!("[{}]", "-".repeat(BAR)));
        assert_eq!(at(10), format!("[{}]", "#".repeat(BAR)));
        assert_eq!(at(99), at(10));
        assert_eq!(bar(Duration::ZERO, Duration::ZERO), at(10));
    }
}
