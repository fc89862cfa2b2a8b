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
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::Duration;

use ringway::io::sys;
use ringway::io::words::waited_for;
use ringway::services::gateway::{
    Found, KillLadder, Partner, ProgramOptions, Refusal, Stderr, Why,
};
use ringway::{CloseCode, Handed, Onward};
use ringway_web::stderr::Log;
use tokio::io::Interest;
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::terminal::{Relay, Size, Terminal};
use super::{Program, environment};

/// How often it is looked whether a group is empty whose first process has ended.
const GROUP_LOOK: Duration = Duration::from_millis(10);

/// The same of a session, for which all processes of the system are looked at.
const SESSION_LOOK: Duration = Duration::from_millis(100);

/// The processes that end with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Family {
    /// Those of its process group.
    Group(u32),
    /// Those of all groups of its terminal's session: a shell makes a group for each job.
    Session(u32),
}

impl Family {
    /// Sends a signal to all of them. `false`: there are none.
    fn signal(self, signal: i32) -> bool {
        match self {
            Self::Group(group) => sys::signal_group(group, signal),
            Self::Session(session) => {
                let sent = groups_of(session)
                    .into_iter()
                    .map(|group| sys::signal_group(group, signal));
                sent.fold(false, |any, sent| any | sent)
            }
        }
    }

    const fn look(self) -> Duration {
        match self {
            Self::Group(_) => GROUP_LOOK,
            Self::Session(_) => SESSION_LOOK,
        }
    }
}

/// The process groups of a session that have members which run (proc(5)).
fn groups_of(session: u32) -> HashSet<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = processes.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let groups = stats.filter_map(|stat| {
        // The name of the program, in parentheses, may have any characters.
        let (_, fields) = stat.rsplit_once(')')?;
        let [state, _, group, of, ..] = *fields.split_ascii_whitespace().collect::<Vec<_>>() else {
            return None;
        };
        let runs = !matches!(state, "Z" | "X");
        (runs && of.parse() == Ok(session)).then(|| group.parse().ok())?
    });
    groups.collect()
}

/// The programs of a worker.
pub(crate) struct Programs {
    room: Arc<Semaphore>,
    stderr: Stderr,
    ladder: KillLadder,
    /// Families that may have members.
    families: Mutex<HashSet<Family>>,
    /// What programs would inherit of a worker: its CPU, its descriptors, and the signals that it ignores.
    is_free: Once,
}

impl Programs {
    pub(crate) fn new(options: &ProgramOptions) -> Self {
        let room = usize::try_from(options.forks_max).unwrap_or(usize::MAX);
        Self {
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            stderr: options.stderr,
            ladder: options.kill_after,
            families: Mutex::default(),
            is_free: Once::new(),
        }
    }

    /// Starts a program for a session of the gateway, on the thread beside the worker.
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
        let name: Arc<str> = program.label.as_str().into();
        let begun = UnixStream::pair()
            .and_then(|(near, far)| Ok((near, self.begin(program, user, far, place)?)));
        let (near, session) = begun.map_err(|error| refusal(&name, &error))?;
        Ok(Found {
            target: Onward::Handed(Handed::new(near.into())),
            partner: Some(Arc::new(Seat(session))),
            name,
            user: user.map(Into::into),
            token: None,
        })
    }

    /// Starts a program whose standard input and output is a stream, until nobody has the other end of that.
    ///
    /// # Errors
    /// There are enough, or it does not start.
    pub(crate) fn serve(self: &Arc<Self>, program: Program, far: UnixStream) -> io::Result<()> {
        let place = Arc::clone(&self.room).try_acquire_owned();
        let place = place.map_err(|_| io::Error::other("as many programs run as may"))?;
        let name = program.label.clone();
        // The end of both directions is always told, and what is asked for here is nothing beside it.
        let end = waited_for(OwnedFd::from(far.try_clone()?).into(), Interest::PRIORITY)?;
        let session = self.begin(program, None, far, place)?;
        tokio::spawn(async move {
            let _ = end.ready(Interest::PRIORITY).await;
            drop(end);
            let seat = Seat(session);
            let status = *lock(&seat.0.status);
            if let Some(status) = status.filter(|status| !status.success()) {
                tracing::warn!("{name}: {}", said(status).1);
            }
        });
        Ok(())
    }

    fn begin(
        self: &Arc<Self>,
        program: Program,
        user: Option<&str>,
        far: UnixStream,
        place: OwnedSemaphorePermit,
    ) -> io::Result<Arc<Session>> {
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
        let (mut child, terminal) = spawn(program, user, self.stderr, &far)?;
        let Some(pid) = child.id() else {
            unreachable!("nobody has waited for it")
        };
        let family = match terminal {
            Some(_) => Family::Session(pid),
            None => Family::Group(pid),
        };
        lock(&self.families).insert(family);
        let stderr = child.stderr.take();
        let log = stderr.map(|stderr| Log::begin(stderr, name, pid));
        let session = Arc::new(Session {
            stage: watch::Sender::new(Stage::Begun),
            status: Mutex::default(),
            terminal: terminal
                .as_ref()
                .map(|(terminal, _)| Arc::downgrade(terminal)),
        });
        let process = Process {
            child,
            family,
            terminal,
            ladder: self.ladder,
            session: Arc::clone(&session),
        };
        let tended = Arc::clone(self).tend(process, far, place);
        tokio::spawn(async move {
            tended.await;
            if let Some(log) = log {
                log.end().await;
            }
        });
        Ok(session)
    }

    async fn tend(
        self: Arc<Self>,
        mut process: Process,
        far: UnixStream,
        place: OwnedSemaphorePermit,
    ) {
        let step = process.await_end().await;
        let family = process.family;
        let mut stage = process.session.stage.subscribe();
        let told = async {
            if let Some((_terminal, mut relay)) = process.terminal.take() {
                tokio::select! {
                    () = relay.finish() => {},
                    () = until_over(&mut stage) => {},
                }
            }
            // What it has written is read before the end; and nobody else of its group can add to it.
            let _ = far.shutdown(Shutdown::Write);
            // It ends when the session has: a worker that is gone has dropped its side.
            until_over(&mut stage).await;
            drop(far);
        };
        let emptied = async {
            empty(family, &steps(&self.ladder, family)[step..]).await;
            lock(&self.families).remove(&family);
            drop(place);
        };
        tokio::join!(told, emptied);
    }

    /// The worker ends: so do all programs. Those that were told before have had the time of their ladder, as far as the drain had it.
    pub(crate) fn end(&self) {
        let is_over = |patience: Duration| {
            let began = std::time::Instant::now();
            while !lock(&self.families).is_empty() {
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
        for family in lock(&self.families).iter() {
            family.signal(libc::SIGKILL);
        }
        if !is_over(LAST_WAIT) {
            tracing::error!("programs of a worker that ends could not be killed");
        }
    }
}

/// The supervisor gives a worker longer than this behind its drain.
const LAST_WAIT: Duration = Duration::from_millis(900);

/// A terminal, and the tasks between it and the worker.
type Pumped = (Arc<Terminal>, Relay);

/// Starts a program, with `far` or a terminal as its standard input and output.
fn spawn(
    program: Program,
    user: Option<&str>,
    stderr: Stderr,
    far: &UnixStream,
) -> io::Result<(Child, Option<Pumped>)> {
    let mut command = Command::new(&program.path);
    command
        .args(program.arguments)
        .env_clear()
        .envs(program.environment)
        .envs(environment::of_user(user));
    if let Some(name) = program.name {
        command.arg0(name);
    }
    if let Some(directory) = program.directory {
        command.current_dir(directory);
    }
    let Some(size) = program.terminal else {
        let end = || Ok::<_, io::Error>(Stdio::from(OwnedFd::from(far.try_clone()?)));
        command
            .stdin(end()?)
            .stdout(end()?)
            .stderr(match stderr {
                Stderr::Log => Stdio::piped(),
                Stderr::Client => end()?,
                Stderr::Discard => Stdio::null(),
            })
            .process_group(0);
        return Ok((command.spawn()?, None));
    };
    let (terminal, programs) = Terminal::open(size)?;
    let terminal = Arc::new(terminal);
    let relay = Relay::begin(&terminal, far, false)?;
    command
        .stdin(programs.try_clone()?)
        .stdout(programs.try_clone()?)
        .stderr(programs);
    sys::begin_with_terminal(command.as_std_mut());
    Ok((command.spawn()?, Some((terminal, relay))))
}

fn refusal(name: &str, error: &io::Error) -> Refusal {
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
    /// Gone when it is hung up.
    terminal: Option<Weak<Terminal>>,
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

    fn control(&self, text: &str) -> Result<(), (CloseCode, Cow<'static, str>)> {
        let size = Size::of_control(text)?;
        if let Some(terminal) = self.0.terminal.as_ref().and_then(Weak::upgrade) {
            terminal.resize(size);
        }
        Ok(())
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
    family: Family,
    /// Until it is hung up.
    terminal: Option<Pumped>,
    ladder: KillLadder,
    session: Arc<Session>,
}

impl Process {
    /// Waits until the process has ended by itself, or by the ladder that begins when its session is over. Returns which step of the
    /// ladder is next for the rest of its family.
    async fn await_end(&mut self) -> usize {
        let mut stage = self.session.stage.subscribe();
        let steps = steps(&self.ladder, self.family);
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
                self.family.signal(*signal);
                // What the client has sent was with the program before.
                self.terminal = None;
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

/// A terminal is hung up where other programs are interrupted: that is how terminals end, and a shell heeds nothing else.
fn steps(ladder: &KillLadder, family: Family) -> [(Duration, i32); 3] {
    let first = match family {
        Family::Group(_) => libc::SIGINT,
        Family::Session(_) => libc::SIGHUP,
    };
    [
        (ladder.interrupt, first),
        (ladder.terminate, libc::SIGTERM),
        (ladder.kill, libc::SIGKILL),
    ]
}

/// Goes on with the ladder for what is left of a family whose first process is reaped. The number of a group or session is not given to a
/// new process while it has members; that it would be empty, and all numbers used up, between a look and a signal takes longer than
/// these few steps.
async fn empty(family: Family, steps: &[(Duration, i32)]) {
    const NO_SIGNAL: i32 = 0;
    for (after, signal) in steps {
        let began = tokio::time::Instant::now();
        loop {
            if !family.signal(NO_SIGNAL) {
                return;
            }
            let left = after.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            sleep(left.min(family.look())).await;
        }
        family.signal(*signal);
    }
    while family.signal(NO_SIGNAL) {
        sleep(family.look()).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
