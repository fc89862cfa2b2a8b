//! The opening handshake of a connection: collect the head, ask the application, answer.

use super::app::App;
use super::connection::{Connection, Head, Heartbeat, Phase};
use super::feed::Shared;
use super::outbox::Carries;
use crate::io::BufferId;
use crate::proto::CloseCode;
use crate::proto::handshake::{self, Progress, Refusal, Request, RequestKind, Verdict};

/// What the head of a request leads to; the response lies in `Shared::response`.
enum Answer {
    Open,
    /// What was asked for is no WebSocket.
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
                        asked: None,
                    }));
                }
                (answer, head_bytes)
            }
            Some(mut head) => {
                let before = head.bytes.len();
                head.bytes.extend_from_slice(buf);
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
            Ok(Progress::Complete { head, head_bytes }) => (self.decide(app, &head), head_bytes),
            Err(refusal) => {
                tracing::debug!("opening handshake refused: {refusal}");
                handshake::encode_refusal(&refusal, &mut self.response);
                (Answer::Refuse, bytes.len())
            }
        }
    }

    fn decide<A: App>(&mut self, app: &mut A, request: &Request<'_>) -> Answer {
        if request.kind() == RequestKind::Plain {
            handshake::encode_status_page(request, &mut self.response);
            return Answer::Page;
        }
        let refusal = if self.draining {
            Some(Refusal::STOPPING)
        } else if self.admit() {
            None
        } else {
            Some(Refusal::OVERLOADED)
        };
        if let Some(refusal) = refusal {
            self.counters.refused += 1;
            handshake::encode_refusal(&refusal, &mut self.response);
            return Answer::Refuse;
        }
        let verdict = app.connect(request);
        let encoded = handshake::encode_verdict(request, &verdict, &mut self.response);
        if encoded.is_ok() && matches!(verdict, Verdict::Accept { .. }) {
            return Answer::Open;
        }
        self.leave();
        match encoded {
            Ok(()) => Answer::Refuse,
            Err(misuse) => {
                tracing::error!("the application's verdict cannot be sent: {misuse}");
                self.response.clear();
                let reason = "the application gave an answer that HTTP cannot express";
                handshake::encode_refusal(
                    &Refusal::new(handshake::StatusCode(500), reason),
                    &mut self.response,
                );
                Answer::Refuse
            }
        }
    }

    /// Takes a place among the clients of the server, if one is free.
    fn admit(&self) -> bool {
        match (&self.board, self.config.connections_max) {
            (_, usize::MAX) => true,
            (Some(board), max) => board.admit(max as u64),
            (None, max) => self.counters.clients < max as u64,
        }
    }

    /// Gives it back.
    pub(super) fn leave(&self) {
        if let (Some(board), 0..usize::MAX) = (&self.board, self.config.connections_max) {
            board.leave();
        }
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
        handshake::encode_refusal(refusal, &mut self.response);
        self.refuse(app, conn, scratch);
    }

    fn respond(&mut self, conn: &mut Connection, scratch: &mut [u8]) {
        let response = std::mem::take(&mut self.response);
        self.context(conn, scratch, BufferId::HOT).output.copy(
            Carries::Control,
            &response,
            &[],
            None,
        );
        self.response = response;
    }
}
