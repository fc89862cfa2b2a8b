//! From options to a running process: a worker, a supervisor, or a printed configuration.
//!
//! Owns: everything of start-up that asks the system (files, names, CPUs, logging). Never: judges a value.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::process::ExitCode;

use serde::de::DeserializeOwned;

use super::args::{self, ConfigArgs, ServerArgs};
use super::{file, resolve};
use crate::exit::Exit;
use crate::lines;
use crate::options::{Endpoint, ServerOptions, WebHost, WebPort};
use crate::supervise::{self, Address, Fatal, Origin, RespawnPolicy, WorkerCommand};
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
    let outcome = try_server(args).unwrap_or_else(|fatal| {
        supervise::error(&fatal);
        Outcome::Exit(fatal.exit)
    });
    lines::flush();
    outcome
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
    lines::detach();
    log_to_stderr(options.debug);
    match seat {
        Some(seat) => Ok(Outcome::Worker(worker::run(&options, &seat))),
        None => supervise::run(supervisor_options(&options, &config)?).map(Outcome::Exit),
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
            eprintln!("ringway: error: the result cannot be written to stdout: {error}");
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
        .with_writer(|| lines::Log)
        .with_ansi(ansi)
        .try_init();
}

/// `config` is what was typed and written, for who chose what.
fn supervisor_options(
    options: &ServerOptions,
    config: &ConfigArgs,
) -> Result<supervise::Options, Fatal> {
    let address = resolve_address(&options.endpoint)?;
    let web = match &options.web_port {
        WebPort::Auto(host) => Some(web_address(host, 0, &address)?),
        WebPort::Fixed(host, port) => Some(web_address(host, *port, &address)?),
        WebPort::Off => None,
    };
    let origin = |text: &Option<args::Text>| match text {
        Some(_) => Origin::User,
        None => Origin::Default,
    };
    Ok(supervise::Options {
        address,
        backlog: options.backlog,
        backlog_origin: origin(&config.backlog),
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
        web_origin: origin(&config.port),
        settings: file::pairs(options),
    })
}

/// Where the pages are, beside WebSockets on `address`.
fn web_address(host: &WebHost, port: u16, address: &Address) -> Result<SocketAddr, Fatal> {
    match (host, address) {
        (WebHost::Named(host), _) => look_up(host, port).map(|found| found[0]),
        (WebHost::Loopback, Address::Tcp(addresses))
            if addresses.first().is_some_and(SocketAddr::is_ipv6) =>
        {
            Ok((Ipv6Addr::LOCALHOST, port).into())
        }
        (WebHost::Loopback, _) => Ok((Ipv4Addr::LOCALHOST, port).into()),
    }
}

/// Looks the host up.
fn resolve_address(endpoint: &Endpoint) -> Result<Address, Fatal> {
    let (host, port) = match endpoint {
        Endpoint::Unix { path } => return Ok(Address::Unix(path.clone())),
        Endpoint::Tcp { host, port } => (host, *port),
    };
    look_up(host, port).map(Address::Tcp)
}

/// All addresses of a host, at least one.
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fatal> {
    let refuse = |why: String| Fatal {
        exit: Exit::Environment,
        sentence: format!(
            "cannot find the address of '{host}': {why}; give an address, as 127.0.0.1 or [::1]"
        ),
    };
    let found = (host, port).to_socket_addrs();
    // IPv4 first: who types `localhost` also means clients that type 127.0.0.1.
    let mut found: Vec<_> = found.map_err(|error| refuse(error.to_string()))?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    match found.is_empty() {
        true => Err(refuse("it has none".to_owned())),
        false => Ok(found),
    }
}
