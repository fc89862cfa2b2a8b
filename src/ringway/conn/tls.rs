//! TLS between a link and what it speaks: the handshake by rustls, then records of our own. Knows no WebSocket.
//!
//! ```text
//!  Undecided ── first byte ──▶ Server ── handshake complete, its last flight taken ──▶ Open ── violation ──▶ Over
//!               our hello ───▶ Client ──────────────────────────────────────────────────▲
//! ```
//!
//! Owns: the session of rustls until it is complete, the [records](Records) after it, a record that has not arrived whole,
//! and plaintext that waits to be sealed.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};
use rustls::{
    CertificateError, ClientConfig, CommonState, Error, HandshakeKind, ProtocolVersion,
    ServerConfig,
};

use super::buffers::Buffers;
use super::queue::SendQueue;
use super::spill::Spill;
use crate::tls::records::Records;
pub(crate) use crate::tls::records::{Opened, Reading};
use crate::tls::traffic::Told;

/// First byte of a TLS connection: the content type of a handshake record (RFC 8446 §5.1).
pub(crate) const HANDSHAKE: u8 = 0x16;

/// Most plaintext in one record.
pub(crate) use crate::tls::record::PLAIN_BYTES_MAX;

/// Bytes of an alert under a key: at most 31 in our suites.
const ALERT_BYTES_MAX: usize = 64;

/// Most ciphertext that waits for its end (64 KiB): a record has at most 18 KiB, but a handshake message may span
/// several. Given back as soon as the end has arrived.
pub(crate) const HELD_BYTES_MAX: usize = 64 << 10;

/// Memory for the handshakes and the sealing of a worker, which all its connections share.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Records of a handshake.
    pub(crate) inbox: Vec<u8>,
    /// Plaintext on its way from one shared buffer to another.
    pub(crate) plain: Vec<u8>,
}

impl Room {
    /// Bytes that stay allocated: a burst leaves no more behind (64 KiB each).
    const KEPT_BYTES_MAX: usize = 64 << 10;

    pub(crate) fn clear(&mut self) {
        for memory in [&mut self.inbox, &mut self.plain] {
            memory.clear();
            memory.shrink_to(Self::KEPT_BYTES_MAX);
        }
    }
}

/// How far a connection has come.
enum Session {
    /// The first byte has not arrived, so the peer may still speak without TLS.
    Undecided,
    Server(Box<UnbufferedServerConnection>, Box<Told>),
    Client(Box<UnbufferedClientConnection>, Box<Told>),
    Open(Box<Records>),
    /// A session that failed, or cannot go on.
    Over,
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
    held: Spill,
    /// Bytes of what is held that are records of the handshake, whole, of which the library has seen each.
    seen: u32,
    /// Records of the handshake and alerts that wait to be sent.
    out: Vec<u8>,
    /// Output in plaintext that is in no shared buffer. It is sealed in the turn in which it came.
    pub(crate) plain: Option<Box<SendQueue>>,
    /// The peer's certificate.
    certificate: Option<Box<[u8]>>,
    resumed: bool,
    /// Our close_notify was sealed, or nothing more may be.
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
            held: Spill::default(),
            seen: 0,
            out: Vec::new(),
            plain: None,
            certificate: None,
            resumed: false,
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
            .field("held", &self.held.rest().len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Whether the first byte has not arrived.
    pub(crate) const fn is_undecided(&self) -> bool {
        matches!(self.session, Session::Undecided)
    }

    /// Whether the handshake is complete.
    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.session, Session::Open(_))
    }

    /// Whether the handshake was not completed before the end.
    pub(crate) const fn is_incomplete(&self) -> bool {
        !matches!(self.session, Session::Undecided | Session::Open(_))
    }

    /// Whether the handshake resumed an earlier session, once it is complete.
    pub(crate) const fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The peer's certificate, DER, if it showed one. The session has checked it.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// Begins the handshake on the server's side.
    pub(crate) fn begin(&mut self, config: &Arc<ServerConfig>) -> Result<(), Error> {
        let session = UnbufferedServerConnection::new(config.clone())?;
        self.session = Session::Server(Box::new(session), Box::default());
        Ok(())
    }

    /// A connection in the client's role, whose hello waits to be sent.
    pub(crate) fn client(
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Self, Error> {
        let session = UnbufferedClientConnection::new(config.clone(), name.clone())?;
        let mut tls = Self {
            session: Session::Client(Box::new(session), Box::default()),
            ..Self::default()
        };
        tls.advance(&mut []).1?;
        Ok(tls)
    }

    /// Whether records of the handshake or an alert wait to be sent.
    pub(crate) const fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Goes on with the handshake. Once it is complete, records may follow: they are in `room.inbox`, from the position on
    /// that is returned. After an error, an alert waits to be sent, and nothing may be opened any more.
    pub(crate) fn shake_hands(
        &mut self,
        received: &[u8],
        room: &mut Room,
        buffers: &mut Buffers,
    ) -> Result<usize, Error> {
        room.clear();
        if self.failed {
            return Err(refused());
        }
        room.inbox.extend_from_slice(self.held.rest());
        room.inbox.extend_from_slice(received);
        self.release(buffers);
        let result = self.feed_handshake(&mut room.inbox);
        let used = result.inspect_err(|_| {
            self.failed = true;
            self.drain_output();
        })?;
        let rest = &room.inbox[used..];
        if !self.is_ready() {
            if rest.len() > HELD_BYTES_MAX {
                self.failed = true;
                return Err(Error::General("a message has no end".to_owned()));
            }
            self.held.push(rest, buffers);
        }
        Ok(used)
    }

    /// Gives the library one record after the other, so that it never sees one that follows the handshake. Returns how
    /// many bytes it is done with.
    fn feed_handshake(&mut self, inbox: &mut [u8]) -> Result<usize, Error> {
        let (mut used, mut seen) = (0, self.seen as usize);
        loop {
            // Of the last one it may see the beginning: it refuses some of them early.
            let whole = end_of_record(inbox, seen);
            let end = whole.unwrap_or(inbox.len());
            let (done, result) = self.advance(&mut inbox[used..end]);
            used += done;
            seen = whole.unwrap_or(seen);
            self.peer_closed |= result? == Opened::PeerClosed;
            if self.complete()? || whole.is_none() {
                let open = seen.saturating_sub(used);
                self.seen = u32::try_from(open).map_err(|_| refused())?;
                return Ok(used);
            }
        }
    }

    /// Handles records of the handshake. Returns how many bytes of `records` are done with.
    fn advance(&mut self, records: &mut [u8]) -> (usize, Result<Opened, Error>) {
        let (result, told) = match &mut self.session {
            Session::Server(session, told) => {
                (advance(&mut **session, records, &mut self.out), told)
            }
            Session::Client(session, told) => {
                (advance(&mut **session, records, &mut self.out), told)
            }
            Session::Undecided | Session::Open(_) | Session::Over => {
                return (0, Err(Error::HandshakeNotComplete));
            }
        };
        told.listen();
        result
    }

    /// Takes the session from the library, if its handshake is complete. Everything that it has to send is in `out` then.
    fn complete(&mut self) -> Result<bool, Error> {
        let common: &CommonState = match &self.session {
            Session::Server(session, _) => session,
            Session::Client(session, _) => session,
            Session::Undecided | Session::Open(_) | Session::Over => return Ok(false),
        };
        if common.is_handshaking() {
            return Ok(false);
        }
        self.resumed = common.handshake_kind() == Some(HandshakeKind::Resumed);
        let chain = common.peer_certificates();
        self.certificate = chain.and_then(|chain| Some(chain.first()?.as_ref().into()));
        let version = common
            .protocol_version()
            .unwrap_or(ProtocolVersion::TLSv1_2);
        let records = match std::mem::replace(&mut self.session, Session::Over) {
            Session::Server(session, told) => {
                let (secrets, _) = session.dangerous_into_kernel_connection()?;
                Records::new(version, &secrets, &told, None)?
            }
            Session::Client(session, told) => {
                let (secrets, session) = session.dangerous_into_kernel_connection()?;
                Records::new(version, &secrets, &told, Some(Box::new(session)))?
            }
            Session::Undecided | Session::Open(_) | Session::Over => return Ok(false),
        };
        self.session = Session::Open(Box::new(records));
        Ok(true)
    }

    /// Takes what the session still has to send, and gives it nothing to open: a session that sees records again after
    /// its error panics.
    fn drain_output(&mut self) {
        match &mut self.session {
            Session::Undecided | Session::Open(_) | Session::Over => {}
            Session::Server(session, _) => {
                while session.wants_write() && drain(&mut **session, &mut self.out) {}
            }
            Session::Client(session, _) => {
                while session.wants_write() && drain(&mut **session, &mut self.out) {}
            }
        }
    }

    /// The beginning of a record that waits for its end.
    pub(crate) fn held(&self) -> &[u8] {
        self.held.rest()
    }

    /// Keeps bytes behind what is held.
    pub(crate) fn hold(&mut self, bytes: &[u8], buffers: &mut Buffers) {
        self.held.push(bytes, buffers);
    }

    /// Gives up what is held.
    pub(crate) fn release(&mut self, buffers: &mut Buffers) {
        buffers.give_back(std::mem::take(&mut self.held).into_memory());
    }

    /// Whether a record is not complete even with `more` bytes behind what is held.
    pub(crate) fn lacks(&self, more: usize) -> bool {
        let Session::Open(records) = &self.session else {
            return false;
        };
        let held = self.held.rest();
        let bytes = records.record_bytes(held);
        bytes.is_some_and(|bytes| held.len() + more < bytes)
    }

    /// Opens the records in `memory` where they lie. After an error, an alert waits to be sent, and nothing may be opened
    /// any more.
    pub(crate) fn open(&mut self, memory: &mut [u8]) -> Reading {
        let mut reading = match &mut self.session {
            Session::Open(records) if !self.failed => records.open(memory, &mut self.out),
            _ => Reading {
                plain: 0..0,
                used: 0,
                result: Err(refused()),
            },
        };
        self.failed |= reading.result.is_err();
        if self.closed {
            // Our direction is over: an update of keys or a violation is not answered any more.
            self.out.clear();
        }
        if reading.result == Ok(Opened::PeerClosed) {
            self.peer_closed = true;
            reading.used = memory.len(); // nothing of what follows counts
        }
        reading
    }

    /// Records of the handshake, alerts and updates of keys, to be sent before anything that is sealed from now on.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Nothing that was sealed waits for the socket: a further update of the peer's keys gets an answer of its own. Until
    /// then one answer covers all (RFC 8446 §4.6.3), so that answers do not pile up before a peer that does not read.
    pub(crate) const fn note_sent(&mut self) {
        if let (Session::Open(records), true) = (&mut self.session, self.out.is_empty()) {
            records.note_sent();
        }
    }

    /// Prepares to seal `bytes` of plaintext. Returns the bytes of a record before and behind its payload; `None` if the
    /// session cannot seal, because the handshake is not complete, or the session has failed or is closed.
    pub(crate) fn prepare(&mut self, bytes: usize) -> Option<(usize, usize)> {
        if self.failed || self.closed {
            return None;
        }
        let Session::Open(records) = &mut self.session else {
            return None;
        };
        // More than are needed: pieces may be smaller.
        let count = 2 * bytes.div_ceil(PLAIN_BYTES_MAX) + 1;
        if !records.refresh(count as u64, &mut self.out) {
            self.close();
            return None;
        }
        match &self.session {
            Session::Open(records) => Some(records.overhead()),
            _ => None,
        }
    }

    /// Seals `record`, whose payload lies between the two parts that [`Self::prepare`] returned.
    pub(crate) fn seal(&mut self, record: &mut [u8]) {
        let Session::Open(records) = &mut self.session else {
            unreachable!("only an open session was prepared")
        };
        records.seal(record);
    }

    /// Whether nothing more can be sealed because our close_notify was.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Puts our close_notify into the output, once.
    pub(crate) fn close(&mut self) {
        if self.failed || self.closed {
            return;
        }
        self.closed = match &mut self.session {
            Session::Undecided | Session::Over => false,
            Session::Open(records) => {
                records.close(&mut self.out);
                true
            }
            Session::Server(session, _) => close(&mut **session, self.held.rest(), &mut self.out),
            Session::Client(session, _) => close(&mut **session, self.held.rest(), &mut self.out),
        };
        self.drain_output();
    }
}

/// Why a handshake failed: the library's words, and in ours what is wrong with a certificate.
pub(crate) fn sentence(error: &Error) -> String {
    let ours = match error {
        // A bad signature: the trusted one has the signer's name, but another key.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "it is signed by nobody who is trusted here",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "it is for another name",
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "it has expired",
        other => return other.to_string(),
    };
    format!("invalid peer certificate: {ours}")
}

/// Where the record ends that begins at `at`. `None` if it is not whole.
fn end_of_record(bytes: &[u8], at: usize) -> Option<usize> {
    let &[_, _, _, high, low, ..] = &bytes[at..] else {
        return None;
    };
    let end = at + 5 + usize::from(u16::from_be_bytes([high, low]));
    (end <= bytes.len()).then_some(end)
}

fn advance<S: Process>(
    session: &mut S,
    records: &mut [u8],
    out: &mut Vec<u8>,
) -> (usize, Result<Opened, Error>) {
    let mut used = 0;
    loop {
        let UnbufferedStatus { discard, state, .. } = session.process(&mut records[used..]);
        let end = match state {
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
            // Early data is not offered, and of what follows the handshake the library sees nothing.
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
        _ => false,
    }
}

/// Says close_notify before the handshake is complete, where that is allowed. Returns whether it is.
fn close<S: Process>(session: &mut S, held: &[u8], out: &mut Vec<u8>) -> bool {
    // What is held is incomplete, so nothing is opened here, but the session may have seen a part of it.
    let mut held = held.to_vec();
    let Ok(ConnectionState::WriteTraffic(mut traffic)) = session.process(&mut held).state else {
        return false;
    };
    grow(out, ALERT_BYTES_MAX, |room| {
        encrypted(traffic.queue_close_notify(room))
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
