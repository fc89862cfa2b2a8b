//! TLS between a link and what it speaks: opens received records, seals what is sent. Knows no WebSocket.
//!
//! Owns: the session of rustls, a record that has not arrived whole, and plaintext that waits to be sealed. The library
//! allocates once per record in each direction.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, Error, HandshakeKind, ServerConfig};

use super::queue::SendQueue;

/// First byte of a TLS connection: the content type of a handshake record (RFC 8446 §5.1).
pub(crate) const HANDSHAKE: u8 = 0x16;

/// Most plaintext in one record (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16 << 10;

/// Bytes of header, nonce, type and tag of a sealed record: at most 30 in our suites. A key update may precede it.
const OVERHEAD_BYTES_MAX: usize = 128;

/// Most ciphertext that waits for its end (64 KiB): a record has at most 18 KiB, but a handshake message may span
/// several. Given back as soon as the end has arrived.
pub(crate) const HELD_BYTES_MAX: usize = 64 << 10;

/// What the session of a connection has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// More may follow.
    More,
    /// The peer sent its close_notify: it sends no more.
    PeerClosed,
}

/// Memory for one receive or send, which all connections of a worker share.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Received records.
    inbox: Vec<u8>,
    /// Plaintext of the received records, or plaintext to seal in one record.
    pub(crate) plain: Vec<u8>,
    /// Sealed records.
    pub(crate) sealed: Vec<u8>,
}

impl Room {
    /// Bytes that stay allocated: a burst of large messages leaves no more behind (1 MiB each).
    const KEPT_BYTES_MAX: usize = 1 << 20;

    pub(crate) fn clear(&mut self) {
        for memory in [&mut self.inbox, &mut self.plain, &mut self.sealed] {
            memory.clear();
            memory.shrink_to(Self::KEPT_BYTES_MAX);
        }
    }
}

/// A session of rustls, in either role.
enum Session {
    /// The first byte has not arrived, so the peer may still speak without TLS.
    Undecided,
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What both roles of the library do under the same name.
trait Process {
    type Data;
    fn process<'a>(&'a mut self, records: &'a mut [u8]) -> UnbufferedStatus<'a, 'a, Self::Data>;
}

impl Process for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'a>(&'a mut self, records: &'a mut [u8]) -> UnbufferedStatus<'a, 'a, Self::Data> {
        self.process_tls_records(records)
    }
}

impl Process for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'a>(&'a mut self, records: &'a mut [u8]) -> UnbufferedStatus<'a, 'a, Self::Data> {
        self.process_tls_records(records)
    }
}

/// The TLS side of a connection.
pub(crate) struct Tls {
    session: Session,
    /// Received bytes whose record or handshake message is incomplete.
    held: Vec<u8>,
    /// Records of the handshake and alerts that wait to be sent.
    out: Vec<u8>,
    /// Output in plaintext that is in no shared buffer. It is sealed in the turn in which it came.
    pub(crate) plain: Option<Box<SendQueue>>,
    /// Our close_notify was sealed.
    closed: bool,
    /// The session failed: it seals nothing more.
    failed: bool,
    /// The peer's close_notify arrived.
    pub(crate) peer_closed: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            session: Session::Undecided,
            held: Vec::new(),
            out: Vec::new(),
            plain: None,
            closed: false,
            failed: false,
            peer_closed: false,
        }
    }
}

impl std::fmt::Debug for Tls {
    /// Shows no key and no plaintext.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("held", &self.held.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Whether the first byte has not arrived.
    pub(crate) const fn is_undecided(&self) -> bool {
        matches!(self.session, Session::Undecided)
    }

    /// Whether messages may be sealed: the handshake is complete on our side.
    pub(crate) fn is_ready(&self) -> bool {
        match &self.session {
            Session::Undecided => false,
            Session::Server(session) => !session.is_handshaking(),
            Session::Client(session) => !session.is_handshaking(),
        }
    }

    /// Whether the handshake resumed an earlier session, once it is complete.
    pub(crate) fn is_resumed(&self) -> bool {
        let kind = match &self.session {
            Session::Undecided => None,
            Session::Server(session) => session.handshake_kind(),
            Session::Client(session) => session.handshake_kind(),
        };
        kind == Some(HandshakeKind::Resumed)
    }

    /// The peer's certificate, DER, if it showed one. The session has checked it.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        let chain = match &self.session {
            Session::Undecided => None,
            Session::Server(session) => session.peer_certificates(),
            Session::Client(session) => session.peer_certificates(),
        };
        Some(chain?.first()?.as_ref())
    }

    /// Begins the handshake on the server's side.
    pub(crate) fn begin(&mut self, config: &Arc<ServerConfig>) -> Result<(), Error> {
        let session = UnbufferedServerConnection::new(config.clone())?;
        self.session = Session::Server(Box::new(session));
        Ok(())
    }

    /// A connection in the client's role, whose hello waits to be sent.
    pub(crate) fn client(
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Self, Error> {
        let session = UnbufferedClientConnection::new(config.clone(), name.clone())?;
        let mut tls = Self {
            session: Session::Client(Box::new(session)),
            ..Self::default()
        };
        tls.advance(&mut [], &mut Vec::new()).1?;
        Ok(tls)
    }

    /// Whether records of the handshake or an alert wait to be sent.
    pub(crate) const fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Opens `received`: its plaintext is then in `room.plain`, also before an error. After an error, an alert waits to
    /// be sent, and nothing may be opened any more.
    pub(crate) fn open(&mut self, received: &[u8], room: &mut Room) -> Result<Opened, Error> {
        room.clear();
        if self.failed {
            return Err(refused());
        }
        room.inbox.append(&mut self.held);
        room.inbox.extend_from_slice(received);
        self.held = Vec::new();
        let (used, result) = self.advance(&mut room.inbox, &mut room.plain);
        match result {
            Ok(opened) => {
                let rest = &room.inbox[used..];
                if rest.len() > HELD_BYTES_MAX {
                    self.failed = true;
                    return Err(Error::General("a message has no end".to_owned()));
                }
                self.held = rest.to_vec();
                self.peer_closed |= opened == Opened::PeerClosed;
                Ok(opened)
            }
            Err(error) => {
                self.failed = true;
                self.drain_output();
                Err(error)
            }
        }
    }

    /// Handles records. Returns how many bytes of `records` are done with.
    fn advance(
        &mut self,
        records: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> (usize, Result<Opened, Error>) {
        match &mut self.session {
            Session::Undecided => (0, Err(Error::HandshakeNotComplete)),
            Session::Server(session) => advance(&mut **session, records, plain, &mut self.out),
            Session::Client(session) => advance(&mut **session, records, plain, &mut self.out),
        }
    }

    /// Takes what the session still has to send, and gives it nothing to open: a session that sees records again after
    /// its error panics.
    fn drain_output(&mut self) {
        match &mut self.session {
            Session::Undecided => {}
            Session::Server(session) => {
                while session.wants_write() && drain(&mut **session, &mut self.out) {}
            }
            Session::Client(session) => {
                while session.wants_write() && drain(&mut **session, &mut self.out) {}
            }
        }
    }

    /// Moves records of the handshake and alerts to `sealed`.
    pub(crate) fn take_output(&mut self, sealed: &mut Vec<u8>) {
        sealed.append(&mut self.out);
        self.out = Vec::new();
    }

    /// Appends `plain` to `sealed`, in as few records as possible. Returns false if the session cannot seal: the
    /// handshake is not complete, or the session has failed or is closed.
    pub(crate) fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> bool {
        self.write(Sealing::Records(plain), sealed)
    }

    /// Appends our close_notify, once.
    pub(crate) fn close(&mut self, sealed: &mut Vec<u8>) {
        let closed = self.write(Sealing::CloseNotify, sealed);
        if closed {
            self.drain_output();
            self.take_output(sealed);
        }
        self.closed |= closed;
    }

    fn write(&mut self, what: Sealing<'_>, sealed: &mut Vec<u8>) -> bool {
        if self.failed || self.closed {
            return false;
        }
        // What was held is incomplete, so nothing is opened here.
        match &mut self.session {
            Session::Undecided => false,
            Session::Server(session) => write(&mut **session, &mut self.held, what, sealed),
            Session::Client(session) => write(&mut **session, &mut self.held, what, sealed),
        }
    }
}

/// What is to be sealed.
#[derive(Clone, Copy)]
enum Sealing<'a> {
    Records(&'a [u8]),
    CloseNotify,
}

fn advance<S: Process>(
    session: &mut S,
    records: &mut [u8],
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> (usize, Result<Opened, Error>) {
    let mut used = 0;
    loop {
        let UnbufferedStatus { discard, state, .. } = session.process(&mut records[used..]);
        let end = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut end = None;
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => plain.extend_from_slice(record.payload),
                        Err(error) => end = Some(Err(error)),
                    }
                }
                end
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut data, out).map_or(Some(Err(refused())), |()| None)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                Some(Ok(Opened::More))
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                Some(Ok(Opened::PeerClosed))
            }
            // Early data is not offered.
            Ok(_) => Some(Err(refused())),
            Err(error) => Some(Err(error)),
        };
        used += discard;
        if let Some(end) = end {
            return (used, end);
        }
    }
}

/// Takes one piece of what the session has to send. Returns false if it gives none.
fn drain<S: Process>(session: &mut S, out: &mut Vec<u8>) -> bool {
    match session.process(&mut []).state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out).is_some(),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while traffic.next_record().is_some() {}
            true
        }
        _ => false,
    }
}

fn write<S: Process>(
    session: &mut S,
    held: &mut [u8],
    what: Sealing<'_>,
    sealed: &mut Vec<u8>,
) -> bool {
    let Ok(ConnectionState::WriteTraffic(mut traffic)) = session.process(held).state else {
        return false;
    };
    match what {
        Sealing::Records(plain) => plain
            .chunks(RECORD_BYTES_MAX)
            .all(|record| seal_record(&mut traffic, record, sealed)),
        Sealing::CloseNotify => grow(sealed, OVERHEAD_BYTES_MAX, |room| {
            encrypted(traffic.queue_close_notify(room))
        })
        .is_some(),
    }
}

fn seal_record<D>(traffic: &mut WriteTraffic<'_, D>, record: &[u8], sealed: &mut Vec<u8>) -> bool {
    grow(sealed, record.len() + OVERHEAD_BYTES_MAX, |room| {
        encrypted(traffic.encrypt(record, room))
    })
    .is_some()
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) -> Option<()> {
    grow(out, 0, |room| match data.encode(room) {
        Err(EncodeError::InsufficientSize(need)) => Err(Some(need.required_size)),
        encoded => encoded.map_err(|_| None),
    })
}

fn refused() -> Error {
    Error::General("the state of the session is not expected".to_owned())
}

fn encrypted(result: Result<usize, EncryptError>) -> Result<usize, Option<usize>> {
    result.map_err(|error| match error {
        EncryptError::InsufficientSize(need) => Some(need.required_size),
        EncryptError::EncryptExhausted => None,
    })
}

/// Appends to `memory` what `write` writes into the room that it gets, first `room` bytes and then as many as it asks
/// for. `None`: it cannot write.
fn grow(
    memory: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Option<()> {
    let filled = memory.len();
    for _ in 0..2 {
        memory.resize(filled + room, 0);
        match write(&mut memory[filled..]) {
            Ok(written) => {
                memory.truncate(filled + written);
                return Some(());
            }
            Err(Some(required)) => room = required,
            Err(None) => break,
        }
    }
    memory.truncate(filled);
    None
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
