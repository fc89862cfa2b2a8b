//! What an operator can say about programs as targets, and what the gateway asks of a session's program.
//!
//! Owns: the values and their defaults. Never: starts a process.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use crate::proto::CloseCode;

/// The other side of a stream that runs for one session only: a process.
pub trait Partner: Send + Sync {
    /// It has ended its direction, and its last byte is on the way to the client: the Close that the client gets behind it.
    fn farewell(&self) -> (CloseCode, Cow<'static, str>);

    /// The client has sent a control message. Default: it is not understood.
    ///
    /// # Errors
    /// The Close that the client gets.
    fn control(&self, _text: &str) -> Result<(), (CloseCode, Cow<'static, str>)> {
        let sentence = "this target has no control messages";
        Err((CloseCode::UnsupportedData, sentence.into()))
    }

    /// The session is over, or the gateway stops: it is to end.
    fn leave(&self);
}

/// Programs as targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramOptions {
    /// The program and its arguments. Default: none.
    pub command: Vec<String>,
    /// A directory whose programs are chosen by the path of the request. Default: none.
    pub directory: Option<PathBuf>,
    /// How a program's output and the client's messages fit together. Default: by lines.
    pub messages: Messages,
    /// Whether each program gets a terminal in place of pipes. Default: no.
    pub terminal: bool,
    /// Whether the program is the login shell of the user who runs the gateway. Default: no.
    pub login: bool,
    /// The type of terminals, for `TERM`, where the client says none. Default: `xterm-256color`.
    pub term: String,
    /// Whether browsers get a page with a terminal. Default: no.
    pub page: bool,
    /// Where the standard error goes. Default: to the log.
    pub stderr: Stderr,
    /// Variables of our own environment that programs get beside those of CGI. Default: `PATH` and `LD_LIBRARY_PATH`.
    pub pass_env: Vec<String>,
    /// Programs that run at a time, in each worker. Default 1,024.
    pub forks_max: u32,
    /// The times of the [`KillLadder`].
    pub kill_after: KillLadder,
}

/// What becomes of a program whose session is over and whose standard input has ended: times from one step to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillLadder {
    /// To SIGINT. Default 100 ms.
    pub interrupt: Duration,
    /// From there to SIGTERM. Default 250 ms.
    pub terminate: Duration,
    /// From there to SIGKILL. Default 500 ms.
    pub kill: Duration,
}

impl KillLadder {
    /// All steps together.
    pub fn whole(&self) -> Duration {
        self.interrupt + self.terminate + self.kill
    }
}

/// How a program's stream travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// A line is a text message without its line break.
    Lines,
    /// As binary messages, or those of base64, whose bounds mean nothing.
    Binary,
}

/// Where a program's standard error goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stderr {
    /// To the log, line by line.
    Log,
    /// To the client, as standard output.
    Client,
    /// Nowhere.
    Discard,
}

impl ProgramOptions {
    /// Whether programs have terminals.
    pub const fn has_terminal(&self) -> bool {
        self.terminal || self.login
    }

    /// Whether sessions lead to programs.
    pub const fn runs(&self) -> bool {
        !self.command.is_empty() || self.directory.is_some() || self.login
    }
}

impl Default for ProgramOptions {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            directory: None,
            messages: Messages::Lines,
            terminal: false,
            login: false,
            page: false,
            term: "xterm-256color".to_owned(),
            stderr: Stderr::Log,
            pass_env: vec!["PATH".to_owned(), "LD_LIBRARY_PATH".to_owned()],
            forks_max: 1024,
            kill_after: KillLadder {
                interrupt: Duration::from_millis(100),
                terminate: Duration::from_millis(250),
                kill: Duration::from_millis(500),
            },
        }
    }
}
