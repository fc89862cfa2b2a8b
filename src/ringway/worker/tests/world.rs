//! A worker in a simulation, with clients.

use std::time::Duration;

use super::client::Client;
use crate::io::board::Board;
use crate::io::sim::{Options, Random, Sim};
use crate::io::{Io as _, ReceiveMode};
use crate::proto::{Chunk, CloseCode, Kind, Message, Misuse};
use crate::protocol::{Opening, Receiving, SendError, TrafficStats, Verdict};
use crate::stats::Counters;
use crate::worker::{App, Closed, Config, Context, Listener, Scope, Worker};

/// Turns of a run at most: what has not ended then never will.
pub(super) const TURNS_MAX: usize = 300_000;

/// How a worker may receive.
pub(super) const MODES: [ReceiveMode; 2] = [ReceiveMode::Buffers, ReceiveMode::Readiness];

/// Echoes, and counts its calls. The text [`CLOSE_ME`] makes it close.
#[derive(Debug, Default)]
pub(super) struct Echo {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) clean: u64,
    /// What it gets of messages; from pieces it makes parts.
    pub(super) receiving: Receiving,
    /// Every connection is measured.
    pub(super) is_measured: bool,
    /// What those had in all.
    pub(super) traffic: Vec<TrafficStats>,
}

pub(super) const CLOSE_ME: &[u8] = b"close me";

/// Makes it answer with a message of [`STREAM_BYTES`], in parts, as fast as its queue has room.
pub(super) const STREAM_ME: &[u8] = b"stream me";
pub(super) const STREAM_BYTES: usize = 1_500_000;
const PART_BYTES: usize = 7_000;

/// The bytes of a streamed message.
pub(super) fn streamed(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|at| (at % 251).to_le_bytes()[0]).collect()
}

impl Echo {
    /// Goes on with the streamed message.
    fn stream(context: &mut Context<'_>, at: &mut Option<usize>) {
        while let Some(start) = *at {
            let end = STREAM_BYTES.min(start + PART_BYTES);
            match context.send_part(Kind::Binary, &streamed(start..end), end == STREAM_BYTES) {
                Err(SendError::QueueFull) => return,
                // This side has begun to close.
                Err(SendError::Misuse(Misuse::AfterClose)) => *at = None,
                sent => {
                    sent.expect("a part in its order");
                    *at = (end < STREAM_BYTES).then_some(end);
                }
            }
        }
    }
}

impl App for Echo {
    /// How far the message was streamed that is sent in parts.
    type Session = Option<usize>;

    fn connect(&mut self, _: &mut Opening<'_>, _: &mut Option<usize>) -> Verdict {
        let verdict = Verdict::accept().receiving(self.receiving);
        match self.is_measured {
            true => verdict.measured(),
            false => verdict,
        }
    }

    fn open(&mut self, _context: &mut Context<'_>, _: &mut Option<usize>) {
        self.opened += 1;
    }

    fn chunk(&mut self, context: &mut Context<'_>, _: &mut Option<usize>, chunk: Chunk<'_>) {
        let in_frames = self.receiving == Receiving::Frames;
        assert!(!in_frames || chunk.frame_begins == Some(chunk.payload.len() as u64));
        assert!(!in_frames || chunk.frame_ends);
        match context.send_part(chunk.kind, chunk.payload, chunk.message_ends) {
            Ok(()) | Err(SendError::Misuse(Misuse::AfterClose)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    fn writable(&mut self, context: &mut Context<'_>, streamed: &mut Option<usize>) {
        Self::stream(context, streamed);
    }

    fn message(
        &mut self,
        context: &mut Context<'_>,
        streamed: &mut Option<usize>,
        message: Message<'_>,
    ) {
        if message.payload() == STREAM_ME {
            *streamed = Some(0);
            return Self::stream(context, streamed);
        }
        if message.payload() == CLOSE_ME {
            context
                .close(CloseCode::NormalClosure, "you asked for it")
                .expect("the first Close");
            return;
        }
        // Refused only when this side has begun to close.
        let _ = context.reply(message);
    }

    fn close(&mut self, _scope: &mut Scope<'_>, _: Option<usize>, closed: Closed<'_>) {
        self.traffic.extend(closed.traffic);
        self.closed += 1;
        self.clean += u64::from(closed.clean);
    }
}

/// One run.
#[derive(Debug)]
pub(super) struct World {
    pub(super) worker: Worker<Sim, Echo>,
    pub(super) clients: Vec<Client>,
    pub(super) config: Config,
    pub(super) random: Random,
    /// Requests for a page: no handshakes, and no failed ones.
    pub(super) pages: u64,
    /// How long a turn may wait while nothing happens; without it that is a deadlock.
    pub(super) patience: Option<Duration>,
    turns: usize,
}

impl World {
    pub(super) fn new(options: Options, config: Config) -> Self {
        Self::beside(None, options, config)
    }

    /// A worker whose application is `app`.
    pub(super) fn with(app: Echo, options: Options, config: Config) -> Self {
        Self::of(app, None, options, config)
    }

    /// A worker beside others on a board.
    pub(super) fn beside(board: Option<Board>, options: Options, config: Config) -> Self {
        Self::of(Echo::default(), board, options, config)
    }

    fn of(app: Echo, board: Option<Board>, options: Options, config: Config) -> Self {
        let mut sim = Sim::new(options);
        let listener = Listener::new(sim.listen(), board);
        let worker = Worker::new(sim, app, config.clone(), listener);
        Self {
            worker,
            clients: Vec::new(),
            config,
            random: Random::new(options.seed ^ 0xC11E),
            pages: 0,
            patience: None,
            turns: 0,
        }
    }

    pub(super) fn now(&self) -> crate::time::Instant {
        self.worker.io().now()
    }

    pub(super) fn is_over(&self) -> bool {
        self.clients
            .iter()
            .all(|client| client.is_over(self.worker.io()))
    }

    /// Every client acts, then the worker.
    pub(super) fn step(&mut self) {
        self.turns += 1;
        assert!(
            self.turns < TURNS_MAX,
            "it ends: {:#?}",
            self.clients
                .iter()
                .map(Client::describe)
                .collect::<Vec<_>>()
        );
        let sim = self.worker.io_mut();
        for client in &mut self.clients {
            client.step(sim, sim.now());
        }
        if self.is_over() && self.worker.connections() == 0 {
            return;
        }
        let sim = self.worker.io_mut();
        let alarm = self
            .clients
            .iter()
            .filter_map(|client| client.alarm(sim))
            .min();
        sim.set_alarm(alarm);
        self.worker
            .turn(self.patience)
            .expect("a simulation never fails");
    }

    /// Until every client is over, and then everything else.
    pub(super) fn run(&mut self) -> Counters {
        while !self.is_over() {
            self.step();
        }
        self.worker.drain();
        self.finish()
    }

    /// Begins the graceful stop. Clients that did not connect by now never will.
    pub(super) fn stop(&mut self) {
        self.worker.drain();
        self.worker.io_mut().clear_backlog();
        self.clients.retain(|client| client.peer().is_some());
    }

    /// Until no connection is left; nothing may be left with them. The clients have left before.
    pub(super) fn finish(&mut self) -> Counters {
        self.patience = None;
        while self.worker.connections() > 0 || !self.is_over() {
            self.step();
        }
        self.worker.io_mut().faults_mut().stale = 0;
        for _ in 0..2 {
            // Buffers of the last turn go back in the next one.
            self.worker
                .turn(Some(Duration::ZERO))
                .expect("a simulation never fails");
        }
        self.check()
    }

    /// Every message of every client came in and went back. Returns how many, and their bytes.
    pub(super) fn check_echoes(&self, counters: &Counters) -> (u64, u64) {
        let scripts = || self.clients.iter().map(|client| &client.script);
        let messages = scripts().map(|script| script.messages).sum::<u64>();
        let bytes = scripts().map(|script| script.message_bytes).sum::<u64>();
        assert_eq!(
            (counters.messages_in, counters.messages_out),
            (messages, messages)
        );
        assert_eq!(
            (counters.message_bytes_in, counters.message_bytes_out),
            (bytes, bytes)
        );
        (messages, bytes)
    }

    fn check(&mut self) -> Counters {
        let sim = self.worker.io();
        sim.assert_clean();
        let moved = sim.moved();
        let counters = *self.worker.counters();
        let app = self.worker.app();
        assert_eq!(
            counters.wire_bytes_in, moved.received,
            "every byte received is counted"
        );
        assert_eq!(
            counters.wire_bytes_out, moved.sent,
            "every byte sent is counted"
        );
        assert_eq!(
            (counters.clients, counters.sockets),
            (0, 0),
            "gauges end at zero"
        );
        assert_eq!(counters.handshakes, app.opened, "every opening is told");
        assert_eq!(app.closed, app.opened, "every end is told");
        assert_eq!(
            counters.closed_unclean,
            app.closed - app.clean,
            "every unclean end is counted"
        );
        let outcomes = counters.handshakes + counters.handshakes_failed + self.pages;
        assert_eq!(counters.accepted, outcomes, "every accept has an outcome");
        counters
    }
}

impl Drop for World {
    /// Says what a run was that panics.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for client in &self.clients {
                eprintln!("{}", client.describe());
            }
        }
    }
}

/// Says how to repeat a run that panics.
#[derive(Debug)]
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("RINGWAY_SIM_SEED={} repeats it", self.0);
        }
    }
}

/// Runs `run` with seeds from zero on: `count` of them, or `RINGWAY_SIM_COUNT` times as many; or the one in
/// `RINGWAY_SIM_SEED`.
pub(super) fn seeds(count: u64, run: impl Fn(u64)) {
    let variable = |name| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().expect("a number"))
    };
    let seeds = match variable("RINGWAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..count * variable("RINGWAY_SIM_COUNT").unwrap_or(1),
    };
    for seed in seeds {
        let _replay = Replay(seed);
        run(seed);
    }
}
