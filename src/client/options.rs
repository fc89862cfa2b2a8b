//! Limits and choices of a connection, each with its default.

use std::time::Duration;

use ringway_proto::deflate::Deflate;
use ringway_proto::{compression, handshake};

/// What a connection may do and hold, in either role. Change single fields of [`Options::default`].
///
/// ```
/// let mut options = ringway_client::Options::default();
/// options.message_bytes_max = 1 << 20;
/// options.ping_interval = Some(std::time::Duration::from_secs(30));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Bytes of payload in a message of the peer, after inflation; above it the connection fails with 1009. Default 16 MiB.
    pub message_bytes_max: u64,
    /// Bytes of payload in a frame of the peer; above it the connection fails with 1009. Default 16 MiB.
    pub frame_bytes_max: u64,
    /// While so many bytes or more wait to be written, a send waits. Default 128 KiB. One message may go beyond it.
    pub send_buffer_bytes: usize,
    /// Messages that are longer leave in frames of at most so many bytes of payload. Default: one frame per message. At
    /// least 1.
    pub fragment_bytes: Option<usize>,
    /// Compression (permessage-deflate): what a client offers, and what a server accepts. Default: none. The peer may
    /// decline. Out of its range, no connection opens. Without the feature `deflate` of this crate it has no effect.
    pub deflate: Option<Deflate>,
    /// Whether [`recv`](crate::WebSocket::recv) also returns Pings, which are answered already, and Pongs. Default: no.
    pub show_control: bool,
    /// After so long without a byte of the peer, a Ping is sent. Default: never. It works while the connection is
    /// polled: in `recv`, `send` or `close`, or, once it is [spawned](crate::WebSocket::spawn), while the receiver takes
    /// its messages.
    pub ping_interval: Option<Duration>,
    /// If nothing comes for so long after that Ping, the connection fails. Default 20 s.
    pub ping_timeout: Duration,
    /// Time for the closing handshake and the end of the TCP connection, from the first Close on. Default 5 s.
    pub close_timeout: Duration,
    /// Time for a whole opening: names, all addresses, proxy, TLS, redirects and the opening handshake. Default 30 s.
    pub open_timeout: Duration,
    /// Messages that wait in each direction between the handles of a connection ([`split`](crate::WebSocket::split)) and
    /// its task. Default 16; at least 1.
    pub handle_messages: usize,
    /// Bytes of the peer's head in the opening handshake. Default 64 KiB.
    pub head_bytes_max: usize,
    /// Header fields of that head. Default 256.
    pub headers_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        let head = handshake::Limits::RESPONSE;
        Self {
            message_bytes_max: 16 << 20,
            frame_bytes_max: 16 << 20,
            send_buffer_bytes: 128 << 10,
            fragment_bytes: None,
            deflate: None,
            show_control: false,
            ping_interval: None,
            ping_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(5),
            open_timeout: Duration::from_secs(30),
            handle_messages: 16,
            head_bytes_max: head.head_bytes_max,
            headers_max: head.headers_max,
        }
    }
}

impl Options {
    pub(crate) const fn limits(&self) -> ringway_proto::Limits {
        ringway_proto::Limits {
            frame_bytes_max: self.frame_bytes_max,
            message_bytes_max: self.message_bytes_max,
        }
    }

    pub(crate) const fn head_limits(&self) -> handshake::Limits {
        handshake::Limits {
            head_bytes_max: self.head_bytes_max,
            headers_max: self.headers_max,
        }
    }

    /// What is offered or accepted.
    ///
    /// # Errors
    /// [`Options::deflate`] is out of range.
    pub(crate) fn terms(&self) -> Result<compression::Terms, handshake::Misuse> {
        let deflate = self.deflate.filter(|_| cfg!(feature = "deflate"));
        if deflate.is_some_and(|deflate| !deflate.is_possible()) {
            return Err(handshake::Misuse::Compression);
        }
        Ok(compression::Terms {
            deflate: deflate.map(|deflate| deflate.terms()),
            ..compression::Terms::NONE
        })
    }
}
