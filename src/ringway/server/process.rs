//! The worker process: pin, adopt inherited descriptors, choose the I/O tier, run the loop, report.
//!
//! One process = one thread = one ring = one pinned core. It drains (closes every WebSocket with 1001) when its
//! supervisor orders it (`crate::control`), when it gets SIGTERM or the like, when its listener is shut down, or when
//! its supervisor is gone. A second signal from another process than the supervisor stops it at once. A worker whose
//! supervisor is gone shuts the listener down for all workers, because no other process would.
#![forbid(unsafe_code)]

use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::{Bus, Segments};
use crate::control::{Answer, Channel, Order};
use crate::exit::{Exit, Fatal};
use crate::io::board::Board;
use crate::io::epoll::Epoll;
use crate::io::uring::{self, Uring};
use crate::io::{Address, ConnectOptions, Error, Fd, Io, memory, sys};
use crate::lines;
use crate::options::{IoChoice, OpeningOptions, ServerOptions, WorkerSeat};
use crate::proto::handshake::Versions;
use crate::proto::{Limits, http};
use crate::protocol::{
    AddressLimits, Admission, CloseAnswer, FrameLogging, OnViolation, OpeningRules,
};
use crate::signals;
use crate::stats::block::{self, Period};
use crate::stats::{Counters, ReportError, Reporter, TurnTimes};
use crate::time::{self, Instant};
use crate::tls::{TlsSecrets, TlsServer};
use crate::worker::{App, Config, Listener, Relay, Target, Worker};

/// The worker that an application is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Index of the worker, from 0. A worker that replaces another one has the same index.
    pub index: usize,
    /// Number of workers of the server.
    pub workers: usize,
}

/// The bits under which the worker watches its signals and its control channel.
const SIGNALS: u32 = 0;
const CONTROL: u32 = 1;

/// Time for a connect to the web process, which the kernel decides at once. Chosen, untested.
const RELAY_TIME_MAX: Duration = Duration::from_secs(1);

/// Most turns that connections get to end after the drain timeout, when the worker has aborted them.
const ABORT_TURNS: usize = 100;

/// Runs a worker, with the application that `make` returns, until it is stopped.
pub fn run<A: App>(
    options: &ServerOptions,
    seat: &WorkerSeat,
    make: impl FnOnce(&Place) -> A,
) -> ExitCode {
    match try_run(options, seat, make) {
        Ok(exit) => exit.into(),
        Err(Fatal { exit, sentence }) => {
            lines::say(format_args!("ringway: worker {}: {sentence}\n", seat.index));
            exit.into()
        }
    }
}

fn try_run<A: App>(
    options: &ServerOptions,
    seat: &WorkerSeat,
    make: impl FnOnce(&Place) -> A,
) -> Result<Exit, Fatal> {
    // Before the first line is printed: the thread that prints must have the signals blocked, too.
    let supervisor = parent_id();
    sys::ignore_signals(signals::meaningless().chain(signals::OF_THE_TERMINAL));
    let told = sys::signal_fd(&signals::STOP).map_err(|error| environment("signalfd", &error))?;
    memory::fix_thresholds();
    // If the program was started through a link, the process would have the link's name.
    sys::set_name(&format!("ringway-w{}", seat.index));
    if !has_listeners(seat)? {
        return Ok(Exit::Ok);
    }
    if let Some(cpu) = seat.cpuid
        && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
    {
        tracing::warn!("cannot pin to CPU {cpu}: running unpinned; --noaffinity silences this");
    }
    let listeners: Vec<Fd> = seat.fds.iter().map(|fd| Fd(*fd)).collect();
    for listener in &listeners {
        sys::set_nonblocking(*listener, true).map_err(|error| environment("listener", &error))?;
    }
    let board = match seat.board_fd {
        Some(fd) => Some(
            Board::map(&adopt(fd)?, options.workers, seat.index)
                .map_err(|error| environment("board", &error))?,
        ),
        None => None,
    };
    let control = seat.control_fd.map(adopt).transpose()?;
    let control = control.map(|channel| Channel::new(channel.into()));
    let tls = inherited_tls(options, seat)?;
    let app = make(&Place {
        index: seat.index,
        workers: options.workers,
    });
    let door = Door {
        listeners,
        supervisor: seat.stats_fd.map(|_| supervisor),
        signals: told,
        control,
        more: false,
        told: Told::default(),
        renewed: None,
    };
    let config = Config {
        relay: relay(options, seat)?,
        ..config(options, tls)
    };
    let bus = inherited_bus(options, seat)?;
    match open_ring(options.io)? {
        Ok(ring) => {
            let reports = Reports::new(options, seat, "uring", ring.note())?;
            let worker = worker(ring, app, config, &door.listeners, (options, board, bus));
            serve(worker, options, door, reports)
        }
        Err(why) => {
            let epoll = Epoll::new().map_err(|error| environment("epoll", &error))?;
            let reports = Reports::new(options, seat, "epoll", &why)?;
            let worker = worker(epoll, app, config, &door.listeners, (options, board, bus));
            serve(worker, options, door, reports)
        }
    }
}

/// The way to the web process, if the server has one.
fn relay(options: &ServerOptions, seat: &WorkerSeat) -> Result<Option<Relay>, Fatal> {
    let Some(fd) = seat.web_fd else {
        return match options.web.is_wanted() {
            true => Err(Fatal::usage(
                "--web and --http-proxy need a supervisor, and this worker has none: leave --fd or them off",
            )),
            false => Ok(None),
        };
    };
    // The socket has no name, but a descriptor leads to it.
    let address = Address::Unix(format!("/proc/self/fd/{fd}").into());
    Ok(Some(Relay {
        target: Arc::new(Target {
            addresses: vec![ConnectOptions::new(address)],
            connect_timeout: RELAY_TIME_MAX,
            tls: None,
            half_close: false,
        }),
        proxy_header: true,
    }))
}

/// The worker's seat on the bus, if the server has one. A worker without a supervisor has a bus of its own.
fn inherited_bus(options: &ServerOptions, seat: &WorkerSeat) -> Result<Option<Bus>, Fatal> {
    let Some(plan) = options.bus_plan() else {
        return Ok(None);
    };
    let failed = |error: Error| environment("the workers' bus", &error);
    let segments = match inherited_segments(seat)? {
        Some(segments) => segments,
        None if plan.has_bridge() => {
            return Err(Fatal::usage(
                "a backplane needs a supervisor, and this worker has none: leave --fd or --backplane off",
            ));
        }
        None => Segments::new(&plan).map_err(failed)?,
    };
    Bus::join(segments, &plan, seat.index)
        .map(Some)
        .map_err(failed)
}

/// The memory and the bells of the bus that the supervisor has made.
pub(super) fn inherited_segments(seat: &WorkerSeat) -> Result<Option<Segments>, Fatal> {
    let Some(fd) = seat.bus_fd else {
        return Ok(None);
    };
    let rings = seat.bell_fds.iter().map(|fd| adopt(*fd));
    Ok(Some(Segments {
        memory: adopt(fd)?,
        rings: rings.collect::<Result<_, _>>()?,
    }))
}

fn inherited_tls(options: &ServerOptions, seat: &WorkerSeat) -> Result<Option<TlsServer>, Fatal> {
    match seat.tls_fd {
        Some(fd) => secured(options, &adopt(fd)?).map(Some),
        None if seat.control_fd.is_some() => Ok(None),
        // Without a supervisor it reads the files itself.
        None => TlsSecrets::read(&options.tls)?
            .map(|secrets| TlsServer::new(&options.tls, &secrets))
            .transpose(),
    }
}

/// The TLS of a worker whose supervisor left the secrets in `memory`.
fn secured(options: &ServerOptions, memory: &File) -> Result<TlsServer, Fatal> {
    let failed = |why: &str| Fatal::environment(format!("the inherited secrets of TLS: {why}"));
    let len = memory
        .metadata()
        .map_err(|error| failed(&error.to_string()))?
        .len();
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    memory
        .read_exact_at(&mut bytes, 0)
        .map_err(|error| failed(&error.to_string()))?;
    let secrets = TlsSecrets::decode(&bytes).ok_or_else(|| failed("they are none"))?;
    TlsServer::new(&options.tls, &secrets)
}

/// Whether the inherited descriptors still listen. `false`: the server stops.
fn has_listeners(seat: &WorkerSeat) -> Result<bool, Fatal> {
    let Some(other) = seat.fds.iter().find(|fd| !sys::is_listener(Fd(**fd))) else {
        return Ok(true);
    };
    if seat.control_fd.is_some() {
        // The supervisor shuts its listener when it stops: this worker was on its way then.
        tracing::debug!("the listener is shut: the server stops");
        return Ok(false);
    }
    let sentence =
        format!("--fd={other} is not a listening socket: leave the option to the supervisor");
    Err(Fatal {
        exit: Exit::Usage,
        sentence,
    })
}

/// The ring, or the reason why epoll is used instead.
pub(crate) fn open_ring(choice: IoChoice) -> Result<Result<Uring, String>, Fatal> {
    if choice == IoChoice::Epoll {
        return Ok(Err("--io=epoll".to_owned()));
    }
    match (Uring::new(&uring::Options::default()), choice) {
        (Ok(ring), _) => Ok(Ok(ring)),
        (Err(why), IoChoice::Uring) => Err(Fatal {
            exit: Exit::Environment,
            sentence: format!(
                "--io=uring is impossible here: {why}; --io=auto would use epoll in its place"
            ),
        }),
        (Err(why), _) => {
            tracing::warn!("io_uring cannot be used, so epoll is: {why}");
            Ok(Err(why.to_string()))
        }
    }
}

pub(super) fn environment(what: &str, error: &dyn std::error::Error) -> Fatal {
    Fatal {
        exit: Exit::Environment,
        sentence: format!("{what}: {error}"),
    }
}

pub(super) fn adopt(fd: i32) -> Result<File, Fatal> {
    sys::adopt(Fd(fd)).map_err(|error| Fatal {
        exit: Exit::Usage,
        sentence: format!(
            "descriptor {fd} was not inherited ({error}): leave these options to the supervisor"
        ),
    })
}

/// What the options mean for a worker, with the TLS that was read from its files.
pub(crate) fn config(options: &ServerOptions, tls: Option<TlsServer>) -> Config {
    let of_service = |limits: &crate::options::Limits| {
        let mut own = options.clone();
        own.services.clear();
        limits.apply_to(&mut own);
        config(&own, None)
    };
    Config {
        services: options.services.iter().map(of_service).collect(),
        connections_max: options.max_connections.unwrap_or(usize::MAX),
        address_limits: AddressLimits {
            connections_max: options.connections_per_address,
            handshakes_per_second_max: options.handshakes_per_address,
        },
        message_limits: Limits {
            frame_bytes_max: options.max_frame as u64,
            message_bytes_max: options.max_message as u64,
        },
        head_limits: http::Limits {
            head_bytes_max: options.max_head,
            headers_max: options.max_headers,
        },
        opening: opening_rules(&options.opening),
        handshake_timeout: options.handshake_timeout,
        write_timeout: options.write_timeout,
        idle_timeout: options.idle_timeout,
        ping_interval: options.ping_interval,
        ping_timeout: options.ping_timeout,
        fragment_bytes_max: options.fragment_size,
        close_timeout: options.close_timeout,
        close_answer: match options.echo_close_reason {
            true => CloseAnswer::CodeAndReason,
            false => CloseAnswer::Code,
        },
        on_violation: match options.fail_by_drop {
            true => OnViolation::Reset,
            false => OnViolation::Close,
        },
        send_queue_bytes_max: options.send_queue,
        deflate: options.deflate.then_some(options.compression),
        frame_logging: options
            .log_frames
            .and_then(NonZero::new)
            .map(|every| FrameLogging {
                every,
                payload_bytes_max: options.log_bytes,
            }),
        snappy: options.snappy.then_some(options.snappy_compression),
        bzip2: options.bzip2.then_some(options.bzip2_compression),
        tls,
        ..Config::default()
    }
}

fn opening_rules(options: &OpeningOptions) -> OpeningRules {
    let admission = |allowed| match allowed {
        true => Admission::Allowed,
        false => Admission::Refused,
    };
    let letterhead = options.letterhead().unwrap_or_else(|why| {
        // The supervisor has refused to start with it.
        tracing::error!("{why}");
        None
    });
    OpeningRules {
        origins: (!options.allowed_origins.is_empty()).then(|| options.allowed_origins.clone()),
        null_origin: admission(options.allow_null_origin),
        missing_origin: admission(!options.require_origin),
        versions: match options.legacy {
            true => Versions::Legacy,
            false => options.versions,
        },
        forwarded_by: options.forwarded_by,
        proxies: options.proxies.clone(),
        proxy_protocol: options.proxy_protocol.clone(),
        letterhead,
        health_path: options.health_path.clone(),
        flash_policy: options.flash_policy.clone(),
    }
}

/// The sources that can end a worker, and the listeners.
#[derive(Debug)]
struct Door {
    listeners: Vec<Fd>,
    /// Pid of the supervisor at the start. `None`: the worker has none.
    supervisor: Option<u32>,
    signals: Fd,
    control: Option<Channel>,
    /// The channel may hold further orders.
    more: bool,
    told: Told,
    /// Secrets of TLS that came, and are not used yet.
    renewed: Option<File>,
}

/// The orders that have come.
///
/// All orders and signals of the supervisor count as one: the kernel sends a signal in its name when it dies, and
/// another one when its last thread ends. systemd signals every process of a unit, so a worker gets one signal from
/// systemd and an order from the supervisor. Only a second signal from other processes stops the worker without a
/// drain.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    by_supervisor: bool,
    signals_of_others: u32,
    to_leave_now: bool,
}

impl Told {
    const fn is_to_drain(self) -> bool {
        self.by_supervisor || self.signals_of_others > 0
    }

    const fn is_to_leave_now(self) -> bool {
        self.to_leave_now || self.signals_of_others > 1
    }
}

impl Door {
    /// Reads orders and signals from the descriptors whose bits are set.
    fn look(&mut self, watched: u32) {
        if watched & 1 << SIGNALS != 0 {
            while let Some(signal) = sys::read_signal(self.signals) {
                if self.supervisor == Some(signal.sender) {
                    self.told.by_supervisor = true;
                } else {
                    self.told.signals_of_others += 1;
                }
            }
        }
        if watched & 1 << CONTROL == 0 && !self.more {
            return;
        }
        if let Some(control) = &mut self.control {
            let (told, strange) = (&mut self.told, control.strange());
            let renewed = &mut self.renewed;
            self.more = control.receive_with(|order, fds| match order {
                Order::Drain => told.by_supervisor = true,
                Order::Stop => told.to_leave_now = true,
                Order::Renew => *renewed = fds.into_iter().next().map(File::from),
            });
            if strange == 0 && control.strange() > 0 {
                tracing::warn!(
                    "an order that is none of this version came through the control channel: it and its like are passed \
                     over"
                );
            }
        }
    }

    /// Sends an answer to the supervisor. If that fails, the supervisor does not need it.
    fn answer(&self, answer: Answer) {
        if let Some(control) = &self.control
            && let Err(why) = control.send(answer)
        {
            tracing::debug!("the control channel is {why}: {answer:?} was not told");
        }
    }

    /// Whether the supervisor is gone: no process will replace this worker or shut the listener down.
    fn is_orphan(&self) -> bool {
        self.supervisor.is_some_and(|pid| pid != parent_id())
    }
}

/// A worker that accepts on all `listeners`.
pub(crate) fn worker<I: Io, A: App>(
    io: I,
    app: A,
    config: Config,
    listeners: &[Fd],
    (options, board, bus): (&ServerOptions, Option<Board>, Option<Bus>),
) -> Worker<I, A> {
    let mut listeners = listeners.iter().map(|fd| match options.reuseport {
        // With SO_REUSEPORT, the kernel distributes connections among the listeners.
        true => Listener::unshared(*fd, board.clone()),
        false => Listener::new(*fd, board.clone()),
    });
    let first = listeners.next().expect("a server listens somewhere");
    let mut worker = Worker::new(io, app, config, first);
    listeners.for_each(|listener| worker.add_listener(listener));
    if let Some((bus, options)) = bus.zip(options.bus()) {
        worker.join_bus(bus, options);
    }
    worker
}

/// Runs the loop until the worker has drained or is stopped.
fn serve<I: Io, A: App>(
    mut worker: Worker<I, A>,
    options: &ServerOptions,
    mut door: Door,
    mut reports: Reports,
) -> Result<Exit, Fatal> {
    let failed = |error: Error| environment("the loop stopped", &error);
    worker.watch(door.signals, SIGNALS);
    if let Some(fd) = door.control.as_ref().and_then(Channel::fd) {
        worker.watch(Fd(fd), CONTROL);
    }
    worker.turn(Some(Duration::ZERO)).map_err(failed)?;
    reports.send(worker.counters());
    door.answer(Answer::Ready);
    let mut deadline: Option<Instant> = None;
    loop {
        let due = deadline.map_or(reports.due, |deadline| deadline.min(reports.due));
        let due = if door.more { time::now() } else { due };
        worker.turn_until(due).map_err(failed)?;
        if worker.take_trim() {
            memory::trim();
        }
        let now = time::now();
        reports
            .turns
            .record(u64::try_from(now.since(worker.woken()).as_nanos()).unwrap_or(u64::MAX));
        if now >= reports.due {
            reports.send(worker.counters());
        }
        let watched = worker.take_watched();
        if watched != 0 || door.more {
            door.look(watched);
        }
        if let Some(memory) = door.renewed.take() {
            match secured(options, &memory) {
                Ok(tls) => worker.renew_tls(tls),
                // The supervisor has tried them, so this is a shortage.
                Err(fatal) => tracing::error!("{}; the old certificates stay", fatal.sentence),
            }
        }
        let is_told = door.told.is_to_drain() || reports.abandoned || worker.is_listener_shut();
        if deadline.is_none() && is_told {
            if reports.abandoned || door.is_orphan() {
                // Shuts the listeners down for the other workers too, even for a stopped one. Their ports are free from now
                // on.
                for listener in &door.listeners {
                    sys::shutdown(*listener, std::net::Shutdown::Both);
                }
            }
            worker.drain();
            deadline = Some(now + options.drain_timeout);
            door.answer(Answer::Draining);
        }
        let is_over = deadline.is_some_and(|at| worker.connections() == 0 || now >= at);
        if is_over || door.told.is_to_leave_now() {
            let cut = u32::try_from(worker.connections()).unwrap_or(u32::MAX);
            abort(&mut worker).map_err(failed)?;
            reports.send(worker.counters());
            door.answer(Answer::Drained { cut });
            return Ok(match is_over {
                true => Exit::Ok,
                false => Exit::Interrupted,
            });
        }
    }
}

/// Ends all connections, so that every peer sees the end of its stream and every drop is counted.
pub(crate) fn abort<I: Io, A: App>(worker: &mut Worker<I, A>) -> Result<(), Error> {
    worker.abort();
    for _ in 0..ABORT_TURNS {
        if worker.connections() == 0 {
            break;
        }
        worker.turn(Some(Duration::from_millis(10)))?;
    }
    Ok(())
}

/// Destination of the figures: the supervisor, or stdout if there is none.
struct Reports {
    to: Destination,
    turns: TurnTimes,
    interval: Duration,
    due: Instant,
    /// The supervisor has closed its end.
    abandoned: bool,
    /// The warning about clients that must wait was printed.
    told_of_shortage: bool,
}

enum Destination {
    Supervisor(Reporter),
    Stdout {
        number: u64,
        before: Box<Counters>,
        began: Instant,
    },
    Nowhere,
}

impl Reports {
    fn new(
        options: &ServerOptions,
        seat: &WorkerSeat,
        tier: &str,
        note: &str,
    ) -> Result<Self, Fatal> {
        let now = time::now();
        let (to, interval) = match seat.stats_fd {
            Some(fd) => {
                let index = u16::try_from(seat.index).unwrap_or(u16::MAX);
                let reporter = Reporter::new(adopt(fd)?, index, tier, note);
                (Destination::Supervisor(reporter), options.record_interval())
            }
            None if options.silence => (Destination::Nowhere, options.interval),
            None => (
                Destination::Stdout {
                    number: 0,
                    before: Box::default(),
                    began: now,
                },
                options.interval,
            ),
        };
        Ok(Self {
            to,
            turns: TurnTimes::new(),
            interval,
            due: now,
            abandoned: false,
            told_of_shortage: false,
        })
    }

    fn send(&mut self, counters: &mut Counters) {
        let now = time::now();
        // On a fixed schedule, so that the supervisor's periods contain whole records. Missed times are skipped.
        self.due = (self.due + self.interval).max(now);
        counters.cpu_ns = sys::thread_cpu_ns();
        // Warns once. One line for each would be one line for every client that must wait; the counter has their
        // number.
        if counters.accept_backoffs > 0 && !std::mem::replace(&mut self.told_of_shortage, true) {
            tracing::warn!(
                "new connections wait in the accept queue: this worker has no descriptor left for them (or the system no \
                 memory) with {} sockets open; raise the limit of open files (ulimit -Hn) or start more workers",
                counters.sockets
            );
        }
        match &mut self.to {
            Destination::Supervisor(reporter) => {
                match reporter.report(now, counters, &mut self.turns) {
                    Ok(_) => {}
                    Err(ReportError::SupervisorGone) => self.abandoned = true,
                    Err(error) => tracing::warn!("{error}"),
                }
            }
            Destination::Stdout {
                number,
                before,
                began,
            } => {
                if *number > 0 {
                    let (pid, duration) = (std::process::id(), now.since(*began));
                    let period = Period {
                        pid,
                        number: *number,
                        duration,
                        before,
                        after: counters,
                    };
                    lines::print(block::render(&period));
                }
                (*number, **before, *began) = (*number + 1, *counters, now);
                self.turns.reset();
            }
            Destination::Nowhere => self.turns.reset(),
        }
    }
}
