//! The limits of connections that a server and each of its services may have of their own.

use std::time::Duration;

use super::ServerOptions;
use crate::proto::bzip2::Bzip2;
use crate::proto::deflate::Deflate;
use crate::proto::snappy::Snappy;

/// Limits of the connections of a server or of one of its services. A limit that is `None` is the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Payload bytes of the longest message accepted; beyond it, 1009. Default 16 MiB.
    pub message_bytes_max: Option<usize>,
    /// Payload bytes of the longest frame accepted; beyond it, 1009. Default: `message_bytes_max`.
    pub frame_bytes_max: Option<usize>,
    /// Bytes queued for a peer above which reading from it pauses, and messages to it are refused. Default 1 MiB.
    pub send_queue_bytes_max: Option<usize>,
    /// Time for which a peer may take none of the bytes queued for it; then its connection is reset. Default 1 min.
    pub write_timeout: Option<Duration>,
    /// Time of a peer's silence after which its connection is closed with 1001. Default: never.
    pub idle_timeout: Option<Duration>,
    /// Time of a peer's silence after which it gets a Ping. Default: never.
    pub ping_interval: Option<Duration>,
    /// Time of silence after a Ping after which its connection is reset. Default: as long as `ping_interval`.
    pub ping_timeout: Option<Duration>,
    /// Payload bytes of the longest data frame that is sent; a longer message leaves in several, unless it was prepared.
    /// Default: no limit.
    pub fragment_bytes_max: Option<usize>,
    /// Time that a peer has to answer a Close, and then to close its side. Default 10 s.
    pub close_timeout: Option<Duration>,
    /// Whether a Close of the peer is answered with its reason too. Default: with its code alone.
    pub echo_close_reason: Option<bool>,
    /// Whether a peer that broke the protocol is reset. Default: it gets a Close with the reason.
    pub fail_by_drop: Option<bool>,
    /// Compression of messages, for clients that offer permessage-deflate. Default: none.
    pub deflate: Option<Deflate>,
    /// The same, for clients that offer permessage-snappy. Default: none. It needs the feature `snappy`.
    pub snappy: Option<Snappy>,
    /// The same, for clients that offer permessage-bzip2. Default: none. It needs the feature `bzip2`.
    pub bzip2: Option<Bzip2>,
}

impl Limits {
    /// Replaces the options of a server for which these limits have a value.
    pub fn apply_to(&self, options: &mut ServerOptions) {
        if let Some(bytes) = self.message_bytes_max {
            options.max_message = bytes;
            options.max_frame = bytes;
        }
        if let Some(bytes) = self.frame_bytes_max {
            options.max_frame = bytes.min(options.max_message);
        }
        options.send_queue = self.send_queue_bytes_max.unwrap_or(options.send_queue);
        options.write_timeout = self.write_timeout.or(options.write_timeout);
        options.idle_timeout = self.idle_timeout.or(options.idle_timeout);
        options.ping_interval = self.ping_interval.or(options.ping_interval);
        options.ping_timeout = self.ping_timeout.or(options.ping_timeout);
        options.fragment_size = self.fragment_bytes_max.or(options.fragment_size);
        options.close_timeout = self.close_timeout.unwrap_or(options.close_timeout);
        options.echo_close_reason = self.echo_close_reason.unwrap_or(options.echo_close_reason);
        options.fail_by_drop = self.fail_by_drop.unwrap_or(options.fail_by_drop);
        if let Some(deflate) = self.deflate {
            (options.deflate, options.compression) = (true, deflate);
        }
        if let Some(snappy) = self.snappy {
            (options.snappy, options.snappy_compression) = (true, snappy);
        }
        if let Some(bzip2) = self.bzip2 {
            (options.bzip2, options.bzip2_compression) = (true, bzip2);
        }
    }
}
