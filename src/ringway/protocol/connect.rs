//! The client's opening handshake: TCP connect, request, response.

use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::host::Host;
use super::refusal::Reading;
use super::request::{Failure, OpeningRequest};
use super::{Asked, Codec, Connection, Head, Shared, Speaks};
use crate::conn::link::Phase;
use crate::conn::outbox::Carries;
use crate::conn::tls::Tls;
use crate::io::BufferId;
use crate::proto::Role;
use crate::proto::handshake::{self, Fault, Progress, ResponseKind};

/// Time to wait for the content of a refusal after its head has arrived. Chosen, untested.
const REFUSAL_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the head of a response leads to.
enum Answer {
    Open(Option<Box<Codec>>),
    Refused(Reading),
    Fail(Fault),
    Incomplete,
}

impl Shared {
    /// Reads the head of the response, as far as it has arrived. Returns how many bytes of `buf` belong to it.
    #[inline(never)] // or its variables weigh on the path of messages
    pub(crate) fn feed_response<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buf: &mut [u8],
        scratch: &mut [u8],
    ) -> usize {
        let Some(head) = conn.speaks.head() else {
            unreachable!("a client's connection has a head until it is open")
        };
        if head.refused.is_some() {
            self.feed_refusal(host, conn, buf);
            return buf.len();
        }
        let before = head.bytes.len();
        // Most heads arrive in one piece. They are read where they lie.
        let (answer, head_bytes) = if before == 0 {
            let (asked, resume) = (&head.asked, &mut head.resume);
            let (answer, head_bytes) = read(
                buf,
                asked.as_ref(),
                resume,
                &self.protocol.config.head_limits,
            );
            if matches!(answer, Answer::Incomplete) {
                head.bytes.extend_from_slice(buf);
            }
            (answer, head_bytes)
        } else {
            head.push(buf, self.protocol.config.head_limits.head_bytes_max);
            let Head {
                bytes,
                asked,
                resume,
                ..
            } = &mut **head;
            read(
                bytes,
                asked.as_ref(),
                resume,
                &self.protocol.config.head_limits,
            )
        };
        let used = head_bytes.saturating_sub(before);
        match answer {
            Answer::Incomplete => return buf.len(),
            Answer::Open(codec) => self.open(host, conn, codec, scratch),
            Answer::Refused(reading) => {
                head.bytes = Vec::new();
                head.refused = Some(reading);
                let deadline = conn.link.deadline.min(self.now + REFUSAL_BODY_TIMEOUT);
                self.reschedule(&mut conn.link, Some(deadline));
                self.feed_refusal(host, conn, buf.get(used..).unwrap_or_default());
                return buf.len();
            }
            Answer::Fail(fault) => self.give_up(host, conn, Failure::Response(fault)),
        }
        used
    }

    /// Reads the beginning of the refusal's content, and ends the connection when that has arrived.
    fn feed_refusal<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, bytes: &[u8]) {
        let reading = conn.speaks.head().and_then(|head| head.refused.as_mut());
        if reading.is_some_and(|reading| reading.push(bytes)) {
            // `report_failure` reports the refusal that was read.
            self.give_up(host, conn, Failure::Closed);
        }
    }

    pub(crate) fn give_up<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        failure: Failure,
    ) {
        self.report_failure(host, conn, failure);
        self.condemned.push(conn.link.id);
    }

    /// Tells the application, once, that a connection did not open. If the server's refusal was read, that is the
    /// reason, whatever ended the connection.
    pub(crate) fn report_failure<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        failure: Failure,
    ) {
        self.counters.handshakes_failed += 1;
        let refused = match std::mem::replace(&mut conn.speaks, Speaks::Over) {
            Speaks::Opening(head) => head.and_then(|head| head.refused),
            Speaks::WebSocket(_) | Speaks::Over => None,
        };
        let failure = match refused {
            Some(reading) => Failure::Refused(Box::new(reading.finish())),
            None => failure,
        };
        conn.link.phase = Phase::Lingering;
        let (app, session) = host.end(conn.link.id);
        app.failed(&mut self.scope(&conn.link), session, failure);
    }
}

fn read(
    bytes: &mut [u8],
    asked: Option<&Asked>,
    resume: &mut handshake::Resume,
    limits: &handshake::Limits,
) -> (Answer, usize) {
    let Some(Asked { request, key }) = asked else {
        unreachable!("a client knows what it asked for")
    };
    let len = bytes.len();
    let subprotocols = request.subprotocols();
    let offered = request.offered(&subprotocols);
    match handshake::parse_response_from(bytes, *resume, key, &offered, limits) {
        Ok(Progress::Incomplete { resume: next }) => {
            *resume = next;
            (Answer::Incomplete, 0)
        }
        Ok(Progress::Complete { head, head_bytes }) => match head.kind() {
            ResponseKind::Accepted { deflate, .. } => {
                let codec = deflate.zip(request.compression());
                let codec = codec.map(|(agreed, ours)| Codec::new(agreed, Role::Client, ours));
                (Answer::Open(codec), head_bytes)
            }
            ResponseKind::Refused { .. } => {
                (Answer::Refused(Reading::new(head.http())), head_bytes)
            }
        },
        Err(fault) => (Answer::Fail(fault), len),
    }
}

impl Shared {
    /// The TCP connect succeeded: tells the application, and sends the request, or the hello of TLS before it.
    pub(crate) fn ask<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        scratch: &mut [u8],
    ) {
        conn.link.phase = Phase::Opening;
        let (app, session) = host.of(conn.link.id);
        app.connected(&mut self.scope(&conn.link), session);
        let asked = conn.speaks.head().and_then(|head| head.asked.as_ref());
        match asked.and_then(|asked| asked.request.secured()) {
            None => self.send_request(conn, scratch),
            Some(client) => match Tls::client(&client.config, &client.name) {
                Ok(tls) => {
                    conn.link.out.tls = Some(Box::new(tls));
                    self.dirty.push(conn.link.id);
                }
                Err(error) => self.give_up(host, conn, Failure::Tls(error.to_string())),
            },
        }
    }

    /// Sends the request.
    pub(crate) fn send_request(&mut self, conn: &mut Connection, scratch: &mut [u8]) {
        let mut bytes = std::mem::take(&mut self.protocol.response);
        bytes.clear();
        if let Some(Asked { request, key }) =
            conn.speaks.head().and_then(|head| head.asked.as_ref())
            && let Err(misuse) = request.encode(*key, &mut bytes)
        {
            unreachable!("a request is checked when it is made: {misuse}");
        }
        let mut output = self.output(&mut conn.link, scratch, BufferId::HOT);
        output.copy(Carries::Control, &bytes, &[]);
        self.protocol.response = bytes;
    }
}

/// What a client's side keeps until its connection is open.
pub(super) fn head(request: &Arc<OpeningRequest>, key: [u8; 16]) -> Box<Head> {
    Box::new(Head {
        asked: Some(Asked {
            request: request.clone(),
            key,
        }),
        ..Head::default()
    })
}
