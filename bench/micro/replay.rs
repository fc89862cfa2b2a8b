//! A minimal kernel for benchmarks: one connection at a time, on which the same bytes arrive again and again.
//!
//! Its only cost is copying the bytes of a receive into a buffer. Everything else that is measured is the worker's.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use ringway::io::{
    BufferId, Completion, ConnectOptions, Counts, Errno, Error, Fd, Follows, HOT_BYTES, Io,
    ReceiveMode, SCRATCH_BYTES, Segment, Token, Wait, Wake,
};
use ringway::proto::deflate::Terms;
use ringway::proto::frame::{HEADER_BYTES_MAX, Header, encode};
use ringway::proto::mask::{self, Key};
use ringway::proto::{Opcode, compression, handshake};
use ringway::time::Instant;

/// The descriptor of every connection.
const CONNECTION: Fd = Fd(5);

/// What the peer does at the end of its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It sends the last entry again, in every turn.
    Repeat,
    /// Nothing. Once the worker has closed, the next peer connects.
    Reconnect,
}

/// A kernel with one peer.
#[derive(Debug)]
pub(crate) struct Replay {
    mode: ReceiveMode,
    /// The bytes of each turn. An empty entry is the end of the stream.
    script: Vec<Vec<u8>>,
    then: Then,
    /// The entry that arrived last, and its bytes that the worker has not read, in the mode in which the worker reads
    /// itself.
    current: usize,
    unread: Range<usize>,
    /// The entry that arrives next.
    next: usize,
    accept: Option<Token>,
    /// A peer waits in the listener's queue.
    waits: bool,
    receive: Option<Token>,
    open: bool,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    /// Bytes that the worker has sent.
    pub(crate) sent: u64,
    /// Connections that the worker has closed.
    pub(crate) closed: u64,
}

impl Replay {
    /// Peers that open a WebSocket, perhaps with an offer of permessage-deflate, and then follow `script`.
    pub(crate) fn new(
        deflate: Option<Terms>,
        mode: ReceiveMode,
        script: Vec<Vec<u8>>,
        then: Then,
    ) -> Self {
        let mut opening = Vec::new();
        let offered = handshake::Offered {
            compression: compression::Terms {
                deflate,
                ..compression::Terms::NONE
            },
            ..handshake::Offered::NOTHING
        };
        let request = handshake::ClientRequest {
            offered,
            ..handshake::ClientRequest::new("bench", "/", [7; 16])
        };
        handshake::encode_request(&request, &mut opening).expect("a valid request");
        Self {
            mode,
            script: [vec![opening], script].concat(),
            then,
            current: 0,
            unread: 0..0,
            next: 0,
            accept: None,
            waits: false,
            receive: None,
            open: false,
            buffer: vec![0; HOT_BYTES],
            scratch: vec![0; SCRATCH_BYTES],
            sent: 0,
            closed: 0,
        }
    }

    /// Plays one receive without a worker: the part of a measured turn that is not the worker's.
    pub(crate) fn play(&mut self, done: &mut Vec<Completion>) {
        done.clear();
        self.deliver(done);
        if self.mode == ReceiveMode::Readiness {
            let read = self.recv_hot(Fd(0), HOT_BYTES);
            assert!(read.is_ok(), "a receive was delivered");
        }
    }

    fn deliver(&mut self, done: &mut Vec<Completion>) {
        let (Some(token), Some(bytes)) = (self.receive, self.script.get(self.next)) else {
            return;
        };
        let (len, readable) = (bytes.len(), libc::POLLIN.cast_unsigned());
        let (result, buffer) = match self.mode {
            ReceiveMode::Buffers => {
                self.buffer[..len].copy_from_slice(bytes);
                let len = u32::try_from(len).expect("a receive is short");
                (len, (len > 0).then_some(BufferId(0)))
            }
            ReceiveMode::Readiness => (readable.into(), None),
        };
        done.push(Completion {
            token,
            result: Ok(result),
            buffer,
            more: len > 0,
        });
        (self.current, self.unread) = (self.next, 0..len);
        if self.next + 1 < self.script.len() || self.then == Then::Reconnect {
            self.next += 1;
        }
    }

    /// The bytes of this turn that the worker reads next.
    fn read(&mut self, limit: usize) -> Result<Range<usize>, Errno> {
        let Range { start, end } = self.unread;
        if start == end && end > 0 {
            return Err(Errno(libc::EAGAIN));
        }
        self.unread.start = end.min(start + limit);
        Ok(start..self.unread.start)
    }
}

impl Io for Replay {
    fn receive_mode(&self) -> ReceiveMode {
        self.mode
    }
    fn submit_listen(&mut self, token: Token, _: Fd, _: Wake) {
        self.accept = Some(token);
    }
    fn accept(&mut self, _: Fd) -> Result<Fd, Errno> {
        if !std::mem::take(&mut self.waits) {
            return Err(Errno(libc::EAGAIN));
        }
        (self.open, self.next) = (true, 0);
        Ok(CONNECTION)
    }
    fn has_waiting(&mut self, _: Fd) -> bool {
        self.waits
    }
    fn connect(&mut self, _: &ConnectOptions) -> Result<Fd, Errno> {
        Err(Errno(libc::ENETUNREACH))
    }
    fn adopt(&mut self, _: std::os::fd::OwnedFd) -> Fd {
        unreachable!("nothing is handed over")
    }

    fn connect_result(&mut self, _: Fd) -> Result<(), Errno> {
        Ok(())
    }
    fn share(&mut self, _: BufferId, _: Arc<[u8]>) {
        unreachable!("an echo prepares nothing")
    }
    fn unshare(&mut self, _: BufferId) {
        unreachable!("an echo prepares nothing")
    }
    fn submit_recv(&mut self, token: Token, _: Fd) {
        self.receive = Some(token);
    }
    fn submit_poll_in(&mut self, token: Token, _: Fd) {
        self.receive = Some(token);
    }
    fn submit_poll_out(&mut self, _: Token, _: Fd) {}
    fn submit_cancel(&mut self, _: Token, _: Fd) {}
    fn submit_send(&mut self, _: Token, _: Fd, segments: &[Segment]) {
        self.sent += bytes_of(segments);
    }
    fn turn(&mut self, _: Wait, done: &mut Vec<Completion>) -> Result<(), Error> {
        if self.open {
            self.deliver(done);
        } else if let Some(token) = self.accept.take() {
            self.waits = true;
            done.push(Completion {
                token,
                result: Ok(1),
                buffer: None,
                more: false,
            });
        }
        Ok(())
    }
    fn buffer_and_scratch(&mut self, _: BufferId) -> (&mut [u8], &mut [u8]) {
        (&mut self.buffer, &mut self.scratch)
    }
    fn buffer(&self, _: BufferId) -> &[u8] {
        &self.buffer
    }
    fn replenish(&mut self, buffers: &mut Vec<BufferId>, _: bool) {
        buffers.clear();
    }
    fn recv(&mut self, _: Fd, into: &mut [u8]) -> Result<usize, Errno> {
        let bytes = self.read(into.len())?;
        into[..bytes.len()].copy_from_slice(&self.script[self.current][bytes.clone()]);
        Ok(bytes.len())
    }
    fn recv_hot(&mut self, _: Fd, limit: usize) -> Result<usize, Errno> {
        let bytes = self.read(limit)?;
        self.buffer[..bytes.len()].copy_from_slice(&self.script[self.current][bytes.clone()]);
        Ok(bytes.len())
    }
    fn recv_hot_behind(&mut self, fd: Fd, _: usize, limit: usize) -> Result<usize, Errno> {
        self.recv_hot(fd, limit) // without TLS, nothing is held
    }
    fn send(
        &mut self,
        _: Fd,
        segments: &[Segment],
        then: &[IoSlice<'_>],
        _: Follows,
    ) -> Result<usize, Errno> {
        let bytes = bytes_of(segments) + then.iter().map(|slice| slice.len() as u64).sum::<u64>();
        self.sent += bytes;
        Ok(usize::try_from(bytes).expect("they are in memory"))
    }
    fn refill_hot(&mut self, _: &[u8]) {
        unreachable!("nothing arrives beyond a connection's share of a turn")
    }
    fn unsent(&mut self, _: Fd) -> usize {
        0
    }
    fn shutdown(&mut self, _: Fd, _: std::net::Shutdown) {}
    fn close(&mut self, _: Fd, _: bool) {
        self.open = false;
        self.closed += 1;
    }
    fn now(&self) -> Instant {
        Instant::ZERO
    }
    fn take_counts(&mut self) -> Counts {
        Counts::default()
    }
}

fn bytes_of(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| u64::from(segment.len)).sum()
}

/// One masked frame.
pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let header = Header {
        compressed: false,
        fin: true,
        opcode,
        payload_len: payload.len() as u64,
        masking_key: Some(key),
    };
    let mut head = [0; HEADER_BYTES_MAX];
    let bytes = encode(&header, &mut head);
    let mut payload = payload.to_vec();
    mask::apply(&mut payload, Key::new(key));
    [&head[..bytes], &payload].concat()
}
