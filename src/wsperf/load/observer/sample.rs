//! The resources that one process has used so far.
//!
//! Owns: which file or clock each figure comes from. Never: keeps a descriptor open, or fails: an ended process has no
//! figures.
//!
//! CPU time comes from the process's POSIX CPU clock: nanoseconds of all its threads as the scheduler counts them, up to
//! this instant, with ended threads and io_uring's kernel workers. `/proc/PID/schedstat` counts the same, but a running
//! thread only up to its last tick or switch. `/proc/PID/stat` counts in ticks of 1 to 10 ms.

use std::collections::BTreeMap;
use std::fs;

use super::find::{self, Process};
use super::procfs;
use crate::io::sys::{self, CpuClock};

/// Prefix of io_uring's kernel threads in a process. They are not threads of the program.
const KERNEL_WORKER: &str = "iou-";

/// The CPU clock of one process, and its last reading.
#[derive(Debug)]
pub(super) struct Clock {
    clock: CpuClock,
    last_ns: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alive,
    /// The last reading found that the process has ended; the one before found it alive.
    JustEnded,
    Ended,
}

impl Clock {
    /// None when the process has ended.
    pub(super) fn new(process: Process) -> Option<Self> {
        let clock = sys::process_cpu_clock(process.pid).ok()?;
        let mut clock = Self {
            clock,
            last_ns: 0,
            state: State::Alive,
        };
        clock.read();
        // The pid may belong to another process since the search.
        clock.is_alive_as(process).then_some(clock)
    }

    /// CPU time in ns. For an ended process it is the last reading.
    pub(super) fn read(&mut self) -> u64 {
        self.state = match (self.state, sys::cpu_clock_ns(self.clock)) {
            (State::Alive, Ok(ns)) => {
                self.last_ns = ns.max(self.last_ns);
                State::Alive
            }
            (State::Alive, Err(_)) => State::JustEnded,
            _ => State::Ended,
        };
        self.last_ns
    }

    /// The last reading.
    pub(super) const fn last_ns(&self) -> u64 {
        self.last_ns
    }

    pub(super) fn is_alive(&self) -> bool {
        self.state == State::Alive
    }

    pub(super) fn has_just_ended(&self) -> bool {
        self.state == State::JustEnded
    }

    fn is_alive_as(&self, process: Process) -> bool {
        self.is_alive()
            && find::stat(process.pid).is_some_and(|stat| stat.started == process.started)
    }
}

/// The figures of one process besides CPU time and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) name: String,
    /// CPUs it may run on.
    pub(super) cpus: usize,
    /// Run time and run delay of each thread in ns, without kernel threads.
    pub(super) threads: BTreeMap<i32, (u64, u64)>,
    /// Voluntary and involuntary context switches.
    pub(super) context_switches: u64,
}

impl Reading {
    /// None when the process has ended.
    pub(super) fn of(process: Process) -> Option<Self> {
        let stat = find::stat(process.pid)?;
        if stat.started != process.started {
            return None;
        }
        let status = read(process.pid, "status")?;
        let mut reading = Self {
            name: stat.name,
            cpus: procfs::field(&status, "Cpus_allowed_list").and_then(procfs::cpus)?,
            ..Self::default()
        };
        let tasks = fs::read_dir(format!("/proc/{}/task", process.pid)).ok()?;
        let tids = tasks
            .flatten()
            .filter_map(|task| task.file_name().to_str()?.parse().ok());
        tids.for_each(|tid| reading.add_thread(process.pid, tid));
        (!reading.threads.is_empty()).then_some(reading)
    }

    fn add_thread(&mut self, pid: i32, tid: i32) {
        let Some(status) = read(pid, &format!("task/{tid}/status")) else {
            return;
        };
        if procfs::field(&status, "Name").is_some_and(|name| name.starts_with(KERNEL_WORKER)) {
            return;
        }
        self.context_switches += procfs::count(&status, "voluntary_ctxt_switches")
            + procfs::count(&status, "nonvoluntary_ctxt_switches");
        // Without schedstat in the kernel the delay is not known.
        let times = read(pid, &format!("task/{tid}/schedstat"));
        let times = times
            .and_then(|text| procfs::schedstat(&text))
            .unwrap_or_default();
        self.threads.insert(tid, times);
    }
}

/// Resident memory: the proportional set size (PSS) where it is readable, otherwise all resident pages.
pub(super) fn resident_bytes(pid: i32) -> Option<u64> {
    let share = read(pid, "smaps_rollup").and_then(|text| procfs::kib(&text, "Pss"));
    share.or_else(|| read(pid, "status").and_then(|text| procfs::kib(&text, "VmRSS")))
}

/// Kernel memory of all TCP sockets on this machine.
pub(super) fn kernel_tcp_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    procfs::tcp_pages(&text)?.checked_mul(sys::page_bytes())
}

fn read(pid: i32, file: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
    // The name of a process may hold any bytes.
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn this_process() -> Process {
        let pid = i32::try_from(std::process::id()).expect("pids are positive");
        let started = find::stat(pid).expect("it runs").started;
        Process { pid, started }
    }

    #[test]
    fn the_clock_of_this_process_follows_a_busy_loop() {
        let mut clock = Clock::new(this_process()).expect("it runs");
        let (first, wall) = (clock.read(), Instant::now());
        while clock.read() < first + 20_000_000 {
            assert!(wall.elapsed() < Duration::from_secs(20), "the clock stands");
        }
        let reading = Reading::of(this_process()).expect("it runs");
        assert!(reading.cpus >= 1 && !reading.name.is_empty());
        assert!(reading.threads.values().any(|(run, _)| *run > 0));
        assert!(resident_bytes(this_process().pid).expect("it runs") > 1 << 16);
    }

    #[test]
    fn a_pid_that_passed_on_to_another_process_is_not_the_same() {
        let mut earlier = this_process();
        earlier.started -= 1;
        assert!(Clock::new(earlier).is_none());
        assert!(Reading::of(earlier).is_none());
    }

    #[test]
    fn a_process_that_ended_keeps_what_it_used() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let pid = i32::try_from(child.id()).expect("pids are positive");
        let started = find::stat(pid).expect("it runs").started;
        let mut clock = Clock::new(Process { pid, started }).expect("it runs");
        let used = clock.read();
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert_eq!(clock.read(), clock.last_ns());
        assert!(clock.last_ns() >= used && clock.has_just_ended() && !clock.is_alive());
        clock.read();
        assert!(!clock.has_just_ended());
    }

    #[test]
    fn the_kernel_says_how_much_memory_tcp_has() {
        assert!(kernel_tcp_bytes().is_some());
    }
}
