//! The result of a run, from what its threads and its observer collected.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::collected::Collected;
use super::judge;
use super::meter::{SLICE, Slice, histogram};
use super::options::{LoadOptions, Scenario};
use super::outcome::{Errors, Interval, Latency, Outcome, SCHEMA, Thread};
use super::report::hdr;
use super::shown;
use super::thread::{self, Figures, Record};
use super::truth::{Observer, Sample};
use crate::time::Instant;

/// Slices in one interval of the result: a second.
const SLICES: i64 = 4;

/// A run that was done.
#[derive(Debug)]
pub struct Report {
    /// The result.
    pub outcome: Outcome,
    /// The latencies of each second of the window: start since the window began, length, nanoseconds.
    pub intervals: Vec<(Duration, Duration, Histogram<u64>)>,
    /// Every handshake, when the scenario counts them.
    pub handshakes: Vec<Record>,
}

/// Puts everything together.
pub(super) fn report(
    options: &LoadOptions,
    mut collected: Collected,
    observer: Observer,
    samples: &[(Instant, Sample)],
) -> Report {
    let planned = options.duration;
    let unmeasured = if collected.interrupted {
        Duration::ZERO
    } else {
        planned
    };
    let duration = window_length(options, &collected).unwrap_or(unmeasured);
    let figures = merge(&mut collected.threads);
    let slices: Vec<_> = collected
        .slices
        .iter()
        .filter(|slice| is_measured(slice, planned))
        .collect();
    let begin = collected.go.map(|go| go + options.warmup);
    let intervals = intervals(&slices, duration, samples, begin);
    let mut latency = histogram();
    // Slices behind the window hold latencies of what was due inside it, and nothing else.
    let behind = collected.slices.iter().filter(|slice| slice.index >= 0);
    behind.for_each(|slice| add(&mut latency, &slice.latency));
    let messages: u64 = slices.iter().map(|slice| slice.messages).sum();
    let mut errors = Errors::default();
    collected
        .threads
        .iter()
        .for_each(|thread| errors += thread.errors);
    let mut outcome = Outcome {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: name(&options.scenario).to_owned(),
        target: options.target.uri.clone(),
        options: shown::show(options),
        began_unix_ms: collected.began_unix_ms,
        connections: collected.connections,
        threads: options.threads as u64,
        duration_s: duration.as_secs_f64(),
        messages,
        messages_per_second: messages as f64 / duration.as_secs_f64().max(1e-9),
        octets: slices.iter().map(|slice| slice.octets).sum(),
        offered_per_second: offered(options),
        latency_us: Latency::of(&latency),
        latency_is: latency_is(options).to_owned(),
        latency_histogram: hdr::encode(&latency),
        figures: BTreeMap::new(),
        intervals: intervals.iter().map(|(interval, _)| *interval).collect(),
        ..Outcome::default()
    };
    note_fanout(&mut outcome, &mut errors, &collected);
    outcome.errors = errors.total();
    outcome.errors_by_kind = errors;
    add_threads(&mut outcome, &collected, &slices);
    add_figures(&mut outcome, &figures, options);
    observer.finish(&mut outcome);
    judge::judge(&mut outcome, options, &collected, &figures);
    Report {
        outcome,
        intervals: intervals
            .into_iter()
            .map(|(interval, latency)| span(&interval, latency))
            .collect(),
        handshakes: figures.handshakes,
    }
}

fn add(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    to.add(from)
        .expect("all histograms of a run have the same bounds");
}

/// How long the window was, when it was cut short or ended by itself.
fn window_length(options: &LoadOptions, collected: &Collected) -> Option<Duration> {
    let begin = collected.go? + options.warmup;
    let ended = collected
        .threads
        .iter()
        .filter_map(|thread| thread.ended)
        .max()?;
    Some(
        ended
            .since(begin)
            .min(options.duration)
            .max(Duration::from_micros(1)),
    )
}

fn is_measured(slice: &Slice, window: Duration) -> bool {
    let slices = window.as_nanos().div_ceil(SLICE.as_nanos());
    slice.index >= 0 && (slice.index.unsigned_abs() as u128) < slices
}

/// Second by second, with the latencies of each.
fn intervals(
    slices: &[&Slice],
    duration: Duration,
    samples: &[(Instant, Sample)],
    begin: Option<Instant>,
) -> Vec<(Interval, Histogram<u64>)> {
    let Some(last) = slices.iter().map(|slice| slice.index).max() else {
        return Vec::new();
    };
    let mut errors_before = 0;
    let mut found = Vec::new();
    for second in 0..=last / SLICES {
        let inside: Vec<_> = slices
            .iter()
            .filter(|slice| slice.index / SLICES == second)
            .collect();
        let mut latency = histogram();
        inside
            .iter()
            .for_each(|slice| add(&mut latency, &slice.latency));
        let from = second as f64;
        let at_s = (from + 1.0).min(duration.as_secs_f64());
        let newest = inside.iter().map(|slice| slice.index).max().unwrap_or(0);
        let newest: Vec<_> = inside
            .iter()
            .filter(|slice| slice.index == newest)
            .collect();
        let errors: u64 = newest.iter().map(|slice| slice.errors.total()).sum();
        let of = Latency::of(&latency);
        let interval = Interval {
            at_s,
            duration_s: (at_s - from).max(0.0),
            messages: inside.iter().map(|slice| slice.messages).sum(),
            errors: errors.saturating_sub(errors_before),
            connections: newest.iter().map(|slice| slice.connections).sum(),
            p50_us: of.p50,
            p99_us: of.p99,
            max_us: of.max,
            driver_utilisation: driver_utilisation(slices, second, at_s - from),
            server_utilisation: begin
                .and_then(|begin| server_utilisation(samples, begin, from, at_s)),
        };
        errors_before = errors.max(errors_before);
        if interval.duration_s > 0.0 {
            found.push((interval, latency));
        }
    }
    found
}

/// CPU time of all driver threads in a second, from the totals at the ends of their slices.
fn driver_utilisation(slices: &[&Slice], second: i64, length: f64) -> f64 {
    let last_before = |thread: usize, index: i64| {
        let of = slices
            .iter()
            .filter(|slice| slice.thread == thread && slice.index < index);
        of.max_by_key(|slice| slice.index).map(|slice| slice.cpu_ns)
    };
    let mut threads: Vec<_> = slices.iter().map(|slice| slice.thread).collect();
    threads.sort_unstable();
    threads.dedup();
    let spent = |thread: usize| {
        let to = last_before(thread, (second + 1) * SLICES)?;
        let from = last_before(thread, second * SLICES).or_else(|| {
            // The window's first second has three slices between its first end and its last.
            slices
                .iter()
                .find(|slice| slice.thread == thread && slice.index == 0)
                .map(|slice| slice.cpu_ns)
        })?;
        Some(to.saturating_sub(from))
    };
    let ns: u64 = threads.into_iter().filter_map(spent).sum();
    let length = if second == 0 {
        length - SLICE.as_secs_f64()
    } else {
        length
    };
    if length > 0.0 {
        ns as f64 / 1e9 / length
    } else {
        0.0
    }
}

/// The server's, between the samples nearest to the ends of the second.
fn server_utilisation(
    samples: &[(Instant, Sample)],
    begin: Instant,
    from: f64,
    to: f64,
) -> Option<f64> {
    let nearest = |seconds: f64| {
        let at = begin + Duration::from_secs_f64(seconds);
        let distance = |instant: Instant| instant.since(at).max(at.since(instant));
        samples
            .iter()
            .min_by_key(|(instant, _)| distance(*instant))
            .map(|(_, sample)| sample)
    };
    nearest(to)?.utilisation_since(nearest(from)?)
}

fn span(interval: &Interval, latency: Histogram<u64>) -> (Duration, Duration, Histogram<u64>) {
    let start = Duration::from_secs_f64((interval.at_s - interval.duration_s).max(0.0));
    (start, Duration::from_secs_f64(interval.duration_s), latency)
}

/// The figures of all threads together.
fn merge(threads: &mut [thread::Result]) -> Figures {
    let mut merged = Figures::default();
    for thread in threads {
        let figures = std::mem::take(&mut thread.figures);
        if let Some(late) = &figures.late {
            thread.thread.late_p99_us = Some(late.value_at_quantile(0.99) as f64 / 1000.0);
            add(merged.late.get_or_insert_with(histogram), late);
        }
        figures
            .counts
            .iter()
            .for_each(|(name, count)| merged.add(name, *count));
        for (name, times) in &figures.times {
            add(merged.times.entry(name).or_insert_with(histogram), times);
        }
        merged.ramp = merged.ramp.max(figures.ramp);
        merged.handshakes.extend(figures.handshakes);
    }
    merged
}

fn add_threads(outcome: &mut Outcome, collected: &Collected, slices: &[&Slice]) {
    let mut driver: Vec<Thread> = collected
        .threads
        .iter()
        .map(|result| result.thread.clone())
        .collect();
    for slice in slices {
        if let Some(thread) = driver.get_mut(slice.thread) {
            thread.messages += slice.messages;
        }
    }
    let [user, system] = [
        |thread: &Thread| thread.user_s,
        |thread: &Thread| thread.system_s,
    ]
    .map(|of| driver.iter().map(of).sum::<f64>());
    let messages = outcome.messages.max(1) as f64;
    outcome.driver_cpu_us_per_message = (user + system) * 1e6 / messages;
    outcome.driver_user_us_per_message = user * 1e6 / messages;
    outcome.driver = driver;
}

/// Counts as they are, distributions as their percentiles in microseconds.
fn add_figures(outcome: &mut Outcome, figures: &Figures, options: &LoadOptions) {
    for (name, count) in &figures.counts {
        outcome.figures.insert((*name).to_owned(), *count as f64);
    }
    for (name, times) in &figures.times {
        let of = Latency::of(times);
        let parts = [
            ("p50", of.p50),
            ("p90", of.p90),
            ("p99", of.p99),
            ("max", of.max),
            ("mean", of.mean),
        ];
        for (part, value) in parts {
            outcome.figures.insert(format!("{name}_{part}_us"), value);
        }
    }
    if let Some(ramp) = figures.ramp {
        outcome
            .figures
            .insert("ramp_s".to_owned(), ramp.as_secs_f64());
    }
    if let Scenario::Broadcast { senders } = options.scenario {
        outcome.figures.insert("senders".to_owned(), senders as f64);
    }
}

/// What an open loop wants to be completed: of a broadcast one delivery to every connection.
fn offered(options: &LoadOptions) -> Option<f64> {
    let deliveries = match options.scenario {
        Scenario::Broadcast { .. } => options.connections as f64,
        _ => 1.0,
    };
    options.rate.map(|rate| rate * deliveries)
}

/// A broadcast is complete when every connection has every message.
fn note_fanout(outcome: &mut Outcome, errors: &mut Errors, collected: &Collected) {
    let Some((expected, delivered)) = collected.fanout else {
        return;
    };
    if !collected.interrupted {
        errors.missing += expected.saturating_sub(delivered);
    }
    let reach = if expected > 0 {
        delivered as f64 / expected as f64
    } else {
        0.0
    };
    for (name, value) in [
        ("broadcast_expected", expected as f64),
        ("broadcast_delivered", delivered as f64),
        ("broadcast_reach", reach),
    ] {
        outcome.figures.insert(name.to_owned(), value);
    }
}

fn name(scenario: &Scenario) -> &'static str {
    match scenario {
        Scenario::Echo => "echo",
        Scenario::Handshake { .. } => "handshake",
        Scenario::Massconnect { .. } => "massconnect",
        Scenario::Broadcast { .. } => "broadcast",
        Scenario::Mixed { .. } => "mixed",
        Scenario::Stress(_) => "stress",
        Scenario::Soak(_) => "soak",
    }
}

fn latency_is(options: &LoadOptions) -> &'static str {
    match (&options.scenario, options.rate) {
        (Scenario::Handshake { .. }, _) => {
            "from the start of the TCP connect to the open WebSocket"
        }
        (Scenario::Massconnect { .. }, _) => "from a Ping to its Pong",
        (Scenario::Broadcast { .. }, Some(_)) => {
            "from the intended send time to the delivery at each connection"
        }
        (Scenario::Broadcast { .. }, None) => "from the send to the delivery at each connection",
        (_, Some(_)) => "from the intended send time to the answer (no coordinated omission)",
        (_, None) => {
            "from the send to the answer, in a closed loop: a stall of the server counts once per connection"
        }
    }
}
