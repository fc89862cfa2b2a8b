//! The receive buffers of a simulation, and who owns each of them.

use std::collections::VecDeque;

use super::super::{BufferId, SCRATCH_OCTETS, pool};

/// What a buffer holds while nobody may read it.
pub(super) const POISON: u8 = 0xDB;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// It waits in the pool, or holds a completion that was not delivered.
    Kernel,
    Worker,
}

/// Buffers by number; handed out first in, first out, as the kernel does.
#[derive(Debug)]
pub(super) struct Buffers {
    octets: Vec<Box<[u8]>>,
    owners: Vec<Owner>,
    free: VecDeque<u16>,
    max: u16,
    scratch: Box<[u8]>,
}

impl Buffers {
    pub(super) fn new(count: u16, max: u16) -> Self {
        let mut buffers = Self {
            octets: Vec::new(),
            owners: Vec::new(),
            free: VecDeque::new(),
            max: max.max(count),
            scratch: vec![POISON; SCRATCH_OCTETS].into(),
        };
        buffers.add(count);
        buffers
    }

    fn add(&mut self, count: u16) {
        for _ in 0..count {
            let number = u16::try_from(self.octets.len()).expect("at most `max`");
            self.octets.push([POISON; pool::BUFFER_OCTETS].into());
            self.owners.push(Owner::Kernel);
            self.free.push_back(number);
        }
    }

    pub(super) fn is_dry(&self) -> bool {
        self.free.is_empty()
    }

    /// The next free buffer, for the kernel to fill.
    pub(super) fn take(&mut self) -> Option<(BufferId, &mut [u8])> {
        let number = self.free.pop_front()?;
        Some((BufferId(number), &mut self.octets[usize::from(number)]))
    }

    /// The completion that names it was delivered.
    pub(super) fn hand_out(&mut self, buffer: BufferId) {
        self.owners[usize::from(buffer.0)] = Owner::Worker;
    }

    /// What the worker may look at.
    pub(super) fn of_worker(&mut self, buffer: BufferId) -> &mut [u8] {
        if buffer == BufferId::SCRATCH {
            return &mut self.scratch;
        }
        let number = usize::from(buffer.0);
        assert_eq!(
            self.owners.get(number),
            Some(&Owner::Worker),
            "{buffer:?} does not belong to the worker"
        );
        &mut self.octets[number]
    }

    /// The worker gives `buffer` back.
    pub(super) fn replenish(&mut self, buffer: BufferId) {
        self.of_worker(buffer).fill(POISON);
        self.owners[usize::from(buffer.0)] = Owner::Kernel;
        self.free.push_back(buffer.0);
    }

    pub(super) fn grow(&mut self) {
        let len = u16::try_from(self.octets.len()).expect("at most `max`");
        self.add(len.min(self.max - len));
    }

    /// Buffers that are not in the pool.
    pub(super) fn missing(&self) -> usize {
        self.octets.len() - self.free.len()
    }
}
