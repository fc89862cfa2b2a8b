//! Where a program's words go: results to stdout, talk to stderr.
//!
//! Owns: the exit code of a result that cannot be written. Never: decides what is said.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use ringway::exit::Exit;
use ringway::lines;

/// Prints to stdout. A reader that left is no error.
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

/// Writes log lines to stderr from now on: warnings, and with `debug` everything.
pub fn log_to_stderr(debug: bool) {
    let level = if debug {
        tracing::Level::DEBUG
    } else {
        tracing::Level::WARN
    };
    let ansi = io::stderr().is_terminal();
    // Fails only when a logger is set already, which then serves as well.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| lines::Log)
        .with_ansi(ansi)
        .try_init();
}

/// The program that speaks, where it is not `ringway`: set once, before anything is said.
static PROGRAM: OnceLock<&str> = OnceLock::new();

/// Says which program this process is, for its error messages.
pub fn set_program(name: &'static str) {
    // A process is one program.
    let _ = PROGRAM.set(name);
}

/// Tells the user about an error on stderr. A stderr that is gone is no reason to stop.
pub fn tell_error(sentence: impl std::fmt::Display) {
    tell("error", &sentence);
}

/// Tells the user on stderr what happens in good order.
pub fn tell_note(sentence: impl std::fmt::Display) {
    tell("note", &sentence);
}

fn tell(kind: &str, sentence: &dyn std::fmt::Display) {
    let program = PROGRAM.get().copied().unwrap_or("ringway");
    let line = format!("{program}: {kind}: {sentence}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}
