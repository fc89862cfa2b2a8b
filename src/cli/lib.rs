//! The command line: what the user typed, what it means, and which code runs it.
//!
//! Owns: options, their values, the configuration file, the exit code. Never: serves a client. Workers are in
//! `ringway::server`, the supervisor is in `ringway::supervise`.
//!
//! 1. `args` defines the commands, and `options` the options of the server. clap parses them.
//! 2. `--config` names a file with the same options. The command line wins.
//! 3. `resolve` checks each value by its definition, and how values go together.
//! 4. `launch` starts the supervisor or the worker.
#![forbid(unsafe_code)]

mod access;
mod args;
mod client;
mod forward;
mod gateway;
mod launch;
mod local;
mod opening;
mod options;
#[cfg(test)]
mod options_table;
mod resolve;
mod services;
mod stdio;
mod target_tls;
mod testee;
pub mod tune;
mod web;
mod websocketd;
mod websockify;

use std::process::ExitCode;

use ::wsperf::cli as load;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches, Parser as _};

use ringway::exit::Exit;

/// The program `ringway`.
pub fn ringway() -> ExitCode {
    let command = args::RingwayArgs::command().mut_subcommand("wsperf", load::tailor);
    match parse::<args::RingwayArgs>(command).map(|args| args.command) {
        Ok(args::Command::Server(server)) => launch::server(*server).into(),
        Ok(args::Command::Gateway(gateway)) => launch::gateway(*gateway).into(),
        Ok(args::Command::Forward(forward)) => launch::forward(*forward).into(),
        Ok(args::Command::Client(client)) => client::run(*client),
        Ok(args::Command::Testee(args)) => testee::run(&args),
        Ok(args::Command::Tune(tune)) => tune::run(*tune).into(),
        Ok(args::Command::Wsperf(args)) => load::run(*args).into(),
        Err(error) => usage(&error).into(),
    }
}

/// The program `wsperf`: `ringway wsperf` under its own name.
pub fn wsperf() -> ExitCode {
    match parse::<load::StandaloneArgs>(load::tailor(load::StandaloneArgs::command())) {
        Ok(standalone) => load::run(standalone.wsperf).into(),
        Err(error) => usage(&error).into(),
    }
}

/// Parses the command line by a clap definition that was changed after clap derived it.
fn parse<P: FromArgMatches>(mut command: clap::Command) -> Result<P, clap::Error> {
    let matches = command.try_get_matches_from_mut(words())?;
    P::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The words of the command line. `gateway … --to=…` is `forward`: what it accepts and where that leads to are the reverse of
/// a gateway's, and so are its options.
fn words() -> Vec<std::ffi::OsString> {
    let mut words: Vec<_> = std::env::args_os().collect();
    let leads =
        |word: &std::ffi::OsString| word == "--to" || word.as_encoded_bytes().starts_with(b"--to=");
    if words.get(1).is_some_and(|word| word == "gateway") && words.iter().any(leads) {
        words[1] = "forward".into();
    }
    words
}

/// The program `server`: `ringway server` under its own name.
pub fn server() -> ExitCode {
    match args::StandaloneArgs::try_parse() {
        Ok(standalone) => launch::server(standalone.server).into(),
        Err(error) => usage(&error).into(),
    }
}

/// The program `websockify`: `ringway gateway` with another command line.
pub fn websockify() -> ExitCode {
    websockify::run()
}

/// The program `websocketd`: `ringway gateway --exec` with another command line.
pub fn websocketd() -> ExitCode {
    websocketd::run()
}

/// Prints clap's help or error. A reader that has left (`--help | head`) causes no message.
fn usage(error: &clap::Error) -> Exit {
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
        _ => Exit::Usage,
    }
}

/// The table of exit codes at the end of the server's `--help`.
fn help_codes() -> String {
    let lines = Exit::ALL
        .iter()
        .filter(|(exit, _)| !matches!(exit, Exit::Regression | Exit::Disorder))
        .map(|(exit, meaning)| format!("  {}  {meaning}", exit.code()));
    format!("Exit codes:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        args::RingwayArgs::command().debug_assert();
        args::StandaloneArgs::command().debug_assert();
        load::tailor(load::StandaloneArgs::command()).debug_assert();
    }

    #[test]
    fn help_starts_with_an_example_fits_eighty_columns_and_lists_exit_codes() {
        let help = args::StandaloneArgs::command()
            .render_long_help()
            .to_string();
        assert!(
            help.starts_with("Example:\n  server --workers 4 --backlog\n"),
            "{help}"
        );
        let wide: Vec<_> = help
            .lines()
            .filter(|line| line.chars().count() > 80)
            .collect();
        assert!(wide.is_empty(), "{wide:?}");
        assert!(help.contains("  3  the system refused"));
        assert!(
            !help.contains("regression"),
            "a server compares nothing: {help}"
        );
    }

    #[test]
    fn the_clients_help_starts_with_an_example_and_fits_eighty_columns() {
        let mut all = args::RingwayArgs::command();
        let client = all.find_subcommand_mut("client").expect("a command");
        let help = client.render_long_help().to_string();
        assert!(
            help.starts_with("Example:\n  ringway client ws://127.0.0.1:9000\n"),
            "{help}"
        );
        assert!(
            help.lines().all(|line| line.chars().count() <= 80),
            "{help}"
        );
        assert!(help.contains(" 13  a script or --check"), "{help}");
    }

    #[test]
    fn a_bare_backlog_is_the_kernels_limit_and_switches_need_no_value() {
        let typed = [
            "server",
            "--workers",
            "4",
            "--backlog",
            "--silence",
            "--nodelay=false",
        ];
        let args = args::StandaloneArgs::try_parse_from(typed)
            .expect("as the user types it")
            .server
            .server;
        assert_eq!(args.text("workers"), Some("4"));
        assert_eq!(args.text("backlog"), Some("somaxconn"));
        assert_eq!(args.text("silence"), Some("true"));
        assert_eq!(args.text("nodelay"), Some("false"));
    }

    #[test]
    fn an_option_given_twice_is_refused() {
        assert!(
            args::StandaloneArgs::try_parse_from(["server", "--port", "1", "--port", "2"]).is_err()
        );
    }
}
