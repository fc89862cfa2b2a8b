//! The rules of the two flags; then every interleaving of two threads and a worker under loom, and long random ones under shuttle.

use super::*;

/// What both models run: threads leave numbers, and a worker that sleeps whenever it may must find all of them.
#[cfg(any(loom, shuttle))]
mod model {
    #[cfg(all(loom, not(shuttle)))]
    use loom::{
        sync::{Arc, Condvar, Mutex},
        thread,
    };
    #[cfg(shuttle)]
    use shuttle::{
        sync::{Arc, Condvar, Mutex},
        thread,
    };

    use super::*;

    /// An eventfd: it stays readable until it is hushed.
    #[derive(Default)]
    struct Bell {
        is_readable: Mutex<bool>,
        changed: Condvar,
    }

    impl Bell {
        fn ring(&self) {
            *self.is_readable.lock().expect("no thread panics") = true;
            self.changed.notify_one();
        }

        /// Waits until it is readable, and hushes it.
        fn wait(&self) {
            let mut is_readable = self.is_readable.lock().expect("no thread panics");
            while !*is_readable {
                is_readable = self.changed.wait(is_readable).expect("no thread panics");
            }
            *is_readable = false;
        }
    }

    #[derive(Default)]
    struct Door {
        left: Left<u32>,
        rung: Rung,
        bell: Bell,
    }

    /// A worker that loses a ring waits for ever, which both checkers report as a deadlock.
    pub(super) fn everything_is_found(threads: u32, each: u32) {
        let door = Arc::new(Door::default());
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let door = Arc::clone(&door);
                thread::spawn(move || {
                    for number in 0..each {
                        if door.left.push(number) && door.rung.ring() {
                            door.bell.ring();
                        }
                    }
                })
            })
            .collect();
        let (mut found, mut list) = (0, VecDeque::new());
        let all = threads.len() * usize::try_from(each).expect("few");
        while found < all {
            door.left.take(&mut list);
            found += list.drain(..).count();
            if found < all && door.left.leave() {
                door.bell.wait();
                door.rung.hear();
                door.left.attend();
            }
        }
        for thread in threads {
            thread.join().expect("it ends");
        }
    }
}

#[cfg(all(loom, not(shuttle)))]
#[test]
fn no_wake_is_lost_in_any_interleaving() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| model::everything_is_found(2, 1));
    builder.check(|| model::everything_is_found(1, 2));
}

#[cfg(shuttle)]
#[test]
fn no_wake_is_lost_in_long_runs() {
    shuttle::check_random(|| model::everything_is_found(3, 10), 2_000);
}

#[cfg(not(any(loom, shuttle)))]
#[test]
fn only_who_finds_the_list_unattended_has_to_ring() {
    let (left, mut list) = (Left::default(), VecDeque::new());
    assert!(!left.push(1), "a worker that begins looks");
    assert!(!left.leave(), "something is left");
    left.take(&mut list);
    assert!(left.leave());
    assert!(left.push(2));
    assert!(left.push(3), "the bell decides who of the two rings");
    left.attend();
    assert!(!left.push(4));
    left.take(&mut list);
    assert_eq!(list, [1, 2, 3, 4]);
}

#[cfg(not(any(loom, shuttle)))]
#[test]
fn a_bell_is_rung_once_until_it_is_heard() {
    let rung = Rung::default();
    assert!(rung.ring());
    assert!(!rung.ring());
    rung.hear();
    assert!(rung.ring());
}
