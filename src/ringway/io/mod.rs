//! Bytes in and out of sockets: the trait [`Io`] and its implementations, io_uring, epoll and a simulation.
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
//! 2. Handle the sends that a socket took only in part: they still need the old buffers.
//! 3. [`Io::replenish`] the receive buffers of the turn before.
//! 4. Handle the rest. Call no `turn` from a handler.
//! 5. Prepare at most one send per connection.

mod alarm;
mod areas;
pub mod board;
mod connect;
pub mod epoll;
pub mod fds;
pub mod memory;
pub mod pool;
pub mod sim;
pub mod sys;
mod token;
pub mod uring;
pub mod words;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::time::Instant;
pub use connect::{Address, ConnectOptions, in_turn};
pub use token::{ConnId, Op, Token};

/// An open descriptor, by number. Its owner closes it once, with [`Io::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fd(pub i32);

/// A receive buffer of the implementation's pool, or one of the special buffers below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u16);

impl BufferId {
    /// The scratch space: [`SCRATCH_BYTES`] for output that is not in a receive buffer. The kernel may read it from
    /// `submit_send` to the end of the next turn; the worker must not change those bytes meanwhile.
    pub const SCRATCH: Self = Self(u16::MAX);

    /// The hot buffer: [`HOT_BYTES`] that every [`Io::recv_hot`] overwrites. The worker sends from it with [`Io::send`],
    /// before the next receive.
    pub const HOT: Self = Self(u16::MAX - 1);

    /// Number of the first block of [`Io::share`]. Receive buffers have the numbers below: a buffer ring holds at most
    /// 32768.
    const FIRST_SHARED: u16 = 1 << 15;

    /// The buffer of the shared block `index`, which is below [`SHARED_MAX`], for [`Io::share`].
    ///
    /// # Panics
    /// With a greater index.
    pub fn shared(index: usize) -> Self {
        assert!(index < SHARED_MAX, "a block has a number below the limit");
        let index = u16::try_from(index).expect("checked above");
        Self(Self::FIRST_SHARED + index)
    }

    /// Whether received bytes lie in it: in a buffer of the pool, or in the hot buffer.
    pub fn is_received(self) -> bool {
        self.0 < Self::FIRST_SHARED || self == Self::HOT
    }

    /// The index of a shared block. `None` for other buffers.
    fn shared_index(self) -> Option<usize> {
        (Self::FIRST_SHARED..Self::HOT.0)
            .contains(&self.0)
            .then(|| usize::from(self.0 - Self::FIRST_SHARED))
    }
}

/// Most blocks that can be shared at a time.
pub const SHARED_MAX: usize = (BufferId::HOT.0 - BufferId::FIRST_SHARED) as usize;

/// Bytes of scratch space per worker.
pub const SCRATCH_BYTES: usize = SCRATCH_LEN as usize;

/// The same in the type of a segment's length.
const SCRATCH_LEN: u32 = 128 << 10;

/// Bytes of the hot buffer (512 KiB): enough for all that a socket holds, and small enough to stay in the L2 cache.
pub const HOT_BYTES: usize = 512 << 10;

/// A run of bytes in a buffer, to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The buffer.
    pub buffer: BufferId,
    /// Offset of the run in the buffer.
    pub start: u32,
    /// Bytes of the run.
    pub len: u32,
}

/// Most segments in one send. The worker sends the rest through the connection's queue.
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

/// The result of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// The token with which the operation was submitted.
    pub token: Token,
    /// A count of bytes, or bits of poll(2); or the errno.
    pub result: Result<u32, Errno>,
    /// The buffer that holds the received bytes. It belongs to the worker until [`Io::replenish`] gives it back.
    pub buffer: Option<BufferId>,
    /// The operation stays armed and will complete again.
    pub more: bool,
}

/// How the worker gets the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveMode {
    /// [`Io::submit_recv`] delivers them in buffers of the pool.
    Buffers,
    /// The kernel reports only readiness. The worker reads with [`Io::recv`].
    Readiness,
}

/// Which of the workers that wait on the same listener the kernel wakes for a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// One of the workers that chose `One`. They take turns.
    One,
    /// Every worker that chose `All`, in addition to that one.
    All,
}

/// How long a turn may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Do not wait: the worker has more work to do.
    No,
    /// Until an operation completes or this instant has come.
    Until(Instant),
    /// Until an operation completes.
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

/// A system call failed for a reason that is no connection's fault.
#[derive(Debug)]
pub struct Error {
    /// The system call that failed.
    pub operation: &'static str,
    /// Its errno.
    pub source: io::Error,
}

impl Error {
    /// The error of `operation`, with the errno of the last system call.
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

/// Counters of an implementation since they were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often the completion queue overflowed.
    pub cq_overflows: u64,
    /// System calls of [`Io::turn`].
    pub enters: u64,
}

/// What a worker needs from the kernel. `submit_*` only prepares an operation; [`Io::turn`] returns its completions.
pub trait Io {
    /// How this implementation receives.
    fn receive_mode(&self) -> ReceiveMode;

    /// Completes once when connections wait in the listener's queue, at once if some do already. Another worker may take
    /// them first: see [`Self::accept`].
    fn submit_listen(&mut self, token: Token, listener: Fd, wake: Wake);

    /// Accepts one connection. The listener must be `O_NONBLOCK`.
    ///
    /// # Errors
    /// The errno of accept4(2); `EAGAIN` when none waits.
    fn accept(&mut self, listener: Fd) -> Result<Fd, Errno>;

    /// Whether connections wait in the listener's queue.
    fn has_waiting(&mut self, listener: Fd) -> bool;

    /// Begins to connect. The worker may use the socket once [`Io::submit_poll_out`] has completed and
    /// [`Io::connect_result`] is `Ok`.
    ///
    /// # Errors
    /// The errno of socket(2), bind(2) or connect(2): no descriptor, no port, no route.
    fn connect(&mut self, options: &ConnectOptions) -> Result<Fd, Errno>;

    /// Takes a connected stream socket that another part of the program has opened.
    fn adopt(&mut self, stream: OwnedFd) -> Fd;

    /// The result of a connect, once its socket is writable.
    ///
    /// # Errors
    /// The errno that the connect ended with, for example `ECONNREFUSED`.
    fn connect_result(&mut self, fd: Fd) -> Result<(), Errno>;

    /// Receives into buffers of the pool, again and again, until a completion without `more`: the end of the stream
    /// (`Ok(0)`), an error, an empty pool (`ENOBUFS`), or a cancellation. Only in [`ReceiveMode::Buffers`].
    fn submit_recv(&mut self, token: Token, fd: Fd);

    /// Reports readiness to read (the bits of poll(2)), again and again while `more` is set. After a completion the
    /// worker has to read until a receive is short. With `POLLRDHUP`, `POLLHUP` or `POLLERR` it has to read to the end:
    /// no other completion will report that. Also for descriptors that are no sockets.
    fn submit_poll_in(&mut self, token: Token, fd: Fd);

    /// Reports readiness to write, once.
    fn submit_poll_out(&mut self, token: Token, fd: Fd);

    /// Cancels the armed operation `target` on `fd`. That operation then completes for the last time, with `ECANCELED` or
    /// with a result that came first.
    fn submit_cancel(&mut self, target: Token, fd: Fd);

    /// Sends as much of `segments`, in order, as the socket takes at once. Full success completes silently or with the
    /// full count; anything less completes with the count or `EAGAIN`. The result is decided when the system call of the
    /// next turn returns. At most one send per connection and turn.
    fn submit_send(&mut self, token: Token, fd: Fd, segments: &[Segment]);

    /// Submits what was prepared, waits, and appends all completions to `done`.
    ///
    /// # Errors
    /// The ring itself failed. The worker cannot continue.
    fn turn(&mut self, wait: Wait, done: &mut Vec<Completion>) -> Result<(), Error>;

    /// The bytes of a buffer, and the scratch space. For [`BufferId::SCRATCH`] itself the first slice is empty.
    fn buffer_and_scratch(&mut self, buffer: BufferId) -> (&mut [u8], &mut [u8]);

    /// The bytes of a buffer.
    fn buffer(&self, buffer: BufferId) -> &[u8];

    /// Lets segments of `buffer` ([`BufferId::shared`]) send from `bytes`, until [`Io::unshare`].
    fn share(&mut self, buffer: BufferId, bytes: Arc<[u8]>);

    /// Ends what [`Io::share`] began. No undecided send may use the buffer.
    fn unshare(&mut self, buffer: BufferId);

    /// Gives receive buffers back to the kernel, and empties the list. `ran_dry`: a receive found the pool empty.
    fn replenish(&mut self, buffers: &mut Vec<BufferId>, ran_dry: bool);

    /// Returns memory to the kernel that a burst needed and nothing has needed since the last call. `held` are the
    /// receive buffers that the worker has not given back. To be called between turns.
    fn release_idle(&mut self, _held: &[BufferId]) {}

    /// Receives without waiting (`EAGAIN` if there is nothing). Fewer bytes than `into` holds mean that the socket is
    /// empty.
    ///
    /// # Errors
    /// The errno of recv(2).
    fn recv(&mut self, fd: Fd, into: &mut [u8]) -> Result<usize, Errno>;

    /// Like [`Self::recv`], into the first `limit` bytes of the hot buffer.
    ///
    /// # Errors
    /// The errno of recv(2).
    fn recv_hot(&mut self, fd: Fd, limit: usize) -> Result<usize, Errno>;

    /// Like [`Self::recv_hot`], into the `limit` bytes behind the first `at`, which the caller fills.
    ///
    /// # Errors
    /// The errno of recv(2).
    fn recv_hot_behind(&mut self, fd: Fd, at: usize, limit: usize) -> Result<usize, Errno>;

    /// Sends as much of `segments` and then of `then` as the socket takes at once, without waiting (`EAGAIN` if it takes
    /// nothing).
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

    /// Bytes that were sent and that the peer's kernel has not acknowledged. If the number falls while nothing is sent,
    /// the peer is taking bytes.
    fn unsent(&mut self, fd: Fd) -> usize;

    /// Copies bytes that were received earlier into the hot buffer, as if they had just been received there.
    fn refill_hot(&mut self, bytes: &[u8]);

    /// Shuts down our direction (`Write`) or both.
    fn shutdown(&mut self, fd: Fd, how: std::net::Shutdown);

    /// Closes a connection or a listener. No operation may be armed on `fd`. `reset`: discards unsent bytes and sends the
    /// peer a RST.
    fn close(&mut self, fd: Fd, reset: bool);

    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// The counters since the last call.
    fn take_counts(&mut self) -> Counts;
}
