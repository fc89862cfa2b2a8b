//! `ringway forward stdio --to=…`: one stream, on standard input and output, as the ProxyCommand of ssh. And `ringway gateway
//! inetd`: the connection that is the standard input.
//!
//! Owns: the threads that pump between these descriptors and a worker. Never: speaks WebSocket.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

use ringway::Counters;
use ringway::exit::{Exit, Fatal};
use ringway::io::{Fd, sys};
use ringway::options::ServerOptions;
use ringway::server::single;
use ringway_command::judge::{BadOption, Resolved};
use socket2::{SockRef, Type};

use super::forward::{self, One};
use super::local::{Local, Thread};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Options of a listener, which one stream does not have.
const LISTENERS: [&str; 8] = [
    "wsuri",
    "cert",
    "key",
    "tls",
    "web",
    "cgi-dir",
    "http-proxy",
    "workers",
];

/// The same, of one connection that a super-server has accepted: it may speak TLS, and nothing stops it before its end.
const SUPERVISED: [&str; 8] = [
    "wsuri",
    "web",
    "cgi-dir",
    "http-proxy",
    "workers",
    "run-once",
    "stop-after",
    "stop-when-idle",
];

/// Refuses options that would be parsed and ignored.
pub(super) fn check(is_given: &dyn Fn(&str) -> bool) -> Resolved<()> {
    match LISTENERS.into_iter().find(|name| is_given(name)) {
        None => Ok(()),
        Some(name) => Err(BadOption(format!(
            "--{name} has no effect on stdio, which is one stream: leave it off"
        ))),
    }
}

/// Refuses options that would be parsed and ignored for a connection that a super-server has accepted.
pub(super) fn check_inetd(is_given: &dyn Fn(&str) -> bool) -> Resolved<()> {
    match SUPERVISED.into_iter().find(|name| is_given(name)) {
        None => Ok(()),
        Some(name) => Err(BadOption(format!(
            "--{name} has no effect with inetd, which is one connection: leave it off"
        ))),
    }
}

/// The connection that is the standard input.
///
/// # Errors
/// The standard input is something else.
pub(super) fn connection() -> Result<OwnedFd, Fatal> {
    let input = io::stdin().as_fd().try_clone_to_owned();
    let input = input.map_err(|error| Fatal::environment(format!("standard input: {error}")))?;
    if !SockRef::from(&input)
        .r#type()
        .is_ok_and(|kind| kind == Type::STREAM)
    {
        return Err(Fatal::usage(
            "the standard input is neither a connection nor a listening socket: have a super-server start this, as inetd or systemd",
        ));
    }
    Ok(input)
}

/// Whether the standard input is a listening socket.
pub(super) fn is_listener() -> bool {
    sys::is_listener(Fd(io::stdin().as_raw_fd()))
}

/// Whether the standard error is the connection itself, as inetd has it: no line may be written there.
pub(super) fn is_error_output_taken() -> bool {
    let of = |fd: BorrowedFd<'_>| {
        let file = fd.try_clone_to_owned().map(File::from);
        let about = file.and_then(|file| file.metadata());
        about.map(|about| (about.dev(), about.ino())).ok()
    };
    let (input, error) = (of(io::stdin().as_fd()), of(io::stderr().as_fd()));
    input.is_some() && input == error
}

/// Starts this program again without a standard error.
pub(super) fn without_error_output() -> Fatal {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let error = Command::new("/proc/self/exe")
        .arg0(name)
        .args(words)
        .stderr(Stdio::null())
        .exec();
    Fatal::environment(format!("this program cannot be started again: {error}"))
}

/// Serves the one stream until both of its directions have ended.
///
/// # Errors
/// The destination cannot be reached, or the stream was broken off.
pub(super) fn run(options: &ServerOptions, one: &One) -> Result<Exit, Fatal> {
    let application = forward::application(options)?;
    let local = match one {
        One::Stdio => None,
        One::Process(words) => Some(Local::process(words)?),
        One::Serial(line) => Some(Local::Serial(line.clone())),
    };
    if let Some(local) = local {
        let thread = Thread::new(local);
        let end = thread.begin();
        let end = end.ok_or_else(|| Fatal::environment("there is no room for a stream"))?;
        let counters = single::run(options, application, end.into())?;
        thread.end();
        return ended(&counters);
    }
    let failed =
        |error: io::Error| Fatal::environment(format!("standard input and output: {error}"));
    let (near, far) = UnixStream::pair().map_err(failed)?;
    let writes = near.try_clone().map_err(failed)?;
    // It may wait for input for ever: the process ends without it.
    thread::spawn(move || {
        if pump_in(&writes).is_err() {
            // Nobody takes what comes: the worker learns that below, if it has anything left to do.
            let _ = writes.shutdown(Shutdown::Write);
        }
    });
    let prints = thread::spawn(move || pump_out(&near));
    let counters = single::run(options, application, far.into())?;
    let printed = prints.join().unwrap_or(Ok(()));
    ended(&counters)?;
    printed.map_err(failed)?;
    Ok(Exit::Ok)
}

/// How the one stream has ended.
fn ended(counters: &Counters) -> Result<Exit, Fatal> {
    if counters.streams_failed > 0 {
        return Err(Fatal::environment(
            "the destination could not be reached: see above",
        ));
    }
    if counters.streams_reset > 0 || counters.closed_unclean > 0 {
        return Err(Fatal::environment(
            "the stream was broken off before its end",
        ));
    }
    Ok(Exit::Ok)
}

/// Passes the standard input on, and then its end.
fn pump_in(mut to: &UnixStream) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut input = io::stdin().lock();
    loop {
        match input.read(&mut piece) {
            Ok(0) => return to.shutdown(Shutdown::Write),
            Ok(len) => to.write_all(&piece[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes what comes to the standard output. If that is gone, the stream ends.
fn pump_out(mut from: &UnixStream) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut output = io::stdout().lock();
    loop {
        // Where the worker has broken the stream off, it says why.
        let len = from.read(&mut piece).unwrap_or(0);
        let written = output
            .write_all(&piece[..len])
            .and_then(|()| output.flush());
        if len == 0 || written.is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return written;
        }
    }
}
