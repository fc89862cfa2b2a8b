//! One process beside the workers, the bridge to a broker or the web process: starting, its figures, its end.
//!
//! Owns: the child, the read end of its pipe of figures, the write end of its standard input, when it is started again. Never: harms a
//! worker, or waits, but for its end when all workers are gone.
//!
//! Its standard input tells it to finish: a byte says that the server stops, the end that all workers are gone.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::options::{RespawnPolicy, WorkerCommand};
use super::policy::Deaths;
use super::seat::command_of;
use super::sys::{self, Waited};
use crate::seat::WorkerSeat;
use crate::stats::sidecar::Totals;
use crate::time::Instant;

/// Time that it has to end: a second for what waits for the broker, and to come to it on a busy machine.
const END_TIME_MAX: Duration = Duration::from_secs(3);

/// Time that workers wait for the first one.
const START_TIME_MAX: Duration = Duration::from_secs(1);

/// The process, or the wait for the next one.
#[derive(Debug)]
pub(super) struct Sidecar<C> {
    policy: RespawnPolicy,
    deaths: Deaths,
    process: Option<Process>,
    /// When the next one is started, if there is none.
    due: Instant,
    figures: Figures<C>,
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
pub(super) struct Figures<C> {
    /// `None`: the next one waits for its back-off.
    pub(super) pid: Option<u32>,
    /// Processes that were started.
    pub(super) starts: u64,
    /// Counts of those that are gone.
    retired: C,
    /// Counts of the present one, as of its last record.
    current: C,
}

impl<C: Totals> Figures<C> {
    /// Totals since the supervisor started.
    pub(super) fn total(&self) -> C {
        self.current.after(&self.retired)
    }

    /// Processes that replaced another one.
    #[cfg(feature = "pages")]
    pub(super) const fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }
}

impl<C: Totals> Sidecar<C> {
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

    /// Waits until it works, or for a second: workers do not depend on it.
    pub(super) fn wait_for_first_record(&self) {
        if let Some(waited) = self.waited() {
            sys::poll(&mut [waited], Some(START_TIME_MAX));
        }
    }

    /// When the next one is to be started.
    pub(super) fn due(&self) -> Option<Instant> {
        self.process.is_none().then_some(self.due)
    }

    pub(super) const fn figures(&self) -> &Figures<C> {
        &self.figures
    }

    /// Starts one on a seat, of which the index and the pipe of figures are filled in here. It inherits the descriptors in `inherited`. Call
    /// it on a thread that lives as long as the supervisor.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn start(
        &mut self,
        now: Instant,
        command: &WorkerCommand,
        seat: WorkerSeat,
        inherited: Vec<RawFd>,
    ) -> Result<(), io::Error> {
        let index = usize::try_from(self.figures.starts).unwrap_or(usize::MAX);
        match spawn(command, WorkerSeat { index, ..seat }, inherited) {
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
        let mut bytes = vec![0; 64 * C::record_bytes()];
        while let Ok(len @ 1..) = process.stats.read(&mut bytes) {
            if let Some(counters) = C::decode_last(&bytes[..len]) {
                self.figures.current = counters;
            }
        }
    }

    /// Reaps it if it has ended. Returns the middle of a sentence for the user: how it ended, and when the next one comes.
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
        *current = C::default();
        self.deaths.count(self.policy, born, now);
        let delay = self.deaths.next_delay(self.policy);
        self.due = now + delay;
        Some(format!(
            "(pid {pid}) {how}; a new one starts in {} ms",
            delay.as_millis()
        ))
    }

    /// Tells it that the server stops.
    pub(super) fn drain(&mut self) {
        if let Some(stdin) = self
            .process
            .as_mut()
            .and_then(|process| process.child.stdin.as_mut())
        {
            // Fails only when it is gone.
            let _ = stdin.write_all(b".");
        }
    }

    /// Ends it, when all workers are gone.
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
    seat: WorkerSeat,
    mut inherited: Vec<RawFd>,
) -> io::Result<(Child, File)> {
    let (read, write) = sys::pipe()?;
    let seat = WorkerSeat {
        stats_fd: Some(write.as_raw_fd()),
        ..seat
    };
    inherited.push(write.as_raw_fd());
    let mut process = command_of(command, &seat)?;
    process.stdin(Stdio::piped());
    sys::prepare_worker(&mut process, inherited);
    Ok((process.spawn()?, read))
}
