//! Asynchronous services, and the [`App`] that runs one in a worker.

use std::fmt;
use std::future::{Future, ready};
use std::num::NonZeroUsize;
use std::rc::Rc;

use super::connection::{Connection, Event, Phase, Runner};
use super::executor::Executor;
use super::message::OwnedMessage;
use super::opening::OwnedOpening;
use crate::proto::Message;
use crate::protocol::{App, Closed, Context, Failure, Handle, Opening, Scope, Verdict};

/// A service whose handlers may wait. Closures with a connection and a message are services too.
///
/// All handlers of a worker run on its thread, so a handler that blocks stops every connection of the worker. A panic in one is a
/// panic in a callback: the worker process ends, and the supervisor replaces it.
pub trait AsyncApp: Sized + 'static {
    /// What is kept for each connection: [`Connection::session`]. Made by `default()` when the connection begins.
    type Session: Default + 'static;

    /// Runs beside the connections from the worker's first turn on: for timers and other work of the whole worker. Its future is
    /// dropped when the worker ends.
    fn start(self: Rc<Self>) -> impl Future<Output = ()> {
        ready(())
    }

    /// A client asks to open a WebSocket. The answer may take as long as `handshake_timeout`, then the client gets 408 and the
    /// future is dropped. What is sent meanwhile leaves when the WebSocket is open. Default: every client is accepted.
    fn connect(
        self: Rc<Self>,
        _connection: Connection<Self::Session>,
        _opening: OwnedOpening,
    ) -> impl Future<Output = Verdict> {
        ready(Verdict::accept())
    }

    /// The opening handshake is complete. No message is handled before this has ended.
    fn open(self: Rc<Self>, _connection: Connection<Self::Session>) -> impl Future<Output = ()> {
        ready(())
    }

    /// A message has arrived. The next one of its connection is handled when this has ended, unless there are several at a time
    /// ([`Async::concurrent`]).
    fn message(
        self: Rc<Self>,
        connection: Connection<Self::Session>,
        message: OwnedMessage,
    ) -> impl Future<Output = ()>;

    /// The WebSocket is closed. Called once for each that opened; its handlers' futures are dropped behind this call. What is to
    /// be done in time: [`spawn`](super::spawn) it.
    fn close(&self, _connection: &Connection<Self::Session>, _closed: Closed<'_>) {}
}

impl<F, H> AsyncApp for F
where
    F: Fn(Connection, OwnedMessage) -> H + 'static,
    H: Future<Output = ()> + 'static,
{
    type Session = ();

    fn message(
        self: Rc<Self>,
        connection: Connection,
        message: OwnedMessage,
    ) -> impl Future<Output = ()> {
        (*self)(connection, message)
    }
}

/// Runs an asynchronous service wherever an [`App`] goes: in a server, or as one of several services.
pub struct Async<A: AsyncApp> {
    app: Rc<A>,
    executor: Rc<Executor>,
    handlers_max: usize,
    has_started: bool,
}

impl<A: AsyncApp> fmt::Debug for Async<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Async")
            .field("handlers_max", &self.handlers_max)
            .finish_non_exhaustive()
    }
}

impl<A: AsyncApp> Async<A> {
    /// Handles the messages of a connection one after another.
    pub fn new(app: A) -> Self {
        Self {
            app: Rc::new(app),
            executor: Executor::new(),
            handlers_max: 1,
            has_started: false,
        }
    }

    /// Handles up to this many messages of a connection at once. They begin in order; what they send has no order. Default 1.
    #[must_use]
    pub const fn concurrent(mut self, handlers: NonZeroUsize) -> Self {
        self.handlers_max = handlers.get();
        self
    }

    /// Begins handlers for events that wait, as many as may run at once. Each is polled, so one that does not wait is done with
    /// this: also when the connection's end has arrived with the message.
    fn begin_handlers(&self, connection: &Connection<A::Session>) {
        while let Some(runner) = connection.begin_runner(self.handlers_max) {
            let handle = handle(Rc::clone(&self.app), runner, self.handlers_max);
            self.executor.spawn(Some(connection.any()), handle).run();
        }
    }

    /// Handles an event, and hands on what is sent at once.
    fn arrived(
        &self,
        context: &mut Context<'_>,
        connection: &Connection<A::Session>,
        event: Event,
    ) {
        let now = context.now();
        let _entered = self.executor.attend(now, context.commands());
        if connection.is_closed() || connection.base().is_draining() {
            return self
                .executor
                .unhandled
                .set(self.executor.unhandled.get() + 1);
        }
        if connection.arrived(event) {
            context.commands().pause(connection.id());
        }
        self.executor.at_hand.set(Some(context.id()));
        self.begin_handlers(connection);
        self.executor.at_hand.set(None);
        self.flush(context, connection);
    }

    fn flush(&self, context: &mut Context<'_>, connection: &Connection<A::Session>) {
        if connection.base().flush(context) {
            self.executor.rest(connection.any());
        }
    }
}

/// Handles events of a connection, as long as there are any.
async fn handle<A: AsyncApp>(app: Rc<A>, runner: Runner<A::Session>, handlers_max: usize) {
    let connection = &runner.0;
    while let Some(event) = connection.next() {
        match event {
            Event::Message(message) => Rc::clone(&app).message(connection.clone(), message).await,
            Event::Open => {
                Rc::clone(&app).open(connection.clone()).await;
                connection.base().set_phase(Phase::Open);
                while let Some(more) = connection.begin_runner(handlers_max) {
                    connection.spawn(handle(Rc::clone(&app), more, handlers_max));
                }
            }
        }
    }
}

impl<A: AsyncApp> Drop for Async<A> {
    fn drop(&mut self) {
        self.executor.shut_down();
    }
}

/// The connection, from its opening handshake on. Its tasks end with this.
#[derive(Debug)]
pub struct Seat<S: 'static>(Option<Connection<S>>);

impl<S> Default for Seat<S> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S> Drop for Seat<S> {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.base().end();
        }
    }
}

impl<A: AsyncApp> App for Async<A> {
    type Session = Seat<A::Session>;

    fn connect(&mut self, opening: &mut Opening<'_>, seat: &mut Self::Session) -> Verdict {
        let now = opening.now();
        let _entered = self.executor.attend(now, opening.commands());
        let connection = Connection::new(opening.id(), &self.executor, A::Session::default());
        seat.0 = Some(connection.clone());
        let (app, asked) = (Rc::clone(&self.app), OwnedOpening::new(opening));
        let (executor, owner) = (Rc::clone(&self.executor), connection.any());
        let judge = async move {
            let id = connection.id();
            let verdict = app.connect(connection, asked).await;
            executor.decide(id, verdict);
        };
        self.executor.spawn(Some(owner), judge).run();
        let verdict = self.executor.decided(opening.id());
        verdict.unwrap_or_else(Verdict::later)
    }

    fn failed(&mut self, scope: &mut Scope<'_>, seat: Self::Session, _failure: Failure) {
        let _entered = self.executor.attend(scope.now(), scope.commands());
        drop(seat);
    }

    fn open(&mut self, context: &mut Context<'_>, seat: &mut Self::Session) {
        // A connection that this worker began has none yet.
        let connection = seat.0.get_or_insert_with(|| {
            Connection::new(context.id(), &self.executor, A::Session::default())
        });
        let connection = connection.clone();
        connection.base().set_phase(Phase::Greeting);
        self.arrived(context, &connection, Event::Open);
    }

    fn message(
        &mut self,
        context: &mut Context<'_>,
        seat: &mut Self::Session,
        message: Message<'_>,
    ) {
        if let Some(connection) = &seat.0 {
            self.arrived(context, connection, Event::Message((&message).into()));
        }
    }

    fn writable(&mut self, context: &mut Context<'_>, seat: &mut Self::Session) {
        let now = context.now();
        let _entered = self.executor.attend(now, context.commands());
        if let Some(connection) = &seat.0 {
            connection.base().relieve();
            self.flush(context, connection);
        }
    }

    fn close(&mut self, scope: &mut Scope<'_>, seat: Self::Session, closed: Closed<'_>) {
        let _entered = self.executor.attend(scope.now(), scope.commands());
        if let Some(connection) = &seat.0 {
            self.app.close(connection, closed);
        }
    }

    fn drain(&mut self, seat: &mut Self::Session) -> bool {
        seat.0.as_ref().is_none_or(Connection::drain)
    }

    fn turn(&mut self, worker: &mut Handle<'_>) {
        if !std::mem::replace(&mut self.has_started, true) {
            let start = Rc::clone(&self.app);
            let first = self
                .executor
                .spawn(None, async move { start.start().await });
            first.schedule();
        }
        self.executor.turn(worker);
    }
}
