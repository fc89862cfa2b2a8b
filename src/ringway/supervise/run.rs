//! The loop of the supervisor: it waits, reports events to [`Supervisor`], and carries out its actions.
//!
//! Owns: the order of start-up, the processes, the descriptors. Never: decides (`supervisor` does), blocks. Output goes
//! through `lines`, pipes and signals are non-blocking, and the pages have their own thread.
//!
//! One pass:
//! 1. Wait for a signal, a pipe, a channel, or the next instant at which something is due.
//! 2. Read the pipes and channels first. Otherwise, after a long pause of this process (stopped, suspended), workers
//!    would be judged by old records. Then handle signals, then children, then what is due.
//! 3. Carry out the supervisor's actions until there are none.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use socket2::Socket;
use tracing::debug;

use super::beside::{Beside, Means};
use super::board::Board;
use super::environment;
use super::error::{error, note, warning};
use super::fleet::{About, Fleet, Shared, State, locked, shared};
use super::guard;
use super::listen::Listeners;
#[cfg(feature = "pages")]
use super::options::ApiOptions;
use super::options::{Options, Origin};
use super::reserve::Reserve;
use super::seat::{Inheritance, Process};
use super::secrets::Secrets;
use super::supervisor::{Action, Rules, Severity, Supervisor};
use super::sys::{self, Waited};
use super::table;
use super::wrapped::{News, Wrapped};
#[cfg(feature = "pages")]
use super::{api, json, web};
use crate::bus::Segments;
use crate::control::Answer;
use crate::exit::{Exit, Fatal};
use crate::lines;
use crate::options::Format;
use crate::stats::{Record, RecordError};
use crate::time::{self, Instant};

/// Delay of the printed statistics after the workers' ticks, so that each period contains all of its records.
const PERIOD_LAG: Duration = Duration::from_millis(250);

/// Time between two points of the plot.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two looks at the files of TLS.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

struct Hands {
    options: Options,
    /// `None` when serving has ended.
    listeners: Option<Listeners>,
    board: Board,
    /// `None`: the server has no bus.
    bus: Option<Segments>,
    beside: Beside,
    /// `None`: the server wraps no program.
    wrapped: Option<Wrapped>,
    /// The exit code of the program with which the server ends.
    program_code: Option<u8>,
    config: File,
    reserve: Reserve,
    signals: File,
    fleet: Shared,
    seats: Vec<Seat>,
    supervisor: Supervisor,
    samples: Tick,
    periods: Tick,
    looks: Tick,
    /// `None`: the server speaks no TLS.
    secrets: Option<Secrets>,
}

/// The processes of a seat. Its figures are in the fleet, and its decisions in the supervisor.
#[derive(Debug)]
struct Seat {
    cpu: Option<usize>,
    process: Option<Process>,
    /// The fault in its records that was reported: one report per worker.
    bad_record: Option<RecordError>,
}

/// Something that is due periodically. Missed times are skipped.
#[derive(Clone, Copy, Debug)]
struct Tick {
    period: Duration,
    due: Instant,
}

impl Tick {
    fn new(now: Instant, period: Duration, lag: Duration) -> Self {
        let due = now + period + lag;
        Self { period, due }
    }

    /// Whether it is due at `now`. If so, it is due again at the next multiple of its period.
    fn is_due(&mut self, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        let period = u64::try_from(self.period.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        let late = u64::try_from(now.since(self.due).as_nanos()).unwrap_or(u64::MAX);
        self.due = now + Duration::from_nanos(period - late % period);
        true
    }
}

/// How a server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The server itself.
    pub exit: Exit,
    /// The exit code of the wrapped program with which it has ended.
    pub program: Option<u8>,
}

impl Ended {
    /// The number that the process exits with: the program's, unless the server has more to say.
    pub const fn code(self) -> u8 {
        match (self.exit, self.program) {
            (Exit::Ok, Some(code)) => code,
            (exit, _) => exit.code(),
        }
    }
}

/// Runs a server until a signal stops it or it cannot go on. Call it on the main thread, before any other thread is
/// started. The kernel sends workers SIGTERM when the thread that started them ends. A thread that was started earlier
/// does not block the signals, so the first one would end the process.
pub fn run(options: Options) -> Result<Ended, Fatal> {
    let signals = sys::take_signals().map_err(failed("a descriptor for signals"))?;
    let mut hands = Hands::new(options, signals)?;
    // Before any worker, so that nothing is published that the bridge does not hear.
    hands.tend_beside(time::now());
    hands.beside.wait_for_first_records();
    hands.act();
    while !hands.supervisor.is_over() {
        hands.pass();
    }
    hands.beside.end();
    if let Some(program) = hands.wrapped {
        program.end(&hands.signals);
    }
    Ok(Ended {
        exit: hands.supervisor.exit(),
        program: hands.program_code,
    })
}

impl Hands {
    fn new(options: Options, signals: File) -> Result<Self, Fatal> {
        if options.format == Format::Json && !cfg!(feature = "pages") {
            return Err(Fatal::usage(
                "JSON lines need the feature `pages` of the crate ringway, which this program was built without",
            ));
        }
        let limits = sys::nofile_limit().ok();
        let descriptors = environment::raise_descriptor_limit(&options)?;
        let listeners = Listeners::bind(&options)?;
        debug!(address = %listeners.shown(), backlog = listeners.backlog(), socket = ?options.socket, "bound");
        let pages = bind_pages(&options)?;
        let cpus = environment::assign_cpus(options.workers, options.affinity);
        let board = Board::new(options.workers)
            .map_err(failed("the shared board of the workers (memfd)"))?;
        let bus = options.bus.as_ref().map(Segments::new).transpose();
        let bus = bus.map_err(|error| failed("the workers' bus (memfd, eventfd)")(error.source))?;
        let config = config_file(&options.command.config)
            .map_err(failed("the workers' configuration (memfd)"))?;
        let pattern = config.try_clone().map_err(failed("a spare descriptor"))?;
        let reserve = Reserve::new(pattern);
        let secrets = options.tls.clone().map(Secrets::new).transpose();
        let secrets = secrets.map_err(failed("the workers' secrets of TLS (memfd)"))?;
        let about = about(&options, &listeners, pages.as_ref());
        let fleet = shared(Fleet::new(about, &cpus));
        #[cfg(feature = "pages")]
        if let Some(listener) = pages {
            let api = join_api(&options, bus.as_ref())?;
            web::serve(listener, (fleet.clone(), api), descriptors.web_connections)
                .map_err(failed("the web pages"))?;
        }
        #[cfg(not(feature = "pages"))]
        let _ = (descriptors, pages);
        let now = time::now();
        let rules = Rules {
            workers: options.workers,
            respawn: options.respawn,
            drain_timeout: options.drain_timeout,
        };
        let beside = Beside::new(&options, now)?;
        let wrapped = options.wrapped.clone().map(|wrapped| {
            let means = (guarded(&listeners), limits);
            Wrapped::new(wrapped, options.respawn, means, now)
        });
        let seat = |cpu| Seat {
            cpu,
            process: None,
            bad_record: None,
        };
        let lag = PERIOD_LAG.min(options.interval / 4);
        Ok(Self {
            samples: Tick::new(now, SAMPLE_INTERVAL, lag),
            looks: Tick::new(now, LOOK_INTERVAL, lag),
            beside,
            wrapped,
            program_code: None,
            secrets,
            periods: Tick::new(now, options.interval, lag),
            supervisor: Supervisor::new(rules, now),
            seats: cpus.into_iter().map(seat).collect(),
            options,
            listeners: Some(listeners),
            board,
            bus,
            config,
            reserve,
            signals,
            fleet,
        })
    }

    fn pass(&mut self) {
        let talkative = self.wait();
        let now = time::now();
        for seat in talkative {
            self.read(now, seat);
        }
        let mut bereaved = now >= self.samples.due; // a signal is never lost; this is for a kernel that errs
        for signal in sys::read_signals(&self.signals) {
            match signal {
                libc::SIGCHLD => bereaved = true,
                signal => self.supervisor.handle_signal(now, signal),
            }
        }
        if bereaved {
            // SIGCHLD does not say which children ended, or how many. So each is checked.
            for seat in 0..self.seats.len() {
                self.reap(now, seat);
            }
        }
        self.supervisor.handle_timeout(now);
        self.act();
        self.tend_program(now);
        self.act();
        self.tend_beside(now);
        if self.samples.is_due(now) {
            self.sample(now);
        }
        if self.looks.is_due(now) && self.secrets.as_mut().is_some_and(Secrets::look) {
            self.reread();
        }
        if self.periods.is_due(now) {
            self.print_period(now);
        }
    }

    /// Waits for the next event or instant. Returns the seats whose worker has sent something.
    fn wait(&self) -> Vec<usize> {
        let (mut seats, mut all) = (Vec::new(), Vec::new());
        for (index, seat) in self.seats.iter().enumerate() {
            for waited in seat.process.iter().flat_map(Process::waited) {
                seats.push(index);
                all.push(waited);
            }
        }
        all.push(Waited::readable(&self.signals));
        all.extend(self.beside.waited());
        let due = self.samples.due.min(self.periods.due);
        let due = self.supervisor.next_due().map_or(due, |at| at.min(due));
        let wrapped = self.wrapped.as_ref().and_then(Wrapped::due);
        let wrapped = wrapped.filter(|_| self.supervisor.is_running());
        let beside = [self.beside.due(), wrapped].into_iter().flatten().min();
        let beside = beside.filter(|_| !self.supervisor.is_stopping());
        let due = beside.map_or(due, |at| at.min(due));
        sys::poll(&mut all, Some(due.since(time::now())));
        let ready = std::iter::zip(seats, all).filter(|(_, waited)| waited.is_ready());
        let mut talkative: Vec<_> = ready.map(|(seat, _)| seat).collect();
        talkative.dedup();
        talkative
    }

    /// Carries out the supervisor's actions.
    fn act(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Start { seat } => self.start(seat),
                Action::Order { seat, order } => {
                    if let Some(process) = &mut self.seats[seat].process
                        && let Err(why) = process.obey(order)
                    {
                        // A worker that saw its listener shut may have drained and left already.
                        self.hear(seat);
                        self.supervisor
                            .handle_undelivered(seat, order, &why.to_string());
                    }
                }
                Action::Vacate { seat, next } => self.vacate(seat, next),
                Action::Announce => self.announce(),
                Action::Reread => self.reread(),
                Action::CloseListeners => drop(self.listeners.take()),
                Action::Say(Severity::Error, sentence) => error(sentence),
                Action::Say(Severity::Warning, sentence) => warning(sentence),
                Action::Say(Severity::Note, sentence) => note(sentence),
            }
        }
    }

    fn start(&mut self, seat: usize) {
        let now = time::now();
        let Some(listeners) = &self.listeners else {
            return self
                .supervisor
                .handle_start_failed(now, seat, "the listener is closed");
        };
        let inheritance = Inheritance {
            worker: seat,
            cpu: self.seats[seat].cpu,
            listeners: listeners.fds_for(seat),
            board: self.board.fd(),
            config: self.config.as_raw_fd(),
            tls: self.secrets.as_mut().map(Secrets::fd),
            bus: self.bus.as_ref().map(|bus| bus.memory.as_raw_fd()),
            web: self.beside.web_fd(),
            bells: self.bus.as_ref().map_or_else(Vec::new, Segments::ring_fds),
        };
        let command = &self.options.command;
        match self.reserve.lend(|| Process::start(command, &inheritance)) {
            Ok(process) => {
                debug!(
                    worker = seat,
                    pid = process.pid,
                    ?inheritance,
                    "worker started"
                );
                locked(&self.fleet).seats[seat].handle_birth(process.pid);
                self.supervisor.handle_started(now, seat, process.pid);
                self.seats[seat].process = Some(process);
            }
            Err(failure) => {
                let why = environment::explain_spawn(&failure);
                self.supervisor.handle_start_failed(now, seat, &why);
            }
        }
    }

    /// Looks after the processes beside the workers.
    fn tend_beside(&mut self, now: Instant) {
        let means = Means {
            command: &self.options.command,
            bus: self.bus.as_ref(),
            config: &self.config,
            reserve: &mut self.reserve,
            fleet: &self.fleet,
            is_stopping: self.supervisor.is_stopping(),
        };
        self.beside.tend(now, means);
    }

    /// Looks after the program that the server wraps.
    fn tend_program(&mut self, now: Instant) {
        let may_start = self.supervisor.is_running();
        let program = self.wrapped.as_mut();
        match program.and_then(|program| program.tend(now, may_start)) {
            None => {}
            Some(News::Ended { why, code }) => {
                let begins = self.supervisor.handle_program_end(now, why);
                self.program_code = self.program_code.or_else(|| begins.then_some(code));
            }
            Some(News::NotStarted(why)) => self.supervisor.handle_program_missing(now, why),
        }
    }

    /// Reads the files of TLS again. Workers serve new connections with what is in them; open ones go on as they are.
    fn reread(&mut self) {
        let Some(secrets) = &mut self.secrets else {
            let sentence = "SIGHUP is ignored: there are no certificates to read again, and other options need a restart";
            return note(sentence);
        };
        let fd = match secrets.reread() {
            Ok(fd) => fd,
            Err(fatal) => {
                let why = fatal.sentence;
                return error(format!("{why}; the certificates that are served stay"));
            }
        };
        note("certificates and keys were read again: new connections get them");
        for (index, seat) in self.seats.iter().enumerate() {
            // A worker that starts now has inherited the old ones, and finds the order when it is ready.
            if let Some(process) = &seat.process
                && let Err(why) = process.renew(fd)
            {
                warning(format!(
                    "worker {index} goes on with the old certificates: its control channel is {why}; SIGHUP tries again"
                ));
            }
        }
    }

    /// Reads the records of the worker on a seat.
    fn read(&mut self, now: Instant, seat: usize) {
        let Some(process) = &mut self.seats[seat].process else {
            return;
        };
        let mut items = Vec::new();
        process.read(|item| items.push(item));
        self.handle_items(now, seat, items);
        // After the records: a worker sends its first one before it answers that it is ready, and the record says which
        // tier it runs on.
        self.hear(seat);
    }

    /// Reads the answers of the worker on a seat.
    fn hear(&mut self, seat: usize) {
        let Some(process) = &mut self.seats[seat].process else {
            return;
        };
        let supervisor = &mut self.supervisor;
        process.hear(|answer| match answer {
            Answer::Ready => supervisor.handle_ready(seat),
            Answer::Draining => supervisor.handle_draining(seat),
            Answer::Drained { cut } => supervisor.handle_drained(cut),
        });
    }

    fn handle_items(&mut self, now: Instant, seat: usize, items: Vec<Result<Record, RecordError>>) {
        for item in items {
            match item {
                Ok(record) => {
                    self.seats[seat].bad_record = None;
                    locked(&self.fleet).seats[seat].handle_record(now, record);
                    self.supervisor.handle_ready(seat);
                }
                Err(fault) if self.seats[seat].bad_record.is_none() => {
                    warning(format!(
                        "worker {seat}: {fault}; it serves on, its figures are lost"
                    ));
                    self.seats[seat].bad_record = Some(fault);
                }
                Err(_) => {}
            }
        }
    }

    /// Reaps the worker on a seat if it has ended.
    fn reap(&mut self, now: Instant, seat: usize) {
        let Some(process) = &mut self.seats[seat].process else {
            return;
        };
        let Some(status) = process.try_reap() else {
            return;
        };
        debug!(worker = seat, pid = process.pid, ?status, "worker is gone");
        let mut items = Vec::new();
        process.read_rest(|item| items.push(item));
        self.handle_items(now, seat, items);
        self.hear(seat);
        self.seats[seat].process = None;
        self.seats[seat].bad_record = None;
        self.supervisor.handle_exit(now, seat, status);
    }

    fn vacate(&mut self, seat: usize, next: State) {
        if let Err(failure) = self.board.mark_vacant(seat) {
            warning(format!(
                "cannot mark the seat of worker {seat} as vacant: {failure}"
            ));
        }
        locked(&self.fleet).seats[seat].handle_death(next);
    }

    fn announce(&self) {
        let fleet = locked(&self.fleet);
        let line = match self.options.format {
            #[cfg(feature = "pages")]
            Format::Json => format!("{}\n", json::listening(&fleet)),
            _ => ready_line(&fleet),
        };
        self.print(line);
        note(started_line(&fleet));
    }

    fn print_period(&self, now: Instant) {
        let mut fleet = locked(&self.fleet);
        fleet.close_period(now);
        let wanted = self.options.statistics && !self.options.silence;
        if !self.supervisor.is_running() || !wanted || !lines::stdout_is_open() {
            return;
        }
        self.print(match self.options.format {
            #[cfg(feature = "pages")]
            Format::Json => format!("{}\n", json::stats(&fleet, now)),
            _ => table::render(&fleet, now),
        });
    }

    fn print(&self, block: String) {
        if !self.options.silence {
            lines::print(block);
        }
    }

    fn sample(&mut self, now: Instant) {
        if !self.reserve.is_full() {
            self.reserve.refill();
        }
        for worker in locked(&self.fleet).sample(now) {
            if !self.supervisor.is_stopping() {
                warning(format!(
                    "worker {worker} has not reported for some seconds: it is stuck or stopped"
                ));
            }
        }
    }
}

/// Sockets that hold the port of the listeners on the addresses that they do not have.
fn guarded(listeners: &Listeners) -> Vec<Socket> {
    let held = guard::hold(&listeners.tcp());
    let said = held.into_iter().map(|held| {
        held.map_err(|(address, error)| {
            warning(format!(
                "{address} is not held against the wrapped program, which may come to listen there beside the gateway: {error}"
            ));
        })
    });
    said.filter_map(Result::ok).collect()
}

/// Binds the pages' port. If a port that the user chose is taken, the server does not start; without the default port
/// it serves without pages.
fn bind_pages(options: &Options) -> Result<Option<std::net::TcpListener>, Fatal> {
    let Some(address) = options.web else {
        return Ok(None);
    };
    #[cfg(feature = "pages")]
    let bound = web::bind(address);
    #[cfg(not(feature = "pages"))]
    let bound = Err(Fatal::usage(format!(
        "no web pages on {address}: this program was built without the feature `pages` of the crate ringway"
    )));
    match (bound, options.web_origin) {
        (Ok(listener), _) => Ok(Some(listener)),
        (Err(fatal), Origin::User) => Err(fatal),
        (Err(fatal), Origin::Default) => {
            warning(format!("no web pages: {fatal}"));
            Ok(None)
        }
    }
}

/// The HTTP API, if there is to be one, with its seat on the bus.
#[cfg(feature = "pages")]
fn join_api(
    options: &Options,
    bus: Option<&Segments>,
) -> Result<Option<(ApiOptions, api::Teller)>, Fatal> {
    let (Some(api), Some(plan), Some(segments)) = (&options.api, &options.bus, bus) else {
        return Ok(None);
    };
    match api::Teller::new(segments, plan) {
        Ok(teller) => Ok(Some((api.clone(), teller))),
        Err(error) => Err(failed("the HTTP API")(error.source)),
    }
}

/// The sentence for the failure of something that works on every healthy system.
fn failed(what: &'static str) -> impl Fn(io::Error) -> Fatal {
    move |error| Fatal::environment(format!("cannot make {what}: {error}"))
}

/// The start-up line, for which scripts wait.
fn ready_line(fleet: &Fleet) -> String {
    let about = &fleet.about;
    let web = about
        .web
        .as_ref()
        .map_or_else(|| "web off".to_owned(), |web| format!("web {web}"));
    format!(
        "ringway: listening on {} (backlog {}), {}, {web}, pid {}\n",
        about.address,
        about.backlog,
        team(fleet),
        about.pid
    )
}

/// The start-up line for the log, without pages and backlog.
fn started_line(fleet: &Fleet) -> String {
    let about = &fleet.about;
    format!(
        "started on {}, {}, pid {}, version {}",
        about.address,
        team(fleet),
        about.pid,
        env!("CARGO_PKG_VERSION")
    )
}

fn team(fleet: &Fleet) -> String {
    let (tier, note) = fleet.tiers();
    let note = if tier == "uring" || note.is_empty() {
        String::new()
    } else {
        format!(" ({note})")
    };
    let workers = fleet.seats.len();
    let plural = if workers == 1 { "" } else { "s" };
    format!("{workers} worker{plural}, io={tier}{note}")
}

fn about(options: &Options, listeners: &Listeners, web: Option<&std::net::TcpListener>) -> About {
    let web = web.and_then(|listener| listener.local_addr().ok());
    About {
        address: match options.accepts_streams {
            false => listeners.shown(),
            true => {
                let shown = listeners.shown();
                shown
                    .replace("ws://", "tcp://")
                    .replace("ws+unix:", "unix:")
            }
        },
        backlog: listeners.backlog(),
        web: web.map(|address| format!("http://{address}/")),
        pid: std::process::id(),
        started: time::now(),
        started_unix_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |time| time.as_secs_f64()),
        settings: options.settings.clone(),
        services: options.services.clone(),
    }
}

fn config_file(text: &str) -> io::Result<File> {
    let mut file = sys::memfd(c"ringway-config")?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::fleet::tests::{fleet, record};
    use super::*;
    use crate::stats::Counters;

    #[test]
    fn the_ready_line_names_what_scripts_need() {
        let mut fleet = fleet(2);
        for worker in [0, 1] {
            fleet.seats[usize::from(worker)]
                .handle_record(Instant::ZERO, record(worker, 0, Counters::default()));
        }
        assert_eq!(
            ready_line(&fleet),
            "ringway: listening on ws://127.0.0.1:9000 (backlog 4096), 2 workers, io=uring, \
             web http://127.0.0.1:8080/, pid 77\n"
        );
        assert!(
            started_line(&fleet).starts_with(
                "started on ws://127.0.0.1:9000, 2 workers, io=uring, pid 77, version "
            )
        );
    }

    #[test]
    fn a_fallback_is_named_with_its_reason() {
        let mut fleet = fleet(1);
        fleet.about.web = None;
        let mut report = record(0, 0, Counters::default());
        report.tier = "epoll".to_owned();
        report.tier_note = "io_uring_setup: EPERM".to_owned();
        fleet.seats[0].handle_record(Instant::ZERO, report);
        let line = ready_line(&fleet);
        assert!(
            line.contains("1 worker, io=epoll (io_uring_setup: EPERM), web off, pid 77"),
            "{line}"
        );
    }

    #[test]
    fn a_tick_that_was_missed_is_left_out_and_the_rhythm_stays() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut tick = Tick::new(at(0), Duration::from_secs(1), Duration::from_millis(250));
        assert!(!tick.is_due(at(1249)));
        assert!(tick.is_due(at(1250)));
        assert!(tick.is_due(at(7300)), "after a pause");
        assert!(!tick.is_due(at(8249)));
        assert!(tick.is_due(at(8250)));
    }
}
