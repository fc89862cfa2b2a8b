//! Compares two readings of the same processes, at the ends of the window.
//!
//! Owns: the arithmetic, the definition of *saturated*, and the sentences about processes that started, ended or had to
//! wait.
//! Never: reads anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::find::Process;
use super::sample::Reading;
use crate::load::outcome;

/// Share of the window in which a saturated process ran, or was runnable and waited for its CPU. As in bench/README.md.
pub(super) const SATURATED: f64 = 0.95;

/// Share of the window that a process waited for a CPU, above which it was disturbed by others. As in bench/README.md.
const DISTURBED: f64 = 0.05;

/// The readings at one end of the window.
#[derive(Debug, Default)]
pub(super) struct Edge {
    pub(super) processes: BTreeMap<Process, Reading>,
    /// CPU time in ns of every process seen so far. For an ended process it is the last reading.
    pub(super) cpu_ns: BTreeMap<Process, u64>,
    pub(super) resident_bytes: BTreeMap<Process, u64>,
}

/// The server in the window: the differences of two readings.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) processes: Vec<outcome::Process>,
    pub(super) is_saturated: bool,
    pub(super) notes: Vec<String>,
}

/// Compares the readings at both ends of a window of length `wall`.
pub(super) fn compare(began: &Edge, ended: &Edge, wall: Duration) -> Window {
    let mut window = Window {
        processes: Vec::new(),
        is_saturated: false,
        notes: Vec::new(),
    };
    let nothing = Reading::default();
    let all: BTreeSet<&Process> = began.processes.keys().chain(ended.cpu_ns.keys()).collect();
    for process in all {
        let (first, last) = (began.processes.get(process), ended.processes.get(process));
        let was_there = began.cpu_ns.get(process);
        if first.is_none() && last.is_none() && was_there == ended.cpu_ns.get(process) {
            // The process ended before the window.
            continue;
        }
        let cpu_ns = ended.cpu_ns.get(process).copied().unwrap_or_default();
        let cpu =
            Duration::from_nanos(cpu_ns.saturating_sub(was_there.copied().unwrap_or_default()));
        let (before, after) = (
            first.unwrap_or(&nothing),
            last.or(first).unwrap_or(&nothing),
        );
        let waited = waited(before, after);
        let is_full = is_saturated(before, after, cpu + waited, wall);
        let row = outcome::Process {
            pid: process.pid,
            name: after.name.clone(),
            threads: after.threads.len() as u64,
            cpu_s: cpu.as_secs_f64(),
            utilisation: cpu.div_duration_f64(wall),
            saturated: is_full,
            waiting: waited.div_duration_f64(wall),
            context_switches: after
                .context_switches
                .saturating_sub(before.context_switches),
            resident_bytes: ended
                .resident_bytes
                .get(process)
                .copied()
                .unwrap_or_default(),
        };
        window.is_saturated |= is_full;
        window
            .notes
            .extend(note(&row, first.is_some(), last.is_some()));
        window.processes.push(row);
    }
    window
}

/// Whether a process had no time to spare: as many threads as it has CPUs were busy all the time, or one thread was, for
/// which the others then wait.
fn is_saturated(before: &Reading, after: &Reading, busy: Duration, wall: Duration) -> bool {
    let at_once = u32::try_from(after.threads.len().min(after.cpus)).unwrap_or(u32::MAX);
    let is_full = |busy: Duration, wall: Duration| busy.div_duration_f64(wall) >= SATURATED;
    let all = at_once > 0 && is_full(busy, wall * at_once);
    let mut threads = both(before, after);
    all || threads.any(|(before, after)| {
        let ran = after.0.saturating_sub(before.0) + after.1.saturating_sub(before.1);
        is_full(Duration::from_nanos(ran), wall)
    })
}

/// The times of the threads that existed at both ends.
fn both<'a>(
    before: &'a Reading,
    after: &'a Reading,
) -> impl Iterator<Item = ((u64, u64), (u64, u64))> + 'a {
    let pair = |(tid, times): (&i32, &(u64, u64))| Some((*before.threads.get(tid)?, *times));
    after.threads.iter().filter_map(pair)
}

/// How long its threads were ready to run while others had the CPU.
fn waited(before: &Reading, after: &Reading) -> Duration {
    let delays = after.threads.iter().map(|(tid, (_, delay))| {
        let earlier = before.threads.get(tid).map_or(0, |(_, delay)| *delay);
        delay.saturating_sub(earlier)
    });
    Duration::from_nanos(delays.sum())
}

fn note(row: &outcome::Process, was_there: bool, is_there: bool) -> Option<String> {
    let who = match row.name.as_str() {
        "" => format!("process {} of the server", row.pid),
        name => format!("process {} of the server ({name})", row.pid),
    };
    match (was_there, is_there) {
        (true, false) => Some(format!(
            "{who} ended during the measured window; its CPU time counts up to the last sample"
        )),
        (false, true) => Some(format!("{who} started during the measured window")),
        (false, false) => Some(format!(
            "{who} started and ended during the measured window"
        )),
        (true, true) if row.waiting > DISTURBED => Some(format!(
            "{who} waited {:.0} % of the window for a CPU that another process had: the figures are disturbed",
            row.waiting * 100.0
        )),
        (true, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(2);

    fn process(pid: i32) -> Process {
        Process { pid, started: 7 }
    }

    /// Threads as (run, delay) in milliseconds.
    fn reading(cpus: usize, threads: &[(u64, u64)]) -> Reading {
        let ns = |ms: u64| ms * 1_000_000;
        let row = |(tid, (run, delay)): (i32, &(u64, u64))| (tid, (ns(*run), ns(*delay)));
        Reading {
            name: "echo".to_owned(),
            cpus,
            threads: (1..).zip(threads).map(row).collect(),
            context_switches: 10 * threads.iter().map(|(run, _)| run).sum::<u64>(),
        }
    }

    /// An edge with processes from pid 10 on.
    fn edge(processes: &[Option<Reading>]) -> Edge {
        let mut edge = Edge::default();
        for (pid, reading) in (10..).zip(processes) {
            if let Some(reading) = reading {
                let cpu_ns = reading.threads.values().map(|(run, _)| run).sum();
                edge.cpu_ns.insert(process(pid), cpu_ns);
                edge.resident_bytes.insert(process(pid), 4096);
                edge.processes.insert(process(pid), reading.clone());
            }
        }
        edge
    }

    fn saturated(cpus: usize, began: &[(u64, u64)], ended: &[(u64, u64)]) -> bool {
        let (began, ended) = (
            edge(&[Some(reading(cpus, began))]),
            edge(&[Some(reading(cpus, ended))]),
        );
        compare(&began, &ended, WALL).is_saturated
    }

    #[test]
    fn differences_are_by_wall_time() {
        let began = edge(&[Some(reading(4, &[(1000, 10)]))]);
        let ended = edge(&[Some(reading(4, &[(2500, 90), (100, 0)]))]);
        let window = compare(&began, &ended, WALL);
        let row = &window.processes[0];
        assert_eq!((row.pid, row.name.as_str(), row.threads), (10, "echo", 2));
        assert!((row.cpu_s - 1.6).abs() < 1e-9 && (row.utilisation - 0.8).abs() < 1e-9);
        assert!((row.waiting - 0.04).abs() < 1e-9);
        assert_eq!((row.context_switches, row.resident_bytes), (16_000, 4096));
        assert_eq!((window.is_saturated, window.notes), (false, vec![]));
    }

    #[test]
    fn a_thread_that_ran_or_waited_nearly_all_the_time_saturates_the_server() {
        assert!(saturated(1, &[(0, 0)], &[(1900, 0)]));
        assert!(saturated(1, &[(0, 0)], &[(1500, 450)]));
        assert!(!saturated(1, &[(0, 0)], &[(1800, 50)]));
        // One hot thread of many, as of a runtime with a single event loop.
        assert!(saturated(8, &[(0, 0), (0, 0)], &[(1950, 0), (10, 0)]));
        // Two CPUs are full, whichever of the four threads they ran.
        assert!(saturated(2, &[(0, 0); 4], &[(1000, 0); 4]));
        assert!(!saturated(4, &[(0, 0); 4], &[(1000, 0); 4]));
    }

    #[test]
    fn processes_that_come_and_go_are_noted_and_their_time_counts() {
        let gone = reading(1, &[(1000, 0)]);
        let began = edge(&[Some(gone), None]);
        let mut ended = edge(&[None, Some(reading(1, &[(300, 0)]))]);
        ended.cpu_ns.insert(process(10), 1_500_000_000);
        let window = compare(&began, &ended, WALL);
        let times: Vec<_> = window
            .processes
            .iter()
            .map(|row| (row.pid, row.cpu_s))
            .collect();
        assert_eq!(times, [(10, 0.5), (11, 0.3)]);
        assert_eq!(
            window.notes,
            [
                "process 10 of the server (echo) ended during the measured window; its CPU time counts up to the last sample",
                "process 11 of the server (echo) started during the measured window",
            ]
        );
    }

    #[test]
    fn a_process_that_ended_before_the_window_is_no_part_of_it() {
        let mut began = edge(&[]);
        began.cpu_ns.insert(process(10), 5);
        let mut ended = edge(&[]);
        ended.cpu_ns.insert(process(10), 5);
        assert!(compare(&began, &ended, WALL).processes.is_empty());
    }

    #[test]
    fn waiting_for_a_core_is_worth_a_note() {
        let began = edge(&[Some(reading(1, &[(0, 0)]))]);
        let ended = edge(&[Some(reading(1, &[(1000, 200)]))]);
        let notes = compare(&began, &ended, WALL).notes;
        assert_eq!(
            notes,
            [
                "process 10 of the server (echo) waited 10 % of the window for a CPU that another process had: the figures are disturbed"
            ]
        );
    }
}
