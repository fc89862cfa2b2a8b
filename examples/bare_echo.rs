//! A bare TCP echo on Ringway's own ring: the floor with which the WebSocket server is compared.
//!
//! It has the worker's turn (multishot receives, buffers given back after the next enter, one silent send per connection
//! and turn), and nothing else: no protocol, no timers, no accounting. A connection whose peer does not read is dropped.
//!
//! `cargo run --release --example bare_echo -- --port 9001 --cpuid 0`

#[path = "bare/listen.rs"]
mod listen;

use std::os::fd::AsRawFd;

use ringway::io::uring::{Options, Uring};
use ringway::io::{BufferId, ConnId, Fd, Io, Op, SEGMENTS_MAX, Segment, Token, Wait, Wake};

/// Segments that one connection sends in this turn.
#[derive(Default)]
struct Connection {
    segments: Vec<Segment>,
}

struct Bare {
    io: Uring,
    listener: Fd,
    connections: Vec<Option<Connection>>,
    dirty: Vec<u32>,
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
        dirty: Vec::new(),
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
        for fd in std::mem::take(&mut self.dirty) {
            let Some(Some(connection)) = self.connections.get_mut(fd as usize) else {
                continue;
            };
            for segments in connection.segments.chunks(SEGMENTS_MAX) {
                self.io
                    .submit_send(token(Op::Send, fd), Fd(fd.cast_signed()), segments);
            }
            connection.segments.clear();
        }
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
                    self.connections[fd as usize] = Some(Connection::default());
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
                if let Some(Some(connection)) = self.connections.get_mut(slot as usize) {
                    if connection.segments.is_empty() {
                        self.dirty.push(slot);
                    }
                    connection.segments.push(Segment {
                        buffer,
                        start: 0,
                        len,
                    });
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
