//! How often what goes wrong, drawn once per run: a run with one frequent fault finds what a mixture hides.

use super::Random;

/// Chances, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// An accept finds no descriptor (`EMFILE`); the connection stays in the backlog.
    pub accept_emfile: u16,
    /// An accept finds its connection gone (`ECONNABORTED`); the peer is reset.
    pub accept_aborted: u16,
    /// A connect finds no port (`EADDRNOTAVAIL`).
    pub connect_fails: u16,
    /// What a peer sent arrives only in part.
    pub arrive_in_parts: u16,
    /// A receive takes less than there is, so that the rest comes in further buffers.
    pub recv_short: u16,
    /// A receive says `ENOBUFS` although there are buffers.
    pub recv_enobufs: u16,
    /// A multishot operation ends without an error.
    pub multishot_ends: u16,
    /// An operation that is cancelled completes first with what it has.
    pub cancel_races: u16,
    /// Completions of an operation stay behind for a turn.
    pub late: u16,
    /// Readiness is told that is not there.
    pub spurious: u16,
    /// A completion of an earlier life of a slot comes up again.
    pub stale: u16,
    /// A turn returns with nothing, as after `EINTR` or `EBUSY`.
    pub empty_turn: u16,
    /// A send is taken in part although there is room.
    pub send_short: u16,
    /// A send says `EAGAIN` although there is room.
    pub send_eagain: u16,
    /// A send finds the connection reset.
    pub send_reset: u16,
    /// A full send completes aloud.
    pub send_aloud: u16,
}

impl Faults {
    /// A mixture in which every fault is absent, rare or frequent. Connections are not broken: what breaks them
    /// ([`Self::accept_aborted`], [`Self::send_reset`]) stays out, so that a test can expect every byte.
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

    /// [`Self::draw`], and connections break on their own.
    pub fn draw_breaking(random: &mut Random) -> Self {
        Self {
            accept_aborted: random.pick(&[0, 50, 300]),
            send_reset: random.pick(&[0, 5, 50]),
            connect_fails: random.pick(&[0, 50, 300]),
            ..Self::draw(random)
        }
    }
}
