//! The plots of one result.
//!
//! Owns: which figures go on which axes. A figure that was not measured has no plot.

use super::hdr;
use super::plot::{Axis, Kind, Plot, Rule, Series};
use super::scale::{Scale, time_ticks};
use super::table::noun;
use super::units::{count, grouped, percent, rate, time};
use crate::load::outcome::{Interval, Outcome};

/// About this many ticks on an axis.
const TICKS_X: f64 = 10.0;
const TICKS_Y: f64 = 5.0;

/// Factor between the largest value and the end of the axis, so that a line near the top does not touch the frame.
const HEADROOM: f64 = 1.05;

/// Points of the percentile curve for each halving of the distance to 100 %. HdrHistogram's own plots take 5 and show
/// corners.
const CURVE_STEPS: u32 = 16;

/// Most points of a plot: about its width in pixels. A soak of hours has more intervals.
const POINTS_MAX: usize = 800;

/// All plots of a result, in the order of the page.
pub(super) fn of(outcome: &Outcome) -> Vec<Plot> {
    let outcome = &Outcome {
        intervals: thinned(&outcome.intervals),
        ..outcome.clone()
    };
    let all = [
        percentiles(outcome),
        throughput(outcome),
        latency(outcome),
        cpu(outcome),
        connections(outcome),
        workers(outcome),
        threads(outcome),
    ];
    all.into_iter().flatten().collect()
}

/// Merges neighbouring intervals when there are more than a plot can show. The merged percentiles are the worst of their
/// intervals, so that a pause is not averaged away.
fn thinned(intervals: &[Interval]) -> Vec<Interval> {
    let together = intervals.len().div_ceil(POINTS_MAX).max(1);
    let merge = |chunk: &[Interval]| {
        let duration_s: f64 = chunk.iter().map(|one| one.duration_s).sum();
        let by_time = |value: fn(&Interval) -> f64| {
            let sum: f64 = chunk.iter().map(|one| value(one) * one.duration_s).sum();
            sum / duration_s.max(f64::MIN_POSITIVE)
        };
        let worst = |value: fn(&Interval) -> f64| chunk.iter().map(value).fold(0.0, f64::max);
        let known = chunk.iter().all(|one| one.server_utilisation.is_some());
        let last = chunk.last().copied().unwrap_or_default();
        Interval {
            at_s: last.at_s,
            duration_s,
            messages: chunk.iter().map(|one| one.messages).sum(),
            errors: chunk.iter().map(|one| one.errors).sum(),
            connections: last.connections,
            p50_us: worst(|one| one.p50_us),
            p99_us: worst(|one| one.p99_us),
            max_us: worst(|one| one.max_us),
            driver_utilisation: by_time(|one| one.driver_utilisation),
            server_utilisation: known
                .then(|| by_time(|one| one.server_utilisation.unwrap_or_default())),
        }
    };
    intervals.chunks(together).map(merge).collect()
}

/// A value as written at a tick: without trailing zeros (`1.50 ms` becomes `1.5 ms`).
pub(super) fn tick(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    if !number.contains('.') {
        return text.to_owned();
    }
    let number = number.trim_end_matches('0').trim_end_matches('.');
    format!("{number}{unit}")
}

/// A share as written at a tick. It may be a fraction of a per cent.
pub(super) fn share(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// An axis of `scale` with ticks that `text` writes.
pub(super) fn axis(scale: Scale, wanted: f64, label: &str, text: fn(f64) -> String) -> Axis {
    let ticks = scale.ticks(wanted).into_iter();
    Axis {
        scale,
        ticks: ticks.map(|value| (value, tick(&text(value)))).collect(),
        label: label.to_owned(),
    }
}

fn percentiles(outcome: &Outcome) -> Option<Plot> {
    let histogram = hdr::decode(&outcome.latency_histogram).ok()?;
    if histogram.is_empty() {
        return None;
    }
    // The largest of n values is the quantile 1 - 1/n: nothing was measured to the right of it.
    let decades = (histogram.len() as f64).log10().max(1.0);
    let us = |ns: u64| ns.min(histogram.max()) as f64 / 1e3;
    let steps = histogram.iter_quantiles(CURVE_STEPS);
    let points: Vec<_> = steps
        .map(|step| (step.quantile_iterated_to(), us(step.value_iterated_to())))
        .collect();
    let named = [
        ("p50", 0.5_f64),
        ("p90", 0.9),
        ("p99", 0.99),
        ("p99.9", 0.999),
        ("p99.99", 0.9999),
    ];
    let named = named
        .into_iter()
        .filter(|(_, quantile)| -(1.0 - quantile).log10() < decades);
    let at = |quantile| us(histogram.value_at_quantile(quantile));
    let named = named.map(|(name, quantile)| {
        (
            quantile,
            at(quantile),
            format!("{name} {}", time(at(quantile))),
        )
    });
    let max = us(histogram.max());
    let named = named
        .chain([(1.0, max, format!("max {}", time(max)))])
        .collect();
    let hints = points.iter().map(|(quantile, us)| {
        let (share, us) = (quantile_text(*quantile), time(*us));
        (*quantile, format!("{share} took at most {us}"))
    });
    Some(Plot {
        title: "Latency by percentile".to_owned(),
        x: axis(
            Scale::Tail(decades),
            TICKS_X,
            "percentile (each nine takes the same room)",
            quantile_text,
        ),
        y: axis(
            Scale::fit(points.iter().map(|point| point.1)),
            TICKS_Y,
            "latency",
            time,
        ),
        hints: hints.collect(),
        series: vec![line("latency", "blue", points)],
        rules: Vec::new(),
        named,
    })
}

/// `99.9 %`, with as many decimals as needed.
fn quantile_text(quantile: f64) -> String {
    let text = format!("{:.7}", quantile * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

fn line(name: &str, colour: &'static str, points: Vec<(f64, f64)>) -> Series {
    Series {
        name: name.to_owned(),
        colour,
        kind: Kind::Line,
        points,
    }
}

/// The middle of an interval.
fn middle(interval: &Interval) -> f64 {
    interval.at_s - interval.duration_s / 2.0
}

fn points(outcome: &Outcome, value: impl Fn(&Interval) -> f64) -> Vec<(f64, f64)> {
    outcome
        .intervals
        .iter()
        .map(|interval| (middle(interval), value(interval)))
        .collect()
}

fn per_second(interval: &Interval) -> f64 {
    interval.messages as f64 / interval.duration_s.max(f64::MIN_POSITIVE)
}

/// An empty plot over time. None without intervals.
fn over_time(
    outcome: &Outcome,
    title: &str,
    y: Axis,
    hint: impl Fn(&Interval) -> String,
) -> Option<Plot> {
    let end = outcome.intervals.last()?.at_s;
    let ticks = time_ticks(end, TICKS_X).into_iter();
    let (text, label): (fn(f64) -> String, _) = match end {
        ..=120.0 => (
            |s| format!("{}", (s * 1000.0).round() / 1000.0),
            "time since the window began (s)",
        ),
        ..=7200.0 => (|s| clock(s, 60.0), "time since the window began (min:s)"),
        _ => (
            |s| clock(s / 60.0, 60.0),
            "time since the window began (h:min)",
        ),
    };
    Some(Plot {
        title: title.to_owned(),
        x: Axis {
            scale: Scale::Linear {
                low: 0.0,
                high: end,
            },
            ticks: ticks.map(|seconds| (seconds, text(seconds))).collect(),
            label: label.to_owned(),
        },
        y,
        hints: outcome
            .intervals
            .iter()
            .map(|interval| {
                let (from, to) = (interval.at_s - interval.duration_s, interval.at_s);
                (
                    middle(interval),
                    format!("{from:.1} s to {to:.1} s\n{}", hint(interval)),
                )
            })
            .collect(),
        series: Vec::new(),
        rules: Vec::new(),
        named: Vec::new(),
    })
}

/// `12:30`: a value in a unit and its smaller unit, of which `parts` make one.
fn clock(value: f64, parts: f64) -> String {
    let whole = (value / parts + 1e-9).floor();
    format!("{whole:.0}:{:02.0}", (value - whole * parts).abs())
}

fn throughput(outcome: &Outcome) -> Option<Plot> {
    let noun = noun(&outcome.scenario);
    let rates = points(outcome, per_second);
    let most = rates.iter().map(|point| point.1).fold(0.0, f64::max);
    let offered = outcome.offered_per_second;
    let y = Scale::from_zero(most.max(offered.unwrap_or(0.0)) * HEADROOM);
    let y = axis(y, TICKS_Y, &format!("{noun} per second"), count);
    let mut plot = over_time(outcome, "Throughput over time", y, |interval| {
        let rate = rate(per_second(interval));
        let errors = match interval.errors {
            0 => String::new(),
            errors => format!("\nerrors: {}", grouped(errors as f64)),
        };
        format!("{rate} {noun} per second{errors}")
    })?;
    plot.series.push(Series {
        kind: Kind::Area,
        ..line(noun, "blue", rates)
    });
    if outcome.intervals.iter().any(|interval| interval.errors > 0) {
        let errors = points(outcome, |interval| interval.errors as f64);
        plot.series.push(Series {
            kind: Kind::Flags,
            ..line("errors in this interval", "red", errors)
        });
    }
    let rule =
        offered.map(|offered| Rule::Horizontal(offered, format!("offered {} /s", rate(offered))));
    plot.rules.extend(rule);
    Some(plot)
}

fn latency(outcome: &Outcome) -> Option<Plot> {
    let intervals = outcome.intervals.iter();
    let all = intervals.flat_map(|interval| [interval.p50_us, interval.p99_us, interval.max_us]);
    if all.clone().all(|us| us == 0.0) {
        return None;
    }
    let y = axis(Scale::fit(all), TICKS_Y, "latency", time);
    let mut plot = over_time(outcome, "Latency over time", y, |interval| {
        let [p50, p99, max] = [interval.p50_us, interval.p99_us, interval.max_us].map(time);
        format!("p50 {p50}\np99 {p99}\nmax {max}")
    })?;
    plot.series = vec![
        line("max", "grey", points(outcome, |interval| interval.max_us)),
        line("p99", "orange", points(outcome, |interval| interval.p99_us)),
        line("p50", "blue", points(outcome, |interval| interval.p50_us)),
    ];
    Some(plot)
}

fn cpu(outcome: &Outcome) -> Option<Plot> {
    let server: Vec<_> = outcome
        .intervals
        .iter()
        .filter_map(|interval| Some((middle(interval), interval.server_utilisation?)))
        .collect();
    let driver = points(outcome, |interval| interval.driver_utilisation);
    let both = server.iter().chain(&driver).map(|point| point.1);
    let y = axis(
        Scale::from_zero(both.fold(0.0, f64::max)),
        TICKS_Y,
        "CPU (100 % is one core)",
        share,
    );
    let mut plot = over_time(outcome, "CPU over time", y, |interval| {
        let server = interval
            .server_utilisation
            .map_or_else(|| "unknown".to_owned(), percent);
        format!(
            "driver {}\nserver {server}",
            percent(interval.driver_utilisation)
        )
    })?;
    if !server.is_empty() {
        plot.series.push(line("server", "green", server));
    }
    plot.series.push(line("driver", "violet", driver));
    Some(plot)
}

/// The plot of open connections. None when their number never changes.
fn connections(outcome: &Outcome) -> Option<Plot> {
    let open = points(outcome, |interval| interval.connections as f64);
    let first = open.first()?.1;
    if open.iter().all(|point| point.1 == first) {
        return None;
    }
    let y = Scale::from_zero(open.iter().map(|point| point.1).fold(0.0, f64::max));
    let y = axis(y, TICKS_Y, "open connections", count);
    let mut plot = over_time(outcome, "Connections over time", y, |interval| {
        format!("{} open connections", grouped(interval.connections as f64))
    })?;
    plot.series.push(Series {
        kind: Kind::Area,
        ..line("connections", "blue", open)
    });
    Some(plot)
}

fn workers(outcome: &Outcome) -> Option<Plot> {
    let workers = &outcome.server.as_ref()?.workers;
    let rows = workers.iter().map(|worker| {
        let name = format!("worker {}", worker.index);
        (
            worker.index.to_string(),
            name,
            worker.clients,
            worker.messages,
            worker.utilisation,
        )
    });
    balance(
        "Balance of the server's workers",
        "worker",
        ["green", "blue"],
        rows.collect(),
    )
}

fn threads(outcome: &Outcome) -> Option<Plot> {
    let rows = outcome.driver.iter().enumerate().map(|(at, thread)| {
        let name = format!("driver thread {at}");
        (
            at.to_string(),
            name,
            thread.connections,
            thread.messages,
            thread.utilisation,
        )
    });
    balance(
        "Balance of the driver's threads",
        "thread",
        ["violet", "blue"],
        rows.collect(),
    )
}

/// Connections and messages of each worker as bars, as a share of what it would have if all workers were equal.
fn balance(
    title: &str,
    label: &str,
    colours: [&'static str; 2],
    rows: Vec<(String, String, u64, u64, f64)>,
) -> Option<Plot> {
    // A single worker is always in balance.
    if rows.len() < 2 {
        return None;
    }
    let parts = |values: Vec<u64>| {
        let mean = values.iter().map(|value| *value as f64).sum::<f64>() / values.len() as f64;
        let part = move |value: u64| if mean > 0.0 { value as f64 / mean } else { 0.0 };
        values
            .into_iter()
            .zip(0_u32..)
            .map(|(value, at)| (f64::from(at), part(value)))
            .collect::<Vec<_>>()
    };
    let connections = parts(rows.iter().map(|row| row.2).collect());
    let messages = parts(rows.iter().map(|row| row.3).collect());
    let most = connections
        .iter()
        .chain(&messages)
        .map(|point| point.1)
        .fold(1.0, f64::max);
    let hints = rows
        .iter()
        .zip(0_u32..)
        .map(|((_, name, connections, messages, busy), at)| {
            let (connections, messages) = (grouped(*connections as f64), grouped(*messages as f64));
            (
                f64::from(at),
                format!(
                    "{name}\n{connections} connections\n{messages} messages\nbusy {}",
                    percent(*busy)
                ),
            )
        });
    let ticks = rows
        .iter()
        .zip(0_u32..)
        .map(|(row, at)| (f64::from(at), row.0.clone()));
    let bars = |name, colour, points| Series {
        kind: Kind::Bars,
        ..line(name, colour, points)
    };
    Some(Plot {
        title: title.to_owned(),
        x: Axis {
            scale: Scale::Linear {
                low: -0.5,
                high: rows.len() as f64 - 0.5,
            },
            ticks: ticks.collect(),
            label: label.to_owned(),
        },
        y: axis(
            Scale::from_zero(most * HEADROOM),
            TICKS_Y,
            "part of an equal share",
            share,
        ),
        hints: hints.collect(),
        series: vec![
            bars("connections", colours[0], connections),
            bars("messages", colours[1], messages),
        ],
        rules: vec![Rule::Horizontal(1.0, String::new())],
        named: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn titles(outcome: &Outcome) -> Vec<String> {
        of(outcome).into_iter().map(|plot| plot.title).collect()
    }

    #[test]
    fn what_was_not_measured_has_no_plot() {
        assert_eq!(titles(&Outcome::default()), [""; 0]);
        let mut outcome = samples::run(1, 3, 1);
        let expected = [
            "Latency by percentile",
            "Throughput over time",
            "Latency over time",
            "CPU over time",
            "Balance of the driver's threads",
        ];
        assert_eq!(titles(&outcome), expected);
        outcome.intervals[2].connections = 99;
        assert_eq!(titles(&outcome)[4], "Connections over time");
    }

    #[test]
    fn the_percentile_curve_ends_where_the_samples_end() {
        let plot = percentiles(&samples::run(1, 10, 1)).expect("a million samples");
        assert_eq!(plot.x.scale, Scale::Tail(6.0));
        let texts: Vec<_> = plot.x.ticks.iter().map(|tick| tick.1.as_str()).collect();
        let expected = [
            "0 %",
            "50 %",
            "90 %",
            "99 %",
            "99.9 %",
            "99.99 %",
            "99.999 %",
            "99.9999 %",
        ];
        assert_eq!(texts, expected);
        let last = plot.series[0].points.last().expect("points");
        assert_eq!(*last, (1.0, 466.943));
    }

    #[test]
    fn errors_and_the_offered_rate_are_marked() {
        let plot = throughput(&samples::filled()).expect("intervals");
        let errors: Vec<_> = plot.series[1]
            .points
            .iter()
            .filter(|point| point.1 > 0.0)
            .collect();
        assert_eq!(errors, [&(3.5, 36.0)]);
        assert!(matches!(&plot.rules[..], [Rule::Horizontal(at, text)]
            if *at == 100_000.0 && text == "offered 100,000 /s"));
    }

    #[test]
    fn hours_are_thinned_and_keep_their_worst() {
        let mut outcome = samples::run(1, 3, 1);
        let second = outcome.intervals[0];
        outcome.intervals = (1..=36_000_u32)
            .map(|at| Interval {
                at_s: f64::from(at),
                p99_us: f64::from(at),
                ..second
            })
            .collect();
        let thin = thinned(&outcome.intervals);
        assert_eq!(thin.len(), 800);
        assert_eq!(
            (thin[0].at_s, thin[0].duration_s, thin[0].p99_us),
            (45.0, 45.0, 45.0)
        );
        assert_eq!(thin[0].messages, 45 * second.messages);
        assert!((thin[0].driver_utilisation - second.driver_utilisation).abs() < 1e-9);
        let plot = &of(&outcome)[1];
        assert_eq!(plot.x.label, "time since the window began (h:min)");
        let texts: Vec<_> = plot.x.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(
            texts,
            [
                "0:00", "1:00", "2:00", "3:00", "4:00", "5:00", "6:00", "7:00", "8:00", "9:00",
                "10:00"
            ]
        );
    }

    #[test]
    fn a_worker_with_twice_its_share_stands_at_two() {
        let mut outcome = samples::run(1, 1, 3);
        let server = outcome.server.as_mut().expect("known");
        for (worker, (clients, messages)) in
            server.workers.iter_mut().zip([(4, 10), (1, 10), (1, 10)])
        {
            (worker.clients, worker.messages) = (clients, messages);
        }
        let plot = workers(&outcome).expect("three workers");
        assert_eq!(plot.series[0].points, [(0.0, 2.0), (1.0, 0.5), (2.0, 0.5)]);
        assert_eq!(plot.series[1].points, [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)]);
        assert_eq!(
            plot.hints[0].1,
            "worker 0\n4 connections\n10 messages\nbusy 48 %"
        );
    }

    #[test]
    fn ticks_have_no_zeros_at_their_end() {
        let texts = ["1.50 ms", "100 µs", "2.00k", "0", "10.0 s"].map(tick);
        assert_eq!(texts, ["1.5 ms", "100 µs", "2k", "0", "10 s"]);
    }
}
