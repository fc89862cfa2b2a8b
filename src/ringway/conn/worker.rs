//! The loop of one worker. One turn is: enter, reap, handle, flush.
//!
//! ```text
//!        ┌──────────────────────────────────────────────────────────────────────────┐
//!        ▼                                                                          │
//!   1. enter ──▶ 2. sends that were short ──▶ 3. buffers back ──▶ 4. handle ──▶ 5. one send
//!   (submits 5,       (their buffers are         (one store)        everything     per connection
//!    waits)            still untouched)                             else
//! ```

use std::time::Duration;

use super::app::{App, Host};
use super::blocks::Blocks;
use super::commands::Commands;
use super::config::Config;
use super::connect::Failure;
use super::connection::{Connection, Pauses, Phase};
use super::feed::{Share, Shared};
use super::handle::{Handle, Reachable};
use super::keys::Keys;
use super::listener::{Accepted, Dead, Listener};
use super::outbox::Outbox;
use super::prepared::{Prepared, TooMuch};
use super::table::Table;
use super::tidy::{LIST_LEN, Tidy};
use super::timers::Wheel;
use super::transmit::Batch;
use crate::io::pool::CHUNK_BUFFERS;
use crate::io::{BufferId, Completion, ConnId, Error, Fd, Io, Op, Token, Wait};
use crate::proto::handshake::Refusal;
use crate::proto::{CloseCode, Kind, Role};
use crate::stats::Counters;
use crate::time::Instant;

/// With more buffers than this in use after a turn, they are given back before the worker waits.
const HELD_MAX: usize = CHUNK_BUFFERS as usize / 2;

/// The ring and what belongs to it, apart from the connections themselves.
#[derive(Debug)]
pub(super) struct Core<I> {
    pub(super) io: I,
    pub(super) shared: Shared,
    /// The segments of the send that is being made.
    pub(super) batch: Batch,
    /// Receive buffers of this turn.
    pub(super) held: Vec<BufferId>,
    /// A receive found the pool empty.
    pub(super) ran_dry: bool,
    /// Connections whose receive found the pool empty.
    pub(super) starved: Vec<ConnId>,
    /// Connections with more to read than their share of a turn.
    pub(super) ready: Vec<ConnId>,
    /// System calls that sent and did nothing else.
    pub(super) lone_sends: u64,
    /// Connections whose queue was full, and left without having to wait for room.
    pub(super) relieved: Vec<ConnId>,
    /// Connections that ended and have nothing armed.
    pub(super) released: Vec<ConnId>,
}

/// How all connections are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// With a closing handshake.
    Drain,
    /// At once.
    Abort,
}

/// A worker: its ring, its connections, its application.
pub struct Worker<I, A: App> {
    pub(super) core: Core<I>,
    host: Host<A>,
    pub(super) table: Table,
    wheel: Wheel,
    listener: Listener,
    pub(super) done: Vec<Completion>,
    pub(super) expired: Vec<ConnId>,
    /// An empty list whose memory the next one uses.
    pub(super) spare: Vec<ConnId>,
    pub(super) tidy: Tidy,
    /// What was asked for between turns. It waits for the next one: in between, the kernel has not decided the sends of
    /// the last turn, so that nothing may be added to them and no descriptor may be closed.
    stop: Option<Stop>,
    /// Watched descriptors that became ready, one bit each.
    watched: u32,
    /// When the last turn's system call returned.
    woken: Instant,
}

impl<I, A: App> std::fmt::Debug for Worker<I, A> {
    /// Its size: the connections and their sessions are too many to show.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("connections", &self.table.len())
            .finish_non_exhaustive()
    }
}

impl<I: Io, A: App> Worker<I, A> {
    /// A worker that accepts on `listener` from its first turn on.
    pub fn new(io: I, app: A, config: Config, listener: Listener) -> Self {
        let now = io.now();
        let keys = Keys::new(config.masking);
        let shared = Shared {
            config,
            board: listener.board(),
            counters: Counters::default(),
            outbox: Outbox::new(),
            buffers: super::buffers::Buffers::default(),
            dirty: Vec::with_capacity(LIST_LEN),
            rescheduled: Vec::with_capacity(LIST_LEN),
            response: Vec::new(),
            condemned: Vec::new(),
            keys,
            blocks: Blocks::default(),
            commands: Commands::default(),
            share: Share::default(),
            now,
            clock: super::clock::Clock::new(),
            told: super::feed::Told::default(),
            draining: false,
        };
        let [starved, ready, released] = [(); 3].map(|()| Vec::with_capacity(LIST_LEN));
        Self {
            core: Core {
                io,
                shared,
                batch: Batch::default(),
                held: Vec::with_capacity(LIST_LEN),
                ran_dry: false,
                starved,
                ready,
                lone_sends: 0,
                relieved: Vec::new(),
                released,
            },
            host: Host::new(app),
            table: Table::default(),
            wheel: Wheel::new(now),
            listener,
            done: Vec::new(),
            expired: Vec::new(),
            spare: Vec::with_capacity(LIST_LEN),
            tidy: Tidy::new(),
            stop: None,
            watched: 0,
            woken: now,
        }
    }

    /// A worker that accepts nothing: its connections are begun by its application, in [`App::turn`]. Nothing ends the wait
    /// of a turn before there are any, so the first one is not to wait.
    pub fn client(io: I, app: A, config: Config) -> Self {
        Self::new(io, app, config, Listener::none())
    }

    /// Encodes messages once, to be sent any number of times ([`Context::send_prepared`](super::Context::send_prepared))
    /// on connections in `role`. What is prepared stays as long as the worker.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn prepare(&mut self, role: Role, messages: &[(Kind, &[u8])]) -> Result<Prepared, TooMuch> {
        self.core.shared.prepare(role, messages)
    }

    /// Tells in [`Self::take_watched`] when `fd` is readable. `bit` is below 32.
    pub fn watch(&mut self, fd: Fd, bit: u32) {
        self.core
            .io
            .submit_poll_in(Token::fixed(Op::Watch, bit), fd);
    }

    /// The watched descriptors that became readable since the last call.
    pub fn take_watched(&mut self) -> u32 {
        std::mem::take(&mut self.watched)
    }

    /// What was counted so far.
    pub fn counters(&mut self) -> &mut Counters {
        let counts = self.core.io.take_counts();
        let counters = &mut self.core.shared.counters;
        counters.turns += counts.enters;
        counters.cq_overflows += counts.cq_overflows;
        counters.sockets = self.table.len() as u64;
        counters
    }

    /// System calls so far that sent and did nothing else: what went into the ring is not among them.
    pub const fn lone_sends(&self) -> u64 {
        self.core.lone_sends
    }

    /// The instant at which the last turn woke up.
    pub const fn woken(&self) -> Instant {
        self.woken
    }

    /// Connections in any phase.
    pub const fn connections(&self) -> usize {
        self.table.len()
    }

    /// The ring.
    pub const fn io(&self) -> &I {
        &self.core.io
    }

    /// The application.
    pub const fn app(&self) -> &A {
        &self.host.app
    }

    /// The application, between turns: what it wants of connections it does in [`App::turn`].
    pub const fn app_mut(&mut self) -> &mut A {
        &mut self.host.app
    }

    /// What is to be done to its connections in the next turn.
    pub const fn commands(&mut self) -> &mut Commands {
        &mut self.core.shared.commands
    }

    /// Blocks of prepared messages that are in use, or not yet given back.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> usize {
        self.core.shared.blocks.len()
    }

    /// The ring, for tests that play the kernel.
    pub const fn io_mut(&mut self) -> &mut I {
        &mut self.core.io
    }

    /// Stops accepting and, with the next turn, closes every WebSocket with 1001. The worker is done when no connection
    /// is left.
    pub fn drain(&mut self) {
        self.listener.stop(&mut self.core.io);
        self.core.shared.draining = true;
        self.stop.get_or_insert(Stop::Drain);
    }

    /// Whether the listener was shut down under this worker: then there is nothing left but to drain.
    pub const fn is_listener_shut(&self) -> bool {
        self.listener.is_shut()
    }

    /// Ends every connection with the next turn.
    pub fn abort(&mut self) {
        self.stop = Some(Stop::Abort);
    }

    /// One turn, which waits for at most `patience`.
    ///
    /// # Errors
    /// The ring or the listener failed: the worker cannot go on.
    pub fn turn(&mut self, patience: Option<Duration>) -> Result<(), Error> {
        let latest = patience.map(|patience| self.core.io.now() + patience);
        self.turn_until(latest.unwrap_or(Instant::NEVER))
    }

    /// One turn, which waits until `latest` and no longer.
    ///
    /// # Errors
    /// The ring or the listener failed: the worker cannot go on.
    pub fn turn_until(&mut self, latest: Instant) -> Result<(), Error> {
        self.listener
            .arm(&mut self.core.io, self.table.len(), self.core.shared.now);
        let wait = self.wait(latest);
        let mut done = std::mem::take(&mut self.done);
        self.core.io.turn(wait, &mut done)?;
        self.woken = self.core.io.now();
        self.core.shared.now = self.woken;
        self.core.shared.outbox.next_turn();
        self.core.shared.commands.wake = false;
        self.core.shared.share = Share::default();

        self.handle_sends(&done);
        self.core.shared.blocks.retire(&mut self.core.io);
        self.core
            .io
            .replenish(&mut self.core.held, std::mem::take(&mut self.core.ran_dry));
        self.feed_starved();
        let left_over = self.core.ready.len();
        for completion in &done {
            self.handle(completion)?;
        }
        self.read_on(left_over);
        self.accept()?;
        self.tell_relieved();
        self.expire();
        self.host.app.turn(&mut Handle::new(&mut Reachable {
            core: &mut self.core,
            table: &mut self.table,
        }));
        self.core.run_commands(&mut self.host, &mut self.table);
        self.end_condemned();
        self.stop_if_asked();
        self.after_handlers();
        let busy = !done.is_empty();
        done.clear();
        self.done = done;
        self.tidy(busy);
        Ok(())
    }

    /// How long the turn may wait: not at all while work is left over, else until the next deadline.
    fn wait(&self, latest: Instant) -> Wait {
        let core = &self.core;
        if self.stop.is_some()
            || !core.ready.is_empty()
            || !core.starved.is_empty()
            || !core.relieved.is_empty()
            || core.shared.commands.is_pending()
            || core.held.len() > HELD_MAX
        {
            return Wait::No;
        }
        let due = latest
            .min(self.wheel.due())
            .min(self.listener.due())
            .min(self.tidy.due());
        match due {
            Instant::NEVER => Wait::Forever,
            due => Wait::Until(due),
        }
    }

    fn handle_sends(&mut self, done: &[Completion]) {
        for completion in done
            .iter()
            .filter(|completion| completion.token.is(Op::Send))
        {
            if let Some(conn) = self.table.get_mut(completion.token.id()) {
                self.core
                    .handle_send(&mut self.host, conn, completion.result);
            }
        }
    }

    /// The pool is full again: receives that found it empty are armed once more.
    fn feed_starved(&mut self) {
        if self.core.starved.is_empty() {
            return;
        }
        let mut ids = self.take(|core| &mut core.starved);
        for id in ids.drain(..) {
            if let Some(conn) = self.table.get_mut(id) {
                self.core.arm_receive(conn);
            }
        }
        self.spare = ids;
    }

    fn handle(&mut self, completion: &Completion) -> Result<(), Error> {
        if let Some(buffer) = completion.buffer {
            self.core.held.push(buffer);
        }
        if completion.token.is(Op::Recv) {
            // The commonest by far.
            if let Some(conn) = self.table.get_mut(completion.token.id()) {
                self.core.handle_recv(&mut self.host, conn, completion);
                return Ok(());
            }
        }
        match completion.token.op() {
            Op::Accept => return self.handle_listener(completion),
            Op::Watch => {
                self.watched |= 1 << completion.token.id().slot;
                return Ok(());
            }
            Op::Send | Op::Cancel | Op::Alarm => return Ok(()),
            Op::Recv | Op::PollIn | Op::PollOut => {}
        }
        let (core, host) = (&mut self.core, &mut self.host);
        let Some(conn) = self.table.get_mut(completion.token.id()) else {
            core.shared.counters.stale_completions += 1;
            return Ok(());
        };
        match completion.token.op() {
            Op::PollIn => core.handle_poll_in(host, conn, completion),
            _ => core.handle_poll_out(host, conn),
        }
        Ok(())
    }

    fn handle_listener(&mut self, completion: &Completion) -> Result<(), Error> {
        let Core { io, shared, .. } = &mut self.core;
        self.listener
            .handle_ready(io, completion.token, completion.result, shared.now)
            .map_err(|Dead(errno)| Error {
                operation: "listen",
                source: std::io::Error::from_raw_os_error(errno.0),
            })
    }

    /// Takes this worker's share of the connections that wait.
    fn accept(&mut self) -> Result<(), Error> {
        let Core { io, shared, .. } = &mut self.core;
        let allowance = self.listener.allowance(io, self.table.len(), shared.now);
        for _ in 0..allowance {
            let result = self.core.io.accept(self.listener.fd());
            let shared = &mut self.core.shared;
            shared.counters.sockets = self.table.len() as u64;
            let accepted = self
                .listener
                .handle_accept(result, shared.now, &mut shared.counters);
            match accepted {
                Ok(Accepted::Connection(fd)) => self.begin(fd),
                Ok(Accepted::Gone) => {}
                Ok(Accepted::Enough) => break,
                Err(Dead(errno)) => {
                    return Err(Error {
                        operation: "accept",
                        source: std::io::Error::from_raw_os_error(errno.0),
                    });
                }
            }
        }
        Ok(())
    }

    /// A connection was accepted.
    fn begin(&mut self, fd: Fd) {
        let shared = &mut self.core.shared;
        shared.counters.accepted += 1;
        let receive = self.core.io.receive_mode().into();
        let (limits, now) = (shared.config.message_limits, shared.now);
        let deadline = now + shared.config.handshake_timeout;
        let id = self
            .table
            .insert(|id| Connection::new(id, fd, Role::Server, receive, limits, now));
        if let Some(conn) = self.table.get_mut(id) {
            shared.reschedule(conn, Some(deadline));
            self.core.arm_receive(conn);
        }
        self.listener.publish(self.table.len());
    }

    /// Takes a list whose handlers may fill it again, and leaves an empty one with memory of its own.
    fn take(&mut self, list: impl FnOnce(&mut Core<I>) -> &mut Vec<ConnId>) -> Vec<ConnId> {
        std::mem::replace(list(&mut self.core), std::mem::take(&mut self.spare))
    }

    /// Connections that had more to read than their share.
    fn read_on(&mut self, left_over: usize) {
        if left_over == 0 {
            return;
        }
        let mut ids = self.take(|core| &mut core.ready);
        for id in ids.drain(..left_over) {
            let Some(conn) = self.table.get_mut(id) else {
                continue;
            };
            conn.listed = false;
            if conn.armed.recv && conn.spill.is_none() {
                // It went back to buffers in the meantime: what was left to read comes there, behind what came first.
                continue;
            }
            self.core.read(&mut self.host, conn);
            self.core.settle_receive(conn);
        }
        // Those that were listed in this turn have had their share of it.
        self.core.ready.append(&mut ids);
        self.spare = ids;
    }

    /// The queue that an application was refused at went out as a whole: no readiness will tell of room.
    fn tell_relieved(&mut self) {
        if self.core.relieved.is_empty() {
            return;
        }
        let mut ids = self.take(|core| &mut core.relieved);
        for id in ids.drain(..) {
            if let Some(conn) = self.table.get_mut(id) {
                self.core.tell_writable(&mut self.host, conn);
            }
        }
        self.spare = ids;
    }

    fn expire(&mut self) {
        let now = self.core.shared.now;
        if now < self.wheel.due() {
            return;
        }
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.expire(&mut self.table, now, &mut expired);
        for id in expired.drain(..) {
            let Some(conn) = self.table.get_mut(id) else {
                continue;
            };
            if conn.deadline > now {
                self.core.shared.rescheduled.push(id);
            } else {
                self.core.handle_timeout(&mut self.host, conn);
            }
        }
        self.expired = expired;
    }

    fn end_condemned(&mut self) {
        if self.core.shared.condemned.is_empty() {
            return;
        }
        let mut ids = self.take(|core| &mut core.shared.condemned);
        for id in ids.drain(..) {
            if let Some(conn) = self.table.get_mut(id) {
                self.core.reset(&mut self.host, conn);
            }
        }
        self.spare = ids;
    }

    fn stop_if_asked(&mut self) {
        let Some(stop) = self.stop.take() else { return };
        for id in self.table.ids() {
            let Some(conn) = self.table.get_mut(id) else {
                continue;
            };
            match stop {
                Stop::Drain if conn.phase == Phase::Open => {
                    let reason = match conn.role {
                        Role::Client => "the client is stopping",
                        Role::Server => "the server is stopping",
                    };
                    self.core.close(conn, CloseCode::GoingAway, reason);
                    if conn.role == Role::Client {
                        // Its answer comes behind whatever a connection that is held has not read.
                        self.core.resume(conn, Pauses::APPLICATION);
                    }
                }
                Stop::Drain if conn.role == Role::Client => {
                    if matches!(conn.phase, Phase::Connecting | Phase::Opening) {
                        self.core.reset(&mut self.host, conn);
                    }
                }
                Stop::Drain if conn.phase == Phase::Opening => {
                    self.core
                        .shared
                        .withdraw(&mut self.host, conn, Failure::Closed);
                    self.core.refuse(&mut self.host, conn, &Refusal::STOPPING);
                }
                Stop::Drain => {}
                Stop::Abort => self.core.end(&mut self.host, conn),
            }
        }
    }

    /// What the handlers left behind: output, moved deadlines, connections that are over.
    fn after_handlers(&mut self) {
        let mut at = 0;
        while let Some(&id) = self.core.shared.dirty.get(at) {
            at += 1;
            if let Some(conn) = self.table.get_mut(id) {
                self.core.flush(&mut self.host, conn);
            }
        }
        self.core.shared.dirty.clear();
        self.reschedule();
        self.release();
    }

    fn reschedule(&mut self) {
        if self.core.shared.rescheduled.is_empty() {
            return;
        }
        let mut ids = self.take(|core| &mut core.shared.rescheduled);
        for id in ids.drain(..) {
            if let Some(deadline) = self.table.get_mut(id).map(|conn| conn.deadline) {
                self.wheel.set(&mut self.table, id, deadline);
            }
        }
        self.spare = ids;
    }

    fn release(&mut self) {
        if self.core.released.is_empty() {
            return;
        }
        let mut ids = self.take(|core| &mut core.released);
        for id in ids.drain(..) {
            let Some(conn) = self.table.get_mut(id) else {
                continue;
            };
            let (fd, reset) = (conn.fd, conn.reset);
            self.wheel.remove(&mut self.table, id);
            self.table.remove(id);
            self.core.io.close(fd, reset);
        }
        self.spare = ids;
        self.listener.publish(self.table.len());
    }
}
