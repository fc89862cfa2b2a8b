//! What a connection speaks, and what an application learns of it. Here [`conn`](crate::conn) and
//! [`proto`](crate::proto) meet.
//!
//! ```text
//!  Opening ──────────────▶ WebSocket ──────────────▶ Over
//!  HTTP head, either side  messages, Ping, Close     what the peer still says is discarded
//!     └───────── page, refusal, failure ──────────────▲
//! ```
//!
//! A WebSocket may be joined with a raw connection ([`raw`]): then its messages are a stream's, and the application gets none.
//! A request for something else may be relayed: then its connection is a raw one, joined with another.
//!
//! Nothing here does I/O: bytes to send wait in the outbox.
//!
//! How often a payload byte of an echoed message is touched in user space:
//!
//! | message | receive | unmask and validate | send |
//! |---|---|---|---|
//! | whole in a receive buffer | kernel writes it | once, in place; from the second message of a receive on (up to 64 KiB each), and from the first if it has at most 125 bytes, moved left as well: in the same pass up to 32 bytes, in one more above | from the same buffer, all answers in one piece |
//! | whole in the hot buffer (bulk) | kernel writes it | the same | from the same buffer |
//! | larger than what one receive brings | kernel writes it to the message's own memory; what came with the header is copied there once | once, in place | from there |
//! | prepared ([`Context::send_prepared`]) | – | encoded and masked once, when it is prepared | from the block it lies in |
//! | compressed ([`codec`]) | kernel writes it; pieces are copied to one place | inflated once, checked and delivered where that put it | compressed once from where it lies, the result copied once |
//! | to a peer that does not keep up | as above | as above | copied once, to that peer's queue; prepared ones of more than 64 KiB, and of more than 4 KiB behind a queue, never |
#![forbid(unsafe_code)]

mod app;
mod carry;
mod clock;
mod codec;
mod commands;
mod config;
mod connect;
mod context;
mod fanout;
mod frame_log;
mod handed;
mod handle;
mod hixie;
mod host;
mod inflating;
mod inflow;
mod keys;
mod lines;
mod opening;
mod page;
mod pieces;
mod preface;
mod prepared;
mod raw;
mod refusal;
mod request;
mod rules;
mod share;
mod topics;
mod traffic;
mod verdict;
mod visitors;
mod waker;
mod websocket;
mod windowless;

use std::collections::HashMap;
use std::sync::Arc;

use crate::conn;
use crate::conn::link::{Link, Side};
use crate::io::ConnId;
use crate::io::board::Board;
use crate::proto::{Role, handshake};
use crate::time::Instant;

pub use crate::proto::bzip2::Bzip2;
pub use crate::proto::deflate::Deflate;
pub use crate::proto::snappy::Snappy;
pub use app::{App, Carried, Closed, Scope, Way};
pub(crate) use codec::{Codec, Engines};
pub(crate) use commands::Command;
pub use commands::Commands;
pub use config::{CloseAnswer, Config, FrameLogging, OnViolation};
pub use context::{Context, SendError};
pub(crate) use fanout::{Aside, Fanout, Item, LateRef, Turn, conn_of, count_drops, number_of};
pub use fanout::{Audience, News, PublishError, SubscribeError};
pub(crate) use frame_log::FrameLog;
pub use handed::{Carriage, Handed};
pub use handle::Handle;
pub(crate) use handle::Reach;
pub(crate) use host::Host;
pub use keys::Masking;
pub use pieces::Receiving;
pub use prepared::{Prepared, TooMuch};
pub(crate) use raw::{Caller, Dial, Fate, Pairs, Raw, is_over};
pub use raw::{Onward, Relay, Target, Uplink};
pub use refusal::Refused;
pub use request::{Failure, OpeningRequest, Tunnel};
pub use rules::{Admission, OpeningRules};
pub use traffic::{Flow, TrafficStats};
pub use verdict::{Opening, Verdict};
pub use visitors::AddressLimits;
pub(crate) use visitors::Visitors;
pub use waker::Waker;
pub(crate) use websocket::{Heartbeat, WebSocket};

use clock::Clock;
use keys::Keys;
pub(crate) use preface::Preface;
use refusal::Reading;
use share::Share;
#[cfg(test)]
pub(crate) use share::TURN_INFLATED_BYTES_MAX;

/// What a connection speaks. A change replaces the whole value, so that no connection is ever half-way between two.
#[derive(Debug)]
pub(crate) enum Speaks {
    /// The opening handshake is not complete. Kept: a head that arrived in pieces, and the request of a client's side.
    Opening(Option<Box<Head>>),
    /// An open WebSocket. The application's `open` was called.
    WebSocket(WebSocket),
    /// Bytes, which are another connection's: the one that it is paired with.
    Raw(Raw),
    /// The conversation is over, and the application knows that. Further bytes from the peer are discarded.
    Over,
}

/// A connection of a worker.
pub(crate) type Connection = conn::link::Connection<Speaks>;

/// The connections of a worker.
pub(crate) type Table = conn::table::Table<Speaks>;

/// What the connections of a worker share, apart from the ring.
pub(crate) type Shared = conn::core::Shared<State>;

/// What the connections of a worker share, with the ring.
pub(crate) type Core<I> = conn::core::Core<I, State>;

// An idle connection costs only its slot: at most 512 bytes of user memory in all.
const _: () = assert!(size_of::<Connection>() <= 312);

/// What the protocols of a worker's connections share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    /// The board, which counts the clients of all workers. `None`: there is only this worker.
    pub(crate) board: Option<Board>,
    /// The response to an opening handshake while it is encoded. The memory is reused.
    pub(crate) response: Vec<u8>,
    pub(crate) keys: Keys,
    /// Commands that callbacks gave since the list was last drained.
    pub(crate) commands: Commands,
    /// What other threads wake this worker with, once the application has asked for it.
    pub(crate) waker: Option<Waker>,
    pub(crate) share: Share,
    /// Compressors and inflaters.
    pub(crate) engines: Engines,
    /// Topics, if the server has a bus.
    pub(crate) fanout: Option<Box<Fanout>>,
    /// The log of frames, if one is wanted.
    pub(crate) frame_log: Option<Box<FrameLog>>,
    pub(crate) pairs: Pairs,
    /// What went over the connections that are measured.
    traffic: HashMap<ConnId, TrafficStats>,
    /// Where accepted connections lead to whose bytes are a stream's. `None`: they are HTTP.
    pub(crate) streams_to: Option<Onward>,
    clock: Clock,
    pub(crate) told: Told,
    /// The addresses of connections, if they have limits.
    pub(crate) visitors: Option<Box<Visitors>>,
    /// The worker is stopping: it opens no further WebSocket and begins no connection.
    pub(crate) draining: bool,
}

impl State {
    pub(crate) fn new(config: Config, board: Option<Board>) -> Self {
        Self {
            keys: Keys::new(config.masking),
            visitors: Visitors::new(config.address_limits),
            fanout: None,
            frame_log: FrameLog::new(config.frame_logging),
            config,
            pairs: Pairs::default(),
            traffic: HashMap::new(),
            streams_to: None,
            board,
            response: Vec::new(),
            commands: Commands::default(),
            waker: None,
            share: Share::default(),
            engines: Engines::default(),
            clock: Clock::new(),
            told: Told::default(),
            draining: false,
        }
    }

    /// The limits of links: those of each service, then the worker's own.
    pub(crate) fn link_limits(config: &Config) -> Vec<conn::core::Limits> {
        let of = |config: &Config| conn::core::Limits {
            queue_bytes_max: config.send_queue_bytes_max,
            write_timeout: config.write_timeout,
            close_timeout: config.close_timeout,
        };
        let services = config.services.iter().map(of);
        services.chain(std::iter::once(of(config))).collect()
    }
}

/// Warnings that the worker has logged. It logs each of them once, or at most so often.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// A client began TLS.
    pub(crate) tls: bool,
    /// A client began HTTP/2.
    pub(crate) http_2: bool,
    /// A connection began with no PROXY header.
    pub(crate) preface: bool,
    /// A page was refused for its origin; when that was last logged as a warning.
    pub(crate) origin: Option<Instant>,
    /// The target of the relay could not be reached; when that was last logged as a warning.
    pub(crate) relay: Option<Instant>,
    /// A stream was reset because its other end could not be reached; when that was last logged as a warning.
    pub(crate) unreached: Option<Instant>,
}

/// The beginning of an opening handshake's head, and how far it was searched for the end.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    pub(crate) resume: handshake::Resume,
    /// The request that we sent, or will send once the proxy opened a tunnel, in the client's role.
    pub(crate) asked: Option<Asked>,
    /// Whose answer is awaited, in the client's role.
    pub(crate) awaits: Awaits,
    /// The head is complete, and the application has not given its verdict yet.
    pub(crate) undecided: bool,
    /// What a PROXY header in front of the head said.
    pub(crate) preface: Preface,
    /// The server refused, and the content of its refusal is still arriving.
    pub(crate) refused: Option<Reading>,
    /// The stream that the WebSocket is begun for.
    pub(crate) dial: Option<Box<Dial>>,
}

impl Head {
    /// Appends bytes until the head has `max` bytes; the rest is dropped unread. The memory doubles as it grows, up to
    /// `max`.
    pub(crate) fn push(&mut self, bytes: &[u8], max: usize) {
        let len = self.bytes.len();
        let room = max.saturating_sub(len);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        if len + bytes.len() > self.bytes.capacity() {
            let doubled = (2 * self.bytes.capacity()).min(max);
            self.bytes
                .reserve_exact(doubled.saturating_sub(len).max(bytes.len()));
        }
        self.bytes.extend_from_slice(bytes);
    }
}

/// Whose answer a client awaits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// The proxy's, to the request for a tunnel. The server has not been asked yet.
    Proxy,
    #[default]
    Server,
}

/// A request of ours.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Arc<OpeningRequest>,
    pub(crate) key: [u8; 16],
}

impl Speaks {
    /// A connection that was accepted.
    pub(crate) const fn accepted() -> Self {
        Self::Opening(None)
    }

    /// A connection that we began, to ask for `request`.
    pub(crate) fn begun(request: &Arc<OpeningRequest>, key: [u8; 16]) -> Self {
        Self::Opening(Some(connect::head(request, key)))
    }

    /// The same for a stream.
    pub(crate) fn begun_for(request: &Arc<OpeningRequest>, key: [u8; 16], dial: Dial) -> Self {
        let mut head = connect::head(&request.for_stream(), key);
        head.dial = Some(Box::new(dial));
        Self::Opening(Some(head))
    }

    /// The WebSocket, if there is one.
    pub(crate) const fn websocket(&mut self) -> Option<&mut WebSocket> {
        match self {
            Self::WebSocket(websocket) => Some(websocket),
            Self::Opening(_) | Self::Raw(_) | Self::Over => None,
        }
    }

    /// Whether a message is inflated in part, so that nothing may be read before the rest of it.
    pub(crate) fn inflates(&self) -> bool {
        match self {
            Self::WebSocket(WebSocket {
                codec: Some(codec), ..
            }) => codec.has_more(),
            _ => false,
        }
    }

    /// The head collected so far, during an opening handshake.
    const fn head(&mut self) -> Option<&mut Box<Head>> {
        match self {
            Self::Opening(head) => head.as_mut(),
            Self::WebSocket(_) | Self::Raw(_) | Self::Over => None,
        }
    }
}

/// The role of our side: client if we began the connection, else server.
pub(crate) const fn role(side: Side) -> Role {
    match side {
        Side::Begun => Role::Client,
        Side::Accepted => Role::Server,
    }
}

impl Shared {
    /// The next instant at which to check an open connection: when the peer's silence reaches the next limit.
    pub(crate) fn next_check(&self, link: &Link, heartbeat: Heartbeat) -> Option<Instant> {
        let config = self.protocol.config.of(link.service);
        let idle = config.idle_timeout.map(|timeout| link.heard + timeout);
        let ping = config.ping_interval.and_then(|interval| match heartbeat {
            Heartbeat::Quiet => Some(link.heard + interval),
            // Also before the timeout: the peer may have spoken again, and then the next Ping is due.
            Heartbeat::Pinged(at) => {
                Some((self.now + interval).min(at + config.pong_timeout(interval)))
            }
            Heartbeat::Absent => None,
        });
        let write = link.out.queue.as_ref().and_then(|_| self.next_look(link));
        [idle, ping, write].into_iter().flatten().min()
    }

    /// Tells the application, once, that its WebSocket is closed, and counts that. An unfinished message is dropped.
    pub(crate) fn report_close<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        closed: Closed<'_>,
    ) {
        let Speaks::WebSocket(websocket) = std::mem::replace(&mut conn.speaks, Speaks::Over) else {
            return;
        };
        // A server that closes says how; of a stream's client the worker has told that already.
        let is_done = matches!(closed.code.number(), 1000 | 1001 | 1005) && closed.clean;
        let fate = match conn.link.side == Side::Accepted || is_done {
            true => Fate::Ended,
            false => Fate::Reset,
        };
        self.tell_pair(&conn.link, fate);
        self.protocol.pairs.lines.remove(&conn.link.id);
        self.protocol.pairs.controls.remove(&conn.link.id);
        if let Some(assembly) = websocket.assembly {
            let data = assembly.into_data(&mut self.buffers);
            self.buffers.give_back(data);
        }
        if let Some(mut codec) = websocket.codec {
            self.protocol.engines.forget(conn.link.id);
            codec.discard(&mut self.buffers);
            self.buffers
                .note_freed(codec.history_bytes() + size_of::<Codec>());
        }
        if let Some(log) = &mut self.protocol.frame_log {
            log.close(conn.link.id);
        }
        if let Some(fanout) = &mut self.protocol.fanout {
            self.counters.late_dropped_closed += fanout.leave(conn.link.id);
        }
        self.counters.clients -= 1;
        if conn.link.side == Side::Accepted {
            self.leave();
        }
        self.counters.closed_unclean += u64::from(!closed.clean);
        let (app, session) = host.end(conn.link.id);
        let traffic = match websocket.is_measured {
            true => self.protocol.traffic.remove(&conn.link.id),
            false => None,
        };
        let closed = Closed {
            traffic: traffic.as_ref(),
            ..closed
        };
        app.close(&mut self.scope(&conn.link), session, closed);
    }

    /// A scope for callbacks on a connection while nothing can be sent on it.
    pub(crate) fn scope(&mut self, link: &Link) -> Scope<'_> {
        Scope {
            id: link.id,
            tag: link.tag,
            now: self.now,
            commands: &mut self.protocol.commands,
            fanout: self.protocol.fanout.as_deref_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_holds_no_more_than_its_limit_and_grows_by_doubling() {
        let mut head = Head::default();
        let mut capacities = Vec::new();
        for _ in 0..1200 {
            head.push(&[b'x'; 30], 32_768);
            if capacities.last() != Some(&head.bytes.capacity()) {
                capacities.push(head.bytes.capacity());
            }
        }
        assert_eq!((head.bytes.len(), head.bytes.capacity()), (32_768, 32_768));
        assert!(capacities.len() < 15, "{capacities:?}");
        let mut head = Head::default();
        head.push(&[b'x'; 100_000], 1000);
        assert_eq!((head.bytes.len(), head.bytes.capacity()), (1000, 1000));
    }
}
