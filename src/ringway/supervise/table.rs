//! The statistics as tables that fit 80 columns, one row per worker and one for all.
//!
//! Owns: that layout and the human units. Never: prints.

use std::fmt::Write as _;

use super::fleet::{Figures, Fleet, State, as_f64};
use crate::stats::{Counters, Rates, bridge};
use crate::time::Instant;

/// The columns of the three tables that show the same counters.
const HEAD: &str = "   handsh  msgs in       out  bytes in       out   wire in       out";

/// The last closed period of `fleet`: loop, rates, counts, and totals.
pub(super) fn render(fleet: &Fleet, now: Instant) -> String {
    let mut out = headline(fleet, now);
    let rows = Row::all(fleet);
    out.push_str(
        "worker      pid clients   cpu turns/s turn p50    p99    max drops enobufs short\n",
    );
    rows.iter().for_each(|row| worker_line(&mut out, row));
    let _ = writeln!(out, "per s {HEAD}");
    for row in &rows {
        counter_line(&mut out, row, &row.period.per_s);
    }
    let _ = writeln!(out, "period{HEAD}");
    for row in &rows {
        counter_line(&mut out, row, &row.period.delta.per_second(1.0));
    }
    let _ = writeln!(out, "total {HEAD}");
    for row in &rows {
        counter_line(&mut out, row, &row.total.per_second(1.0));
    }
    if let Some(figures) = &fleet.bridge {
        backplane_line(&mut out, &figures.total());
    }
    out.push('\n');
    out
}

/// The bridge to the broker, since the start.
fn backplane_line(out: &mut String, total: &bridge::Counters) {
    let state = match total.connected {
        0 => "away",
        _ => "connected",
    };
    let dropped = [
        total.dropped_away,
        total.dropped_full,
        total.dropped_too_big,
        total.dropped_by_bus,
        total.overflowed,
    ];
    let [published, received, dropped, reconnects, gaps] = [
        total.published,
        total.received,
        dropped.iter().sum(),
        total.reconnects,
        total.gaps,
    ]
    .map(|count| human(as_f64(count)));
    let _ = writeln!(
        out,
        "backplane {state}: published {published}, received {received}, dropped {dropped}, reconnects {reconnects}, gaps {gaps}"
    );
}

/// The subject of one line: a worker, or all of them.
struct Row {
    name: String,
    pid: String,
    period: Figures,
    total: Counters,
}

impl Row {
    fn all(fleet: &Fleet) -> Vec<Self> {
        let worker = |(index, seat): (usize, &super::fleet::Seat)| Self {
            name: index.to_string(),
            pid: match (seat.state, seat.pid) {
                (State::Ready, Some(pid)) => pid.to_string(),
                (state, _) => state.name().chars().take(8).collect(),
            },
            period: seat.closed.figures(),
            total: seat.total(),
        };
        let mut rows: Vec<_> = fleet.seats.iter().enumerate().map(worker).collect();
        rows.push(Self {
            name: "all".to_owned(),
            pid: String::new(),
            period: fleet.closed(),
            total: fleet.total(),
        });
        rows
    }
}

fn headline(fleet: &Fleet, now: Instant) -> String {
    let head = format!(
        "--- period {}, {:.3} s, up {} ",
        fleet.period,
        fleet.period_length.as_secs_f64(),
        uptime(now.since(fleet.about.started).as_secs()),
    );
    format!("{head:-<80}\n")
}

/// The process and its loop in the period. `short` counts sends of which the socket took only a part.
fn worker_line(out: &mut String, row: &Row) {
    let period = &row.period;
    let [clients, drops, enobufs, short] = [
        period.delta.clients,
        period.delta.drops,
        period.delta.enobufs,
        period.delta.partial_sends,
    ]
    .map(|count| human(as_f64(count)));
    let [p50, p99, max] =
        [period.turn_ns_p50, period.turn_ns_p99, period.turn_ns_max].map(human_ns);
    let (cpu, turns) = (percent(period.cpu_share), human(period.per_s.turns));
    let _ = writeln!(
        out,
        "{:>6} {:>8} {clients:>7} {cpu:>4}% {turns:>7} {p50:>8} {p99:>6} {max:>6} {drops:>5} {enobufs:>7} {short:>5}",
        row.name, row.pid,
    );
}

/// The counters that Autobahn's users know. Messages in and out are separate.
fn counter_line(out: &mut String, row: &Row, figures: &Rates) {
    let _ = writeln!(
        out,
        "{:>6} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        row.name,
        human(figures.handshakes),
        human(figures.messages_in),
        human(figures.messages_out),
        human(figures.message_bytes_in),
        human(figures.message_bytes_out),
        human(figures.wire_bytes_in),
        human(figures.wire_bytes_out),
    );
}

/// Three digits and a decimal unit: `0`, `12.5`, `999`, `1.23k`, `456M`.
fn human(value: f64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let mut scaled = value;
    let mut unit = 0;
    // 999.5 would be rounded to 1000.
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let text = match scaled {
        _ if scaled == scaled.trunc() && unit == 0 => format!("{scaled:.0}"),
        ..9.995 if unit > 0 => format!("{scaled:.2}"),
        ..99.95 => format!("{scaled:.1}"),
        _ => format!("{scaled:.0}"),
    };
    format!("{text}{}", UNITS[unit])
}

/// A share as whole percent. Several CPUs give more than 100.
fn percent(share: f64) -> String {
    match share * 100.0 {
        percent @ ..9_999.5 => format!("{percent:.0}"),
        percent => human(percent),
    }
}

/// Three digits and a unit of time.
fn human_ns(ns: u64) -> String {
    const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    if ns == 0 {
        return "-".to_owned();
    }
    let value = as_f64(ns);
    let (name, unit) = UNITS
        .into_iter()
        .rfind(|(_, unit)| value >= *unit * 0.9995)
        .unwrap_or(UNITS[0]);
    match value / unit {
        scaled if unit <= 1.0 => format!("{scaled:.0}{name}"),
        scaled @ ..9.995 => format!("{scaled:.2}{name}"),
        scaled @ ..99.95 => format!("{scaled:.1}{name}"),
        scaled => format!("{scaled:.0}{name}"),
    }
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fleet::tests::{fleet, record};
    use super::*;

    #[test]
    fn numbers_take_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0"),
            (7.0, "7"),
            (12.34, "12.3"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (1234.0, "1.23k"),
            (12_345.0, "12.3k"),
            (123_456.0, "123k"),
            (999_999.0, "1.00M"),
            (1.8e19, "18.0E"),
        ];
        for (value, text) in cases {
            assert_eq!(human(value), text);
        }
    }

    #[test]
    fn times_take_three_digits_and_a_unit() {
        let cases = [
            (0, "-"),
            (950, "950ns"),
            (1_230, "1.23us"),
            (45_600, "45.6us"),
            (999_900, "1.00ms"),
            (789_000_000, "789ms"),
            (60_000_000_000, "60.0s"),
        ];
        for (ns, text) in cases {
            assert_eq!(human_ns(ns), text);
        }
    }

    #[test]
    fn uptimes_take_two_units() {
        let texts = [uptime(5), uptime(65), uptime(3_665), uptime(90_000)];
        assert_eq!(texts, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn a_table_fits_eighty_columns_whatever_the_figures() {
        let mut fleet = fleet(2);
        let huge = Counters::from_array([u64::MAX / 2; Counters::COUNT]);
        fleet.seats[0].handle_birth(4_194_304);
        fleet.seats[0].handle_record(Instant::ZERO, record(0, 0, huge));
        fleet.close_period(Instant::from_nanos(5_001_000_000));
        let table = render(&fleet, Instant::from_nanos(5_001_000_000));
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
        assert_eq!(table.lines().count(), 18); // headline, four tables of head and three rows, blank
    }

    #[test]
    fn a_table_shows_rates_counts_and_totals() {
        let mut fleet = fleet(1);
        let counters = Counters {
            clients: 100,
            handshakes: 12,
            messages_in: 123_400,
            message_bytes_in: 2_468_000,
            messages_out: 1_234_000,
            message_bytes_out: 24_680_000,
            wire_bytes_in: 3_000_000,
            wire_bytes_out: 2_700_000,
            partial_sends: 3,
            turns: 9_000,
            cpu_ns: 980_000_000,
            ..Counters::default()
        };
        fleet.seats[0].handle_birth(4711);
        fleet.seats[0].handle_record(Instant::ZERO, record(0, 0, counters));
        fleet.close_period(Instant::from_nanos(1_000_000_000));
        let expected = "\
--- period 1, 1.000 s, up 1 s --------------------------------------------------
worker      pid clients   cpu turns/s turn p50    p99    max drops enobufs short
     0     4711     100   98%   9.00k   20.1us 20.1us 20.1us     0       0     3
   all              100   98%   9.00k   20.1us 20.1us 20.1us     0       0     3
per s    handsh  msgs in       out  bytes in       out   wire in       out
     0       12     123k     1.23M     2.47M     24.7M     3.00M     2.70M
   all       12     123k     1.23M     2.47M     24.7M     3.00M     2.70M
period   handsh  msgs in       out  bytes in       out   wire in       out
     0       12     123k     1.23M     2.47M     24.7M     3.00M     2.70M
   all       12     123k     1.23M     2.47M     24.7M     3.00M     2.70M
total    handsh  msgs in       out  bytes in       out   wire in       out
     0       12     123k     1.23M     2.47M     24.7M     3.00M     2.70M
   all       12     123k     1.23M     2.47M     24.7M     3.00M     2.70M

";
        assert_eq!(render(&fleet, Instant::from_nanos(1_000_000_000)), expected);
    }
}
