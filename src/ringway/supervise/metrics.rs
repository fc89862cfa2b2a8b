//! The statistics in Prometheus' text format 0.0.4.
//!
//! Owns: the names of the metrics. Counters end in `_total`, times are seconds, each sample has a label `worker`.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::fleet::{ApiCounts, Fleet, State, as_f64};
use super::sidecar;
use crate::stats::sidecar::Totals;
use crate::stats::{CounterKind, Counters};
use crate::time::Instant;

/// The content type of `/metrics`.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets of turn times.
const TURN_BUCKETS_NS: [u64; 12] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// All metrics of `fleet` as text.
pub(super) fn render(fleet: &Fleet, now: Instant) -> String {
    let mut out = String::with_capacity(16 * 1024);
    info(&mut out, fleet, now);
    let totals: Vec<_> = fleet
        .seats
        .iter()
        .map(|seat| seat.total().to_array())
        .collect();
    for (index, name) in Counters::NAMES.iter().enumerate() {
        let help = Counters::HELP[index];
        let figures = totals.iter().map(|figures| figures[index]);
        match Counters::KINDS[index] {
            CounterKind::Gauge => family(&mut out, name, "gauge", help, figures),
            CounterKind::Counter => {
                family(&mut out, &format!("{name}_total"), "counter", help, figures);
            }
            CounterKind::Nanoseconds => {
                let name = format!("{}_seconds_total", name.trim_end_matches("_ns"));
                let seconds = figures.map(|ns| as_f64(ns) / 1e9);
                family(&mut out, &name, "counter", help, seconds);
            }
        }
    }
    turn_times(&mut out, fleet);
    if let Some(figures) = &fleet.bridge {
        let restarts = "Bridges to the broker that died and were replaced";
        beside(&mut out, "backplane", restarts, figures);
    }
    if let Some(figures) = &fleet.web {
        let restarts = "Web processes that died and were replaced";
        beside(&mut out, "web", restarts, figures);
    }
    api(&mut out, &fleet.api);
    out
}

fn api(out: &mut String, counts: &ApiCounts) {
    for (name, help, count) in [
        (
            "api_requests_total",
            "Requests to the HTTP API",
            counts.requests,
        ),
        (
            "api_unauthorized_total",
            "Of these, without the key",
            counts.unauthorized,
        ),
        (
            "api_failed_total",
            "Of these, with the key and not carried out",
            counts.failed,
        ),
        (
            "api_missed_total",
            "Records of the bus that the HTTP API was too slow for",
            counts.missed,
        ),
        (
            "api_published_total",
            "Messages that the HTTP API published",
            counts.published,
        ),
    ] {
        head(out, name, "counter", help);
        let _ = writeln!(out, "ringway_{name} {count}");
    }
}

/// A process beside the workers is none of them: its figures have no label.
fn beside<C: Totals>(
    out: &mut String,
    prefix: &str,
    restarts: &str,
    figures: &sidecar::Figures<C>,
) {
    let mut one = |name: &str, kind: &str, help: &str, figure: &dyn Display| {
        let name = format!("{prefix}_{name}");
        head(out, &name, kind, help);
        let _ = writeln!(out, "ringway_{name} {figure}");
    };
    one("restarts_total", "counter", restarts, &figures.restarts());
    let total = figures.total().figures();
    for (index, name) in C::NAMES.iter().enumerate() {
        let (help, figure) = (C::HELP[index], total[index]);
        match C::KINDS[index] {
            CounterKind::Gauge => one(name, "gauge", help, &figure),
            CounterKind::Counter => one(&format!("{name}_total"), "counter", help, &figure),
            CounterKind::Nanoseconds => {
                let name = format!("{}_seconds_total", name.trim_end_matches("_ns"));
                one(&name, "counter", help, &(as_f64(figure) / 1e9));
            }
        }
    }
}

fn info(out: &mut String, fleet: &Fleet, now: Instant) {
    let about = &fleet.about;
    head(out, "info", "gauge", "What is running");
    let (version, address) = (env!("CARGO_PKG_VERSION"), escape(&about.address));
    let io = escape(&fleet.tiers().0);
    let _ = writeln!(
        out,
        "ringway_info{{version=\"{version}\",address=\"{address}\",io=\"{io}\"}} 1"
    );
    head(
        out,
        "uptime_seconds",
        "gauge",
        "Time since the supervisor started",
    );
    let _ = writeln!(
        out,
        "ringway_uptime_seconds {}",
        now.since(about.started).as_secs_f64()
    );
    let up = fleet
        .seats
        .iter()
        .map(|seat| u8::from(seat.state == State::Ready));
    family(
        out,
        "worker_up",
        "gauge",
        "1 while the worker accepts connections",
        up,
    );
    let restarts = fleet.seats.iter().map(|seat| seat.restarts);
    family(
        out,
        "worker_restarts_total",
        "counter",
        "Workers that died and were replaced",
        restarts,
    );
}

fn turn_times(out: &mut String, fleet: &Fleet) {
    head(
        out,
        "turn_seconds",
        "histogram",
        "Time that a turn of the loop takes",
    );
    for (worker, seat) in fleet.seats.iter().enumerate() {
        let turns = &seat.turns;
        for bound in TURN_BUCKETS_NS {
            let (le, below) = (
                Duration::from_nanos(bound).as_secs_f64(),
                turns.count_between(0, bound),
            );
            let _ = writeln!(
                out,
                "ringway_turn_seconds_bucket{{worker=\"{worker}\",le=\"{le}\"}} {below}"
            );
        }
        let count = turns.len();
        let sum = turns.mean() * as_f64(count) / 1e9;
        let _ = writeln!(
            out,
            "ringway_turn_seconds_bucket{{worker=\"{worker}\",le=\"+Inf\"}} {count}"
        );
        let _ = writeln!(out, "ringway_turn_seconds_sum{{worker=\"{worker}\"}} {sum}");
        let _ = writeln!(
            out,
            "ringway_turn_seconds_count{{worker=\"{worker}\"}} {count}"
        );
    }
}

fn family<T: Display>(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    figures: impl Iterator<Item = T>,
) {
    head(out, name, kind, help);
    for (worker, figure) in figures.enumerate() {
        let _ = writeln!(out, "ringway_{name}{{worker=\"{worker}\"}} {figure}");
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        out,
        "# HELP ringway_{name} {help}.\n# TYPE ringway_{name} {kind}"
    );
}

/// Escapes a label's value: backslash, quote and newline.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::fleet::tests::{fleet, record};
    use super::*;

    fn rendered() -> String {
        let mut fleet = fleet(2);
        let figures = Counters {
            clients: 5,
            messages_out: 10,
            cpu_ns: 250_000_000,
            ..Counters::default()
        };
        fleet.seats[1].handle_record(Instant::ZERO, record(1, 0, figures));
        fleet.bridge = Some(sidecar::Figures::default());
        render(&fleet, Instant::from_nanos(3_000_000_000))
    }

    #[test]
    fn counters_gauges_and_seconds_have_their_names() {
        let text = rendered();
        for line in [
            "# TYPE ringway_messages_out_total counter",
            "ringway_messages_out_total{worker=\"1\"} 10",
            "# TYPE ringway_clients gauge",
            "ringway_clients{worker=\"1\"} 5",
            "ringway_cpu_seconds_total{worker=\"1\"} 0.25",
            "ringway_worker_up{worker=\"0\"} 0",
            "ringway_worker_up{worker=\"1\"} 1",
            "ringway_uptime_seconds 3",
            "ringway_turn_seconds_bucket{worker=\"1\",le=\"0.00001\"} 0",
            "ringway_turn_seconds_bucket{worker=\"1\",le=\"0.000025\"} 1",
            "ringway_turn_seconds_count{worker=\"1\"} 1",
            "# TYPE ringway_backplane_connected gauge",
            "ringway_backplane_published_total 0",
            "ringway_backplane_cpu_seconds_total 0",
        ] {
            assert!(
                text.lines().any(|seen| seen == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn every_sample_belongs_to_the_family_above_it() {
        let text = rendered();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap_or_default().to_owned();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(&family), "{line} under {family}");
                let value = line.rsplit(' ').next().unwrap_or_default();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
