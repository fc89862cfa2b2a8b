//! The statistics block of a worker without a supervisor. Its layout is that of Autobahn's multicore echo server, but
//! messages in and out are separate. Owns: that layout. Never: prints, reads a clock.

use std::fmt::Write as _;
use std::time::Duration;

use super::counters::Counters;

const RULE: &str =
    "--------------------------------------------------------------------------------";

/// One period of one process.
#[derive(Clone, Copy, Debug)]
pub struct Period<'a> {
    /// Pid of the process.
    pub pid: u32,
    /// Number of the period, from 1.
    pub number: u64,
    /// Measured length of the period.
    pub duration: Duration,
    /// Totals at its beginning.
    pub before: &'a Counters,
    /// Totals at its end.
    pub after: &'a Counters,
}

/// The block as text.
pub fn render(period: &Period<'_>) -> String {
    let delta = period.after.since(period.before);
    let seconds = period.duration.as_secs_f64();
    let mut out = format!(
        "{RULE}\nWorker Statistics (PID {})\n\nPeriod No.        : {}\nPeriod duration   : {seconds:.3} s\n\
         Connected clients : {}\n\nPeriod\n",
        period.pid, period.number, delta.clients,
    );
    for (label, count, unit) in rows(&delta) {
        let rate = if seconds > 0.0 {
            (as_f64(count) / seconds).round()
        } else {
            0.0
        };
        let _ = writeln!(out, "  {label:<16}: {count:>20} {unit}{rate:>20} {unit}/s");
    }
    out.push_str("\nTotal\n");
    for (label, count, unit) in rows(period.after) {
        let _ = writeln!(out, "  {label:<16}: {count:>20} {unit}");
    }
    let _ = writeln!(out, "{RULE}\n");
    out
}

fn rows(counters: &Counters) -> [(&'static str, u64, char); 7] {
    [
        ("Handshakes", counters.handshakes, '#'),
        ("Messages in", counters.messages_in, '#'),
        ("Messages out", counters.messages_out, '#'),
        ("Payload in", counters.message_bytes_in, 'B'),
        ("Payload out", counters.message_bytes_out, 'B'),
        ("Wire bytes in", counters.wire_bytes_in, 'B'),
        ("Wire bytes out", counters.wire_bytes_out, 'B'),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown rounded")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_shows_period_rate_and_total() {
        let before = Counters {
            handshakes: 10,
            ..Counters::default()
        };
        let after = Counters {
            clients: 63,
            handshakes: 16720,
            messages_out: 7,
            wire_bytes_in: 3_341_409,
            ..Counters::default()
        };
        let duration = Duration::from_millis(5001);
        let block = render(&Period {
            pid: 42,
            number: 78,
            duration,
            before: &before,
            after: &after,
        });
        let lines: Vec<_> = block.lines().collect();
        assert_eq!(lines[1], "Worker Statistics (PID 42)");
        assert_eq!(lines[3], "Period No.        : 78");
        assert_eq!(lines[4], "Period duration   : 5.001 s");
        assert_eq!(lines[5], "Connected clients : 63");
        assert_eq!(
            lines[8],
            "  Handshakes      :                16710 #                3341 #/s"
        );
        assert_eq!(
            lines[10],
            "  Messages out    :                    7 #                   1 #/s"
        );
        assert_eq!(lines[17], "  Handshakes      :                16720 #");
        assert!(lines.iter().all(|line| line.len() <= 80));
    }

    #[test]
    fn a_period_of_no_length_has_no_rate() {
        let after = Counters {
            messages_in: 5,
            ..Counters::default()
        };
        let period = Period {
            pid: 1,
            number: 1,
            duration: Duration::ZERO,
            before: &Counters::default(),
            after: &after,
        };
        assert!(render(&period).contains("                   5 #                   0 #/s"));
    }
}
