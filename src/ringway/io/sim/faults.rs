//! How often each fault happens, drawn once per run: a run with one frequent fault finds bugs that a mixture hides.

use super::Random;

/// Probabilities in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// An accept finds no descriptor (`EMFILE`); the connection stays in the backlog.
    pub accept_emfile: u16,
    /// An accept finds its connection gone (`ECONNABORTED`); the peer is reset.
    pub accept_aborted: u16,
    /// A connect finds no port (`EADDRNOTAVAIL`).
    pub connect_fails: u16,
    /// Only a part of the bytes on their way arrives.
    pub arrive_in_parts: u16,
    /// A receive takes less than the socket holds, and the rest comes in further buffers.
    pub recv_short: u16,
    /// A receive completes with `ENOBUFS` although there are buffers.
    pub recv_enobufs: u16,
    /// A multishot operation ends without an error.
    pub multishot_ends: u16,
    /// A cancelled operation first completes with a result.
    pub cancel_races: u16,
    /// The completions of an operation are delivered one turn later.
    pub late: u16,
    /// Readiness is reported although nothing is ready.
    pub spurious: u16,
    /// A completion of an earlier generation of a slot is delivered.
    pub stale: u16,
    /// A turn returns no completion, as after `EINTR` or `EBUSY`.
    pub empty_turn: u16,
    /// A send takes only a part although the socket has room.
    pub send_short: u16,
    /// A send completes with `EAGAIN` although the socket has room.
    pub send_eagain: u16,
    /// A send finds the connection reset.
    pub send_reset: u16,
    /// A full send posts a completion.
    pub send_aloud: u16,
}

impl Faults {
    /// A mixture in which every fault is absent, rare or frequent. Faults that break a connection
    /// ([`Self::accept_aborted`], [`Self::send_reset`]) are left out, so that a test can expect every byte.
    pub fn draw(random: &mut Random) -> Self {
        let mut some = |frequent: u16| match random.below(4) {
            0 | 1 => 0,
            2 => frequent.div_ceil(20),
            _ => frequent,
        };
        Self {
            accept_emfile: some(300),
            accept_aborted: 0,
            connect_fails: 0,
            arrive_in_parts: some(700),
            recv_short: some(700),
            recv_enobufs: some(150),
            multishot_ends: some(300),
            cancel_races: some(600),
            late: some(500),
            spurious: some(200),
            stale: some(200),
            empty_turn: some(200),
            send_short: some(500),
            send_eagain: some(500),
            send_reset: 0,
            send_aloud: some(1000),
        }
    }

    /// Like [`Self::draw`], with faults that break connections.
    pub fn draw_breaking(random: &mut Random) -> Self {
        Self {
            accept_aborted: random.pick(&[0, 50, 300]),
            send_reset: random.pick(&[0, 5, 50]),
            connect_fails: random.pick(&[0, 50, 300]),
            ..Self::draw(random)
        }
    }
}
