//! The answer to something that a task asked of its worker: a channel for one value, within a thread.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

enum Slot<R> {
    Open(Option<Waker>),
    Answered(R),
    /// Nobody is going to answer.
    Dropped,
}

/// Who answers. Dropped without an answer, it says that there is none.
pub(super) struct Reply<R>(Rc<RefCell<Slot<R>>>);

/// Who awaits the answer.
pub(super) struct Answer<R>(Rc<RefCell<Slot<R>>>);

pub(super) fn channel<R>() -> (Reply<R>, Answer<R>) {
    let slot = Rc::new(RefCell::new(Slot::Open(None)));
    (Reply(Rc::clone(&slot)), Answer(slot))
}

impl<R> Reply<R> {
    pub(super) fn send(self, answer: R) {
        self.end(Slot::Answered(answer));
    }

    fn end(&self, end: Slot<R>) {
        let mut slot = self.0.borrow_mut();
        if let Slot::Open(waker) = &mut *slot {
            let waker = waker.take();
            *slot = end;
            drop(slot);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        self.end(Slot::Dropped);
    }
}

impl<R> Future for Answer<R> {
    type Output = Option<R>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<R>> {
        let mut slot = self.0.borrow_mut();
        match std::mem::replace(&mut *slot, Slot::Dropped) {
            Slot::Open(_) => {
                *slot = Slot::Open(Some(context.waker().clone()));
                Poll::Pending
            }
            Slot::Answered(answer) => Poll::Ready(Some(answer)),
            Slot::Dropped => Poll::Ready(None),
        }
    }
}
