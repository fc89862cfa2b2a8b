//! The opening of a connection: collect the head, ask the application, answer.

use super::app::App;
use super::connection::{Connection, Head, Heartbeat, Phase};
use super::feed::Shared;
use crate::io::BufferId;
use crate::proto::CloseCode;
use crate::proto::handshake::{self, Asked, Date, Progress, Refusal, Request, Verdict};
use crate::proto::http;

/// What the head of a request leads to; the response lies in `Shared::response`.
enum Answer {
    Open,
    /// What was asked for is no WebSocket, and was answered.
    Page,
    Refuse,
    Incomplete(handshake::Resume),
}

impl Shared {
    /// Reads the head of the request, as far as it is there, and answers it when it is complete. Returns how much of
    /// `buf` belongs to it.
    pub(super) fn feed_opening<A: App>(
        &mut self,
        app: &mut A,
        conn: &mut Connection,
        buf: &[u8],
        scratch: &mut [u8],
    ) -> usize {
        // Most heads come in one piece, and are read where they lie.
        let (answer, used) = match conn.head.take() {
            None => {
                let (answer, head_bytes) = self.answer(app, buf, handshake::Resume::default());
                if let Answer::Incomplete(resume) = answer {
                    conn.head = Some(Box::new(Head {
                        bytes: buf.to_vec(),
                        resume,
                        ..Head::default()
                    }));
                }
                (answer, head_bytes)
            }
            Some(mut head) => {
                let before = head.bytes.len();
                head.push(buf, self.config.head_limits.head_bytes_max);
                let (answer, head_bytes) = self.answer(app, &head.bytes, head.resume);
                if let Answer::Incomplete(resume) = answer {
                    head.resume = resume;
                    conn.head = Some(head);
                }
                (answer, head_bytes - before.min(head_bytes))
            }
        };
        match answer {
            Answer::Incomplete(_) => return buf.len(),
            Answer::Open => {
                self.respond(conn, scratch);
                self.open(app, conn, scratch);
            }
            Answer::Page => {
                self.respond(conn, scratch);
                self.linger(app, conn, CloseCode::AbnormalClosure);
            }
            Answer::Refuse => self.refuse(app, conn, scratch),
        }
        used
    }

    /// Makes the response to `bytes` and says what it is and how long the head was.
    fn answer<A: App>(
        &mut self,
        app: &mut A,
        bytes: &[u8],
        resume: handshake::Resume,
    ) -> (Answer, usize) {
        self.response.clear();
        match handshake::parse_request_from(bytes, resume, &self.config.head_limits) {
            Ok(Progress::Incomplete { resume }) => (Answer::Incomplete(resume), 0),
            Ok(Progress::Complete { head, head_bytes }) => {
                let date = self.date();
                let answer = match head {
                    Asked::WebSocket(request) => self.decide(app, &request, &date),
                    Asked::Http(request) => self.serve(app, &request, &date),
                };
                (answer, head_bytes)
            }
            Err(refusal) => {
                self.log_refusal(&refusal);
                let date = self.date();
                handshake::encode_refusal(&refusal, &date, &mut self.response);
                if bytes.trim_ascii_start().starts_with(b"HEAD ") {
                    drop_content(&mut self.response);
                }
                (Answer::Refuse, bytes.len())
            }
        }
    }

    /// Another protocol on this port is a mistake of whoever set the client or its proxy up, and the client may not be
    /// able to show the answer: the first time is worth a warning, and a port scanner is not worth more.
    fn log_refusal(&mut self, refusal: &Refusal) {
        let told = match *refusal {
            Refusal::TLS => &mut self.told.tls,
            Refusal::HTTP_2 => &mut self.told.http_2,
            _ => return tracing::debug!("request refused: {refusal}"),
        };
        if std::mem::replace(told, true) {
            tracing::debug!("request refused: {refusal}");
        } else {
            tracing::warn!("{} (further ones are not logged)", refusal.reason());
        }
    }

    /// The date for an answer of this turn.
    fn date(&mut self) -> Date {
        self.clock.date(self.now)
    }

    /// Has the application answer a request that opens no WebSocket.
    fn serve<A: App>(&mut self, app: &mut A, request: &http::Request<'_>, date: &Date) -> Answer {
        let answer = app.request(request);
        if let Err(misuse) = http::encode_answer(request, &answer, date, &mut self.response) {
            return self.fail_for_application(&misuse, date);
        }
        Answer::Page
    }

    fn decide<A: App>(&mut self, app: &mut A, request: &Request<'_>, date: &Date) -> Answer {
        let room = self.counters.clients < self.config.connections_max as u64;
        let refusal = match (self.draining, room) {
            (true, _) => Some(Refusal::STOPPING),
            (false, false) => Some(Refusal::OVERLOADED),
            (false, true) => None,
        };
        if let Some(refusal) = refusal {
            self.counters.refused += 1;
            handshake::encode_refusal(&refusal, date, &mut self.response);
            return Answer::Refuse;
        }
        let verdict = app.connect(request);
        match handshake::encode_verdict(request, &verdict, date, &mut self.response) {
            Ok(()) if matches!(verdict, Verdict::Accept { .. }) => Answer::Open,
            Ok(()) => Answer::Refuse,
            Err(misuse) => self.fail_for_application(&misuse, date),
        }
    }

    /// The application's answer cannot be sent.
    #[cold]
    fn fail_for_application(&mut self, misuse: &dyn std::error::Error, date: &Date) -> Answer {
        tracing::error!("the application's answer cannot be sent: {misuse}");
        self.response.clear();
        let refusal = Refusal::new(
            handshake::StatusCode::INTERNAL_SERVER_ERROR,
            "the application gave an answer that HTTP cannot express",
        );
        handshake::encode_refusal(&refusal, date, &mut self.response);
        Answer::Refuse
    }

    /// The opening handshake is complete, in either role.
    pub(super) fn open<A: App>(&mut self, app: &mut A, conn: &mut Connection, scratch: &mut [u8]) {
        conn.phase = Phase::Open;
        conn.opened = true;
        conn.heartbeat = Heartbeat::Quiet;
        self.counters.handshakes += 1;
        self.counters.clients += 1;
        let deadline = self.next_check(conn);
        self.reschedule(conn, deadline);
        let mut context = self.context(conn, scratch, BufferId::HOT);
        app.open(&mut context);
        context.output.end_run();
    }

    /// Sends the response in place of opening, and ends.
    fn refuse<A: App>(&mut self, app: &mut A, conn: &mut Connection, scratch: &mut [u8]) {
        self.respond(conn, scratch);
        self.counters.handshakes_failed += 1;
        self.linger(app, conn, CloseCode::AbnormalClosure);
    }

    /// Refuses before the head was complete.
    pub(super) fn refuse_with<A: App>(
        &mut self,
        app: &mut A,
        conn: &mut Connection,
        refusal: &Refusal,
        scratch: &mut [u8],
    ) {
        self.response.clear();
        let date = self.date();
        handshake::encode_refusal(refusal, &date, &mut self.response);
        self.refuse(app, conn, scratch);
    }

    fn respond(&mut self, conn: &mut Connection, scratch: &mut [u8]) {
        let response = std::mem::take(&mut self.response);
        self.context(conn, scratch, BufferId::HOT)
            .output
            .copy(&response, &[], None);
        self.response = response;
    }
}

/// RFC 9110 §9.3.2: "the server MUST NOT send content in the response" to HEAD, and a refusal is one.
#[cold]
fn drop_content(response: &mut Vec<u8>) {
    if let Some(at) = response.windows(4).position(|four| four == b"\r\n\r\n") {
        response.truncate(at + 4);
    }
}
