//! A waker: what another thread rings so that a worker takes another turn.
//!
//! Owns: the bell (an eventfd) and whether it has been rung. Never: carries anything; what the thread has to say lies where the
//! application looks for it in [`App::turn`](super::App::turn).
//!
//! ```text
//!  another thread:   leaves something ──▶ Rung: false → true ──▶ rings the bell, only if it was false
//!  the worker:       the bell wakes it ──▶ hushes the bell ──▶ Rung: false ──▶ App::turn looks for everything left
//! ```
//!
//! Why nothing is lost, and the models that check it: [`ringway_bus::wakes`].

use std::fs::File;
use std::io;
use std::sync::Arc;

use ringway_bus::wakes::Rung;

use crate::io::{Fd, words};

/// Makes a worker take another turn, and so call [`App::turn`](super::App::turn), from any thread. Clones ring the same worker.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    rung: Rung,
    ring: File,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Bell {
            rung: Rung::default(),
            ring: words::bell()?,
        })))
    }

    /// Wakes the worker, unless it is to wake already. Leave what it shall find before this call.
    pub fn wake(&self) {
        if self.0.rung.ring() {
            // Only a wrong descriptor fails, and this one is an eventfd.
            let _ = words::ring(&self.0.ring);
        }
    }

    /// What becomes readable.
    pub(crate) fn fd(&self) -> Fd {
        words::fd(&self.0.ring)
    }

    /// The worker is awake, and looks for everything in this turn.
    pub(crate) fn hush(&self) {
        words::hush(&self.0.ring);
        self.0.rung.hear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::io::sys::is_readable;

    #[test]
    fn it_rings_once_until_it_is_heard() {
        let waker = Waker::new().expect("an eventfd");
        assert!(!is_readable(waker.fd()));
        waker.wake();
        waker.clone().wake();
        assert!(is_readable(waker.fd()));
        waker.hush();
        assert!(!is_readable(waker.fd()));
        waker.wake();
        assert!(is_readable(waker.fd()));
    }

    #[test]
    fn whatever_was_left_before_a_ring_is_found() {
        const ROUNDS: u64 = 100_000;
        let waker = Waker::new().expect("an eventfd");
        let left = Arc::new(AtomicU64::new(0));
        let threads = [0; 2].map(|_| {
            let (waker, left) = (waker.clone(), Arc::clone(&left));
            std::thread::spawn(move || {
                for _ in 0..ROUNDS {
                    // Relaxed: the waker alone orders it.
                    left.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                }
            })
        });
        let mut found = 0;
        while found < 2 * ROUNDS {
            if is_readable(waker.fd()) {
                waker.hush();
                found = left.load(Ordering::Relaxed);
            } else {
                // A worker would sleep here: it may only if a ring is still to come.
                std::thread::yield_now();
            }
        }
        for thread in threads {
            thread.join().expect("it ends");
        }
    }
}
