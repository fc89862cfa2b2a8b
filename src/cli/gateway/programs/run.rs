//! Processes beside a worker: how they begin and how they end.
//!
//! ```text
//!              ┌── near ──▶ the worker, as the stream of the session
//!  socket pair ┤
//!              └── far ───▶ standard input and output of the program, and kept here until the session has its end
//! ```
//!
//! Owns: each process from its start until it is reaped and its group is empty. Never: sees a byte of a stream.
//!
//! The program's end is the session's end: then `far` is shut down for writing, so that the worker reads what the program has written
//! and the end behind it, whoever else still holds the descriptor. `far` stays open until then: a closed one would break the stream off
//! where the client still sends, and what the program has said last would be lost.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use ringway::io::sys;
use ringway::services::gateway::{
    Found, KillLadder, Partner, ProgramOptions, Refusal, Stderr, Why,
};
use ringway::{CloseCode, Handed, Onward};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::{Program, environment};

/// Bytes of a line of standard error in the log. The rest of it is left out.
const LOGGED_BYTES_MAX: usize = 4096;

/// Time to read what is left of the standard error.
const LOG_REST: Duration = Duration::from_secs(1);

/// How often it is looked whether a group is empty whose first process has ended.
const GROUP_LOOK: Duration = Duration::from_millis(10);

/// The programs of a worker.
pub(in crate::gateway) struct Programs {
    room: Arc<Semaphore>,
    stderr: Stderr,
    ladder: KillLadder,
    /// Process groups that may have members.
    groups: Mutex<HashSet<u32>>,
    /// What programs would inherit of a worker: its CPU, its descriptors, and the signals that it ignores.
    is_free: Once,
}

impl Programs {
    pub(super) fn new(options: &ProgramOptions) -> Self {
        let room = usize::try_from(options.forks_max).unwrap_or(usize::MAX);
        Self {
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            stderr: options.stderr,
            ladder: options.kill_after,
            groups: Mutex::default(),
            is_free: Once::new(),
        }
    }

    /// Starts a program, on the thread beside the worker.
    ///
    /// # Errors
    /// There are enough, or it does not start.
    pub(in crate::gateway) fn start(
        self: &Arc<Self>,
        program: Program,
        user: Option<&str>,
    ) -> Result<Found, Refusal> {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            let sentence = "as many programs run as may: try again later";
            return Err(Refusal::new(Why::TooMany, 503, sentence));
        };
        self.is_free.call_once(|| {
            sys::handle_ignored_signals();
            if let Err(error) = sys::hold_descriptors_back() {
                tracing::error!("programs get descriptors of their worker: {error}");
            }
            if let Err(error) = sys::run_where(std::os::unix::process::parent_id()) {
                tracing::warn!("programs run on the CPU of their worker only: {error}");
            }
        });
        let name: Arc<str> = program.label.as_str().into();
        let (near, far, mut child) =
            spawn(program, user, self.stderr).map_err(|error| refusal(&name, &error))?;
        let Some(group) = child.id() else {
            unreachable!("nobody has waited for it")
        };
        lock(&self.groups).insert(group);
        let stderr = child.stderr.take();
        let log = stderr.map(|stderr| tokio::spawn(log(stderr, Arc::clone(&name), group)));
        let session = Arc::new(Session {
            stage: watch::Sender::new(Stage::Begun),
            status: Mutex::default(),
        });
        let process = Process {
            child,
            group,
            ladder: self.ladder,
            session: Arc::clone(&session),
        };
        let tended = Arc::clone(self).tend(process, far, place);
        tokio::spawn(async move {
            tended.await;
            // A daemon that has left the group may hold it for ever.
            if let Some(mut log) = log
                && timeout(LOG_REST, &mut log).await.is_err()
            {
                log.abort();
            }
        });
        Ok(Found {
            target: Onward::Handed(Handed::new(near.into())),
            partner: Some(Arc::new(Seat(session))),
            name,
            user: user.map(Into::into),
            token: None,
        })
    }

    async fn tend(
        self: Arc<Self>,
        mut process: Process,
        far: UnixStream,
        place: OwnedSemaphorePermit,
    ) {
        let step = process.await_end().await;
        let group = process.group;
        // What it has written is read before the end; and nobody else of its group can add to it.
        let _ = far.shutdown(Shutdown::Write);
        let mut stage = process.session.stage.subscribe();
        let told = async {
            // It ends when the session has: a worker that is gone has dropped its side.
            until_over(&mut stage).await;
            drop(far);
        };
        let emptied = async {
            empty_group(group, &self.ladder, step).await;
            lock(&self.groups).remove(&group);
            drop(place);
        };
        tokio::join!(told, emptied);
    }

    /// The worker ends: so do all programs. Those that were told before have had the time of their ladder, as far as the drain had it.
    pub(in crate::gateway) fn end(&self) {
        let is_over = |patience: Duration| {
            let began = std::time::Instant::now();
            while !lock(&self.groups).is_empty() {
                if began.elapsed() > patience {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            true
        };
        if is_over(self.ladder.whole().min(LAST_WAIT)) {
            return;
        }
        for group in lock(&self.groups).iter() {
            sys::signal_group(*group, libc::SIGKILL);
        }
        if !is_over(LAST_WAIT) {
            tracing::error!("programs of a worker that ends could not be killed");
        }
    }
}

/// The supervisor gives a worker longer than this behind its drain.
const LAST_WAIT: Duration = Duration::from_millis(900);

fn spawn(
    program: Program,
    user: Option<&str>,
    stderr: Stderr,
) -> std::io::Result<(UnixStream, UnixStream, Child)> {
    let (near, far) = UnixStream::pair()?;
    let end = || Ok::<_, std::io::Error>(Stdio::from(OwnedFd::from(far.try_clone()?)));
    let mut command = Command::new(&program.path);
    command
        .args(program.arguments)
        .env_clear()
        .envs(program.environment)
        .envs(environment::of_user(user))
        .stdin(end()?)
        .stdout(end()?)
        .stderr(match stderr {
            Stderr::Log => Stdio::piped(),
            Stderr::Client => end()?,
            Stderr::Discard => Stdio::null(),
        })
        .process_group(0);
    let child = command.spawn()?;
    Ok((near, far, child))
}

fn refusal(name: &str, error: &std::io::Error) -> Refusal {
    tracing::warn!("{name} cannot be started: {error}");
    match error.kind() {
        ErrorKind::NotFound => Refusal::new(Why::NoTarget, 404, "there is no program at this path"),
        ErrorKind::PermissionDenied => {
            Refusal::new(Why::NotAllowed, 403, "what is at this path may not be run")
        }
        _ => {
            let sentence = "the program of this session cannot be started now: try again later";
            Refusal::new(Why::NoAnswer, 502, sentence)
        }
    }
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client may send.
    Begun,
    /// The worker has read the program's last byte.
    Read,
    /// It is over.
    Over,
}

/// What the worker and the one who waits for the process tell each other.
#[derive(Debug)]
struct Session {
    stage: watch::Sender<Stage>,
    status: Mutex<Option<ExitStatus>>,
}

/// The worker's side of a session. A client that left before it was answered drops it.
#[derive(Debug)]
struct Seat(Arc<Session>);

impl Partner for Seat {
    fn farewell(&self) -> (CloseCode, Cow<'static, str>) {
        self.0.stage.send_if_modified(|stage| {
            let is_begun = *stage == Stage::Begun;
            *stage = if is_begun { Stage::Read } else { *stage };
            is_begun
        });
        match *lock(&self.0.status) {
            Some(status) => said(status),
            // It has shut its output down by itself, and runs on: nobody hears it any more.
            None => (
                CloseCode::NormalClosure,
                "the program has ended its output".into(),
            ),
        }
    }

    fn leave(&self) {
        self.0
            .stage
            .send_if_modified(|stage| std::mem::replace(stage, Stage::Over) != Stage::Over);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The Close for how a program has ended.
fn said(status: ExitStatus) -> (CloseCode, Cow<'static, str>) {
    match (status.code(), status.signal()) {
        (Some(0), _) => (CloseCode::NormalClosure, "exit status 0".into()),
        (Some(code), _) => (
            CloseCode::InternalError,
            format!("exit status {code}").into(),
        ),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            (
                CloseCode::InternalError,
                format!("killed by signal {signal}").into(),
            )
        }
    }
}

/// Waits until nobody reads the program's output any more.
async fn until_over(stage: &mut watch::Receiver<Stage>) {
    // An error says the same: the session is dropped.
    drop(stage.wait_for(|stage| *stage != Stage::Begun).await);
}

struct Process {
    child: Child,
    group: u32,
    ladder: KillLadder,
    session: Arc<Session>,
}

impl Process {
    /// Waits until the process has ended by itself, or by the ladder that begins when its session is over. Returns which step of the
    /// ladder is next for the rest of its group.
    async fn await_end(&mut self) -> usize {
        let mut stage = self.session.stage.subscribe();
        let steps = steps(&self.ladder);
        let mut next = 0;
        let status = tokio::select! {
            status = self.child.wait() => status,
            () = until_over(&mut stage) => loop {
                let Some((after, signal)) = steps.get(next) else {
                    break self.child.wait().await;
                };
                if let Ok(status) = timeout(*after, self.child.wait()).await {
                    break status;
                }
                sys::signal_group(self.group, *signal);
                next += 1;
            },
        };
        match status {
            Ok(status) => *lock(&self.session.status) = Some(status),
            Err(error) => tracing::error!("a program cannot be waited for: {error}"),
        }
        next
    }
}

fn steps(ladder: &KillLadder) -> [(Duration, i32); 3] {
    [
        (ladder.interrupt, libc::SIGINT),
        (ladder.terminate, libc::SIGTERM),
        (ladder.kill, libc::SIGKILL),
    ]
}

/// Goes on with the ladder for what is left of a group whose first process is reaped. The number of a group is not given to a new process
/// while the group has members; that it would be empty, and all numbers used up, between a look and a signal takes longer than
/// these few steps.
async fn empty_group(group: u32, ladder: &KillLadder, next: usize) {
    const NO_SIGNAL: i32 = 0;
    for (after, signal) in steps(ladder).into_iter().skip(next) {
        let began = tokio::time::Instant::now();
        loop {
            if !sys::signal_group(group, NO_SIGNAL) {
                return;
            }
            let left = after.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            sleep(left.min(GROUP_LOOK)).await;
        }
        sys::signal_group(group, signal);
    }
    while sys::signal_group(group, NO_SIGNAL) {
        sleep(GROUP_LOOK).await;
    }
}

/// Writes what a program says on its standard error to the log.
async fn log(stderr: ChildStderr, name: Arc<str>, pid: u32) {
    let mut stderr = BufReader::with_capacity(LOGGED_BYTES_MAX, stderr);
    while let Ok(Some(line)) = next_line(&mut stderr).await {
        let line = String::from_utf8_lossy(&line);
        tracing::warn!("{name}, process {pid}: {}", line.trim_end().escape_debug());
    }
}

/// The next line, or as much of it as is logged. `None`: there is none.
async fn next_line(
    from: &mut BufReader<impl AsyncRead + Unpin>,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let there = from.fill_buf().await?;
        let end = there.iter().position(|byte| *byte == b'\n');
        let piece = &there[..end.unwrap_or(there.len())];
        let room = LOGGED_BYTES_MAX - line.len();
        line.extend_from_slice(piece.get(..room).unwrap_or(piece));
        let (is_over, used) = (there.is_empty(), end.map_or(there.len(), |end| end + 1));
        from.consume(used);
        if end.is_some() {
            return Ok(Some(line));
        }
        if is_over {
            return Ok((!line.is_empty()).then_some(line));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
