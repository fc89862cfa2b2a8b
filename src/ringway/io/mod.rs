//! Bytes in and out of sockets: one trait, and behind it io_uring, epoll, or a simulation.
//!
//! Owns: the ring, its buffers, every system call of the data path, and all of the data path's `unsafe`.
//! Never: knows WebSocket, decides policy, keeps a connection's state.
//!
//! ```text
//!   submit_*  ──▶ prepared operations ──▶ turn() ──▶ kernel ──▶ completions
//!                                           │
//!                                           └─ one system call: submits all of them and waits
//! ```
//!
//! The order that every worker keeps (one *turn*):
//! 1. [`Io::turn`]: submit everything prepared, wait, reap all completions into a list.
//! 2. Handle the sends that the socket did not take whole: they still need the old buffers.
//! 3. [`Io::replenish`] the receive buffers of the turn before.
//! 4. Handle the rest. Call no `turn` from a handler.
//! 5. Prepare at most one send per connection.

mod alarm;
mod areas;
pub mod board;
mod connect;
pub mod epoll;
pub mod memory;
pub mod pool;
pub mod sim;
pub mod sys;
mod token;
pub mod uring;

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::time::Instant;
pub use connect::ConnectOptions;
pub use token::{ConnId, Op, Token};

/// An open descriptor, by number. Whoever keeps it closes it, once, with [`Io::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fd(pub i32);

/// A receive buffer of the implementation's pool, or its scratch space for what is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u16);

impl BufferId {
    /// The scratch space: [`SCRATCH_BYTES`] for output that is not in a receive buffer. What is written there belongs
    /// to the kernel from `submit_send` to the end of the next turn.
    pub const SCRATCH: Self = Self(u16::MAX);

    /// The hot buffer: [`HOT_BYTES`] that every [`Io::recv_hot`] fills. What is to be sent from it leaves with
    /// [`Io::send`] before the next receive.
    pub const HOT: Self = Self(u16::MAX - 1);

    /// The first block of [`Io::share`]; receive buffers have the numbers below (a buffer ring has at most 32768).
    const FIRST_SHARED: u16 = 1 << 15;

    /// The buffer of the block number `index`, below [`SHARED_MAX`], for [`Io::share`].
    ///
    /// # Panics
    /// With a greater index.
    pub fn shared(index: usize) -> Self {
        assert!(index < SHARED_MAX, "a block has a number below the limit");
        let index = u16::try_from(index).expect("checked above");
        Self(Self::FIRST_SHARED + index)
    }

    /// Which shared block this is, if it is one.
    fn shared_index(self) -> Option<usize> {
        (Self::FIRST_SHARED..Self::HOT.0)
            .contains(&self.0)
            .then(|| usize::from(self.0 - Self::FIRST_SHARED))
    }
}

/// Blocks that can be shared at most.
pub const SHARED_MAX: usize = (BufferId::HOT.0 - BufferId::FIRST_SHARED) as usize;

/// Bytes of scratch space per worker.
pub const SCRATCH_BYTES: usize = SCRATCH_LEN as usize;

/// The same as segments count.
const SCRATCH_LEN: u32 = 128 << 10;

/// Bytes of the hot buffer: large enough for what a socket holds, small enough to stay in the L2 cache.
pub const HOT_BYTES: usize = 512 << 10;

/// A run of bytes in a buffer, to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The buffer.
    pub buffer: BufferId,
    /// Where the run starts in it.
    pub start: u32,
    /// How long it is.
    pub len: u32,
}

/// Most segments in one send. A connection with more sends the rest through its queue.
pub const SEGMENTS_MAX: usize = 64;

/// An errno.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({self})")
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// What became of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// What was submitted.
    pub token: Token,
    /// Bytes, a descriptor, or readiness bits; or why not.
    pub result: Result<u32, Errno>,
    /// The buffer that holds the bytes of a receive. It belongs to the worker until it is replenished.
    pub buffer: Option<BufferId>,
    /// The operation stays armed and completes again.
    pub more: bool,
}

/// How a connection's bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveMode {
    /// [`Io::submit_recv`] delivers them in buffers of the pool.
    Buffers,
    /// Only readiness is told; the worker reads with [`Io::recv`].
    Readiness,
}

/// Whom the kernel wakes for a new connection, of those that wait for one on the same listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// One of those that said so, in turn: the next connection wakes the next.
    One,
    /// Everyone who said so, besides.
    All,
}

/// How long a turn may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: there is work left over.
    No,
    /// Until one completes or this instant has come.
    Until(Instant),
    /// Until one completes.
    Forever,
}

/// What comes behind a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Nothing that is known yet.
    Nothing,
    /// [`Io::shutdown`] at once, when everything was taken: the last bytes wait for it, and share a TCP segment with the FIN.
    End,
}

/// The environment failed in a way that no connection can be blamed for.
#[derive(Debug)]
pub struct Error {
    /// The call that failed.
    pub operation: &'static str,
    /// Why.
    pub source: io::Error,
}

impl Error {
    /// `operation` failed with the errno of the last system call.
    pub fn last(operation: &'static str) -> Self {
        Self {
            operation,
            source: io::Error::last_os_error(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What an implementation counted since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times the completion queue overflowed.
    pub cq_overflows: u64,
    /// System calls of [`Io::turn`].
    pub enters: u64,
}

/// What a worker needs of the kernel. `submit_*` only prepares; results come out of [`Io::turn`].
pub trait Io {
    /// How this implementation receives.
    fn receive_mode(&self) -> ReceiveMode;

    /// Tells once that connections wait, at once when some do already. Other workers may be faster: see [`Self::accept`].
    fn submit_listen(&mut self, token: Token, listener: Fd, wake: Wake);

    /// Accepts one connection of a listener that is `O_NONBLOCK`.
    ///
    /// # Errors
    /// The errno of accept4(2); `EAGAIN` when none waits.
    fn accept(&mut self, listener: Fd) -> Result<Fd, Errno>;

    /// Whether connections wait.
    fn has_waiting(&mut self, listener: Fd) -> bool;

    /// Begins to connect. The socket is not to be received from or sent to before [`Io::submit_poll_out`] has completed and
    /// [`Io::connect_result`] is `Ok`.
    ///
    /// # Errors
    /// The errno of socket(2), bind(2) or connect(2): no descriptor, no port, no route.
    fn connect(&mut self, options: &ConnectOptions) -> Result<Fd, Errno>;

    /// What became of a connect whose socket is writable.
    ///
    /// # Errors
    /// The errno that the connect ended with, for example `ECONNREFUSED`.
    fn connect_result(&mut self, fd: Fd) -> Result<(), Errno>;

    /// Receives into buffers of the pool until it completes without `more`: at the end of the stream (`Ok(0)`), on an
    /// error, on a dry pool (`ENOBUFS`), or when it is cancelled. Only in [`ReceiveMode::Buffers`].
    fn submit_recv(&mut self, token: Token, fd: Fd);

    /// Tells readiness to read (the bits of poll(2)), again and again while `more` is set. A completion means: read until
    /// a receive is short; with `POLLRDHUP`, `POLLHUP` or `POLLERR` in it, until the end, of which nothing else will
    /// tell. Also for descriptors that are no sockets.
    fn submit_poll_in(&mut self, token: Token, fd: Fd);

    /// Tells readiness to write, once.
    fn submit_poll_out(&mut self, token: Token, fd: Fd);

    /// Ends the armed operation `target` on `fd`; its own last completion tells (`ECANCELED`, or what came first).
    fn submit_cancel(&mut self, target: Token, fd: Fd);

    /// Sends `segments`, in order, as far as the socket takes them at once. Full success completes silently or with the
    /// full count; less completes with the count or `EAGAIN`. Decided when the next turn's system call returns; at most
    /// one per connection and turn.
    fn submit_send(&mut self, token: Token, fd: Fd, segments: &[Segment]);

    /// Submits, waits and reaps: appends to `done`.
    ///
    /// # Errors
    /// The ring itself failed; the worker cannot go on.
    fn turn(&mut self, wait: Wait, done: &mut Vec<Completion>) -> Result<(), Error>;

    /// The bytes of a buffer, and scratch space beside it. For [`BufferId::SCRATCH`] itself the first is empty.
    fn buffer_and_scratch(&mut self, buffer: BufferId) -> (&mut [u8], &mut [u8]);

    /// The bytes of a buffer.
    fn buffer(&self, buffer: BufferId) -> &[u8];

    /// Makes `bytes` sendable as segments of `buffer` ([`BufferId::shared`]), until [`Io::unshare`].
    fn share(&mut self, buffer: BufferId, bytes: Arc<[u8]>);

    /// Ends that. No send from the buffer may be undecided.
    fn unshare(&mut self, buffer: BufferId);

    /// Gives receive buffers back, and leaves the list empty. `ran_dry`: a receive found the pool empty.
    fn replenish(&mut self, buffers: &mut Vec<BufferId>, ran_dry: bool);

    /// Gives memory back that a burst left behind and that was not needed since the last call. `held` are the receive
    /// buffers that the worker has not given back. Called between turns.
    fn release_idle(&mut self, _held: &[BufferId]) {}

    /// Receives at once, or not at all (`EAGAIN`). Less than `into` holds means that the socket is drained.
    ///
    /// # Errors
    /// The errno of recv(2).
    fn recv(&mut self, fd: Fd, into: &mut [u8]) -> Result<usize, Errno>;

    /// The same into the first `limit` bytes of the hot buffer.
    ///
    /// # Errors
    /// The errno of recv(2).
    fn recv_hot(&mut self, fd: Fd, limit: usize) -> Result<usize, Errno>;

    /// Sends `segments` and `then` at once, as far as the socket takes them, or nothing (`EAGAIN`).
    ///
    /// # Errors
    /// The errno of sendmsg(2).
    fn send(
        &mut self,
        fd: Fd,
        segments: &[Segment],
        then: &[io::IoSlice<'_>],
        follows: Follows,
    ) -> Result<usize, Errno>;

    /// Bytes that were sent and that the peer's system has not acknowledged: while nothing is sent, fewer than before means
    /// that the peer takes some.
    fn unsent(&mut self, fd: Fd) -> usize;

    /// Puts bytes that were received before into the hot buffer, as if they had just been received.
    fn refill_hot(&mut self, bytes: &[u8]);

    /// Ends our direction (`Write`) or both of them.
    fn shutdown(&mut self, fd: Fd, how: std::net::Shutdown);

    /// Closes. Nothing may be armed on `fd`, which may also be a listener. `reset`: drop unsent bytes and answer the peer with RST.
    fn close(&mut self, fd: Fd, reset: bool);

    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// What was counted since the last call.
    fn take_counts(&mut self) -> Counts;
}
