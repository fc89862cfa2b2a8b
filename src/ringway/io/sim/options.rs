//! The options of a run, given or drawn.

use super::super::ReceiveMode;
use super::{Faults, Random};

/// The options of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The seed of everything random.
    pub seed: u64,
    /// How the worker receives.
    pub receive_mode: ReceiveMode,
    /// Receive buffers at the start.
    pub buffers: u16,
    /// Most receive buffers. The pool grows up to them when the worker says that it ran dry.
    pub buffers_max: u16,
    /// Most bytes that a socket holds for the worker to read.
    pub inbox_max: usize,
    /// Most bytes that a socket holds for the peer to read.
    pub outbox_max: usize,
    /// Which faults happen how often.
    pub faults: Faults,
}

impl Options {
    /// A kernel that does everything at once and completely.
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

    /// Options drawn by `seed`. No connection breaks by itself.
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
