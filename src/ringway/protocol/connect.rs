//! The client's opening handshake: connect, a tunnel through a proxy if there is one, request, response.

use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::carry::Coding;
use super::host::Host;
use super::pieces::Manner;
use super::refusal::Reading;
use super::request::{Failure, OpeningRequest};
use super::{Asked, Awaits, Codec, Connection, Fate, Head, Shared, Speaks};
use crate::conn::link::Phase;
use crate::conn::outbox::Carries;
use crate::conn::tls::Tls;
use crate::io::BufferId;
use crate::proto::handshake::{self, Progress, ResponseKind, TunnelAnswer};
use crate::proto::http;
use crate::proto::{Kind, Role};

/// Time to wait for the content of a refusal after its head has arrived. Chosen, untested.
const REFUSAL_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the head of a response leads to.
enum Answer {
    /// The proxy leads to the server now, which can be asked.
    Through,
    /// Perhaps with compressed messages; how a stream would travel in them.
    Open(Option<Box<Codec>>, Coding, Manner),
    Refused(Reading),
    Fail(Failure),
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
        let limits = self.protocol.config.head_limits;
        // Most heads arrive in one piece. They are read where they lie.
        let (answer, head_bytes) = if before == 0 {
            let read = read(
                buf,
                head.asked.as_ref(),
                head.awaits,
                &mut head.resume,
                &limits,
            );
            if matches!(read.0, Answer::Incomplete) {
                head.bytes.extend_from_slice(buf);
            }
            read
        } else {
            head.push(buf, limits.head_bytes_max);
            let Head {
                bytes,
                asked,
                resume,
                awaits,
                ..
            } = &mut **head;
            read(bytes, asked.as_ref(), *awaits, resume, &limits)
        };
        let used = head_bytes.saturating_sub(before);
        match answer {
            Answer::Incomplete => return buf.len(),
            Answer::Through if used < buf.len() => {
                let fault = http::Fault::Malformed("it goes on before the server was asked");
                self.give_up(host, conn, Failure::ProxyResponse(fault));
            }
            Answer::Through => {
                (head.bytes, head.resume) = (Vec::new(), handshake::Resume::default());
                head.awaits = Awaits::Server;
                self.begin(host, conn, scratch);
            }
            Answer::Open(codec, coding, manner) => {
                let dial = head.dial.take();
                self.open(host, conn, (codec, manner), scratch);
                if let Some(dial) = dial {
                    self.join_begun(conn, *dial, coding);
                }
            }
            Answer::Refused(reading) => {
                head.bytes = Vec::new();
                head.refused = Some(reading);
                let deadline = conn.link.deadline.min(self.now + REFUSAL_BODY_TIMEOUT);
                self.reschedule(&mut conn.link, Some(deadline));
                self.feed_refusal(host, conn, buf.get(used..).unwrap_or_default());
                return buf.len();
            }
            Answer::Fail(failure) => self.give_up(host, conn, failure),
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
        let head = match std::mem::replace(&mut conn.speaks, Speaks::Over) {
            Speaks::Opening(head) => head,
            Speaks::WebSocket(_) | Speaks::Raw(_) | Speaks::Over => None,
        };
        let (refused, dial) = match head {
            Some(head) => {
                let awaits = head.awaits;
                (head.refused.map(|refused| (refused, awaits)), head.dial)
            }
            None => (None, None),
        };
        let failure = match refused {
            Some((reading, Awaits::Server)) => Failure::Refused(Box::new(reading.finish())),
            Some((reading, Awaits::Proxy)) => Failure::ProxyRefused(Box::new(reading.finish())),
            None => failure,
        };
        conn.link.phase = Phase::Lingering;
        if let Some(mut dial) = dial {
            dial.failure = failure.clone();
            self.tell_pair(&conn.link, Fate::Unreached(*dial));
        }
        let (app, session) = host.end(conn.link.id);
        app.failed(&mut self.scope(&conn.link), session, failure);
    }
}

fn read(
    bytes: &mut [u8],
    asked: Option<&Asked>,
    awaits: Awaits,
    resume: &mut handshake::Resume,
    limits: &handshake::Limits,
) -> (Answer, usize) {
    match awaits {
        Awaits::Proxy => read_proxy(bytes, resume, limits),
        Awaits::Server => read_server(bytes, asked, resume, limits),
    }
}

fn read_proxy(
    bytes: &mut [u8],
    resume: &mut handshake::Resume,
    limits: &handshake::Limits,
) -> (Answer, usize) {
    let len = bytes.len();
    match handshake::parse_tunnel_answer_from(bytes, *resume, limits) {
        Ok(Progress::Incomplete { resume: next }) => {
            *resume = next;
            (Answer::Incomplete, 0)
        }
        Ok(Progress::Complete { head, head_bytes }) => match head {
            TunnelAnswer::Open => (Answer::Through, head_bytes),
            TunnelAnswer::Refused(response) => {
                (Answer::Refused(Reading::new(&response)), head_bytes)
            }
        },
        Err(fault) => (Answer::Fail(Failure::ProxyResponse(fault)), len),
    }
}

fn read_server(
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
            ResponseKind::Accepted {
                compression,
                subprotocol,
            } => {
                let ours = request.compressions();
                let codec = compression.map(|agreed| Codec::new(agreed, Role::Client, ours));
                let coding = match subprotocol {
                    Some("base64") => Kind::Text,
                    _ => Kind::Binary,
                };
                (
                    Answer::Open(codec, coding.into(), request.manner()),
                    head_bytes,
                )
            }
            ResponseKind::Refused { .. } => {
                (Answer::Refused(Reading::new(head.http())), head_bytes)
            }
        },
        Err(fault) => (Answer::Fail(Failure::Response(fault)), len),
    }
}

impl Shared {
    /// The connect succeeded: tells the application, and begins with the server, or with the proxy that the connect led to.
    pub(crate) fn ask<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        scratch: &mut [u8],
    ) {
        conn.link.phase = Phase::Opening;
        let (app, session) = host.of(conn.link.id);
        app.connected(&mut self.scope(&conn.link), session);
        match conn.speaks.head().map(|head| head.awaits) {
            Some(Awaits::Proxy) => self.send_request(conn, scratch),
            _ => self.begin(host, conn, scratch),
        }
    }

    /// Sends the request to the server, or the hello of TLS before it.
    fn begin<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, scratch: &mut [u8]) {
        let asked = conn.speaks.head().and_then(|head| head.asked.as_ref());
        match asked.and_then(|asked| asked.request.secured()) {
            None => self.send_request(conn, scratch),
            Some(client) => match Tls::client(&client.config, &client.name) {
                Ok(tls) => {
                    conn.link.out.tls = Some(Box::new(tls));
                    conn.link.is_apart = true;
                    self.dirty.push(conn.link.id);
                }
                Err(error) => self.give_up(host, conn, Failure::Tls(error.to_string())),
            },
        }
    }

    /// Sends the request to whoever is to answer next.
    pub(crate) fn send_request(&mut self, conn: &mut Connection, scratch: &mut [u8]) {
        let mut bytes = std::mem::take(&mut self.protocol.response);
        bytes.clear();
        let head = conn.speaks.head();
        let head = head.and_then(|head| Some((head.asked.as_ref()?, head.awaits)));
        let encoded = match head {
            Some((Asked { request, .. }, Awaits::Proxy)) => request.encode_tunnel(&mut bytes),
            Some((Asked { request, key }, Awaits::Server)) => request.encode(*key, &mut bytes),
            None => Ok(()),
        };
        if let Err(misuse) = encoded {
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
        awaits: match request.is_tunnelled() {
            true => Awaits::Proxy,
            false => Awaits::Server,
        },
        asked: Some(Asked {
            request: request.clone(),
            key,
        }),
        ..Head::default()
    })
}
