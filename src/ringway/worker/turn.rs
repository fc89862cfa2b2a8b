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

use super::fanout::BELL;
use super::listener::{Accepted, Dead, Listener};
use super::listeners::Listeners;
use super::reach::Reachable;
use super::tidy::Tidy;
use crate::conn;
use crate::conn::core::LIST_LEN;
use crate::conn::link::{Backlog, Ending, Link, Next, Pauses, Phase, Side};
use crate::conn::timers::Wheel;
use crate::conn::tls::Tls;
use crate::io::pool::CHUNK_BUFFERS;
use crate::io::{Completion, ConnId, Error, Fd, Io, Op, Token, Wait, sys};
use crate::proto::handshake::Refusal;
use crate::proto::{CloseCode, Kind, Role};
use crate::protocol::{
    App, Commands, Config, Connection, Core, Deflate, Failure, Handle, Host, Prepared, Speaks,
    State, Table, TooMuch,
};
use crate::stats::Counters;
use crate::time::Instant;
use crate::tls::TlsServer;

/// Receive buffers that a worker may hold while it waits: half a chunk of the pool. With more in use after a turn, the
/// next turn does not wait, so that the kernel gets them back at once.
const HELD_MAX: usize = CHUNK_BUFFERS as usize / 2;

/// How the worker ends all of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// With a closing handshake for each WebSocket.
    Drain,
    /// At once, without a closing handshake.
    Abort,
}

/// A worker: its ring, its connections, its application.
pub struct Worker<I, A: App> {
    pub(crate) core: Core<I>,
    pub(super) host: Host<A>,
    pub(crate) table: Table,
    wheel: Wheel,
    listeners: Listeners,
    pub(crate) done: Vec<Completion>,
    pub(crate) expired: Vec<ConnId>,
    /// An empty list. Its memory serves the next list that a handler empties.
    pub(crate) spare: Vec<ConnId>,
    pub(crate) tidy: Tidy,
    /// A stop that was requested between turns; the next turn carries it out. Until the kernel has decided the last
    /// turn's sends, no send may be added to them and no descriptor may be closed.
    stop: Option<Stop>,
    /// Watched descriptors that became readable, one bit each.
    watched: u32,
    /// The instant at which the last turn's system call returned.
    woken: Instant,
}

impl<I, A: App> std::fmt::Debug for Worker<I, A> {
    /// Shows the number of connections: the connections themselves are too many to show.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("connections", &self.table.len())
            .finish_non_exhaustive()
    }
}

impl<I: Io, A: App> Worker<I, A> {
    /// A worker that accepts on `listener`, beginning with its first turn.
    pub fn new(io: I, app: A, config: Config, listener: Listener) -> Self {
        let limits = State::link_limits(&config);
        let mut state = State::new(config, listener.board());
        state.streams_to = app.streams_to();
        let shared = conn::core::Shared::new(limits, io.now(), state);
        let now = shared.now;
        Self {
            core: Core::new(io, shared),
            host: Host::new(app),
            table: Table::default(),
            wheel: Wheel::new(now),
            listeners: Listeners::new(listener),
            done: Vec::new(),
            expired: Vec::new(),
            spare: Vec::with_capacity(LIST_LEN),
            tidy: Tidy::new(),
            stop: None,
            watched: 0,
            woken: now,
        }
    }

    /// Accepts on one listener more, which has the same board. Before the first turn.
    pub fn add_listener(&mut self, listener: Listener) {
        self.listeners.push(listener);
    }

    /// A worker that accepts nothing: its application begins connections in [`App::turn`]. Before the first connection
    /// nothing ends the wait of a turn, so call the first turn with a patience of zero.
    pub fn client(io: I, app: A, config: Config) -> Self {
        Self::new(io, app, config, Listener::none())
    }

    /// Encodes messages once, to be sent any number of times
    /// ([`Context::send_prepared`](super::Context::send_prepared)) on connections in `role`. The memory is freed when
    /// the last clone is dropped and the last send is done.
    ///
    /// # Errors
    /// [`TooMuch`]: more than 1 GiB of messages, or no block is free.
    pub fn prepare(
        &mut self,
        role: Role,
        messages: &[(Kind, &[u8])],
        deflate: Option<&Deflate>,
    ) -> Result<Prepared, TooMuch> {
        self.core.shared.prepare(role, messages, deflate)
    }

    /// Watches `fd`: when it becomes readable, [`Self::take_watched`] returns its bit. `bit` is below 30.
    pub fn watch(&mut self, fd: Fd, bit: u32) {
        self.core
            .io
            .submit_poll_in(Token::fixed(Op::Watch, bit), fd);
    }

    /// The bits of the watched descriptors that became readable since the last call.
    pub fn take_watched(&mut self) -> u32 {
        std::mem::take(&mut self.watched)
    }

    /// The worker's counters, brought up to date.
    pub fn counters(&mut self) -> &mut Counters {
        let counts = self.core.io.take_counts();
        let counters = &mut self.core.shared.counters;
        counters.turns += counts.enters;
        counters.cq_overflows += counts.cq_overflows;
        counters.sockets = self.table.len() as u64;
        counters
    }

    /// System calls so far that did nothing but send. Sends that went into the ring are not counted.
    pub const fn lone_sends(&self) -> u64 {
        self.core.lone_sends
    }

    /// The instant at which the last turn's system call returned.
    pub const fn woken(&self) -> Instant {
        self.woken
    }

    /// Number of connections in any phase.
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

    /// The application, between turns. It acts on its connections in [`App::turn`], not here.
    pub const fn app_mut(&mut self) -> &mut A {
        &mut self.host.app
    }

    /// Commands for connections. The next turn carries them out.
    pub const fn commands(&mut self) -> &mut Commands {
        &mut self.core.shared.protocol.commands
    }

    /// Blocks of prepared messages that are in use, or whose memory the ring has not given back yet.
    #[cfg(test)]
    pub(crate) fn blocks(&self) -> usize {
        self.core.shared.blocks.len()
    }

    /// The ring, for tests that act as the kernel.
    pub const fn io_mut(&mut self) -> &mut I {
        &mut self.core.io
    }

    /// Stops accepting. With the next turn, every WebSocket is closed with 1001. The worker is done when it has no
    /// connections.
    pub fn drain(&mut self) {
        self.listeners.stop(&mut self.core.io);
        self.core.shared.protocol.draining = true;
        self.stop.get_or_insert(Stop::Drain);
    }

    /// Takes a connected stream socket over, as one that was accepted.
    pub fn adopt(&mut self, fd: Fd) {
        self.begin(fd);
    }

    /// Serves connections to come with other certificates. A worker that began without TLS goes on without it.
    pub fn renew_tls(&mut self, tls: TlsServer) {
        let config = &mut self.core.shared.protocol.config;
        if config.tls.is_some() {
            config.tls = Some(tls);
        }
    }

    /// Whether the listener was shut down outside this worker. The worker can then only drain.
    pub fn is_listener_shut(&self) -> bool {
        self.listeners.is_shut()
    }

    /// Ends every connection with the next turn, without a closing handshake.
    pub fn abort(&mut self) {
        self.stop = Some(Stop::Abort);
    }

    /// Runs one turn. It waits for events for at most `patience`; the work after the wait comes on top. `None` waits
    /// without limit.
    ///
    /// # Errors
    /// The ring or the listener failed: the worker cannot go on.
    pub fn turn(&mut self, patience: Option<Duration>) -> Result<(), Error> {
        let latest = patience.map(|patience| self.core.io.now() + patience);
        self.turn_until(latest.unwrap_or(Instant::NEVER))
    }

    /// Runs one turn, which waits for events until `latest` at most.
    ///
    /// # Errors
    /// The ring or the listener failed: the worker cannot go on.
    pub fn turn_until(&mut self, latest: Instant) -> Result<(), Error> {
        self.listeners
            .arm(&mut self.core.io, self.table.len(), self.core.shared.now);
        let mut wait = self.wait(latest);
        if self.core.shared.protocol.fanout.is_some() {
            wait = self.wait_on_bus(wait);
        }
        let mut done = std::mem::take(&mut self.done);
        self.core.io.turn(wait, &mut done)?;
        self.woken = self.core.io.now();
        self.core.shared.now = self.woken;
        self.core.shared.outbox.next_turn();
        self.core.shared.protocol.commands.wake_at = Instant::NEVER;
        self.core.shared.protocol.share = Default::default();

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
        if self.core.shared.protocol.fanout.is_some() {
            self.fan_out();
        }
        self.core.run_commands(&mut self.host, &mut self.table);
        self.end_condemned();
        self.stop_if_asked();
        if !self.core.shared.pair_news.is_empty() {
            self.tend_pairs();
        }
        self.after_handlers();
        let busy = !done.is_empty();
        done.clear();
        self.done = done;
        self.tidy(busy);
        Ok(())
    }

    /// How long the turn may wait: not at all while work is pending, else until the next deadline.
    fn wait(&self, latest: Instant) -> Wait {
        let core = &self.core;
        if self.stop.is_some()
            || !core.ready.is_empty()
            || !core.starved.is_empty()
            || !core.relieved.is_empty()
            || !core.shared.pair_news.is_empty()
            || core.shared.protocol.commands.is_pending()
            || core.held.len() > HELD_MAX
        {
            return Wait::No;
        }
        let due = latest
            .min(self.wheel.due())
            .min(self.listeners.due())
            .min(core.shared.protocol.commands.wake_at)
            .min(self.tidy.due());
        match due {
            Instant::NEVER => Wait::Forever,
            Instant::ZERO => Wait::No,
            due => Wait::Until(due),
        }
    }

    fn handle_sends(&mut self, done: &[Completion]) {
        for completion in done
            .iter()
            .filter(|completion| completion.token.is(Op::Send))
        {
            if let Some(conn) = self.table.get_mut(completion.token.id()) {
                let next = self.core.handle_send(&mut conn.link, completion.result);
                if next != Next::Continue {
                    self.core.settle(&mut self.host, conn, next);
                }
            }
        }
    }

    /// Arms receives again that found the pool empty: the pool has buffers again.
    fn feed_starved(&mut self) {
        if self.core.starved.is_empty() {
            return;
        }
        let mut ids = self.take(|core| &mut core.starved);
        for id in ids.drain(..) {
            if let Some(conn) = self.table.get_mut(id) {
                self.core.arm_receive(&mut conn.link);
            }
        }
        self.spare = ids;
    }

    fn handle(&mut self, completion: &Completion) -> Result<(), Error> {
        if let Some(buffer) = completion.buffer {
            self.core.held.push(buffer);
        }
        if completion.token.is(Op::Recv) {
            // By far the most frequent completion.
            if let Some(conn) = self.table.get_mut(completion.token.id()) {
                let next = self.core.handle_recv(&mut self.host, conn, completion);
                self.core.settle(&mut self.host, conn, next);
                if !self.core.shared.protocol.pairs.pieces.is_empty() {
                    self.carry(completion.token.id());
                }
                return Ok(());
            }
        }
        match completion.token.op() {
            Op::Accept => return self.handle_listener(completion),
            Op::Watch if completion.token.id().slot == BELL => {
                self.hush_bell(completion.more, completion.result.is_ok());
                return Ok(());
            }
            Op::Watch => {
                let number = completion.token.id().slot;
                if self.core.hush_waker(number, completion.more) {
                    return Ok(());
                }
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
        let next = match completion.token.op() {
            Op::PollIn => core.handle_poll_in(host, conn, completion),
            _ => core.handle_poll_out(host, conn),
        };
        core.settle(host, conn, next);
        if next == Next::Carry {
            self.carry_bulk(completion.token.id());
        }
        Ok(())
    }

    fn handle_listener(&mut self, completion: &Completion) -> Result<(), Error> {
        let Core { io, shared, .. } = &mut self.core;
        self.listeners
            .get(Listener::number_of(completion.token))
            .handle_ready(io, completion.token, completion.result, shared.now)
            .map_err(|Dead(errno)| Error {
                operation: "listen",
                source: std::io::Error::from_raw_os_error(errno.0),
            })
    }

    /// Accepts waiting connections, up to this worker's share.
    fn accept(&mut self) -> Result<(), Error> {
        let Core { io, shared, .. } = &mut self.core;
        let first = self.listeners.get(0);
        let allowance = first.allowance(io, self.table.len(), shared.now);
        if allowance > 0 {
            self.accept_on(0, allowance)?;
        }
        match self.listeners.len() {
            1 => Ok(()),
            listeners => self.accept_on_more(listeners),
        }
    }

    #[cold]
    fn accept_on_more(&mut self, listeners: usize) -> Result<(), Error> {
        for number in 1..listeners {
            let Core { io, shared, .. } = &mut self.core;
            let listener = self.listeners.get(number);
            let allowance = listener.allowance(io, self.table.len(), shared.now);
            self.accept_on(number, allowance)?;
        }
        Ok(())
    }

    #[inline(never)] // most turns accept nothing
    fn accept_on(&mut self, number: usize, allowance: usize) -> Result<(), Error> {
        for _ in 0..allowance {
            let result = self.core.io.accept(self.listeners.get(number).fd());
            let shared = &mut self.core.shared;
            shared.counters.sockets = self.table.len() as u64;
            let accepted =
                self.listeners
                    .get(number)
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

    /// Adds an accepted connection.
    fn begin(&mut self, fd: Fd) {
        let shared = &mut self.core.shared;
        shared.counters.accepted += 1;
        let receive = self.core.io.receive_mode().into();
        let now = shared.now;
        let deadline = now + shared.protocol.config.handshake_timeout;
        let tls = shared.protocol.config.tls.as_ref();
        let tls = tls.map(|_| Box::new(Tls::default()));
        let is_logged = shared.protocol.frame_log.is_some();
        let id = self.table.insert(|id| {
            let mut link = Link::new(id, fd, Side::Accepted, receive, now);
            link.is_apart = tls.is_some() || is_logged;
            link.out.tls = tls;
            Connection {
                link,
                speaks: Speaks::accepted(),
            }
        });
        if self.is_one_too_many(id, fd) {
            self.table.remove(id);
            self.core.io.close(fd, true);
            return;
        }
        if let Some(conn) = self.table.get_mut(id) {
            self.core.shared.reschedule(&mut conn.link, Some(deadline));
            if self.core.shared.protocol.streams_to.is_some() {
                self.core.accept_stream(&mut self.host, conn);
            }
            self.core.arm_receive(&mut conn.link);
        }
        self.listeners.publish(self.table.len());
    }

    /// Whether the peer of a new connection has too many already. One that may be a proxy is not judged before it has
    /// told whose connection it is.
    fn is_one_too_many(&mut self, id: ConnId, fd: Fd) -> bool {
        let shared = &mut self.core.shared;
        let Some(visitors) = &mut shared.protocol.visitors else {
            return false;
        };
        let peer = sys::peer_address(fd);
        let peer = peer.filter(|_| !shared.protocol.config.opening.may_be_proxy(peer));
        let is_admitted = peer.is_none_or(|peer| visitors.admit(id, peer.ip(), shared.now));
        shared.counters.address_limited += u64::from(!is_admitted);
        !is_admitted
    }

    /// Takes a list that its handlers may fill again, and puts the spare empty one in its place.
    fn take(&mut self, list: impl FnOnce(&mut Core<I>) -> &mut Vec<ConnId>) -> Vec<ConnId> {
        std::mem::replace(list(&mut self.core), std::mem::take(&mut self.spare))
    }

    /// Reads on from connections that had more to read in the last turn than their share allowed.
    fn read_on(&mut self, left_over: usize) {
        if left_over == 0 {
            return;
        }
        let mut ids = self.take(|core| &mut core.ready);
        for id in ids.drain(..left_over) {
            let Some(conn) = self.table.get_mut(id) else {
                continue;
            };
            conn.link.backlog = Backlog::None;
            if conn.link.armed.recv && conn.link.spill.is_none() {
                // The connection has switched back to multishot receive. Unread bytes will arrive there, in order;
                // reading here as well would reorder them.
                continue;
            }
            let next = self.core.read(&mut self.host, conn);
            self.core.settle(&mut self.host, conn, next);
            if next == Next::Carry {
                self.carry_bulk(id);
            }
        }
        // Connections listed during this turn have used up their share of it.
        self.core.ready.append(&mut ids);
        self.spare = ids;
    }

    /// Calls `writable` for connections whose full queue was sent without waiting for the socket. The kernel reports no
    /// readiness for them.
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
            if conn.link.deadline > now {
                self.core.shared.rescheduled.push(id);
            } else {
                let next = self.core.handle_timeout(&mut self.host, conn);
                self.core.settle(&mut self.host, conn, next);
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
                self.core.settle(&mut self.host, conn, Next::Reset);
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
                // A stream ends when one of its sides does. The end of the drain ends the others.
                Stop::Drain if conn.link.pair().is_some() => {}
                Stop::Drain if matches!(conn.speaks, Speaks::Raw(_)) => {
                    self.core.settle(&mut self.host, conn, Next::Reset);
                }
                Stop::Drain if conn.link.phase == Phase::Open => {
                    let (app, session) = self.host.of(id);
                    if !app.drain(session) {
                        continue;
                    }
                    let reason = match conn.link.side {
                        Side::Begun => "the client is stopping",
                        Side::Accepted => "the server is stopping",
                    };
                    self.core.close(conn, CloseCode::GoingAway, reason);
                    if conn.link.side == Side::Begun {
                        // The server's Close lies behind bytes that a paused connection has not read.
                        self.core.resume(&mut conn.link, Pauses::APPLICATION);
                    }
                }
                Stop::Drain if conn.link.side == Side::Begun => {
                    if matches!(conn.link.phase, Phase::Connecting | Phase::Opening) {
                        self.core.settle(&mut self.host, conn, Next::Reset);
                    }
                }
                Stop::Drain if conn.link.phase == Phase::Opening => {
                    self.core
                        .shared
                        .withdraw(&mut self.host, conn, Failure::Closed);
                    self.core.refuse(&mut self.host, conn, &Refusal::STOPPING);
                }
                Stop::Drain => {}
                Stop::Abort => self.core.settle(&mut self.host, conn, Next::End),
            }
        }
    }

    /// Carries out what the handlers requested: sends, new deadlines, releases of ended connections.
    fn after_handlers(&mut self) {
        let mut at = 0;
        while let Some(&id) = self.core.shared.dirty.get(at) {
            at += 1;
            if let Some(conn) = self.table.get_mut(id) {
                let next = self.core.flush(&mut conn.link);
                if next != Next::Continue {
                    self.core.settle(&mut self.host, conn, next);
                }
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
            if let Some(deadline) = self.table.get_mut(id).map(|conn| conn.link.deadline) {
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
            let (fd, reset) = (conn.link.fd, conn.link.ending == Ending::Reset);
            self.wheel.remove(&mut self.table, id);
            self.table.remove(id);
            let shared = &mut self.core.shared;
            if let Some(visitors) = &mut shared.protocol.visitors {
                visitors.leave(id, shared.now);
            }
            self.core.io.close(fd, reset);
        }
        self.spare = ids;
        self.listeners.publish(self.table.len());
    }
}
