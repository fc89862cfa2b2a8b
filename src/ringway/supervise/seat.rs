//! One worker process: how it is started, and the task that attends it until it is reaped.
//!
//! Owns: the child and the read end of its stats pipe. Only this task reaps the child, and only this task signals it,
//! so a signal can never reach a stranger with the same pid. Never: decides anything; it reports events.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::options::WorkerCommand;
use super::sys;
use crate::seat::{SEAT_VARIABLE, WorkerSeat};
use crate::stats::{Decoder, Record, RecordError};

/// What a worker is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inheritance {
    pub(super) worker: usize,
    pub(super) cpu: Option<usize>,
    pub(super) listener: RawFd,
    pub(super) board: RawFd,
    pub(super) config: RawFd,
}

/// What the task of a seat tells.
#[derive(Debug)]
pub(super) enum News {
    Record(Box<Record>),
    BadRecord(RecordError),
    /// The process is gone and reaped; its last records came before. The status is unknown if waiting failed.
    Exited(Option<ExitStatus>),
}

/// What the task of a seat is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
}

/// The handle of a running worker.
#[derive(Debug)]
pub(super) struct Attendant {
    pub(super) pid: u32,
    orders: UnboundedSender<Order>,
}

impl Attendant {
    /// Signals the worker; one that is gone already does not mind.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

/// Starts a worker and the task that attends it. `tell` hands its news on.
pub(super) fn start(
    command: &WorkerCommand,
    inheritance: Inheritance,
    tell: impl Fn(News) + Send + 'static,
) -> io::Result<Attendant> {
    let (read, write) = sys::pipe()?;
    let child = spawn(command, inheritance, &write)?;
    drop(write); // so that the worker's death is the end of the stream
    let stream = pipe::Receiver::from_owned_fd(OwnedFd::from(read))?;
    let pid = child
        .id()
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let (orders, inbox) = unbounded_channel();
    tokio::spawn(attend(child, stream, inbox, tell));
    Ok(Attendant { pid, orders })
}

/// Must be called on the thread that lives as long as the supervisor: the parent-death signal is bound to it.
fn spawn(command: &WorkerCommand, inheritance: Inheritance, stats: &File) -> io::Result<Child> {
    let Inheritance {
        worker,
        cpu,
        listener,
        board,
        config,
    } = inheritance;
    let mut process = std::process::Command::new("/proc/self/exe");
    process.arg0(&command.name).args(&command.arguments);
    let seat = WorkerSeat {
        fd: listener,
        cpuid: cpu,
        index: worker,
        stats_fd: Some(stats.as_raw_fd()),
        board_fd: Some(board),
        config_fd: Some(config),
    };
    process.env(SEAT_VARIABLE, seat.to_variable());
    // stdout carries the supervisor's lines and nothing else: what a worker prints goes to stderr.
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    process
        .stdin(Stdio::null())
        .stdout(stderr)
        .stderr(Stdio::inherit());
    // A group of its own: Ctrl-C in a terminal reaches the supervisor, which then tells the workers once.
    process.process_group(0);
    sys::prepare_worker(
        &mut process,
        vec![listener, stats.as_raw_fd(), board, config],
    );
    tokio::process::Command::from(process).spawn()
}

async fn attend(
    mut child: Child,
    mut stream: pipe::Receiver,
    mut orders: UnboundedReceiver<Order>,
    tell: impl Fn(News),
) {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(len) => decoder.handle_input(&buffer[..len]),
            },
            Some(order) = orders.recv() => obey(&mut child, order),
        }
        while let Some(item) = decoder.poll_record() {
            tell(match item {
                Ok(record) => News::Record(Box::new(record)),
                Err(error) => News::BadRecord(error),
            });
        }
    }
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            Some(order) = orders.recv() => obey(&mut child, order),
        }
    };
    tell(News::Exited(status.ok()));
}

fn obey(child: &mut Child, order: Order) {
    // `id` is `None` once the child was reaped: the pid may belong to someone else then.
    let Some(pid) = child.id() else { return };
    let _ = match order {
        Order::Kill => child.start_kill(),
        Order::Terminate => sys::terminate(pid),
    };
}
