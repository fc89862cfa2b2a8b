//! The processes beside the workers: the bridge to a broker, and the web process with its socket.
//!
//! Owns: which of them there are, what each inherits, what is said when one ends. Never: harms a worker; how such a process lives is in
//! `sidecar`.
//!
//! The web process listens on a Unix socket that has no name. It is bound in a new directory that nobody else can enter, opened there
//! with `O_PATH`, and unlinked before any process is started. Workers inherit that descriptor and connect to `/proc/self/fd/N`; the
//! kernel finds the socket by its inode. So nobody else can connect and speak in the name of a client, which the abstract namespace would
//! allow, and nothing is left behind in the file system however the server ends. The supervisor holds the socket, so that requests wait in
//! its queue while the web process is replaced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::environment;
use super::error::warning;
use super::fleet::{Shared, locked};
use super::options::{Options, WorkerCommand};
use super::reserve::Reserve;
use super::sidecar::Sidecar;
use super::sys::Waited;
use crate::bus::{Plan, Segments};
use crate::exit::Fatal;
use crate::seat::{Role, WorkerSeat};
use crate::stats::sidecar::Totals;
use crate::stats::{bridge, web};
use crate::time::Instant;

/// Names of directories that are tried.
const DIRS_MAX: u32 = 1000;

/// The processes beside the workers.
#[derive(Debug)]
pub(super) struct Beside {
    /// `None`: the server has no backplane.
    bridge: Option<Sidecar<bridge::Counters>>,
    /// `None`: workers answer all requests themselves.
    web: Option<(WebListener, Sidecar<web::Counters>)>,
    /// They know that the server stops.
    are_told: bool,
}

/// What is needed to start one.
pub(super) struct Means<'a> {
    pub(super) command: &'a WorkerCommand,
    pub(super) bus: Option<&'a Segments>,
    pub(super) config: &'a File,
    pub(super) reserve: &'a mut Reserve,
    pub(super) fleet: &'a Shared,
    pub(super) is_stopping: bool,
}

impl Beside {
    pub(super) fn new(options: &Options, now: Instant) -> Result<Self, Fatal> {
        let has_bridge = options.bus.as_ref().is_some_and(Plan::has_bridge);
        let policy = options.respawn;
        let socket = options.web_process.map(WebListener::bind).transpose();
        let socket = socket.map_err(|error| {
            let dir = std::env::temp_dir();
            Fatal::environment(format!(
                "cannot make the socket of the web process below {}: {error}; TMPDIR names another directory",
                dir.display()
            ))
        })?;
        Ok(Self {
            bridge: has_bridge.then(|| Sidecar::new(policy, now)),
            web: socket.map(|socket| (socket, Sidecar::new(policy, now))),
            are_told: false,
        })
    }

    /// What leads workers to the web process.
    pub(super) fn web_fd(&self) -> Option<RawFd> {
        let (socket, _) = self.web.as_ref()?;
        Some(socket.way.as_raw_fd())
    }

    /// What to wait for.
    pub(super) fn waited(&self) -> impl Iterator<Item = Waited> {
        let bridge = self.bridge.as_ref().and_then(Sidecar::waited);
        let web = self.web.as_ref().and_then(|(_, web)| web.waited());
        bridge.into_iter().chain(web)
    }

    /// When the next one is to be started.
    pub(super) fn due(&self) -> Option<Instant> {
        let bridge = self.bridge.as_ref().and_then(Sidecar::due);
        let web = self.web.as_ref().and_then(|(_, web)| web.due());
        [bridge, web].into_iter().flatten().min()
    }

    /// Waits until each works, or for a second: workers do not depend on them.
    pub(super) fn wait_for_first_records(&self) {
        if let Some(bridge) = &self.bridge {
            bridge.wait_for_first_record();
        }
        if let Some((_, web)) = &self.web {
            web.wait_for_first_record();
        }
    }

    /// Reads their figures, and starts those that are due.
    pub(super) fn tend(&mut self, now: Instant, mut means: Means<'_>) {
        if let (Some(bridge), Some(bus)) = (&mut self.bridge, means.bus) {
            let own = (bridge_seat(bus), "the bridge to the backplane");
            let then = ", and topics stay on this server until then";
            tend_one(bridge, now, own, then, &mut means);
            locked(means.fleet).bridge = Some(*bridge.figures());
        }
        if let Some((socket, web)) = &mut self.web {
            let own = (socket.seat(), "the web process");
            tend_one(web, now, own, ", and requests wait until then", &mut means);
            locked(means.fleet).web = Some(*web.figures());
            if means.is_stopping && !std::mem::replace(&mut self.are_told, true) {
                web.drain();
            }
        }
    }

    /// Ends them, when all workers are gone: a bridge publishes what they have said last.
    pub(super) fn end(self) {
        if let Some(bridge) = self.bridge {
            bridge.end();
        }
        if let Some((_, web)) = self.web {
            web.end();
        }
    }
}

/// `then`: what that means for clients.
fn tend_one<C: Totals>(
    process: &mut Sidecar<C>,
    now: Instant,
    (mut seat, name): (WorkerSeat, &str),
    then: &str,
    means: &mut Means<'_>,
) {
    process.read();
    let ended = process.reap(now);
    if means.is_stopping {
        return;
    }
    if let Some(sentence) = ended {
        warning(format!("{name} {sentence}{then}"));
    }
    if process.due().is_none_or(|due| due > now) {
        return;
    }
    seat.config_fd = Some(means.config.as_raw_fd());
    let inherited = [&seat.fds, &seat.bell_fds].into_iter().flatten().copied();
    let inherited = inherited.chain(seat.bus_fd).chain(seat.config_fd).collect();
    let command = means.command;
    let start = || process.start(now, command, seat, inherited);
    if let Err(failure) = means.reserve.lend(start) {
        let why = environment::explain_spawn(&failure);
        warning(format!(
            "{name} cannot be started: {why}; it is tried again"
        ));
    }
}

fn bridge_seat(bus: &Segments) -> WorkerSeat {
    WorkerSeat {
        role: Role::Bridge,
        bus_fd: Some(bus.memory.as_raw_fd()),
        bell_fds: bus.ring_fds(),
        ..WorkerSeat::default()
    }
}

/// The socket of the web process.
#[derive(Debug)]
struct WebListener {
    listener: UnixListener,
    /// Leads to it.
    way: File,
}

impl WebListener {
    /// One whose queue holds so many connections, or as many as the kernel allows.
    fn bind(backlog: usize) -> io::Result<Self> {
        let dir = private_dir()?;
        let path = dir.join("web");
        let made = Self::bind_at(&path, backlog);
        let _ = fs::remove_file(&path);
        fs::remove_dir(&dir)?;
        made
    }

    fn bind_at(path: &Path, backlog: usize) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        socket2::SockRef::from(&listener).listen(backlog)?;
        listener.set_nonblocking(true)?;
        let mut options = OpenOptions::new();
        let way = options.read(true).custom_flags(libc::O_PATH).open(path)?;
        Ok(Self { listener, way })
    }

    fn seat(&self) -> WorkerSeat {
        WorkerSeat {
            role: Role::Web,
            fds: vec![self.listener.as_raw_fd()],
            ..WorkerSeat::default()
        }
    }
}

/// A new directory that nobody else can enter.
fn private_dir() -> io::Result<PathBuf> {
    let pid = std::process::id();
    let mut made = Err(io::ErrorKind::AlreadyExists.into());
    // A name may be left of a server that was killed in this very moment, or taken by somebody who means harm.
    for number in 0..DIRS_MAX {
        let dir = std::env::temp_dir().join(format!("ringway-{pid}-{number}"));
        made = DirBuilder::new().mode(0o700).create(&dir).map(|()| dir);
        match &made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            _ => break,
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_socket_has_no_name_and_can_be_connected_to() {
        let socket = WebListener::bind(16).expect("a socket");
        let name = socket.listener.local_addr().expect("bound");
        let name = name.as_pathname().expect("it had one").to_owned();
        assert!(!name.parent().expect("a directory").exists());
        let way = format!("/proc/self/fd/{}", socket.way.as_raw_fd());
        let _client = UnixStream::connect(way).expect("it listens");
        socket.listener.accept().expect("a connection");
        let again = socket.listener.accept().expect_err("non-blocking");
        assert_eq!(again.kind(), io::ErrorKind::WouldBlock);
    }
}
