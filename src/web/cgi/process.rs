//! The processes of CGI programs: how they begin and how they end.
//!
//! ```text
//!  body ──▶ standard input ──▶ program ──▶ standard output ──▶ Output, the answer
//!                                │  └────▶ standard error ───▶ the log
//!                                └─ tended until it is reaped and its group is empty
//! ```
//!
//! Owns: each process from its start until then. Never: knows what a byte means.
//!
//! An [`Output`] that is dropped before its end says that nobody wants the rest: the program gets the ladder. After its end the program
//! has [`Limits::patience`] to exit by itself.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::stderr::Log;

/// How often it is looked whether a group is empty whose first process has ended.
const GROUP_LOOK: Duration = Duration::from_millis(10);

/// Time for what is left when the server ends: the supervisor gives the web process longer than twice this.
const LAST_WAIT: Duration = Duration::from_millis(900);

/// Limits of processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many run at a time.
    pub(super) processes_max: usize,
    /// From the end of an input that nobody reads any more to SIGINT, from there to SIGTERM, from there to SIGKILL.
    pub(super) kill_after: [Duration; 3],
    /// Time to exit after the end of the output.
    pub(super) patience: Duration,
}

/// All processes.
#[derive(Debug)]
pub(super) struct Processes {
    room: Arc<Semaphore>,
    limits: Limits,
    /// Process groups that may have members.
    groups: Mutex<HashSet<Pid>>,
}

/// A process that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) stdin: ChildStdin,
    pub(super) output: Output,
}

/// What is known of the session of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its output is read.
    Open,
    /// Its output has ended.
    Ended,
    /// Nobody wants it any more.
    Unwanted,
}

impl Processes {
    pub(super) fn new(limits: Limits) -> Self {
        let room = limits.processes_max.min(Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(room)),
            limits,
            groups: Mutex::default(),
        }
    }

    /// Room for one more. `None`: there are enough.
    pub(super) fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// Starts a program in its own directory (RFC 3875 §7.2), with this environment and nothing else of ours.
    pub(super) fn start(
        self: &Arc<Self>,
        file: &Path,
        environment: Vec<(OsString, OsString)>,
        room: OwnedSemaphorePermit,
    ) -> io::Result<Running> {
        let mut command = Command::new(file);
        command
            .env_clear()
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(directory) = file.parent() {
            command.current_dir(directory);
        }
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        let (Some(group), Some(stdin), Some(stdout), Some(stderr)) = (
            group.and_then(Pid::from_raw),
            child.stdin.take(),
            child.stdout.take(),
            child.stderr.take(),
        ) else {
            unreachable!("nobody has waited for it or taken them")
        };
        lock(&self.groups).insert(group);
        let name: Arc<str> = file.display().to_string().into();
        let log = Log::begin(stderr, Arc::clone(&name), group.as_raw_pid());
        let stage = Arc::new(watch::Sender::new(Stage::Open));
        let process = Process {
            child,
            group,
            name,
            stage: stage.subscribe(),
        };
        tokio::spawn(Arc::clone(self).tend(process, log, room));
        let output = Output {
            stdout,
            stage,
            feeder: None,
        };
        Ok(Running { stdin, output })
    }

    async fn tend(self: Arc<Self>, mut process: Process, log: Log, room: OwnedSemaphorePermit) {
        let next = process.await_end(&self.limits).await;
        let group = process.group;
        empty_group(group, steps(&self.limits), next).await;
        lock(&self.groups).remove(&group);
        drop(room);
        log.end().await;
    }

    /// The server ends: so do all programs. Those that nobody wants any more have the time of their ladder, up to [`LAST_WAIT`].
    pub(super) async fn end(&self) {
        let is_over = async {
            while !lock(&self.groups).is_empty() {
                sleep(GROUP_LOOK).await;
            }
        };
        let mut is_over = std::pin::pin!(is_over);
        let ladder = self.limits.kill_after.iter().sum::<Duration>();
        if timeout(ladder.min(LAST_WAIT), is_over.as_mut())
            .await
            .is_ok()
        {
            return;
        }
        for group in lock(&self.groups).iter() {
            let _ = kill_process_group(*group, Signal::KILL);
        }
        if timeout(LAST_WAIT, is_over).await.is_err() {
            tracing::error!("CGI programs of a server that ends could not be killed");
        }
    }
}

/// What a program writes. Reading ends when it has closed its output.
#[derive(Debug)]
pub(super) struct Output {
    stdout: ChildStdout,
    stage: Arc<watch::Sender<Stage>>,
    /// What feeds the input.
    feeder: Option<AbortHandle>,
}

impl Output {
    /// What feeds the input as long as somebody reads the output.
    pub(super) fn fed_by(&mut self, feeder: AbortHandle) {
        self.feeder = Some(feeder);
    }

    /// Lets others say that nobody wants the rest.
    pub(super) fn breaker(&self) -> Breaker {
        Breaker(Arc::clone(&self.stage))
    }

    /// Reads to the end of what nobody wants to see, within `patience` from one piece to the next.
    pub(super) async fn drain(mut self, patience: Duration) {
        let mut piece = vec![0; 4096];
        while let Ok(Ok(1..)) = timeout(patience, self.read(&mut piece)).await {}
    }
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stdout).poll_read(context, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            advance(&self.stage, Stage::Ended);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(feeder) = &self.feeder {
            feeder.abort();
        }
        if *self.stage.borrow() == Stage::Open {
            advance(&self.stage, Stage::Unwanted);
        }
    }
}

/// Says that nobody wants a program any more.
#[derive(Debug)]
pub(super) struct Breaker(Arc<watch::Sender<Stage>>);

impl Breaker {
    pub(super) fn break_off(&self) {
        advance(&self.0, Stage::Unwanted);
    }
}

fn advance(stage: &watch::Sender<Stage>, to: Stage) {
    stage.send_if_modified(|stage| std::mem::replace(stage, to) != to);
}

struct Process {
    child: Child,
    group: Pid,
    name: Arc<str>,
    stage: watch::Receiver<Stage>,
}

impl Process {
    /// Waits until the process has ended by itself, or by the ladder. Returns which step of it is next for the rest of its group.
    async fn await_end(&mut self, limits: &Limits) -> usize {
        let mut steps = steps(limits).into_iter().enumerate();
        let mut next = 0;
        let status = tokio::select! {
            status = self.child.wait() => status,
            () = until_over(&mut self.stage, limits.patience) => loop {
                let Some((at, (after, signal))) = steps.next() else {
                    break self.child.wait().await;
                };
                if let Ok(status) = timeout(after, self.child.wait()).await {
                    break status;
                }
                let _ = kill_process_group(self.group, signal);
                next = at + 1;
            },
        };
        match status {
            Ok(status) if next == 0 && !status.success() => {
                let (name, pid) = (&self.name, self.group.as_raw_pid());
                tracing::warn!("{name}, process {pid}, has ended: {status}");
            }
            Ok(_) => {}
            Err(error) => tracing::error!("a CGI program cannot be waited for: {error}"),
        }
        next
    }
}

/// Waits until a process that goes on is to be ended.
async fn until_over(stage: &mut watch::Receiver<Stage>, patience: Duration) {
    // An error says that nobody can say any more.
    let now = stage.wait_for(|stage| *stage != Stage::Open).await;
    let now = now.map_or(Stage::Unwanted, |stage| *stage);
    if now == Stage::Ended {
        let unwanted = stage.wait_for(|stage| *stage == Stage::Unwanted);
        let told = async {
            if unwanted.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let _ = timeout(patience, told).await;
    }
}

fn steps(limits: &Limits) -> [(Duration, Signal); 3] {
    let [interrupt, terminate, kill] = limits.kill_after;
    [
        (interrupt, Signal::INT),
        (terminate, Signal::TERM),
        (kill, Signal::KILL),
    ]
}

/// Goes on with the ladder for what is left of a group whose first process is reaped. The number of a group is not given to a new process
/// while the group has members; that it would be empty, and all numbers used up, between a look and a signal takes longer than
/// these few steps.
async fn empty_group(group: Pid, steps: [(Duration, Signal); 3], next: usize) {
    for (after, signal) in steps.into_iter().skip(next) {
        let began = Instant::now();
        loop {
            if test_kill_process_group(group).is_err() {
                return;
            }
            let left = after.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            sleep(left.min(GROUP_LOOK)).await;
        }
        let _ = kill_process_group(group, signal);
    }
    while test_kill_process_group(group).is_ok() {
        sleep(GROUP_LOOK).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
