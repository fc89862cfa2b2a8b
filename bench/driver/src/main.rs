//! `echo-driver`: see the library's documentation and `--help`.

use std::process::ExitCode;

use echo_driver::options::{self, Options};
use echo_driver::sys;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        print!("{}", options::HELP);
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("echo-driver: {message}\nTry: echo-driver --help");
            return ExitCode::from(2);
        }
    };
    if let Err(message) = sys::raise_open_files(options.connections as u64 + 64) {
        eprintln!("echo-driver: {message}");
        return ExitCode::from(2);
    }
    if let Some(cpu) = options.cpu
        && let Err(error) = sys::pin_to(cpu)
    {
        eprintln!("echo-driver: cannot pin to CPU {cpu}: {error}");
        return ExitCode::from(2);
    }
    let report = echo_driver::run(&options);
    println!("{}", report.to_json());
    match report.error {
        None => ExitCode::SUCCESS,
        Some(error) => {
            eprintln!("echo-driver: {error}");
            ExitCode::FAILURE
        }
    }
}
