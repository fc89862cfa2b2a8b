//! The scenario `replay`: every connection plays a recorded session, and what comes back is compared with the recording.
//!
//! ```text
//!  connect ─▶ open ─▶ step, step, … at its recorded time ÷ speed ─▶ what is expected has come ─▶ close ─▶ the next session
//!                     └ queue full: it waits, and keeps its time     └ not in time: the session is unlike the recording
//! ```
//!
//! A session counts from its open WebSocket, as the recording does. So connections are opened inside the window.
//!
//! Owns: the times of sending, and how a session ends. Never: reads a recording (that is `ringway_command::recording`).

mod session;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

pub(super) use session::Session;
use session::{Act, Came, Step};

use super::meter::{Due, Meter, Window, histogram};
use super::options;
use super::outcome::Errors;
use super::ramp::{Fate, Ramp};
use super::thread::{Figures, Script};
use crate::io::ConnId;
use crate::proto::{CloseCode, Kind, Message};
use crate::time::Instant;
use crate::worker::{App, Closed, Context, Failure, Handle, Prepared, Scope};

/// Most messages that a connection sends in one turn, so that others have theirs.
const MESSAGES_PER_TURN: usize = 256;

/// Most payload bytes of neighbours that are sent together, unless one message has more.
const RUN_BYTES_MAX: usize = 1 << 20;

/// The part of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Number of the thread's first connection among those of all threads, and how many it has.
    first: usize,
    count: usize,
    /// Sessions of each connection.
    repeat: u32,
    /// Connections of all threads that begin per second. `None`: as fast as others are done.
    connects_per_second: Option<f64>,
    /// How long a session waits for what is missing, and for room in its send queue.
    patience: Duration,
}

impl Plan {
    /// For `count` connections from number `first` on.
    pub(super) const fn new(
        replay: &options::Replay,
        (first, count): (usize, usize),
        patience: Duration,
    ) -> Self {
        Self {
            first,
            count,
            repeat: replay.repeat,
            connects_per_second: replay.connects_per_second,
            patience,
        }
    }
}

/// A connection, which plays one session after the other.
#[derive(Debug)]
struct Player {
    id: Option<ConnId>,
    /// When its WebSocket opened.
    began: Instant,
    /// Sessions that it has begun.
    sessions: u32,
    /// The next step, and the next prepared message.
    step: usize,
    message: usize,
    came: Came,
    /// When something was last sent, or came.
    lively: Instant,
    /// When it is looked at next. Other entries of the heap are out of date.
    wake: Instant,
    /// The next message is due, and its send queue was full: it had so many bytes.
    held: Option<usize>,
    /// We have sent a Close.
    is_closing: bool,
    /// It is unlike the recording.
    is_unlike: bool,
}

/// What was done, over all sessions of a thread.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sessions: u64,
    whole: u64,
    unlike: u64,
    sent: u64,
    sent_bytes: u64,
    received: u64,
    received_bytes: u64,
    pings: u64,
    pongs_left_out: u64,
}

/// The connections of one thread.
#[derive(Debug)]
pub(super) struct Replay {
    meter: Meter,
    ramp: Ramp,
    session: Arc<Session>,
    plan: Plan,
    prepared: Option<Prepared>,
    players: Vec<Player>,
    /// When a connection is to be looked at, by its tag.
    wakes: BinaryHeap<Reverse<(Instant, u32)>>,
    started: bool,
    /// Players whose sessions are all over.
    over: usize,
    counts: Counts,
    late: Histogram<u64>,
    lengths: Histogram<u64>,
    finishing: bool,
}

impl Replay {
    pub(super) fn new(meter: Meter, mut ramp: Ramp, session: &Arc<Session>, plan: Plan) -> Self {
        ramp.pause_between_attempts();
        let player = |_| Player {
            id: None,
            began: Instant::ZERO,
            sessions: 0,
            step: 0,
            message: 0,
            came: Came::default(),
            lively: Instant::ZERO,
            wake: Instant::NEVER,
            held: None,
            is_closing: false,
            is_unlike: false,
        };
        Self {
            meter,
            ramp,
            session: session.clone(),
            plan,
            prepared: None,
            players: (0..plan.count).map(player).collect(),
            wakes: BinaryHeap::new(),
            started: false,
            over: 0,
            counts: Counts::default(),
            late: histogram(),
            lengths: histogram(),
            finishing: false,
        }
    }

    /// Begins the first session of every connection.
    fn begin(&mut self, go: Instant) {
        for at in 0..self.plan.count {
            let tag = u32::try_from(at).unwrap_or(u32::MAX);
            match self.plan.connects_per_second {
                Some(rate) => {
                    let wait = Duration::try_from_secs_f64((self.plan.first + at) as f64 / rate);
                    self.ramp.add_later(tag, go + wait.unwrap_or(Duration::MAX));
                }
                None => self.ramp.add(tag),
            }
        }
    }

    fn wake(&mut self, tag: u32, at: Instant) {
        let player = &mut self.players[tag as usize];
        // What comes earlier looks at the time anew.
        if at < player.wake {
            player.wake = at;
            self.wakes.push(Reverse((at, tag)));
        }
    }

    /// Looks at the connections whose time has come.
    fn follow(&mut self, reach: &mut Handle<'_>) {
        let now = reach.clock();
        while let Some(Reverse((at, tag))) = self.wakes.peek().copied()
            && at <= now
        {
            self.wakes.pop();
            let player = &mut self.players[tag as usize];
            if player.wake != at {
                continue;
            }
            player.wake = Instant::NEVER;
            if let Some(mut context) = player.id.and_then(|id| reach.context(id)) {
                self.advance(&mut context, now);
            }
        }
    }

    /// Does the steps that are due, and ends the session when all is done, or in vain waited for.
    fn advance(&mut self, context: &mut Context<'_>, now: Instant) {
        let (tag, session) = (context.tag(), self.session.clone());
        let mut left = MESSAGES_PER_TURN;
        loop {
            let player = &mut self.players[tag as usize];
            if player.is_closing {
                return;
            }
            let Some(step) = session.steps.get(player.step) else {
                return self.settle(context, now);
            };
            let due = player.began + step.at;
            if due > now {
                return self.wake(tag, due);
            }
            match &step.act {
                // Behind the others of this turn.
                Act::Message(_) if left == 0 => {
                    return self.wake(tag, now + Duration::from_nanos(1));
                }
                Act::Message(_) => match self.send(context, now, left) {
                    0 => return self.hold(context, now),
                    sent => left -= sent,
                },
                Act::Ping(payload) => {
                    self.counts.pings += u64::from(context.ping(payload).is_ok());
                    player.step += 1;
                    player.lively = now;
                }
                Act::Close(code, reason) => {
                    player.step += 1;
                    player.is_closing = true;
                    let _ = context.close(*code, reason); // fails only when one was sent already
                }
            }
        }
    }

    /// Sends messages that are due, neighbours in the recording, at most `most`. Returns how many; none if the queue is full.
    fn send(&mut self, context: &mut Context<'_>, now: Instant, most: usize) -> usize {
        let player = &mut self.players[context.tag() as usize];
        let Some(prepared) = &self.prepared else {
            return 0;
        };
        let due = |step: &Step| player.began + step.at;
        let (mut count, mut run_bytes) = (0, 0);
        let rest = &self.session.steps[player.step..];
        for step in rest.iter().take(most) {
            match step.act {
                Act::Message(bytes) if due(step) <= now => run_bytes += bytes,
                _ => break,
            }
            // Between two runs it is looked whether the queue is full.
            if count > 0 && run_bytes > RUN_BYTES_MAX {
                break;
            }
            count += 1;
        }
        let steps = &rest[..count];
        // Behind a full queue it is the server that is late.
        if self.session.is_timed && player.held.is_none() {
            for step in steps {
                let late = now.nanos().saturating_sub(due(step).nanos());
                self.late.saturating_record(late.max(1));
            }
        }
        let run = player.message..player.message + count;
        if context.send_prepared_run(prepared, run.clone()).is_err() {
            return 0;
        }
        for step in steps {
            let Act::Message(bytes) = step.act else {
                continue;
            };
            self.counts.sent_bytes += bytes as u64;
            if self.session.is_timed {
                self.meter.complete(now, due(step), bytes, Due::Scheduled);
            } else {
                self.meter.message(now, bytes);
            }
        }
        self.counts.sent += count as u64;
        player.step += count;
        player.message = run.end;
        player.lively = now;
        player.held = None;
        count
    }

    /// The send queue is full, or the server has closed: [`App::writable`] or [`App::close`] goes on, or the session is given up.
    fn hold(&mut self, context: &mut Context<'_>, now: Instant) {
        let tag = context.tag();
        let queued = context.queued_bytes();
        let player = &mut self.players[tag as usize];
        if player.held.is_none_or(|before| queued < before) {
            player.held = Some(queued);
            player.lively = now;
        }
        let until = player.lively + self.plan.patience;
        if now < until {
            return self.wake(tag, until);
        }
        let unsent = self.unsent(tag);
        let what = "the server has stopped reading";
        self.differ(tag, |errors| errors.missing += unsent, what);
        self.end(context);
    }

    /// All steps are done: ends the session, or waits for what is missing.
    fn settle(&mut self, context: &mut Context<'_>, now: Instant) {
        let tag = context.tag();
        let player = &self.players[tag as usize];
        let end = player.began + self.session.length;
        let until = match player.came.owed(&self.session) {
            None if !self.session.is_checked() && now < end => end,
            None => return self.end(context),
            // What the recording has later is not missing earlier.
            Some(_) => player.lively.max(end) + self.plan.patience,
        };
        if now < until {
            return self.wake(tag, until);
        }
        self.miss(tag);
        self.end(context);
    }

    /// Begins the closing handshake of a session that is over.
    fn end(&mut self, context: &mut Context<'_>) {
        let player = &mut self.players[context.tag() as usize];
        player.is_closing = true;
        let _ = context.close(CloseCode::NormalClosure, ""); // fails only when one was sent already
    }

    /// Counts what has not come in time.
    fn miss(&mut self, tag: u32) {
        if let Some(owed) = self.players[tag as usize].came.owed(&self.session) {
            let sentence = owed.to_string();
            self.differ(tag, |errors| errors.missing += owed.messages, &sentence);
        }
    }

    /// Notes that a session is unlike the recording. Only its first difference counts.
    fn differ(&mut self, tag: u32, add: impl FnOnce(&mut Errors), what: &str) {
        let connection = self.plan.first + tag as usize + 1;
        let player = &mut self.players[tag as usize];
        if !std::mem::replace(&mut player.is_unlike, true) {
            let session = player.sessions;
            let sentence = || format!("connection {connection}, session {session}: {what}");
            self.meter.fault(add, sentence);
        }
    }

    /// A session is over, or did not open. The next one begins, if there is one.
    fn next(&mut self, tag: u32) {
        let player = &mut self.players[tag as usize];
        player.id = None;
        if player.sessions < self.plan.repeat {
            self.ramp.add(tag);
        } else {
            self.over += 1;
        }
    }

    /// A session that did not open.
    fn fail(&mut self, tag: u32) {
        self.players[tag as usize].sessions += 1;
        self.counts.sessions += 1;
        self.counts.unlike += 1;
        self.next(tag);
    }

    /// Messages that a session has not sent.
    fn unsent(&self, tag: u32) -> u64 {
        let next = self.players[tag as usize].step;
        let rest = self.session.steps[next..].iter();
        let unsent = rest.filter(|step| matches!(step.act, Act::Message(_)));
        unsent.count() as u64
    }
}

impl App for Replay {
    type Session = ();

    fn connected(&mut self, scope: &mut Scope<'_>, (): &mut ()) {
        let (tag, now) = (scope.tag(), scope.now());
        self.ramp.note_connected(tag, now);
    }

    fn failed(&mut self, scope: &mut Scope<'_>, (): (), failed: Failure) {
        if self.finishing {
            return self.ramp.settle();
        }
        let now = crate::time::now();
        if self.ramp.note_failed(&mut self.meter, scope, &failed, now) == Fate::Failed {
            self.fail(scope.tag());
        }
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        let (tag, now) = (context.tag(), context.now());
        self.ramp.note_open(tag);
        self.meter.note_open();
        self.counts.sessions += 1;
        self.counts.pongs_left_out += self.session.pongs;
        let player = &mut self.players[tag as usize];
        *player = Player {
            id: Some(context.id()),
            began: now,
            sessions: player.sessions + 1,
            step: 0,
            message: 0,
            came: Came::default(),
            lively: now,
            wake: Instant::NEVER,
            held: None,
            is_closing: false,
            is_unlike: false,
        };
        self.advance(context, now);
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let (tag, now) = (context.tag(), context.now());
        self.counts.received += 1;
        self.counts.received_bytes += message.len() as u64;
        self.meter.message(now, message.len());
        let player = &mut self.players[tag as usize];
        player.lively = now;
        let difference = player.came.take(&message, &self.session);
        let is_complete = player.step == self.session.steps.len();
        if let Some(difference) = difference {
            self.differ(tag, |errors| errors.content += 1, &difference);
        }
        if is_complete && !self.players[tag as usize].is_closing {
            self.settle(context, now);
        }
    }

    fn writable(&mut self, context: &mut Context<'_>, (): &mut ()) {
        let now = context.now();
        self.advance(context, now);
    }

    fn close(&mut self, scope: &mut Scope<'_>, (): (), closed: Closed<'_>) {
        self.meter.connections -= 1;
        if self.finishing {
            return;
        }
        let (tag, now) = (scope.tag(), crate::time::now());
        let unsent = self.unsent(tag);
        let player = &self.players[tag as usize];
        let is_done = unsent == 0 && player.came.owed(&self.session).is_none();
        let is_lost = !(player.is_closing || is_done && closed.clean);
        if is_lost {
            self.meter.lost(&closed);
        } else {
            self.meter.left(&closed);
        }
        let took = now.since(player.began).as_nanos();
        if !player.is_unlike {
            self.meter.errors.missing += unsent;
            self.miss(tag);
        }
        // What was sent may not have arrived where the closing handshake is missing.
        if is_lost || !closed.clean || self.players[tag as usize].is_unlike {
            self.counts.unlike += 1;
        } else {
            self.counts.whole += 1;
            let took = u64::try_from(took).unwrap_or(u64::MAX);
            self.lengths.saturating_record(took.max(1));
        }
        self.next(tag);
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        let now = reach.clock();
        self.meter.pass(now);
        if self.finishing || !self.meter.has_begun(now) {
            return;
        }
        if !std::mem::replace(&mut self.started, true) {
            self.begin(now);
        }
        for (tag, errno) in self.ramp.step(reach) {
            self.ramp.count_refusal(&mut self.meter, errno);
            self.fail(tag);
        }
        self.follow(reach);
    }
}

impl Script for Replay {
    fn messages(&self) -> Vec<(Kind, &[u8])> {
        self.session.messages()
    }

    fn set_prepared(&mut self, prepared: Prepared) {
        self.prepared = Some(prepared);
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn set_go(&mut self, _window: Window) {}

    fn due(&self) -> Option<Instant> {
        let first = self.meter.window().filter(|_| !self.started);
        let wake = self.wakes.peek().map(|Reverse((at, _))| *at);
        [first.map(|window| window.go), wake, self.ramp.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The window is the time that a run may take: what is not over by its end is not waited for.
    fn is_done(&self) -> bool {
        true
    }

    fn is_complete(&self) -> bool {
        self.over == self.players.len() || self.ramp.is_hopeless()
    }

    fn finish(&mut self, in_time: bool) {
        self.finishing = true;
        self.ramp.stop();
        if in_time && !self.is_complete() {
            let left = self.players.len() - self.over;
            self.counts.unlike += left as u64;
            self.meter.fault(
                |errors| errors.missing += left as u64,
                || format!("{left} connections had not played their sessions within --duration"),
            );
        }
    }

    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn figures(&mut self) -> Figures {
        let mut figures = Figures::default();
        if self.session.is_timed {
            figures.late = Some(self.late.clone());
        }
        let counts = self.counts;
        for (name, count) in [
            ("replay_sessions", counts.sessions),
            ("replay_whole", counts.whole),
            ("replay_sent_messages", counts.sent),
            ("replay_sent_bytes", counts.sent_bytes),
            ("replay_received_messages", counts.received),
            ("replay_received_bytes", counts.received_bytes),
            ("replay_pings", counts.pings),
            ("replay_pongs_left_out", counts.pongs_left_out),
        ] {
            figures.add(name, count);
        }
        if self.session.is_checked() {
            figures.add("replay_unlike", counts.unlike);
        }
        figures.times.insert("replay_session", self.lengths.clone());
        figures
    }
}
