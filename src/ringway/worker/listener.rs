//! Accepting on a listener that several workers share. The workers keep in balance: each holds about as many
//! connections as the others.
//!
//! A worker takes connections while it holds few more than the least loaded worker. It leaves the rest in the accept
//! queue for workers that hold fewer. Each worker publishes its count on the [board](crate::io::board).
//!
//! ```text
//!             holds its share                    holds more
//!   ┌────────────────────────────┐   ┌──────────────────────────────────┐
//!   │ *claim*: a readiness that  │──▶│ *watch*: a readiness that wakes  │
//!   │ wakes one worker, and a    │   │ every worker which waits in it,  │
//!   │ new one after each         │◀──│ and then looks at the board      │
//!   └────────────────────────────┘   └──────────────────────────────────┘
//!            each 100 ms: does a connection wait that nobody took? which workers run?
//! ```
//!
//! - The kernel wakes one of the workers that claim. If that worker is stopped or busy, the connection stays in the
//!   queue. So every worker looks into the queue at every tick.
//! - A worker that did not run for some ticks does not count, nor does one that drains or has no descriptors.
//! - A connection that waits for some ticks, although all workers run, is taken by any worker that looks.

use std::time::Duration;

use crate::io::board::Board;
use crate::io::{Errno, Fd, Io, Op, Token, Wake};
use crate::stats::Counters;
use crate::time::Instant;

/// Time between two looks of a worker at the queue and at the other workers. Ten wake-ups per second cost an idle
/// worker less than 0.01 % of a core.
const TICK: Duration = Duration::from_millis(100);

/// Time until a worker that holds more than its share first looks at the board again. Each further wait is twice as
/// long: in a burst the other workers catch up within a millisecond, and no event announces that.
const FIRST_LOOK: Duration = Duration::from_micros(100);

/// The longest such wait. After it, the worker waits until a connection is in the queue, which may be at once.
const LAST_LOOK: Duration = Duration::from_micros(1600);

/// Connections taken in one turn at most, so that the worker serves its other connections in between.
const BATCH_MAX: usize = 16;

/// Ticks in a row (500 ms) at which a connection was seen waiting, before a worker takes it although it holds more than
/// its share. It takes one, and at each further tick twice as many. So a worker that loses its CPU for some hundred
/// milliseconds, to other processes or to the hypervisor, still finds its share waiting.
const PATIENT_TICKS: u32 = 5;

/// Ticks (2 s) without a sign of life after which a worker counts as stopped. It does not count in the balance until it
/// runs again.
const SILENT_TICKS: u8 = 20;

/// Doublings of the number taken per tick, at most.
const DOUBLINGS_MAX: u32 = 10;

/// Whether a readiness is armed in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Armed {
    No,
    Yes,
    /// Its cancel was submitted; its completion is still to come.
    Ending,
}

/// The other workers that share the listener.
#[derive(Debug)]
struct Others {
    board: Board,
    /// By seat: the last beat seen, and how many ticks ago it was new.
    beats: Vec<(u32, u8)>,
}

/// One worker's side of a listener.
#[derive(Debug)]
pub struct Listener {
    fd: Fd,
    /// Its place among the listeners of the worker.
    number: u32,
    board: Option<Board>,
    others: Option<Others>,
    claim: Armed,
    watch: Armed,
    /// The claim has fired: connections wait.
    called: bool,
    stopped: bool,
    /// The listener was shut down outside this worker, because serving ends.
    shut: bool,
    /// Descriptors or memory ran out: nothing is accepted before this instant.
    not_before: Instant,
    /// The instant of the next tick.
    tick: Instant,
    /// When to compare with the other workers again, and how long the comparison after that waits.
    look: Instant,
    put_off: Duration,
    /// Ticks in a row at which connections waited while this worker held its share.
    left_waiting: u32,
    /// The log has the warning that descriptors ran out.
    told: bool,
}

/// The listener failed for good.
#[derive(Debug)]
pub(crate) struct Dead(pub(crate) Errno);

/// The outcome of an accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    Connection(Fd),
    /// The peer had left before it was accepted.
    Gone,
    /// No connection waits, or the worker cannot take one now.
    Enough,
}

impl Listener {
    /// Accepts on `fd`, which must be non-blocking (`O_NONBLOCK`). The worker closes it when it drains. With a board,
    /// the worker keeps in balance with the others that accept on the same listener.
    pub fn new(fd: Fd, board: Option<Board>) -> Self {
        let shared = board.clone().filter(|board| board.seats() > 1);
        let others = shared.map(|board| Others {
            beats: vec![(0, 0); board.seats()],
            board,
        });
        Self {
            others,
            ..Self::unshared(fd, board)
        }
    }

    /// Accepts on a listener that no other worker shares. The board still counts the clients of all workers.
    pub const fn unshared(fd: Fd, board: Option<Board>) -> Self {
        Self {
            fd,
            number: 0,
            board,
            others: None,
            claim: Armed::No,
            watch: Armed::No,
            called: false,
            stopped: false,
            shut: false,
            not_before: Instant::ZERO,
            tick: Instant::ZERO,
            look: Instant::ZERO,
            put_off: FIRST_LOOK,
            left_waiting: 0,
            told: false,
        }
    }

    /// Accepts nothing: for a worker that has only client connections.
    pub(crate) const fn none() -> Self {
        let mut listener = Self::unshared(Fd(-1), None);
        listener.stopped = true;
        listener
    }

    pub(super) const fn numbered(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Which listener of the worker a readiness is of.
    pub(super) const fn number_of(token: Token) -> usize {
        token.id().slot as usize / 2
    }

    pub(crate) const fn fd(&self) -> Fd {
        self.fd
    }

    /// The board, which counts the clients of all workers.
    pub(crate) fn board(&self) -> Option<Board> {
        self.board.clone()
    }

    /// Runs before a turn: arms the readiness that this worker needs.
    #[inline(always)] // once per turn
    pub(crate) fn arm(&mut self, io: &mut impl Io, connections: usize, now: Instant) {
        if self.stopped || self.claim != Armed::No || now < self.not_before {
            return;
        }
        if self.others.is_some() && now < self.look {
            return;
        }
        if self.share_left(connections) > 0 {
            if self.watch == Armed::Yes {
                self.watch = Armed::Ending;
                io.submit_cancel(self.watch_token(), self.fd);
            }
            self.claim = Armed::Yes;
            io.submit_listen(self.claim_token(), self.fd, Wake::One);
            (self.look, self.put_off) = (now, FIRST_LOOK);
            return;
        }
        self.look = now + self.put_off;
        if self.put_off < LAST_LOOK {
            self.put_off *= 2;
        } else if self.watch == Armed::No {
            // There is nothing to compare until a peer connects.
            self.look = now + TICK;
            self.watch = Armed::Yes;
            io.submit_listen(self.watch_token(), self.fd, Wake::All);
        }
    }

    /// Stops accepting, and closes the listener. When its last holder closes it, the kernel resets connections that no
    /// worker took, and refuses new ones.
    pub(crate) fn stop(&mut self, io: &mut impl Io) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        self.called = false;
        if let Some(others) = &self.others {
            others.board.set_resting(true);
        }
        let [claim, watch] = [self.claim_token(), self.watch_token()];
        for (armed, token) in [(&mut self.claim, claim), (&mut self.watch, watch)] {
            if *armed == Armed::Yes {
                *armed = Armed::Ending;
                io.submit_cancel(token, self.fd);
            }
        }
        self.close_when_idle(io);
    }

    /// Whether the listener was shut down outside this worker.
    pub(crate) const fn is_shut(&self) -> bool {
        self.shut
    }

    fn close_when_idle(&self, io: &mut impl Io) {
        if self.stopped && (self.claim, self.watch) == (Armed::No, Armed::No) {
            io.close(self.fd, false);
        }
    }

    const fn claim_token(&self) -> Token {
        Token::fixed(Op::Accept, 2 * self.number)
    }

    const fn watch_token(&self) -> Token {
        Token::fixed(Op::Accept, 2 * self.number + 1)
    }

    /// Handles the completion of a readiness.
    pub(crate) fn handle_ready(
        &mut self,
        io: &mut impl Io,
        token: Token,
        result: Result<u32, Errno>,
        now: Instant,
    ) -> Result<(), Dead> {
        let is_claim = token == self.claim_token();
        let armed = match is_claim {
            true => &mut self.claim,
            false => &mut self.watch,
        };
        *armed = Armed::No;
        match result {
            _ if self.stopped => self.close_when_idle(io),
            Ok(_) if is_claim => self.called = true,
            Ok(_) => (self.look, self.put_off) = (now, FIRST_LOOK),
            Err(Errno(libc::ECANCELED | libc::EAGAIN | libc::EINTR)) => {}
            Err(Errno(libc::ENOMEM | libc::ENOSPC)) => self.not_before = now + TICK,
            Err(errno) => return Err(Dead(errno)),
        }
        Ok(())
    }

    /// How many connections to take now. Called after everything that arrived was handled.
    #[inline(always)] // once per turn
    pub(crate) fn allowance(
        &mut self,
        io: &mut impl Io,
        connections: usize,
        now: Instant,
    ) -> usize {
        let ticks = match &self.others {
            Some(others) => {
                others.board.beat();
                now >= self.tick
            }
            None => false,
        };
        if self.stopped {
            return 0;
        }
        if ticks {
            self.tick = now + TICK;
            self.note_beats();
        }
        let called = std::mem::take(&mut self.called);
        if !(called || ticks) || now < self.not_before {
            return 0;
        }
        let share = self.share_left(connections);
        if share > 0 {
            self.left_waiting = 0;
            return share.min(BATCH_MAX);
        }
        let overdue = match ticks {
            true => self.overdue(io),
            false => 0,
        };
        // A worker that the kernel woke takes one connection: the kernel woke no other worker for it.
        overdue.max(called.into())
    }

    /// How many connections a worker takes at a tick although it holds more than its share.
    fn overdue(&mut self, io: &mut impl Io) -> usize {
        self.left_waiting = match io.has_waiting(self.fd) {
            true => self.left_waiting.saturating_add(1),
            false => 0,
        };
        match self.left_waiting.checked_sub(PATIENT_TICKS) {
            Some(ticks) => 1 << ticks.min(DOUBLINGS_MAX),
            None => 0,
        }
    }

    /// Notes which workers have run since the last tick.
    fn note_beats(&mut self) {
        let Some(Others { board, beats }) = &mut self.others else {
            return;
        };
        for (seat, other) in board.others() {
            let (beat, ticks) = &mut beats[seat];
            match other {
                Some(other) if other.beat == *beat => *ticks = ticks.saturating_add(1),
                Some(other) => (*beat, *ticks) = (other.beat, 0),
                None => *ticks = 0,
            }
        }
    }

    /// How many more connections this worker may take: until it holds a few more than the least loaded worker.
    fn share_left(&self, connections: usize) -> usize {
        let Some(Others { board, beats }) = &self.others else {
            return usize::MAX;
        };
        let counts = board.others().filter_map(|(seat, other)| {
            other.filter(|other| !other.resting && beats[seat].1 < SILENT_TICKS)
        });
        match counts.map(|other| other.connections as usize).min() {
            // One more, and an eighth of what the least loaded worker has. Two workers are then within 7 % of their
            // mean at 50 connections each, and thousands of connections come in few steps.
            Some(least) => (least + 1 + least / 8).saturating_sub(connections),
            None => usize::MAX,
        }
    }

    /// Publishes how many connections this worker holds.
    pub(crate) fn publish(&self, connections: usize) {
        if let Some(others) = &self.others {
            others
                .board
                .publish(u32::try_from(connections).unwrap_or(u32::MAX - 1));
        }
    }

    /// When the listener needs a turn, even without an event.
    #[inline(always)] // once per turn
    pub(crate) fn due(&self) -> Instant {
        if self.stopped {
            return Instant::NEVER;
        }
        let tick = match self.others {
            Some(_) => self.tick,
            None => Instant::NEVER,
        };
        match self.claim {
            Armed::No => tick.min(self.look.max(self.not_before)),
            _ => tick,
        }
    }

    /// Judges the result of an accept.
    pub(crate) fn handle_accept(
        &mut self,
        result: Result<Fd, Errno>,
        now: Instant,
        counters: &mut Counters,
    ) -> Result<Accepted, Dead> {
        match result {
            Ok(fd) => {
                self.set_accepting(true);
                Ok(Accepted::Connection(fd))
            }
            // Another worker has accepted the connection.
            Err(Errno(libc::EAGAIN)) => {
                self.set_accepting(true);
                Ok(Accepted::Enough)
            }
            // The peer had left before it was accepted: try the next one.
            Err(Errno(
                libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
                | libc::ETIMEDOUT
                | libc::ECONNRESET,
            )) => Ok(Accepted::Gone),
            // No descriptor or no memory. The connection stays in the queue, for other workers or until some are freed.
            Err(errno @ Errno(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) => {
                counters.accept_backoffs += 1;
                self.not_before = now + TICK;
                self.set_accepting(false);
                if !std::mem::replace(&mut self.told, true) {
                    tell(errno, counters.sockets);
                }
                Ok(Accepted::Enough)
            }
            // Not a listener any more: it was shut down outside this worker, because serving ends.
            Err(Errno(libc::EINVAL)) => {
                self.shut = true;
                self.called = false;
                Ok(Accepted::Enough)
            }
            Err(errno) => Err(Dead(errno)),
        }
    }

    fn set_accepting(&self, accepting: bool) {
        if let Some(others) = &self.others {
            others.board.set_resting(!accepting);
        }
    }
}

/// Warns the operator, once in the life of a worker, that it cannot accept more.
#[cold]
fn tell(errno: Errno, connections: u64) {
    let remedy = match errno {
        Errno(libc::EMFILE) => {
            "raise the hard limit of open files (ulimit -Hn, LimitNOFILE), or limit clients with --max-connections"
        }
        Errno(libc::ENFILE) => "raise fs.file-max",
        _ => "the system is short of memory for sockets",
    };
    tracing::warn!(
        "this worker cannot accept: {errno}, with {connections} connections; others wait in the accept queue until some \
         end; {remedy}"
    );
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
