//! The cost of a worker's turn without the kernel: one connection, one receive with several masked frames, and their
//! echo.
//!
//! [`Replay`] plays the kernel, and delivers the same receive again and again. Its copy of the frames into the buffer is
//! included: a few ns for each. `instructions.rs` counts the instructions of the same turns.

#[expect(dead_code, reason = "`instructions.rs` needs more of it")]
mod replay;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use replay::{Replay, Then};
use ringway::io::{Fd, ReceiveMode};
use ringway::proto::Opcode;
use ringway::services::Echo;
use ringway::worker::{Config, Listener, Worker};

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
        let frames = replay::frame(Opcode::Text, &vec![b'r'; len]).repeat(count);
        let io = Replay::new(None, ReceiveMode::Buffers, vec![frames], Then::Repeat);
        let listener = Listener::new(Fd(3), None);
        let mut worker = Worker::new(io, Echo::default(), Config::default(), listener);
        let mut turn = || {
            worker
                .turn(Some(Duration::ZERO))
                .expect("a replay never fails")
        };
        // Accept, then the opening handshake.
        turn();
        turn();
        let before = worker.io().sent;
        worker
            .turn(Some(Duration::ZERO))
            .expect("a replay never fails");
        let answer = count * (len + if len < 126 { 2 } else { 4 });
        assert_eq!(
            worker.io().sent - before,
            answer as u64,
            "every frame is answered"
        );
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new(format!("{count} x"), len), |bencher| {
            bencher.iter(|| worker.turn(Some(Duration::ZERO)));
        });
    }
    group.finish();
}

criterion_group!(benches, turns);
criterion_main!(benches);
