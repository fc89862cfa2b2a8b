//! Pairs: two connections of the same worker, raw ones or WebSockets, each of which gets what the other one receives.
//!
//! ```text
//!  a receive ──▶ pieces, where the bytes lie ──▶ carry ──▶ the other end's segments or queue ──▶ its send
//!
//!  in a callback, at a mark of a queue, at an end ──▶ news ──▶ tend, once per turn: begins, pauses, ends the other end
//! ```
//!
//! Owns: what one end of a pair does to the other. Never: reads a frame (`protocol::raw` does).
//!
//! How an end travels:
//!
//! | what ended | what the other end does |
//! |---|---|
//! | the raw connection's direction to us | Close 1000 behind its last byte; what the client still sends goes to the raw connection |
//! | the raw connection, by a reset or the write timeout | Close 1011 |
//! | a connect, by a refusal or in time | the next address; after the last one Close 1011 with the reason |
//! | the WebSocket, however | what it has sent goes to the raw connection, then FIN; its rest is discarded, within `close_timeout` |
//! | a WebSocket that we began, but by its server's Close with 1000, 1001 or no code | a reset |
//! | a WebSocket that we began, before it was open | the next address, unless the server has refused; after the last one a reset |
//!
//! Between two raw connections:
//!
//! | what ended | what the other end does |
//! |---|---|
//! | one direction | FIN behind its last byte; the other direction goes on |
//! | the connection, by a reset or the write timeout | a reset |
//! | a connect, by a refusal or in time | the next address; after the last one 502 to a request that was relayed, else a reset |

use std::borrow::Cow;

use super::read::Bulk;
use super::turn::Worker;
use crate::conn::link::{Ending, Inbound, Link, Next, Pauses, Phase, Side};
use crate::conn::tls::Tls;
use crate::io::{BufferId, ConnId, Fd, Io};
use crate::proto::CloseCode;
use crate::protocol::{
    App, Caller, Carried, Connection, Core, Dial, Failure, Fate, Host, Onward, Raw, Speaks, Way,
    is_over,
};

impl<I: Io, A: App> Worker<I, A> {
    /// Hands on what the connection `from` has received.
    #[inline(never)] // a connection without a pair shall not pay for the place
    pub(super) fn carry(&mut self, from: ConnId) {
        let mut pieces = std::mem::take(&mut self.core.shared.protocol.pairs.pieces);
        let mut inflated = std::mem::take(&mut self.core.shared.protocol.pairs.inflated);
        let (mut last, mut is_lost, mut at_once) = (None, false, false);
        for piece in pieces.drain(..) {
            let (to, buffer) = (piece.to, piece.buffer);
            let conn = to.and_then(|to| self.table.get_mut(to));
            let is_taken = conn.is_some_and(|conn| {
                let io = &mut self.core.io;
                let memory = match buffer {
                    Some(buffer) => io.buffer_and_scratch(buffer),
                    None => {
                        let (_, scratch) = io.buffer_and_scratch(BufferId::SCRATCH);
                        (&mut inflated.data[..], scratch)
                    }
                };
                if conn.link.phase == Phase::Open && conn.speaks.websocket().is_some() {
                    let (app, session) = self.host.of(conn.link.id);
                    let carried = Carried {
                        id: conn.link.id,
                        now: self.core.shared.now,
                        way: Way::ToClient,
                        bytes: &memory.0[piece.range.clone()],
                    };
                    app.carried(session, carried);
                }
                self.core.shared.pass_on(conn, memory, piece)
            });
            is_lost |= !is_taken;
            last = to;
            at_once |= buffer == Some(BufferId::HOT);
        }
        let shared = &mut self.core.shared;
        inflated.clear(&mut shared.buffers);
        shared.protocol.pairs.pieces = pieces;
        shared.counters.drops += u64::from(is_lost);
        if let Some(to) = last {
            self.send_on(from, to, at_once);
        }
    }

    /// Sends what cannot wait for the end of the turn, and stops reading from `from` if the other end does not keep up.
    fn send_on(&mut self, from: ConnId, to: ConnId, at_once: bool) {
        let Some(conn) = self.table.get_mut(to) else {
            return;
        };
        if at_once && self.core.flush_hot(&mut conn.link) == Next::Reset {
            return self.core.settle(&mut self.host, conn, Next::Reset);
        }
        self.core.check_pause(&mut conn.link);
        let holds = conn.link.pair().is_some_and(|pair| pair.holds);
        if holds
            && let Some(conn) = self.table.get_mut(from)
            && is_read(&conn.link)
        {
            self.core.pause(&mut conn.link, Pauses::PAIR);
        }
    }

    /// Reads a paired connection in bulk, and hands on each receive before the next.
    #[inline(never)]
    pub(super) fn carry_bulk(&mut self, id: ConnId) {
        let mut bulk = Bulk::new();
        loop {
            let Some(conn) = self.table.get_mut(id) else {
                return;
            };
            let next = self.core.read_some(&mut self.host, conn, &mut bulk);
            if !self.core.shared.protocol.pairs.pieces.is_empty() {
                self.carry(id);
            }
            if let Some(next) = next {
                if let Some(conn) = self.table.get_mut(id) {
                    self.core.settle(&mut self.host, conn, next);
                }
                return;
            }
        }
    }

    /// Begins the connects that callbacks asked for, and lets the ends of pairs know of each other.
    #[cold]
    pub(super) fn tend_pairs(&mut self) {
        while !self.core.shared.pair_news.is_empty() {
            let shared = &mut self.core.shared;
            let news = std::mem::take(&mut shared.pair_news);
            let asked = std::mem::take(&mut shared.protocol.pairs.asked);
            let ended = std::mem::take(&mut shared.protocol.pairs.ended);
            for (id, dial) in asked {
                self.dial(id, dial);
            }
            for (id, fate) in ended {
                self.tell(id, fate);
            }
            for id in news {
                self.balance(id);
            }
        }
    }

    /// Begins to connect to the next address of a target, for the WebSocket `id`.
    fn dial(&mut self, id: ConnId, mut dial: Dial) {
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        if conn.link.phase != Phase::Open {
            if conn.speaks.websocket().is_some() {
                // Our Close is on its way already, and the client's is to be read.
                let end = (CloseCode::NormalClosure, "");
                self.core.end_stream(&mut self.host, conn, end);
            }
            return;
        }
        let has_ended = conn.link.inbound == Inbound::Closed;
        if let Some(stream) = dial.handed() {
            let fd = self.core.io.adopt(stream);
            return self.begin_other(id, fd, dial, has_ended);
        }
        while let Some(address) = dial.next_address() {
            match self.core.io.connect(address) {
                Ok(fd) => return self.begin_other(id, fd, dial, has_ended),
                Err(errno) => dial.failure = Failure::Connect(errno),
            }
        }
        self.core.give_up(&mut self.host, conn, &dial);
    }

    fn begin_other(&mut self, id: ConnId, fd: Fd, mut dial: Dial, has_ended: bool) {
        let timeout = dial.begin(self.core.shared.now);
        let speaks = match dial.to.clone() {
            Onward::Stream(target) => Speaks::Raw(Raw::begun(target.half_close, dial, has_ended)),
            Onward::Handed(_) => Speaks::Raw(Raw::begun(false, dial, has_ended)),
            Onward::WebSocket(uplink) => {
                let key = self.core.shared.protocol.keys.nonce();
                Speaks::begun_for(&uplink.request, key, dial)
            }
        };
        let other = self
            .core
            .insert_begun(&mut self.table, (fd, speaks), timeout);
        let with = other.link.id;
        other.link.pair_with(Some(id), false);
        if let Some(conn) = self.table.get_mut(id) {
            conn.link.pair_with(Some(with), true);
        }
    }

    /// Tells a connection how the other end of its pair has ended.
    fn tell(&mut self, id: ConnId, fate: Fate) {
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        let (core, host) = (&mut self.core, &mut self.host);
        match (&conn.speaks, fate) {
            (Speaks::Raw(_) | Speaks::WebSocket(_), Fate::Unreached(dial)) => self.dial(id, dial),
            (Speaks::Raw(raw), Fate::Finished { half_close: false }) if raw.asks(&conn.link) => {
                // A server that has ended answers nothing more, and a client that does not end would stay for ever.
                core.shared.tell_pair(&conn.link, Fate::Ended);
                core.follow(host, conn, &Fate::Ended);
            }
            (Speaks::Raw(_), Fate::Finished { .. }) => core.half_close(host, conn),
            (Speaks::Raw(_), Fate::Opened(dial)) => core.shared.count_raw(conn, &dial),
            (Speaks::Raw(_), fate) => core.follow(host, conn, &fate),
            (Speaks::WebSocket(_), Fate::Opened(_)) => {}
            (Speaks::WebSocket(_), Fate::Finished { half_close: true }) => {}
            (Speaks::WebSocket(_), Fate::Finished { half_close: false }) => {
                let (code, reason) = core.farewell(host, conn);
                part(host, conn, code, &reason);
                core.close(conn, code, &reason);
                core.settle(host, conn, Next::Continue);
            }
            (Speaks::WebSocket(_), Fate::Reset) => {
                let end = match conn.link.side {
                    Side::Accepted => (
                        CloseCode::InternalError,
                        "the target has broken the connection",
                    ),
                    Side::Begun => (CloseCode::GoingAway, "the stream was broken off"),
                };
                core.end_stream(host, conn, end);
            }
            (Speaks::WebSocket(_), Fate::Ended) => {
                let (code, reason) = core.farewell(host, conn);
                core.end_stream(host, conn, (code, &reason));
            }
            // The end that it was begun for is over.
            (Speaks::Opening(_), Fate::Ended | Fate::Reset) => {
                conn.link.pair_with(None, false);
                core.settle(host, conn, Next::Reset);
            }
            (Speaks::Opening(_) | Speaks::Over, _) => {}
        }
    }

    /// Reads on from a connection, or stops, as the other end of its pair is able to take.
    fn balance(&mut self, id: ConnId) {
        let Some(pair) = self.table.get_mut(id).and_then(|conn| conn.link.pair()) else {
            return;
        };
        let Some(other) = pair.with.and_then(|with| self.table.get_mut(with)) else {
            return;
        };
        let holds = other.link.pair().is_some_and(|pair| pair.holds);
        let waits = pair.waits && other.link.phase != Phase::Open;
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        if !is_read(&conn.link) {
            return;
        }
        conn.link.pair_with(pair.with, waits);
        match waits || holds {
            true => self.core.pause(&mut conn.link, Pauses::PAIR),
            false => self.core.resume(&mut conn.link, Pauses::PAIR),
        }
        self.core.settle(&mut self.host, conn, Next::Continue);
    }
}

/// Whether what is received is still the other end's.
const fn is_read(link: &Link) -> bool {
    matches!(link.phase, Phase::Open | Phase::Closing)
}

/// Tells the application of the Close that follows, unless there was one before.
fn part<A: App>(host: &mut Host<A>, conn: &Connection, code: CloseCode, reason: &str) {
    if conn.link.phase == Phase::Open {
        let (app, session) = host.of(conn.link.id);
        app.parted(session, code, reason);
    }
}

impl<I: Io> Core<I> {
    /// The target has ended its direction: sends what is left of that. Returns the Close that the client gets behind it.
    fn farewell<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
    ) -> (CloseCode, Cow<'static, str>) {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        self.shared.end_carriage(conn, scratch);
        let (app, session) = host.of(conn.link.id);
        match conn.link.phase {
            Phase::Open => app.farewell(session),
            // There was a Close before.
            _ => (CloseCode::NormalClosure, "".into()),
        }
    }

    /// Closes a WebSocket whose stream is gone, or has never begun. What its client still sends is read up to its Close.
    fn end_stream<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        (code, reason): (CloseCode, &str),
    ) {
        conn.link.pair_with(None, false);
        self.resume(&mut conn.link, Pauses::PAIR);
        part(host, conn, code, reason);
        // Has no effect after an earlier Close.
        self.close(conn, code, reason);
        self.settle(host, conn, Next::Continue);
    }

    /// No address of a target can be reached: tells the client as well as what it speaks can say that.
    fn give_up<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, dial: &Dial) {
        if let Caller::Request { .. } = dial.caller {
            conn.link.pair_with(None, false);
            let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
            self.shared.fail_relay(host, conn, dial, scratch);
            return self.settle(host, conn, Next::Continue);
        }
        self.shared.counters.streams_failed += 1;
        if conn.speaks.websocket().is_none() {
            self.shared.log_unreached(dial);
            conn.link.pair_with(None, false);
            return self.settle(host, conn, Next::Reset);
        }
        self.end_stream(host, conn, (CloseCode::InternalError, &dial.why()));
    }

    /// The other one of two raw connections has ended its direction: so does this one, behind what that has sent.
    fn half_close<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        if let Speaks::Raw(raw) = &mut conn.speaks {
            raw.is_ending = true;
        }
        if conn.link.phase != Phase::Open {
            // Its FIN follows when it is open.
            return;
        }
        conn.link.ending = Ending::FinAfterQueue;
        let mut next = Next::Continue;
        if !conn.link.armed.poll_out {
            next = match self.send_now(&mut conn.link) {
                Ok(()) if is_over(conn) => Next::End,
                Ok(()) => Next::Continue,
                Err(_) => Next::Reset,
            };
        }
        self.settle(host, conn, next);
    }

    /// The connect to a target has succeeded: begins the handshake of TLS, or the stream.
    pub(super) fn enter_target(&mut self, conn: &mut Connection) -> Next {
        let Speaks::Raw(raw) = &mut conn.speaks else {
            unreachable!("the caller has seen that it is raw")
        };
        let Some(client) = raw.secured() else {
            let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
            self.shared.begin_raw(conn, scratch);
            return Next::Continue;
        };
        match Tls::client(&client.config, &client.name) {
            Ok(tls) => {
                conn.link.out.tls = Some(Box::new(tls));
                conn.link.phase = Phase::Opening;
                self.shared.dirty.push(conn.link.id);
                Next::Continue
            }
            Err(error) => {
                raw.fail(Failure::Tls(error.to_string()));
                Next::Reset
            }
        }
    }

    /// A connection was accepted whose bytes are a stream's. Under TLS the handshake comes first.
    pub(super) fn accept_stream<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        if !self.shared.admit_stream(conn) {
            return self.settle(host, conn, Next::Reset);
        }
        let config = &self.shared.protocol.config;
        let (Some(tls), Some(server)) = (&mut conn.link.out.tls, &config.tls) else {
            return self.shared.forward_stream(conn);
        };
        if let Err(error) = tls.begin(&server.config.clone()) {
            tracing::error!("a TLS session cannot begin: {error}");
            self.settle(host, conn, Next::Reset);
        }
    }

    /// Ends a raw connection whose other end is over: behind what that has sent.
    fn follow<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, fate: &Fate) {
        conn.link.pair_with(None, false);
        let is_connecting = matches!(conn.link.phase, Phase::Connecting | Phase::Opening);
        self.shared.end_raw(conn);
        if is_connecting || matches!(fate, Fate::Reset) {
            conn.link.phase = Phase::Lingering;
            return self.settle(host, conn, Next::Reset);
        }
        // Its end may lie unread behind bytes that nobody wants any more.
        self.resume(&mut conn.link, Pauses::PAIR);
        self.shared.linger(&mut conn.link, Ending::FinAfterQueue);
        let mut next = Next::Continue;
        if conn.link.inbound == Inbound::Closed && !conn.link.armed.poll_out {
            // Nothing will be received any more that could end it.
            next = match self.send_now(&mut conn.link) {
                Ok(()) if conn.link.out.queue.is_none() => Next::End,
                Ok(()) => Next::Continue,
                Err(_) => Next::Reset,
            };
        }
        self.settle(host, conn, next);
    }
}
