//! The supervisor's loop: one queue of events, one arm each.
//!
//! Owns: the order of start-up, the phases, and what each event means. Never: blocks (stdout has its own thread), holds
//! the lock on the figures longer than an arm.
//!
//! ```text
//!  Starting ── all workers ready ──► Running ── signal, or giving up ──► Stopping ── all workers gone ──► exit
//!                                                                          ├ second signal ── SIGKILL ──►
//!                                                                          └ drain time + grace ── SIGKILL ──►
//! ```

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use tracing::debug;

use super::board::Board;
use super::environment;
use super::error::{error, warning};
use super::fleet::{About, Fleet, State};
use super::listen::Listeners;
use super::options::{Format, Options};
use super::output::Output;
use super::policy::{Deaths, GiveUp, Verdict};
use super::seat::{self, Attendant, Inheritance, News, Order};
use super::sys;
use super::web::{self, Shared, locked};
use super::{json, table};
use crate::exit::{Exit, Fatal};
use crate::time::{self, Instant};

/// Statistics are printed a little after the workers' own ticks, so that each period holds all of its records.
const PERIOD_LAG: Duration = Duration::from_millis(250);

/// What a worker has beyond its drain time before it is killed.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// A worker that has not reported for this long after its start is worth a word.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// The rhythm of the plot.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Everything that can happen.
#[derive(Debug)]
enum Event {
    /// A worker reported or died. Its death is its last news, and only then a new one is started.
    Seat { worker: usize, news: News },
    /// A back-off is over.
    Respawn { worker: usize },
    /// SIGINT or SIGTERM.
    Signal,
    /// Time for the statistics.
    Period,
    /// Time for a point of the plot.
    Sample,
    /// The workers should all be ready by now.
    StartOverdue,
    /// The workers should all be gone by now.
    DrainOver,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping(Exit),
}

struct Supervisor {
    options: Options,
    listeners: Listeners,
    board: Board,
    config: File,
    fleet: Shared,
    seats: Vec<SeatControl>,
    events: UnboundedSender<Event>,
    output: Output,
    phase: Phase,
}

/// The part of a seat that is about processes; the figures are the fleet's.
#[derive(Debug)]
struct SeatControl {
    cpu: Option<usize>,
    attendant: Option<Attendant>,
    born: Instant,
    deaths: Deaths,
}

/// Runs a server until it is told to stop, or cannot go on. Call it on the main thread: workers die with the thread
/// that started them.
pub fn run(options: Options) -> Result<Exit, Fatal> {
    let listeners = Listeners::bind(&options)?;
    debug!(address = %listeners.bound(), backlog = listeners.backlog(), socket = ?options.socket, "bound");
    let web = options.web.map(web::bind).transpose()?;
    environment::raise_descriptor_limit(options.worker_connections);
    let cpus = environment::assign_cpus(options.workers, options.affinity);
    let board =
        Board::new(options.workers).map_err(failed("the shared board of the workers (memfd)"))?;
    let config = config_file(&options.command.config)
        .map_err(failed("the workers' configuration (memfd)"))?;
    let output = Output::new(options.silence).map_err(failed("a thread for stdout"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("the supervisor's event loop"))?;
    let about = about(&options, &listeners, web.as_ref());
    let fleet = Arc::new(Mutex::new(Fleet::new(about, &cpus)));
    runtime.block_on(async move {
        if let Some(listener) = web {
            web::serve(listener, Arc::clone(&fleet)).map_err(failed("the web pages"))?;
        }
        let (events, mut queue) = unbounded_channel();
        watch_signals(&events).map_err(failed("signal handlers"))?;
        let control = |cpu| SeatControl {
            cpu,
            attendant: None,
            born: Instant::ZERO,
            deaths: Deaths::default(),
        };
        let seats = cpus.into_iter().map(control).collect();
        let phase = Phase::Starting;
        let mut supervisor = Supervisor {
            options,
            listeners,
            board,
            config,
            fleet,
            seats,
            events,
            output,
            phase,
        };
        supervisor.start();
        while !supervisor.is_over() {
            // The supervisor holds a sender itself: the queue never closes.
            let Some(event) = queue.recv().await else {
                break;
            };
            supervisor.handle_event(event);
        }
        supervisor.output.close();
        Ok(match supervisor.phase {
            Phase::Stopping(exit) => exit,
            Phase::Starting | Phase::Running => Exit::Failure,
        })
    })
}

impl Supervisor {
    fn start(&mut self) {
        for worker in 0..self.seats.len() {
            self.start_worker(worker);
        }
        self.later(START_TIME_MAX, || Event::StartOverdue);
        let lag = PERIOD_LAG.min(self.options.interval / 4);
        self.every(SAMPLE_INTERVAL, lag, || Event::Sample);
        self.every(self.options.interval, lag, || Event::Period);
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Seat {
                worker,
                news: News::Record(record),
            } => {
                locked(&self.fleet).seats[worker].handle_record(time::now(), *record);
                self.announce_when_ready();
            }
            Event::Seat {
                worker,
                news: News::BadRecord(fault),
            } => warning(format!("worker {worker}: {fault}")),
            Event::Seat {
                worker,
                news: News::Exited(status),
            } => self.handle_death(worker, status),
            Event::Respawn { worker } => self.start_worker(worker),
            Event::Signal => self.handle_signal(),
            Event::Period => self.print_period(),
            Event::Sample => self.sample(),
            Event::StartOverdue => self.complain_about_start(),
            Event::DrainOver => self.kill_the_rest(),
        }
    }

    /// Starts a worker on its seat, unless the server is stopping.
    fn start_worker(&mut self, worker: usize) {
        if matches!(self.phase, Phase::Stopping(_)) {
            return;
        }
        let seat = &mut self.seats[worker];
        let inheritance = Inheritance {
            worker,
            cpu: seat.cpu,
            listener: self.listeners.fd_for(worker),
            board: self.board.fd(),
            config: self.config.as_raw_fd(),
        };
        let events = self.events.clone();
        let tell = move |news| drop(events.send(Event::Seat { worker, news }));
        seat.born = time::now();
        match seat::start(&self.options.command, inheritance, tell) {
            Ok(attendant) => {
                debug!(worker, pid = attendant.pid, cpu = ?seat.cpu, listener = inheritance.listener, "worker started");
                locked(&self.fleet).seats[worker].handle_birth(attendant.pid);
                seat.attendant = Some(attendant);
            }
            Err(failure) => {
                warning(format!("cannot start worker {worker}: {failure}"));
                self.handle_death(worker, None);
            }
        }
    }

    fn handle_death(&mut self, worker: usize, status: Option<ExitStatus>) {
        if let Err(failure) = self.board.mark_vacant(worker) {
            warning(format!(
                "cannot mark the seat of worker {worker} as vacant: {failure}"
            ));
        }
        let seat = &mut self.seats[worker];
        let pid = seat.attendant.take().map(|attendant| attendant.pid);
        debug!(worker, pid, ?status, lived = ?time::now().since(seat.born), "worker is gone");
        if matches!(self.phase, Phase::Stopping(_)) {
            return locked(&self.fleet).seats[worker].handle_death(State::Gone);
        }
        let who = pid.map_or_else(
            || format!("worker {worker}"),
            |pid| format!("worker {worker} (pid {pid})"),
        );
        let how = status.map_or_else(|| "is gone".to_owned(), |status| format!("ended: {status}"));
        match seat
            .deaths
            .handle_death(self.options.respawn, seat.born, time::now(), status)
        {
            Verdict::RespawnAfter(delay) => {
                warning(format!(
                    "{who} {how}; a new one starts in {} ms",
                    delay.as_millis()
                ));
                locked(&self.fleet).seats[worker].handle_death(State::Waiting);
                self.later(delay, move || Event::Respawn { worker });
            }
            Verdict::GiveUp(reason) => {
                let (exit, why) = explain(reason);
                error(format!("{who} {how}; {why}"));
                locked(&self.fleet).seats[worker].handle_death(State::Gone);
                self.stop(exit);
            }
        }
    }

    fn handle_signal(&mut self) {
        match self.phase {
            Phase::Starting | Phase::Running => self.stop(Exit::Ok),
            Phase::Stopping(exit) => {
                let exit = if exit == Exit::Ok {
                    Exit::Interrupted
                } else {
                    exit
                };
                self.phase = Phase::Stopping(exit);
                self.order_all(Order::Kill);
            }
        }
    }

    /// Lets the workers drain; the loop ends when the last one is gone.
    fn stop(&mut self, exit: Exit) {
        debug!(?exit, drain_timeout = ?self.options.drain_timeout, "stopping");
        self.phase = Phase::Stopping(exit);
        self.order_all(Order::Terminate);
        self.later(self.options.drain_timeout + DRAIN_GRACE, || {
            Event::DrainOver
        });
    }

    fn kill_the_rest(&mut self) {
        let left: Vec<_> = self
            .seats
            .iter()
            .filter_map(|seat| seat.attendant.as_ref())
            .collect();
        if !left.is_empty() {
            let pids = left
                .iter()
                .map(|attendant| attendant.pid.to_string())
                .collect::<Vec<_>>()
                .join(", ");
            warning(format!(
                "the drain time is over, killing workers that are left: pid {pids}"
            ));
        }
        self.order_all(Order::Kill);
    }

    fn order_all(&self, order: Order) {
        self.seats
            .iter()
            .filter_map(|seat| seat.attendant.as_ref())
            .for_each(|attendant| attendant.order(order));
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Stopping(_))
            && self.seats.iter().all(|seat| seat.attendant.is_none())
    }

    fn announce_when_ready(&mut self) {
        if self.phase != Phase::Starting || !locked(&self.fleet).is_ready() {
            return;
        }
        self.phase = Phase::Running;
        let fleet = locked(&self.fleet);
        self.output.print(match self.options.format {
            Format::Json => format!("{}\n", json::listening(&fleet)),
            Format::Table => ready_line(&fleet),
        });
    }

    fn print_period(&self) {
        let now = time::now();
        let mut fleet = locked(&self.fleet);
        fleet.close_period(now);
        if self.phase != Phase::Running || !self.output.is_open() {
            return;
        }
        self.output.print(match self.options.format {
            Format::Json => format!("{}\n", json::stats(&fleet, now)),
            Format::Table => table::render(&fleet, now),
        });
    }

    fn sample(&self) {
        for worker in locked(&self.fleet).sample(time::now()) {
            if !matches!(self.phase, Phase::Stopping(_)) {
                warning(format!(
                    "worker {worker} has not reported for some seconds: it is stuck or stopped"
                ));
            }
        }
    }

    fn complain_about_start(&self) {
        if self.phase != Phase::Starting {
            return;
        }
        let fleet = locked(&self.fleet);
        let late = fleet
            .seats
            .iter()
            .enumerate()
            .filter(|(_, seat)| seat.state != State::Ready);
        let late = late
            .map(|(worker, _)| worker.to_string())
            .collect::<Vec<_>>()
            .join(", ");
        let seconds = START_TIME_MAX.as_secs();
        warning(format!(
            "not ready after {seconds} s: worker {late}; --debug shows what they do"
        ));
    }

    fn later(&self, delay: Duration, event: impl FnOnce() -> Event + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            sleep(delay).await;
            let _ = events.send(event());
        });
    }

    fn every(&self, period: Duration, lag: Duration, event: impl Fn() -> Event + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let mut ticks = interval_at(tokio::time::Instant::now() + lag + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                if events.send(event()).is_err() {
                    return;
                }
            }
        });
    }
}

/// The sentence for something that a system in good order always has.
fn failed(what: &'static str) -> impl Fn(io::Error) -> Fatal {
    move |error| Fatal::environment(format!("cannot make {what}: {error}"))
}

fn explain(reason: GiveUp) -> (Exit, String) {
    match reason {
        GiveUp::Refused(exit) => (
            exit,
            "it refused to start, so no new one would do better (its reason is above); stopping"
                .to_owned(),
        ),
        GiveUp::TooManyDeaths { deaths, within } => (
            Exit::WorkersDied,
            format!(
                "that is death {deaths} of this seat within {} s; giving up: look for what kills it in the messages \
                 above, or run with --debug",
                within.as_secs()
            ),
        ),
    }
}

/// The line that scripts wait for.
fn ready_line(fleet: &Fleet) -> String {
    let about = &fleet.about;
    let (tier, note) = fleet.tiers();
    let note = if tier == "uring" || note.is_empty() {
        String::new()
    } else {
        format!(" ({note})")
    };
    let workers = fleet.seats.len();
    let plural = if workers == 1 { "" } else { "s" };
    let web = about
        .web
        .as_ref()
        .map_or_else(|| "web off".to_owned(), |web| format!("web {web}"));
    format!(
        "ringway: listening on {} (backlog {}), {workers} worker{plural}, io={tier}{note}, {web}, pid {}\n",
        about.address, about.backlog, about.pid
    )
}

fn about(options: &Options, listeners: &Listeners, web: Option<&std::net::TcpListener>) -> About {
    let web = web.and_then(|listener| listener.local_addr().ok());
    About {
        address: listeners.bound().to_string(),
        backlog: listeners.backlog(),
        web: web.map(|address| format!("http://{address}/")),
        pid: std::process::id(),
        started: time::now(),
        started_unix_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |time| time.as_secs_f64()),
        settings: options.settings.clone(),
    }
}

fn config_file(text: &str) -> io::Result<File> {
    let mut file = sys::memfd(c"ringway-config")?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Signals become events. Installed before the first worker is started, so that none is orphaned by an early Ctrl-C.
fn watch_signals(events: &UnboundedSender<Event>) -> io::Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut stream = signal(kind)?;
        let events = events.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                let _ = events.send(Event::Signal);
            }
        });
    }
    Ok(())
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
}
