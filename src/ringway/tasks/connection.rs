//! A connection as its handlers see it, and what waits in both directions between them and the worker.
//!
//! Owns: the order of what is sent, the messages whose handler has not begun, and their limits. Never: encodes or sends; the worker
//! does when the connection is at hand, in its own callback or in [`App::turn`](crate::App::turn).
//!
//! ```text
//!  worker ──▶ waiting (bounded: the peer is not read above it) ──▶ handlers, one or several at a time
//!  worker ◀── out     (bounded: senders wait above it)         ◀── handlers and other tasks
//! ```

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::executor::{AnyConnection, Executor};
use super::message::OwnedMessage;
use super::reply;
use crate::io::ConnId;
use crate::proto::{CloseCode, Misuse};
use crate::protocol::{Context, Handle, Prepared, SendError};

/// Bytes that handlers have sent and the worker has not taken yet, above which senders wait. The worker takes as many in a turn: only
/// behind it does it know what the socket has not taken.
const OUT_BYTES_MAX: usize = 64 << 10;

/// Bytes of messages whose handlers have not begun, above which the peer is not read; read on below half of it.
const WAITING_BYTES_MAX: usize = 64 << 10;

/// The reason in the Close of a worker that stops, as the worker itself gives it.
const STOPPING: &str = "the server is stopping";

/// What a handler is for.
pub(super) enum Event {
    Open,
    Message(OwnedMessage),
}

/// What handlers want to be done to their connection, in order.
enum Out {
    Message(OwnedMessage),
    Prepared(Prepared, usize),
    Close(CloseCode, String),
    Call(Box<dyn FnOnce(&mut Context<'_>)>),
}

impl Out {
    fn weight(&self) -> usize {
        match self {
            Self::Message(message) => message.weight(),
            Self::Prepared(..) | Self::Close(..) | Self::Call(_) => 64,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In its opening handshake. What is sent waits.
    Opening,
    /// The handler of `open` has not ended.
    Greeting,
    Open,
    /// This side has begun to close.
    Closing,
    Ended,
}

/// What connections have whatever their session is.
pub(super) struct Base {
    id: ConnId,
    executor: Rc<Executor>,
    phase: Cell<Phase>,
    /// The worker stops: the connection is closed when the last handler has ended.
    is_draining: Cell<bool>,
    out: RefCell<VecDeque<Out>>,
    out_bytes: Cell<usize>,
    /// The worker's send queue is full, and it tells when it is empty; or it has taken its share of this turn.
    is_full: Cell<bool>,
    /// Bytes that the worker has taken of this share.
    taken_bytes: Cell<usize>,
    /// It is in the executor's list.
    is_touched: Cell<bool>,
    waiting: RefCell<VecDeque<Event>>,
    waiting_bytes: Cell<usize>,
    is_paused: Cell<bool>,
    /// Tasks that handle events.
    runners: Cell<usize>,
    /// Tasks that end with the connection.
    tasks: RefCell<Vec<usize>>,
    /// Tasks that wait for room, or for the end.
    waiters: RefCell<Vec<Waker>>,
}

pub(super) struct Inner<S: ?Sized> {
    pub(super) base: Base,
    session: S,
}

/// A connection, for as long as anybody keeps it. Clones are the same connection.
pub struct Connection<S = ()>(Rc<Inner<S>>);

impl<S> Clone for Connection<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = &self.0.base;
        f.debug_struct("Connection")
            .field("id", &base.id)
            .field("phase", &base.phase.get())
            .finish_non_exhaustive()
    }
}

impl<S: 'static> Connection<S> {
    pub(super) fn new(id: ConnId, executor: &Rc<Executor>, session: S) -> Self {
        let base = Base {
            id,
            executor: Rc::clone(executor),
            phase: Cell::new(Phase::Opening),
            is_draining: Cell::new(false),
            out: RefCell::default(),
            out_bytes: Cell::new(0),
            is_full: Cell::new(false),
            taken_bytes: Cell::new(0),
            is_touched: Cell::new(false),
            waiting: RefCell::default(),
            waiting_bytes: Cell::new(0),
            is_paused: Cell::new(false),
            runners: Cell::new(0),
            tasks: RefCell::default(),
            waiters: RefCell::default(),
        };
        Self(Rc::new(Inner { base, session }))
    }

    pub(super) fn base(&self) -> &Base {
        &self.0.base
    }

    pub(super) fn any(&self) -> AnyConnection {
        let any: Rc<Inner<dyn Any>> = Rc::<Inner<S>>::clone(&self.0);
        any
    }

    /// The connection's identity in its worker, the same for its whole life.
    pub fn id(&self) -> ConnId {
        self.base().id
    }

    /// What the service keeps for this connection. Handlers that run at once share it.
    pub fn session(&self) -> &S {
        &self.0.session
    }

    /// Whether nothing can be sent any more: it has ended, or this side has begun to close it.
    pub fn is_closed(&self) -> bool {
        matches!(self.base().phase.get(), Phase::Closing | Phase::Ended)
    }

    /// Sends a message. While the peer does not keep up, this waits until its queue is empty again. The messages of one task
    /// leave in order. Dropped before it is complete, it has sent nothing.
    ///
    /// # Errors
    /// [`Misuse::AfterClose`]: the connection is closed. The end of a connection after this call drops what the peer has not got.
    pub async fn send(&self, message: impl Into<OwnedMessage>) -> Result<(), SendError> {
        let message = message.into();
        self.room().await;
        self.push(Out::Message(message))
    }

    /// Sends message `index` of `prepared`, as [`Self::send`]. A message is prepared by
    /// [`Handle::prepare`](crate::Handle::prepare), see [`with_worker`](super::with_worker).
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_prepared(&self, prepared: &Prepared, index: usize) -> Result<(), SendError> {
        self.room().await;
        self.push(Out::Prepared(prepared.clone(), index))
    }

    /// Sends a message, if there is room for it now.
    ///
    /// # Errors
    /// [`SendError::QueueFull`]: the peer does not keep up. Otherwise as [`Self::send`].
    pub fn try_send(&self, message: impl Into<OwnedMessage>) -> Result<(), SendError> {
        if !self.is_closed() && !self.base().has_room() {
            return Err(SendError::QueueFull);
        }
        self.push(Out::Message(message.into()))
    }

    /// Begins the closing handshake, behind what was sent; `reason` is at most 123 bytes. No handler begins after that. Those that
    /// run end with the connection: what is behind this call and an `await` in one of them may never run.
    pub fn close(&self, code: CloseCode, reason: &str) {
        if self.push(Out::Close(code, reason.to_owned())).is_ok() {
            self.base().phase.set(Phase::Closing);
            self.base().wake_waiters();
        }
    }

    /// Waits until the connection has ended. Only for tasks that are not this connection's own: those end with it.
    pub async fn closed(&self) {
        let base = self.base();
        base.wait_until(|| base.phase.get() == Phase::Ended).await;
    }

    /// Does something for which there is no call here, such as [`Context::ping`], [`Context::subscribe`] or [`Context::publish`],
    /// behind what was sent. `None`: the connection has ended before.
    pub async fn with<R: 'static>(
        &self,
        call: impl FnOnce(&mut Context<'_>) -> R + 'static,
    ) -> Option<R> {
        let (reply, answer) = reply::channel();
        let call = move |context: &mut Context<'_>| reply.send(call(context));
        self.push(Out::Call(Box::new(call))).ok()?;
        answer.await
    }

    /// Runs a task that ends with the connection: its future is dropped then.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let base = self.base();
        if base.phase.get() != Phase::Ended {
            base.executor.spawn(Some(self.any()), task).schedule();
        }
    }

    /// Waits until something may be sent, or never again.
    async fn room(&self) {
        let base = self.base();
        base.wait_until(|| self.is_closed() || base.has_room())
            .await;
    }

    fn push(&self, out: Out) -> Result<(), SendError> {
        let base = self.base();
        if self.is_closed() {
            return Err(SendError::Misuse(Misuse::AfterClose));
        }
        base.out_bytes.set(base.out_bytes.get() + out.weight());
        base.out.borrow_mut().push_back(out);
        base.touch(|| self.any());
        Ok(())
    }

    /// Leaves an event for a handler. Whether reading from the peer is to pause.
    pub(super) fn arrived(&self, event: Event) -> bool {
        let base = self.base();
        if let Event::Message(message) = &event {
            base.waiting_bytes
                .set(base.waiting_bytes.get() + message.weight());
        }
        base.waiting.borrow_mut().push_back(event);
        base.waiting_bytes.get() > WAITING_BYTES_MAX && !base.is_paused.replace(true)
    }

    /// The next event to be handled.
    pub(super) fn next(&self) -> Option<Event> {
        let base = self.base();
        if self.is_closed() {
            return None;
        }
        let event = base.waiting.borrow_mut().pop_front()?;
        if let Event::Message(message) = &event {
            let bytes = base.waiting_bytes.get() - message.weight();
            base.waiting_bytes.set(bytes);
            if base.is_paused.get() && bytes < WAITING_BYTES_MAX / 2 {
                base.touch(|| self.any());
            }
        }
        Some(event)
    }

    /// Whether one more task may handle events, of `limit` that may at once. If so, it counts from now on.
    pub(super) fn begin_runner(&self, limit: usize) -> Option<Runner<S>> {
        let base = self.base();
        let limit = match base.phase.get() {
            Phase::Greeting => 1,
            _ => limit,
        };
        let runners = base.runners.get();
        if runners >= limit || self.is_closed() || base.waiting.borrow().is_empty() {
            return None;
        }
        base.runners.set(runners + 1);
        Some(Runner(self.clone()))
    }

    /// The worker stops. Whether the connection may be closed at once; otherwise it is when its last handler has ended.
    pub(super) fn drain(&self) -> bool {
        let base = self.base();
        base.is_draining.set(true);
        match base.runners.get() == 0 {
            true if base.out.borrow().is_empty() => true,
            true => {
                self.close(CloseCode::GoingAway, STOPPING);
                false
            }
            false => false,
        }
    }
}

/// A task that handles the events of a connection, one after another.
pub(super) struct Runner<S: 'static>(pub(super) Connection<S>);

impl<S> Drop for Runner<S> {
    fn drop(&mut self) {
        let base = self.0.base();
        base.runners.set(base.runners.get() - 1);
        if base.is_draining.get() && base.runners.get() == 0 {
            self.0.close(CloseCode::GoingAway, STOPPING);
        }
    }
}

impl Base {
    /// The phase goes on, never back.
    pub(super) fn set_phase(&self, phase: Phase) {
        if !matches!(self.phase.get(), Phase::Closing | Phase::Ended) {
            self.phase.set(phase);
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    pub(super) fn remember(&self, task: usize) {
        self.tasks.borrow_mut().push(task);
    }

    pub(super) fn forget(&self, task: usize) {
        self.tasks.borrow_mut().retain(|of| *of != task);
    }

    fn has_room(&self) -> bool {
        !self.is_full.get() && self.out_bytes.get() < OUT_BYTES_MAX
    }

    /// Waits for something that may become true when a callback of this connection has been called.
    async fn wait_until(&self, is_so: impl Fn() -> bool) {
        poll_fn(|context| {
            if is_so() {
                return Poll::Ready(());
            }
            let mut waiters = self.waiters.borrow_mut();
            if !waiters
                .iter()
                .any(|waiter| waiter.will_wake(context.waker()))
            {
                waiters.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    fn wake_waiters(&self) {
        self.waiters.take().into_iter().for_each(Waker::wake);
    }

    /// The executor looks at the connection before its turn ends, unless its own callback does at once.
    fn touch(&self, any: impl FnOnce() -> AnyConnection) {
        let is_at_hand = self.executor.at_hand.get() == Some(self.id);
        if !is_at_hand && self.phase.get() != Phase::Opening && !self.is_touched.replace(true) {
            self.executor.touch(any());
        }
    }

    /// What the executor does for a connection in its list. As [`Self::flush`].
    pub(super) fn settle(&self, worker: &mut Handle<'_>) -> bool {
        self.is_touched.set(false);
        if self.is_paused.get() && self.waiting_bytes.get() < WAITING_BYTES_MAX / 2 {
            self.is_paused.set(false);
            // Behind the command to pause, which may be of this turn.
            worker.commands().resume(self.id);
        }
        // It has begun to close, or has ended: `end` counts what was not sent.
        let context = worker.context(self.id);
        context.is_some_and(|mut context| self.flush(&mut context))
    }

    /// Its next turn has come, or the send queue is empty again: more can be sent.
    pub(super) fn relieve(&self) {
        self.is_full.set(false);
    }

    /// Hands what was sent to the worker, as far as it takes it. Whether that was the share of a turn, so that the next turn is to
    /// [`relieve`](Self::relieve) it.
    #[must_use]
    pub(super) fn flush(&self, context: &mut Context<'_>) -> bool {
        while !self.is_full.get() {
            let next = self.out.borrow_mut().pop_front();
            let Some(out) = next else { break };
            let weight = out.weight();
            let sent = match &out {
                Out::Message(message) => context.send(message.kind(), message.payload()),
                Out::Prepared(prepared, index) => context.send_prepared(prepared, *index),
                Out::Close(code, reason) => context.close(*code, reason).map_err(Into::into),
                Out::Call(_) => Ok(()),
            };
            match (sent, out) {
                (Err(SendError::QueueFull), out) => {
                    self.is_full.set(true);
                    self.out.borrow_mut().push_front(out);
                    return false;
                }
                (Err(_), Out::Message(_) | Out::Prepared(..)) => self.count_dropped(1),
                (_, Out::Call(call)) => call(context),
                // The peer's Close is to be read.
                (_, Out::Close(..)) if self.is_paused.take() => {
                    context.commands().resume(self.id);
                }
                _ => {}
            }
            self.out_bytes.set(self.out_bytes.get() - weight);
            let taken = self.taken_bytes.get() + weight;
            self.taken_bytes.set(taken);
            if taken >= OUT_BYTES_MAX {
                self.taken_bytes.set(0);
                self.is_full.set(true);
                return true;
            }
        }
        if self.has_room() {
            self.wake_waiters();
        }
        false
    }

    fn count_dropped(&self, messages: u64) {
        let dropped = &self.executor.dropped;
        dropped.set(dropped.get() + messages);
    }

    /// The connection has ended, or did not open: its tasks end, and what waits is dropped.
    pub(super) fn end(&self) {
        if self.phase.replace(Phase::Ended) == Phase::Ended {
            return;
        }
        let out = self.out.take();
        let is_message = |out: &&Out| matches!(out, Out::Message(_) | Out::Prepared(..));
        self.count_dropped(out.iter().filter(is_message).count() as u64);
        let left = self.waiting.take().len() + self.runners.get();
        let unhandled = &self.executor.unhandled;
        unhandled.set(unhandled.get() + left as u64);
        for task in self.tasks.take() {
            self.executor.cancel(task);
        }
        self.wake_waiters();
        // Answers that are dropped wake who awaits them.
        drop(out);
    }
}
