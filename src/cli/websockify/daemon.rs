//! Going to the background: the program starts itself once more, in a session of its own, and leaves when that one serves.
//!
//! Owns: what the terminal hears until then. Never: serves a client.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use ringway::exit::{Exit, Fatal};
use ringway::io::sys;
use ringway::supervise;

/// Tells the program that it is the one in the background.
const VARIABLE: &str = "RINGWAY_WEBSOCKIFY_DAEMON";

/// Whether this is the process in the background. If so, no terminal reaches it any more.
pub(super) fn is_begun() -> bool {
    let is_begun = std::env::var_os(VARIABLE).is_some();
    if is_begun {
        sys::begin_session();
    }
    is_begun
}

/// Starts the program in the background, and waits until it serves or has ended.
pub(super) fn begin(words: &[String]) -> ExitCode {
    let name = std::env::args_os().next();
    let program = std::env::current_exe().map(OsString::from);
    let mut command = Command::new(program.ok().or(name).unwrap_or_else(|| "websockify".into()));
    command.args(words).env(VARIABLE, "1");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let fatal = Fatal::environment(format!("the daemon cannot be started: {error}"));
            supervise::error(&fatal);
            return fatal.exit.into();
        }
    };
    let stderr = child.stderr.take();
    let told = thread::spawn(move || stderr.map(|stderr| relay(stderr, false)));
    // The line that says where it listens; what comes later finds nobody, which its writer bears.
    if child
        .stdout
        .take()
        .is_some_and(|stdout| relay(stdout, true))
    {
        return Exit::Ok.into();
    }
    let _ = told.join();
    let status = child.wait().ok().and_then(|status| status.code());
    let code = status.and_then(|code| u8::try_from(code).ok());
    code.map_or_else(|| Exit::Failure.into(), ExitCode::from)
}

/// Passes lines on: the first one, or all. Says whether there was one.
fn relay(pipe: impl Read, only_first: bool) -> bool {
    let mut any = false;
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        any = true;
        match only_first {
            true => {
                println!("{line}");
                return true;
            }
            false => eprintln!("{line}"),
        }
    }
    any
}
