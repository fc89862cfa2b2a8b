//! One worker process: starting, reading its reports and answers, giving orders, reaping.
//!
//! Owns: the child, the read end of its stats pipe, and our end of its control channel. Only the owner of a [`Process`]
//! reaps the child and signals it, so a signal never reaches another process with the same pid. Never: decides or
//! waits.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::options::WorkerCommand;
use super::supervisor::Order;
use super::sys::{self, Waited};
use crate::control::{self, Answer, Channel, Undelivered};
use crate::seat::{Role, SEAT_VARIABLE, WorkerSeat};
use crate::stats::{Decoder, Record, RecordError};

/// Bytes read from one pipe at a time: the default size of a pipe (64 KiB). The limit keeps one worker's records from
/// delaying those of another.
const READ_LEN: usize = 64 << 10;

/// What a worker inherits.
#[derive(Clone, Debug)]
pub(super) struct Inheritance {
    pub(super) worker: usize,
    pub(super) cpu: Option<usize>,
    pub(super) listeners: Vec<RawFd>,
    pub(super) board: RawFd,
    pub(super) config: RawFd,
    pub(super) tls: Option<RawFd>,
    pub(super) bus: Option<RawFd>,
    pub(super) bells: Vec<RawFd>,
    /// What leads to the web process.
    pub(super) web: Option<RawFd>,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    child: Child,
    /// `None` when the pipe has ended.
    stats: Option<File>,
    decoder: Decoder,
    control: Channel,
}

impl Process {
    /// Starts a worker. Must be called on a thread that lives as long as the supervisor: the parent-death signal is
    /// bound to that thread. All descriptors are opened before the process is made, so that a failure leaves no process
    /// behind.
    pub(super) fn start(command: &WorkerCommand, inheritance: &Inheritance) -> io::Result<Self> {
        let (read, write) = sys::pipe()?;
        let (control, theirs) = Channel::pair()?;
        let child = spawn(command, inheritance, &write, &theirs)?;
        // The worker's ends are closed here. So when the worker dies, we read the end of both.
        Ok(Self {
            pid: child.id(),
            child,
            stats: Some(read),
            decoder: Decoder::new(),
            control,
        })
    }

    /// The descriptors to wait for.
    pub(super) fn waited(&self) -> impl Iterator<Item = Waited> + use<> {
        let stats = self.stats.as_ref().map(Waited::readable);
        stats
            .into_iter()
            .chain(self.control.socket().map(Waited::readable))
    }

    /// Reads the worker's answers.
    pub(super) fn hear(&mut self, tell: impl FnMut(Answer)) {
        let strange = self.control.strange();
        // Further answers are read in the next pass.
        self.control.receive(tell);
        let more = self.control.strange() - strange;
        if more > 0 {
            tracing::debug!(pid = self.pid, more, "answers that are none of ours");
        }
    }

    /// Reads records once from the pipe.
    pub(super) fn read(&mut self, mut tell: impl FnMut(Result<Record, RecordError>)) {
        let mut bytes = [0; READ_LEN];
        self.read_into(&mut bytes, &mut tell);
    }

    /// Reads the rest of the pipe of a worker that is gone. At most one pipe's size, in case another process holds the
    /// write end.
    pub(super) fn read_rest(&mut self, mut tell: impl FnMut(Result<Record, RecordError>)) {
        let mut bytes = [0; READ_LEN];
        for _ in 0..16 {
            if !self.read_into(&mut bytes, &mut tell) {
                break;
            }
        }
    }

    /// Reads once. Returns whether there may be more.
    fn read_into(
        &mut self,
        bytes: &mut [u8],
        tell: &mut impl FnMut(Result<Record, RecordError>),
    ) -> bool {
        let Some(stats) = &mut self.stats else {
            return false;
        };
        match stats.read(bytes) {
            Ok(len) if len > 0 => self.decoder.handle_input(&bytes[..len]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return false;
            }
            // The end of the pipe, or an error: no further records. The worker may still live.
            Ok(_) | Err(_) => {
                self.stats = None;
                return false;
            }
        }
        while let Some(item) = self.decoder.poll_record() {
            tell(item);
        }
        true
    }

    /// Reaps the worker if it has ended. Returns how it ended, if that is known.
    pub(super) fn try_reap(&mut self) -> Option<Option<ExitStatus>> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(Some(status)),
            // ECHILD: other code has reaped it, so it is gone.
            Err(_) => Some(None),
        }
    }

    /// Gives the worker new secrets of TLS, for connections to come.
    ///
    /// # Errors
    /// The control channel did not take them.
    pub(super) fn renew(&self, tls: RawFd) -> Result<(), Undelivered> {
        self.control.send_with(control::Order::Renew, &[tls])
    }

    /// Gives the worker an order. It must not be reaped yet. A process that has ended ignores it.
    ///
    /// # Errors
    /// The control channel did not take the order. The caller may send a signal.
    pub(super) fn obey(&mut self, order: Order) -> Result<(), Undelivered> {
        let _ = match order {
            Order::Drain => {
                self.control.send(control::Order::Drain)?;
                // SIGCONT, so that a stopped process can end in order (systemd does the same).
                sys::go_on(self.pid)
            }
            Order::Stop => {
                self.control.send(control::Order::Stop)?;
                sys::go_on(self.pid)
            }
            Order::Terminate => sys::terminate(self.pid).and_then(|()| sys::go_on(self.pid)),
            Order::Kill => self.child.kill(),
        };
        Ok(())
    }
}

fn spawn(
    command: &WorkerCommand,
    inheritance: &Inheritance,
    stats: &File,
    control: &OwnedFd,
) -> io::Result<Child> {
    let Inheritance {
        worker,
        cpu,
        board,
        config,
        tls,
        bus,
        web,
        ..
    } = *inheritance;
    let seat = WorkerSeat {
        role: Role::Worker,
        fds: inheritance.listeners.clone(),
        cpuid: cpu,
        index: worker,
        stats_fd: Some(stats.as_raw_fd()),
        control_fd: Some(control.as_raw_fd()),
        board_fd: Some(board),
        bus_fd: bus,
        bell_fds: inheritance.bells.clone(),
        tls_fd: tls,
        web_fd: web,
        config_fd: Some(config),
    };
    let mut process = command_of(command, &seat)?;
    let mut inherited = inheritance.listeners.clone();
    inherited.extend([stats.as_raw_fd(), control.as_raw_fd(), board, config]);
    inherited.extend(tls);
    inherited.extend(bus);
    inherited.extend(web);
    inherited.extend(&inheritance.bells);
    sys::prepare_worker(&mut process, inherited);
    process.spawn()
}

/// This program once more, on that seat.
pub(super) fn command_of(command: &WorkerCommand, seat: &WorkerSeat) -> io::Result<Command> {
    let mut process = Command::new("/proc/self/exe");
    process.arg0(&command.name).args(&command.arguments);
    process.env(SEAT_VARIABLE, seat.to_variable());
    // stdout carries only the supervisor's lines. A worker's output goes to stderr.
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    process
        .stdin(Stdio::null())
        .stdout(stderr)
        .stderr(Stdio::inherit());
    // Its own process group: Ctrl-C in a terminal reaches only the supervisor, which then gives the order once.
    process.process_group(0);
    Ok(process)
}
