//! What was carried, and what was not.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start of the process. Every message that was to be published is in exactly one of `published`, `dropped_away`,
/// `dropped_full` and `dropped_too_big`.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages handed to the connection to the broker. NATS does not confirm them: the last ones before a loss may not have arrived.
    pub published: AtomicU64,
    /// Messages of other servers that were handed to the bus.
    pub received: AtomicU64,
    /// Messages dropped because there was no connection, or because it was lost before they were handed over.
    pub dropped_away: AtomicU64,
    /// Messages dropped because the queue for the broker was full.
    pub dropped_full: AtomicU64,
    /// Messages dropped because they are larger than the broker takes.
    pub dropped_too_big: AtomicU64,
    /// Messages of the broker that this process was too slow to take. With NATS at least as many: its client tells of them by events,
    /// of which some may be lost.
    pub overflowed: AtomicU64,
    /// Messages that came twice, by two patterns that overlap, and were taken once.
    pub repeated: AtomicU64,
    /// Messages that are none of this version.
    pub invalid: AtomicU64,
    /// Connections made after one was lost.
    pub reconnects: AtomicU64,
    /// Times that messages may be missing here: after a loss, an overflow, or a notice of another server.
    pub gaps: AtomicU64,
    /// 1 while there is a connection.
    pub connected: AtomicU64,
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}
