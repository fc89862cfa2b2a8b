//! Descriptors that are kept aside, so that a worker can be replaced when there are no others.
//!
//! Owns: them. While a worker is started they are let go, and taken back afterwards: nobody else in this process opens
//! anything in between (the pages have a cap of their own, see `environment`), and the system's own shortage (ENFILE) is met
//! the same way.

use std::fs::File;

/// A start needs nine: both ends of the stats pipe and of the control channel, both ends of the pipe on which std learns of a failed exec, a copy of
/// stderr, /dev/null, and one to spare.
pub(super) const DESCRIPTORS: usize = 9;

/// The descriptors, or what could be had of them.
#[derive(Debug)]
pub(super) struct Reserve {
    /// Any open file: copies of it are cheap, and need no path.
    pattern: File,
    kept: Vec<File>,
}

impl Reserve {
    /// Keeps copies of `pattern`.
    pub(super) fn new(pattern: File) -> Self {
        let mut reserve = Self {
            pattern,
            kept: Vec::with_capacity(DESCRIPTORS),
        };
        reserve.refill();
        reserve
    }

    /// Runs `start` with the descriptors free.
    pub(super) fn lend<T>(&mut self, start: impl FnOnce() -> T) -> T {
        self.kept.clear();
        let started = start();
        self.refill();
        started
    }

    /// Takes back what is missing, as far as it can be had now.
    pub(super) fn refill(&mut self) {
        while self.kept.len() < DESCRIPTORS
            && let Ok(copy) = self.pattern.try_clone()
        {
            self.kept.push(copy);
        }
    }

    /// Whether it is complete.
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() == DESCRIPTORS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_comes_back() {
        let mut reserve = Reserve::new(File::open("/dev/null").expect("it is everywhere"));
        assert!(reserve.is_full());
        let opened: Vec<_> = reserve.lend(|| {
            (0..DESCRIPTORS)
                .map(|_| File::open("/dev/null").expect("room was made"))
                .collect()
        });
        assert_eq!((opened.len(), reserve.is_full()), (9, true));
    }
}
