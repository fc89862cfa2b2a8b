//! The builder of a server: its options, and the ways to run it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::address;
#[cfg(feature = "backplane")]
use super::bridge;
use super::process::{self, Place};
use super::services::ServerOfServices;
use super::threads::{self, Running};
#[cfg(feature = "web")]
use super::web;
use crate::bus::OUTSIDE_SEATS;
use crate::exit::Fatal;
use crate::options::{
    Accepts, Backlog, BackplaneOptions, BadEndpoint, BusOptions, ENDPOINTS_MAX, FRAGMENT_BYTES_MIN,
    IoChoice, Limits, OpeningOptions, ServerOptions, SocketOptions, WebOptions, WebPort,
    WorkerSeat,
};
use crate::protocol::App;
use crate::seat::Role;
use crate::supervise::{self, ApiOptions, Listeners, Origin, RespawnPolicy, WorkerCommand};
use crate::tls::{TlsOptions, TlsSupply};

/// Most workers of a server: no machine that we know has more CPUs.
const WORKERS_MAX: usize = 1024;

// Each of them has a bell.
const _: () = assert!(WORKERS_MAX + OUTSIDE_SEATS <= ringway_bus::doorbell::READERS_MAX);

/// A server: set its options, then run it in one of several ways. See [the module](super) for an example.
///
/// Every limit has a default: [`ServerOptions`] lists them all. The method that runs the server reports a wrong value
/// as one sentence with its remedy.
#[derive(Clone, Debug)]
pub struct Server {
    options: Result<ServerOptions, Fatal>,
}

impl Server {
    /// A server on `uri`: `ws://127.0.0.1:9000`, `ws://[::1]:0` (any free port), `ws+unix:/run/chat.sock`. By default,
    /// it has one worker for each CPU that this process may use.
    pub fn new(uri: &str) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let options = uri.parse().map(|endpoint| ServerOptions {
            endpoints: vec![endpoint],
            // No pages and no statistics unless the program asks for them. The start-up line is printed on stdout.
            web_port: WebPort::Off,
            statistics: false,
            ..ServerOptions::new(cpus)
        });
        Self {
            options: options.map_err(|bad| wrong(&bad)),
        }
    }

    /// A server with these options.
    pub const fn with_options(options: ServerOptions) -> Self {
        Self {
            options: Ok(options),
        }
    }

    fn set(mut self, set: impl FnOnce(&mut ServerOptions)) -> Self {
        if let Ok(options) = &mut self.options {
            set(options);
        }
        self
    }

    /// Listens at one more place, as in [`Self::new`]; at most 16 in all.
    #[must_use]
    pub fn listen(self, uri: &str) -> Self {
        match uri.parse() {
            Ok(endpoint) => self.set(|options| options.endpoints.push(endpoint)),
            Err(bad) => Self {
                options: self.options.and_then(|_| Err(wrong(&bad))),
            },
        }
    }

    /// Number of workers (processes or threads), 1 to 1024. Default: one for each CPU that this process may use.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        self.set(|options| options.workers = workers)
    }

    /// Whether each worker process is pinned to a CPU. Default: yes. Threads are never pinned.
    #[must_use]
    pub fn affinity(self, affinity: bool) -> Self {
        self.set(|options| options.affinity = affinity)
    }

    /// Length of the accept queue, connections. Default 8192, or the kernel's limit (`net.core.somaxconn`) if that is
    /// less.
    #[must_use]
    pub fn backlog(self, backlog: Backlog) -> Self {
        self.set(|options| options.backlog = backlog)
    }

    /// The I/O tier: io_uring or epoll. Default: io_uring where it works, else epoll.
    #[must_use]
    pub fn io(self, io: IoChoice) -> Self {
        self.set(|options| options.io = io)
    }

    /// Most open connections of the whole server. A further client gets 503. Default: no limit but descriptors.
    #[must_use]
    pub fn max_connections(self, connections: usize) -> Self {
        self.set(|options| options.max_connections = Some(connections))
    }

    /// Most connections of one address (of one /64 for IPv6) in each worker. A further one is reset, or answered 429 if a
    /// proxy names the client. Default: no limit.
    #[must_use]
    pub fn connections_per_address(self, connections: u32) -> Self {
        self.set(|options| options.connections_per_address = Some(connections))
    }

    /// Most connections per second of one address in each worker. Default: no limit.
    #[must_use]
    pub fn handshakes_per_address(self, per_second: u32) -> Self {
        self.set(|options| options.handshakes_per_address = Some(per_second))
    }

    /// Limits of every connection.
    #[must_use]
    pub fn limits(self, limits: &Limits) -> Self {
        self.set(|options| limits.apply_to(options))
    }

    /// Time that a client has for its opening handshake. Default 5 s.
    #[must_use]
    pub fn handshake_timeout(self, timeout: Duration) -> Self {
        self.set(|options| options.handshake_timeout = timeout)
    }

    /// Time that connections have to end after the server was told to stop. Then they are cut off. Default 10 s.
    #[must_use]
    pub fn drain_timeout(self, timeout: Duration) -> Self {
        self.set(|options| options.drain_timeout = timeout)
    }

    /// What opening handshakes must meet, and what every answer carries.
    #[must_use]
    pub fn opening(self, opening: OpeningOptions) -> Self {
        self.set(|options| options.opening = opening)
    }

    /// Whether a Close of the peer is answered with its reason too. Default: with its code alone.
    #[must_use]
    pub fn echo_close_reason(self, echo: bool) -> Self {
        self.set(|options| options.echo_close_reason = echo)
    }

    /// Whether a peer that broke the protocol is reset. Default: it gets a Close with the reason.
    #[must_use]
    pub fn fail_by_drop(self, drop: bool) -> Self {
        self.set(|options| options.fail_by_drop = drop)
    }

    /// TLS of accepted connections: certificates with their keys. Default: none.
    #[must_use]
    pub fn tls(self, tls: TlsOptions) -> Self {
        self.set(|options| options.tls = tls)
    }

    /// Options of the listener, which every accepted socket inherits.
    #[must_use]
    pub fn socket(self, socket: SocketOptions) -> Self {
        self.set(|options| options.socket = socket)
    }

    /// A bus between the workers, so that connections can subscribe to topics ([`Context::subscribe`](crate::Context::subscribe)) and
    /// applications hear of each other ([`App::event`]). Default: none.
    #[must_use]
    pub fn bus(self, bus: BusOptions) -> Self {
        self.set(|options| (options.bus, options.bus_options) = (true, bus))
    }

    /// A broker through which several servers share their topics. It needs a bus, the feature `backplane`, and worker processes
    /// ([`Self::run`]). Default: none.
    #[must_use]
    pub fn backplane(self, backplane: BackplaneOptions) -> Self {
        self.set(|options| options.backplane = backplane)
    }

    /// Files, or an application, for requests that open no WebSocket: a process of its own answers them. It needs the feature `web`, and
    /// worker processes ([`Self::run`]). Default: none, [`App::request`] answers them.
    #[must_use]
    pub fn web(self, web: WebOptions) -> Self {
        self.set(|options| options.web = web)
    }

    /// Adds a service under a path such as `/echo` or `/chat/{room}`. Each worker calls `make` once. A server with
    /// services answers 404 on every other path.
    #[must_use]
    pub fn service<A>(
        self,
        path: &str,
        make: impl Fn(&Place) -> A + Send + Sync + 'static,
    ) -> ServerOfServices
    where
        A: App + 'static,
        A::Session: 'static,
    {
        ServerOfServices::new(self).service(path, make)
    }

    /// Adds a service like [`Server::service`], with its own limits.
    #[must_use]
    pub fn service_with<A>(
        self,
        path: &str,
        limits: Limits,
        make: impl Fn(&Place) -> A + Send + Sync + 'static,
    ) -> ServerOfServices
    where
        A: App + 'static,
        A::Session: 'static,
    {
        ServerOfServices::new(self).service_with(path, limits, make)
    }

    /// Runs the server on worker processes, until SIGINT or SIGTERM stops it. Each worker calls `make` once. Call it on
    /// the main thread, at the end of `main`: the exit code belongs to this process, whether it is the supervisor or a
    /// worker.
    pub fn run<A: App>(self, make: impl FnOnce(&Place) -> A) -> ExitCode {
        match self.try_run(make) {
            Ok(code) => code,
            Err(fatal) => {
                supervise::error(&fatal);
                fatal.exit.into()
            }
        }
    }

    fn try_run<A: App>(self, make: impl FnOnce(&Place) -> A) -> Result<ExitCode, Fatal> {
        let options = self.checked()?;
        if let Some(seat) = WorkerSeat::from_environment()? {
            return Ok(match seat.role {
                Role::Worker => process::run(&options, &seat, make),
                #[cfg(feature = "backplane")]
                Role::Bridge => bridge::run(&options, &seat),
                // `checked` has refused the backplane, so no supervisor has started this one.
                #[cfg(not(feature = "backplane"))]
                Role::Bridge => {
                    return Err(Fatal::usage("this program has no bridge to a broker"));
                }
                #[cfg(feature = "web")]
                Role::Web => web::run(&options, &seat),
                #[cfg(not(feature = "web"))]
                Role::Web => return Err(Fatal::usage("this program has no web process")),
            });
        }
        supervise::run(supervisor_options(
            &options,
            Origins::default(),
            command(),
            Vec::new(),
        )?)
        .map(|ended| ended.code().into())
    }

    /// Runs the server on threads of this process, until a signal stops it (SIGINT, SIGTERM, SIGQUIT, SIGPWR, SIGXCPU).
    /// The first signal drains the server; a second one stops it at once, with
    /// [`Exit::Interrupted`](crate::Exit::Interrupted). Other signals that would end a process, such as SIGHUP, have no
    /// effect unless the program handles them. Each thread calls `make` once.
    pub fn run_threads<A: App + 'static>(
        self,
        make: impl Fn(&Place) -> A + Send + Sync + 'static,
    ) -> ExitCode {
        match threads::run_until_signalled(|| self.start(make)) {
            Ok(exit) => exit.into(),
            Err(fatal) => {
                supervise::error(&fatal);
                fatal.exit.into()
            }
        }
    }

    /// Starts the server on threads of this process, and returns when it listens. For a server inside another program,
    /// and for tests.
    ///
    /// # Errors
    /// [`Fatal`]: the URI is wrong, the address is taken, a thread cannot be started.
    pub fn start<A: App + 'static>(
        self,
        make: impl Fn(&Place) -> A + Send + Sync + 'static,
    ) -> Result<Running, Fatal> {
        let options = Arc::new(self.checked()?);
        if options.backplane.url.is_some() {
            return Err(Fatal::usage(
                "a backplane needs worker processes, and this server has threads: use Server::run",
            ));
        }
        if options.web.is_wanted() {
            return Err(Fatal::usage(
                "files, CGI programs and an application need worker processes, and this server has threads: use Server::run",
            ));
        }
        let own = supervisor_options(&options, Origins::default(), command(), Vec::new())?;
        let listeners = Listeners::bind(&own)?;
        threads::start(&options, listeners, own.tls, Arc::new(make))
    }

    /// The options, after they were checked.
    fn checked(self) -> Result<ServerOptions, Fatal> {
        let options = self.options?;
        if !(1..=WORKERS_MAX).contains(&options.workers) {
            return Err(Fatal::usage(format!(
                "{} workers cannot be had: a server needs 1 to {WORKERS_MAX}, and one per CPU is best",
                options.workers
            )));
        }
        let places = options.endpoints.len();
        if !(1..=ENDPOINTS_MAX).contains(&places) {
            return Err(Fatal::usage(format!(
                "{places} places to listen cannot be had: a server has 1 to {ENDPOINTS_MAX}"
            )));
        }
        let services = options
            .services
            .iter()
            .map(|limits| limits.fragment_bytes_max);
        let mut fragments = std::iter::once(options.fragment_size)
            .chain(services)
            .flatten();
        if let Some(bytes) = fragments.find(|bytes| *bytes < FRAGMENT_BYTES_MIN) {
            return Err(Fatal::usage(format!(
                "fragments of {bytes} bytes cannot be had: give {FRAGMENT_BYTES_MIN} or more"
            )));
        }
        if let Some(bus) = options.bus().filter(|bus| !bus.is_possible()) {
            return Err(Fatal::usage(format!(
                "a bus with logs of {} bytes and queues of {} messages cannot be had: logs have a power of two from {} to {}, \
                 queues at least one",
                bus.log_bytes,
                bus.queue.messages_max,
                BusOptions::LOG_BYTES_MIN,
                BusOptions::LOG_BYTES_MAX
            )));
        }
        options.opening.letterhead().map_err(Fatal::usage)?;
        check_backplane(&options)?;
        check_extensions(&options)?;
        let own = options.deflate.then_some(options.compression);
        let services = options.services.iter().map(|limits| limits.deflate);
        let mut all = std::iter::once(own).chain(services).flatten();
        match all.find(|deflate| !deflate.is_possible()) {
            Some(deflate) => Err(Fatal::usage(format!(
                "{deflate:?} cannot be had: levels go from 1 to 9, windows from 9 to 15 bits (8 for what is received)"
            ))),
            None => Ok(options),
        }
    }

    /// The options, or the first error in them.
    pub(super) const fn options_mut(&mut self) -> &mut Result<ServerOptions, Fatal> {
        &mut self.options
    }
}

fn wrong(bad: &BadEndpoint) -> Fatal {
    Fatal::usage(bad.to_string())
}

/// Refuses a backplane that cannot be had, or that has nothing to carry.
fn check_backplane(options: &ServerOptions) -> Result<(), Fatal> {
    options.backplane.check().map_err(Fatal::usage)?;
    match (&options.backplane.url, options.bus) {
        (Some(_), false) => Err(Fatal::usage(
            "a backplane carries topics, and this server has no bus: add Server::bus",
        )),
        _ => Ok(()),
    }
}

/// Whether what is accepted are streams, and not requests.
fn accepts_streams(options: &ServerOptions) -> bool {
    let forward = &options.gateway.forward;
    forward.to.is_some() && forward.accepts == Accepts::Streams
}

/// Refuses a web process that cannot be had.
fn check_web(options: &ServerOptions) -> Result<(), Fatal> {
    if options.web.is_wanted() && !cfg!(feature = "web") {
        return Err(Fatal::usage(
            "files, CGI programs and an application need the feature web of the crate ringway",
        ));
    }
    if options.web.is_wanted() && accepts_streams(options) {
        return Err(Fatal::usage(
            "--web, --cgi-dir and --http-proxy need requests, and what is accepted here are streams: leave them off",
        ));
    }
    for (name, dir, what) in [
        ("web", &options.web.dir, "files"),
        ("cgi-dir", &options.web.cgi_dir, "programs"),
    ] {
        if let Some(dir) = dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(Fatal::usage(format!(
                "--{name} {}: this is no directory that can be read; give one with {what} in it",
                dir.display()
            )));
        }
    }
    Ok(())
}

/// Refuses compression that cannot be had, of the server or of one of its services.
fn check_extensions(options: &ServerOptions) -> Result<(), Fatal> {
    let services = || options.services.iter();
    let needs = |name: &str| {
        let sentence = format!("permessage-{name} needs the feature {name} of the crate ringway");
        Err(Fatal::usage(sentence))
    };
    let snappy = options.snappy || services().any(|limits| limits.snappy.is_some());
    if snappy && !cfg!(feature = "snappy") {
        return needs("snappy");
    }
    let own = options.bzip2.then_some(options.bzip2_compression);
    let of_services = services().filter_map(|limits| limits.bzip2);
    let mut all = own.into_iter().chain(of_services).peekable();
    if all.peek().is_some() && !cfg!(feature = "bzip2") {
        return needs("bzip2");
    }
    match all.find(|bzip2| !bzip2.is_possible()) {
        Some(bzip2) => Err(Fatal::usage(format!(
            "{bzip2:?} cannot be had: levels go from 1 to 9"
        ))),
        None => Ok(()),
    }
}

/// The command that starts this program again with the same arguments.
fn command() -> WorkerCommand {
    WorkerCommand {
        name: std::env::args_os()
            .next()
            .unwrap_or_else(|| "ringway".into()),
        arguments: std::env::args_os().skip(1).collect(),
        config: String::new(),
    }
}

/// Who chose a value. If the kernel grants less, only a user's choice is worth a warning.
#[derive(Clone, Copy, Debug)]
pub struct Origins {
    /// Who chose the length of the accept queue.
    pub backlog: Origin,
    /// Who chose the port of the pages.
    pub web: Origin,
}

impl Default for Origins {
    fn default() -> Self {
        Self {
            backlog: Origin::Default,
            web: Origin::Default,
        }
    }
}

/// The supervisor's options for a server with `options`. `settings` are name and value pairs for its status page.
///
/// # Errors
/// [`Fatal`]: the host's name is not found.
pub fn supervisor_options(
    options: &ServerOptions,
    origins: Origins,
    command: WorkerCommand,
    settings: Vec<(String, String)>,
) -> Result<supervise::Options, Fatal> {
    check_web(options)?;
    let addresses = options.endpoints.iter().map(address::resolve);
    let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
    let web = match &options.web_port {
        WebPort::Auto(host) => Some(address::of_pages(host, 0, &addresses)?),
        WebPort::Fixed(host, port) => Some(address::of_pages(host, *port, &addresses)?),
        WebPort::Off => None,
    };
    Ok(supervise::Options {
        addresses,
        accepts_streams: accepts_streams(options),
        backlog: options.backlog,
        backlog_origin: origins.backlog,
        reuseport: options.reuseport,
        socket: options.socket.clone(),
        workers: options.workers,
        affinity: options.affinity,
        worker_connections: options.worker_connections_max(),
        command,
        respawn: RespawnPolicy::default(),
        drain_timeout: options.drain_timeout,
        interval: options.interval,
        format: options.format,
        silence: options.silence,
        statistics: options.statistics,
        web,
        web_origin: origins.web,
        bus: options.bus_plan(),
        web_process: options.web.is_wanted().then_some(options.web.connections),
        // A file that cannot be used is reported before the first worker starts.
        tls: TlsSupply::load(&options.tls)?,
        api: ApiOptions::load(options)?,
        services: Vec::new(),
        settings,
        wrapped: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::Echo;

    fn why(server: Server) -> String {
        let started = server.start(|_| Echo::default());
        started.expect_err("it cannot be served").sentence
    }

    #[test]
    fn what_cannot_be_served_is_told_when_the_server_starts() {
        assert!(why(Server::new("http://127.0.0.1:0")).contains("does not begin with ws://"));
        assert!(why(Server::new("ws://127.0.0.1:0").workers(0)).starts_with("0 workers"));
        let also = |uri| Server::new("ws://127.0.0.1:0").listen(uri);
        assert!(why(also("ws://[::1")).contains("bracket"));
        let crowd = (0..16).fold(also("ws://127.0.0.1:0"), |server, _| {
            server.listen("ws://[::1]:0")
        });
        assert!(why(crowd).starts_with("18 places"));
        let mut tiny = ServerOptions::new(1);
        tiny.fragment_size = Some(1);
        assert!(why(Server::with_options(tiny)).contains("16 or more"));
        let beside = |backplane| {
            let server = Server::new("ws://127.0.0.1:0").bus(BusOptions::default());
            why(server.backplane(backplane))
        };
        let at = |url: &str| BackplaneOptions {
            url: Some(url.to_owned()),
            ..BackplaneOptions::default()
        };
        let sentence = beside(at("nats://127.0.0.1"));
        let told = match cfg!(feature = "backplane") {
            true => "needs worker processes",
            false => "needs the feature backplane",
        };
        assert!(sentence.contains(told), "{sentence}");
        let twice = Server::new("ws://127.0.0.1:0").service("chat", |_| Echo::default());
        let sentence = twice.start().expect_err("no path").sentence;
        assert!(
            sentence.contains("does not begin with a slash"),
            "{sentence}"
        );
    }
}
