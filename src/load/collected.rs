//! What the conductor of a run collects from its threads, until a result is made of it.

use super::meter::Slice;
use super::thread;
use crate::time::Instant;

/// What is collected from the threads.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) slices: Vec<Slice>,
    pub(super) threads: Vec<thread::Result>,
    pub(super) fanout: Option<(u64, u64)>,
    /// The clock's start, and the window's begin in wall time.
    pub(super) go: Option<Instant>,
    pub(super) began_unix_ms: u64,
    /// Connections open when the clock started.
    pub(super) connections: u64,
    pub(super) interrupted: bool,
}
