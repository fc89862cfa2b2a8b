//! A program that runs beside the workers, and listens where they connect to.
//!
//! Owns: its process and its process group from the start to the end, and when it is started again. Never: sees a byte, or decides what
//! its end means for the server (`supervisor` does).
//!
//! It is started when every worker serves. What has left its process group, as a daemon does, is no longer ours.
//!
//! ```text
//!  Due ── start ──► Runs ── ended ──► exit: Over, and the server stops
//!   ▲                                 ignore: Over, and the server goes on
//!   └─────────── back-off ─────────── respawn
//! ```

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::error::{note, warning};
use super::options::{RespawnPolicy, WrapOptions};
use super::policy::Deaths;
use super::sys;
use crate::options::WrapMode;
use crate::signals;
use crate::time::Instant;

/// Signals to the process group when the server ends, and the time from the one before. A server may have something to write: the last
/// step is later than that of a session's program.
const LADDER: [(Duration, i32); 3] = [
    (Duration::ZERO, libc::SIGINT),
    (Duration::from_millis(250), libc::SIGTERM),
    (Duration::from_secs(5), libc::SIGKILL),
];

/// How often it is looked whether the group is empty.
const GROUP_LOOK: Duration = Duration::from_millis(10);

/// Time that killed processes have to end.
const KILL_TIME_MAX: Duration = Duration::from_secs(1);

/// Time after the first start at which nobody listening is worth a word.
const LISTEN_TIME_LONG: Duration = Duration::from_secs(10);

/// The program.
#[derive(Debug)]
pub(super) struct Wrapped {
    options: WrapOptions,
    /// Soft and hard limit of open descriptors that this process began with.
    descriptors: Option<(u64, u64)>,
    /// See `guard`.
    _guards: Vec<Socket>,
    policy: RespawnPolicy,
    deaths: Deaths,
    state: State,
    has_run: bool,
    /// Process groups that may have members. The first process of each was a child.
    groups: Vec<u32>,
    /// When it is looked whether it listens.
    look: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Due(Instant),
    Runs { child: Child, born: Instant },
    Over,
}

/// What the server must know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The server is to stop: the program has ended. The exit code that stands for its end.
    Ended { why: String, code: u8 },
    /// It could not be started at all.
    NotStarted(String),
}

impl Wrapped {
    pub(super) fn new(
        options: WrapOptions,
        policy: RespawnPolicy,
        (guards, descriptors): (Vec<Socket>, Option<(u64, u64)>),
        now: Instant,
    ) -> Self {
        Self {
            options,
            descriptors,
            _guards: guards,
            policy,
            deaths: Deaths::default(),
            state: State::Due(now),
            has_run: false,
            groups: Vec::new(),
            look: None,
        }
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let start = match self.state {
            State::Due(due) => Some(due),
            State::Runs { .. } | State::Over => None,
        };
        [start, self.look].into_iter().flatten().min()
    }

    /// Reaps it if it has ended, and starts it if it is due.
    pub(super) fn tend(&mut self, now: Instant, may_start: bool) -> Option<News> {
        self.groups.retain(|group| sys::signal_group(*group, 0));
        if let State::Runs { child, born } = &mut self.state {
            let (pid, born) = (child.id(), *born);
            let status = match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(status),
                // ECHILD: other code has reaped it.
                Err(_) => Some(ExitStatus::default()),
            };
            if let Some(status) = status {
                return self.handle_end(now, born, pid, status);
            }
        }
        if !may_start {
            return None;
        }
        if self.look.take_if(|look| *look <= now).is_some() && !is_listened_to(self.options.port) {
            self.warn_of_silence();
        }
        match self.state {
            State::Due(due) if due <= now => self.start(now),
            _ => None,
        }
    }

    fn start(&mut self, now: Instant) -> Option<News> {
        let name = self.name();
        match spawn(&self.options, self.descriptors) {
            Ok(child) => {
                note(format!(
                    "started {name}, pid {}; its port is moved to port {} of the loopback",
                    child.id(),
                    self.options.port
                ));
                if !std::mem::replace(&mut self.has_run, true) {
                    self.look = Some(now + LISTEN_TIME_LONG);
                }
                self.groups.push(child.id());
                self.state = State::Runs { child, born: now };
                None
            }
            Err(error) if !self.has_run => {
                self.state = State::Over;
                Some(News::NotStarted(format!(
                    "{name} cannot be started: {error}; give its path, or look into PATH"
                )))
            }
            Err(error) => {
                let delay = self.deaths.next_delay(self.policy);
                self.state = State::Due(now + delay);
                let delay = delay.as_millis();
                warning(format!(
                    "{name} cannot be started: {error}; it is tried again in {delay} ms"
                ));
                None
            }
        }
    }

    fn handle_end(
        &mut self,
        now: Instant,
        born: Instant,
        pid: u32,
        status: ExitStatus,
    ) -> Option<News> {
        let who = format!("{} (pid {pid})", self.name());
        self.state = State::Over;
        match self.options.mode {
            WrapMode::Exit => {
                return Some(News::Ended {
                    why: format!("the end of {who}: {status}"),
                    code: code_of(status),
                });
            }
            WrapMode::Ignore => note(format!("{who} ended: {status}; the gateway goes on")),
            WrapMode::Respawn => {
                // What it has left behind may still listen.
                sys::signal_group(pid, libc::SIGTERM);
                self.deaths.count(self.policy, born, now);
                let delay = self.deaths.next_delay(self.policy);
                self.state = State::Due(now + delay);
                let delay = delay.as_millis();
                warning(format!(
                    "{who} ended: {status}; it is started again in {delay} ms"
                ));
            }
        }
        None
    }

    fn warn_of_silence(&self) {
        let seconds = LISTEN_TIME_LONG.as_secs();
        warning(format!(
            "nobody listens on port {} of the loopback, {seconds} s after {} was started. A program that is linked statically, or has the \
             rights of another user (setuid), cannot be wrapped: have it listen on another port of 127.0.0.1, and give that as TARGET",
            self.options.port,
            self.name(),
        ));
    }

    fn name(&self) -> String {
        let name = self.options.command.first();
        name.map(|name| name.display().to_string())
            .unwrap_or_default()
    }

    /// Ends it, when all workers are gone. A stop signal that comes meanwhile kills it.
    pub(super) fn end(mut self, signals: &File) {
        let mut began = std::time::Instant::now();
        let (mut next, mut is_pressed) = (0, false);
        loop {
            if let State::Runs { child, .. } = &mut self.state {
                // Otherwise it stays in its group.
                let _ = child.try_wait();
            }
            self.groups.retain(|group| sys::signal_group(*group, 0));
            if self.groups.is_empty() {
                return;
            }
            let mut pressed = sys::read_signals(signals).into_iter();
            if pressed.any(signals::is_stop) {
                is_pressed = true;
                next = next.max(LADDER.len() - 1);
            }
            match LADDER.get(next) {
                Some((after, signal)) if is_pressed || began.elapsed() >= *after => {
                    for group in &self.groups {
                        sys::signal_group(*group, *signal);
                    }
                    (next, began) = (next + 1, std::time::Instant::now());
                }
                None if began.elapsed() >= KILL_TIME_MAX => {
                    let left = self.groups;
                    return warning(format!(
                        "left behind, because they do not end although they were killed: process groups {left:?}"
                    ));
                }
                _ => std::thread::sleep(GROUP_LOOK),
            }
        }
    }
}

/// The exit code that stands for how a program has ended, as shells have it.
fn code_of(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, signal) => 128 + signal.unwrap_or_default(),
    };
    // Both are below 256.
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn spawn(options: &WrapOptions, descriptors: Option<(u64, u64)>) -> io::Result<Child> {
    let (name, arguments) = options
        .command
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let output = || -> io::Result<Stdio> {
        Ok(match options.is_quiet {
            true => Stdio::null(),
            // Our results are on stdout, and nothing else.
            false => io::stderr().as_fd().try_clone_to_owned()?.into(),
        })
    };
    let mut command = Command::new(name);
    command
        .args(arguments)
        .envs(
            options
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(Stdio::null())
        .stdout(output()?)
        .stderr(output()?)
        .process_group(0);
    sys::prepare_program(&mut command, descriptors);
    command.spawn()
}

/// Whether somebody listens on this port of the loopback. Nobody is connected to: a server might take it for a client.
///
/// Linux lets two sockets with `SO_REUSEADDR` bind the same address, unless one of them listens.
pub fn is_listened_to(port: u16) -> bool {
    let hosts: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    hosts.into_iter().any(|host| {
        let address = SocketAddr::new(host, port);
        let tried =
            Socket::new(Domain::for_address(address), Type::STREAM, None).and_then(|socket| {
                socket.set_reuse_address(true)?;
                socket.bind(&address.into())
            });
        matches!(tried, Err(error) if error.kind() == io::ErrorKind::AddrInUse)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn wrapped(mode: WrapMode) -> Wrapped {
        let options = WrapOptions {
            command: vec!["server".into()],
            environment: Vec::new(),
            mode,
            port: 1,
            is_quiet: true,
        };
        Wrapped::new(options, RespawnPolicy::default(), (Vec::new(), None), at(0))
    }

    #[test]
    fn the_mode_says_what_an_end_means() {
        let seven = ExitStatus::from_raw(7 << 8);
        // A group that nobody has.
        let pid = u32::MAX;
        let mut exits = wrapped(WrapMode::Exit);
        let news = exits.handle_end(at(10), at(0), pid, seven);
        assert!(matches!(news, Some(News::Ended { code: 7, why }) if why.contains("server (pid")));
        let mut ignores = wrapped(WrapMode::Ignore);
        assert_eq!(ignores.handle_end(at(10), at(0), pid, seven), None);
        assert_eq!(ignores.due(), None);
    }

    #[test]
    fn one_that_ends_too_fast_is_started_later_and_later() {
        let mut respawns = wrapped(WrapMode::Respawn);
        let mut die = |born, now| {
            respawns.handle_end(at(now), at(born), u32::MAX, ExitStatus::default());
            respawns.due()
        };
        assert_eq!(die(0, 10), Some(at(110)));
        assert_eq!(die(110, 120), Some(at(320)));
        assert_eq!(die(320, 330), Some(at(730)));
        // It has run for ten seconds.
        assert_eq!(die(730, 10_730), Some(at(10_830)));
    }

    #[test]
    fn exit_codes_are_those_of_shells() {
        assert_eq!(code_of(ExitStatus::from_raw(0)), 0);
        assert_eq!(code_of(ExitStatus::from_raw(255 << 8)), 255);
        assert_eq!(code_of(ExitStatus::from_raw(libc::SIGKILL)), 137);
    }

    #[test]
    fn a_listener_is_found_without_a_connection() {
        for host in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let listener = std::net::TcpListener::bind(host).expect("a port");
            let port = listener.local_addr().expect("bound").port();
            assert!(is_listened_to(port), "{host}");
            listener.set_nonblocking(true).expect("a flag");
            assert!(listener.accept().is_err());
            drop(listener);
            assert!(!is_listened_to(port), "{host}");
        }
    }
}
