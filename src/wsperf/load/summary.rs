//! Makes the result of a run from the figures of its threads and of its observer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::collected::{self, Collected, Row};
use super::machine;
use super::meter::histogram;
use super::notes;
use super::observer::{Observer, Sample};
use super::options::{LoadOptions, Scenario};
use super::options_text;
use super::outcome::{Errors, Interval, Latency, Outcome, SCHEMA, Thread};
use super::report::hdr;
use super::thread::{self, Figures, Record};
use crate::time::Instant;

/// A completed run.
#[derive(Debug)]
pub struct Report {
    /// The result.
    pub outcome: Outcome,
    /// The latencies of each interval of the window.
    pub intervals: Vec<hdr::IntervalHistogram>,
    /// Every handshake, in the scenario that counts them.
    pub handshakes: Vec<Record>,
}

/// Makes the result.
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
    let begin = collected.go.map(|go| go + options.warmup);
    let rows = std::mem::take(&mut collected.rows);
    let (intervals, histograms) = intervals(rows, duration, samples, begin);
    let messages: u64 = collected.messages.iter().sum();
    count_undelivered(options, &mut collected);
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
        options: options_text::show(options),
        began_unix_ms: collected.began_unix_ms,
        connections: match options.scenario {
            // None are open when the window begins, and at its end few.
            Scenario::Replay(_) => options.connections as u64,
            _ => collected.connections,
        },
        threads: options.threads as u64,
        duration_s: duration.as_secs_f64(),
        messages,
        messages_per_second: messages as f64 / duration.as_secs_f64().max(1e-9),
        bytes: collected.bytes,
        offered_per_second: offered(options),
        latency_us: Latency::of(&collected.latency),
        latency_is: latency_is(options).to_owned(),
        latency_histogram: hdr::encode(&collected.latency),
        figures: BTreeMap::new(),
        intervals,
        machine: machine::machine(),
        ..Outcome::default()
    };
    note_fanout(&mut outcome, &mut errors, &collected);
    outcome.errors = errors.total();
    outcome.errors_by_kind = errors;
    add_threads(&mut outcome, &collected);
    add_figures(&mut outcome, &figures, options);
    observer.finish(&mut outcome);
    notes::add(&mut outcome, options, &collected, &figures);
    Report {
        outcome,
        intervals: histograms,
        handshakes: figures.handshakes,
    }
}

/// The true length of the window: shorter than planned if the run was cut short. None: the window never began.
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

/// The rows of the intervals, and their latencies.
fn intervals(
    rows: Vec<Row>,
    duration: Duration,
    samples: &[(Instant, Sample)],
    begin: Option<Instant>,
) -> (Vec<Interval>, Vec<hdr::IntervalHistogram>) {
    let mut found = (Vec::new(), Vec::new());
    for row in rows {
        // The last interval may be shorter, as the window ends.
        let length = row.length.min(duration.saturating_sub(row.start));
        if length.is_zero() {
            break;
        }
        let (from, at_s) = (row.start.as_secs_f64(), (row.start + length).as_secs_f64());
        found.0.push(Interval {
            at_s,
            duration_s: length.as_secs_f64(),
            messages: row.messages,
            errors: row.errors,
            connections: row.connections,
            p50_us: row.latency.p50,
            p99_us: row.latency.p99,
            max_us: row.latency.max,
            driver_utilisation: Duration::from_nanos(row.cpu_ns).div_duration_f64(length),
            server_utilisation: begin
                .and_then(|begin| server_utilisation(samples, begin, from, at_s)),
        });
        found.1.push((row.start, length, row.encoded));
    }
    found
}

/// CPU use of the server in an interval, between the samples nearest to its ends.
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

/// The figures of all threads together.
fn merge(threads: &mut [thread::Result]) -> Figures {
    let mut merged = Figures::default();
    for thread in threads {
        let figures = std::mem::take(&mut thread.figures);
        if let Some(late) = &figures.late {
            thread.thread.late_p99_us = Some(late.value_at_quantile(0.99) as f64 / 1000.0);
            collected::merge(merged.late.get_or_insert_with(histogram), late);
        }
        figures
            .counts
            .iter()
            .for_each(|(name, count)| merged.add(name, *count));
        for (name, times) in &figures.times {
            collected::merge(merged.times.entry(name).or_insert_with(histogram), times);
        }
        merged.ramp = merged.ramp.max(figures.ramp);
        merged.handshakes.extend(figures.handshakes);
    }
    merged
}

fn add_threads(outcome: &mut Outcome, collected: &Collected) {
    let mut driver: Vec<Thread> = collected
        .threads
        .iter()
        .map(|result| result.thread.clone())
        .collect();
    for (thread, messages) in driver.iter_mut().zip(&collected.messages) {
        thread.messages = *messages;
        thread.saturated = notes::is_full(thread);
    }
    let [user, system] = [
        |thread: &Thread| thread.user_s,
        |thread: &Thread| thread.system_s,
    ]
    .map(|of| driver.iter().map(of).sum::<f64>());
    // Without messages a figure per message has no meaning.
    if outcome.messages > 0 {
        let messages = outcome.messages as f64;
        outcome.driver_cpu_us_per_message = (user + system) * 1e6 / messages;
        outcome.driver_user_us_per_message = user * 1e6 / messages;
    }
    outcome.driver = driver;
}

/// Adds counts as they are, and distributions as percentiles in µs.
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
    if let Scenario::Broadcast { senders, .. } = options.scenario {
        outcome.figures.insert("senders".to_owned(), senders as f64);
    }
    if let Some(published) = outcome.figures.remove("pubsub_published_in_window") {
        let per_second = published / outcome.duration_s.max(1e-9);
        outcome
            .figures
            .insert("pubsub_published_per_second".to_owned(), per_second);
    }
}

/// The rate that an open loop is to complete: in a broadcast or pubsub, a delivery to every receiver for each message.
fn offered(options: &LoadOptions) -> Option<f64> {
    let deliveries = match options.scenario {
        Scenario::Broadcast { others_only, .. } => {
            options.connections as f64 - f64::from(u8::from(others_only))
        }
        // One of the connections publishes.
        Scenario::Pubsub(_) => options.connections as f64 - 1.0,
        _ => 1.0,
    };
    options.rate.map(|rate| rate * deliveries)
}

/// Adds the missing deliveries of an open loop to the latencies. The due time of each is not known, but the driver waited
/// until the end for it, which is at least the timeout for the last answers.
fn count_undelivered(options: &LoadOptions, collected: &mut Collected) {
    if let Some((expected, delivered)) = collected.fanout
        && options.rate.is_some()
        && !collected.interrupted
    {
        let waited = u64::try_from(options.timeout.as_nanos()).unwrap_or(u64::MAX);
        let missing = expected.saturating_sub(delivered);
        // Of none a histogram would still take the value for its greatest.
        if missing > 0 {
            collected
                .latency
                .saturating_record_n(waited.max(1), missing);
        }
    }
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
    let scenario = outcome.scenario.clone();
    for (name, value) in [
        ("expected", expected as f64),
        ("delivered", delivered as f64),
        ("reach", reach),
    ] {
        outcome.figures.insert(format!("{scenario}_{name}"), value);
    }
}

fn name(scenario: &Scenario) -> &'static str {
    match scenario {
        Scenario::Echo => "echo",
        Scenario::Handshake { .. } => "handshake",
        Scenario::Massconnect { .. } => "massconnect",
        Scenario::Broadcast { .. } => "broadcast",
        Scenario::Pubsub(_) => "pubsub",
        Scenario::Mixed { .. } => "mixed",
        Scenario::Stress(_) => "stress",
        Scenario::Soak(_) => "soak",
        Scenario::Replay(_) => "replay",
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
        (Scenario::Pubsub(_), _) => {
            "from the intended publish time to the delivery at each subscriber"
        }
        (Scenario::Replay(_), _) => {
            "lateness: from the time at which the recording has a message to its sending by the driver"
        }
        (Scenario::Broadcast { .. }, None) => "from the send to the delivery at each connection",
        (_, Some(_)) => "from the intended send time to the answer (no coordinated omission)",
        (_, None) => {
            "from the send to the answer, in a closed loop: a stall of the server counts once per connection"
        }
    }
}
