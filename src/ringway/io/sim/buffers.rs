//! The receive buffers of a simulation, and the owner of each.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::{BufferId, HOT_BYTES, SCRATCH_BYTES, pool};

/// Content of a buffer that nobody may read.
pub(super) const POISON: u8 = 0xDB;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The buffer is in the pool, or in a completion that was not delivered.
    Kernel,
    Worker,
}

/// Buffers by number. As in the kernel, the buffer that was given back first is used first.
#[derive(Debug)]
pub(super) struct Buffers {
    bytes: Vec<Box<[u8]>>,
    owners: Vec<Owner>,
    free: VecDeque<u16>,
    max: u16,
    scratch: Box<[u8]>,
    hot: Box<[u8]>,
    /// Bytes of the last receive into `hot`.
    hot_len: usize,
    shared: Vec<Option<Arc<[u8]>>>,
}

impl Buffers {
    pub(super) fn new(count: u16, max: u16) -> Self {
        let mut buffers = Self {
            bytes: Vec::new(),
            owners: Vec::new(),
            free: VecDeque::new(),
            max: max.max(count),
            scratch: vec![POISON; SCRATCH_BYTES].into(),
            hot: vec![POISON; HOT_BYTES].into(),
            hot_len: 0,
            shared: Vec::new(),
        };
        buffers.add(count);
        buffers
    }

    fn add(&mut self, count: u16) {
        for _ in 0..count {
            let number = u16::try_from(self.bytes.len()).expect("at most `max`");
            self.bytes.push([POISON; pool::BUFFER_BYTES].into());
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
        Some((BufferId(number), &mut self.bytes[usize::from(number)]))
    }

    /// The worker gets `buffer`: its completion was delivered.
    pub(super) fn hand_out(&mut self, buffer: BufferId) {
        self.owners[usize::from(buffer.0)] = Owner::Worker;
    }

    /// The bytes of a buffer that belongs to the worker.
    pub(super) fn of_worker(&self, buffer: BufferId) -> &[u8] {
        match buffer {
            BufferId::SCRATCH => &self.scratch,
            BufferId::HOT => &self.hot,
            BufferId(number) => {
                if let Some(index) = buffer.shared_index() {
                    return self.shared[index].as_ref().expect("the block is shared");
                }
                self.assert_of_worker(buffer);
                &self.bytes[usize::from(number)]
            }
        }
    }

    /// Makes `bytes` a shared block.
    pub(super) fn share(&mut self, buffer: BufferId, bytes: Arc<[u8]>) {
        let index = buffer.shared_index().expect("a block's own number");
        if index >= self.shared.len() {
            self.shared.resize(index + 1, None);
        }
        let before = self.shared[index].replace(bytes);
        assert!(before.is_none(), "{buffer:?} is shared twice");
    }

    pub(super) fn unshare(&mut self, buffer: BufferId) {
        let index = buffer.shared_index().expect("a block's own number");
        let before = self.shared[index].take();
        assert!(before.is_some(), "{buffer:?} is given back twice");
    }

    /// A buffer that belongs to the worker, for writing, and the scratch space.
    pub(super) fn of_worker_and_scratch(&mut self, buffer: BufferId) -> (&mut [u8], &mut [u8]) {
        let bytes = match buffer {
            BufferId::SCRATCH => &mut [],
            BufferId::HOT => &mut *self.hot,
            BufferId(number) => {
                self.assert_of_worker(buffer);
                &mut self.bytes[usize::from(number)]
            }
        };
        (bytes, &mut self.scratch)
    }

    fn assert_of_worker(&self, buffer: BufferId) {
        let owner = self.owners.get(usize::from(buffer.0));
        assert_eq!(
            owner,
            Some(&Owner::Worker),
            "{buffer:?} does not belong to the worker"
        );
    }

    /// The hot buffer for one more receive. Its former content is overwritten with poison.
    pub(super) fn hot_mut(&mut self) -> &mut [u8] {
        self.hot[..self.hot_len].fill(POISON);
        self.hot_len = self.hot.len();
        &mut self.hot
    }

    /// Says that the last receive put `len` bytes into the hot buffer.
    pub(super) const fn set_hot_len(&mut self, len: usize) {
        self.hot_len = len;
    }

    /// The worker gives `buffer` back.
    pub(super) fn replenish(&mut self, buffer: BufferId) {
        self.assert_of_worker(buffer);
        self.bytes[usize::from(buffer.0)].fill(POISON);
        self.owners[usize::from(buffer.0)] = Owner::Kernel;
        self.free.push_back(buffer.0);
    }

    pub(super) fn grow(&mut self) {
        let len = u16::try_from(self.bytes.len()).expect("at most `max`");
        self.add(len.min(self.max - len));
    }

    /// Buffers that are not in the pool.
    pub(super) fn missing(&self) -> usize {
        self.bytes.len() - self.free.len()
    }
}
