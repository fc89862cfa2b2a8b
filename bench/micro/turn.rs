//! What a worker's turn costs without the kernel: one connection, one receive of so many masked frames, their echo.
//!
//! The kernel is played by [`Replay`], which hands out the same receive again and again. Its copy of the frames into the
//! buffer is measured with the turn: a few nanoseconds for each.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringway::app::Echo;
use ringway::conn::{Config, Listener, Worker};
use ringway::io::{
    BufferId, Completion, Counts, Dial, Errno, Error, Fd, HOT_OCTETS, Io, ReceiveMode,
    SCRATCH_OCTETS, Segment, Token, Wait, Wake,
};
use ringway::proto::frame::{HEADER_OCTETS_MAX, Header, encode};
use ringway::proto::mask::{self, Key};
use ringway::proto::{Kind, handshake};
use ringway::time::Instant;

/// A kernel that says the same thing in every turn.
struct Replay {
    octets: Vec<u8>,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    accept: Option<Token>,
    accepted: bool,
    recv: Option<Token>,
    sent: u64,
}

impl Replay {
    fn new() -> Self {
        let mut octets = Vec::new();
        let request = handshake::ClientRequest::new("bench", "/", [7; 16]);
        handshake::encode_request(&request, &mut octets).expect("a valid request");
        Self {
            octets,
            buffer: vec![0; HOT_OCTETS],
            scratch: vec![0; SCRATCH_OCTETS],
            accept: None,
            accepted: false,
            recv: None,
            sent: 0,
        }
    }
}

fn completion(token: Token, result: u32, buffer: Option<BufferId>) -> Completion {
    Completion {
        token,
        result: Ok(result),
        buffer,
        more: buffer.is_some(),
    }
}

impl Io for Replay {
    fn receive_mode(&self) -> ReceiveMode {
        ReceiveMode::Buffers
    }
    fn submit_listen(&mut self, token: Token, _: Fd, _: Wake) {
        // The first is the only one.
        if self.recv.is_none() {
            self.accept = Some(token);
        }
    }
    fn accept(&mut self, _: Fd) -> Result<Fd, Errno> {
        match self.accepted {
            true => Err(Errno(libc::EAGAIN)),
            false => {
                self.accepted = true;
                Ok(Fd(4))
            }
        }
    }
    fn unsent(&mut self, _: Fd) -> usize {
        0
    }
    fn refill_hot(&mut self, _: &[u8]) {}
    fn has_waiting(&mut self, _: Fd) -> bool {
        false
    }
    fn connect(&mut self, _: &Dial) -> Result<Fd, Errno> {
        Err(Errno(libc::ENETUNREACH))
    }
    fn connect_result(&mut self, _: Fd) -> Result<(), Errno> {
        Ok(())
    }
    fn share(&mut self, _: Arc<[u8]>) -> Option<BufferId> {
        None
    }
    fn submit_recv(&mut self, token: Token, _: Fd) {
        self.recv = Some(token);
    }
    fn submit_poll_in(&mut self, _: Token, _: Fd) {}
    fn submit_poll_out(&mut self, _: Token, _: Fd) {}
    fn submit_cancel(&mut self, _: Token, _: Fd) {}
    fn submit_send(&mut self, _: Token, _: Fd, segments: &[Segment]) {
        self.sent += segments
            .iter()
            .map(|segment| u64::from(segment.len))
            .sum::<u64>();
    }
    fn turn(&mut self, _: Wait, done: &mut Vec<Completion>) -> Result<(), Error> {
        if let Some(token) = self.accept.take() {
            done.push(completion(token, 5, None));
        } else if let Some(token) = self.recv {
            self.buffer[..self.octets.len()].copy_from_slice(&self.octets);
            let len = u32::try_from(self.octets.len()).expect("a receive is short");
            done.push(completion(token, len, Some(BufferId(0))));
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
    fn recv(&mut self, _: Fd, _: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno(libc::EAGAIN))
    }
    fn recv_hot(&mut self, _: Fd, _: usize) -> Result<usize, Errno> {
        Err(Errno(libc::EAGAIN))
    }
    fn send(&mut self, _: Fd, segments: &[Segment], _: &[IoSlice<'_>]) -> Result<usize, Errno> {
        Ok(segments.iter().map(|segment| segment.len as usize).sum())
    }
    fn shutdown(&mut self, _: Fd, _: std::net::Shutdown) {}
    fn close(&mut self, _: Fd, _: bool) {}
    fn now(&self) -> Instant {
        Instant::ZERO
    }
    fn take_counts(&mut self) -> Counts {
        Counts::default()
    }
}

/// `count` masked text frames of `len` octets.
fn frames(count: usize, len: usize) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let header = Header {
        fin: true,
        opcode: Kind::Text.opcode(),
        payload_len: len as u64,
        masking_key: Some(key),
    };
    let mut head = [0; HEADER_OCTETS_MAX];
    let octets = encode(&header, &mut head);
    let mut payload = vec![b'r'; len];
    mask::apply(&mut payload, Key::new(key));
    [&head[..octets], &payload].concat().repeat(count)
}

fn turns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    for (count, len) in [
        (1, 20),
        (16, 20),
        (64, 20),
        (1, 125),
        (16, 125),
        (1, 1024),
        (3, 1024),
    ] {
        let mut worker = Worker::new(
            Replay::new(),
            Echo,
            Config::default(),
            Listener::new(Fd(3), None),
        );
        let mut turn = || {
            worker
                .turn(Some(Duration::ZERO))
                .expect("a replay never fails")
        };
        // Accept, then the opening handshake.
        turn();
        turn();
        let io = worker.io_mut();
        io.octets = frames(count, len);
        io.sent = 0;
        worker
            .turn(Some(Duration::ZERO))
            .expect("a replay never fails");
        let answer = count * (len + if len < 126 { 2 } else { 4 });
        assert_eq!(worker.io().sent, answer as u64, "every frame is answered");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new(format!("{count} x"), len), |bencher| {
            bencher.iter(|| worker.turn(Some(Duration::ZERO)));
        });
    }
    group.finish();
}

criterion_group!(benches, turns);
criterion_main!(benches);
