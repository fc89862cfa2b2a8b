//! Receiving: small messages in buffers of the pool, large ones in bulk.
//!
//! ```text
//!             a frame announces more than 8 KiB, or buffers come back full again and again
//!  Buffers ────────────────────────────────────────▶ Bulk
//!  multishot receive       cancel, then              multishot readiness; plain receives into the hot buffer, or
//!                          arm the other             straight into the message's own memory
//!          ◀────────────────────────────────────────
//!             32 receives in a row that a buffer would have held
//! ```

use super::core::Core;
use super::link::{Backlog, Inbound, Link, Pauses, Phase, Receive};
use crate::io::pool::BUFFER_BYTES;
use crate::io::{Io, Op, ReceiveMode, Token};

/// Receives that suit the other way of receiving, after which the connection switches. A full buffer counts one up and
/// any other one down: four full ones and a rest count three.
const MISFITS_MAX: u8 = 32;

impl<I: Io, P> Core<I, P> {
    /// Counts a receive into a buffer. A connection that keeps filling its buffers switches to bulk.
    pub(crate) fn note_buffer(link: &mut Link, len: usize) {
        link.misfits = if len == BUFFER_BYTES {
            link.misfits + 1
        } else {
            link.misfits.saturating_sub(1)
        };
        if link.misfits == MISFITS_MAX {
            link.misfits = 0;
            link.receive = Receive::Bulk;
        }
    }

    /// Counts a bulk receive. A connection whose bytes would fit a buffer switches back, where there are buffers.
    pub(crate) fn note_bulk(&self, link: &mut Link, len: usize) {
        link.misfits = if len < BUFFER_BYTES {
            link.misfits + 1
        } else {
            0
        };
        if link.misfits == MISFITS_MAX {
            link.misfits = 0;
            if self.io.receive_mode() == ReceiveMode::Buffers {
                link.receive = Receive::Buffers;
            }
        }
    }

    /// Arms the receive that the connection needs now, and cancels what it does not need.
    pub(crate) fn settle_receive(&mut self, link: &mut Link) {
        self.check_pause(link);
        if link.phase == Phase::Ended {
            self.release_when_idle(link);
        } else if link.armed.recv && (link.receive == Receive::Bulk || !link.pauses.is_empty())
            || link.armed.poll_in && link.receive == Receive::Buffers
        {
            self.cancel_receive(link);
        } else {
            self.arm_receive(link);
        }
    }

    /// Arms the connection's receive, unless one is armed or reading is paused.
    pub(crate) fn arm_receive(&mut self, link: &mut Link) {
        let reads = !matches!(link.phase, Phase::Connecting | Phase::Ended)
            && link.inbound != Inbound::Closed;
        if link.armed.recv || link.armed.poll_in || !reads {
            return;
        }
        match link.receive {
            Receive::Buffers if !link.pauses.is_empty() => {}
            Receive::Buffers => {
                link.armed.recv = true;
                self.io.submit_recv(Token::new(Op::Recv, link.id), link.fd);
            }
            Receive::Bulk => {
                link.armed.poll_in = true;
                self.io
                    .submit_poll_in(Token::new(Op::PollIn, link.id), link.fd);
            }
        }
    }

    /// Stops reading: cancels what is armed. Bytes that it still brings are delivered.
    pub(crate) fn pause(&mut self, link: &mut Link, reason: Pauses) {
        link.pauses.insert(reason);
        if link.armed.recv {
            self.cancel_receive(link);
        }
    }

    /// Removes a reason for a pause. Reading goes on when there is no other.
    pub(crate) fn resume(&mut self, link: &mut Link, reason: Pauses) {
        if !link.pauses.contains(reason) || link.phase == Phase::Ended {
            return;
        }
        link.pauses.remove(reason);
        if link.pauses.is_empty() {
            self.resume_receive(link);
        }
    }

    /// Reads on after a pause.
    fn resume_receive(&mut self, link: &mut Link) {
        if link.backlog == Backlog::Readable {
            self.list_ready(link);
        }
        self.arm_receive(link);
    }

    pub(crate) fn cancel_receive(&mut self, link: &mut Link) {
        if link.armed.cancelled || !(link.armed.recv || link.armed.poll_in) {
            return;
        }
        link.armed.cancelled = true;
        let op = if link.armed.recv {
            Op::Recv
        } else {
            Op::PollIn
        };
        self.io.submit_cancel(Token::new(op, link.id), link.fd);
    }
}
