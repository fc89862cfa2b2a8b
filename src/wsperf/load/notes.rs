//! Conclusions from the figures of a run: who was saturated, and the notes of the result.

use super::collected::Collected;
use super::options::{LoadOptions, Scenario};
use super::outcome::{Outcome, Thread, WorkerShare};
use super::thread::Figures;

/// Share of the window that a saturated thread has run or waited for its CPU.
const SATURATED: f64 = 0.97;

/// Share of the window that a thread waited for its CPU, above which the note says so: another process had that CPU.
const ROBBED: f64 = 0.10;

/// 99th percentile of the driver's own delay (1 ms), above which there is a note.
const LATE_NS: u64 = 1_000_000;

/// Fewest connections, and messages, per worker on average for a note about their spread. Below it, unevenness is chance.
const SPREAD_CONNECTIONS_MIN: u64 = 10;
const SPREAD_MESSAGES_MIN: u64 = 500;

/// Shortest window without a note: in a shorter one, clock ticks and the reading of clocks distort the CPU times.
const SHORT_S: f64 = 0.5;

/// Sets which side was saturated, and adds the notes.
pub(super) fn add(
    outcome: &mut Outcome,
    options: &LoadOptions,
    collected: &Collected,
    figures: &Figures,
) {
    let full: Vec<_> = outcome
        .driver
        .iter()
        .filter(|thread| is_full(thread))
        .collect();
    // One saturated worker is enough: the rate is then no longer limited by the driver alone.
    let server_is = outcome.server_saturated == Some(true) || full_workers(outcome) > 0;
    let mut notes = Vec::new();
    notes.extend(note_driver(&full, outcome.driver.len(), server_is));
    // If the server is saturated too, the rate is not the driver's.
    outcome.driver_saturated = !full.is_empty() && !server_is;
    notes.extend(note_shared_cpus(outcome));
    notes.extend(note_full_workers(outcome));
    notes.extend(note_spread(outcome, options));
    notes.extend(note_missing(outcome, options));
    notes.extend(note_full_server(outcome, options));
    if collected.interrupted {
        notes.push(
            if collected
                .threads
                .iter()
                .all(|thread| thread.ended.is_none())
            {
                "the run was interrupted before its window began: nothing was measured".to_owned()
            } else {
                "the run was interrupted: the window is shorter than asked for".to_owned()
            },
        );
    } else if outcome.duration_s < SHORT_S {
        notes.push(
            "the window is short: CPU times are right to some milliseconds, so make it longer"
                .to_owned(),
        );
    }
    if let Some(late) = &figures.late
        && late.value_at_quantile(0.99) > LATE_NS
    {
        notes.push(format!(
            "the driver itself sent late ({:.1} ms at the 99th percentile); latency counts from the intended time, so this \
             is in it",
            late.value_at_quantile(0.99) as f64 / 1e6
        ));
    }
    notes.extend(note_cut_off(options));
    notes.extend(note_echo(outcome, options));
    notes.extend(note_left_out_sender(outcome, options));
    notes.extend(outcome.disorder());
    let failure = collected
        .threads
        .iter()
        .find_map(|thread| thread.first_failure.clone());
    notes.extend(failure.map(|failure| format!("the first fault was: {failure}")));
    if outcome.messages == 0 && !collected.interrupted {
        notes.push("no message was completed in the window".to_owned());
    }
    outcome.notes.splice(0..0, notes);
}

pub(super) fn is_full(thread: &Thread) -> bool {
    thread.utilisation + thread.waiting.unwrap_or(0.0) > SATURATED
}

/// Driver threads without time to spare: they were busy, or another process had their CPU.
fn note_driver(full: &[&Thread], threads: usize, server_is: bool) -> Option<String> {
    let waiting = full
        .iter()
        .filter_map(|thread| thread.waiting)
        .fold(0.0, f64::max);
    let robbed = if waiting > ROBBED {
        format!(
            ", {:.0} % of it waiting for a CPU that another process had",
            waiting * 100.0
        )
    } else {
        String::new()
    };
    match (full.len(), server_is) {
        (0, _) => None,
        (full, false) => Some(format!(
            "the driver had no time left ({full} of {threads} threads{robbed}): this rate is the driver's, not the server's; \
             give it more --threads on other CPUs"
        )),
        (full, true) => Some(format!(
            "server and driver both had no time left ({full} of {threads} driver threads{robbed}): the rate is what they \
             do together"
        )),
    }
}

/// A driver thread and a server process that are pinned to the same CPU take each other's time.
fn note_shared_cpus(outcome: &Outcome) -> Vec<String> {
    let processes = outcome.server.iter().flat_map(|server| &server.processes);
    let pinned: Vec<_> = processes
        .filter_map(|process| Some((process, only_cpu(process.pid)?)))
        .collect();
    let mut notes = Vec::new();
    for (index, thread) in outcome.driver.iter().enumerate() {
        let same = pinned.iter().find(|(_, cpu)| Some(*cpu) == thread.cpu);
        notes.extend(same.map(|(process, cpu)| {
            format!(
                "driver thread {index} and process {} of the server ({}) share CPU {cpu} and take each other's time: \
                 choose another with --cpus, or run the server on fewer",
                process.pid, process.name
            )
        }));
    }
    notes
}

/// The CPU to which a process is pinned. None if it may run on several.
fn only_cpu(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().parse().ok()
}

fn workers(outcome: &Outcome) -> &[WorkerShare] {
    outcome
        .server
        .as_ref()
        .map_or(&[], |server| server.workers.as_slice())
}

fn full_workers(outcome: &Outcome) -> usize {
    let workers = workers(outcome).iter();
    workers.filter(|worker| worker.saturated).count()
}

/// Some workers are saturated and others are not: the rate is that of the saturated ones.
fn note_full_workers(outcome: &Outcome) -> Option<String> {
    let (full, all) = (full_workers(outcome), workers(outcome));
    let others = all.iter().filter(|worker| !worker.saturated);
    let idlest = others.min_by(|one, two| one.utilisation.total_cmp(&two.utilisation))?;
    (full > 0).then(|| {
        format!(
            "{full} of {} workers of the server had no time left while worker {} was {:.0} % busy: the rate is what {full} of \
             them can do, and the server can do more",
            all.len(),
            idlest.index,
            idlest.utilisation * 100.0
        )
    })
}

/// Connections, or the active ones among them, are spread so unevenly that few workers do all the work.
fn note_spread(outcome: &Outcome, options: &LoadOptions) -> Option<String> {
    let all = workers(outcome);
    let shown = |of: fn(&WorkerShare) -> u64| {
        let most = all.iter().max_by_key(|worker| of(worker));
        let least = all.iter().min_by_key(|worker| of(worker));
        most.zip(least).map_or_else(String::new, |(most, least)| {
            format!(
                "worker {} has {} of them, worker {} has {}",
                most.index,
                of(most),
                least.index,
                of(least)
            )
        })
    };
    let clients = |worker: &WorkerShare| worker.clients;
    // In this scenario connections open and close all the time: how many a worker has at one instant means nothing.
    let holds = !matches!(options.scenario, Scenario::Handshake { .. });
    if holds && is_uneven(all, clients, SPREAD_CONNECTIONS_MIN) {
        return Some(format!(
            "the connections are badly spread over the server's workers ({}): the rate is that of the full ones, and the next \
             run may find them spread otherwise",
            shown(clients)
        ));
    }
    let messages = |worker: &WorkerShare| worker.messages;
    is_uneven(all, messages, SPREAD_MESSAGES_MIN).then(|| {
        format!(
            "the connections that are active are badly spread over the server's workers: of the messages {}",
            shown(messages)
        )
    })
}

/// Whether some worker has more than 1.5 times its share, or less than half of it.
fn is_uneven(workers: &[WorkerShare], of: impl Fn(&WorkerShare) -> u64, mean_min: u64) -> bool {
    let (sum, count) = (workers.iter().map(&of).sum::<u64>(), workers.len() as u64);
    let off = |worker: &WorkerShare| {
        let share = of(worker).saturating_mul(count);
        share * 2 > sum * 3 || share * 2 < sum
    };
    count > 1 && sum >= mean_min * count && workers.iter().any(off)
}

/// Says how missing messages of an open loop enter the percentiles.
fn note_missing(outcome: &Outcome, options: &LoadOptions) -> Option<String> {
    let missing = outcome.errors_by_kind.missing;
    let offered = options.rate.is_some() && missing > 0;
    offered.then(|| {
        format!(
            "{missing} messages that were due were not sent, because their connection was lost, or never answered: those of the \
             window are in the latency with the time up to --timeout ({:?}) behind it, which is less than what they took",
            options.timeout
        )
    })
}

/// Says how many connections the server never accepted.
fn note_full_server(outcome: &Outcome, options: &LoadOptions) -> Option<String> {
    let given_up = outcome.figures.get("given_up_full").copied().unwrap_or(0.0);
    (given_up > 0.0).then(|| {
        format!(
            "the server is full: it took {} of {} connections and then none for as long as each of them would be tried, so \
             {given_up} were given up early; look for its limit of open files or of connections",
            outcome.connections, options.connections
        )
    })
}

/// A server that does not send to the sender of a message loses none: this note says so.
fn note_left_out_sender(outcome: &Outcome, options: &LoadOptions) -> Option<String> {
    let figure = |name: &str| outcome.figures.get(name).copied().unwrap_or(0.0);
    let is_asked = matches!(
        options.scenario,
        Scenario::Broadcast {
            others_only: false,
            ..
        }
    );
    let left_out = figure("broadcast_own") == 0.0 && figure("broadcast_delivered") > 0.0;
    (is_asked && left_out).then(|| {
        "no message came back to its sender: if this server sends to all others only, say --others-only".to_owned()
    })
}

/// What a recording lacks is not missed when it is played.
fn note_cut_off(options: &LoadOptions) -> Option<String> {
    let Scenario::Replay(replay) = &options.scenario else {
        return None;
    };
    (!replay.recording.is_complete).then(|| {
        "the recording has no end: its session went on, and was played up to where the recording was cut off".to_owned()
    })
}

/// A server that sends a message only back to its sender is no broadcast server: this note says so.
fn note_echo(outcome: &Outcome, options: &LoadOptions) -> Option<String> {
    let figure = |name: &str| outcome.figures.get(name).copied().unwrap_or(0.0);
    let delivered = figure("broadcast_delivered");
    let is_echo = matches!(options.scenario, Scenario::Broadcast { .. })
        && options.connections > 1
        && delivered > 0.0
        && delivered <= figure("broadcast_sent");
    is_echo.then(|| "there are no more deliveries than messages: this server sends a message back, and not to all".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_time_is_told_apart_from_one_that_was_robbed_of_it() {
        let thread = |utilisation, waiting| Thread {
            utilisation,
            waiting: Some(waiting),
            ..Thread::default()
        };
        let [busy, robbed] = [thread(0.99, 0.0), thread(0.4, 0.58)];
        assert_eq!(note_driver(&[], 2, false), None);
        let note = note_driver(&[&busy], 2, false).expect("a note");
        assert!(
            note.starts_with(
                "the driver had no time left (1 of 2 threads): this rate is the driver's"
            ),
            "{note}"
        );
        let note = note_driver(&[&busy, &robbed], 2, true).expect("a note");
        assert!(
            note.contains("both had no time left (2 of 2 driver threads, 58 % of it waiting"),
            "{note}"
        );
    }

    /// Workers as (connections, messages, utilisation).
    fn served(workers: &[(u64, u64, f64)]) -> Outcome {
        let share =
            |(index, (clients, messages, utilisation)): (u64, &(u64, u64, f64))| WorkerShare {
                index,
                clients: *clients,
                messages: *messages,
                utilisation: *utilisation,
                saturated: *utilisation > 0.95,
            };
        let server = crate::load::outcome::Server {
            workers: (0..).zip(workers).map(share).collect(),
            ..Default::default()
        };
        Outcome {
            server: Some(server),
            ..Outcome::default()
        }
    }

    fn options(scenario: Scenario) -> LoadOptions {
        let target = crate::load::options::Target {
            uri: String::new(),
            addresses: Vec::new(),
            host: String::new(),
            resource: String::new(),
            subprotocols: Vec::new(),
            tls_name: None,
            asking: crate::load::options::Asking::default(),
        };
        LoadOptions::new(target, scenario)
    }

    #[test]
    fn a_worker_that_does_the_work_of_all_takes_a_note() {
        let spread = |workers: &[(u64, u64, f64)]| {
            note_spread(&served(workers), &options(Scenario::Echo)).unwrap_or_default()
        };
        assert_eq!(spread(&[(52, 9000, 0.5), (48, 9000, 0.5)]), "");
        assert_eq!(spread(&[(4, 0, 0.5), (0, 0, 0.0)]), "", "too few to say");
        assert_eq!(spread(&[(100, 9000, 0.5)]), "", "there is no other");
        let note = spread(&[(5, 1000, 0.1), (95, 90_000, 0.9)]);
        assert!(
            note.starts_with("the connections are badly spread")
                && note.contains("worker 1 has 95 of them, worker 0 has 5"),
            "{note}"
        );
        let note = spread(&[(50, 168_000, 0.9), (50, 0, 0.0)]);
        assert!(
            note.starts_with("the connections that are active are badly spread")
                && note.contains("worker 0 has 168000 of them, worker 1 has 0"),
            "{note}"
        );
    }

    #[test]
    fn a_full_worker_beside_an_idle_one_is_not_a_full_server() {
        let note = |workers| note_full_workers(&served(workers));
        assert_eq!(note(&[(50, 9, 0.99), (50, 9, 0.97)]), None);
        assert_eq!(note(&[(50, 9, 0.5), (50, 9, 0.1)]), None);
        let note = note(&[(50, 9, 0.99), (50, 9, 0.03)]).expect("a note");
        assert!(
            note.starts_with(
                "1 of 2 workers of the server had no time left while worker 1 was 3 % busy"
            ),
            "{note}"
        );
    }
}
