//! A wrapped program: its port is moved to the loopback, and the gateway stands where it believes to listen.
//!
//! Owns: the moved port, what the program is started with, and the wait of a session for a program that does not listen yet. Never: starts
//! the program (the supervisor does).
//!
//! ```text
//!  client ──▶ gateway on PORT ──▶ 127.0.0.1:MOVED or [::1]:MOVED ◀── bind(PORT) of the program, by the library of ringway-rebind
//!                                  held here with sockets that are bound and do not listen
//! ```

mod library;

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringway::exit::Fatal;
use ringway::options::{Endpoint, ServerOptions, WrapMode};
use ringway::services::gateway::Place;
use ringway::supervise::{WrapOptions, is_listened_to};
use ringway::{Address, ConnectOptions, Target};
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{Choice, Unless};
use ringway_command::options::{Definition, define};
use socket2::{Domain, Socket, Type};

/// Ports that are tried until one is free for both families.
const PORTS_MAX: u32 = 64;

/// Time that a session waits for a program that does not listen yet, as a server does that was just started.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Time between two looks whether it does.
const LOOK: Duration = Duration::from_millis(20);

/// What the dynamic linker loads before the libraries of a program.
const PRELOAD: &str = "LD_PRELOAD";

pub(super) fn definition() -> Definition<ServerOptions> {
    let modes = &[
        ("exit", WrapMode::Exit),
        ("ignore", WrapMode::Ignore),
        ("respawn", WrapMode::Respawn),
    ];
    define(
        "wrap-mode",
        ringway_command::field!(ServerOptions: gateway.wrap),
        Unless(Choice("MODE", modes)),
        "With a program behind -- and without --exec: run it once, listen on the port that it believes to bind, and lead there. When it \
         ends, exit (with its exit status), ignore it (it may have gone to the background), or respawn it",
    )
    .default_said("exit, if there is a program")
}

/// Refuses what does not go with a wrapped program.
pub(super) fn check(options: &ServerOptions) -> Resolved<()> {
    let gateway = &options.gateway;
    let leads = gateway.sessions.leads() || gateway.programs.runs();
    match gateway.wrap {
        Some(_) if leads => Err(BadOption(
            "the wrapped program is where sessions lead to: leave tokens, routes and --exec off, or --wrap-mode and the program".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// A program that is about to be wrapped.
pub(crate) struct Wrapping {
    pub(crate) options: WrapOptions,
    /// They keep the moved port from being chosen by anybody else, however often the program is started.
    _held: Vec<Socket>,
}

impl Wrapping {
    /// Moves the port of a program, and makes it the target. It says nothing: the first line starts a thread, and the supervisor must be
    /// alone.
    ///
    /// # Errors
    /// There is no one port, or the system refuses what is needed.
    pub(crate) fn new(
        options: &mut ServerOptions,
        mode: WrapMode,
        command: &[OsString],
        is_quiet: bool,
    ) -> Result<Self, Fatal> {
        if command.is_empty() {
            return Err(Fatal::usage(
                "--wrap-mode needs a program: ringway gateway 5901 --wrap-mode=ignore -- vncserver :1",
            ));
        }
        if options.gateway.target.is_some() {
            return Err(Fatal::usage(
                "a wrapped program is the target: leave --target off, or --wrap-mode and the program",
            ));
        }
        let from = listened(options)?;
        let (port, held) = hold().map_err(|error| {
            Fatal::environment(format!("no port of the loopback is to be had: {error}"))
        })?;
        let library = library::place()?;
        let preload = match std::env::var_os(PRELOAD).filter(|others| !others.is_empty()) {
            None => library.into_os_string(),
            Some(others) => {
                let mut all = library.into_os_string();
                all.push(":");
                all.push(others);
                all
            }
        };
        options.gateway.target = Some(Place::Tcp {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port,
        });
        Ok(Self {
            options: WrapOptions {
                command: command.to_vec(),
                environment: vec![
                    (PRELOAD.into(), preload),
                    (
                        ringway_rebind::variable().into(),
                        ringway_rebind::value(from, port).into(),
                    ),
                ],
                mode,
                port,
                is_quiet,
            },
            _held: held,
        })
    }
}

/// The one TCP port on which this gateway listens.
fn listened(options: &ServerOptions) -> Result<u16, Fatal> {
    let port = |endpoint: &Endpoint| match endpoint {
        Endpoint::Tcp { port, .. } => Some(*port),
        Endpoint::Unix { .. } => None,
    };
    let mut ports: Vec<u16> = options.endpoints.iter().filter_map(port).collect();
    ports.dedup();
    match ports[..] {
        [port] if port != 0 => Ok(port),
        _ => Err(Fatal::usage(
            "a wrapped program believes to bind one TCP port, which is to be that of the gateway: give it, as ringway gateway 5901 -- \
             vncserver :1",
        )),
    }
}

/// A free port of both loopback addresses, held by sockets that do not listen. A program binds it beside them.
fn hold() -> io::Result<(u16, Vec<Socket>)> {
    let mut failed = io::ErrorKind::AddrInUse.into();
    for _ in 0..PORTS_MAX {
        let first = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let local = first.local_addr()?.as_socket();
        let port = local.ok_or(io::ErrorKind::InvalidData)?.port();
        match bind((Ipv6Addr::LOCALHOST, port).into()) {
            Ok(second) => return Ok((port, vec![first, second])),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => failed = error,
            // There is no IPv6 here, and nothing to hold.
            Err(_) => return Ok((port, vec![first])),
        }
    }
    Err(failed)
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&address.into())?;
    // After the choice of the port, which then was nobody else's.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Where sessions lead to.
pub(super) struct Wrapped {
    port: u16,
    pub(super) target: Arc<Target>,
    pub(super) name: Arc<str>,
}

impl Wrapped {
    /// The target of a gateway that wraps a program. `None`: it does not.
    ///
    /// # Errors
    /// TLS to it cannot be had.
    pub(super) fn new(
        options: &ServerOptions,
        make: &super::names::Make,
    ) -> Result<Option<Self>, Fatal> {
        let gateway = &options.gateway;
        let (Some(_), Some(place)) = (gateway.wrap, &gateway.target) else {
            return Ok(None);
        };
        let Place::Tcp { port, .. } = place else {
            return Ok(None);
        };
        let hosts: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let address = |host| ConnectOptions::new(Address::Tcp(SocketAddr::new(host, *port)));
        Ok(Some(Self {
            port: *port,
            target: Arc::new(make(place, hosts.map(address).into())?),
            name: place.to_string().into(),
        }))
    }

    /// Whether the program listens.
    pub(super) fn listens(&self) -> bool {
        is_listened_to(self.port)
    }

    /// Waits until it does, for a bounded time. Afterwards the connect says what is.
    pub(super) async fn wait(&self) {
        let began = Instant::now();
        while !self.listens() && began.elapsed() < WAIT_MAX {
            tokio::time::sleep(LOOK).await;
        }
    }
}
