//! The program `websocketd`: `ringway gateway` with the command line of websocketd.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringway_cli::websocketd()
}
