//! The executor of one asynchronous service in one worker: its tasks, and what they want of the worker.
//!
//! Owns: which tasks are ready, which are alive, and the end of all of them. Never: knows what a handler does, blocks, or keeps a
//! turn for itself: after [`POLLS_MAX`] polls the connections have theirs.
//!
//! ```text
//!  a wake, on any thread ──▶ Left ──▶ bell, if nobody looks ──▶ turn: polls tasks ──▶ settles what they want ──┐
//!                                                                   ▲                                         │
//!                                                                   └─────── tasks that this woke ◀───────────┘
//! ```

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_task::{Runnable, Task};
use ringway_bus::wakes::Left;
use slab::Slab;

use super::connection::Inner;
use super::timers::Timers;
use crate::io::ConnId;
use crate::protocol::{Commands, Handle, Verdict, Waker};
use crate::time::Instant;

/// Polls of tasks in one turn. At half a microsecond for a poll, others wait a tenth of a millisecond.
const POLLS_MAX: usize = 256;

/// Time between two looks at what other threads woke, while there is no descriptor for a bell.
const WITHOUT_BELL: Duration = Duration::from_millis(50);

/// A connection whatever its session is.
pub(super) type AnyConnection = Rc<Inner<dyn Any>>;

/// Something that a task wants of the worker.
pub(super) type Ask = Box<dyn FnOnce(&mut Handle<'_>)>;

/// Where tasks go that were woken. Wakers on other threads hold it too.
#[derive(Debug, Default)]
struct Door {
    left: Left<Runnable>,
    bell: OnceLock<Waker>,
}

impl Door {
    fn schedule(&self, task: Runnable) {
        if self.left.push(task) {
            self.ring();
        }
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.wake();
        }
    }
}

pub(super) struct Executor {
    door: Arc<Door>,
    /// Woken tasks that this worker has taken from the door.
    batch: RefCell<VecDeque<Runnable>>,
    /// Every task that has not ended. `None`: it was cancelled, and its future is still to be dropped.
    alive: RefCell<Slab<Option<Task<()>>>>,
    pub(super) timers: RefCell<Timers>,
    /// Connections that have something to send, or may be read again.
    touched: RefCell<Vec<AnyConnection>>,
    /// Connections that have sent their share of this turn.
    spent: RefCell<Vec<AnyConnection>>,
    asks: RefCell<Vec<Ask>>,
    verdicts: RefCell<Vec<(ConnId, Verdict)>>,
    /// The connection whose callback runs: what is sent on it needs no list.
    pub(super) at_hand: Cell<Option<ConnId>>,
    /// The worker's clock as read in this turn, and in the last one that came to [`Self::turn`].
    pub(super) now: Cell<Instant>,
    turned_at: Cell<Instant>,
    /// Messages to connections, and from them, that were dropped since the last turn.
    pub(super) dropped: Cell<u64>,
    pub(super) unhandled: Cell<u64>,
}

thread_local! {
    /// The executor whose task runs.
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// The executor of the task that calls.
///
/// # Panics
/// Outside of a task.
pub(super) fn current() -> Rc<Executor> {
    let current = CURRENT.with_borrow(Option::clone);
    current.expect("this needs a worker: call it from an asynchronous handler")
}

/// While it lives, tasks of this executor may run.
pub(super) struct Entered(Option<Rc<Executor>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// A task that leaves the list when its future is dropped, however it ends.
struct Registered {
    executor: Rc<Executor>,
    key: usize,
    owner: Option<AnyConnection>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(owner) = &self.owner {
            owner.base.forget(self.key);
        }
        let task = self.executor.alive.borrow_mut().try_remove(self.key);
        // Outside of the borrow. The task has ended, so this cancels nothing.
        drop(task);
    }
}

impl Executor {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            door: Arc::default(),
            batch: RefCell::default(),
            alive: RefCell::default(),
            timers: RefCell::default(),
            touched: RefCell::default(),
            spent: RefCell::default(),
            asks: RefCell::default(),
            verdicts: RefCell::default(),
            at_hand: Cell::new(None),
            now: Cell::new(Instant::ZERO),
            turned_at: Cell::new(Instant::ZERO),
            dropped: Cell::new(0),
            unhandled: Cell::new(0),
        })
    }

    /// A callback of the worker begins. [`Self::turn`] comes behind it: in this turn or, when that was already, in the next one,
    /// which is asked for.
    pub(super) fn attend(self: &Rc<Self>, now: Instant, commands: &mut Commands) -> Entered {
        self.now.set(now);
        self.door.left.attend();
        if now <= self.turned_at.get() {
            commands.wake();
        }
        self.enter()
    }

    fn enter(self: &Rc<Self>) -> Entered {
        Entered(CURRENT.replace(Some(Rc::clone(self))))
    }

    /// A task that has not been polled yet. It ends with its owner, if it has one.
    pub(super) fn spawn(
        self: &Rc<Self>,
        owner: Option<AnyConnection>,
        future: impl Future<Output = ()> + 'static,
    ) -> Runnable {
        let mut alive = self.alive.borrow_mut();
        let place = alive.vacant_entry();
        let key = place.key();
        if let Some(owner) = &owner {
            owner.base.remember(key);
        }
        let registered = Registered {
            executor: Rc::clone(self),
            key,
            owner,
        };
        let door = Arc::clone(&self.door);
        let (first, task) = async_task::spawn_local(
            async move {
                let _registered = registered;
                future.await;
            },
            move |task| door.schedule(task),
        );
        place.insert(Some(task));
        first
    }

    /// Ends a task. Its future is dropped in this turn or the next one.
    pub(super) fn cancel(&self, key: usize) {
        let mut alive = self.alive.borrow_mut();
        let task = alive.get_mut(key).and_then(Option::take);
        drop(alive);
        drop(task);
    }

    pub(super) fn touch(&self, connection: AnyConnection) {
        self.touched.borrow_mut().push(connection);
        self.come_soon();
    }

    /// The connection has sent its share, and goes on in the next turn.
    pub(super) fn rest(&self, connection: AnyConnection) {
        self.spent.borrow_mut().push(connection);
    }

    pub(super) fn ask(&self, ask: Ask) {
        self.asks.borrow_mut().push(ask);
        self.come_soon();
    }

    /// Makes sure of a turn: another service of this worker may have called, behind our own turn.
    fn come_soon(&self) {
        if !self.door.left.is_attended() {
            self.door.ring();
        }
    }

    pub(super) fn decide(&self, id: ConnId, verdict: Verdict) {
        self.verdicts.borrow_mut().push((id, verdict));
    }

    /// The verdict that was given last, if it is this connection's.
    pub(super) fn decided(&self, id: ConnId) -> Option<Verdict> {
        let mut verdicts = self.verdicts.borrow_mut();
        verdicts
            .pop_if(|(of, _)| *of == id)
            .map(|(_, verdict)| verdict)
    }

    /// Polls what is ready, carries out what that wants, and so on, until nothing is left or the polls are used up.
    pub(super) fn turn(self: &Rc<Self>, worker: &mut Handle<'_>) {
        let now = worker.now();
        self.now.set(now);
        self.turned_at.set(now);
        self.door.left.attend();
        let _entered = self.enter();
        self.fire_timers(now);
        for connection in self.spent.take() {
            connection.base.relieve();
            self.settle_one(connection, worker);
        }
        let mut polls = 0;
        loop {
            self.door.left.take(&mut self.batch.borrow_mut());
            polls += self.poll(POLLS_MAX - polls);
            self.settle(worker);
            if polls >= POLLS_MAX || (!self.has_work() && self.leave(worker)) {
                break;
            }
        }
        if polls >= POLLS_MAX || !self.spent.borrow().is_empty() {
            worker.commands().wake();
        }
        worker.commands().wake_at(self.timers.borrow().due());
        let counters = worker.counters();
        counters.drops += self.dropped.take();
        counters.unhandled += self.unhandled.take();
    }

    fn fire_timers(&self, now: Instant) {
        loop {
            // Woken outside of the borrow.
            let due = self.timers.borrow_mut().pop_due(now);
            let Some(waker) = due else { return };
            waker.wake();
        }
    }

    /// Polls up to `max` tasks of the batch.
    fn poll(&self, max: usize) -> usize {
        for polls in 0..max {
            let next = self.batch.borrow_mut().pop_front();
            let Some(task) = next else { return polls };
            task.run();
        }
        max
    }

    fn settle(&self, worker: &mut Handle<'_>) {
        for connection in self.touched.take() {
            self.settle_one(connection, worker);
        }
        for ask in self.asks.take() {
            ask(worker);
        }
        for (id, verdict) in self.verdicts.take() {
            worker.commands().decide(id, verdict);
        }
    }

    fn settle_one(&self, connection: AnyConnection, worker: &mut Handle<'_>) {
        if connection.base.settle(worker) {
            self.rest(connection);
        }
    }

    fn has_work(&self) -> bool {
        !(self.batch.borrow().is_empty()
            && self.touched.borrow().is_empty()
            && self.asks.borrow().is_empty()
            && self.verdicts.borrow().is_empty())
    }

    /// Whether the worker may sleep: a wake from now on rings for it.
    fn leave(&self, worker: &mut Handle<'_>) -> bool {
        if self.door.bell.get().is_none() {
            match worker.waker() {
                // This is the only thread that sets it.
                Ok(waker) => drop(self.door.bell.set(waker)),
                Err(error) => {
                    tracing::error!("handlers that other threads wake are late: {error}");
                    let look_at = self.now.get() + WITHOUT_BELL;
                    worker.commands().wake_at(look_at);
                }
            }
        }
        self.door.left.leave()
    }

    /// Ends all tasks, and drops their futures on this thread. Wakers that others still hold do nothing from now on.
    pub(super) fn shut_down(self: &Rc<Self>) {
        let _entered = self.enter();
        self.door.left.attend();
        loop {
            let tasks: Vec<_> = self
                .alive
                .borrow_mut()
                .iter_mut()
                .map(|(_, task)| task.take())
                .collect();
            drop(tasks);
            let mut woken = self.batch.take();
            self.door.left.take(&mut woken);
            if woken.is_empty() {
                break;
            }
            // A cancelled task that runs drops its future.
            for task in woken {
                task.run();
            }
        }
        drop((self.touched.take(), self.spent.take(), self.asks.take()));
    }
}
