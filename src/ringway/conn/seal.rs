//! Sealing: with TLS, everything that a connection sends in a turn becomes ciphertext here, at the place where a plain
//! connection hands its segments to the kernel.

use super::core::Core;
use super::link::{Ending, Link, Phase};
use super::outbox::{Carries, Outbox};
use super::tls::Tls;
use crate::io::{BufferId, Io, Segment};

/// Bytes of sealed records above which they move to the send queue, while more is sealed (64 KiB).
const SEALED_BYTES_MAX: usize = 64 << 10;

impl<I: Io, P> Core<I, P> {
    /// Seals the list, and what waits behind it. The ciphertext is then one segment in scratch, or at the end of the send
    /// queue if there is one or scratch is full.
    #[inline(never)]
    pub(crate) fn seal(&mut self, link: &mut Link) {
        let Some(mut tls) = link.out.tls.take() else {
            return;
        };
        if tls.is_undecided() {
            // Nothing was received, so only an end without TLS can be sent. It goes out as it is.
            let listed = self.shared.outbox.is_pending(&link.out.list);
            link.out.queue = tls.plain.take();
            if !listed && link.out.queue.is_none() {
                link.out.tls = Some(tls);
            }
            return;
        }
        self.shared.room.sealed.clear();
        tls.take_output(&mut self.shared.room.sealed);
        let listed = match self.shared.outbox.is_pending(&link.out.list) {
            true => link.out.list.carries,
            false => Carries::Control,
        };
        let queued = tls.plain.as_ref().map_or(Carries::Control, |q| q.carries);
        let carries = listed.and(queued);
        let sealed = self.seal_list(link, &mut tls) && self.seal_plain(link, &mut tls);
        if !sealed {
            self.shared.counters.drops += u64::from(carries == Carries::Messages);
        }
        if let Some(plain) = tls.plain.take() {
            self.shared.buffers.give_back_queue(plain);
        }
        // A client sends no FIN before the server's, but its close_notify: servers wait for it before they send theirs.
        if link.phase == Phase::Lingering && link.ending != Ending::Reset {
            tls.close(&mut self.shared.room.sealed);
        }
        link.out.tls = Some(tls);
        self.hand_over(link, carries);
    }

    /// Seals the segments of this turn, and clears the list.
    fn seal_list(&mut self, link: &mut Link, tls: &mut Tls) -> bool {
        let shared = &mut self.shared;
        if !shared.outbox.is_pending(&link.out.list) {
            return true;
        }
        shared.blocks.register(&mut self.io);
        let list = std::mem::take(&mut link.out.list);
        let room = &mut shared.room;
        if let Some(segment) = shared.outbox.only_pending(&list) {
            return tls.seal(bytes_of(&self.io, segment), &mut room.sealed);
        }
        room.plain.clear();
        for segment in shared.outbox.pending(&list) {
            room.plain.extend_from_slice(bytes_of(&self.io, segment));
        }
        tls.seal(&room.plain, &mut room.sealed)
    }

    /// Seals what waits behind the list, piece by piece.
    fn seal_plain(&mut self, link: &mut Link, tls: &mut Tls) -> bool {
        let Some(mut plain) = tls.plain.take() else {
            return true;
        };
        let mut sealed = true;
        while sealed && !plain.is_empty() {
            let shared = &mut self.shared;
            shared.room.plain.clear();
            let (slices, count) = plain.slices();
            for slice in &slices[..count] {
                let room = SEALED_BYTES_MAX - shared.room.plain.len();
                let bytes = slice.get(..room).unwrap_or(slice);
                shared.room.plain.extend_from_slice(bytes);
            }
            sealed = tls.seal(&shared.room.plain, &mut shared.room.sealed);
            let done = shared.room.plain.len();
            plain.advance(done, &mut shared.buffers);
            if shared.room.sealed.len() >= SEALED_BYTES_MAX {
                self.queue_sealed(link, plain.carries);
            }
        }
        tls.plain = Some(plain);
        sealed
    }

    /// Puts the sealed records where they are sent from.
    fn hand_over(&mut self, link: &mut Link, carries: Carries) {
        let len = self.shared.room.sealed.len();
        if len == 0 {
            return;
        }
        let at = self.shared.outbox.scratch;
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        if link.out.queue.is_some() || len > scratch.len() - at {
            return self.queue_sealed(link, carries);
        }
        scratch[at..at + len].copy_from_slice(&self.shared.room.sealed);
        let outbox = &mut self.shared.outbox;
        outbox.scratch += len;
        let [start, len] = [at, len].map(|n| u32::try_from(n).expect("scratch is small"));
        let segment = Segment {
            buffer: BufferId::SCRATCH,
            start,
            len,
        };
        Outbox::clear(&mut link.out.list);
        outbox.push(&mut link.out.list, segment, carries);
    }

    /// Moves the sealed records to the end of the send queue.
    fn queue_sealed(&mut self, link: &mut Link, carries: Carries) {
        let shared = &mut self.shared;
        let queue = link
            .out
            .queue
            .get_or_insert_with(|| shared.buffers.take_queue());
        queue.carries = queue.carries.and(carries);
        queue.push(&shared.room.sealed, &mut shared.buffers);
        shared.room.sealed.clear();
    }
}

fn bytes_of<I: Io>(io: &I, segment: Segment) -> &[u8] {
    &io.buffer(segment.buffer)[segment.start as usize..][..segment.len as usize]
}
