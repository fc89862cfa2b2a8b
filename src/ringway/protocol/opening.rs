//! The opening handshake of an accepted connection: collect the head, ask the application, answer.

use std::net::SocketAddr;

use super::app::{App, Closed};
use super::host::Host;
use super::pieces::{Manner, Receiving};
use super::preface::Preface;
use super::raw::{Caller, Dial, Onward, Raw};
use super::request::Failure;
use super::traffic::TrafficStats;
use super::verdict::{Opening, Route, Verdict, VerdictKind};
use super::{Codec, Connection, Head, Shared, Speaks, WebSocket, role};
use crate::conn::link::{NO_SERVICE, Pauses, Phase};
use crate::conn::outbox::Carries;
use crate::io::{BufferId, sys};
use crate::proto::flash_policy::{self, Recognised};
use crate::proto::handshake::{self, Date, Progress, Refusal, Request};
use crate::proto::http::{self, StatusCode};
use crate::proto::proxy_protocol::{self, Version};
use crate::proto::{Role, compression};
use crate::time::Instant;

/// Time between two warnings of the same kind.
const LOG_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);

/// The answer to a client whose address has reached its limit.
const TOO_MANY: Refusal = Refusal::new(
    StatusCode(429),
    "this address has too many connections, or opens them too fast",
);

/// The answer to a request that was to be relayed.
const UNREACHED: Refusal = Refusal::new(
    StatusCode(502),
    "the server that answers such requests cannot be reached; WebSockets are served here",
);

/// Bytes of a peer's text in a log line.
const SHOWN_BYTES_MAX: usize = 200;

/// What the head of a request leads to. The response is in `Shared::response`.
enum Answer {
    /// Perhaps with compressed messages.
    Open((Option<Box<Codec>>, Manner)),
    /// The client asked for something that is no WebSocket.
    Page,
    /// The same, and another server answers it.
    Relay(Box<Dial>),
    Refuse,
    /// The application has not decided yet.
    Later,
    Incomplete(handshake::Resume),
}

impl Shared {
    /// Reads the head of the request, as far as it has arrived, and answers a complete one. Returns how many bytes of
    /// `buf` belong to it.
    #[inline(never)] // or its variables weigh on the path of messages
    pub(crate) fn feed_opening<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buf: &[u8],
        scratch: &mut [u8],
    ) -> usize {
        if !self.expects_preface(conn) {
            return self.feed_head(host, conn, buf, scratch);
        }
        let used = self.feed_preface(conn, buf);
        match buf.get(used..) {
            Some(rest) if !rest.is_empty() => used + self.feed_head(host, conn, rest, scratch),
            _ => buf.len(),
        }
    }

    fn feed_head<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buf: &[u8],
        scratch: &mut [u8],
    ) -> usize {
        // Most heads arrive in one piece. They are read where they lie.
        let Speaks::Opening(kept) = &mut conn.speaks else {
            unreachable!("a head is read while the handshake is not complete")
        };
        let (answer, used) = match kept.take() {
            None => {
                let resume = handshake::Resume::default();
                let start = (resume, Preface::Silent);
                let (answer, head_bytes) = self.answer(host, conn, buf, start);
                if let Some(head) = Head::of_unanswered(&answer, || buf.to_vec()) {
                    conn.speaks = Speaks::Opening(Some(head));
                }
                (answer, head_bytes)
            }
            Some(mut head) => {
                let before = head.bytes.len();
                if head.undecided {
                    // This receive was under way when reading was paused: there are as many as the pool has buffers, and none of
                    // their bytes may be lost.
                    head.push(buf, usize::MAX);
                    *kept = Some(head);
                    return buf.len();
                }
                head.push(buf, self.protocol.config.head_limits.head_bytes_max);
                let pushed = head.bytes.len() - before;
                let start = (head.resume, head.preface);
                let (answer, head_bytes) = self.answer(host, conn, &head.bytes, start);
                if let Some(mut unanswered) =
                    Head::of_unanswered(&answer, || std::mem::take(&mut head.bytes))
                {
                    unanswered.preface = head.preface;
                    if unanswered.undecided {
                        unanswered.push(&buf[pushed..], usize::MAX);
                    }
                    conn.speaks = Speaks::Opening(Some(unanswered));
                }
                (answer, head_bytes.saturating_sub(before))
            }
        };
        match answer {
            Answer::Incomplete(_) => return buf.len(),
            Answer::Later => {
                conn.link.pauses.insert(Pauses::VERDICT);
                return buf.len();
            }
            Answer::Open(speaks) => {
                self.respond(conn, scratch);
                self.open(host, conn, speaks, scratch);
            }
            Answer::Page => {
                self.respond(conn, scratch);
                self.finish(host, conn, Closed::ABNORMAL);
            }
            Answer::Relay(dial) => {
                self.counters.relayed += 1;
                conn.speaks = Speaks::Raw(Raw::accepted());
                self.forward(conn, *dial);
            }
            Answer::Refuse => self.refuse(host, conn, scratch),
        }
        used
    }

    /// Encodes the response to `bytes`. Returns what it is, and the length of the request's head.
    fn answer<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        bytes: &[u8],
        (resume, preface): (handshake::Resume, Preface),
    ) -> (Answer, usize) {
        self.protocol.response.clear();
        let config = &self.protocol.config;
        if let Some(policy) = &config.opening.flash_policy {
            match flash_policy::recognise(bytes) {
                Recognised::No => {}
                Recognised::Incomplete => return (Answer::Incomplete(resume), 0),
                Recognised::Complete => {
                    self.protocol.response.extend_from_slice(policy.answer());
                    return (Answer::Page, bytes.len());
                }
            }
        }
        let versions = config.opening.versions;
        match handshake::parse_request_for(versions, bytes, resume, &config.head_limits) {
            Ok(Progress::Incomplete { resume }) => (Answer::Incomplete(resume), 0),
            Ok(Progress::Complete { head, head_bytes }) => {
                let date = self.date();
                let answer = match head {
                    handshake::Asked::WebSocket(request) => {
                        let request = told_of_tls(conn, request);
                        self.decide(host, conn, &request, preface, &date)
                    }
                    handshake::Asked::Http(request) => self
                        .relay(conn, &request, (preface, &bytes[..head_bytes]))
                        .unwrap_or_else(|| self.serve(host, &request, &date)),
                };
                (answer, head_bytes)
            }
            Err(refusal) => {
                self.log_refusal(&refusal);
                let date = self.date();
                self.encode_refusal(&refusal, &date);
                if bytes.trim_ascii_start().starts_with(b"HEAD ") {
                    drop_content(&mut self.protocol.response);
                }
                (Answer::Refuse, bytes.len())
            }
        }
    }

    /// Warns, once, about a client that speaks TLS or HTTP/2 on this port. Its operator has set it, or a proxy, up
    /// wrongly, and the client may not show our answer. Once, because a port scanner deserves no more.
    fn log_refusal(&mut self, refusal: &Refusal) {
        let told = match *refusal {
            Refusal::TLS => &mut self.protocol.told.tls,
            Refusal::HTTP_2 => &mut self.protocol.told.http_2,
            _ => return tracing::debug!("request refused: {refusal}"),
        };
        if std::mem::replace(told, true) {
            tracing::debug!("request refused: {refusal}");
        } else {
            tracing::warn!("{} (further ones are not logged)", refusal.reason());
        }
    }

    /// Logs that a page was refused for its origin.
    #[cold]
    fn log_origin(&mut self, peer: Option<SocketAddr>, request: &Request<'_>, refusal: &Refusal) {
        let sent = request.origin().unwrap_or("none");
        let shown = sent.get(..SHOWN_BYTES_MAX).unwrap_or(sent);
        let rules = &self.protocol.config.opening;
        let client = match rules.client(request.headers(), peer) {
            Some(address) => address.to_string(),
            None => "a Unix socket".to_owned(),
        };
        let what = format_args!("origin {shown:?} of {client} refused: {refusal}");
        warn_rarely(&mut self.protocol.told.origin, self.now, what);
    }

    /// Encodes a refusal as the response.
    #[cold]
    fn encode_refusal(&mut self, refusal: &Refusal, date: &Date) {
        let versions = self.protocol.config.opening.versions;
        handshake::encode_refusal_for(versions, refusal, date, &mut self.protocol.response);
    }

    /// The date for a response in this turn.
    fn date(&mut self) -> Date {
        self.protocol.clock.date(self.now)
    }

    /// Asks the application to answer a request that opens no WebSocket.
    fn serve<A: App>(
        &mut self,
        host: &mut Host<A>,
        request: &http::Request<'_>,
        date: &Date,
    ) -> Answer {
        let rules = &self.protocol.config.opening;
        let health = rules.health(request, self.protocol.draining);
        let answer = health.unwrap_or_else(|| host.app.request(request));
        if let Err(misuse) =
            http::encode_answer(request, &answer, date, &mut self.protocol.response)
        {
            return self.fail_for_application(&misuse, date);
        }
        Answer::Page
    }

    /// What leads a request that opens no WebSocket to another server, if it is relayed: `head` is its first bytes. The
    /// answer to a health check is ours, and nothing is relayed any more when the worker stops.
    fn relay(
        &self,
        conn: &Connection,
        request: &http::Request<'_>,
        (preface, head): (Preface, &[u8]),
    ) -> Option<Answer> {
        let draining = self.protocol.draining;
        let relay = self.protocol.config.relay.as_ref()?;
        if draining
            || self
                .protocol
                .config
                .opening
                .health(request, draining)
                .is_some()
        {
            return None;
        }
        let mut first = Vec::new();
        if relay.proxy_header {
            let (client, own) = (preface.peer(conn.link.fd), sys::local_address(conn.link.fd));
            let is_tls = conn.link.out.tls.is_some();
            proxy_protocol::encode(Version::V2, client, own, is_tls, &mut first);
        }
        first.extend_from_slice(head);
        let is_head = request.method() == "HEAD";
        let to = Onward::Stream(relay.target.clone());
        let dial = Dial::new(to, Caller::Request { is_head }, &first);
        Some(Answer::Relay(Box::new(dial)))
    }

    fn decide<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        request: &Request<'_>,
        preface: Preface,
        date: &Date,
    ) -> Answer {
        if let Some(refusal) = self.protocol.config.opening.judge_origin(request) {
            self.log_origin(preface.peer(conn.link.fd), request, &refusal);
            self.encode_refusal(&refusal, date);
            return Answer::Refuse;
        }
        if self.is_one_too_many(conn, request, preface) {
            self.encode_refusal(&TOO_MANY, date);
            return Answer::Refuse;
        }
        let refusal = if self.protocol.draining {
            Some(Refusal::STOPPING)
        } else if self.admit() {
            None
        } else {
            Some(Refusal::OVERLOADED)
        };
        if let Some(refusal) = refusal {
            self.counters.refused += 1;
            self.encode_refusal(&refusal, date);
            return Answer::Refuse;
        }
        let (app, session) = host.of(conn.link.id);
        let mut opening = Opening {
            id: conn.link.id,
            fd: conn.link.fd,
            preface,
            now: self.now,
            tls: conn.link.out.tls.as_deref(),
            request,
            commands: &mut self.protocol.commands,
            rules: &self.protocol.config.opening,
            route: Route {
                service: NO_SERVICE,
                places: Vec::new(),
            },
        };
        let verdict = app.connect(&mut opening, session);
        conn.link.service = opening.route.service;
        let answer = self.encode(conn.link.service, request, &verdict, date);
        if matches!(answer, Answer::Refuse) {
            self.leave();
            // The slot's next connection begins with a new session.
            drop(host.end(conn.link.id));
        }
        answer
    }

    /// Whether the client that a proxy named has too many connections. A client that is the peer itself was counted when
    /// it was accepted.
    fn is_one_too_many(
        &mut self,
        conn: &Connection,
        request: &Request<'_>,
        preface: Preface,
    ) -> bool {
        let Some(visitors) = &mut self.protocol.visitors else {
            return false;
        };
        let rules = &self.protocol.config.opening;
        let peer = sys::peer_address(conn.link.fd);
        if !rules.may_be_proxy(peer) || visitors.knows(conn.link.id) {
            return false;
        }
        let named = match preface {
            Preface::Names(client) => Some(client),
            Preface::Arriving | Preface::Silent => peer,
        };
        let Some(client) = rules.client(request.headers(), named) else {
            return false;
        };
        let is_admitted = visitors.admit(conn.link.id, client.ip(), self.now);
        self.counters.address_limited += u64::from(!is_admitted);
        !is_admitted
    }

    /// Counts the client on the board. False if the limit of connections is reached.
    pub(super) fn admit(&self) -> bool {
        match (&self.protocol.board, self.protocol.config.connections_max) {
            (_, usize::MAX) => true,
            (Some(board), max) => board.admit(max as u64),
            (None, max) => self.counters.clients.max(self.counters.streams) < max as u64,
        }
    }

    /// Takes the client off the board.
    pub(crate) fn leave(&self) {
        if let (Some(board), 0..usize::MAX) =
            (&self.protocol.board, self.protocol.config.connections_max)
        {
            board.leave();
        }
    }

    /// Encodes the response that expresses `verdict`.
    fn encode(
        &mut self,
        service: u16,
        request: &Request<'_>,
        verdict: &Verdict,
        date: &Date,
    ) -> Answer {
        let mut chosen = None;
        let pairs = verdict.headers.iter();
        let headers: Vec<_> = pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let (answer, encoded) = match &verdict.kind {
            VerdictKind::Later => return Answer::Later,
            VerdictKind::Accept(manner) => (
                Answer::Open((
                    self.agree((service, *manner), request, &mut chosen),
                    Manner {
                        draft: request.hixie(),
                        ..*manner
                    },
                )),
                handshake::Verdict::Accept {
                    compression: chosen.as_ref(),
                    subprotocol: verdict.subprotocol.as_deref(),
                    headers: &headers,
                },
            ),
            VerdictKind::Refuse { status, body } => (
                Answer::Refuse,
                handshake::Verdict::Refuse {
                    status: *status,
                    reason: body,
                    headers: &headers,
                },
            ),
        };
        match handshake::encode_verdict(request, &encoded, date, &mut self.protocol.response) {
            Ok(()) => answer,
            Err(misuse) => self.fail_for_application(&misuse, date),
        }
    }

    /// Chooses one of the client's offers to compress, if the service wants any.
    fn agree(
        &self,
        (service, manner): (u16, Manner),
        request: &Request<'_>,
        chosen: &mut Option<compression::Answer>,
    ) -> Option<Box<Codec>> {
        let ours = self.protocol.config.of(service).compressions();
        let ours = match manner.receiving {
            Receiving::Messages => ours,
            Receiving::Frames | Receiving::Chunks => ours.in_pieces(),
        };
        let terms = ours.terms();
        if terms == compression::Terms::NONE || request.hixie().is_some() {
            return None;
        }
        let (agreed, answer) = compression::accept(&terms, request.extensions())?;
        *chosen = Some(answer);
        Some(Codec::new(agreed, Role::Server, &ours))
    }

    /// Logs that the application's answer cannot be sent.
    #[cold]
    fn fail_for_application(&mut self, misuse: &dyn std::error::Error, date: &Date) -> Answer {
        tracing::error!("the application's answer cannot be sent: {misuse}");
        self.protocol.response.clear();
        let refusal = Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the application gave an answer that HTTP cannot express",
        );
        self.encode_refusal(&refusal, date);
        Answer::Refuse
    }

    /// Completes the opening handshake, in either role.
    pub(crate) fn open<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        (codec, manner): (Option<Box<Codec>>, Manner),
        scratch: &mut [u8],
    ) {
        conn.link.phase = Phase::Open;
        let config = self.protocol.config.of(conn.link.service);
        let (id, log) = (conn.link.id, &mut self.protocol.frame_log);
        // The log knows the frames of RFC 6455.
        let log = log.as_mut().filter(|_| manner.draft.is_none());
        let is_logged = log.is_some_and(|log| log.open(id));
        let in_place_below = match config.fragment_bytes_max {
            _ if is_logged || manner.is_measured || conn.link.out.tls.is_some() => 0,
            Some(bytes) => bytes.saturating_add(1),
            None => usize::MAX,
        };
        let (role, limits) = (role(conn.link.side), config.message_limits);
        let mut websocket = match manner.draft {
            None => WebSocket::new(role, limits, codec, in_place_below),
            Some(draft) => WebSocket::hixie(draft, limits),
        };
        websocket.receiving = manner.receiving;
        websocket.is_measured = manner.is_measured;
        if manner.is_measured {
            let stats = TrafficStats::new(self.now);
            self.protocol.traffic.insert(id, stats);
        }
        conn.link.is_apart |= !manner.is_plain();
        let heartbeat = websocket.heartbeat;
        conn.speaks = Speaks::WebSocket(websocket);
        self.counters.handshakes += 1;
        self.counters.handshakes_hixie += u64::from(manner.draft.is_some());
        self.counters.clients += 1;
        let deadline = self.next_check(&conn.link, heartbeat);
        self.reschedule(&mut conn.link, deadline);
        let (app, session) = host.of(conn.link.id);
        let mut context = self.context(conn, scratch, BufferId::HOT);
        app.open(&mut context, session);
        context.output.end_run();
        self.join_if_asked(conn);
    }

    /// Sends the prepared response, which refuses the WebSocket, and ends the connection.
    fn refuse<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, scratch: &mut [u8]) {
        self.respond(conn, scratch);
        self.counters.handshakes_failed += 1;
        self.finish(host, conn, Closed::ABNORMAL);
    }

    /// Refuses a request before its head is complete.
    pub(crate) fn refuse_with<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        refusal: &Refusal,
        scratch: &mut [u8],
    ) {
        self.protocol.response.clear();
        let date = self.date();
        self.encode_refusal(refusal, &date);
        self.refuse(host, conn, scratch);
    }

    fn respond(&mut self, conn: &mut Connection, scratch: &mut [u8]) {
        let mut response = std::mem::take(&mut self.protocol.response);
        if let Some(letterhead) = &self.protocol.config.opening.letterhead {
            letterhead.put_on(&mut response);
        }
        let mut output = self.output(&mut conn.link, scratch, BufferId::HOT);
        output.copy(Carries::Control, &response, &[]);
        self.protocol.response = response;
    }
}

impl Head {
    /// The part of a request that is kept until it is answered.
    fn of_unanswered(answer: &Answer, bytes: impl FnOnce() -> Vec<u8>) -> Option<Box<Self>> {
        let (resume, undecided) = match answer {
            Answer::Incomplete(resume) => (*resume, false),
            Answer::Later => (handshake::Resume::default(), true),
            Answer::Open(_) | Answer::Page | Answer::Relay(_) | Answer::Refuse => return None,
        };
        Some(Box::new(Self {
            bytes: bytes(),
            resume,
            undecided,
            ..Self::default()
        }))
    }
}

impl Shared {
    /// Tells an application whose verdict is pending that the worker needs none any more.
    pub(crate) fn withdraw<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        failure: Failure,
    ) {
        if conn.speaks.head().is_some_and(|head| head.undecided) {
            conn.speaks = Speaks::Opening(None);
            self.leave();
            let (app, session) = host.end(conn.link.id);
            app.failed(&mut self.scope(&conn.link), session, failure);
        }
    }
}

impl Shared {
    /// Carries out a verdict that was left for later. If it opens the WebSocket, returns the bytes that the client sent
    /// behind its request. RFC 6455 §4.1 forbids a client to send before our answer, but some do.
    pub(crate) fn decide_late<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        verdict: &Verdict,
        scratch: &mut [u8],
    ) -> Option<Vec<u8>> {
        if verdict.is_later() || !conn.speaks.head().is_some_and(|head| head.undecided) {
            return None;
        }
        let Speaks::Opening(Some(mut head)) =
            std::mem::replace(&mut conn.speaks, Speaks::Opening(None))
        else {
            unreachable!("seen above")
        };
        let config = &self.protocol.config;
        let (versions, start) = (config.opening.versions, handshake::Resume::default());
        let parsed =
            handshake::parse_request_for(versions, &head.bytes, start, &config.head_limits);
        let Ok(Progress::Complete {
            head: handshake::Asked::WebSocket(request),
            head_bytes,
        }) = parsed
        else {
            unreachable!("the head was complete when the application was asked")
        };
        self.protocol.response.clear();
        let date = self.date();
        let request = told_of_tls(conn, request);
        let answer = self.encode(conn.link.service, &request, verdict, &date);
        let Answer::Open(speaks) = answer else {
            self.leave();
            drop(host.end(conn.link.id));
            self.refuse(host, conn, scratch);
            return None;
        };
        self.respond(conn, scratch);
        self.open(host, conn, speaks, scratch);
        Some(head.bytes.split_off(head_bytes))
    }
}

impl Shared {
    /// Warns that a stream is reset because its other end cannot be reached: its peer learns nothing else.
    #[cold]
    pub(crate) fn log_unreached(&mut self, dial: &Dial) {
        let what = format_args!("a stream is reset: {}", dial.why());
        warn_rarely(&mut self.protocol.told.unreached, self.now, what);
    }

    /// Answers a client whose request was to be relayed, but cannot be.
    #[cold]
    pub(crate) fn fail_relay<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        dial: &Dial,
        scratch: &mut [u8],
    ) {
        self.counters.relays_failed += 1;
        let what = format_args!("requests that open no WebSocket get 502: {}", dial.why());
        warn_rarely(&mut self.protocol.told.relay, self.now, what);
        self.protocol.response.clear();
        let date = self.date();
        self.encode_refusal(&UNREACHED, &date);
        if dial.caller == (Caller::Request { is_head: true }) {
            drop_content(&mut self.protocol.response);
        }
        self.respond(conn, scratch);
        self.finish(host, conn, Closed::ABNORMAL);
    }
}

/// The request, which knows whether it came under TLS.
fn told_of_tls<'b>(conn: &Connection, request: Request<'b>) -> Request<'b> {
    match conn.link.out.tls.is_some() {
        true => request.under_tls(),
        false => request,
    }
}

/// Warns of what anybody can cause: at most once every ten seconds. `told` is when it was warned of last.
#[cold]
fn warn_rarely(told: &mut Option<Instant>, now: Instant, what: std::fmt::Arguments<'_>) {
    if told.is_some_and(|at| now < at + LOG_INTERVAL) {
        return tracing::debug!("{what}");
    }
    *told = Some(now);
    let seconds = LOG_INTERVAL.as_secs();
    tracing::warn!("{what} (at most one such line in {seconds} s)");
}

/// Removes the content from a refusal of HEAD. RFC 9110 §9.3.2: "the server MUST NOT send content in the response".
#[cold]
fn drop_content(response: &mut Vec<u8>) {
    if let Some(at) = response.windows(4).position(|four| four == b"\r\n\r\n") {
        response.truncate(at + 4);
    }
}
