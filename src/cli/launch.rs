//! From options to a running process: a worker, a supervisor, or a printed configuration.
//!
//! Owns: every system call of the start-up (files, names, CPUs, logging). Never: judges a value.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use ringway_command::judge::BadOption;
use ringway_command::options::{self, Defined, Given};
use ringway_command::output::{Log, log_to_stderr, print};

use super::args::{self, ServerCommand};
use super::forward::ForwardCommand;
use super::gateway::wrap::Wrapping;
use super::gateway::{self, GatewayArgs, GatewayCommand};
use super::options::ServerArgs;
use super::{access, resolve, services, stdio};
use ringway::exit::{Exit, Fatal};
use ringway::lines;
use ringway::options::{Application, ServerOptions, WorkerSeat};
use ringway::seat::Role;
use ringway::server::{Origins, bridge, supervisor_options, web};
use ringway::supervise::{self, Address, Origin, WorkerCommand};

/// How a process ends: with one of our codes, or with that of a worker or of a wrapped program.
pub(super) enum Outcome {
    Exit(Exit),
    Other(ExitCode),
}

/// What a supervisor is started with beside its options.
enum Beside {
    Nothing,
    /// The standard input is the listener.
    Input,
    /// A program to wrap, and its arguments.
    Program {
        command: Vec<OsString>,
        is_quiet: bool,
    },
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Exit(exit) => exit.into(),
            Outcome::Other(code) => code,
        }
    }
}

/// Runs `ringway server`.
pub(super) fn server(args: ServerCommand) -> Outcome {
    let ServerCommand { server, process } = args;
    ended(try_run(server, &process, Beside::Nothing))
}

/// Runs `ringway gateway`.
pub(super) fn gateway(args: GatewayCommand) -> Outcome {
    let read = args.into_asked().map_err(|bad| usage(bad.to_string()));
    ended(read.and_then(|asked| {
        let (given, process) = (asked.given, asked.process);
        if !asked.wrapped.is_empty() {
            let beside = Beside::Program {
                command: asked.wrapped,
                is_quiet: asked.is_quiet,
            };
            return try_run(given, &process, beside);
        }
        // A worker has its listeners from its supervisor.
        if !asked.is_inetd || WorkerSeat::from_environment()?.is_some() {
            return try_run(given, &process, Beside::Nothing);
        }
        if stdio::is_listener() {
            return match stdio::is_error_output_taken() {
                true => Err(stdio::without_error_output()),
                false => try_run(given, &process, Beside::Input),
            };
        }
        run_one(given, &process, stdio::check_inetd, |options| {
            if stdio::is_error_output_taken() {
                return Err(stdio::without_error_output());
            }
            log_to_stderr(log_of(options));
            gateway::inetd(options)
        })
    }))
}

/// Serves one connection in this process.
fn run_one<D: Serves>(
    given: Given<D>,
    process: &args::ProcessArgs,
    check: impl Fn(&dyn Fn(&str) -> bool) -> Result<(), BadOption>,
    run: impl Fn(&ServerOptions) -> Result<Exit, Fatal>,
) -> Result<Outcome, Fatal> {
    let given = match &process.config {
        Some(path) => given.over_file(path)?,
        None => given,
    };
    check(&|name| given.has(name)).map_err(|bad| usage(bad.to_string()))?;
    let options = resolve_options(&given).map_err(|bad| usage(bad.to_string()))?;
    if process.print_config {
        return Ok(Outcome::Exit(print(&options::show::<D>(&options))));
    }
    lines::detach();
    run(&options).map(Outcome::Exit)
}

/// Runs `ringway forward`.
pub(super) fn forward(args: ForwardCommand) -> Outcome {
    let read = args.into_asked().map_err(|bad| usage(bad.to_string()));
    ended(read.and_then(|asked| {
        let Some(one) = asked.one else {
            return try_run(asked.given, &asked.process, Beside::Nothing);
        };
        run_one(asked.given, &asked.process, stdio::check, |options| {
            log_to_stderr(log_of(options));
            stdio::run(options, &one)
        })
    }))
}

fn ended(outcome: Result<Outcome, Fatal>) -> Outcome {
    let outcome = outcome.unwrap_or_else(|fatal| {
        supervise::error(&fatal);
        Outcome::Exit(fatal.exit)
    });
    lines::flush();
    outcome
}

const fn usage(sentence: String) -> Fatal {
    Fatal {
        exit: Exit::Usage,
        sentence,
    }
}

fn try_run<D: Serves>(
    given: Given<D>,
    process: &args::ProcessArgs,
    beside: Beside,
) -> Result<Outcome, Fatal> {
    let seat = match resolve::seat(process).map_err(|bad| usage(bad.to_string()))? {
        Some(seat) => Some(seat),
        None => WorkerSeat::from_environment()?,
    };
    let given = match config_path(process, seat.as_ref()) {
        Some(path) => given.over_file(&path)?,
        None => given,
    };
    let options = resolve_options(&given).map_err(|bad| usage(bad.to_string()))?;
    if process.print_config {
        return Ok(Outcome::Exit(print(&options::show::<D>(&options))));
    }
    lines::detach();
    log_to_stderr(log_of(&options));
    match seat {
        Some(seat) => Ok(Outcome::Other(match seat.role {
            Role::Worker => D::work(&options, &seat),
            Role::Bridge => bridge::run(&options, &seat),
            Role::Web => web::run(&options, &seat),
        })),
        None => supervise(options, &given, beside),
    }
}

const fn log_of(options: &ServerOptions) -> Log {
    match (options.debug, options.log_frames) {
        (true, _) => Log::Everything,
        (false, Some(_)) => Log::Frames,
        (false, None) => Log::Warnings,
    }
}

fn resolve_options<D: Serves>(given: &Given<D>) -> Result<ServerOptions, BadOption> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = resolve::server(given, cpus)?;
    D::check(&options)?;
    Ok(options)
}

/// A command whose workers serve WebSockets.
pub(super) trait Serves: Defined<Options = ServerOptions> {
    /// Refuses options that only this command needs.
    fn check(options: &ServerOptions) -> Result<(), BadOption>;

    /// Refuses, in the supervisor and before the first worker, what the workers could not do.
    fn prepare(options: &ServerOptions) -> Result<(), Fatal>;

    /// The services that clients find by path.
    fn services(options: &ServerOptions) -> Vec<(String, Application)>;

    /// Runs a worker process.
    fn work(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode;
}

impl Serves for ServerArgs {
    fn check(_: &ServerOptions) -> Result<(), BadOption> {
        Ok(())
    }

    fn prepare(options: &ServerOptions) -> Result<(), Fatal> {
        // Workers read them too. What is wrong with them is to be said once, and now.
        access::keys(options).map(|_| ())
    }

    fn services(options: &ServerOptions) -> Vec<(String, Application)> {
        services::by_path(options)
    }

    fn work(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode {
        services::work(options, seat)
    }
}

impl Serves for GatewayArgs {
    fn check(options: &ServerOptions) -> Result<(), BadOption> {
        gateway::check(options)
    }

    fn prepare(options: &ServerOptions) -> Result<(), Fatal> {
        gateway::prepare(options)
    }

    fn services(_: &ServerOptions) -> Vec<(String, Application)> {
        Vec::new()
    }

    fn work(options: &ServerOptions, seat: &WorkerSeat) -> ExitCode {
        gateway::work(options, seat)
    }
}

/// The configuration file. For a worker, it is the effective configuration, which its supervisor has left in a memfd.
fn config_path(process: &args::ProcessArgs, seat: Option<&WorkerSeat>) -> Option<PathBuf> {
    match seat.and_then(|seat| seat.config_fd) {
        Some(fd) => Some(format!("/proc/self/fd/{fd}").into()),
        None => process.config.clone(),
    }
}

/// Options whose values are secrets, or may be.
const SECRETS: [&str; 3] = ["basic-auth", "header", "key-password"];

/// Takes out of the options what is nobody's business who sees the status page: secrets, and user, password and query of addresses.
fn hide_secrets(settings: &mut [(String, String)]) {
    for (name, text) in settings {
        if SECRETS.contains(&name.as_str()) && !text.is_empty() {
            "set, and not shown".clone_into(text);
        } else if let Some((scheme, rest)) = text.split_once("://") {
            // What follows the host has no '@'; a password may have one.
            let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            let shown = match rest.split_once('?') {
                Some((rest, _)) => format!("{scheme}://{rest}?…"),
                None => format!("{scheme}://{rest}"),
            };
            *text = shown;
        }
    }
}

/// Runs the supervisor. `given` says which values the user chose.
fn supervise<D: Serves>(
    mut options: ServerOptions,
    given: &Given<D>,
    beside: Beside,
) -> Result<Outcome, Fatal> {
    let (command, is_quiet) = match &beside {
        Beside::Program { command, is_quiet } => (&command[..], *is_quiet),
        Beside::Input | Beside::Nothing => (&[][..], false),
    };
    let wrapping = match options.gateway.wrap {
        Some(mode) => Some(Wrapping::new(&mut options, mode, command, is_quiet)?),
        None => None,
    };
    let options = &options;
    D::prepare(options)?;
    let command = WorkerCommand {
        name: std::env::args_os()
            .next()
            .unwrap_or_else(|| "ringway".into()),
        arguments: args::original(),
        config: options::show::<D>(options),
    };
    let origin = |name| match given.has(name) {
        true => Origin::User,
        false => Origin::Default,
    };
    let origins = Origins {
        backlog: origin("backlog"),
        web: origin("port"),
    };
    let mut settings = options::pairs::<D>(options);
    hide_secrets(&mut settings);
    let mut supervised = supervisor_options(options, origins, command, settings)?;
    supervised.services = D::services(options);
    if matches!(beside, Beside::Input) {
        if given.has("wsuri") {
            return Err(usage(
                "--wsuri has no effect where the standard input is the listener: leave it off"
                    .to_owned(),
            ));
        }
        supervised.addresses = vec![Address::Input];
    }
    supervised.wrapped = wrapping.as_ref().map(|wrapping| wrapping.options.clone());
    let ended = supervise::run(supervised)?;
    Ok(Outcome::Other(ended.code().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_page_shows_no_secret() {
        for (name, text, shown) in [
            ("basic-auth", "ada:$6$x", "set, and not shown"),
            ("header", "Authorization: Bearer x", "set, and not shown"),
            ("key-password", "pass:x", "set, and not shown"),
            (
                "token-redis",
                "redis://:s3cret@127.0.0.1:1/0",
                "redis://127.0.0.1:1/0",
            ),
            (
                "token-url",
                "https://u:p@a@example/%s",
                "https://example/%s",
            ),
            (
                "backplane",
                "nats://u:p@127.0.0.1:4222",
                "nats://127.0.0.1:4222",
            ),
            ("to", "wss://u:p@example/ssh", "wss://example/ssh"),
            ("to", "wss://example/?token=S", "wss://example/?…"),
            ("token-url", "https://a/%s?key=S", "https://a/%s?…"),
            ("wsuri", "ws://127.0.0.1:9000", "ws://127.0.0.1:9000"),
            ("workers", "2", "2"),
        ] {
            let mut settings = [(name.to_owned(), text.to_owned())];
            hide_secrets(&mut settings);
            assert_eq!(settings[0].1, shown, "{name}");
        }
    }
}
