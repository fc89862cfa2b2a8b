//! Accepting on a listener that several workers share: one connection at a time, several while there is a run on it, and
//! only while this worker does not hold more than its share.

use std::time::Duration;

use crate::io::board::Board;
use crate::io::{Errno, Fd, Io, Op, Token};
use crate::stats::Counters;
use crate::time::Instant;

/// However many connections this worker holds, it accepts again after so long: the others may be dead.
const TICK: Duration = Duration::from_millis(100);

/// A worker with more than its share looks again after so long, and then after twice as long each time: in a burst the
/// others catch up within a millisecond, and nobody tells.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// Accepts armed at once while each turn finds connections waiting. One is the rule: more would let an idle worker take
/// several in a row.
const BURST_MAX: usize = 16;

/// An accept that was armed against the balance and completes within so long shows that the least loaded worker takes
/// none, though connections wait: it is stopped or very busy.
const PROMPT: Duration = Duration::from_millis(5);

/// Then its count is left out of account for so long.
const DISTRUST: Duration = Duration::from_secs(1);

/// A listener as one worker sees it.
#[derive(Debug)]
pub struct Listener {
    fd: Fd,
    board: Option<Board>,
    /// Accepts in the kernel.
    armed: usize,
    /// Accepts to be armed, and those that completed since that was decided.
    burst: usize,
    completed: usize,
    stopped: bool,
    /// Somebody shut the listener down: serving ends.
    shut: bool,
    /// Not to be armed before.
    not_before: Instant,
    /// To be armed whatever the others hold.
    overdue: Instant,
    /// When an accept was armed against the balance.
    forced: Option<Instant>,
    /// The others do not count before.
    distrust_until: Instant,
    /// When to compare with the others again, and how long that was put off.
    look: Instant,
    put_off: Duration,
}

/// The listener itself is of no use.
#[derive(Debug)]
pub(super) struct Dead(pub(super) Errno);

impl Listener {
    /// Accepts on `fd`; with a board, in balance with the other workers.
    pub const fn new(fd: Fd, board: Option<Board>) -> Self {
        Self {
            fd,
            board,
            armed: 0,
            burst: 1,
            completed: 0,
            stopped: false,
            shut: false,
            not_before: Instant::ZERO,
            overdue: Instant::ZERO,
            forced: None,
            distrust_until: Instant::ZERO,
            look: Instant::ZERO,
            put_off: FIRST_LOOK,
        }
    }

    /// Accepts nothing: for a worker of clients.
    pub(super) const fn none() -> Self {
        let mut listener = Self::new(Fd(-1), None);
        listener.stopped = true;
        listener
    }

    /// Arms the accepts that are due.
    pub(super) fn arm(&mut self, io: &mut impl Io, connections: usize, now: Instant) {
        if self.stopped || now < self.not_before {
            return;
        }
        self.burst = match std::mem::take(&mut self.completed) {
            0 if self.armed > 0 => 1,
            0 => self.burst,
            _ => (self.burst * 2).min(BURST_MAX),
        };
        let wanted = self.burst.min(self.share_left(connections, now));
        if wanted > self.armed {
            (self.armed..wanted).for_each(|_| io.submit_accept(Self::token(), self.fd));
            self.armed = wanted;
            self.overdue = now + TICK;
            self.look = now;
            self.put_off = FIRST_LOOK;
        } else if self.armed == 0 && now >= self.overdue {
            self.armed = 1;
            self.overdue = now + TICK;
            self.forced = Some(now);
            io.submit_accept(Self::token(), self.fd);
        } else if self.armed == 0 && now >= self.look {
            self.look = now + self.put_off;
            self.put_off = (self.put_off * 2).min(TICK);
        }
    }

    /// Stops accepting.
    pub(super) fn disarm(&mut self, io: &mut impl Io) {
        if self.armed > 0 {
            io.submit_cancel(Self::token(), self.fd);
        }
        self.stopped = true;
    }

    /// Whether it was shut down by somebody else.
    pub(super) const fn is_shut(&self) -> bool {
        self.shut
    }

    /// Whether nothing is armed on it, nor ever will be: its descriptor may be closed.
    pub(super) const fn is_released(&self) -> bool {
        self.stopped && self.armed == 0
    }

    const fn token() -> Token {
        Token::fixed(Op::Accept, 0)
    }

    /// How many more connections this worker may take and stay within a small slack of the least loaded one.
    fn share_left(&self, connections: usize, now: Instant) -> usize {
        let least = self.board.as_ref().and_then(Board::least_of_others);
        match least {
            Some(least) if now >= self.distrust_until => {
                let least = least as usize;
                (least + 5 + least / 32).saturating_sub(connections)
            }
            _ => BURST_MAX,
        }
    }

    /// Publishes how many connections this worker holds.
    pub(super) fn publish(&self, connections: usize) {
        if let Some(board) = &self.board {
            board.publish(u32::try_from(connections).unwrap_or(u32::MAX - 1));
        }
    }

    /// When the listener wants a turn of its own.
    pub(super) fn next(&self, now: Instant) -> Option<Duration> {
        let due = self.overdue.min(self.look).max(self.not_before);
        (self.armed == 0 && !self.stopped).then(|| due.since(now))
    }

    /// An accept is over: the new descriptor, or what to do about the failure.
    pub(super) fn handle_accept(
        &mut self,
        result: Result<u32, Errno>,
        now: Instant,
        counters: &mut Counters,
    ) -> Result<Option<Fd>, Dead> {
        self.armed -= 1;
        let forced = self.forced.take();
        match result {
            Ok(fd) => {
                self.completed += 1;
                if forced.is_some_and(|armed| now.since(armed) <= PROMPT) {
                    self.distrust_until = now + DISTRUST;
                }
                Ok(Some(Fd(
                    i32::try_from(fd).expect("a descriptor is a positive int")
                )))
            }
            // The connection was gone before it was accepted, or the accept was: the next one.
            Err(Errno(
                libc::ECONNABORTED
                | libc::EAGAIN
                | libc::EINTR
                | libc::ECANCELED
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
            )) => Ok(None),
            // No descriptor or no memory: the connection stays in the backlog until some are freed.
            Err(Errno(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) => {
                counters.accept_backoffs += 1;
                self.not_before = now + TICK;
                self.burst = 1;
                Ok(None)
            }
            // Not a listener any more: whoever started the workers has shut it down, because serving ends.
            Err(Errno(libc::EINVAL)) => {
                self.stopped = true;
                self.shut = true;
                Ok(None)
            }
            Err(errno) => Err(Dead(errno)),
        }
    }
}
