//! Streams beside WebSockets: a raw connection speaks no protocol of ours, and is paired with a WebSocket of its worker, or
//! with another raw connection.
//!
//! Owns: where streams lead to, and what the two ends of a pair tell each other. Never: opens a socket, stops reading
//! (`worker::pair` does), sees a byte of a stream ([`super::carry`] does).
//!
//! | accepted | begun by us |
//! |---|---|
//! | a WebSocket ([`Context::join`]) | a raw connection, or a WebSocket in the client's role |
//! | a raw connection ([`App::streams_to`](super::App::streams_to)) | the same |
//! | a request for something else ([`Relay`]) | a raw connection |

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::carry::{Coding, Piece};
use super::context::Context;
use super::handed::{Carriage, Handed};
use super::inflow::Inflated;
use super::lines::Line;
use super::request::{Failure, OpeningRequest};
use super::{Connection, Shared, Speaks};
use crate::conn::link::{self, Inbound, Link, Phase, Side};
use crate::conn::outbox::Carries;
use crate::io::{BufferId, ConnId, ConnectOptions};
use crate::proto::Kind;
use crate::time::Instant;
use crate::tls::TlsClient;

/// Where a stream leads to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its addresses, which are tried in this order.
    pub addresses: Vec<ConnectOptions>,
    /// Time for one address, the handshake of TLS included.
    pub connect_timeout: Duration,
    /// The TLS that it speaks: its certificate is checked before it gets a byte. Default: none.
    pub tls: Option<TlsClient>,
    /// Whether the WebSocket stays open after the target has ended its direction, so that the client can still send. It then
    /// learns of that end by nothing. Otherwise it gets a Close with 1000.
    pub half_close: bool,
}

/// A WebSocket server that streams lead to.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// Its addresses, which are tried in this order, until one of them answers the request.
    pub addresses: Vec<ConnectOptions>,
    /// What it is asked for. Of the extensions that compress, only permessage-deflate is offered. A stream travels as text messages of base64 if the server chooses `base64`, else as binary ones.
    pub request: Arc<OpeningRequest>,
    /// Time for one address, the opening handshake included.
    pub connect_timeout: Duration,
    /// Whether the WebSocket stays open after the stream has ended its direction, so that what the server sends still arrives.
    /// The server then learns of that end by nothing. Otherwise it gets a Close with 1000.
    pub half_close: bool,
}

/// Where streams lead to.
#[derive(Clone, Debug)]
pub enum Onward {
    /// A target that speaks anything.
    Stream(Arc<Target>),
    /// A WebSocket server: its messages carry them.
    WebSocket(Arc<Uplink>),
    /// A stream that is connected already, for one session.
    Handed(Handed),
}

/// Time for the kernel to say that a socket that is connected is writable.
const HANDED_TIMEOUT: Duration = Duration::from_secs(5);

/// Where requests go that open no WebSocket: another server, which answers them and what follows on their connections.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Its addresses. Clients get 502 if none can be reached. With `half_close` a client may go on sending after the server has ended its
    /// direction; otherwise its connection ends within the close timeout.
    pub target: Arc<Target>,
    /// Whether each connection to it begins with a PROXY header of version 2, which tells the address of the client as its
    /// connection or a trusted PROXY header has it, and whether it speaks TLS.
    pub proxy_header: bool,
}

/// For whom a target is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A stream, which the counters count.
    Stream,
    /// An HTTP request of a client, perhaps one for a head.
    Request { is_head: bool },
}

/// A connect to the other end of a pair.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) to: Onward,
    pub(crate) caller: Caller,
    /// Bytes that the target gets before the stream.
    first: Box<[u8]>,
    /// Which address is next.
    pub(crate) at: usize,
    /// When the connect to the last one began.
    began: Instant,
    /// Why the last one failed. A connection that ends says nothing.
    pub(crate) failure: Failure,
}

impl Dial {
    pub(super) fn new(to: Onward, caller: Caller, first: &[u8]) -> Self {
        Self {
            to,
            caller,
            first: first.into(),
            at: 0,
            began: Instant::ZERO,
            failure: Failure::Closed,
        }
    }

    /// The next address, unless the server at the last one has given its answer.
    pub(crate) fn next_address(&mut self) -> Option<&ConnectOptions> {
        let is_answered = matches!(
            self.failure,
            Failure::Refused(_) | Failure::Response(_) | Failure::ProxyRefused(_)
        );
        let addresses = match &self.to {
            _ if is_answered => return None,
            Onward::Stream(target) => &target.addresses,
            Onward::WebSocket(uplink) => &uplink.addresses,
            Onward::Handed(_) => return None,
        };
        let address = addresses.get(self.at)?;
        self.at += 1;
        Some(address)
    }

    /// The stream that needs no connect, once.
    pub(crate) fn handed(&self) -> Option<OwnedFd> {
        match &self.to {
            Onward::Handed(handed) => handed.take(),
            Onward::Stream(_) | Onward::WebSocket(_) => None,
        }
    }

    /// The connect to an address begins. Returns how long it may take.
    pub(crate) fn begin(&mut self, now: Instant) -> Duration {
        self.began = now;
        match &self.to {
            Onward::Stream(target) => target.connect_timeout,
            Onward::WebSocket(uplink) => uplink.connect_timeout,
            Onward::Handed(_) => HANDED_TIMEOUT,
        }
    }

    /// A sentence: why no address could be reached.
    pub(crate) fn why(&self) -> String {
        match &self.failure {
            failure if matches!(self.to, Onward::WebSocket(_)) => failure.to_string(),
            Failure::Connect(errno) => format!("the target cannot be reached: {errno}"),
            Failure::Tls(why) => format!("TLS with the target: {why}"),
            Failure::Timeout => "the target does not answer in time".to_owned(),
            _ => "the target has closed the connection at once".to_owned(),
        }
    }
}

/// A raw connection.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Present until it is connected, if we began it.
    pub(crate) dial: Option<Dial>,
    /// As [`Target::half_close`] or [`Uplink::half_close`].
    half_close: bool,
    /// It is joined, and the stream that the counters count: of two raw connections the one that we began.
    pub(super) is_counted: bool,
    /// It has a place among the connections that the server may have.
    holds_place: bool,
    /// Its peer has ended its direction, and the other end knows that.
    has_ended: bool,
    /// The other end has ended its direction: our FIN follows what it has sent, or is sent.
    pub(crate) is_ending: bool,
}

impl Raw {
    /// One that was accepted.
    pub(crate) const fn accepted() -> Self {
        Self {
            dial: None,
            half_close: false,
            is_counted: false,
            holds_place: false,
            has_ended: false,
            is_ending: false,
        }
    }

    /// One that was begun. The other end may have ended its direction already.
    pub(crate) fn begun(half_close: bool, dial: Dial, is_ending: bool) -> Self {
        Self {
            dial: Some(dial),
            half_close,
            is_ending,
            ..Self::accepted()
        }
    }

    /// Whether it is the client's end of a pair without a WebSocket, which looks after the idle timeout.
    pub(crate) const fn keeps_time(&self, link: &Link) -> bool {
        matches!(link.side, Side::Accepted) && !self.is_counted
    }

    /// Whether it is that of a client whose request was relayed.
    pub(crate) const fn asks(&self, link: &Link) -> bool {
        self.keeps_time(link) && !self.holds_place
    }

    /// Notes why the connect failed.
    pub(crate) fn fail(&mut self, failure: Failure) {
        if let Some(dial) = &mut self.dial {
            dial.failure = failure;
        }
    }

    /// The TLS that is to begin now that the connect has succeeded.
    pub(crate) fn secured(&self) -> Option<&TlsClient> {
        match &self.dial.as_ref()?.to {
            Onward::Stream(target) => target.tls.as_ref(),
            Onward::WebSocket(_) | Onward::Handed(_) => None,
        }
    }
}

/// Whether both directions of a raw connection are over: all is sent that the other end had for it, and our FIN.
pub(crate) const fn is_over(conn: &Connection) -> bool {
    let link = &conn.link;
    matches!(
        conn.speaks,
        Speaks::Raw(Raw {
            is_ending: true,
            ..
        })
    ) && matches!(link.inbound, Inbound::Closed)
        && matches!(link.ending, link::Ending::None)
        && link.out.queue.is_none()
}

/// How one end of a pair ended, for the other one.
#[derive(Debug)]
pub(crate) enum Fate {
    /// A connect failed or was not decided in time, or a WebSocket was not opened.
    Unreached(Dial),
    /// The WebSocket that was begun is open.
    Opened(Dial),
    /// The stream has ended its direction.
    Finished { half_close: bool },
    /// The connection is gone before its end.
    Reset,
    /// The connection, or the conversation on it, is over.
    Ended,
}

/// What concerns pairs in the current turn.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    /// What the current callback asked for.
    joining: Option<(ConnId, Dial, Coding)>,
    /// WebSockets that are to be joined with a target.
    pub(crate) asked: Vec<(ConnId, Dial)>,
    /// What the last receive brought.
    pub(crate) pieces: Vec<Piece>,
    /// Where those lie that were inflated.
    pub(crate) inflated: Inflated,
    /// Lines whose end has not come, by the WebSocket that gets them. A field there would be paid for by all connections.
    pub(super) lines: HashMap<ConnId, Line>,
    /// The same of text messages for the application, by the WebSocket that they come from.
    pub(super) controls: HashMap<ConnId, Vec<u8>>,
    /// Ends, by the connection that is left.
    pub(crate) ended: Vec<(ConnId, Fate)>,
}

impl Pairs {
    /// Bytes of the lists' memory beyond `len` entries each, which are freed.
    pub(crate) fn shrink(&mut self, len: usize) -> usize {
        fn shrink<T>(list: &mut Vec<T>, len: usize) -> usize {
            let before = list.capacity();
            list.shrink_to(len);
            (before - list.capacity()) * size_of::<T>()
        }
        self.lines.shrink_to(len);
        self.controls.shrink_to(len);
        shrink(&mut self.asked, len) + shrink(&mut self.pieces, len) + shrink(&mut self.ended, len)
    }
}

impl Shared {
    /// Carries out [`Context::join`], behind [`App::open`].
    #[cold]
    fn join(&mut self, conn: &mut Connection) {
        let joining = self.protocol.pairs.joining.take();
        let Some((id, dial, coding)) = joining else {
            return;
        };
        let Some(websocket) = conn.speaks.websocket() else {
            return;
        };
        if id != conn.link.id || conn.link.pair().is_some() {
            // Another callback asked for it, or it was begun for a stream.
            return;
        }
        websocket.stream = Some(coding);
        self.dial(&mut conn.link, dial);
    }

    /// Joins a WebSocket that was begun for the other end of its pair, and is open now.
    pub(super) fn join_begun(&mut self, conn: &mut Connection, dial: Dial, coding: Coding) {
        if let Some(websocket) = conn.speaks.websocket() {
            websocket.stream = Some(coding);
            self.tell_pair(&conn.link, Fate::Opened(dial));
            // What follows the response waits in the spill.
            self.protocol.share.use_up();
        }
    }

    /// Asks the worker for the other end of a pair.
    fn dial(&mut self, link: &mut Link, dial: Dial) {
        link.pair_with(None, true);
        self.protocol.pairs.asked.push((link.id, dial));
        self.pair_news.push(link.id);
        // What follows the request waits in the spill.
        self.protocol.share.use_up();
    }

    /// Joins a raw connection that was accepted with the target of `dial`.
    #[cold]
    pub(super) fn forward(&mut self, conn: &mut Connection, dial: Dial) {
        conn.link.phase = Phase::Open;
        let idle = self.protocol.config.idle_timeout;
        let deadline = idle.map(|timeout| self.now + timeout);
        self.reschedule(&mut conn.link, deadline);
        self.dial(&mut conn.link, dial);
    }

    /// Carries out what [`App::open`] asked for.
    #[inline]
    pub(super) fn join_if_asked(&mut self, conn: &mut Connection) {
        if self.protocol.pairs.joining.is_some() {
            self.join(conn);
        }
    }

    /// Whether the server may have one raw connection more that was accepted, which speaks no protocol from now on.
    pub(crate) fn admit_stream(&mut self, conn: &mut Connection) -> bool {
        if !self.admit() {
            self.counters.refused += 1;
            return false;
        }
        conn.speaks = Speaks::Raw(Raw {
            holds_place: true,
            half_close: match &self.protocol.streams_to {
                Some(Onward::WebSocket(uplink)) => uplink.half_close,
                _ => false,
            },
            ..Raw::accepted()
        });
        true
    }

    /// Joins a raw connection that was accepted with where the application's streams lead to.
    pub(crate) fn forward_stream(&mut self, conn: &mut Connection) {
        if let Some(onward) = &self.protocol.streams_to {
            let dial = Dial::new(onward.clone(), Caller::Stream, &[]);
            self.forward(conn, dial);
        }
    }

    /// Tells the other end of a pair how this one ended.
    pub(crate) fn tell_pair(&mut self, link: &Link, fate: Fate) {
        if let Some(with) = link.pair().and_then(|pair| pair.with) {
            self.protocol.pairs.ended.push((with, fate));
            self.pair_news.push(with);
        }
    }

    /// Ends what a raw connection speaks, and tells the other end.
    #[cold]
    pub(crate) fn end_raw(&mut self, conn: &mut Connection) {
        let Speaks::Raw(raw) = std::mem::replace(&mut conn.speaks, Speaks::Over) else {
            unreachable!("the caller has seen that it is raw")
        };
        self.counters.streams -= u64::from(raw.is_counted);
        if raw.holds_place {
            self.leave();
        }
        let is_reset = conn.link.ending == link::Ending::Reset;
        let fate = match raw.dial {
            Some(dial) => Fate::Unreached(dial),
            // A target that has ended its direction and is gone answers what still comes with a reset.
            None if is_reset && conn.link.inbound != Inbound::Closed => Fate::Reset,
            None => Fate::Ended,
        };
        self.counters.streams_reset += u64::from(raw.is_counted && matches!(fate, Fate::Reset));
        self.tell_pair(&conn.link, fate);
    }

    /// A raw connection is connected, and its handshake of TLS is complete if it has one.
    pub(crate) fn begin_raw(&mut self, conn: &mut Connection, scratch: &mut [u8]) {
        let Speaks::Raw(raw) = &mut conn.speaks else {
            unreachable!("the caller has seen that it is raw")
        };
        let Some(dial) = raw.dial.take() else {
            unreachable!("it was connecting")
        };
        raw.is_counted = dial.caller == Caller::Stream;
        let link = &mut conn.link;
        link.phase = Phase::Open;
        if raw.is_ending {
            link.ending = link::Ending::FinAfterQueue;
            self.dirty.push(link.id);
        }
        if !dial.first.is_empty() {
            let mut output = self.output(link, scratch, BufferId::SCRATCH);
            output.copy(Carries::Control, &dial.first, &[]);
        }
        self.pair_news
            .extend(link.pair().and_then(|pair| pair.with));
        self.count_opened(&dial);
    }

    fn count_opened(&mut self, dial: &Dial) {
        let counted = u64::from(dial.caller == Caller::Stream);
        self.counters.streams += counted;
        self.counters.streams_opened += counted;
        let took = self.now.since(dial.began).as_nanos();
        self.counters.stream_connect_ns += counted * u64::try_from(took).unwrap_or(u64::MAX);
    }

    /// The WebSocket that a raw connection was waiting for is open. Its messages carry what comes.
    pub(crate) fn count_raw(&mut self, conn: &mut Connection, dial: &Dial) {
        if let Speaks::Raw(raw) = &mut conn.speaks {
            raw.is_counted = true;
            if raw.has_ended {
                // It was said when there was nobody to hear.
                let half_close = raw.half_close;
                self.tell_pair(&conn.link, Fate::Finished { half_close });
            }
            self.count_opened(dial);
        }
    }

    /// The peer of a raw connection has ended its direction: tells the other end, once.
    pub(crate) fn finish_raw(&mut self, conn: &mut Connection) {
        if let Speaks::Raw(raw) = &mut conn.speaks
            && !std::mem::replace(&mut raw.has_ended, true)
        {
            let half_close = raw.half_close;
            self.tell_pair(&conn.link, Fate::Finished { half_close });
        }
    }
}

impl Context<'_> {
    /// Joins this WebSocket with a stream to `target`: whatever its peer sends from now on goes there, behind the bytes of
    /// `first`, and what the target sends comes back in messages of `kind`, text being base64. The worker carries the bytes
    /// without further callbacks but [`App::close`](super::App::close). It reads nothing before the target has accepted. A target that cannot be
    /// reached closes the WebSocket with 1011. To be called in [`App::open`](super::App::open); elsewhere it has no effect, nor on a
    /// WebSocket that agreed to permessage-snappy or permessage-bzip2.
    pub fn join(&mut self, target: &Arc<Target>, kind: Kind, first: &[u8]) {
        self.join_onward(Onward::Stream(target.clone()), kind.into(), first);
    }

    /// The same with a WebSocket to another server. Text messages are base64 here if `kind` is text, and there if that server
    /// chooses `base64`.
    pub fn join_uplink(&mut self, uplink: &Arc<Uplink>, kind: Kind) {
        self.join_onward(Onward::WebSocket(uplink.clone()), kind.into(), &[]);
    }

    /// The same with a stream that is connected already, such as one end of a socket pair whose other end a process has as its standard
    /// input and output. It travels as `carriage` says.
    pub fn join_handed(&mut self, handed: &Handed, carriage: Carriage) {
        self.join_onward(Onward::Handed(handed.clone()), carriage.into(), &[]);
    }

    fn join_onward(&mut self, to: Onward, coding: Coding, first: &[u8]) {
        if self.codec.as_ref().is_none_or(|codec| codec.streams()) {
            let id = self.id();
            let pairs = &mut self.output.shared.protocol.pairs;
            pairs.joining = Some((id, Dial::new(to, Caller::Stream, first), coding));
        }
    }
}
