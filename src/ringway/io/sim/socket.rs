//! One TCP connection, both ends of it.
//!
//! ```text
//!   peer ──▶ on_the_way ──▶ inbox ──▶ worker        at most `inbox_max` bytes in the inbox
//!   peer ◀──────────── outbox ◀────── worker        at most `outbox_max` bytes in the outbox
//! ```

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::Shutdown;

use super::super::{ConnId, Errno, Fd};
use super::Random;

/// What a peer finds behind the bytes that it can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// The worker may send more.
    Open,
    /// The worker has ended its direction.
    Fin,
    /// The connection is gone.
    Reset,
}

/// What follows the last byte that the peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    Open,
    Fin,
    Reset,
}

/// The state of the connection between the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    /// The worker connects, and the test has not decided for the peer.
    Pending,
    /// The peer refused the connection.
    Refused,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) link: Link,
    /// The worker's descriptor, from accept to close.
    pub(super) fd: Option<Fd>,
    /// The worker's id for the connection, as read from its tokens.
    pub(super) owner: Option<ConnId>,
    /// The worker has closed its descriptor.
    pub(super) closed: bool,
    on_the_way: VecDeque<u8>,
    tail: Tail,
    inbox: VecDeque<u8>,
    inbox_max: usize,
    /// The peer's FIN has arrived, or the worker has shut down its reading side.
    inbox_ended: bool,
    outbox: VecDeque<u8>,
    outbox_max: usize,
    /// The worker has ended its direction.
    outbox_ended: bool,
    /// The last bytes wait for the end that was announced to follow them.
    pub(super) waits_for_end: bool,
    /// The peer has closed. Bytes for it are answered with a RST.
    peer_gone: bool,
    /// The connection was reset, by either side.
    reset: bool,
    /// The errno of the next call, once.
    error: Option<Errno>,
    /// Something arrived for which readiness was not reported yet.
    pub(super) edge: bool,
}

impl Socket {
    pub(super) fn new(inbox_max: usize, outbox_max: usize) -> Self {
        Self {
            link: Link::Up,
            fd: None,
            owner: None,
            closed: false,
            on_the_way: VecDeque::new(),
            tail: Tail::Open,
            inbox: VecDeque::new(),
            inbox_max,
            inbox_ended: false,
            outbox: VecDeque::new(),
            outbox_max,
            outbox_ended: false,
            waits_for_end: false,
            peer_gone: false,
            reset: false,
            error: None,
            edge: false,
        }
    }

    pub(super) fn assert_up(&self, what: &str) {
        assert_ne!(
            self.link,
            Link::Pending,
            "{what} before the connect is over"
        );
    }

    // What the peer does.

    pub(super) fn peer_send(&mut self, bytes: &[u8]) {
        if self.tail == Tail::Open && !self.reset {
            self.on_the_way.extend(bytes);
        }
    }

    pub(super) fn peer_end(&mut self) {
        if self.tail == Tail::Open {
            self.tail = Tail::Fin;
        }
    }

    /// Closes. If the peer has unread bytes, its kernel sends a RST.
    pub(super) fn peer_close(&mut self) {
        self.peer_end();
        self.peer_gone = true;
        if !self.outbox.is_empty() {
            self.peer_reset();
        }
    }

    pub(super) fn peer_reset(&mut self) {
        self.peer_gone = true;
        self.on_the_way.clear();
        self.outbox.clear();
        self.tail = Tail::Reset;
    }

    pub(super) fn peer_take(&mut self, max: usize) -> Vec<u8> {
        let count = max.min(self.outbox.len());
        self.outbox.drain(..count).collect()
    }

    pub(super) fn peer_end_seen(&self) -> PeerEnd {
        if self.reset || self.tail == Tail::Reset {
            PeerEnd::Reset
        } else if self.outbox_ended && self.outbox.is_empty() {
            PeerEnd::Fin
        } else {
            PeerEnd::Open
        }
    }

    pub(super) fn waiting_for_peer(&self) -> usize {
        self.outbox.len()
    }

    pub(super) fn waiting_for_worker(&self) -> usize {
        self.on_the_way.len() + self.inbox.len()
    }

    // What the network does.

    /// Delivers bytes from the peer: as many as there is room for, or a part of them.
    pub(super) fn arrive(&mut self, random: &mut Random, in_parts: u16) {
        if self.closed {
            return self.arrive_at_closed(random);
        }
        let room = self.inbox_max.saturating_sub(self.inbox.len());
        let mut count = self.on_the_way.len().min(room);
        if count > 0 && random.chance(in_parts) {
            count = random.below(count + 1).min(random.magnitude(count));
        }
        self.inbox.extend(self.on_the_way.drain(..count));
        self.edge |= count > 0;
        if !self.on_the_way.is_empty() {
            return;
        }
        match self.tail {
            Tail::Fin if !self.inbox_ended => {
                self.inbox_ended = true;
                self.edge = true;
            }
            Tail::Reset if !self.reset => self.break_off(),
            _ => {}
        }
    }

    /// Bytes arrive for a descriptor that the worker has closed: they are answered with a RST, and the peer loses what it
    /// has not read.
    fn arrive_at_closed(&mut self, random: &mut Random) {
        if !self.on_the_way.is_empty() && !self.reset {
            self.reset = true;
            let kept = random.below(self.outbox.len() + 1);
            self.outbox.truncate(kept);
        }
        self.on_the_way.clear();
    }

    /// A RST has arrived: the worker can still read its inbox, and the outbox is lost.
    pub(super) fn break_off(&mut self) {
        self.reset = true;
        self.inbox_ended = true;
        self.on_the_way.clear();
        self.outbox.clear();
        self.error = Some(Errno(libc::ECONNRESET));
        self.edge = true;
    }

    // What the worker does.

    /// Reads what has arrived. `EAGAIN` when there is nothing, `Ok(0)` at the end of the stream.
    pub(super) fn recv(&mut self, into: &mut [u8]) -> Result<usize, Errno> {
        let mut count = 0;
        while count < into.len() && !self.inbox.is_empty() {
            count += self
                .inbox
                .read(&mut into[count..])
                .expect("a queue in memory");
        }
        if count > 0 {
            return Ok(count);
        }
        match self.error.take() {
            Some(errno) => Err(errno),
            None if self.inbox_ended => Ok(0),
            None => Err(Errno(libc::EAGAIN)),
        }
    }

    /// Takes as many bytes as there is room for, at most `max`.
    pub(super) fn send(&mut self, bytes: &[u8], max: usize) -> Result<usize, Errno> {
        if let Some(errno) = self.error.take() {
            return Err(errno);
        }
        if self.outbox_ended || self.reset {
            return Err(Errno(libc::EPIPE));
        }
        let count = bytes.len().min(self.room()).min(max);
        if count == 0 {
            return Err(Errno(libc::EAGAIN));
        }
        if self.peer_gone {
            self.tail = Tail::Reset;
        } else {
            self.outbox.extend(&bytes[..count]);
        }
        Ok(count)
    }

    pub(super) fn room(&self) -> usize {
        self.outbox_max.saturating_sub(self.outbox.len())
    }

    pub(super) fn shutdown(&mut self, how: Shutdown) {
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            self.inbox_ended = true;
            self.edge = true;
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            self.outbox_ended = true;
        }
    }

    /// Closes. If the worker left bytes unread, the kernel sends a RST instead of a FIN.
    pub(super) fn close(&mut self, reset: bool, random: &mut Random) {
        self.fd = None;
        self.closed = true;
        self.outbox_ended = true;
        if (reset || !self.inbox.is_empty()) && !self.reset {
            self.reset = true;
            let kept = random.below(self.outbox.len() + 1);
            self.outbox.truncate(kept);
        }
        self.inbox.clear();
    }

    pub(super) fn has_bytes(&self) -> bool {
        !self.inbox.is_empty()
    }

    // What poll(2) says.

    pub(super) fn readable(&self) -> i16 {
        let mut events = 0;
        match self.link {
            Link::Up => {}
            Link::Pending => return 0,
            Link::Refused => return libc::POLLIN | libc::POLLERR | libc::POLLHUP,
        }
        if !self.inbox.is_empty() || self.inbox_ended {
            events |= libc::POLLIN;
        }
        if self.inbox_ended {
            events |= libc::POLLRDHUP;
        }
        events | self.broken()
    }

    pub(super) fn writable(&self) -> i16 {
        match self.link {
            Link::Up => {}
            Link::Pending => return 0,
            Link::Refused => return libc::POLLOUT | libc::POLLERR | libc::POLLHUP,
        }
        let mut events = self.broken();
        // Linux reports room once a third of the buffer is free (sk_stream_is_writeable).
        if self.room() * 3 >= self.outbox_max || self.outbox_ended || self.reset {
            events |= libc::POLLOUT;
        }
        events
    }

    fn broken(&self) -> i16 {
        let mut events = 0;
        if self.error.is_some() {
            events |= libc::POLLERR;
        }
        if self.reset || (self.inbox_ended && self.outbox_ended) {
            events |= libc::POLLHUP;
        }
        events
    }
}
