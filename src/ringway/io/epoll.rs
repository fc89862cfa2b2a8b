//! epoll: the kernel reports readiness, and the worker reads and writes with plain system calls. The tier for kernels and
//! containers without io_uring, and the baseline for every claim about io_uring.
//!
//! Connections are registered once, edge-triggered. A registration changes only when a full socket must report room to
//! write, which is rare. A listener is registered for one event and removed with it. Registering it again puts the worker
//! at the end of the kernel's queue of waiters; otherwise the kernel would wake the same worker again and again.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::alarm::{Alarm, Timeout};
use super::areas::{Areas, slice_of};
use super::{
    BufferId, Completion, ConnectOptions, Counts, Errno, Error, Fd, Follows, Io, Op, ReceiveMode,
    Segment, Token, Wait, Wake, connect, sys,
};
use crate::time::{self, Instant};

/// Most events taken by one epoll_wait.
const EVENTS: usize = 1024;

const READ: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET).cast_unsigned();
const WRITE: u32 = libc::EPOLLOUT.cast_unsigned();
const LISTEN: u32 = libc::EPOLLIN.cast_unsigned();
const LISTEN_EXCLUSIVE: u32 = (libc::EPOLLIN | libc::EPOLLEXCLUSIVE).cast_unsigned();

/// One epoll instance.
pub struct Epoll {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    areas: Areas,
    /// Completions of operations that needed no wait. The next turn delivers them.
    decided: Vec<Completion>,
    /// The descriptor of each listener that is registered, by slot.
    listeners: Vec<Option<Fd>>,
    /// The descriptor of each connection that waits for room to write, by slot. A client waits like this for every
    /// connect, so all of its connections may be here.
    writers: Vec<Option<(Token, Fd)>>,
    alarm: Alarm,
    counts: Counts,
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoll")
            .field("epoll", &self.epoll)
            .finish_non_exhaustive()
    }
}

impl Epoll {
    /// A new instance.
    ///
    /// # Errors
    /// epoll_create1(2) failed.
    pub fn new() -> Result<Self, Error> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(Error::last("epoll_create1"));
        }
        let mut new = Self {
            // SAFETY: the call above has just made this descriptor, and nothing else knows it.
            epoll: unsafe { OwnedFd::from_raw_fd(fd) },
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS],
            areas: Areas::new()?,
            decided: Vec::new(),
            listeners: Vec::new(),
            writers: Vec::new(),
            alarm: Alarm::new(),
            counts: Counts::default(),
        };
        if let Some(timer) = new.alarm.fd() {
            new.submit_poll_in(Token::fixed(Op::Alarm, 0), timer);
        }
        Ok(new)
    }

    /// epoll_ctl(2). On failure the errno becomes the operation's completion, and the result is false.
    fn control(&mut self, operation: i32, fd: Fd, events: u32, token: Token) -> bool {
        let mut event = libc::epoll_event {
            events,
            u64: token.to_bits(),
        };
        // SAFETY: `event` is read during the call only.
        let result =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd.0, &raw mut event) };
        if result < 0 {
            let errno = std::io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO);
            self.decide(token, Err(Errno(errno)), false);
        }
        result == 0
    }

    fn decide(&mut self, token: Token, result: Result<u32, Errno>, more: bool) {
        self.decided.push(Completion {
            token,
            result,
            buffer: None,
            more,
        });
    }

    fn deliver(&mut self, event: libc::epoll_event, done: &mut Vec<Completion>) {
        let token = Token::from_bits(event.u64);
        match token.op() {
            Op::Accept => return self.deliver_listener(token, done),
            Op::Alarm => return self.alarm.rang(),
            _ => {}
        }
        let events = event.events;
        let writable = WRITE | (libc::EPOLLERR | libc::EPOLLHUP).cast_unsigned();
        // A watched descriptor has the number of a connection without being one.
        if events & writable != 0 && token.op() != Op::Watch {
            self.deliver_writable(token, done);
        }
        if events & !WRITE != 0 {
            done.push(Completion {
                token,
                result: Ok(events),
                buffer: None,
                more: true,
            });
        }
    }

    fn deliver_writable(&mut self, token: Token, done: &mut Vec<Completion>) {
        if let Some((writer, fd)) = self.take_writer(token) {
            done.push(Completion {
                token: writer,
                result: Ok(WRITE),
                buffer: None,
                more: false,
            });
            self.control(libc::EPOLL_CTL_MOD, fd, READ, token);
        }
    }

    /// Removes and returns the connection of `token` if it waits for room to write.
    fn take_writer(&mut self, token: Token) -> Option<(Token, Fd)> {
        let writer = self.writers.get_mut(token.id().slot as usize)?;
        writer.take_if(|(writer, _)| writer.id() == token.id())
    }

    fn deliver_listener(&mut self, token: Token, done: &mut Vec<Completion>) {
        if self.forget_listener(token) {
            done.push(Completion {
                token,
                result: Ok(LISTEN),
                buffer: None,
                more: false,
            });
        }
    }

    /// Removes a listener. Returns whether it was registered.
    fn forget_listener(&mut self, token: Token) -> bool {
        let slot = token.id().slot as usize;
        let Some(listener) = self.listeners.get_mut(slot).and_then(Option::take) else {
            return false;
        };
        self.control(libc::EPOLL_CTL_DEL, listener, 0, token);
        true
    }
}

impl Io for Epoll {
    fn receive_mode(&self) -> ReceiveMode {
        ReceiveMode::Readiness
    }

    fn submit_listen(&mut self, token: Token, listener: Fd, wake: Wake) {
        let slot = token.id().slot as usize;
        if self.listeners.len() <= slot {
            self.listeners.resize(slot + 1, None);
        }
        let events = match wake {
            Wake::One => LISTEN_EXCLUSIVE,
            Wake::All => LISTEN,
        };
        // A listener that could not be added must not be removed later.
        let added = self.control(libc::EPOLL_CTL_ADD, listener, events, token);
        self.listeners[slot] = added.then_some(listener);
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

    fn submit_recv(&mut self, token: Token, _fd: Fd) {
        self.decide(token, Err(Errno(libc::EOPNOTSUPP)), false);
    }

    fn submit_poll_in(&mut self, token: Token, fd: Fd) {
        self.control(libc::EPOLL_CTL_ADD, fd, READ, token);
    }

    fn submit_poll_out(&mut self, token: Token, fd: Fd) {
        let slot = token.id().slot as usize;
        if self.writers.len() <= slot {
            self.writers.resize(slot + 1, None);
        }
        self.writers[slot] = Some((token, fd));
        self.control(
            libc::EPOLL_CTL_MOD,
            fd,
            READ | WRITE,
            Token::new(Op::PollIn, token.id()),
        );
    }

    fn submit_cancel(&mut self, target: Token, fd: Fd) {
        match target.op() {
            Op::Accept if !self.forget_listener(target) => return,
            Op::Accept => {}
            Op::PollOut => drop(self.take_writer(target)),
            _ => drop(self.control(libc::EPOLL_CTL_DEL, fd, 0, target)),
        }
        self.decide(target, Err(Errno(libc::ECANCELED)), false);
    }

    fn submit_send(&mut self, token: Token, fd: Fd, segments: &[Segment]) {
        let total: usize = segments.iter().map(|segment| segment.len as usize).sum();
        match self.send(fd, segments, &[], Follows::Nothing) {
            Ok(sent) if sent == total => {}
            Ok(sent) => self.decide(token, Ok(u32::try_from(sent).unwrap_or(u32::MAX)), false),
            Err(errno) => self.decide(token, Err(errno), false),
        }
    }

    fn turn(&mut self, wait: Wait, done: &mut Vec<Completion>) -> Result<(), Error> {
        let timeout = match self.decided.is_empty() {
            true => milliseconds(self.alarm.timeout(wait)),
            false => 0,
        };
        self.counts.enters += 1;
        let room = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: `events` is valid for writes of `room` entries; the call keeps no pointer.
        let ready = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                room,
                timeout,
            )
        };
        let ready = match usize::try_from(ready) {
            Ok(ready) => ready,
            Err(_) => match Error::last("epoll_wait") {
                error if error.source.raw_os_error() == Some(libc::EINTR) => 0,
                error => return Err(error),
            },
        };
        done.append(&mut self.decided);
        for at in 0..ready {
            self.deliver(self.events[at], done);
        }
        Ok(())
    }

    fn buffer_and_scratch(&mut self, buffer: BufferId) -> (&mut [u8], &mut [u8]) {
        self.areas.buffer_and_scratch(buffer)
    }

    fn buffer(&self, buffer: BufferId) -> &[u8] {
        self.areas.buffer(buffer)
    }

    fn share(&mut self, buffer: BufferId, bytes: Arc<[u8]>) {
        self.areas.share(buffer, bytes);
    }

    fn unshare(&mut self, buffer: BufferId) {
        self.areas.unshare(buffer);
    }

    fn replenish(&mut self, buffers: &mut Vec<BufferId>, _ran_dry: bool) {
        assert!(buffers.is_empty(), "epoll has no receive buffers");
    }

    fn release_idle(&mut self, _held: &[BufferId]) {
        // Shortens the list to the largest slot that still waits.
        while self.writers.pop_if(|writer| writer.is_none()).is_some() {}
        self.writers.shrink_to(self.writers.len().max(EVENTS));
        self.decided.shrink_to(EVENTS);
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
            slice_of(self.areas.buffer(segment.buffer), segment)
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

/// The timeout of epoll_wait in ms, rounded up: a timer never fires early.
fn milliseconds(timeout: Timeout) -> i32 {
    match timeout {
        Timeout::Zero => 0,
        Timeout::Never => -1,
        Timeout::After(time) => {
            let time = time.saturating_add(Duration::from_nanos(999_999));
            i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
        }
    }
}
