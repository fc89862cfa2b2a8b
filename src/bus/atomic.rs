//! The atomics of the log and the doorbell: std's, or those of a model checker in their place.

#[cfg(all(loom, not(shuttle)))]
pub use loom::sync::atomic::AtomicU64;
#[cfg(all(loom, not(shuttle)))]
pub(crate) use loom::sync::atomic::{Ordering, fence};
#[cfg(all(test, not(any(loom, shuttle))))]
pub use mortal::AtomicU64;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::AtomicU64;
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{Ordering, fence};
#[cfg(not(any(test, loom, shuttle)))]
pub use std::sync::atomic::AtomicU64;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::atomic::{Ordering, fence};

/// Shared memory as words: a mapping that dereferences to them, for example, or an `Arc<[AtomicU64]>` between threads.
pub trait Words: std::ops::Deref<Target = [AtomicU64]> {}

impl<W: std::ops::Deref<Target = [AtomicU64]>> Words for W {}

/// Bytes of a word.
pub(crate) const WORD_BYTES: usize = 8;

/// A word's number as an index. Words are counted on 64-bit machines only, see the assertion in `lib.rs`.
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits here")]
pub(crate) const fn index(word: u64) -> usize {
    word as usize
}

/// An index or a length as the number that stands in shared memory.
pub(crate) const fn number(index: usize) -> u64 {
    index as u64
}

/// A word whose writer can be killed before any of its stores, for tests.
#[cfg(all(test, not(any(loom, shuttle))))]
#[expect(missing_docs, reason = "std says what these do")]
pub(crate) mod mortal {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
    use std::sync::atomic::{self, Ordering};

    thread_local! {
        /// Stores that this thread may make before it is killed.
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    #[derive(Debug, Default)]
    pub struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        pub fn load(&self, ordering: Ordering) -> u64 {
            self.0.load(ordering)
        }

        pub fn store(&self, value: u64, ordering: Ordering) {
            spend();
            self.0.store(value, ordering);
        }

        pub fn swap(&self, value: u64, ordering: Ordering) -> u64 {
            spend();
            self.0.swap(value, ordering)
        }

        pub fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            spend();
            self.0.compare_exchange(current, new, success, failure)
        }
    }

    struct Killed;

    fn spend() {
        match LEFT.get() {
            Some(0) => panic_any(Killed),
            left => LEFT.set(left.map(|left| left - 1)),
        }
    }

    /// Runs `act`, which is killed instead of its store number `stores`. Says whether it ended by itself.
    pub(crate) fn with_stores(stores: u32, act: impl FnOnce()) -> bool {
        LEFT.set(Some(stores));
        let ended = catch_unwind(AssertUnwindSafe(act));
        LEFT.set(None);
        match ended {
            Ok(()) => true,
            Err(payload) if payload.is::<Killed>() => false,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
}
