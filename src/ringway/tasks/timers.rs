//! Timers of tasks, in the worker's own time.
//!
//! Owns: who is to be woken when. Never: waits; the earliest timer is the latest instant of the worker's next turn.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::executor::{Executor, current};
use crate::time::Instant;

/// Timers by instant; those of one instant in the order in which they were set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeMap<(Instant, u64), Waker>,
    last: u64,
}

impl Timers {
    /// The earliest one.
    pub(super) fn due(&self) -> Instant {
        let first = self.set.first_key_value();
        first.map_or(Instant::NEVER, |((at, _), _)| *at)
    }

    /// Takes the first of those that are due, to be woken.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        let first = self.set.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// Waits: counted from the beginning of the worker's turn in which this is called.
///
/// # Panics
/// When it is not called from an asynchronous handler.
pub fn sleep(duration: Duration) -> Sleep {
    let executor = current();
    Sleep {
        at: executor.now.get() + duration,
        number: None,
        executor,
    }
}

/// The future of [`sleep`]. It may be dropped at any time.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    at: Instant,
    /// The timer, while one is set.
    number: Option<u64>,
    executor: Rc<Executor>,
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.executor.now.get() >= this.at {
            return Poll::Ready(());
        }
        let mut timers = this.executor.timers.borrow_mut();
        let number = *this.number.get_or_insert_with(|| {
            timers.last += 1;
            timers.last
        });
        let before = timers
            .set
            .insert((this.at, number), context.waker().clone());
        // What a waker holds may have timers too.
        drop(timers);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let removed = self
                .executor
                .timers
                .borrow_mut()
                .set
                .remove(&(self.at, number));
            drop(removed);
        }
    }
}

/// The time was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it took too long")
    }
}

impl std::error::Error for Elapsed {}

/// Awaits `future` for at most `duration`, and drops it then.
///
/// # Errors
/// [`Elapsed`]: the future was not complete in time.
///
/// # Panics
/// When it is not awaited in an asynchronous handler.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut sleep = sleep(duration);
    let mut future = pin!(future);
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut sleep).poll(context).map(|()| Err(Elapsed))
    })
    .await
}
