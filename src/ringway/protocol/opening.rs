//! The opening handshake of an accepted connection: collect the head, ask the application, answer.

use super::app::{App, Closed};
use super::host::Host;
use super::request::Failure;
use super::verdict::{Opening, Route, Verdict, VerdictKind};
use super::{Connection, Head, Heartbeat, Shared, Speaks, WebSocket, role};
use crate::conn::link::{NO_SERVICE, Pauses, Phase};
use crate::conn::outbox::Carries;
use crate::io::BufferId;
use crate::proto::handshake::{self, Date, Progress, Refusal, Request};
use crate::proto::http::{self, StatusCode};

/// What the head of a request leads to. The response is in `Shared::response`.
enum Answer {
    Open,
    /// The client asked for something that is no WebSocket.
    Page,
    Refuse,
    /// The application has not decided yet.
    Later,
    Incomplete(handshake::Resume),
}

impl Shared {
    /// Reads the head of the request, as far as it has arrived, and answers a complete one. Returns how many bytes of
    /// `buf` belong to it.
    pub(crate) fn feed_opening<A: App>(
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
                let (answer, head_bytes) = self.answer(host, conn, buf, resume);
                if let Some(head) = Head::of_unanswered(&answer, || buf.to_vec()) {
                    conn.speaks = Speaks::Opening(Some(head));
                }
                (answer, head_bytes)
            }
            Some(mut head) => {
                let before = head.bytes.len();
                head.push(buf, self.protocol.config.head_limits.head_bytes_max);
                if head.undecided {
                    // This receive was under way when reading was paused.
                    *kept = Some(head);
                    return buf.len();
                }
                let (answer, head_bytes) = self.answer(host, conn, &head.bytes, head.resume);
                if let Some(unanswered) =
                    Head::of_unanswered(&answer, || std::mem::take(&mut head.bytes))
                {
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
            Answer::Open => {
                self.respond(conn, scratch);
                self.open(host, conn, scratch);
            }
            Answer::Page => {
                self.respond(conn, scratch);
                self.finish(host, conn, Closed::ABNORMAL);
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
        resume: handshake::Resume,
    ) -> (Answer, usize) {
        self.protocol.response.clear();
        match handshake::parse_request_from(bytes, resume, &self.protocol.config.head_limits) {
            Ok(Progress::Incomplete { resume }) => (Answer::Incomplete(resume), 0),
            Ok(Progress::Complete { head, head_bytes }) => {
                let date = self.date();
                let answer = match head {
                    handshake::Asked::WebSocket(request) => {
                        self.decide(host, conn, &request, &date)
                    }
                    handshake::Asked::Http(request) => self.serve(host, &request, &date),
                };
                (answer, head_bytes)
            }
            Err(refusal) => {
                self.log_refusal(&refusal);
                let date = self.date();
                handshake::encode_refusal(&refusal, &date, &mut self.protocol.response);
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
        let answer = host.app.request(request);
        if let Err(misuse) =
            http::encode_answer(request, &answer, date, &mut self.protocol.response)
        {
            return self.fail_for_application(&misuse, date);
        }
        Answer::Page
    }

    fn decide<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        request: &Request<'_>,
        date: &Date,
    ) -> Answer {
        let refusal = if self.protocol.draining {
            Some(Refusal::STOPPING)
        } else if self.admit() {
            None
        } else {
            Some(Refusal::OVERLOADED)
        };
        if let Some(refusal) = refusal {
            self.counters.refused += 1;
            handshake::encode_refusal(&refusal, date, &mut self.protocol.response);
            return Answer::Refuse;
        }
        let (app, session) = host.of(conn.link.id);
        let mut opening = Opening {
            id: conn.link.id,
            fd: conn.link.fd,
            now: self.now,
            tls: conn.link.out.tls.is_some(),
            request,
            commands: &mut self.protocol.commands,
            route: Route {
                service: NO_SERVICE,
                places: Vec::new(),
            },
        };
        let verdict = app.connect(&mut opening, session);
        conn.link.service = opening.route.service;
        let answer = self.encode(request, &verdict, date);
        if matches!(answer, Answer::Refuse) {
            self.leave();
            // The slot's next connection begins with a new session.
            drop(host.end(conn.link.id));
        }
        answer
    }

    /// Counts the client on the board. False if the limit of connections is reached.
    fn admit(&self) -> bool {
        match (&self.protocol.board, self.protocol.config.connections_max) {
            (_, usize::MAX) => true,
            (Some(board), max) => board.admit(max as u64),
            (None, max) => self.counters.clients < max as u64,
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
    fn encode(&mut self, request: &Request<'_>, verdict: &Verdict, date: &Date) -> Answer {
        let pairs = verdict.headers.iter();
        let headers: Vec<_> = pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let (answer, encoded) = match &verdict.kind {
            VerdictKind::Later => return Answer::Later,
            VerdictKind::Accept => (
                Answer::Open,
                handshake::Verdict::Accept {
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

    /// Logs that the application's answer cannot be sent.
    #[cold]
    fn fail_for_application(&mut self, misuse: &dyn std::error::Error, date: &Date) -> Answer {
        tracing::error!("the application's answer cannot be sent: {misuse}");
        self.protocol.response.clear();
        let refusal = Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the application gave an answer that HTTP cannot express",
        );
        handshake::encode_refusal(&refusal, date, &mut self.protocol.response);
        Answer::Refuse
    }

    /// Completes the opening handshake, in either role.
    pub(crate) fn open<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        scratch: &mut [u8],
    ) {
        conn.link.phase = Phase::Open;
        let limits = self.protocol.config.of(conn.link.service).message_limits;
        conn.speaks = Speaks::WebSocket(WebSocket::new(role(conn.link.side), limits));
        self.counters.handshakes += 1;
        self.counters.clients += 1;
        let deadline = self.next_check(&conn.link, Heartbeat::Quiet);
        self.reschedule(&mut conn.link, deadline);
        let (app, session) = host.of(conn.link.id);
        let mut context = self.context(conn, scratch, BufferId::HOT);
        app.open(&mut context, session);
        context.output.end_run();
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
        handshake::encode_refusal(refusal, &date, &mut self.protocol.response);
        self.refuse(host, conn, scratch);
    }

    fn respond(&mut self, conn: &mut Connection, scratch: &mut [u8]) {
        let response = std::mem::take(&mut self.protocol.response);
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
            Answer::Open | Answer::Page | Answer::Refuse => return None,
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
        let limits = &self.protocol.config.head_limits;
        let parsed =
            handshake::parse_request_from(&head.bytes, handshake::Resume::default(), limits);
        let Ok(Progress::Complete {
            head: handshake::Asked::WebSocket(request),
            head_bytes,
        }) = parsed
        else {
            unreachable!("the head was complete when the application was asked")
        };
        self.protocol.response.clear();
        let date = self.date();
        let answer = self.encode(&request, verdict, &date);
        if !matches!(answer, Answer::Open) {
            self.leave();
            drop(host.end(conn.link.id));
            self.refuse(host, conn, scratch);
            return None;
        }
        self.respond(conn, scratch);
        self.open(host, conn, scratch);
        Some(head.bytes.split_off(head_bytes))
    }
}

/// Removes the content from a refusal of HEAD. RFC 9110 §9.3.2: "the server MUST NOT send content in the response".
#[cold]
fn drop_content(response: &mut Vec<u8>) {
    if let Some(at) = response.windows(4).position(|four| four == b"\r\n\r\n") {
        response.truncate(at + 4);
    }
}
