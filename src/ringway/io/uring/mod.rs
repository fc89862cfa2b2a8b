//! io_uring: multishot receives into one buffer ring, and sends whose result is known when the one system call of a turn
//! returns.
//!
//! How a send succeeds without a completion: `SEND` with `MSG_DONTWAIT | MSG_WAITALL` and `IOSQE_CQE_SKIP_SUCCESS` never
//! waits. Full success posts no completion, a short send posts its count, a full socket posts `EAGAIN`. So when `enter`
//! returns, every send of the batch is decided and the kernel no longer needs its memory. Without `MSG_WAITALL` a short
//! send would post nothing. A self-test proves this behaviour on the running kernel; where it fails, sends post
//! completions.

mod buf_ring;
mod enter;
mod selftest;
mod setup;

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use io_uring::squeue::Flags;
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::alarm::{Alarm, Timeout};
use super::areas::{Areas, slice_of};
use super::pool::{CHUNK_BUFFERS, Pool};
use super::{
    BufferId, Completion, ConnectOptions, Counts, Errno, Error, Fd, Follows, Io, Op, ReceiveMode,
    SEGMENTS_MAX, Segment, Token, Wait, Wake, connect, sys,
};
use crate::time::{self, Instant};
use buf_ring::BufRing;
use enter::Enter;
pub use setup::{Options, Unavailable};

/// Most segments of all gathered sends (`SENDMSG`) in one batch. A batch that needs more is submitted early.
const IOVECS: usize = 4096;

/// Most gathered sends in one batch.
const MESSAGES: usize = 512;

/// Attempts, 1 ms apart, to submit entries that the kernel did not take. The worker gives up after them.
const SUBMIT_ATTEMPTS: u32 = 1000;

/// Receive buffers given back in one turn, below which the first chunk of the pool would have been enough.
const USED_LITTLE: usize = CHUNK_BUFFERS as usize / 2;

/// The group id of the one buffer ring.
const GROUP: u16 = 0;

/// Whose readiness ends a wait.
const ALARM: Token = Token::fixed(Op::Alarm, 0);

const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// One ring with its buffers. Created in the thread that uses it (`IORING_SETUP_SINGLE_ISSUER`).
///
/// The fields drop in this order: the ring first, then the memory that it wrote to.
pub struct Uring {
    ring: IoUring,
    buf_ring: BufRing,
    pool: Pool,
    areas: Areas,
    enter: Enter,
    alarm: Alarm,
    /// Memory that gathered sends point to until the batch is submitted. Its capacity is fixed, so it never moves.
    messages: Vec<libc::msghdr>,
    iovecs: Vec<libc::iovec>,
    /// Completions reaped by an early submission. The next turn delivers them.
    early: Vec<Completion>,
    /// An early submission failed. The next turn returns this error.
    broken: Option<Error>,
    /// Whether fully successful sends post no completion (proved by the self-test).
    skip_success: bool,
    /// Which set-up flags the kernel took, and what the self-test found.
    note: String,
    counts: Counts,
    /// The readiness of the alarm is armed.
    watches_alarm: bool,
    /// The kernel completes receives only inside `enter` (`IORING_SETUP_DEFER_TASKRUN`).
    deferred: bool,
    /// Most receive buffers that one turn has given back since the last `release_idle`.
    used_max: usize,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring")
            .field("note", &self.note)
            .field("buffers", &self.pool.len())
            .finish_non_exhaustive()
    }
}

impl Uring {
    /// Sets up a ring and its buffers with the best options that the kernel has, and tests on a socket pair that it
    /// behaves.
    ///
    /// # Errors
    /// [`Unavailable`] says why io_uring cannot be used here, and what would change that.
    pub fn new(options: &Options) -> Result<Self, Unavailable> {
        let mut uring = setup::open(options)?;
        selftest::run(&mut uring)?;
        Ok(uring)
    }

    /// The tier and the result of the self-test, for the log.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Puts one entry into the submission queue. A full queue is submitted first (counted in `Counts::enters`).
    #[inline]
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: every pointer in an entry leads to memory that this value owns and keeps until the kernel is done
        // with it: pool and scratch live as long as the ring, messages and iovecs until the batch is submitted.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.submit_early();
            if self.broken.is_some() {
                return; // the next turn returns the error, and the worker ends
            }
        }
    }

    /// Submits the batch without waiting. Completions and an error are kept for the next turn.
    #[cold]
    fn submit_early(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        self.broken = self.submit(Timeout::Zero, &mut early).err();
        self.early = early;
    }

    /// One system call, or several while the kernel has not taken every entry. It leaves entries when it lacks memory for
    /// a request or room for its completion. They must not stay: they point to buffers that the worker gives back after
    /// the turn.
    fn submit(&mut self, timeout: Timeout, done: &mut Vec<Completion>) -> Result<(), Error> {
        let mut timeout = timeout;
        for attempt in 0..SUBMIT_ATTEMPTS {
            self.counts.enters += 1;
            self.enter.call(&mut self.ring, timeout)?;
            self.reap(done);
            if self.ring.submission().is_empty() {
                self.messages.clear();
                self.iovecs.clear();
                return Ok(());
            }
            timeout = Timeout::Zero;
            if attempt > 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        Err(Error {
            operation: "io_uring_enter leaves entries",
            source: std::io::ErrorKind::OutOfMemory.into(),
        })
    }

    fn push_send(&mut self, entry: squeue::Entry, token: Token) {
        let flags = if self.skip_success {
            Flags::SKIP_SUCCESS
        } else {
            Flags::empty()
        };
        self.push(&entry.flags(flags).user_data(token.to_bits()));
    }

    /// The address of a segment, checked against the bounds of its buffer.
    fn address(&self, segment: &Segment) -> *const u8 {
        slice_of(self.buffer(segment.buffer), segment).as_ptr()
    }

    fn push_gathered(&mut self, token: Token, fd: Fd, segments: &[Segment]) {
        if self.messages.len() == MESSAGES || self.iovecs.len() + segments.len() > IOVECS {
            self.submit_early();
        }
        let first = self.iovecs.len();
        for segment in segments {
            let iov_base = self.address(segment).cast_mut().cast();
            self.iovecs.push(libc::iovec {
                iov_base,
                iov_len: segment.len as usize,
            });
        }
        // SAFETY: msghdr is integers and pointers, for which all-zero is a valid value ("none of it").
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = self.iovecs[first..].as_mut_ptr();
        message.msg_iovlen = segments.len();
        self.messages.push(message);
        let pointer = &raw const self.messages[self.messages.len() - 1];
        let entry = opcode::SendMsg::new(types::Fd(fd.0), pointer)
            .flags(SEND_FLAGS.cast_unsigned())
            .build();
        self.push_send(entry, token);
    }

    fn reap(&mut self, done: &mut Vec<Completion>) {
        if self.ring.submission().cq_overflow() {
            self.counts.cq_overflows += 1;
        }
        for entry in self.ring.completion() {
            let token = Token::from_bits(entry.user_data());
            if token == ALARM {
                self.alarm.rang();
                self.watches_alarm = cqueue::more(entry.flags());
                continue;
            }
            done.push(Completion {
                token,
                result: u32::try_from(entry.result()).map_err(|_| Errno(-entry.result())),
                buffer: cqueue::buffer_select(entry.flags()).map(BufferId),
                more: cqueue::more(entry.flags()),
            });
        }
    }

    /// Gives the kernel one more chunk of buffers, up to the limit.
    fn grow(&mut self) {
        // Without memory for it the pool keeps its size, and receives wait for a free buffer.
        for number in self.pool.grow().unwrap_or_default() {
            self.buf_ring.add(number, self.pool.address(number));
        }
    }
}

impl Drop for Uring {
    /// Cancels every armed operation, so that the kernel writes to no buffer once the fields are dropped.
    fn drop(&mut self) {
        let _ = self
            .ring
            .submitter()
            .register_sync_cancel(None, types::CancelBuilder::any());
        let _ = self.enter.call(&mut self.ring, Timeout::Zero);
    }
}

impl Io for Uring {
    fn receive_mode(&self) -> ReceiveMode {
        ReceiveMode::Buffers
    }

    fn submit_listen(&mut self, token: Token, listener: Fd, wake: Wake) {
        let events = libc::POLLIN.cast_unsigned().into();
        let events = match wake {
            Wake::One => events | libc::EPOLLEXCLUSIVE.cast_unsigned(),
            Wake::All => events,
        };
        let entry = opcode::PollAdd::new(types::Fd(listener.0), events).build();
        self.push(&entry.user_data(token.to_bits()));
    }

    fn accept(&mut self, listener: Fd) -> Result<Fd, Errno> {
        sys::accept(listener)
    }

    fn has_waiting(&mut self, listener: Fd) -> bool {
        sys::is_readable(listener)
    }

    fn connect(&mut self, options: &ConnectOptions) -> Result<Fd, Errno> {
        connect::begin(options)
    }

    fn adopt(&mut self, stream: OwnedFd) -> Fd {
        connect::adopt(stream)
    }

    fn connect_result(&mut self, fd: Fd) -> Result<(), Errno> {
        sys::connect_result(fd)
    }

    fn submit_recv(&mut self, token: Token, fd: Fd) {
        let entry = opcode::RecvMulti::new(types::Fd(fd.0), GROUP).build();
        self.push(&entry.user_data(token.to_bits()));
    }

    fn submit_poll_in(&mut self, token: Token, fd: Fd) {
        let events = (libc::POLLIN | libc::POLLRDHUP).cast_unsigned();
        let entry = opcode::PollAdd::new(types::Fd(fd.0), events.into())
            .multi(true)
            .build();
        self.push(&entry.user_data(token.to_bits()));
    }

    fn submit_poll_out(&mut self, token: Token, fd: Fd) {
        let entry =
            opcode::PollAdd::new(types::Fd(fd.0), libc::POLLOUT.cast_unsigned().into()).build();
        self.push(&entry.user_data(token.to_bits()));
    }

    fn submit_cancel(&mut self, target: Token, _fd: Fd) {
        let all = types::CancelBuilder::user_data(target.to_bits()).all();
        let entry = opcode::AsyncCancel2::new(all).build();
        let token = Token::new(Op::Cancel, target.id());
        self.push(&entry.flags(Flags::SKIP_SUCCESS).user_data(token.to_bits()));
    }

    fn submit_send(&mut self, token: Token, fd: Fd, segments: &[Segment]) {
        assert!(
            !segments.is_empty() && segments.len() <= SEGMENTS_MAX,
            "one to SEGMENTS_MAX segments"
        );
        if let [segment] = segments {
            let entry = opcode::Send::new(types::Fd(fd.0), self.address(segment), segment.len)
                .flags(SEND_FLAGS)
                .build();
            self.push_send(entry, token);
        } else {
            self.push_gathered(token, fd, segments);
        }
    }

    fn turn(&mut self, wait: Wait, done: &mut Vec<Completion>) -> Result<(), Error> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let timeout = match self.early.is_empty() {
            true => self.alarm.timeout(wait),
            false => Timeout::Zero,
        };
        if !self.watches_alarm
            && let Some(timer) = self.alarm.fd()
        {
            self.watches_alarm = true;
            self.submit_poll_in(ALARM, timer);
        }
        done.append(&mut self.early);
        self.submit(timeout, done)
    }

    fn buffer_and_scratch(&mut self, buffer: BufferId) -> (&mut [u8], &mut [u8]) {
        match buffer {
            BufferId::SCRATCH | BufferId::HOT => self.areas.buffer_and_scratch(buffer),
            BufferId(number) => (self.pool.buffer_mut(number), self.areas.scratch_mut()),
        }
    }

    fn buffer(&self, buffer: BufferId) -> &[u8] {
        match buffer {
            BufferId(number) if number < BufferId::FIRST_SHARED => self.pool.buffer(number),
            _ => self.areas.buffer(buffer),
        }
    }

    fn share(&mut self, buffer: BufferId, bytes: Arc<[u8]>) {
        self.areas.share(buffer, bytes);
    }

    fn unshare(&mut self, buffer: BufferId) {
        self.areas.unshare(buffer);
    }

    fn replenish(&mut self, buffers: &mut Vec<BufferId>, ran_dry: bool) {
        self.used_max = self.used_max.max(buffers.len());
        for BufferId(number) in buffers.drain(..) {
            if !self.pool.park(number) {
                self.buf_ring.add(number, self.pool.address(number));
            }
        }
        if ran_dry {
            self.used_max = usize::MAX;
            self.grow();
        }
        self.buf_ring.publish();
    }

    fn release_idle(&mut self, held: &[BufferId]) {
        // With deferred task work (Linux 6.1) the kernel fills buffers only inside `enter`, and their completions were
        // reaped there: every buffer that the worker does not hold is empty. Without it the kernel may have filled a
        // buffer since, and its content must not be discarded.
        let all_known =
            self.deferred && self.early.is_empty() && !self.ring.submission().cq_overflow();
        if all_known && std::mem::take(&mut self.used_max) < USED_LITTLE {
            self.pool.shrink(held.iter().map(|buffer| buffer.0));
        }
    }

    fn recv(&mut self, fd: Fd, into: &mut [u8]) -> Result<usize, Errno> {
        sys::recv(fd, into)
    }

    fn recv_hot(&mut self, fd: Fd, limit: usize) -> Result<usize, Errno> {
        sys::recv(fd, &mut self.areas.hot_mut()[..limit])
    }

    fn recv_hot_behind(&mut self, fd: Fd, at: usize, limit: usize) -> Result<usize, Errno> {
        sys::recv(fd, &mut self.areas.hot_mut()[at..at + limit])
    }

    fn send(
        &mut self,
        fd: Fd,
        segments: &[Segment],
        then: &[IoSlice<'_>],
        follows: Follows,
    ) -> Result<usize, Errno> {
        sys::send_segments(fd, segments, then, follows, |segment| {
            slice_of(self.buffer(segment.buffer), segment)
        })
    }

    fn unsent(&mut self, fd: Fd) -> usize {
        sys::unsent(fd)
    }

    fn refill_hot(&mut self, bytes: &[u8]) {
        self.areas.hot_mut()[..bytes.len()].copy_from_slice(bytes);
    }

    fn shutdown(&mut self, fd: Fd, how: std::net::Shutdown) {
        sys::shutdown(fd, how);
    }

    fn close(&mut self, fd: Fd, reset: bool) {
        sys::close(fd, reset);
    }

    fn now(&self) -> Instant {
        time::now()
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

const _: () = assert!(CHUNK_BUFFERS.is_power_of_two());
