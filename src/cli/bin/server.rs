//! The program `server`: `ringway server` under the name that Autobahn's users know.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringway_cli::server()
}
