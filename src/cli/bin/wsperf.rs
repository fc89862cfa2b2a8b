//! The program `wsperf`: `ringway wsperf` under the name that people know.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringway_cli::wsperf()
}
