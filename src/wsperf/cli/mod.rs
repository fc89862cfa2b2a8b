//! The command line of the load driver: `ringway wsperf …`, and `wsperf …` as its own program.
//!
//! Owns: options of scenarios, their values, the progress line, the exit code. Never: opens a connection itself.
//!
//! The same steps as for the server: `args` declares the options, `resolve` checks their values, `show` prints them back,
//! `launch` runs the scenario.

mod args;
mod asking;
mod compare;
mod compat;
mod interrupt;
mod launch;
mod lists;
mod options;
mod progress;
mod pubsub;
mod replay;
mod resolve;
mod sweep;

pub use args::{EXAMPLE, StandaloneArgs, WsperfArgs, tailor};

use args::{Kind, Task};

use crate::exit::Exit;
use crate::exit::Fatal;
use ringway_command::output::{set_program, tell_error};

/// The exit codes at the end of `--help` of the commands that measure.
pub const HELP_CODES: &str = "\
Exit codes:
  0  measured, whatever the result
  1  unexpected failure (a bug)
  2  bad option, value or configuration file
  3  no connection, or the system refused: permission, files, no io_uring
  5  a signal (Ctrl-C, the end of a session) ended the run early; what was
     measured is printed";

/// The same of those that check the order in which messages reach many receivers.
pub const FANOUT_CODES: &str = "\
Exit codes:
  0  measured, whatever the result, but for 7
  1  unexpected failure (a bug)
  2  bad option, value or configuration file
  3  no connection, or the system refused: permission, files, no io_uring
  5  a signal (Ctrl-C, the end of a session) ended the run early; what was
     measured is printed
  7  the sequence check failed: messages came twice or behind later ones; of
     pubsub also: are missing without a gap";

/// The same of the one that compares what comes with a recording.
pub const REPLAY_CODES: &str = "\
Exit codes:
  0  played and measured; with --check all sessions were like the recording
  1  unexpected failure (a bug)
  2  bad option, value, configuration file or recording
  3  no connection, or the system refused: permission, files, no io_uring
  5  a signal (Ctrl-C, the end of a session) ended the run early; what was
     measured is printed
  7  the check failed: what came was not what the recording has, or sessions
     were not played to their end; not with --check=none";

/// The exit codes of all commands together.
pub const ALL_CODES: &str = "\
Exit codes:
  0  done: measured, whatever the result
  1  unexpected failure (a bug)
  2  bad option, value or configuration file
  3  no connection, or the system refused: permission, files, no io_uring
  5  a signal (Ctrl-C, the end of a session) ended the run early; what was
     measured is printed
  6  compare --fail-on-regression: B is worse
  7  broadcast, pubsub: the sequence check failed; replay: the check did";

/// Runs the command that was typed.
pub fn run(args: WsperfArgs) -> Exit {
    set_program("wsperf");
    try_run(args).unwrap_or_else(|fatal| {
        tell_error(&fatal);
        fatal.exit
    })
}

fn try_run(args: WsperfArgs) -> Result<Exit, Fatal> {
    match args.task {
        Task::Echo(args) => launch::scenario(Kind::Echo, *args),
        Task::Handshake(args) => launch::scenario(Kind::Handshake, *args),
        Task::Massconnect(args) => launch::scenario(Kind::Massconnect, *args),
        Task::Broadcast(args) => launch::scenario(Kind::Broadcast, *args),
        Task::Pubsub(args) => launch::scenario(Kind::Pubsub, *args),
        Task::Mixed(args) => launch::scenario(Kind::Mixed, *args),
        Task::Stress(args) => launch::scenario(Kind::Stress, *args),
        Task::Soak(args) => launch::scenario(Kind::Soak, *args),
        Task::Replay(args) => launch::scenario(Kind::Replay, *args),
        Task::Sweep(args) => sweep::run(*args),
        Task::Compare(args) => compare::run(&args),
        Task::Serve(args) => compat::serve(&args),
        Task::Aggregate(args) => compat::aggregate(&args),
        Task::Standalone(words) => compat::standalone(&words),
    }
}
