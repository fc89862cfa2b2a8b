//! The bridge to a broker, one process beside the workers: starting, its figures, its end.
//!
//! Owns: the child, the read end of its pipe of figures, the write end of its standard input, when it is started again. Never: harms a
//! worker, or waits, but for its end when all workers are gone.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::options::{RespawnPolicy, WorkerCommand};
use super::policy::Deaths;
use super::seat::command_of;
use super::sys::{self, Waited};
use crate::bus::Segments;
use crate::seat::{Role, WorkerSeat};
use crate::stats::bridge::{Counters, RECORD_BYTES};
use crate::time::Instant;

/// Time that a bridge has to end: a second for what waits for the broker, and to come to it on a busy machine.
const END_TIME_MAX: Duration = Duration::from_secs(3);

/// Time that workers wait for the first bridge.
const START_TIME_MAX: Duration = Duration::from_secs(1);

/// The bridge, or the wait for the next one.
#[derive(Debug)]
pub(super) struct Bridge {
    policy: RespawnPolicy,
    deaths: Deaths,
    process: Option<Process>,
    /// When the next one is started, if there is none.
    due: Instant,
    figures: Figures,
}

#[derive(Debug)]
struct Process {
    /// Its standard input ends with this value.
    child: Child,
    stats: File,
    born: Instant,
}

/// What the pages and the table show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// `None`: the next one waits for its back-off.
    pub(super) pid: Option<u32>,
    /// Bridges that were started.
    pub(super) starts: u64,
    /// Counts of those that are gone.
    retired: Counters,
    /// Counts of the present one, as of its last record.
    current: Counters,
}

impl Figures {
    /// Totals since the supervisor started.
    pub(super) fn total(&self) -> Counters {
        self.current.after(&self.retired)
    }

    /// Bridges that replaced another one.
    #[cfg(feature = "pages")]
    pub(super) const fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }
}

impl Bridge {
    pub(super) fn new(policy: RespawnPolicy, now: Instant) -> Self {
        Self {
            policy,
            deaths: Deaths::default(),
            process: None,
            due: now,
            figures: Figures::default(),
        }
    }

    /// What to wait for.
    pub(super) fn waited(&self) -> Option<Waited> {
        let process = self.process.as_ref();
        process.map(|process| Waited::readable(&process.stats))
    }

    /// Waits until the bridge is on the bus, or for a second: workers do not depend on it.
    pub(super) fn wait_for_first_record(&self) {
        if let Some(waited) = self.waited() {
            sys::poll(&mut [waited], Some(START_TIME_MAX));
        }
    }

    /// When the next one is to be started.
    pub(super) fn due(&self) -> Option<Instant> {
        self.process.is_none().then_some(self.due)
    }

    pub(super) const fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Starts one. Call it on a thread that lives as long as the supervisor.
    ///
    /// # Errors
    /// A sentence for the user, when there is none.
    pub(super) fn start(
        &mut self,
        now: Instant,
        command: &WorkerCommand,
        bus: &Segments,
        config: &File,
    ) -> Result<(), io::Error> {
        match spawn(command, self.figures.starts, bus, config) {
            Ok((child, stats)) => {
                self.figures.pid = Some(child.id());
                self.figures.starts += 1;
                self.process = Some(Process {
                    child,
                    stats,
                    born: now,
                });
                Ok(())
            }
            Err(error) => {
                self.due = now + self.deaths.next_delay(self.policy);
                Err(error)
            }
        }
    }

    /// Reads its figures.
    pub(super) fn read(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        // A whole number of records, each of which was written at once.
        let mut bytes = [0; 64 * RECORD_BYTES];
        while let Ok(len @ 1..) = process.stats.read(&mut bytes) {
            if let Some(counters) = Counters::decode_last(&bytes[..len]) {
                self.figures.current = counters;
            }
        }
    }

    /// Reaps it if it has ended. Returns a sentence for the user.
    pub(super) fn reap(&mut self, now: Instant) -> Option<String> {
        let process = self.process.as_mut()?;
        let how = match process.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => format!("ended: {status}"),
            Err(_) => "is gone".to_owned(),
        };
        let (pid, born) = (process.child.id(), process.born);
        self.read();
        self.process = None;
        let Figures {
            pid: shown,
            retired,
            current,
            ..
        } = &mut self.figures;
        *shown = None;
        *retired = current.after(retired);
        *current = Counters::default();
        self.deaths.count(self.policy, born, now);
        let delay = self.deaths.next_delay(self.policy);
        self.due = now + delay;
        Some(format!(
            "the bridge to the backplane (pid {pid}) {how}; a new one starts in {} ms, and topics stay on this server until then",
            delay.as_millis()
        ))
    }

    /// Ends it, when all workers are gone: it publishes what they have said last.
    pub(super) fn end(mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        drop(process.child.stdin.take());
        let deadline = std::time::Instant::now() + END_TIME_MAX;
        while let Ok(None) = process.child.try_wait() {
            if std::time::Instant::now() >= deadline {
                // One that was stopped, or hangs.
                let _ = process.child.kill();
                let _ = process.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn spawn(
    command: &WorkerCommand,
    starts: u64,
    bus: &Segments,
    config: &File,
) -> io::Result<(Child, File)> {
    let (read, write) = sys::pipe()?;
    let bells = bus.ring_fds();
    let seat = WorkerSeat {
        role: Role::Bridge,
        fds: Vec::new(),
        cpuid: None,
        index: usize::try_from(starts).unwrap_or(usize::MAX),
        stats_fd: Some(write.as_raw_fd()),
        control_fd: None,
        board_fd: None,
        bus_fd: Some(bus.memory.as_raw_fd()),
        bell_fds: bells.clone(),
        tls_fd: None,
        config_fd: Some(config.as_raw_fd()),
    };
    let mut inherited = bells;
    inherited.extend([
        write.as_raw_fd(),
        bus.memory.as_raw_fd(),
        config.as_raw_fd(),
    ]);
    let mut process = command_of(command, &seat)?;
    process.stdin(Stdio::piped());
    sys::prepare_worker(&mut process, inherited);
    Ok((process.spawn()?, read))
}
