//! What the figures of a run allow to be said, and what not: saturation, and the notes of the result.

use super::collected::Collected;
use super::options::{LoadOptions, Scenario};
use super::outcome::{Outcome, Thread};
use super::thread::Figures;

/// A thread that ran, or waited for its CPU, for more than this part of the window had no time left.
const SATURATED: f64 = 0.97;

/// A thread that waited for its CPU for more than this part of the window was robbed of it.
const ROBBED: f64 = 0.10;

/// The driver was later than this at the 99th percentile: a reader has to know.
const LATE_NS: u64 = 1_000_000;

/// Below this window the ticks and the reading of clocks themselves count.
const SHORT_S: f64 = 0.5;

/// Sets who was saturated and adds the notes.
pub(super) fn judge(
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
    let server_is = outcome.server_saturated == Some(true);
    let mut notes = Vec::new();
    notes.extend(note_driver(&full, outcome.driver.len(), server_is));
    // Where the server has no time left either, the rate is the server's.
    outcome.driver_saturated = !full.is_empty() && !server_is;
    notes.extend(note_shared_cpus(outcome));
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
    notes.extend(note_echo(outcome, options));
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

fn is_full(thread: &Thread) -> bool {
    thread.utilisation + thread.waiting.unwrap_or(0.0) > SATURATED
}

/// Threads without time: because they were busy, or because another had their CPU.
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

/// A driver thread and a server process that are pinned to the same CPU measure each other.
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

/// The CPU that a process is pinned to, if it is one.
fn only_cpu(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().parse().ok()
}

/// A server that sends a message to nobody but its sender has other figures than a broadcast.
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
}
