//! Who waits for a connection whose halves two tasks may poll, one receiving and one sending.
//!
//! Either of them reads and writes the stream, and a stream remembers one waker per direction. So whoever polls it leaves a
//! waker that wakes both.

use std::sync::Arc;
use std::task::{Wake, Waker};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Recv,
    Send,
}

#[derive(Debug, Default)]
pub(super) struct Wakers {
    recv: Option<Waker>,
    send: Option<Waker>,
}

struct Both(Waker, Waker);

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}

impl Wakers {
    /// A waker for both sides, if another task waits at the other one.
    pub(super) fn joined(&self, side: Side, own: &Waker) -> Option<Waker> {
        let other = match side {
            Side::Recv => &self.send,
            Side::Send => &self.recv,
        };
        let other = other.as_ref().filter(|other| !other.will_wake(own))?;
        Some(Waker::from(Arc::new(Both(own.clone(), other.clone()))))
    }

    /// Notes whether `side` waits.
    pub(super) fn set(&mut self, side: Side, waits: Option<&Waker>) {
        let kept = match side {
            Side::Recv => &mut self.recv,
            Side::Send => &mut self.send,
        };
        match (waits, &kept) {
            (Some(own), Some(known)) if known.will_wake(own) => {}
            _ => *kept = waits.cloned(),
        }
    }

    /// Wakes the task at the other side, if one waits: there is news for it.
    pub(super) fn wake_other(&mut self, side: Side) {
        let other = match side {
            Side::Recv => &mut self.send,
            Side::Send => &mut self.recv,
        };
        if let Some(waker) = other.take() {
            waker.wake();
        }
    }
}
