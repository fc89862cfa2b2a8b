//! What one run is like, given or drawn.

use super::super::ReceiveMode;
use super::{Faults, Random};

/// What a simulation is like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides everything that is random.
    pub seed: u64,
    /// How the worker is to receive.
    pub receive_mode: ReceiveMode,
    /// Receive buffers at the start.
    pub buffers: u16,
    /// Receive buffers at most, when the worker says that the pool ran dry.
    pub buffers_max: u16,
    /// Bytes that a socket holds for the worker to read.
    pub inbox_max: usize,
    /// Bytes that a socket holds for the peer to take.
    pub outbox_max: usize,
    /// What goes wrong.
    pub faults: Faults,
}

impl Options {
    /// A kernel that does everything at once and whole.
    pub const fn faultless(receive_mode: ReceiveMode) -> Self {
        Self {
            seed: 0,
            receive_mode,
            buffers: 64,
            buffers_max: 256,
            inbox_max: 1 << 20,
            outbox_max: 1 << 20,
            faults: Faults {
                accept_emfile: 0,
                accept_aborted: 0,
                connect_fails: 0,
                arrive_in_parts: 0,
                recv_short: 0,
                recv_enobufs: 0,
                multishot_ends: 0,
                cancel_races: 0,
                late: 0,
                spurious: 0,
                stale: 0,
                empty_turn: 0,
                send_short: 0,
                send_eagain: 0,
                send_reset: 0,
                send_aloud: 0,
            },
        }
    }

    /// Everything as `seed` decides; no connection breaks on its own.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let buffers = random.pick(&[2, 4, 16, 64]);
        Self {
            seed: random.bits(),
            receive_mode: random.pick(&[ReceiveMode::Buffers, ReceiveMode::Readiness]),
            buffers,
            buffers_max: buffers * random.pick(&[1, 4]),
            inbox_max: 1 << random.between(10, 19),
            outbox_max: 1 << random.between(10, 19),
            faults: Faults::draw(&mut random),
        }
    }
}
