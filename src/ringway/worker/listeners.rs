//! The listeners of one worker, one for each address of the server. Almost every server has one: the others are looked
//! at only if there are any.

use super::listener::Listener;
use crate::io::Io;
use crate::time::Instant;

/// The listeners, by number.
#[derive(Debug)]
pub(super) struct Listeners {
    first: Listener,
    more: Vec<Listener>,
    /// When one of `more` needs a turn.
    more_due: Instant,
}

impl Listeners {
    pub(super) const fn new(first: Listener) -> Self {
        Self {
            first,
            more: Vec::new(),
            more_due: Instant::NEVER,
        }
    }

    /// Adds a listener, before the first turn.
    pub(super) fn push(&mut self, listener: Listener) {
        let number = u32::try_from(self.more.len() + 1).expect("an address each");
        self.more.push(listener.numbered(number));
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        1 + self.more.len()
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Listener> {
        std::iter::once(&mut self.first).chain(&mut self.more)
    }

    /// The listener with this number, below [`Self::len`].
    #[inline(always)]
    pub(super) fn get(&mut self, number: usize) -> &mut Listener {
        match number {
            0 => &mut self.first,
            _ => &mut self.more[number - 1],
        }
    }

    /// Runs before a turn: arms the readiness that this worker needs.
    #[inline(always)]
    pub(super) fn arm(&mut self, io: &mut impl Io, connections: usize, now: Instant) {
        self.first.arm(io, connections, now);
        if !self.more.is_empty() {
            self.arm_more(io, connections, now);
        }
    }

    #[cold]
    fn arm_more(&mut self, io: &mut impl Io, connections: usize, now: Instant) {
        self.more_due = Instant::NEVER;
        for listener in &mut self.more {
            listener.arm(io, connections, now);
            self.more_due = self.more_due.min(listener.due());
        }
    }

    /// When a listener needs a turn, even without an event.
    #[inline(always)]
    pub(super) fn due(&self) -> Instant {
        self.first.due().min(self.more_due)
    }

    /// Stops accepting, and closes the listeners.
    pub(super) fn stop(&mut self, io: &mut impl Io) {
        self.more_due = Instant::NEVER;
        self.each().for_each(|listener| listener.stop(io));
    }

    /// Whether a listener was shut down outside this worker: then all are, or are about to be.
    pub(super) fn is_shut(&self) -> bool {
        self.first.is_shut() || self.more.iter().any(Listener::is_shut)
    }

    /// Publishes how many connections this worker holds.
    pub(super) fn publish(&self, connections: usize) {
        self.first.publish(connections);
    }
}
