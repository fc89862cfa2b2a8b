//! What waits to be written: frames in order, small ones joined, large payloads where they lie.
//!
//! Owns: the bytes that were accepted and not yet written. Never: decides what is sent, or how much may wait.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use ringway_proto::mask::{self, Key};
use tokio::io::AsyncWrite;

use crate::block;

/// A payload of so many bytes or more is not joined with its neighbours: it is written from where it lies.
const APART_BYTES_MIN: usize = 4096;

/// Segments of one write.
const SEGMENTS_MAX: usize = 16;

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Frames and pieces of frames that are finished.
    segments: VecDeque<Bytes>,
    /// What follows them.
    tail: BytesMut,
    /// Bytes in both.
    waiting: usize,
    /// Bytes were written and the stream was not flushed since. TLS keeps some until then.
    unflushed: bool,
}

impl Outbox {
    /// Bytes that wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Appends bytes as they are.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.tail.capacity() == 0 {
            self.tail = block::take();
        }
        self.tail.extend_from_slice(bytes);
        self.waiting += bytes.len();
    }

    /// Appends a payload, masked if there is a key. A large one is masked where it lies if nobody else holds it.
    pub(crate) fn push_payload(&mut self, payload: Bytes, key: Option<[u8; 4]>) {
        if payload.len() < APART_BYTES_MIN {
            let at = self.tail.len();
            self.push(&payload);
            if let Some(key) = key {
                mask::apply(&mut self.tail[at..], Key::new(key));
            }
            return;
        }
        self.waiting += payload.len();
        let payload = match key {
            None => payload,
            Some(key) => {
                let mut own = payload
                    .try_into_mut()
                    .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                mask::apply(&mut own, Key::new(key));
                own.freeze()
            }
        };
        if !self.tail.is_empty() {
            self.segments.push_back(self.tail.split().freeze());
        }
        self.segments.push_back(payload);
    }

    /// Forgets all that waits.
    pub(crate) fn clear(&mut self) {
        let this = std::mem::take(self);
        drop(this.segments); // the tail may have been one with them
        block::give(this.tail);
    }

    /// Writes all that waits, and flushes the stream. The memory is given back at the end.
    pub(crate) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
    ) -> Poll<io::Result<()>> {
        while self.waiting > 0 {
            let written = ready!(self.poll_write(cx, io))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.clear();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        io: &mut S,
    ) -> Poll<io::Result<usize>> {
        if self.segments.is_empty() {
            return Pin::new(io).poll_write(cx, &self.tail);
        }
        let mut slices = [IoSlice::new(&[]); SEGMENTS_MAX];
        let waiting = self.segments.iter().map(|segment| &segment[..]);
        let waiting = waiting.chain([&self.tail[..]]);
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        Pin::new(io).poll_write_vectored(cx, &slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        self.waiting -= written;
        while let Some(first) = self.segments.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.segments.pop_front();
        }
        self.tail.advance(written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt as _;

    #[test]
    fn a_large_payload_stays_where_it_lies_unless_it_is_shared_and_masked() {
        let shared = Bytes::from(vec![3; APART_BYTES_MIN]);
        let own = Bytes::from(vec![3; APART_BYTES_MIN]);
        let own_lies_at = own.as_ptr();
        let mut outbox = Outbox::default();
        outbox.push_payload(shared.clone(), None);
        outbox.push_payload(shared.clone(), Some([1; 4]));
        outbox.push_payload(own, Some([1; 4]));
        let places: Vec<_> = outbox.segments.iter().map(|one| one.as_ptr()).collect();
        assert_eq!([places[0], places[2]], [shared.as_ptr(), own_lies_at]);
        assert_ne!(places[1], shared.as_ptr());
    }

    #[tokio::test]
    async fn bytes_leave_in_order_whatever_the_stream_takes() {
        for room in [1, 2, 7, 64, 5000] {
            let (mut near, mut far) = tokio::io::duplex(room);
            let mut outbox = Outbox::default();
            let large = Bytes::from(vec![3; APART_BYTES_MIN]);
            outbox.push(&[1, 1]);
            outbox.push_payload(Bytes::from_static(&[2; 3]), None);
            outbox.push_payload(large.clone(), None);
            outbox.push_payload(large.clone(), Some([1, 1, 1, 1]));
            outbox.push_payload(Bytes::from_static(&[5; 9]), Some([1, 1, 1, 1]));
            assert_eq!(outbox.waiting(), 2 + 3 + 2 * APART_BYTES_MIN + 9);
            let reader = tokio::spawn(async move {
                let mut seen = Vec::new();
                far.read_to_end(&mut seen).await.map(|_| seen)
            });
            let flushed = poll_fn(|cx| outbox.poll_flush(cx, &mut near)).await;
            flushed.expect("open");
            drop(near);
            let seen = reader.await.expect("no panic").expect("open");
            let runs: Vec<(u8, usize)> = seen
                .chunk_by(|a, b| a == b)
                .map(|run| (run[0], run.len()))
                .collect();
            let n = APART_BYTES_MIN;
            assert_eq!(runs, [(1, 2), (2, 3), (3, n), (2, n), (4, 9)]);
            assert_eq!(
                large[..],
                [3; APART_BYTES_MIN],
                "what is shared is not changed"
            );
            assert_eq!(outbox.tail.capacity() + outbox.segments.capacity(), 0);
        }
    }
}
