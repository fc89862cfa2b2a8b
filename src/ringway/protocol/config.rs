//! Limits and times of a worker's connections.

use std::time::Duration;

use super::keys::Masking;
use crate::proto::{Limits, handshake};

/// What one worker allows its peers. Memory that a connection can hold at most: `message_limits.message_bytes_max` while
/// a message is assembled, plus `send_queue_bytes_max` and what one turn adds to it, plus `head_limits.head_bytes_max`
/// during the opening handshake.
#[derive(Clone, Debug)]
pub struct Config {
    /// Open WebSockets of this worker, and of all workers on its [board](crate::io::board) together; one more is answered
    /// 503. Default: no limit but descriptors.
    pub connections_max: usize,
    /// Frames and messages (1009 above).
    pub message_limits: Limits,
    /// The head of an opening handshake (431 above).
    pub head_limits: handshake::Limits,
    /// From accept, or from the beginning of a connect, to the end of the opening handshake. Default 5 s.
    pub handshake_timeout: Duration,
    /// Without a byte from the peer for so long, the connection is closed with 1001; time in which reading from it is
    /// paused does not count. Default: never.
    pub idle_timeout: Option<Duration>,
    /// A Ping is sent when the peer was silent for so long; silent for as long again, it is dropped; time in which
    /// reading from it is paused does not count. Default: never.
    pub ping_interval: Option<Duration>,
    /// From our Close to the peer's, and from our end of the stream to the peer's; it begins anew whenever the peer is seen to
    /// take some of what is left for it. Default 10 s.
    pub close_timeout: Duration,
    /// A peer for which something is queued, and which takes none of it for so long, is dropped. A peer that reads as slowly
    /// as it likes stays. Default 1 min.
    pub write_timeout: Option<Duration>,
    /// Reading from a client stops while more than this is queued for it, and goes on at half of it. Reading from a server
    /// goes on, because two ends that both wait would wait for ever; more than this is not accepted for it. Default
    /// 1 MiB.
    pub send_queue_bytes_max: usize,
    /// Limits of services, in the order in which [`Services`](crate::services::Services) has them. Of each only
    /// `message_limits`, the timeouts of an open connection, `ping_interval` and `send_queue_bytes_max` are looked at. Default:
    /// none, so what stands here holds for every connection.
    pub services: Vec<Self>,
    /// Where masking keys and handshake nonces of connections in the client's role come from. Default: the system's
    /// randomness.
    pub masking: Masking,
}

impl Config {
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
            message_limits: Limits::default(),
            head_limits: handshake::Limits::default(),
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: None,
            ping_interval: None,
            close_timeout: Duration::from_secs(10),
            write_timeout: Some(Duration::from_secs(60)),
            send_queue_bytes_max: 1 << 20,
            services: Vec::new(),
            masking: Masking::System,
        }
    }
}
