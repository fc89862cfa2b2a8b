//! How other threads wake one worker: what they leave for it, and who rings its bell.
//!
//! Owns: the list of what was left, and the two flags that spare rings. Never: rings; the caller does, for example by writing to
//! an eventfd.
//!
//! ```text
//!  another thread:  Left::push ──▶ not attended? ──▶ Rung::ring: false → true? ──▶ rings the bell
//!  the worker:      the bell wakes it ──▶ hushes the bell ──▶ Rung::hear ──▶ Left::take … until Left::leave ──▶ sleeps
//! ```
//!
//! Nothing is lost. *List:* the worker says that it leaves under the lock that guards the list, and only when the list is empty. So
//! whoever pushes later finds the list unattended, and rings. *Bell:* both sides change `Rung` by a swap (acquire and release), so
//! the two swaps have an order. If the other thread's comes first, it finds `true` or rings; what it left before is seen by the
//! worker, whose swap reads from it. If the worker's comes first, the other thread finds `false` and rings, behind the hush.

use std::collections::VecDeque;
use std::sync::PoisonError;

#[cfg(all(loom, not(shuttle)))]
use loom::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};
#[cfg(shuttle)]
use shuttle::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(any(loom, shuttle)))]
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

/// Whether the bell has been rung and not been heard yet: it is rung at most once per turn, however many threads ring how often.
#[derive(Debug)]
pub struct Rung(AtomicBool);

impl Default for Rung {
    fn default() -> Self {
        Self(AtomicBool::new(false))
    }
}

impl Rung {
    /// Whether the caller has to ring the bell. What the worker shall find was left before.
    pub fn ring(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// The worker has hushed the bell, and looks for everything from now on.
    pub fn hear(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}

/// What threads leave for a worker, in order. It does not limit itself: a task is in it once at most.
#[derive(Debug)]
pub struct Left<T> {
    list: Mutex<VecDeque<T>>,
    /// The worker looks at the list before it sleeps. It alone changes this.
    attended: AtomicBool,
}

impl<T> Default for Left<T> {
    /// An empty list, attended: a worker that begins looks at it.
    fn default() -> Self {
        Self {
            list: Mutex::new(VecDeque::new()),
            attended: AtomicBool::new(true),
        }
    }
}

impl<T> Left<T> {
    /// Leaves `item`. Whether the worker must be rung for.
    #[must_use]
    pub fn push(&self, item: T) -> bool {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push_back(item);
        !self.attended.load(Ordering::Relaxed)
    }

    /// The worker will look at the list before it sleeps. A thread that does not see this yet rings once too often.
    pub fn attend(&self) {
        self.attended.store(true, Ordering::Relaxed);
    }

    /// Whether the worker looks at the list before it sleeps, as the worker itself asks.
    pub fn is_attended(&self) -> bool {
        self.attended.load(Ordering::Relaxed)
    }

    /// Moves what was left to the end of `to`.
    pub fn take(&self, to: &mut VecDeque<T>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        to.append(&mut list);
    }

    /// The worker sleeps after this if nothing is left. Whether it may.
    pub fn leave(&self) -> bool {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let is_empty = list.is_empty();
        if is_empty {
            self.attended.store(false, Ordering::Relaxed);
        }
        is_empty
    }
}

#[cfg(test)]
mod tests;
