//! Limits and timeouts of a worker's connections.

use std::num::NonZero;
use std::time::Duration;

use super::keys::Masking;
use super::raw::Relay;
use super::rules::OpeningRules;
use super::visitors::AddressLimits;
use super::windowless::Compressions;
use crate::proto::bzip2::Bzip2;
use crate::proto::deflate::Deflate;
use crate::proto::snappy::Snappy;
use crate::proto::{Limits, handshake};
use crate::tls::TlsServer;

/// What one worker allows its peers. A connection holds at most `message_limits.message_bytes_max` while a message is
/// assembled, plus `send_queue_bytes_max` and what one turn adds to the queue, plus `head_limits.head_bytes_max` during
/// the opening handshake. Under TLS it holds up to 32 KiB of a record that has not arrived whole, and up to 64 KiB of a
/// handshake.
#[derive(Clone, Debug)]
pub struct Config {
    /// Open WebSockets of this worker, and of all workers on its [board](crate::io::board) together. A further client
    /// gets 503. Default: no limit but descriptors.
    pub connections_max: usize,
    /// Limits of one address. A connection above them is reset if its peer is the client, and answered 429 if a proxy
    /// names the client. Default: none.
    pub address_limits: AddressLimits,
    /// Bytes of a frame and of a message. A peer that sends more is closed with 1009.
    pub message_limits: Limits,
    /// Size of the head of an opening handshake. A client that sends more gets 431.
    pub head_limits: handshake::Limits,
    /// What holds for opening handshakes of clients.
    pub opening: OpeningRules,
    /// Time from the accept, or from the start of a connect, to the end of the opening handshake. Default 5 s.
    pub handshake_timeout: Duration,
    /// Time without a byte from the peer after which the connection is closed with 1001. Time in which reading is
    /// paused does not count. Default: never.
    pub idle_timeout: Option<Duration>,
    /// Time of the peer's silence after which a Ping is sent. Time in which reading is paused does not count. Default:
    /// never.
    pub ping_interval: Option<Duration>,
    /// Time of silence after a Ping; then the connection is reset. Default: as long as `ping_interval`.
    pub ping_timeout: Option<Duration>,
    /// Payload bytes of the longest data frame that is sent; a longer message leaves in several. Such a message is copied
    /// once more. Prepared messages leave as they were prepared. Default: a frame has any length.
    pub fragment_bytes_max: Option<usize>,
    /// Time that the peer has to answer our Close, and to end its side after we ended ours. It starts anew whenever the
    /// peer takes some of the bytes queued for it. Default 10 s.
    pub close_timeout: Duration,
    /// What a Close of the peer is answered with. Default: its code.
    pub close_answer: CloseAnswer,
    /// How a peer that broke the protocol is failed. Default: with a Close.
    pub on_violation: OnViolation,
    /// Time for which a peer may take none of the bytes queued for it; then the connection is reset. A peer that reads
    /// slowly stays. Default 1 min.
    pub write_timeout: Option<Duration>,
    /// Bytes queued for a peer above which messages to it are refused, and reading from it stops until half of them are
    /// sent. Reading from a server goes on, because two sides that both stop reading would wait for ever. Default 1
    /// MiB.
    pub send_queue_bytes_max: usize,
    /// Compression of messages, for clients that offer it. Default: none.
    pub deflate: Option<Deflate>,
    /// A log of frames (`tracing`, level INFO). Default: none.
    pub frame_logging: Option<FrameLogging>,
    /// permessage-snappy, for clients that offer it. Default: none. Without the feature `snappy` it is not agreed to.
    pub snappy: Option<Snappy>,
    /// permessage-bzip2, for clients that offer it. Default: none. Without the feature `bzip2` it is not agreed to.
    pub bzip2: Option<Bzip2>,
    /// Limits of services, in the order of [`Services`](crate::services::Services). Only `message_limits`, the timeouts
    /// of an open connection, `ping_interval`, `fragment_bytes_max`, `send_queue_bytes_max`, `close_answer`, `on_violation`, `deflate`,
    /// `snappy` and `bzip2` of each are used. Default: none, so the limits of this value hold for every connection.
    pub services: Vec<Self>,
    /// TLS on accepted connections. Default: none.
    pub tls: Option<TlsServer>,
    /// Where requests go that open no WebSocket. Default: [`App::request`](super::App::request) answers them.
    pub relay: Option<Relay>,
    /// Source of masking keys and handshake nonces, for connections in the client's role. Default: the system's
    /// randomness.
    pub masking: Masking,
}

/// Whose frames are logged, and how much of them. A worker looks at 64 connections at a time at most, and writes 1,000 lines a
/// second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLogging {
    /// One connection in so many, counted as they open.
    pub every: NonZero<u32>,
    /// Payload bytes that are shown of a frame, up to 64. They may be somebody's secrets.
    pub payload_bytes_max: usize,
}

/// What a Close of the peer is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseAnswer {
    /// Its code.
    Code,
    /// Its code and its reason.
    CodeAndReason,
}

/// How a peer that broke the protocol is failed (RFC 6455 §7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnViolation {
    /// A Close with the code and the reason, then the end of the connection.
    Close,
    /// A reset.
    Reset,
}

impl Config {
    /// Time of silence after a Ping after which the connection is reset.
    pub(crate) fn pong_timeout(&self, ping_interval: Duration) -> Duration {
        self.ping_timeout.unwrap_or(ping_interval)
    }

    /// How messages are compressed, by extension.
    pub(crate) const fn compressions(&self) -> Compressions {
        Compressions {
            deflate: self.deflate,
            snappy: self.snappy,
            bzip2: self.bzip2,
        }
    }

    /// The limits that hold for connections of a service.
    #[inline]
    pub(crate) fn of(&self, service: u16) -> &Self {
        self.services.get(usize::from(service)).unwrap_or(self)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connections_max: usize::MAX,
            address_limits: AddressLimits::default(),
            message_limits: Limits::default(),
            head_limits: handshake::Limits::default(),
            opening: OpeningRules::default(),
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: None,
            ping_interval: None,
            ping_timeout: None,
            fragment_bytes_max: None,
            close_timeout: Duration::from_secs(10),
            close_answer: CloseAnswer::Code,
            on_violation: OnViolation::Close,
            write_timeout: Some(Duration::from_secs(60)),
            send_queue_bytes_max: 1 << 20,
            deflate: None,
            frame_logging: None,
            snappy: None,
            bzip2: None,
            services: Vec::new(),
            tls: None,
            relay: None,
            masking: Masking::System,
        }
    }
}
