//! One driver thread: its ring, its script, its event loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::meter::{Meter, Window};
use super::options::{IoTier, LoadOptions, Scenario};
use super::outcome::{Errors, Thread};
use crate::io::epoll::Epoll;
use crate::io::uring::{self, Uring};
use crate::io::{Error, Io, sys};
use crate::proto::{Kind, Limits, Role, http};
use crate::time::{self, Instant};
use crate::worker::{App, Config, Deflate, Masking, Prepared, Worker};

/// Most bytes queued for one connection (64 MiB). They are references to prepared messages, not copies.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Longest wait of a turn: a thread notices within this time what the conductor decided.
const PATIENCE: Duration = Duration::from_millis(10);

/// Shortest wait of a turn after the window, unless something arrives.
const REST: Duration = Duration::from_millis(1);

/// Time between two reports while connections are opened.
const TELL: Duration = Duration::from_millis(250);

/// What a scenario does with the connections of one thread.
pub(super) trait Script: App {
    /// The messages to be encoded before the first turn.
    fn messages(&self) -> Vec<(Kind, &[u8])>;

    /// Takes the encoded messages.
    fn set_prepared(&mut self, prepared: Prepared);

    /// Whether all work that precedes the start of the clock is done.
    fn is_ready(&self) -> bool;

    /// Starts the clock. The meter gets the window.
    fn set_go(&mut self, window: Window);

    /// When the script needs its next turn, even if nothing arrives.
    fn due(&self) -> Option<Instant>;

    /// After the window: whether the script waits for nothing more.
    fn is_done(&self) -> bool;

    /// Whether the script's work is done before the window ends. The run then ends.
    fn is_complete(&self) -> bool {
        false
    }

    /// Ends the script. Connections that end after this were closed by the driver. If `in_time`, an answer that has not
    /// arrived is missing; otherwise the run was abandoned.
    fn finish(&mut self, in_time: bool);

    /// The counters and histograms of this thread.
    fn meter(&mut self) -> &mut Meter;

    /// The scenario's figures.
    fn figures(&mut self) -> Figures;
}

/// Figures of one thread besides messages and latencies.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Counts, summed over threads.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// Distributions in ns, merged over threads.
    pub(super) times: BTreeMap<&'static str, Histogram<u64>>,
    /// How much later than due messages were sent.
    pub(super) late: Option<Histogram<u64>>,
    /// How long opening all connections took. The result has the longest of all threads.
    pub(super) ramp: Option<Duration>,
    /// Every handshake, where the scenario keeps them.
    pub(super) handshakes: Vec<Record>,
}

impl Figures {
    pub(super) fn add(&mut self, name: &'static str, count: u64) {
        *self.counts.entry(name).or_default() += count;
    }
}

/// One handshake; times in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// From the start to the TCP connection.
    pub tcp_ns: u64,
    /// From the start to the open WebSocket, or to the failure.
    pub open_ns: u64,
    /// From the open WebSocket to its end.
    pub close_ns: u64,
    /// The WebSocket did not open.
    pub failed: bool,
}

/// What the threads of a run share.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// When the clock starts. Zero until that is known.
    go_ns: AtomicU64,
    /// The run is to end now.
    stop: AtomicBool,
    /// The observer has read the server's figures, so threads may close their connections.
    may_close: AtomicBool,
}

impl Control {
    pub(super) fn set_go(&self, go: Instant) {
        self.go_ns.store(go.nanos().max(1), Ordering::Release);
    }

    fn go(&self) -> Option<Instant> {
        match self.go_ns.load(Ordering::Acquire) {
            0 => None,
            ns => Some(Instant::from_nanos(ns)),
        }
    }

    /// Ends the run early. Its figures count.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Abandons the run. Its figures are not wanted.
    pub(super) fn abandon(&self) {
        self.stop();
        self.let_close();
    }

    /// Allows the threads to close their connections.
    pub(super) fn let_close(&self) {
        self.may_close.store(true, Ordering::Release);
    }

    fn may_close(&self) -> bool {
        self.may_close.load(Ordering::Acquire)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// A thread's number, and the options of the run.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) index: usize,
    pub(super) options: Arc<LoadOptions>,
    pub(super) control: Arc<Control>,
}

impl Seat {
    /// The CPU to which this thread is pinned.
    pub(super) fn cpu(&self) -> Option<usize> {
        let cpus = &self.options.cpus;
        (!cpus.is_empty()).then(|| cpus[self.index % cpus.len()])
    }

    fn window(&self, go: Instant) -> Window {
        let begin = go + self.options.warmup;
        Window {
            go,
            begin,
            end: begin + self.options.duration,
        }
    }
}

/// The figures of a thread at its end.
#[derive(Debug)]
pub(super) struct Result {
    pub(super) thread: Thread,
    pub(super) errors: Errors,
    /// Connections that were opened since the start.
    pub(super) opened: u64,
    pub(super) first_failure: Option<String>,
    pub(super) figures: Figures,
    /// When the window ended for this thread: earlier than planned if the run was stopped.
    pub(super) ended: Option<Instant>,
}

/// Runs a script to its end, in the calling thread.
pub(super) fn run<S: Script>(seat: &Seat, script: S) -> std::result::Result<Result, String> {
    sys::own_descriptors();
    sys::exact_timers();
    if let Some(cpu) = seat.cpu()
        && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
    {
        return Err(format!(
            "cannot pin a driver thread to CPU {cpu}: choose others with --cpus, or --cpus=none"
        ));
    }
    let describe = |error: Error| format!("driver thread {}: {error}", seat.index);
    let epoll = || Epoll::new().map_err(describe);
    if seat.options.io == IoTier::Epoll {
        return drive(seat, epoll()?, script).map_err(describe);
    }
    match Uring::new(&uring::Options { buffers_max: 8192 }) {
        Ok(ring) => drive(seat, ring, script).map_err(describe),
        Err(why) if seat.options.io == IoTier::Uring => Err(format!(
            "--io=uring is impossible here: {why}; --io=auto would use epoll"
        )),
        Err(why) => {
            if seat.index == 0 {
                tracing::warn!("io_uring cannot be used, so the driver uses epoll: {why}");
            }
            drive(seat, epoll()?, script).map_err(describe)
        }
    }
}

fn config(options: &LoadOptions, thread: usize) -> Config {
    let largest = options
        .payload
        .sizes
        .iter()
        .map(|(size, _)| *size)
        .max()
        .unwrap_or(0);
    let recorded = match &options.scenario {
        Scenario::Replay(replay) => replay.recording.largest(),
        _ => 0,
    };
    let limit = (largest.max(recorded) as u64).max(16 << 20);
    Config {
        message_limits: Limits {
            frame_bytes_max: limit,
            message_bytes_max: limit,
        },
        head_limits: http::Limits {
            head_bytes_max: options.max_head,
            headers_max: options.max_headers,
        },
        handshake_timeout: options.timeout,
        close_timeout: options.timeout,
        // No write timeout: how a server that stops reading behaves is to be measured, not cut off.
        write_timeout: None,
        send_queue_bytes_max: QUEUE_BYTES_MAX,
        // Seeded masking keys, so that the seed decides every byte of a run. The payloads are random filler that needs no
        // protection.
        masking: Masking::Seeded(options.seed ^ (thread as u64) << 32),
        ..Config::default()
    }
}

fn drive<I: Io, S: Script>(seat: &Seat, io: I, script: S) -> std::result::Result<Result, Error> {
    let mut worker = Worker::client(io, script, config(&seat.options, seat.index));
    prepare(&mut worker, seat.options.deflate.as_ref())?;
    let mut marks = Marks::default();
    let mut ready = false;
    let mut tell = time::now() + TELL;
    let last = loop {
        let mut patience = patience(worker.app());
        if marks.end.is_some() {
            // After the window nothing is urgent: a longer wait leaves the server its CPU time.
            patience = patience.max(REST);
        }
        worker.turn(Some(patience))?;
        let now = time::now();
        if !ready && (worker.app().is_ready() || now >= tell) {
            ready = worker.app().is_ready();
            tell = now + TELL;
            worker.app_mut().meter().tell_opening(ready);
        }
        if ready
            && marks.window.is_none()
            && let Some(go) = seat.control.go()
        {
            let window = seat.window(go);
            marks.window = Some(window);
            worker.app_mut().meter().start(window);
            worker.app_mut().set_go(window);
        }
        let stopped = seat.control.is_stopped() || worker.app().is_complete();
        if marks.is_at_an_edge(now, stopped) {
            marks.pass(now, Work::of(&mut worker), stopped);
        }
        if stopped || marks.is_over(now, worker.app().is_done(), &seat.options) {
            break now;
        }
    };
    worker.app_mut().finish(!seat.control.is_stopped());
    worker.app_mut().meter().finish(last, seat.options.timeout);
    hold(&mut worker, seat)?;
    let connections = worker.app_mut().meter().connections;
    say_goodbye(&mut worker, seat)?;
    let script = worker.app_mut();
    let meter = script.meter();
    Ok(Result {
        thread: marks.thread(seat.cpu(), connections),
        errors: meter.errors,
        opened: meter.opened,
        first_failure: meter.first_failure.take(),
        ended: marks.end.map(|end| end.at),
        figures: script.figures(),
    })
}

/// Encodes the script's messages.
fn prepare<I: Io, S: Script>(
    worker: &mut Worker<I, S>,
    deflate: Option<&Deflate>,
) -> std::result::Result<(), Error> {
    let messages: Vec<(Kind, Vec<u8>)> = worker
        .app()
        .messages()
        .into_iter()
        .map(|(kind, payload)| (kind, payload.to_vec()))
        .collect();
    if messages.is_empty() {
        return Ok(());
    }
    let borrowed: Vec<_> = messages
        .iter()
        .map(|(kind, payload)| (*kind, payload.as_slice()))
        .collect();
    let prepared = worker
        .prepare(Role::Client, &borrowed, deflate)
        .map_err(|error| Error {
            operation: "prepare messages",
            source: std::io::Error::other(error),
        })?;
    worker.app_mut().set_prepared(prepared);
    Ok(())
}

fn patience(script: &impl Script) -> Duration {
    match script.due() {
        Some(due) => due.since(time::now()).min(PATIENCE),
        None => PATIENCE,
    }
}

/// Keeps the connections open until the observer has read the server's figures. Once thousands are closing, the server's
/// figures per worker no longer say how many each had.
fn hold<I: Io, S: Script>(
    worker: &mut Worker<I, S>,
    seat: &Seat,
) -> std::result::Result<(), Error> {
    while !seat.control.may_close() && !worker.app().is_complete() && worker.connections() > 0 {
        worker.turn(Some(REST))?;
    }
    Ok(())
}

/// Closes the open connections with a closing handshake, and resets those whose server does not answer in time.
fn say_goodbye<I: Io, S: Script>(
    worker: &mut Worker<I, S>,
    seat: &Seat,
) -> std::result::Result<(), Error> {
    let deadline = time::now() + seat.options.timeout;
    worker.drain();
    while worker.connections() > 0 && time::now() < deadline {
        worker.turn(Some(PATIENCE))?;
    }
    worker.abort();
    for _ in 0..10 {
        worker.turn(Some(Duration::ZERO))?;
    }
    Ok(())
}

/// The thread's own CPU time and system calls at the two ends of the window.
#[derive(Debug, Default)]
struct Marks {
    window: Option<Window>,
    begin: Option<Mark>,
    end: Option<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    user_ns: u64,
    system_ns: u64,
    waited_ns: Option<u64>,
    work: Work,
}

/// What a thread has done so far.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// System calls of turns, and system calls that only send.
    enters: u64,
    sends: u64,
    wire_bytes_in: u64,
    payload_bytes_in: u64,
    compressed_in: u64,
    tls_handshakes: u64,
    tls_resumed: u64,
}

impl Work {
    fn of<I: Io, S: Script>(worker: &mut Worker<I, S>) -> Self {
        let sends = worker.lone_sends();
        let counters = worker.counters();
        Self {
            enters: counters.turns,
            sends,
            wire_bytes_in: counters.wire_bytes_in,
            payload_bytes_in: counters.message_bytes_in,
            compressed_in: counters.inflated,
            tls_handshakes: counters.tls_handshakes,
            tls_resumed: counters.tls_resumed,
        }
    }
}

impl Mark {
    fn now(at: Instant, work: Work) -> Self {
        let (user_ns, system_ns) = sys::thread_usage_ns();
        Self {
            at,
            user_ns,
            system_ns,
            waited_ns: waited_ns(),
            work,
        }
    }
}

/// How long this thread was ready to run while another one had the CPU, in ns.
fn waited_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

impl Marks {
    /// Whether the window has begun or ended since the last look.
    fn is_at_an_edge(&self, now: Instant, stopped: bool) -> bool {
        self.window.is_some_and(|window| {
            (self.begin.is_none() && now >= window.begin)
                || (self.end.is_none() && (now >= window.end || stopped))
        })
    }

    fn pass(&mut self, now: Instant, work: Work, stopped: bool) {
        let Some(window) = self.window else { return };
        if self.begin.is_none() && now >= window.begin {
            self.begin = Some(Mark::now(now, work));
        }
        if self.begin.is_some() && self.end.is_none() && (now >= window.end || stopped) {
            self.end = Some(Mark::now(now, work));
        }
    }

    /// Whether the window, and the wait for the last answers, are over.
    fn is_over(&self, now: Instant, done: bool, options: &LoadOptions) -> bool {
        self.window.is_some_and(|window| {
            now >= window.end && (done || now >= window.end + options.timeout)
        })
    }

    fn thread(&self, cpu: Option<usize>, connections: u64) -> Thread {
        let (Some(begin), Some(end)) = (self.begin, self.end) else {
            return Thread {
                cpu: cpu.map(|cpu| cpu as u64),
                ..Thread::default()
            };
        };
        let wall = end.at.since(begin.at).as_secs_f64().max(1e-9);
        let seconds = |ns: u64| ns as f64 / 1e9;
        let (user_s, system_s) = (
            seconds(end.user_ns - begin.user_ns),
            seconds(end.system_ns - begin.system_ns),
        );
        Thread {
            cpu: cpu.map(|cpu| cpu as u64),
            connections,
            messages: 0,
            utilisation: (user_s + system_s) / wall,
            waiting: begin
                .waited_ns
                .zip(end.waited_ns)
                .map(|(from, to)| seconds(to.saturating_sub(from)) / wall),
            user_s,
            system_s,
            enters: end.work.enters - begin.work.enters,
            sends: end.work.sends - begin.work.sends,
            wire_bytes_in: end.work.wire_bytes_in - begin.work.wire_bytes_in,
            payload_bytes_in: end.work.payload_bytes_in - begin.work.payload_bytes_in,
            compressed_in: end.work.compressed_in - begin.work.compressed_in,
            tls_handshakes: end.work.tls_handshakes - begin.work.tls_handshakes,
            tls_resumed: end.work.tls_resumed - begin.work.tls_resumed,
            saturated: false,
            late_p99_us: None,
        }
    }
}
