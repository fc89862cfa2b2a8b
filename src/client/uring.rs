//! A TCP connection of the tokio-uring runtime as a stream of tokio: the kernel holds a buffer while it reads or writes, so
//! that buffer belongs to the operation, and bytes are copied between it and the caller's.
//!
//! ```text
//!  caller's buffer ◀── copy ── buffer of the read ◀── kernel         at most one read and one write are in flight,
//!  caller's bytes  ─── copy ─▶ buffer of the write ──▶ kernel        and both go on while nobody polls
//! ```
//!
//! Owns: the operations in flight, and what a read brought and nobody took. Never: knows frames.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_uring::BufResult;
use tokio_uring::net::TcpStream;

/// Bytes that one operation has at most.
const OPERATION_BYTES_MAX: usize = 64 << 10;

type Operation<T> = Pin<Box<dyn Future<Output = T>>>;

/// A TCP connection of tokio-uring, for [`accept`](crate::accept), [`Connector::handshake`](crate::Connector::handshake) and
/// [`WebSocket::after_handshake`](crate::WebSocket::after_handshake). It stays on the thread of its runtime: instead of
/// [`spawn`](crate::WebSocket::spawn), give the future of [`split`](crate::WebSocket::split) to `tokio_uring::spawn`.
///
/// While it waits for its peer, the kernel has a buffer of it: usually 8 KiB, and up to 64 KiB behind a long message. What
/// was written leaves also if nobody flushes; whether it could is told by the next write or flush.
///
/// # Panics
/// If it is used, or dropped while an operation is in flight, after the end of its runtime.
pub struct UringStream {
    tcp: Rc<TcpStream>,
    reading: Option<Operation<BufResult<usize, Vec<u8>>>>,
    /// What was read beyond the caller's buffer.
    received: Bytes,
    writing: Option<Operation<io::Result<()>>>,
}

impl UringStream {
    /// Of a connection that was opened or accepted.
    pub fn new(tcp: TcpStream) -> Self {
        Self {
            tcp: Rc::new(tcp),
            reading: None,
            received: Bytes::new(),
            writing: None,
        }
    }

    /// The TCP connection: for its options.
    pub fn get_ref(&self) -> &TcpStream {
        &self.tcp
    }

    /// Ready when no write is in flight: how the last one went.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writing) = &mut self.writing else {
            return Poll::Ready(Ok(()));
        };
        let result = ready!(writing.as_mut().poll(cx));
        self.writing = None;
        Poll::Ready(result)
    }
}

impl AsyncRead for UringStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.received.is_empty() && buf.remaining() > 0 {
            let reading = this.reading.get_or_insert_with(|| {
                let (tcp, room) = (Rc::clone(&this.tcp), buf.remaining());
                let own = Vec::with_capacity(room.min(OPERATION_BYTES_MAX));
                Box::pin(async move { tcp.read(own).await })
            });
            let (result, own) = ready!(reading.as_mut().poll(cx));
            this.reading = None;
            result?;
            this.received = own.into();
        }
        // A read that began for another buffer may have brought more than this one takes.
        let taken = this.received.len().min(buf.remaining());
        buf.put_slice(&this.received[..taken]);
        this.received.advance(taken);
        if this.received.is_empty() {
            this.received = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UringStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_written(cx))?;
        let mut own = Vec::new();
        for buf in bufs {
            let room = OPERATION_BYTES_MAX - own.len();
            own.extend_from_slice(&buf[..buf.len().min(room)]);
        }
        let taken = own.len();
        if taken > 0 {
            let tcp = Rc::clone(&self.tcp);
            self.writing = Some(Box::pin(async move { tcp.write_all(own).await.0 }));
            // It begins when it is polled.
            if let Poll::Ready(result) = self.poll_written(cx) {
                result?;
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(cx))?;
        Poll::Ready(self.tcp.shutdown(Shutdown::Write))
    }
}

impl Drop for UringStream {
    /// An operation in flight keeps the socket open, and may wait for ever: this ends it.
    fn drop(&mut self) {
        if self.reading.is_some() || self.writing.is_some() {
            // Refused only if the connection has ended already.
            let _ = self.tcp.shutdown(Shutdown::Both);
        }
    }
}

impl fmt::Debug for UringStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringStream")
            .field("is_reading", &self.reading.is_some())
            .field("is_writing", &self.writing.is_some())
            .finish_non_exhaustive()
    }
}
