//! The client's way to an open WebSocket: TCP connect, request, response.

use std::sync::Arc;

use super::app::App;
use super::connection::{Asked, Connection, Head, Phase};
use super::feed::Shared;
use super::outbox::Carries;
use super::worker::Core;
use crate::io::{BufferId, ConnId, Errno, Io, Op, Token};
use crate::proto::handshake::{self, ClientRequest, Fault, Progress, ResponseKind, StatusCode};

/// What a client asks for in its opening handshake, the same for any number of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningRequest {
    host: String,
    resource: String,
    subprotocols: Vec<String>,
}

impl OpeningRequest {
    /// `host`: name or address, and the port unless it is the scheme's default. `resource`: path and query, beginning with
    /// `/`. `subprotocols`: to offer, the best first.
    ///
    /// # Errors
    /// What HTTP cannot express.
    pub fn new(
        host: &str,
        resource: &str,
        subprotocols: &[String],
    ) -> Result<Self, handshake::Misuse> {
        let request = Self {
            host: host.to_owned(),
            resource: resource.to_owned(),
            subprotocols: subprotocols.to_vec(),
        };
        request.encode([0; 16], &mut Vec::new())?;
        Ok(request)
    }

    fn encode(&self, key: [u8; 16], out: &mut Vec<u8>) -> Result<(), handshake::Misuse> {
        let request = ClientRequest {
            subprotocols: &self.offered(),
            ..ClientRequest::new(&self.host, &self.resource, key)
        };
        handshake::encode_request(&request, out)
    }

    fn offered(&self) -> Vec<&str> {
        self.subprotocols.iter().map(String::as_str).collect()
    }
}

/// A connection that did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The connection.
    pub id: ConnId,
    /// What it was begun with.
    pub tag: u32,
    /// Why.
    pub failure: Failure,
}

/// Why a connection did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The server, or we, ended it before the handshake was complete.
    Closed,
    /// The TCP connect failed.
    Connect(Errno),
    /// The server answered with another status than 101.
    Refused(StatusCode),
    /// The server's answer is against RFC 6455.
    Response(Fault),
    /// `handshake_timeout` was over.
    Timeout,
}

/// What the head of a response leads to.
enum Answer {
    Open,
    Fail(Failure),
    Incomplete,
}

impl Shared {
    /// Reads the head of the response, as far as it is there. Returns how much of `buf` belongs to it.
    pub(super) fn feed_response<A: App>(
        &mut self,
        app: &mut A,
        conn: &mut Connection,
        buf: &[u8],
        scratch: &mut [u8],
    ) -> usize {
        let Some(head) = &mut conn.head else {
            unreachable!("a client's connection has a head until it is open")
        };
        let before = head.bytes.len();
        // Most heads come in one piece, and are read where they lie.
        let (answer, head_bytes) = if before == 0 {
            let (asked, resume) = (&head.asked, &mut head.resume);
            let (answer, head_bytes) = read(buf, asked.as_ref(), resume, &self.config.head_limits);
            if matches!(answer, Answer::Incomplete) {
                head.bytes.extend_from_slice(buf);
            }
            (answer, head_bytes)
        } else {
            head.bytes.extend_from_slice(buf);
            let Head {
                bytes,
                asked,
                resume,
            } = &mut **head;
            read(bytes, asked.as_ref(), resume, &self.config.head_limits)
        };
        match answer {
            Answer::Incomplete => return buf.len(),
            Answer::Open => {
                conn.head = None;
                self.open(app, conn, scratch);
            }
            Answer::Fail(failure) => {
                self.report_failure(app, conn, failure);
                self.condemned.push(conn.id);
            }
        }
        head_bytes.saturating_sub(before)
    }

    /// Tells the application once that a connection does not open.
    pub(super) fn report_failure<A: App>(
        &mut self,
        app: &mut A,
        conn: &mut Connection,
        failure: Failure,
    ) {
        self.counters.handshakes_failed += 1;
        conn.head = None;
        conn.phase = Phase::Lingering;
        app.failed(Failed {
            id: conn.id,
            tag: conn.tag,
            failure,
        });
    }
}

fn read(
    bytes: &[u8],
    asked: Option<&Asked>,
    resume: &mut handshake::Resume,
    limits: &handshake::Limits,
) -> (Answer, usize) {
    let Some(Asked { request, key }) = asked else {
        unreachable!("a client knows what it asked for")
    };
    match handshake::parse_response_from(bytes, *resume, key, &request.offered(), limits) {
        Ok(Progress::Incomplete { resume: next }) => {
            *resume = next;
            (Answer::Incomplete, 0)
        }
        Ok(Progress::Complete { head, head_bytes }) => match head.kind() {
            ResponseKind::Accepted { .. } => (Answer::Open, head_bytes),
            ResponseKind::Refused { status, .. } => {
                (Answer::Fail(Failure::Refused(status)), bytes.len())
            }
        },
        Err(fault) => (Answer::Fail(Failure::Response(fault)), bytes.len()),
    }
}

impl<I: Io> Core<I> {
    /// The socket of a connect is writable: sends the request, or gives up.
    pub(super) fn handle_connected<A: App>(&mut self, app: &mut A, conn: &mut Connection) {
        match self.io.connect_result(conn.fd) {
            Ok(()) => {}
            Err(Errno(libc::EINPROGRESS | libc::EALREADY)) => {
                conn.armed.poll_out = true;
                let token = Token::new(Op::PollOut, conn.id);
                return self.io.submit_poll_out(token, conn.fd);
            }
            Err(errno) => return self.fail(app, conn, Failure::Connect(errno)),
        }
        conn.phase = Phase::Opening;
        app.connected(conn.tag, self.shared.now);
        self.ask(conn);
        if std::mem::take(&mut conn.readable) {
            self.list_ready(conn);
        }
        self.arm_receive(conn);
    }

    /// Sends the request.
    fn ask(&mut self, conn: &mut Connection) {
        let mut bytes = std::mem::take(&mut self.shared.response);
        bytes.clear();
        if let Some(Asked { request, key }) =
            conn.head.as_ref().and_then(|head| head.asked.as_ref())
            && let Err(misuse) = request.encode(*key, &mut bytes)
        {
            unreachable!("a request is checked when it is made: {misuse}");
        }
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        let mut context = self.shared.context(conn, scratch, BufferId::HOT);
        context.output.copy(Carries::Control, &bytes, &[], None);
        self.shared.response = bytes;
    }

    /// Gives up a connection that is not open.
    pub(super) fn fail<A: App>(&mut self, app: &mut A, conn: &mut Connection, failure: Failure) {
        self.shared.report_failure(app, conn, failure);
        self.reset(app, conn);
    }
}

/// What a connection of ours keeps until it is open.
pub(super) fn head(request: &Arc<OpeningRequest>, key: [u8; 16]) -> Box<Head> {
    Box::new(Head {
        asked: Some(Asked {
            request: request.clone(),
            key,
        }),
        ..Head::default()
    })
}
