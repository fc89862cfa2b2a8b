//! Heap memory that connections take while they need it and give back: for messages in pieces, and for what sockets did
//! not take.
//!
//! Pieces come in sizes of 4 KiB, 8 KiB, 16 KiB … and the headroom. What is given back lies idle for the next one, the last
//! given back first, because it is the warmest: memory that is fresh from the kernel costs its pages. What lay idle all
//! through a period (see `tidy`) goes back to the system, a step at a time.

use super::queue::SendQueue;
use crate::io::memory;

/// Bytes kept free in front of an assembled message, so that a header can be written before it in place.
pub(crate) const HEADROOM: usize = 14;

/// Smallest piece of memory handed out.
const BYTES_MIN: usize = 4 << 10;

/// Sizes of pieces: the last is 8 TiB and more.
const CLASSES: usize = 32;

/// So many bytes may lie idle for ever: a quiet worker that gets a message now and then takes no fresh memory for it.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// Idle memory that is handed out by what a frame announces, in place of what has arrived, at any time and in all. It spares
/// large messages the copies of growing. Nothing is allocated so, but a peer that goes no further holds it.
const LENT_BYTES_MAX: usize = 16 << 20;

/// About what of a piece is no whole page of its own.
const PAGE_BYTES: usize = 4 << 10;

/// Idle queues kept; each is a few hundred bytes.
const IDLE_QUEUES_MAX: usize = 64;

/// Chunks for which an idle queue keeps room.
const IDLE_QUEUE_CHUNKS: usize = 16;

/// Idle pieces of one size.
#[derive(Debug, Default)]
struct Class {
    idle: Vec<Vec<u8>>,
    /// Fewest that lay idle in this period.
    low: usize,
    /// So many lay idle all through the last one, and are still here.
    surplus: usize,
}

impl Class {
    fn pop(&mut self) -> Option<Vec<u8>> {
        let data = self.idle.pop()?;
        self.low = self.low.min(self.idle.len());
        self.surplus = self.surplus.min(self.idle.len());
        Some(data)
    }
}

/// Memory at rest. Every piece is initialised to its whole length.
#[derive(Debug)]
pub(crate) struct Buffers {
    classes: [Class; CLASSES],
    idle_bytes: usize,
    lent_bytes: usize,
    /// Freed in the allocator's heap and still resident there.
    freed_bytes: usize,
    #[expect(
        clippy::vec_box,
        reason = "connections hold them boxed: moving the box moves no queue"
    )]
    queues: Vec<Box<SendQueue>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            classes: std::array::from_fn(|_| Class::default()),
            idle_bytes: 0,
            lent_bytes: 0,
            freed_bytes: 0,
            queues: Vec::new(),
        }
    }
}

impl Buffers {
    /// Memory of at least `bytes`.
    pub(crate) fn take(&mut self, bytes: usize) -> Vec<u8> {
        let len = len_for(bytes);
        self.take_idle(len).unwrap_or_else(|| vec![0; len])
    }

    fn take_idle(&mut self, len: usize) -> Option<Vec<u8>> {
        let data = self.classes[class_of(len)].pop()?;
        self.idle_bytes -= data.len();
        Some(data)
    }

    /// Idle memory of at least `bytes`, which a peer has announced and not sent. To be [repaid](Self::repay).
    fn lend(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let len = len_for(bytes);
        if len > LENT_BYTES_MAX - self.lent_bytes {
            return None;
        }
        let data = self.take_idle(len)?;
        self.lent_bytes += data.len();
        Some(data)
    }

    const fn repay(&mut self, bytes: usize) {
        self.lent_bytes -= bytes;
    }

    pub(crate) fn give_back(&mut self, data: Vec<u8>) {
        if data.len() < BYTES_MIN {
            return; // of no size that is handed out
        }
        self.idle_bytes += data.len();
        self.classes[class_of(data.len())].idle.push(data);
    }

    /// Lengthens `data`, of which the first `filled` bytes count, to at least `bytes`.
    pub(crate) fn grow(&mut self, data: &mut Vec<u8>, filled: usize, bytes: usize) {
        if data.len() >= bytes {
            return;
        }
        let len = len_for(bytes);
        match self.take_idle(len) {
            Some(mut larger) => {
                larger[..filled].copy_from_slice(&data[..filled]);
                self.give_back(std::mem::replace(data, larger));
            }
            None => {
                if data.len() < memory::MAPPED_BYTES_MIN {
                    self.freed_bytes += data.len(); // where it was
                }
                // Exactly: in powers of two already, and the allocator moves large blocks without a copy.
                data.reserve_exact(len - data.len());
                data.resize(len, 0);
            }
        }
    }

    pub(crate) fn take_queue(&mut self) -> Box<SendQueue> {
        self.queues.pop().unwrap_or_default()
    }

    /// Takes a queue apart and keeps its memory.
    pub(crate) fn give_back_queue(&mut self, mut queue: Box<SendQueue>) {
        queue.drain(self);
        if self.queues.len() < IDLE_QUEUES_MAX {
            self.freed_bytes += queue.shrink_to(IDLE_QUEUE_CHUNKS);
            self.queues.push(queue);
        } else {
            self.freed_bytes += queue.shrink_to(0);
        }
    }

    /// What was freed since the last call and is still resident in the allocator's heap, in bytes.
    pub(crate) const fn take_freed(&mut self) -> usize {
        std::mem::replace(&mut self.freed_bytes, 0)
    }

    /// More lies idle than may for ever.
    pub(crate) const fn is_untidy(&self) -> bool {
        self.idle_bytes > KEPT_BYTES_MAX
    }

    /// A period is over: what lay idle all through it is surplus. Returns how many bytes that is.
    pub(crate) fn end_period(&mut self) -> usize {
        let mut bytes = 0;
        for class in &mut self.classes {
            class.surplus = class.low;
            class.low = class.idle.len();
            bytes += class.surplus * class.idle.last().map_or(0, Vec::len);
            // The lists themselves were as long as the burst was wide.
            class.idle.shrink_to(class.idle.len() * 2);
        }
        bytes
    }

    /// Gives about `bytes_max` of the surplus back to the system, the largest and oldest pieces first. False when nothing
    /// is left of it.
    pub(crate) fn release(&mut self, bytes_max: usize) -> bool {
        let mut left = bytes_max;
        for class in self.classes.iter_mut().rev() {
            while class.surplus > 0 && self.idle_bytes > KEPT_BYTES_MAX {
                if left == 0 {
                    return true;
                }
                let len = class.idle[0].len();
                let excess = self.idle_bytes - KEPT_BYTES_MAX;
                let count = left.min(excess).div_ceil(len).min(class.surplus);
                self.freed_bytes += class.idle.drain(..count).map(free).sum::<usize>();
                class.surplus -= count;
                class.low -= count.min(class.low);
                self.idle_bytes -= count * len;
                left = left.saturating_sub(count * len);
            }
        }
        false
    }
}

/// Frees a piece so that its pages go back, whatever lies beside it. Returns how much of it does not: its first and last
/// page are shared with its neighbours.
fn free(mut data: Vec<u8>) -> usize {
    if data.len() >= memory::MAPPED_BYTES_MIN {
        return 0;
    }
    memory::discard(&mut data);
    PAGE_BYTES
}

/// How long a piece of at least `bytes` is: a power of two and the headroom, because the length of many a message is a power
/// of two, and twice its memory would be for 14 bytes.
fn len_for(bytes: usize) -> usize {
    let payload = bytes.saturating_sub(HEADROOM).next_power_of_two();
    payload.max(BYTES_MIN) + HEADROOM
}

/// The class of pieces of `len` bytes, a length that [`len_for`] has made.
fn class_of(len: usize) -> usize {
    let doublings = (len - HEADROOM).ilog2() - BYTES_MIN.ilog2();
    (doublings as usize).min(CLASSES - 1)
}

/// A message as it arrives: `data[HEADROOM..filled]` is there.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub(crate) data: Vec<u8>,
    pub(crate) filled: usize,
    /// So much of `data` is lent.
    lent_bytes: usize,
}

impl Assembly {
    /// For a message whose first frame announces `announced` bytes.
    pub(crate) fn new(buffers: &mut Buffers, announced: u64) -> Self {
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        let lent = buffers.lend(announced.saturating_add(HEADROOM));
        let lent_bytes = lent.as_ref().map_or(0, Vec::len);
        Self {
            data: lent.unwrap_or_else(|| buffers.take(HEADROOM + 1)),
            filled: HEADROOM,
            lent_bytes,
        }
    }

    /// The memory; whatever of it was lent is accounted for now.
    pub(crate) fn into_data(self, buffers: &mut Buffers) -> Vec<u8> {
        buffers.repay(self.lent_bytes);
        self.data
    }

    pub(crate) fn push(&mut self, piece: &[u8], buffers: &mut Buffers) {
        let end = self.filled + piece.len();
        buffers.grow(&mut self.data, self.filled, end);
        self.data[self.filled..end].copy_from_slice(piece);
        self.filled = end;
    }

    /// Where the next bytes of a frame go, of which `remaining` are missing. Grows by what arrived, never by what was
    /// announced: to at most twice what is there, or to `bytes_min` more.
    pub(crate) fn tail(
        &mut self,
        remaining: u64,
        bytes_min: usize,
        bytes_max: usize,
        buffers: &mut Buffers,
    ) -> &mut [u8] {
        let remaining = usize::try_from(remaining).unwrap_or(usize::MAX);
        let end = self.filled + remaining.min(bytes_min.max(self.filled));
        buffers.grow(&mut self.data, self.filled, end);
        let end = self
            .data
            .len()
            .min(self.filled.saturating_add(remaining.min(bytes_max)));
        &mut self.data[self.filled..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a piece of 64 KiB.
    const PIECE: usize = (64 << 10) + HEADROOM;

    fn burst(buffers: &mut Buffers, count: usize) {
        let taken: Vec<_> = (0..count).map(|_| buffers.take(PIECE)).collect();
        taken.into_iter().for_each(|data| buffers.give_back(data));
    }

    #[test]
    fn a_piece_is_as_long_as_was_asked_and_a_power_of_two() {
        let mut buffers = Buffers::default();
        assert_eq!(buffers.take(0).len(), 4096 + 14);
        assert_eq!(buffers.take(4096 + 14).len(), 4096 + 14);
        assert_eq!(buffers.take(4096 + 15).len(), 8192 + 14);
        assert_eq!(buffers.take(1 << 20).len(), (1 << 20) + 14);
        assert_eq!(buffers.take((1 << 20) + 15).len(), (2 << 20) + 14);
    }

    #[test]
    fn what_was_given_back_last_is_taken_first_and_by_its_size() {
        let mut buffers = Buffers::default();
        let mut small = buffers.take(1);
        let mut large = buffers.take(PIECE);
        (small[0], large[0]) = (1, 2);
        buffers.give_back(large);
        buffers.give_back(small);
        assert_eq!(buffers.take(PIECE)[0], 2);
        assert_eq!(buffers.take(1)[0], 1);
        assert_eq!(buffers.idle_bytes, 0);
    }

    #[test]
    fn what_lay_idle_all_through_a_period_goes_back() {
        let mut buffers = Buffers::default();
        burst(&mut buffers, 1000);
        assert_eq!(buffers.end_period(), 0, "all of it was in use");
        assert!(!buffers.release(usize::MAX));
        assert_eq!(buffers.idle_bytes, 1000 * PIECE);
        // 100 at a time are in use in this period: so many stay.
        burst(&mut buffers, 100);
        assert_eq!(buffers.end_period(), 900 * PIECE);
        assert!(!buffers.release(usize::MAX));
        assert_eq!(buffers.idle_bytes, 100 * PIECE);
        // Then none are.
        assert_eq!(buffers.end_period(), 100 * PIECE);
        assert!(!buffers.release(usize::MAX));
        assert!(buffers.idle_bytes <= KEPT_BYTES_MAX);
        assert!(!buffers.is_untidy());
    }

    #[test]
    fn a_step_gives_back_no_more_than_it_may_and_says_what_is_left() {
        let mut buffers = Buffers::default();
        burst(&mut buffers, 1000);
        buffers.end_period();
        buffers.end_period();
        let mut steps = 0;
        while buffers.release(10 * PIECE) {
            steps += 1;
            assert_eq!(buffers.idle_bytes, (1000 - 10 * steps) * PIECE);
            // What is in use again is no surplus.
            let taken = buffers.take(PIECE);
            buffers.give_back(taken);
        }
        assert!(steps >= 90, "{steps}");
        assert!(!buffers.is_untidy());
    }

    #[test]
    fn one_huge_piece_does_not_stay() {
        let mut buffers = Buffers::default();
        let huge = buffers.take(16 << 20);
        buffers.give_back(huge);
        buffers.end_period();
        buffers.end_period();
        assert!(!buffers.release(1));
        assert_eq!(buffers.idle_bytes, 0);
    }

    #[test]
    fn what_is_announced_gets_idle_memory_within_a_limit_and_nothing_new() {
        let mut buffers = Buffers::default();
        let fresh = Assembly::new(&mut buffers, 1 << 20);
        assert_eq!(fresh.data.len(), 4096 + 14, "nothing lies idle");
        let pieces: Vec<_> = (0..20).map(|_| buffers.take(1 << 20)).collect();
        pieces.into_iter().for_each(|data| buffers.give_back(data));
        let lent: Vec<_> = (0..20)
            .map(|_| Assembly::new(&mut buffers, 1 << 20))
            .collect();
        let large = lent
            .iter()
            .filter(|assembly| assembly.data.len() > 1 << 20)
            .count();
        assert_eq!(large, 15, "16 MiB less the headroom of each");
        for assembly in lent {
            let data = assembly.into_data(&mut buffers);
            buffers.give_back(data);
        }
        assert_eq!(buffers.lent_bytes, 0);
        let again = Assembly::new(&mut buffers, 1 << 20);
        assert_eq!(again.data.len(), (1 << 20) + 14);
    }

    #[test]
    fn growing_keeps_what_is_there() {
        let mut buffers = Buffers::default();
        let expected: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for idle in [false, true] {
            let mut assembly = Assembly::new(&mut buffers, 0);
            for piece in expected.chunks(3000) {
                assembly.push(piece, &mut buffers);
            }
            assert_eq!(assembly.data[HEADROOM..assembly.filled], expected, "{idle}");
            let data = assembly.into_data(&mut buffers);
            buffers.give_back(data);
        }
    }
}
