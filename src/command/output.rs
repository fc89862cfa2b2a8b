//! Where a program's words go: results to stdout, talk to stderr; and how it reads a configuration file.
//!
//! Owns: the exit code of a result that cannot be written. Never: decides what is said.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use ringway::exit::Exit;
use ringway::exit::Fatal;
use serde::de::DeserializeOwned;

use crate::file;

/// Reads a configuration file with the options `A`.
pub fn read<A: clap::Args + DeserializeOwned>(path: &Path) -> Result<A, Fatal> {
    let shown = path.display();
    let usage = |sentence: String| Fatal {
        exit: Exit::Usage,
        sentence,
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| usage(format!("cannot read the configuration {shown}: {error}")))?;
    file::parse(&text).map_err(|why| usage(format!("{shown}: {why}")))
}

/// Prints to stdout. A reader that left is no error.
pub fn print(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("ringway: error: the result cannot be written to stdout: {error}");
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
        .with_writer(io::stderr)
        .with_ansi(ansi)
        .try_init();
}
