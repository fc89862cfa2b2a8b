//! What went over one connection, if that is counted.
//!
//! Owns: the counts. Never: bytes below the frames, which the kernel counts ([`Handle::traffic`](super::Handle::traffic)).

use crate::time::Instant;

/// What went over an open WebSocket that is measured ([`Verdict::measured`](super::Verdict::measured)), and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrafficStats {
    /// From the peer.
    pub incoming: Flow,
    /// To the peer, queued bytes included.
    pub outgoing: Flow,
    /// When the opening handshake was complete, by the worker's clock.
    pub opened: Instant,
}

/// One direction of it. What the kernel sends beside it, such as TLS and TCP, is not counted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flow {
    /// Frames, control frames included.
    pub frames: u64,
    /// Whole messages.
    pub messages: u64,
    /// Payload of messages in bytes, as the application gets or gives it: not compressed.
    pub payload_bytes: u64,
    /// Frames in bytes: headers, control frames, and payload as it travels.
    pub frame_bytes: u64,
    /// The turn of the last message.
    pub last_message: Option<Instant>,
}

impl TrafficStats {
    pub(super) const fn new(now: Instant) -> Self {
        const NONE: Flow = Flow {
            frames: 0,
            messages: 0,
            payload_bytes: 0,
            frame_bytes: 0,
            last_message: None,
        };
        Self {
            incoming: NONE,
            outgoing: NONE,
            opened: now,
        }
    }
}

impl Flow {
    /// What compression leaves of each byte of payload, headers and control frames included. `None` without payload.
    pub fn frame_ratio(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = |a: u64, b: u64| a as f64 / b as f64;
        (self.payload_bytes > 0).then(|| ratio(self.frame_bytes, self.payload_bytes))
    }

    /// Counts the end of a message, or only payload of it.
    pub(super) const fn count(&mut self, messages: u64, payload_bytes: u64, now: Instant) {
        self.messages += messages;
        self.payload_bytes += payload_bytes;
        if messages > 0 {
            self.last_message = Some(now);
        }
    }

    pub(super) const fn count_frame(&mut self, bytes: u64) {
        self.frames += 1;
        self.frame_bytes += bytes;
    }
}
