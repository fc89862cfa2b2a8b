//! The program `websockify`: `ringway gateway` with the command line of websockify 0.13.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringway_cli::websockify()
}
