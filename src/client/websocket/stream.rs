//! The traits [`Stream`] and [`Sink`]. Both halves of `futures_util::StreamExt::split` may be in tasks of their own.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::FusedStream;
use futures_sink::Sink;
use ringway_proto::CloseCode;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Phase, WebSocket};
use crate::error::Error;
use crate::message::Message;

/// Messages, as [`WebSocket::recv`] returns them.
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx).map(Result::transpose)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for WebSocket<S> {
    fn is_terminated(&self) -> bool {
        self.phase == Phase::Done && self.ahead.is_none() && self.failure.is_none()
    }
}

/// Messages are taken while fewer than [`Options::send_buffer_bytes`](crate::Options::send_buffer_bytes) wait. Closing
/// the sink sends a Close with 1000; the stream then gives what the peer still sends, and ends.
impl<S: AsyncRead + AsyncWrite + Unpin, M: Into<Message>> Sink<M> for WebSocket<S> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_send_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: M) -> Result<(), Error> {
        self.queue(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_send_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.start_close(CloseCode::NormalClosure, "")?;
        self.poll_send_flush(cx)
    }
}
