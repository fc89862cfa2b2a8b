//! From options to a running process: a worker, a supervisor, or a printed configuration.
//!
//! Owns: everything of start-up that asks the system (files, names, CPUs, logging). Never: judges a value.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use super::args::{self, ConfigArgs, ServerArgs};
use super::{file, resolve};
use crate::exit::Exit;
use crate::options::{Endpoint, ServerOptions, WebPort};
use crate::supervise::{self, Address, Fatal, RespawnPolicy, WorkerCommand};
use crate::worker;

/// What a process ends with: one of our codes, or what the worker says.
pub(super) enum Outcome {
    Exit(Exit),
    Worker(ExitCode),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Exit(exit) => exit.into(),
            Outcome::Worker(code) => code,
        }
    }
}

/// `ringway server`.
pub(super) fn server(args: ServerArgs) -> Outcome {
    match try_server(args) {
        Ok(outcome) => outcome,
        Err(fatal) => {
            supervise::error(&fatal);
            Outcome::Exit(fatal.exit)
        }
    }
}

fn try_server(args: ServerArgs) -> Result<Outcome, Fatal> {
    let ServerArgs { config, process } = args;
    let usage = |sentence: String| Fatal {
        exit: Exit::Usage,
        sentence,
    };
    let seat = resolve::seat(&process).map_err(|bad| usage(bad.to_string()))?;
    let config = match config_path(&process)? {
        Some(path) => file::overlay(&config, &read(&path)?),
        None => config,
    };
    let options = resolve_options(&config).map_err(|bad| usage(bad.to_string()))?;
    if process.print_config {
        return Ok(Outcome::Exit(print(&file::show(&options))));
    }
    log_to_stderr(options.debug);
    match seat {
        Some(seat) => Ok(Outcome::Worker(worker::run(&options, &seat))),
        None => supervise::run(supervisor_options(&options)?).map(Outcome::Exit),
    }
}

fn resolve_options(config: &ConfigArgs) -> Result<ServerOptions, resolve::BadOption> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    resolve::server(config, cpus)
}

/// The file to read: a worker reads the effective configuration that its supervisor left in memory.
fn config_path(process: &args::ProcessArgs) -> Result<Option<std::path::PathBuf>, Fatal> {
    match &process.config_fd {
        Some(args::Text(fd)) if fd.parse::<u32>().is_ok() => {
            Ok(Some(format!("/proc/self/fd/{fd}").into()))
        }
        Some(args::Text(fd)) => Err(Fatal {
            exit: Exit::Usage,
            sentence: format!("--config-fd {fd} is no descriptor: leave it to the supervisor"),
        }),
        None => Ok(process.config.clone()),
    }
}

/// Reads a configuration file with the options `A`.
pub(super) fn read<A: clap::Args + DeserializeOwned>(path: &Path) -> Result<A, Fatal> {
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
pub(super) fn print(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            super::tell_error(format_args!(
                "the result cannot be written to stdout: {error}"
            ));
            Exit::Environment
        }
        _ => Exit::Ok,
    }
}

pub(super) fn log_to_stderr(debug: bool) {
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

fn supervisor_options(options: &ServerOptions) -> Result<supervise::Options, Fatal> {
    let address = resolve_address(&options.endpoint)?;
    let host = match &address {
        Address::Tcp(addresses) => addresses
            .first()
            .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), SocketAddr::ip),
        Address::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let web = match options.web_port {
        WebPort::Auto => Some(SocketAddr::new(host, 0)),
        WebPort::Fixed(port) => Some(SocketAddr::new(host, port)),
        WebPort::Off => None,
    };
    Ok(supervise::Options {
        address,
        backlog: options.backlog,
        reuseport: options.reuseport,
        socket: options.socket.clone(),
        workers: options.workers,
        affinity: options.affinity,
        worker_connections: options.worker_connections_max(),
        command: WorkerCommand {
            name: std::env::args_os()
                .next()
                .unwrap_or_else(|| "ringway".into()),
            arguments: args::original(),
            config: file::show(options),
        },
        respawn: RespawnPolicy::default(),
        drain_timeout: options.drain_timeout,
        interval: options.interval,
        format: options.format,
        silence: options.silence,
        web,
        settings: file::pairs(options),
    })
}

/// Looks the host up.
fn resolve_address(endpoint: &Endpoint) -> Result<Address, Fatal> {
    let (host, port) = match endpoint {
        Endpoint::Unix { path } => return Ok(Address::Unix(path.clone())),
        Endpoint::Tcp { host, port } => (host, *port),
    };
    let found = (host.as_str(), port).to_socket_addrs().map_err(|error| Fatal {
        exit: Exit::Environment,
        sentence: format!("cannot find the address of '{host}': {error}; give an address, as ws://127.0.0.1:{port}"),
    })?;
    // IPv4 first: who types `localhost` also means clients that type 127.0.0.1.
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    Ok(Address::Tcp(found))
}
