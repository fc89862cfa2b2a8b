//! CPU time of processes, in nanoseconds.
//!
//! The POSIX CPU clock of a process gives the time of all its threads up to this instant, with ended threads and
//! io_uring's kernel workers. `/proc/PID/schedstat` counts the same nanoseconds, but a running thread only up to its last
//! tick or switch. `/proc/PID/stat` counts in ticks of 1 to 10 ms.

use std::io;
use std::time::Duration;

use crate::sys;

/// The CPU clock of one process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessClock {
    clock: libc::clockid_t,
}

impl ProcessClock {
    /// The clock of `pid`; an error when there is no such process.
    pub fn new(pid: i32) -> io::Result<Self> {
        sys::process_cpu_clock(pid).map(|clock| Self { clock })
    }

    /// CPU time so far.
    pub fn read(self) -> io::Result<Duration> {
        sys::clock(self.clock)
    }
}

/// The sum of the CPU times of `clocks`.
pub fn sum(clocks: &[ProcessClock]) -> io::Result<Duration> {
    clocks.iter().map(|clock| clock.read()).sum()
}

/// Voluntary and involuntary context switches of all threads of `pid` so far.
pub fn context_switches(pid: i32) -> (u64, u64) {
    let mut sum = (0, 0);
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return sum };
    for task in tasks.flatten() {
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        sum.0 += field("voluntary_ctxt_switches:");
        sum.1 += field("nonvoluntary_ctxt_switches:");
    }
    sum
}

/// How long the threads of `pid` were runnable and waited for a CPU. Above a few per cent of a window, another process
/// was using it. Zero on kernels without schedstat.
pub fn run_delay(pid: i32) -> Duration {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let of_task = |path: std::path::PathBuf| {
        let schedstat = std::fs::read_to_string(path.join("schedstat")).ok()?;
        schedstat.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.flatten().filter_map(|task| of_task(task.path())).sum())
}

/// Resident memory of `pid` in KiB.
pub fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_clock_of_this_process_follows_a_busy_loop() {
        let clock = ProcessClock::new(std::process::id() as i32).unwrap();
        let (cpu, wall) = (clock.read().unwrap(), Instant::now());
        while clock.read().unwrap() - cpu < Duration::from_millis(20) {
            assert!(wall.elapsed() < Duration::from_secs(20), "the clock does not move");
        }
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        // Above PID_MAX_LIMIT, 2^22: no such process can be.
        assert!(ProcessClock::new(1 << 23).is_err());
    }
}
