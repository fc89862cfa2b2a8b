//! The I/O tier of a loop that is not a run of the load driver.

use super::options::IoTier;
use crate::io::epoll::Epoll;
use crate::io::uring::{self, Uring};
use crate::io::{Error, Io};

/// Work that runs on a worker of either I/O tier.
pub trait Task {
    /// What it comes to.
    type Output;

    /// Runs it to its end.
    ///
    /// # Errors
    /// The loop cannot go on.
    fn run<I: Io>(self, io: I) -> Result<Self::Output, Error>;
}

/// Runs `task` on the ring of the tier.
///
/// # Errors
/// A clause that says why it cannot run, or why it ended.
pub fn on<T: Task>(tier: IoTier, task: T) -> Result<T::Output, String> {
    let ended = |error: Error| format!("the loop ended: {error}");
    let ring = match tier {
        IoTier::Epoll => None,
        IoTier::Auto => Uring::new(&uring::Options::default()).ok(),
        IoTier::Uring => Some(
            Uring::new(&uring::Options::default())
                .map_err(|why| format!("io_uring is impossible here: {why}"))?,
        ),
    };
    match ring {
        Some(ring) => task.run(ring).map_err(ended),
        None => task.run(Epoll::new().map_err(ended)?).map_err(ended),
    }
}
