//! Sealing: with TLS, everything that a connection sends in a turn becomes ciphertext here, at the place where a plain
//! connection hands its segments to the kernel.
//!
//! An answer that lies alone in a receive buffer is sealed where it is: the records that came had a header before and a tag
//! behind it, too. All other output is copied once, to where it is sent from, and sealed there.

use std::io::IoSlice;

use super::buffers::Buffers;
use super::core::Core;
use super::link::{Ending, Link, Phase};
use super::outbox::{Carries, List};
use super::queue::SendQueue;
use super::tls::{PLAIN_BYTES_MAX, Tls};
use crate::io::{BufferId, Io, SCRATCH_BYTES, Segment};

/// Bytes of records that are sealed in one piece of the send queue (64 KiB, the size of a piece).
const PIECE_BYTES_MAX: usize = 64 << 10;

/// How plaintext of `len` bytes is cut into records, of which each has `front` bytes before and `back` bytes behind it.
#[derive(Clone, Copy)]
struct Cut {
    front: usize,
    back: usize,
    len: usize,
}

impl Cut {
    const fn records(self) -> usize {
        self.len.div_ceil(PLAIN_BYTES_MAX)
    }

    const fn sealed_bytes(self) -> usize {
        self.len + self.records() * (self.front + self.back)
    }

    /// Most plaintext whose records fill one piece of the send queue.
    const fn piece_bytes_max(self) -> usize {
        let records = PIECE_BYTES_MAX / PLAIN_BYTES_MAX;
        PIECE_BYTES_MAX - records * (self.front + self.back)
    }
}

/// Records that are being filled from their beginning in memory of [`Cut::sealed_bytes`].
struct Filling {
    cut: Cut,
    /// Where the current record begins, and its payload so far.
    start: usize,
    filled: usize,
}

impl Filling {
    const fn new(cut: Cut) -> Self {
        Self {
            cut,
            start: 0,
            filled: 0,
        }
    }

    /// Appends `bytes`, and seals every record that is full.
    fn push(&mut self, tls: &mut Tls, memory: &mut [u8], mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = PLAIN_BYTES_MAX - self.filled;
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            let at = self.start + self.cut.front + self.filled;
            memory[at..at + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = rest;
            if self.filled == PLAIN_BYTES_MAX {
                self.seal(tls, memory);
            }
        }
    }

    /// Seals the last record, if it has payload.
    fn seal(&mut self, tls: &mut Tls, memory: &mut [u8]) {
        if self.filled > 0 {
            let Cut { front, back, .. } = self.cut;
            let end = self.start + front + self.filled + back;
            tls.seal(&mut memory[self.start..end]);
            (self.start, self.filled) = (end, 0);
        }
    }
}

impl<I: Io, P> Core<I, P> {
    /// Seals the list, and what waits behind it. The ciphertext is then segments in shared buffers, or at the end of the
    /// send queue if there is one or scratch is full.
    #[inline(never)]
    pub(crate) fn seal(&mut self, link: &mut Link) {
        let Some(mut tls) = link.out.tls.take() else {
            return;
        };
        if link.out.queue.is_none() {
            tls.note_sent();
        }
        let is_listed = self.shared.outbox.is_pending(&link.out.list);
        if tls.is_undecided() {
            // Nothing was received, so only an end without TLS can be sent. It goes out as it is.
            link.out.queue = tls.plain.take();
            if !is_listed && link.out.queue.is_none() {
                link.out.tls = Some(tls);
            }
            return;
        }
        let (list, listed) = match is_listed {
            true => {
                let list = std::mem::take(&mut link.out.list);
                (Some(list), self.listed_bytes(&list))
            }
            false => (None, 0),
        };
        let waiting = tls.plain.as_ref().map_or(0, |plain| plain.bytes());
        if listed + waiting > 0 {
            self.seal_plaintext(link, &mut tls, list, (listed, waiting));
        }
        // A client sends no FIN before the server's, but its close_notify: servers wait for it before they send theirs.
        let is_over = link.phase == Phase::Lingering && link.ending != Ending::Reset;
        if is_over || link.ending == Ending::FinAfterQueue {
            tls.close();
        }
        self.push_output(link, &mut tls);
        link.out.tls = Some(tls);
    }

    fn listed_bytes(&mut self, list: &List) -> usize {
        let outbox = &self.shared.outbox;
        outbox.only_pending(list).map_or_else(
            || {
                outbox
                    .pending(list)
                    .map(|segment| segment.len as usize)
                    .sum()
            },
            |segment| segment.len as usize,
        )
    }

    /// Seals the segments of this turn, which have `listed` bytes, and then the `waiting` bytes of plaintext. What cannot be
    /// sealed is dropped.
    fn seal_plaintext(
        &mut self,
        link: &mut Link,
        tls: &mut Tls,
        list: Option<List>,
        (listed, waiting): (usize, usize),
    ) {
        let Some((front, back)) = tls.prepare(listed + waiting) else {
            self.drop_plaintext(link, tls, list);
            return;
        };
        // A new key is told before it is used.
        self.push_output(link, tls);
        let cut = |len| Cut { front, back, len };
        if let Some(list) = list {
            self.seal_list(link, tls, &list, cut(listed));
        }
        if waiting > 0 {
            self.seal_waiting(link, tls, cut(waiting));
        }
    }

    /// Drops what the session cannot seal. Where TLS 1.2 has used up its key, the connection ends behind our close_notify.
    #[cold]
    fn drop_plaintext(&mut self, link: &mut Link, tls: &mut Tls, list: Option<List>) {
        let mut carries = list.map_or(Carries::Control, |list| list.carries);
        if let Some(plain) = tls.plain.take() {
            carries = carries.and(plain.carries);
            self.shared.buffers.give_back_queue(plain);
        }
        self.shared.counters.drops += u64::from(carries == Carries::Messages);
        if tls.is_closed() && tls.has_output() && link.phase != Phase::Lingering {
            // The conversation is over; the application hears of it when the connection ends.
            self.shared.linger(link, Ending::FinAfterQueue);
        }
    }

    /// Seals the segments of this turn.
    fn seal_list(&mut self, link: &mut Link, tls: &mut Tls, list: &List, cut: Cut) {
        self.shared.blocks.register(&mut self.io);
        if link.out.queue.is_none()
            && let Some(segment) = self.shared.outbox.only_pending(list)
            && let Some(sealed) = self.seal_in_place(tls, segment, cut)
        {
            let outbox = &mut self.shared.outbox;
            outbox.push(&mut link.out.list, sealed, list.carries);
            return;
        }
        let mut filling = Filling::new(cut);
        if self.fits_scratch(link, cut.sealed_bytes()) {
            let segment = self.take_scratch(cut.sealed_bytes());
            let at = segment.start as usize;
            for source in self.shared.outbox.pending(list) {
                let plain = &mut self.shared.room.plain;
                push_segment(&mut self.io, plain, (tls, &mut filling), (at, source));
            }
            let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
            filling.seal(tls, &mut scratch[at..]);
            let outbox = &mut self.shared.outbox;
            outbox.push(&mut link.out.list, segment, list.carries);
            return;
        }
        let shared = &mut self.shared;
        let queue = link
            .out
            .queue
            .get_or_insert_with(|| shared.buffers.take_queue());
        queue.carries = queue.carries.and(list.carries);
        let memory = queue.extend(cut.sealed_bytes(), &mut shared.buffers);
        for source in shared.outbox.pending(list) {
            filling.push(tls, memory, bytes_of(&self.io, source));
        }
        filling.seal(tls, memory);
    }

    /// Seals an answer in the receive buffer where it lies. `None` if there is no room around it. All other bytes of the buffer
    /// were read.
    fn seal_in_place(&mut self, tls: &mut Tls, segment: Segment, cut: Cut) -> Option<Segment> {
        if !segment.buffer.is_received() {
            return None;
        }
        let (memory, _) = self.io.buffer_and_scratch(segment.buffer);
        let from = segment.start as usize;
        let start = from.checked_sub(cut.front)?;
        let memory = memory.get_mut(start..start + cut.sealed_bytes())?;
        let stride = cut.front + PLAIN_BYTES_MAX + cut.back;
        // The first record is where it shall be; the others make room for its end and their beginning.
        for record in (1..cut.records()).rev() {
            let from = cut.front + record * PLAIN_BYTES_MAX;
            let len = PLAIN_BYTES_MAX.min(cut.len - record * PLAIN_BYTES_MAX);
            memory.copy_within(from..from + len, record * stride + cut.front);
        }
        for record in memory.chunks_mut(stride) {
            tls.seal(record);
        }
        Some(Segment {
            buffer: segment.buffer,
            start: u32::try_from(start).ok()?,
            len: u32::try_from(cut.sealed_bytes()).ok()?,
        })
    }

    /// Seals what waits behind the list, piece by piece.
    fn seal_waiting(&mut self, link: &mut Link, tls: &mut Tls, cut: Cut) {
        let Some(mut plain) = tls.plain.take() else {
            return;
        };
        while !plain.is_empty() {
            let (slices, count) = plain.slices();
            let slices = &slices[..count];
            let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
            let len = bytes.min(cut.piece_bytes_max());
            let cut = Cut { len, ..cut };
            if self.fits_scratch(link, cut.sealed_bytes()) {
                let segment = self.take_scratch(cut.sealed_bytes());
                let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
                fill(tls, &mut scratch[segment.start as usize..], cut, slices);
                let outbox = &mut self.shared.outbox;
                outbox.push(&mut link.out.list, segment, plain.carries);
            } else {
                let (queue, buffers) = self.queue_of(link, plain.carries);
                fill(tls, queue.extend(cut.sealed_bytes(), buffers), cut, slices);
            }
            plain.advance(len, &mut self.shared.buffers);
        }
        self.shared.buffers.give_back_queue(plain);
    }

    /// Hands over what the session has to say itself.
    fn push_output(&mut self, link: &mut Link, tls: &mut Tls) {
        if !tls.has_output() {
            return;
        }
        let output = tls.take_output();
        if !self.fits_scratch(link, output.len()) {
            let (queue, buffers) = self.queue_of(link, Carries::Control);
            queue.push(&output, buffers);
            return;
        }
        let segment = self.take_scratch(output.len());
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        scratch[segment.start as usize..][..output.len()].copy_from_slice(&output);
        let outbox = &mut self.shared.outbox;
        outbox.push(&mut link.out.list, segment, Carries::Control);
    }

    /// Whether sealed bytes may go to scratch: nothing waits that would precede them.
    const fn fits_scratch(&self, link: &Link, len: usize) -> bool {
        link.out.queue.is_none() && len <= SCRATCH_BYTES - self.shared.outbox.scratch
    }

    /// Takes room that was found.
    fn take_scratch(&mut self, len: usize) -> Segment {
        let at = self.shared.outbox.scratch;
        self.shared.outbox.scratch += len;
        let [start, len] = [at, len].map(|n| u32::try_from(n).expect("scratch is small"));
        Segment {
            buffer: BufferId::SCRATCH,
            start,
            len,
        }
    }

    /// The send queue, made if there is none.
    fn queue_of<'a>(
        &'a mut self,
        link: &'a mut Link,
        carries: Carries,
    ) -> (&'a mut SendQueue, &'a mut Buffers) {
        let buffers = &mut self.shared.buffers;
        let queue = &mut link.out.queue;
        let queue = queue.get_or_insert_with(|| buffers.take_queue());
        queue.carries = queue.carries.and(carries);
        (queue, buffers)
    }
}

/// Copies a segment into records that begin at `at` in scratch.
fn push_segment<I: Io>(
    io: &mut I,
    plain: &mut Vec<u8>,
    (tls, filling): (&mut Tls, &mut Filling),
    (at, source): (usize, Segment),
) {
    let Segment { buffer, start, len } = source;
    let range = start as usize..start as usize + len as usize;
    if buffer.is_received() {
        let (memory, scratch) = io.buffer_and_scratch(buffer);
        return filling.push(tls, &mut scratch[at..], &memory[range]);
    }
    if buffer == BufferId::SCRATCH {
        let (_, scratch) = io.buffer_and_scratch(buffer);
        let (before, records) = scratch.split_at_mut(at);
        return filling.push(tls, records, &before[range]);
    }
    // A prepared message. Such a buffer is not handed out together with scratch.
    plain.clear();
    plain.extend_from_slice(&io.buffer(buffer)[range]);
    let (_, scratch) = io.buffer_and_scratch(BufferId::SCRATCH);
    filling.push(tls, &mut scratch[at..], plain);
}

/// Seals the first bytes of `slices`, as many as `cut` says.
fn fill(tls: &mut Tls, memory: &mut [u8], cut: Cut, slices: &[IoSlice<'_>]) {
    let (mut filling, mut left) = (Filling::new(cut), cut.len);
    for slice in slices {
        let now = &slice[..left.min(slice.len())];
        filling.push(tls, memory, now);
        left -= now.len();
    }
    filling.seal(tls, memory);
}

fn bytes_of<I: Io>(io: &I, segment: Segment) -> &[u8] {
    &io.buffer(segment.buffer)[segment.start as usize..][..segment.len as usize]
}
