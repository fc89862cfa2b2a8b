//! The cost of the pure functions of `proto`: `cargo bench --bench proto` (add `-- --quick` for a first look).
//!
//! Unmasking works in place and is its own inverse, so all iterations use one buffer: each undoes the one before. The
//! masking key is ASCII, so that ASCII text stays ASCII.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringway::proto::frame::{self, Header};
use ringway::proto::{Event, Input, Limits, Opcode, Receiver, Role, mask, utf8};

const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// 16 payloads in a row, as in a receive buffer. With a single one, the loads of each call would wait for the stores of
/// the call before, and that is what would be measured.
fn mask_apply(c: &mut Criterion) {
    const COUNT: usize = 16;
    let mut group = c.benchmark_group("mask");
    for len in [3, 16, 20, 64, 125, 256, 1024, 16 * 1024, 64 * 1024] {
        let mut buf = vec![b'a'; (len + 8) * COUNT];
        group.throughput(Throughput::Bytes((len * COUNT) as u64));
        // A payload begins 6, 8 or 14 bytes behind the beginning of its frame, which may be anywhere: it is rarely
        // aligned.
        for (name, gap) in [("aligned", 8 - len % 8), ("unaligned", 5)] {
            group.bench_function(BenchmarkId::new(format!("16 x {name}"), len), |b| {
                b.iter(|| {
                    for payload in buf.chunks_exact_mut(len + gap).take(COUNT) {
                        black_box(mask::apply(
                            black_box(&mut payload[..len]),
                            black_box(mask::Key::new(KEY)),
                        ));
                    }
                });
            });
        }
    }
}

fn utf8_validate(c: &mut Criterion) {
    let mut group = c.benchmark_group("utf8");
    for len in [20, 60, 125, 250, 1024, 16 * 1024] {
        group.throughput(Throughput::Bytes(len as u64));
        for (name, unit) in [("ascii", "Hello, World! "), ("mixed", "κόσμε — 👋🏽 ok ")]
        {
            let mut text = unit.repeat(len / unit.len() + 1);
            text.truncate(text.floor_char_boundary(len));
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter(|| utf8::validate(black_box(text.as_bytes())));
            });
        }
    }
}

/// `count` frames of one kind, as a client or a server sends them.
fn frames(opcode: Opcode, count: usize, payload: &[u8], masking_key: Option<[u8; 4]>) -> Vec<u8> {
    let header = Header {
        compressed: false,
        fin: true,
        opcode,
        payload_len: payload.len() as u64,
        masking_key,
    };
    let mut one = vec![0; frame::encoded_bytes(header.payload_len, masking_key.is_some())];
    frame::encode(&header, &mut one);
    let body = one.len();
    one.extend_from_slice(payload);
    if let Some(key) = masking_key {
        mask::apply(&mut one[body..], mask::Key::new(key));
    }
    one.repeat(count)
}

/// Reads every message of `input` as an echo does.
fn drain(receiver: &mut Receiver, input: &mut [u8]) -> usize {
    let mut input = Input::new(input);
    let mut bytes = 0;
    while let Ok(Some(event)) = receiver.poll_event(&mut input) {
        let Event::Message(message) = event else {
            unreachable!("the input holds messages in one frame each");
        };
        let (buf, room_at, payload) = message.into_parts();
        bytes += payload.len();
        black_box(&mut buf[room_at]); // where an echo writes its header
    }
    bytes
}

fn receiver(c: &mut Criterion) {
    let mut group = c.benchmark_group("receiver");
    let large = vec![b'a'; 16 * 1024];
    let cases: [(&str, Role, u64, Vec<u8>); 6] = [
        (
            "16 x 20 masked text",
            Role::Server,
            16,
            frames(Opcode::Text, 16, b"twenty bytes of txt", Some(KEY)),
        ),
        (
            "16 x 20 masked binary",
            Role::Server,
            16,
            frames(Opcode::Binary, 16, b"twenty bytes of bin", Some(KEY)),
        ),
        (
            "16 x 20 unmasked text",
            Role::Client,
            16,
            frames(Opcode::Text, 16, b"twenty bytes of txt", None),
        ),
        (
            "1 x 20 masked text",
            Role::Server,
            1,
            frames(Opcode::Text, 1, b"twenty bytes of txt", Some(KEY)),
        ),
        (
            "1 x 16 KiB masked text",
            Role::Server,
            1,
            frames(Opcode::Text, 1, &large, Some(KEY)),
        ),
        (
            "1 x 16 KiB unmasked binary",
            Role::Client,
            1,
            frames(Opcode::Binary, 1, &large, None),
        ),
    ];
    for (name, role, count, mut wire) in cases {
        group.throughput(Throughput::Elements(count));
        let mut receiver = Receiver::new(role, Limits::default());
        group.bench_function(name, |b| {
            b.iter(|| drain(black_box(&mut receiver), black_box(&mut wire)));
        });
    }
}

fn header(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    for payload_len in [20, 1024, 1 << 20] {
        let header = Header {
            compressed: false,
            fin: true,
            opcode: Opcode::Text,
            payload_len,
            masking_key: None,
        };
        let mut out = [0; frame::HEADER_BYTES_MAX];
        group.bench_function(BenchmarkId::new("encode", payload_len), |b| {
            b.iter(|| frame::encode(black_box(&header), black_box(&mut out)));
        });
        let bytes = frame::encode(&header, &mut out);
        group.bench_function(BenchmarkId::new("decode", payload_len), |b| {
            b.iter(|| frame::decode(black_box(&out[..bytes]), frame::Compression::None));
        });
    }
}

criterion_group!(benches, mask_apply, utf8_validate, receiver, header);
criterion_main!(benches);
