//! A program's output: results on stdout, messages on stderr.
//!
//! Owns: the exit code for a result that cannot be written. Never: decides what is printed.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use ringway::exit::Exit;
use ringway::lines;

/// Prints to stdout. If the reader has left, that is no error.
pub fn print(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            tell_error(format_args!(
                "the result cannot be written to stdout: {error}"
            ));
            Exit::Environment
        }
        _ => Exit::Ok,
    }
}

/// What the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// What somebody should know.
    Warnings,
    /// And frames of connections.
    Frames,
    /// And whatever helps to find a fault.
    Everything,
}

/// Starts to write the log to stderr.
pub fn log_to_stderr(log: Log) {
    let level = match log {
        Log::Warnings => tracing::Level::WARN,
        Log::Frames => tracing::Level::INFO,
        Log::Everything => tracing::Level::DEBUG,
    };
    let ansi = io::stderr().is_terminal();
    // Fails only if there is a logger already, which will do.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| lines::Log)
        .with_ansi(ansi)
        .try_init();
}

/// The name of the program, if it is not `ringway`. It is set once, before any output.
static PROGRAM: OnceLock<&str> = OnceLock::new();

/// Sets the name of this program in its error messages.
pub fn set_program(name: &'static str) {
    // A second call has no effect: a process is one program.
    let _ = PROGRAM.set(name);
}

/// Prints an error on stderr. The program goes on without a stderr.
pub fn tell_error(sentence: impl std::fmt::Display) {
    tell("error", &sentence);
}

/// Prints a note about an ordinary event on stderr.
pub fn tell_note(sentence: impl std::fmt::Display) {
    tell("note", &sentence);
}

fn tell(kind: &str, sentence: &dyn std::fmt::Display) {
    let program = PROGRAM.get().copied().unwrap_or("ringway");
    let line = format!("{program}: {kind}: {sentence}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}
