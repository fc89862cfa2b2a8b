//! A bare fan-out on Ringway's own ring: the floor with which a broadcast is compared.
//!
//! It has the worker's turn (multishot receives, buffers given back after the next enter, one silent send per connection
//! and turn). A frame is unmasked where it was received and sent from there to every connection. Nothing else is done: no
//! UTF-8, no topics, no bus, no timers, no accounting. It takes whole frames only, as the load driver sends them, of at
//! most 3 KiB. A connection whose peer does not read is dropped.
//!
//! `cargo run --release --example bare_fanout -- --port 9001 --cpuid 0`

#[path = "bare/listen.rs"]
mod listen;

use std::io::IoSlice;
use std::os::fd::AsRawFd;

use ringway::io::uring::{Options, Uring};
use ringway::io::{
    BufferId, ConnId, Fd, Follows, Io, Op, SEGMENTS_MAX, Segment, Token, Wait, Wake,
};
use ringway::proto::frame::{self, Compression, Header};
use ringway::proto::handshake::{Asked, Verdict, encode_verdict, parse_request};
use ringway::proto::http::{Date, Limits, Progress};
use ringway::proto::mask::{self, Key};

/// Whether a connection's opening handshake is done.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Head,
    Open,
}

struct Bare {
    io: Uring,
    listener: Fd,
    connections: Vec<Option<Phase>>,
    /// What every connection sends in this turn.
    segments: Vec<Segment>,
    held: Vec<BufferId>,
    ran_dry: bool,
    starved: Vec<u32>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = listen::listen(&listen::options())?;
    listener.set_nonblocking(true)?;
    let mut bare = Bare {
        io: Uring::new(&Options::default())?,
        listener: Fd(listener.as_raw_fd()),
        connections: Vec::new(),
        segments: Vec::new(),
        held: Vec::new(),
        ran_dry: false,
        starved: Vec::new(),
    };
    bare.io
        .submit_listen(Token::fixed(Op::Accept, 0), bare.listener, Wake::One);
    let mut done = Vec::new();
    loop {
        bare.turn(&mut done)?;
    }
}

impl Bare {
    fn turn(&mut self, done: &mut Vec<ringway::io::Completion>) -> Result<(), ringway::io::Error> {
        let wait = match self.held.len() > 128 || !self.starved.is_empty() {
            true => Wait::No,
            false => Wait::Forever,
        };
        self.io.turn(wait, done)?;
        // A connection whose send was taken only in part is closed.
        for completion in done.iter().filter(|done| done.token.op() == Op::Send) {
            let fd = Fd(completion.token.id().slot.cast_signed());
            self.io.shutdown(fd, std::net::Shutdown::Both);
        }
        self.io
            .replenish(&mut self.held, std::mem::take(&mut self.ran_dry));
        for fd in std::mem::take(&mut self.starved) {
            self.receive(fd);
        }
        for completion in done.drain(..) {
            self.handle(&completion);
        }
        for segments in self.segments.chunks(SEGMENTS_MAX) {
            for (fd, phase) in self.connections.iter().enumerate() {
                if *phase == Some(Phase::Open) {
                    let fd = u32::try_from(fd).unwrap_or(u32::MAX);
                    self.io
                        .submit_send(token(Op::Send, fd), Fd(fd.cast_signed()), segments);
                }
            }
        }
        self.segments.clear();
        Ok(())
    }

    fn handle(&mut self, completion: &ringway::io::Completion) {
        let slot = completion.token.id().slot;
        match (completion.token.op(), completion.result) {
            (Op::Accept, Ok(_)) => {
                while let Ok(Fd(fd)) = self.io.accept(self.listener) {
                    let fd = fd.cast_unsigned();
                    let len = self.connections.len().max(fd as usize + 1);
                    self.connections.resize_with(len, || None);
                    self.connections[fd as usize] = Some(Phase::Head);
                    self.receive(fd);
                }
                self.io
                    .submit_listen(Token::fixed(Op::Accept, 0), self.listener, Wake::One);
            }
            (Op::Recv, Ok(len @ 1..)) => {
                let Some(buffer) = completion.buffer else {
                    return;
                };
                self.held.push(buffer);
                match self.connections.get(slot as usize) {
                    Some(Some(Phase::Head)) => self.open(slot, buffer, len as usize),
                    Some(Some(Phase::Open)) => self.spread(buffer, len as usize),
                    _ => {}
                }
                if !completion.more {
                    self.receive(slot);
                }
            }
            (Op::Recv, Err(ringway::io::Errno(libc::ENOBUFS))) => {
                self.ran_dry = true;
                self.starved.push(slot);
            }
            (Op::Recv, _) => {
                self.connections[slot as usize] = None;
                self.io.close(Fd(slot.cast_signed()), false);
            }
            _ => {}
        }
    }

    /// Answers an opening handshake that came in one piece.
    fn open(&mut self, slot: u32, buffer: BufferId, len: usize) {
        let bytes = &self.io.buffer(buffer)[..len];
        let Ok(Progress::Complete {
            head: Asked::WebSocket(request),
            ..
        }) = parse_request(bytes, &Limits::default())
        else {
            panic!("this is no whole opening handshake");
        };
        let accept = Verdict::Accept {
            subprotocol: None,
            compression: None,
            headers: &[],
        };
        let mut answer = Vec::new();
        let date = Date::from_unix_s(0);
        encode_verdict(&request, &accept, &date, &mut answer).expect("nothing is chosen");
        let fd = Fd(slot.cast_signed());
        let parts = [IoSlice::new(&answer)];
        let sent = self.io.send(fd, &[], &parts, Follows::Nothing);
        assert_eq!(sent, Ok(answer.len()), "an empty socket takes it");
        self.connections[slot as usize] = Some(Phase::Open);
    }

    /// Makes the frames of a client frames of a server, one behind the other, for everybody.
    fn spread(&mut self, buffer: BufferId, len: usize) {
        let (bytes, _) = self.io.buffer_and_scratch(buffer);
        let (mut from, mut to) = (0, 0);
        while from < len {
            let decoded = frame::decode(&bytes[from..len], Compression::None);
            let Ok(Some((header, header_len))) = decoded else {
                panic!("this is no whole frame");
            };
            let payload_len = usize::try_from(header.payload_len).expect("below 4 KiB");
            let payload = from + header_len..from + header_len + payload_len;
            let key = header.masking_key.expect("a client masks");
            mask::apply(&mut bytes[payload.clone()], Key::new(key));
            let own = Header {
                masking_key: None,
                ..header
            };
            // Four bytes shorter, so it ends before the payload.
            to += frame::encode(&own, &mut bytes[to..payload.start]);
            bytes.copy_within(payload.clone(), to);
            (from, to) = (payload.end, to + payload.len());
        }
        self.segments.push(Segment {
            buffer,
            start: 0,
            len: u32::try_from(to).expect("a buffer of 4 KiB"),
        });
    }

    fn receive(&mut self, fd: u32) {
        self.io
            .submit_recv(token(Op::Recv, fd), Fd(fd.cast_signed()));
    }
}

fn token(op: Op, slot: u32) -> Token {
    Token::new(
        op,
        ConnId {
            slot,
            generation: 0,
        },
    )
}
