//! Heap memory that connections borrow: for messages that arrive in pieces, and for bytes that sockets did not take.
//!
//! A piece has 4 KiB, 8 KiB, 16 KiB … plus the headroom. A piece given back lies idle until another connection takes
//! it, the last one first because it is warmest in the cache. Fresh memory would cost page faults. Pieces that lay idle
//! for a whole period (see `tidy`) go back to the system in steps.

use super::queue::SendQueue;
use crate::io::memory;

/// Bytes kept free before an assembled message, so that a header can be written there.
pub(crate) const HEADROOM: usize = 14;

/// Bytes of the smallest piece.
const BYTES_MIN: usize = 4 << 10;

/// Number of sizes. The largest is 8 TiB.
const CLASSES: usize = 32;

/// Bytes that idle pieces may occupy for ever (2 MiB), so that a quiet worker that gets a message now and then needs no
/// fresh memory for it.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// Bytes of idle memory, over all connections, that may be lent to messages because a frame announced them, before they
/// have arrived (16 MiB). Lending spares large messages the copies of growing. It allocates nothing, but a peer that
/// announces bytes and does not send them holds the memory.
const LENT_BYTES_MAX: usize = 16 << 20;

/// Bytes of the first and last page of a piece that are not its own, together. While the piece is idle they stay too.
const PAGE_BYTES: usize = 4 << 10;

/// Idle queues that are kept. Each has a few hundred bytes.
const IDLE_QUEUES_MAX: usize = 64;

/// Chunks for which an idle queue keeps room.
const IDLE_QUEUE_CHUNKS: usize = 16;

/// Idle pieces of one size.
#[derive(Debug, Default)]
struct Class {
    idle: Vec<Vec<u8>>,
    /// The fewest that lay idle at any time in this period.
    low: usize,
    /// Pieces that lay idle for the whole last period, and still do.
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

/// Idle memory. Every piece is initialised to its whole length.
#[derive(Debug)]
pub(crate) struct Buffers {
    classes: [Class; CLASSES],
    /// Bytes that idle pieces occupy, in whole pages.
    idle_bytes: usize,
    lent_bytes: usize,
    /// Bytes freed in the allocator's heap, which the allocator may still hold.
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
    /// Takes memory of at least `bytes`.
    pub(crate) fn take(&mut self, bytes: usize) -> Vec<u8> {
        let len = len_for(bytes);
        self.take_idle(len).unwrap_or_else(|| vec![0; len])
    }

    fn take_idle(&mut self, len: usize) -> Option<Vec<u8>> {
        let data = self.classes[class_of(len)].pop()?;
        self.idle_bytes -= occupied(data.len());
        Some(data)
    }

    /// Lends idle memory of at least `bytes`, which a peer has announced and not sent. `None` if there is none, or too
    /// much is lent. [`Self::repay`] ends the loan.
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
        self.idle_bytes += occupied(data.len());
        self.classes[class_of(data.len())].idle.push(data);
    }

    /// Lengthens `data` to at least `bytes`. Its first `filled` bytes are kept.
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
                self.freed_bytes += data.len(); // where it was
                // Exactly, because sizes are powers of two already. The allocator moves large blocks without a copy.
                data.reserve_exact(len - data.len());
                data.resize(len, 0);
            }
        }
    }

    pub(crate) fn take_queue(&mut self) -> Box<SendQueue> {
        self.queues.pop().unwrap_or_default()
    }

    /// Frees the chunks of a queue, and keeps its own memory for another connection.
    pub(crate) fn give_back_queue(&mut self, mut queue: Box<SendQueue>) {
        queue.drain(self);
        if self.queues.len() < IDLE_QUEUES_MAX {
            self.freed_bytes += queue.shrink_to(IDLE_QUEUE_CHUNKS);
            self.queues.push(queue);
        } else {
            self.freed_bytes += queue.shrink_to(0);
        }
    }

    /// Notes bytes freed elsewhere in the allocator's heap.
    pub(crate) const fn note_freed(&mut self, bytes: usize) {
        self.freed_bytes += bytes;
    }

    /// Bytes freed since the last call that the allocator may still hold.
    pub(crate) const fn take_freed(&mut self) -> usize {
        std::mem::replace(&mut self.freed_bytes, 0)
    }

    /// Whether more bytes are idle than may stay so.
    pub(crate) const fn is_untidy(&self) -> bool {
        self.idle_bytes > KEPT_BYTES_MAX
    }

    /// Ends a period: pieces that lay idle for all of it are surplus. Returns their bytes.
    pub(crate) fn end_period(&mut self) -> usize {
        let mut bytes = 0;
        for class in &mut self.classes {
            class.surplus = class.low;
            class.low = class.idle.len();
            bytes += class.surplus * class.idle.last().map_or(0, |data| occupied(data.len()));
            // The lists had grown with the burst.
            class.idle.shrink_to(class.idle.len() * 2);
        }
        bytes
    }

    /// Gives about `bytes_max` bytes of the surplus back to the system, the largest and oldest pieces first. Returns
    /// whether there is more.
    pub(crate) fn release(&mut self, bytes_max: usize) -> bool {
        let mut left = bytes_max;
        for class in self.classes.iter_mut().rev() {
            while class.surplus > 0 && self.idle_bytes > KEPT_BYTES_MAX {
                if left == 0 {
                    return true;
                }
                let each = occupied(class.idle[0].len());
                let excess = self.idle_bytes - KEPT_BYTES_MAX;
                let count = left.min(excess).div_ceil(each).min(class.surplus);
                self.freed_bytes += class.idle.drain(..count).map(free).sum::<usize>();
                class.surplus -= count;
                class.low -= count.min(class.low);
                self.idle_bytes -= count * each;
                left = left.saturating_sub(count * each);
            }
        }
        false
    }
}

/// Frees a piece, and its pages with it. Returns the bytes that the allocator keeps: those of the first and last page,
/// which other memory shares. Even a large piece may lie in the allocator's heap, if a free block of the heap was large
/// enough for it.
fn free(mut data: Vec<u8>) -> usize {
    memory::discard(&mut data);
    PAGE_BYTES
}

/// Bytes that a piece of `len` bytes occupies, in whole pages. It begins anywhere in a page.
const fn occupied(len: usize) -> usize {
    len + PAGE_BYTES
}

/// Length of a piece of at least `bytes`: a power of two plus the headroom. Many messages have a power of two as
/// length; without the extra headroom, their 14 bytes of header would double the memory.
fn len_for(bytes: usize) -> usize {
    let payload = bytes.saturating_sub(HEADROOM).next_power_of_two();
    payload.max(BYTES_MIN) + HEADROOM
}

/// The class of pieces of `len` bytes, a result of [`len_for`].
fn class_of(len: usize) -> usize {
    let doublings = (len - HEADROOM).ilog2() - BYTES_MIN.ilog2();
    (doublings as usize).min(CLASSES - 1)
}

/// A message that is arriving: `data[HEADROOM..filled]` is there.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub(crate) data: Vec<u8>,
    pub(crate) filled: usize,
    /// Bytes of `data` that are lent.
    lent_bytes: usize,
}

impl Assembly {
    /// A new message, whose first frame announces `announced` bytes.
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

    /// Takes the memory out, and ends its loan.
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

    /// Room for the next bytes of a frame, of which `remaining` are missing. The memory grows with what has arrived,
    /// not with what a frame announced: to at most twice that, or by `bytes_min`.
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

    /// Bytes that it occupies.
    const EACH: usize = occupied(PIECE);

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
        assert_eq!(buffers.idle_bytes, 1000 * EACH);
        // 100 at a time are in use in this period, so 100 stay.
        burst(&mut buffers, 100);
        assert_eq!(buffers.end_period(), 900 * EACH);
        assert!(!buffers.release(usize::MAX));
        assert_eq!(buffers.idle_bytes, 100 * EACH);
        // In the next period none is in use.
        assert_eq!(buffers.end_period(), 100 * EACH);
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
        while buffers.release(10 * EACH) {
            steps += 1;
            assert_eq!(buffers.idle_bytes, (1000 - 10 * steps) * EACH);
            // A piece that is in use again is no surplus.
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
