//! Outcomes for the tests of this folder: one with every field filled, and variations of a run.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::hdr;
use crate::io::sim::Random;
use crate::load::outcome::{
    Errors, Interval, Latency, Machine, Outcome, Process, SCHEMA, Server, Thread, WorkerShare,
};

/// An outcome in which every field is present and none is zero.
pub(super) fn filled() -> Outcome {
    let mut outcome = run(1, 10, 2);
    outcome.options = [
        ("connections", "100"),
        ("duration", "10s"),
        ("payload", "20"),
        ("rate", "100k"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    outcome.offered_per_second = Some(100_000.0);
    outcome.errors_by_kind = Errors {
        connect: 1,
        handshake: 2,
        protocol: 3,
        content: 4,
        closed: 5,
        refused: 8,
        missing: 6,
        close: 7,
    };
    outcome.errors = 36;
    outcome.intervals[3].errors = 36;
    outcome.figures = BTreeMap::from([("handshake_close_p99_us".to_owned(), 250.0)]);
    outcome.driver_saturated = true;
    outcome.notes =
        vec!["Driver and server share a CPU, so each of them costs the other time.".to_owned()];
    outcome
}

/// An echo of `seconds` intervals against a server of `workers`, with noise from `seed`.
pub(super) fn run(seed: u64, seconds: u32, workers: u64) -> Outcome {
    let mut random = Random::new(seed);
    let mut noise =
        |spread: usize| 1.0 + (random.below(2001) as f64 / 1000.0 - 1.0) * spread as f64 / 100.0;
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
    let mut intervals = Vec::new();
    for second in 1..=seconds {
        // The tail of an exponential distribution, and a pause now and then.
        let scale = noise(3) * if second % 17 == 0 { 3.0 } else { 1.0 };
        for part in 1..=1000_u32 {
            let ns = 40_000.0 + 60_000.0 * scale * -(1.0 - f64::from(part) / 1001.0).ln();
            let ns: u64 = format!("{ns:.0}").parse().expect("a number");
            histogram.record_n(ns, 100).expect("within the bounds");
        }
        intervals.push(Interval {
            at_s: f64::from(second),
            duration_s: 1.0,
            messages: 100_000 - u64::from(second * 7919 % 2000),
            errors: 0,
            connections: 100,
            p50_us: 81.0 * noise(2),
            p99_us: 316.0 * scale,
            max_us: 454.0 * scale * noise(20),
            driver_utilisation: 1.2 * noise(4),
            server_utilisation: Some(0.97 * noise(2)),
        });
    }
    let messages = intervals.iter().map(|interval| interval.messages).sum();
    let duration_s = f64::from(seconds);
    Outcome {
        schema: SCHEMA,
        version: "0.1.0".to_owned(),
        scenario: "echo".to_owned(),
        target: "ws://127.0.0.1:9001/".to_owned(),
        options: [("connections", "100"), ("payload", "20")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        began_unix_ms: 1_700_000_000_250,
        connections: 100,
        threads: 2,
        duration_s,
        messages,
        messages_per_second: messages as f64 / duration_s,
        bytes: messages * 20,
        latency_us: Latency::of(&histogram),
        latency_is: "From the moment a message was due to the arrival of its answer.".to_owned(),
        latency_histogram: hdr::encode(&histogram),
        machine: Machine {
            kernel: "Linux 6.12.0".to_owned(),
            architecture: "x86_64".to_owned(),
            cpu: Some("Some CPU @ 2.00GHz".to_owned()),
            cpus: 4,
            memory_bytes: 8_000_000_000,
        },
        driver_cpu_us_per_message: 12.1,
        driver_user_us_per_message: 2.3,
        driver: (0..2).map(|at| thread(at, messages)).collect(),
        server_cpu_us_per_message: Some(9.7),
        server_saturated: Some(true),
        server: Some(server(workers, messages)),
        intervals,
        // No `..default()` here: a new field must be filled in, and documented, before the tests pass.
        offered_per_second: None,
        errors: 0,
        errors_by_kind: Errors::default(),
        figures: BTreeMap::new(),
        driver_saturated: false,
        notes: Vec::new(),
    }
}

fn thread(at: u64, messages: u64) -> Thread {
    Thread {
        cpu: Some(at + 2),
        connections: 50,
        messages: messages / 2 + at * 1000,
        utilisation: 0.6,
        waiting: Some(0.02),
        user_s: 1.2,
        system_s: 4.8,
        enters: 12_345,
        sends: 67,
        wire_bytes_in: 2_400_000,
        payload_bytes_in: 2_000_000,
        compressed_in: 0,
        tls_handshakes: 0,
        tls_resumed: 0,
        saturated: true,
        late_p99_us: Some(25.0),
    }
}

fn server(workers: u64, messages: u64) -> Server {
    Server {
        processes: vec![Process {
            pid: 4711,
            name: "ringway".to_owned(),
            threads: 1,
            cpu_s: 9.7,
            utilisation: 0.97,
            saturated: true,
            waiting: 0.01,
            context_switches: 1200,
            resident_bytes: 9_000_000,
        }],
        memory_before_bytes: 4_000_000,
        memory_bytes: 9_000_000,
        kernel_tcp_bytes: Some(3_000_000),
        enters_per_message: Some(0.05),
        version: Some("Ringway 0.1.0".to_owned()),
        statistics: Some("http://127.0.0.1:8080/stats.json".to_owned()),
        workers: (0..workers)
            .map(|index| WorkerShare {
                index,
                clients: 100 / workers + index % 3,
                messages: messages / workers + index * 31 % 997,
                utilisation: 0.48,
                saturated: true,
            })
            .collect(),
    }
}
