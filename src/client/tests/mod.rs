//! Two endpoints in memory: whatever their stream splits, whenever a future is dropped.
#![allow(
    clippy::field_reassign_with_default,
    reason = "as callers outside of the crate have to write it"
)]

mod basics;
mod bounds;
mod cancelling;
mod chunks;
mod closing;
mod examples;
#[cfg(feature = "http")]
mod frameworks;
mod memory;
mod opening;
mod pings;
mod reconnecting;
mod splitting;
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
mod uring;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};

use crate::websocket::Opened;
use crate::{Message, Options, Role, WebSocket};
use ringway_proto::compression::{Agreed, Terms, accept, encode_offers};
use ringway_proto::handshake::extensions;

type End = WebSocket<DuplexStream>;

/// Bytes that the streams of the tests hold: a write and a read of at most so many.
const ROOMS: [usize; 6] = [1, 2, 7, 64, 1000, 100_000];

/// A client and a server after their handshake, on a stream that holds so many bytes.
fn pair(room: usize, options: Options) -> (End, End) {
    let (near, far) = duplex(room);
    let end = |io, role| {
        let opened = Opened {
            compression: agreed(&options),
            ..Opened::default()
        };
        WebSocket::opened(io, role, opened, options)
    };
    (end(near, Role::Client), end(far, Role::Server))
}

fn agreed(options: &Options) -> Option<Agreed> {
    let terms = options.terms().expect("in range");
    if terms == Terms::NONE {
        return None;
    }
    let mut offer = Vec::new();
    encode_offers(&terms, &mut offer);
    let offer = offer.strip_prefix(b"Sec-WebSocket-Extensions: ")?;
    let offer = offer.strip_suffix(b"\r\n")?;
    let (agreed, _) = accept(&terms, extensions(offer).filter_map(Result::ok))?;
    Some(agreed)
}

/// Messages of all lengths in which headers and buffers differ.
fn messages() -> Vec<Message> {
    let lengths = [
        0, 1, 5, 125, 126, 300, 1100, 4095, 4096, 8192, 9000, 65_535, 65_536, 150_000,
    ];
    let mut all = Vec::new();
    for (n, length) in lengths.into_iter().enumerate() {
        let text: String = "añ→𝄞".chars().cycle().skip(n).take(length / 3).collect();
        all.push(Message::from(text));
        let byte = |at: usize| (at + n).to_le_bytes()[0];
        all.push(Message::from((0..length).map(byte).collect::<Vec<_>>()));
    }
    all
}

/// Short ones, for tests that cancel often.
fn few_messages() -> Vec<Message> {
    messages()
        .into_iter()
        .filter(|message| message.len() <= 300)
        .collect()
}

/// Receives until the connection is closed.
async fn all<S: AsyncRead + AsyncWrite + Unpin>(websocket: &mut WebSocket<S>) -> Vec<Message> {
    let mut seen = Vec::new();
    while let Some(message) = websocket.recv().await.expect("a good connection") {
        seen.push(message);
    }
    seen
}

/// Where futures are dropped.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// At each n-th Pending.
    Every(usize),
    /// Once in the whole run, at the n-th Pending.
    Once(usize),
}

/// Drops futures, and counts how often they were pending.
#[derive(Debug)]
struct Cuts {
    cut: Cut,
    pendings: usize,
}

impl Cuts {
    fn new(cut: Cut) -> Self {
        Self { cut, pendings: 0 }
    }

    /// What the future returns; `None` if it was dropped before. Then others run before the caller goes on.
    async fn run<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let output = self.run_until_cut(future).await;
        if output.is_none() {
            tokio::task::yield_now().await;
        }
        output
    }

    async fn run_until_cut<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => {
                self.pendings += 1;
                let is_cut = match self.cut {
                    Cut::Every(n) => self.pendings.is_multiple_of(n),
                    Cut::Once(n) => self.pendings == n,
                };
                match is_cut {
                    true => Poll::Ready(None),
                    false => Poll::Pending,
                }
            }
        })
        .await
    }
}

/// Runs a test with every way to drop futures: at each 1st, 2nd, 3rd … Pending, and once at each Pending of the run.
/// `test` returns how often futures were pending.
async fn with_all_cuts(test: impl AsyncFn(Cut) -> usize) {
    for n in [1, 2, 3, 5, 8] {
        test(Cut::Every(n)).await;
    }
    let mut n = 1;
    while test(Cut::Once(n)).await >= n {
        n += 1;
    }
    assert!(n > 3, "there was something to drop: {n}");
}

/// The stream's bytes, as a peer that is no library of ours would see them.
fn raw(role: Role, options: Options) -> (End, DuplexStream) {
    let (near, far) = duplex(1 << 20);
    let websocket = WebSocket::after_handshake(near, role, BytesMut::new(), options);
    (websocket, far)
}
