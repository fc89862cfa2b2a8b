//! Descriptors in reserve, so that a worker can be replaced even when the process has no others free.
//!
//! Owns: the descriptors. They are closed before the start of a worker and opened again after it. No other code of this
//! process opens descriptors in between: the pages have their own limit, see `environment`. The reserve also helps when
//! the whole system is short of descriptors (ENFILE).

use std::fs::File;

/// Descriptors that a start needs: both ends of the stats pipe and of the control channel, both ends of the pipe on
/// which std learns of a failed exec, a copy of stderr, /dev/null, and one to spare.
pub(super) const DESCRIPTORS: usize = 9;

/// The reserve, complete or not.
#[derive(Debug)]
pub(super) struct Reserve {
    /// Any open file. Copies of it are cheap and need no path.
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

    /// Runs `start` while the descriptors are free.
    pub(super) fn lend<T>(&mut self, start: impl FnOnce() -> T) -> T {
        self.kept.clear();
        let started = start();
        self.refill();
        started
    }

    /// Opens missing descriptors, as many as the kernel grants now.
    pub(super) fn refill(&mut self) {
        while self.kept.len() < DESCRIPTORS
            && let Ok(copy) = self.pattern.try_clone()
        {
            self.kept.push(copy);
        }
    }

    /// Whether no descriptor is missing.
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
