//! Accepting on a listener that several workers share: one connection at a time, and only while this worker does not
//! hold more than its share.

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

/// A listener as one worker sees it.
#[derive(Debug)]
pub struct Listener {
    fd: Fd,
    board: Option<Board>,
    armed: bool,
    /// Not to be armed before.
    not_before: Instant,
    /// To be armed whatever the others hold.
    overdue: Instant,
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
            armed: false,
            not_before: Instant::ZERO,
            overdue: Instant::ZERO,
            look: Instant::ZERO,
            put_off: FIRST_LOOK,
        }
    }

    /// Arms an accept if it is due.
    pub(super) fn arm(&mut self, io: &mut impl Io, connections: usize, now: Instant) {
        if self.armed || now < self.not_before {
            return;
        }
        if now < self.overdue && !self.is_within_share(connections) {
            if now >= self.look {
                self.look = now + self.put_off;
                self.put_off = (self.put_off * 2).min(TICK);
            }
            return;
        }
        self.armed = true;
        self.overdue = now + TICK;
        self.look = now;
        self.put_off = FIRST_LOOK;
        io.submit_accept(Self::token(), self.fd);
    }

    /// Stops accepting.
    pub(super) fn disarm(&mut self, io: &mut impl Io) {
        if self.armed {
            io.submit_cancel(Self::token(), self.fd);
        }
        self.not_before = Instant::from_nanos(u64::MAX);
    }

    const fn token() -> Token {
        Token::fixed(Op::Accept, 0)
    }

    /// Within a small slack of the least loaded worker.
    fn is_within_share(&self, connections: usize) -> bool {
        let Some(least) = self.board.as_ref().and_then(Board::least_of_others) else {
            return true;
        };
        let least = least as usize;
        connections <= least + 4 + least / 32
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
        (!self.armed && due != Instant::from_nanos(u64::MAX)).then(|| due.since(now))
    }

    /// An accept is over: the new descriptor, or what to do about the failure.
    pub(super) fn handle_accept(
        &mut self,
        result: Result<u32, Errno>,
        now: Instant,
        counters: &mut Counters,
    ) -> Result<Option<Fd>, Dead> {
        self.armed = false;
        match result {
            Ok(fd) => Ok(Some(Fd(
                i32::try_from(fd).expect("a descriptor is a positive int")
            ))),
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
                Ok(None)
            }
            Err(errno) => Err(Dead(errno)),
        }
    }
}
