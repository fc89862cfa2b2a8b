//! A run from beginning to end: threads, clock, server, result.
//!
//! ```text
//!   open connections ──▶ all ready ──▶ go ── warm-up ── begin ── window ── end ── last answers ──▶ close
//!        (each thread)                  │                 │                 │
//!        └ Note::Opening, Note::Ready   └ one instant     └── the server's figures are read here, and at each interval
//! ```

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cast::{Cast, play};
use super::collected::{self, Collected};
use super::meter::{Note, SLICE, Slice};
use super::observer::{Observer, Sample};
use super::options::{Address, Asking, LoadOptions, Scenario, Target};
use super::outcome::Errors;
use super::route::ADDRESSES_MAX;
use super::summary;
use super::thread::{self, Control, Seat};
use crate::proto::handshake::Misuse;
use crate::time::{self, Instant};
use crate::worker::OpeningRequest;

/// Time from the moment all threads are ready to the start of the clock, so that every thread learns the start before it.
const LEAD: Duration = Duration::from_millis(30);

/// Most messages under way over all connections: each takes 16 bytes of the driver's memory.
const IN_FLIGHT_MAX: usize = 16 << 20;

/// Time between two reports to the progress line.
const LIVE: Duration = Duration::from_millis(250);

pub use super::summary::Report;
pub use super::thread::Record as HandshakeRecord;

/// Why there is no result.
#[derive(Debug)]
pub struct Error {
    /// The options are wrong. False: the system or the server failed.
    pub is_usage: bool,
    /// A sentence with cause and remedy.
    pub sentence: String,
}

impl Error {
    fn environment(sentence: impl Into<String>) -> Self {
        Self {
            is_usage: false,
            sentence: sentence.into(),
        }
    }

    fn usage(sentence: impl Into<String>) -> Self {
        Self {
            is_usage: true,
            sentence: sentence.into(),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Error {}

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are being opened.
    Opening,
    /// Messages are sent and not measured.
    Warmup,
    /// The measured window.
    Measuring,
    /// The window is over: the driver waits for the last answers and closes its connections.
    Finishing,
}

/// The progress of a run.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// The current phase.
    pub phase: Phase,
    /// Time since the window began.
    pub elapsed: Duration,
    /// Length of the window.
    pub total: Duration,
    /// Open connections.
    pub connections: u64,
    /// Rate of the last 250 ms.
    pub messages_per_second: f64,
    /// 99th percentile of the latency in the last 250 ms.
    pub p99_us: f64,
    /// Faults so far.
    pub errors: u64,
}

/// Does a run. `observe` is called four times a second with its progress, and may end it early.
///
/// # Errors
/// [`Error`]: no connection could be opened, a thread failed, or the options contradict each other.
pub fn run(
    options: &LoadOptions,
    observe: &mut dyn FnMut(&Live) -> ControlFlow<()>,
) -> Result<Report, Error> {
    check(options)?;
    let options = Arc::new(effective(options)?);
    let request = request(&options)?;
    let mut observer = Observer::new(&options);
    observer.before();
    let control = Arc::new(Control::default());
    let cast = Arc::new(Cast::new(request, &options));
    let (notes, told) = channel();
    let mut threads = Vec::new();
    for index in 0..options.threads {
        let seat = Seat {
            index,
            options: options.clone(),
            control: control.clone(),
        };
        threads.push(spawn(seat, &cast, &notes)?);
    }
    drop(notes);
    let mut conductor = Conductor {
        options: &options,
        control: &control,
        told,
        observe,
        threads,
        collected: Collected::new(options.threads, options.duration),
        opening: vec![(0, Errors::default(), false); options.threads],
        told_live: time::now(),
    };
    conductor.open()?;
    let samples = conductor.conduct(&mut observer)?;
    let mut collected = conductor.join()?;
    if let Some(error) = nothing_opened(&options, &collected) {
        return Err(error);
    }
    let fans_out = matches!(
        options.scenario,
        Scenario::Broadcast { .. } | Scenario::Pubsub(_)
    );
    collected.fanout = fans_out.then(|| cast.fanout.totals());
    Ok(summary::report(&options, collected, observer, &samples))
}

/// The error of a run in which no connection ever opened, or no client could subscribe: nothing was measured.
fn nothing_opened(options: &LoadOptions, collected: &Collected) -> Option<Error> {
    let mut threads = collected.threads.iter();
    let opened: u64 = threads.clone().map(|thread| thread.opened).sum();
    let subscribers = threads
        .clone()
        .filter_map(|thread| thread.figures.counts.get("pubsub_subscribers"))
        .sum::<u64>();
    let is_idle = matches!(options.scenario, Scenario::Pubsub(_)) && subscribers == 0;
    if collected.interrupted || (opened > 0 && !is_idle) {
        return None;
    }
    let why = threads.find_map(|thread| thread.first_failure.clone());
    Some(match why {
        Some(why) if opened > 0 => Error::environment(format!(
            "no client could subscribe at {}: {why}",
            options.target.uri
        )),
        why => no_connection(options, why),
    })
}

fn no_connection(options: &LoadOptions, why: Option<String>) -> Error {
    let why = why.unwrap_or_else(|| "no thread says why".to_owned());
    let uri = &options.target.uri;
    Error::environment(format!("no connection to {uri} could be opened: {why}"))
}

pub(super) fn request(options: &LoadOptions) -> Result<Arc<OpeningRequest>, Error> {
    let target = &options.target;
    let mut request = asked(target)
        .map_err(|misuse| Error::usage(format!("{} cannot be asked for: {misuse}", target.uri)))?;
    if let Some(deflate) = options.deflate {
        request = request.deflate(deflate);
    }
    if let Some(name) = &target.tls_name {
        request = request.tls(options.tls.client(name).map_err(Error::usage)?);
    }
    Ok(Arc::new(request))
}

/// The request for a WebSocket of `target`.
fn asked(target: &Target) -> Result<OpeningRequest, Misuse> {
    let Asking {
        origin,
        headers,
        proxy,
    } = &target.asking;
    let mut request = OpeningRequest::new(&target.host, &target.resource, &target.subprotocols)?;
    request = request.headers(headers)?;
    if let Some(origin) = origin {
        request = request.origin(origin)?;
    }
    match proxy {
        Some(proxy) => request.tunnel(proxy.tunnel.clone()),
        None => Ok(request),
    }
}

/// Adjusts the options. Handshakes with a count and a replay have no warm-up, because they count from the first connect on. Of the
/// server's addresses only those of the local addresses' family stay.
fn effective(options: &LoadOptions) -> Result<LoadOptions, Error> {
    let mut options = options.clone();
    let sources = options.sources.clone();
    let is_reachable = |to: &Address| {
        let mut sources = sources.iter();
        let is_ipv4 = to.tcp().map(|to| to.is_ipv4());
        sources.all(|source| Some(source.is_ipv4()) == is_ipv4)
    };
    let target = &mut options.target;
    let destinations = match &mut target.asking.proxy {
        Some(proxy) => &mut proxy.addresses,
        None => &mut target.addresses,
    };
    let all = destinations.clone();
    destinations.retain(is_reachable);
    destinations.truncate(ADDRESSES_MAX);
    if destinations.is_empty() {
        let shown: Vec<_> = all.iter().map(ToString::to_string).collect();
        return Err(Error::usage(format!(
            "--source and the server's address {} are not of the same family",
            shown.join(", ")
        )));
    }
    if let Scenario::Handshake { count: Some(_), .. } | Scenario::Replay(_) = options.scenario {
        options.warmup = Duration::ZERO;
    }
    Ok(options)
}

/// Refuses options that contradict each other.
fn check(options: &LoadOptions) -> Result<(), Error> {
    let per_thread = options.connections / options.threads.max(1);
    if options.threads == 0 || options.connections == 0 {
        return Err(Error::usage(
            "there is nothing to do: --threads and --connections are at least 1",
        ));
    }
    if per_thread == 0 && !matches!(options.scenario, Scenario::Handshake { .. }) {
        return Err(Error::usage(format!(
            "{} threads have nothing to do with {} connections; use fewer --threads",
            options.threads, options.connections
        )));
    }
    if options.connections.saturating_mul(options.in_flight) > IN_FLIGHT_MAX {
        return Err(Error::usage(format!(
            "{} connections with {} messages in flight are more than {IN_FLIGHT_MAX} messages under way; use fewer",
            options.connections, options.in_flight
        )));
    }
    if let Some(pid) = options.server_pid
        && !std::path::Path::new(&format!("/proc/{pid}")).exists()
    {
        return Err(Error::usage(format!(
            "--server-pid={pid}: there is no such process"
        )));
    }
    let foreign = |source: &&std::net::IpAddr| std::net::UdpSocket::bind((**source, 0)).is_err();
    if let Some(source) = options.sources.iter().find(foreign) {
        return Err(Error::usage(format!(
            "--source={source} is not an address of this machine: add it to an interface, or use 127.0.0.1 to 127.255.255.254"
        )));
    }
    if let Scenario::Broadcast {
        others_only: true, ..
    } = options.scenario
        && (options.rate.is_none() || options.connections < 2)
    {
        return Err(Error::usage(
            "--others-only needs --rate and at least 2 --connections: without its own message a sender of a closed loop \
             does not know when to send the next",
        ));
    }
    Ok(())
}

type Handle = JoinHandle<Result<thread::Result, String>>;

/// Starts a driver thread with its part of the scenario.
fn spawn(seat: Seat, cast: &Arc<Cast>, notes: &Sender<Note>) -> Result<Handle, Error> {
    let (cast, notes) = (cast.clone(), notes.clone());
    std::thread::Builder::new()
        .name(format!("driver {}", seat.index))
        .spawn(move || play(&seat, &cast, notes))
        .map_err(|error| Error::environment(format!("cannot start a driver thread: {error}")))
}

/// Leads all threads through the run.
struct Conductor<'a> {
    options: &'a LoadOptions,
    control: &'a Control,
    told: Receiver<Note>,
    observe: &'a mut dyn FnMut(&Live) -> ControlFlow<()>,
    threads: Vec<Handle>,
    collected: Collected,
    /// Open connections, faults and readiness of each thread.
    opening: Vec<(u64, Errors, bool)>,
    told_live: Instant,
}

impl Conductor<'_> {
    /// Waits until every thread has opened or given up its connections.
    fn open(&mut self) -> Result<(), Error> {
        let mut ready = 0;
        while ready < self.threads.len() {
            if self.threads.iter().any(JoinHandle::is_finished) {
                return Err(self.fail());
            }
            match self.told.recv_timeout(LIVE) {
                Ok(Note::Ready {
                    thread,
                    open,
                    errors,
                }) => {
                    self.opening[thread] = (open, errors, true);
                    ready += 1;
                }
                Ok(Note::Opening {
                    thread,
                    open,
                    errors,
                }) => self.opening[thread] = (open, errors, false),
                Ok(Note::Slice(_)) | Err(_) => {}
            }
            let open = self.opening.iter().map(|(open, ..)| open).sum();
            let errors = self
                .opening
                .iter()
                .map(|(_, errors, _)| errors.total())
                .sum();
            self.collected.connections = open;
            let live = Live {
                phase: Phase::Opening,
                elapsed: Duration::ZERO,
                total: self.options.duration,
                connections: open,
                messages_per_second: 0.0,
                p99_us: 0.0,
                errors,
            };
            if self.tell(&live).is_break() {
                self.control.stop();
                self.collected.interrupted = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Starts the clock and waits until every thread is done.
    fn conduct(&mut self, observer: &mut Observer) -> Result<Vec<(Instant, Sample)>, Error> {
        let opens_first = !matches!(
            self.options.scenario,
            Scenario::Handshake { .. } | Scenario::Replay(_)
        );
        if opens_first && self.collected.connections == 0 && !self.collected.interrupted {
            return Err(self.fail());
        }
        let go = time::now() + LEAD;
        let (begin, end) = (
            go + self.options.warmup,
            go + self.options.warmup + self.options.duration,
        );
        self.control.set_go(go);
        self.collected.go = Some(go);
        self.collected.began_unix_ms = unix_ms() + millis(begin.since(time::now()));
        // Samples the server exactly at both ends of the window and at the end of each interval.
        let interval = self.collected.interval();
        let mut next = Some(begin);
        let mut samples = Vec::new();
        while !self.threads.iter().all(JoinHandle::is_finished) {
            let now = time::now();
            if let Some(at) = next.filter(|at| now >= *at) {
                samples.push((now, sample(observer, at, begin, end)));
                next = (at < end).then(|| (at + interval).min(end));
                continue;
            }
            if self.collected.interrupted && next.is_some_and(|next| next > begin) {
                // The run was stopped: the window ends now.
                samples.push((now, observer.end()));
                next = None;
            }
            if next.is_none() || self.collected.interrupted {
                self.control.let_close();
            }
            let wait = next.map_or(LIVE, |next| next.since(now).min(LIVE));
            match self.told.recv_timeout(wait) {
                Ok(Note::Slice(slice)) => self.take(*slice, end),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        if next.is_some_and(|next| next > begin) {
            // The threads finished their work before the window was over.
            samples.push((time::now(), observer.end()));
        }
        Ok(samples)
    }

    /// Keeps a slice, and reports the progress once all threads have sent theirs.
    fn take(&mut self, slice: Slice, end: Instant) {
        let index = slice.index;
        self.collected.add(slice);
        let recent = self.collected.recent.iter();
        let same: Vec<_> = recent.filter(|slice| slice.index == index).collect();
        if same.len() < self.threads.len() {
            return;
        }
        let mut latency = super::meter::histogram();
        same.iter()
            .for_each(|slice| collected::merge(&mut latency, &slice.latency));
        let now = time::now();
        let begin = Instant::from_nanos(end.nanos().saturating_sub(nanos(self.options.duration)));
        let live = Live {
            phase: match index {
                _ if now >= end => Phase::Finishing,
                ..0 => Phase::Warmup,
                _ => Phase::Measuring,
            },
            elapsed: now.since(begin).min(self.options.duration),
            total: self.options.duration,
            connections: same.iter().map(|slice| slice.connections).sum(),
            messages_per_second: same.iter().map(|slice| slice.messages).sum::<u64>() as f64
                / SLICE.as_secs_f64(),
            p99_us: latency.value_at_quantile(0.99) as f64 / 1000.0,
            errors: same.iter().map(|slice| slice.errors.total()).sum(),
        };
        if self.tell(&live).is_break() {
            self.control.stop();
            self.collected.interrupted = true;
        }
    }

    fn tell(&mut self, live: &Live) -> ControlFlow<()> {
        let now = time::now();
        if now.since(self.told_live) < LIVE / 2 {
            return ControlFlow::Continue(());
        }
        self.told_live = now;
        (self.observe)(live)
    }

    /// Why no connection is open, from the reports of the threads.
    fn fail(&mut self) -> Error {
        self.control.abandon();
        let first = self
            .threads
            .drain(..)
            .find_map(|thread| match thread.join() {
                Ok(Ok(result)) => result.first_failure,
                Ok(Err(sentence)) => Some(sentence),
                Err(_) => Some("a driver thread panicked: this is a bug".to_owned()),
            });
        no_connection(self.options, first)
    }

    fn join(mut self) -> Result<Collected, Error> {
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(result)) => self.collected.threads.push(result),
                Ok(Err(sentence)) => return Err(Error::environment(sentence)),
                Err(_) => {
                    return Err(Error::environment(
                        "a driver thread panicked: this is a bug",
                    ));
                }
            }
        }
        for note in self.told.try_iter() {
            if let Note::Slice(slice) = note {
                self.collected.add(*slice);
            }
        }
        self.collected.finish();
        Ok(self.collected)
    }
}

fn sample(observer: &mut Observer, at: Instant, begin: Instant, end: Instant) -> Sample {
    if at == begin {
        observer.begin()
    } else if at == end {
        observer.end()
    } else {
        observer.sample()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Wall-clock time, for the record.
fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}
