//! The records of a connection after the TLS handshake, in either role: opened where they were received, sealed where they
//! are sent from. The library makes the handshake; then its secrets move here, and nothing allocates per record.
//!
//! Owns: the keys of both directions, and what the library did for an open connection: alerts, close_notify, updates of
//! keys, session tickets for a client, and limits on everything that a peer may send instead of messages.
//! Never: does I/O.

use std::ops::Range;

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::{AlertDescription, Error, ExtractedSecrets, PeerMisbehaved, ProtocolVersion};

use super::record::{
    ALERT, APPLICATION_DATA, Alert, CHANGE_CIPHER_SPEC, HANDSHAKE, Key, PLAIN_BYTES_MAX, Shape,
    Violation,
};
use super::traffic::{Secret, Told};

/// Records without content in a row, and updates of keys without a message between them, as many as rustls and BoringSSL
/// take.
const EMPTY_MAX: u8 = 32;
const UPDATES_MAX: u8 = 32;

/// Warnings in the life of a connection.
const WARNINGS_MAX: u8 = 4;

/// Most bytes of a session ticket, with all that belongs to it: for a client.
const TICKET_BYTES_MAX: usize = 64 << 10;

/// Most bytes of the hello of a peer that wants to renegotiate, of which nothing is read (4 KiB).
const HELLO_BYTES_MAX: usize = 4 << 10;

/// Records under one key with AES-GCM, after which a new one is made (TLS 1.3) or the connection ends (TLS 1.2): a
/// third of what RFC 8446 §5.5 allows.
const GCM_RECORDS_MAX: u64 = 1 << 23;

/// Handshake messages.
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Levels of an alert, and the one that is none.
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

/// Whether the peer sends more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// More may follow.
    More,
    /// The peer sent its close_notify: it sends no more.
    PeerClosed,
}

/// What was found in received bytes.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Where the plaintext of all records lies, also that of records before a violation.
    pub(crate) plain: Range<usize>,
    /// Bytes that are done with. A record begins behind them, and does not end.
    pub(crate) used: usize,
    pub(crate) result: Result<Opened, Error>,
}

/// What an update of keys needs. Not in TLS 1.2.
struct Updates {
    peers: Secret,
    ours: Secret,
    /// Updates that the peer may still send before its next message.
    left: u8,
    /// Our answer to one waits to be sent. It answers every other one, too.
    answered: bool,
}

/// The session of a client, which takes tickets.
type Client = Box<KernelConnection<ClientConnectionData>>;

/// An open connection's records.
pub(crate) struct Records {
    peers: Key,
    ours: Key,
    shape: Shape,
    updates: Option<Updates>,
    /// In the client's role.
    client: Option<Client>,
    /// The beginning of a handshake message.
    message: Vec<u8>,
    /// Empty records since the last one with content.
    empty: u8,
    warnings: u8,
    /// The peer asked for a renegotiation, and was told that there is none.
    renegotiation: bool,
    /// Records under one key: [`GCM_RECORDS_MAX`], or any number.
    limit: u64,
}

impl std::fmt::Debug for Records {
    /// Shows no key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl Records {
    /// Goes on where the library stopped. `client`: its session, in the client's role.
    ///
    /// # Errors
    /// The suite is none that is known here, or the library has not told its secrets.
    pub(crate) fn new(
        version: ProtocolVersion,
        secrets: &ExtractedSecrets,
        told: &Told,
        client: Option<Client>,
    ) -> Result<Self, Error> {
        let key = |(seq, secrets): &(u64, _)| Key::extracted(*seq, secrets);
        let unknown = || Error::General("a suite whose records are not known here".to_owned());
        let (peers, ours) = key(&secrets.rx).zip(key(&secrets.tx)).ok_or_else(unknown)?;
        let shape = peers.shape(version);
        let updates = match (shape, told.client, told.server) {
            (Shape::V1_3, Some(clients), Some(servers)) => {
                let (peers, ours) = match client {
                    Some(_) => (servers, clients),
                    None => (clients, servers),
                };
                Some(Updates {
                    peers,
                    ours,
                    left: UPDATES_MAX,
                    answered: false,
                })
            }
            (Shape::V1_3, ..) => return Err(unknown()),
            _ => None,
        };
        let limit = match ours.aead.algorithm() == &ring::aead::CHACHA20_POLY1305 {
            true => u64::MAX,
            false => GCM_RECORDS_MAX,
        };
        Ok(Self {
            peers,
            ours,
            shape,
            updates,
            client,
            message: Vec::new(),
            empty: 0,
            warnings: 0,
            renegotiation: false,
            limit,
        })
    }

    /// Opens every whole record in `memory`, where it lies. The plaintext of the first stays in its place, that of the others
    /// follows it. What is to be sent in answer, or as an alert, is appended to `out`. After an error, nothing more may be
    /// opened or sealed.
    pub(crate) fn open(&mut self, memory: &mut [u8], out: &mut Vec<u8>) -> Reading {
        let mut reading = Reading {
            plain: 0..0,
            used: 0,
            result: Ok(Opened::More),
        };
        while reading.result == Ok(Opened::More) {
            match self.open_next(memory, &mut reading, out) {
                Ok(Some(opened)) => reading.result = Ok(opened),
                Ok(None) => break,
                Err((error, alert)) => {
                    if let Some(alert) = alert {
                        self.seal_short(ALERT, &[FATAL, alert as u8], out);
                    }
                    reading.result = Err(error);
                }
            }
        }
        reading
    }

    /// Opens the next record. `None`: it is not whole.
    fn open_next(
        &mut self,
        memory: &mut [u8],
        reading: &mut Reading,
        out: &mut Vec<u8>,
    ) -> Result<Option<Opened>, Violation> {
        let at = reading.used;
        let end = match self.shape.record_bytes(&memory[at..])? {
            Some(bytes) if bytes <= memory.len() - at => at + bytes,
            _ => return Ok(None),
        };
        if reading.plain.is_empty() {
            let start = at + self.shape.front();
            reading.plain = start..start;
        }
        let to = reading.plain.end;
        let outer = memory[at];
        let len = self.peers.open(self.shape, memory, (at, end), to)?;
        reading.used = end;
        let (kind, len) = match self.shape {
            Shape::V1_3 => unpad(&memory[to..to + len])?,
            Shape::Gcm1_2 | Shape::ChaCha1_2 => (outer, len),
        };
        if len > PLAIN_BYTES_MAX {
            return Err((Error::PeerSentOversizedRecord, Some(Alert::RecordOverflow)));
        }
        self.check_kind(kind, len)?;
        let content = &memory[to..to + len];
        match kind {
            APPLICATION_DATA => {
                reading.plain.end += len;
                Ok(Some(Opened::More))
            }
            ALERT => self.hear_alert(content).map(Some),
            _ => self
                .hear_handshake(content, out)
                .map(|()| Some(Opened::More)),
        }
    }

    /// Whether such a record may come now.
    fn check_kind(&mut self, kind: u8, len: usize) -> Result<(), Violation> {
        let unexpected = |error| Err((error, Some(Alert::UnexpectedMessage)));
        match kind {
            CHANGE_CIPHER_SPEC => {
                return unexpected(PeerMisbehaved::IllegalMiddleboxChangeCipherSpec.into());
            }
            ALERT | HANDSHAKE | APPLICATION_DATA => {}
            _ => return unexpected(Error::General(format!("a record of content type {kind}"))),
        }
        if kind != HANDSHAKE && !self.message.is_empty() {
            return unexpected(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
        }
        if len > 0 {
            self.empty = 0;
            if let (APPLICATION_DATA, Some(updates)) = (kind, &mut self.updates) {
                updates.left = UPDATES_MAX;
            }
            return Ok(());
        }
        self.empty += 1;
        if kind != APPLICATION_DATA || self.empty > EMPTY_MAX {
            return unexpected(PeerMisbehaved::TooManyEmptyFragments.into());
        }
        Ok(())
    }

    fn hear_alert(&mut self, content: &[u8]) -> Result<Opened, Violation> {
        let &[level, description] = content else {
            let error = Error::General("an alert that has not two bytes".to_owned());
            return Err((error, Some(Alert::DecodeError)));
        };
        let received = AlertDescription::from(description);
        match level {
            WARNING | FATAL if description == CLOSE_NOTIFY => Ok(Opened::PeerClosed),
            // In TLS 1.3 every other alert is an error, whatever its level says (RFC 8446 §6).
            WARNING if self.updates.is_none() || received == AlertDescription::UserCanceled => {
                self.warnings += 1;
                match self.warnings > WARNINGS_MAX {
                    true => Err((
                        PeerMisbehaved::TooManyWarningAlertsReceived.into(),
                        Some(Alert::UnexpectedMessage),
                    )),
                    false => Ok(Opened::More),
                }
            }
            WARNING | FATAL => Err((Error::AlertReceived(received), None)),
            _ => Err((
                Error::AlertReceived(received),
                Some(Alert::IllegalParameter),
            )),
        }
    }

    /// A part of the handshake protocol: a message, several, or a piece of one.
    fn hear_handshake(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), Violation> {
        let mut rest = std::mem::take(&mut self.message);
        rest.extend_from_slice(content);
        let mut used = 0;
        while let &[kind, high, middle, low, ref behind @ ..] = &rest[used..] {
            let len = u32::from_be_bytes([0, high, middle, low]) as usize;
            self.check_message(kind, len)?;
            let Some(body) = behind.get(..len) else {
                break;
            };
            used += 4 + len;
            match kind {
                KEY_UPDATE => self.hear_key_update(body[0], used == rest.len(), out)?,
                NEW_SESSION_TICKET => self.hear_ticket(body)?,
                _ => self.hear_renegotiation(out)?,
            }
        }
        rest.drain(..used);
        if !rest.is_empty() {
            self.message = rest;
        }
        Ok(())
    }

    /// Whether such a message may come, before it has arrived.
    fn check_message(&self, kind: u8, len: usize) -> Result<(), Violation> {
        let is_1_3 = self.updates.is_some();
        let expected = match kind {
            KEY_UPDATE => is_1_3,
            NEW_SESSION_TICKET => is_1_3 && self.client.is_some(),
            HELLO_REQUEST => !is_1_3 && self.client.is_some(),
            CLIENT_HELLO => !is_1_3 && self.client.is_none(),
            _ => false,
        };
        if !expected {
            let error = Error::General(format!("a handshake message of type {kind}"));
            return Err((error, Some(Alert::UnexpectedMessage)));
        }
        let bytes_max = match kind {
            NEW_SESSION_TICKET => TICKET_BYTES_MAX,
            _ => HELLO_BYTES_MAX,
        };
        if len > bytes_max || kind == KEY_UPDATE && len != 1 {
            let error = Error::General(format!("a handshake message of {len} bytes"));
            return Err((error, Some(Alert::DecodeError)));
        }
        Ok(())
    }

    /// The peer seals with its next key from the next record on.
    fn hear_key_update(
        &mut self,
        request: u8,
        ends_record: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        let Some(updates) = &mut self.updates else {
            unreachable!("a key update was expected")
        };
        if !ends_record {
            let error = PeerMisbehaved::KeyEpochWithPendingFragment.into();
            return Err((error, Some(Alert::UnexpectedMessage)));
        }
        if request > 1 {
            let error = Error::General(format!("a key update of kind {request}"));
            return Err((error, Some(Alert::IllegalParameter)));
        }
        let Some(left) = updates.left.checked_sub(1) else {
            let error = PeerMisbehaved::TooManyKeyUpdateRequests.into();
            return Err((error, Some(Alert::UnexpectedMessage)));
        };
        updates.left = left;
        let (key, iv) = updates.peers.update(self.peers.aead.algorithm());
        self.peers = Key::new(key, iv);
        if request == 1 && !updates.answered {
            updates.answered = true;
            self.update_ours(out);
        }
        Ok(())
    }

    /// Tells the peer that we change our key, and does so.
    fn update_ours(&mut self, out: &mut Vec<u8>) {
        self.seal_short(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0], out);
        if let Some(updates) = &mut self.updates {
            let (key, iv) = updates.ours.update(self.ours.aead.algorithm());
            self.ours = Key::new(key, iv);
        }
    }

    fn hear_ticket(&mut self, body: &[u8]) -> Result<(), Violation> {
        let Some(client) = &mut self.client else {
            unreachable!("a ticket was expected")
        };
        let taken = client.handle_new_session_ticket(body);
        taken.map_err(|error| match error {
            Error::InvalidMessage(_) => (error, Some(Alert::DecodeError)),
            _ => (error, Some(Alert::InternalError)),
        })
    }

    /// TLS 1.2: the peer is told once that there is no renegotiation, and refused the second time.
    fn hear_renegotiation(&mut self, out: &mut Vec<u8>) -> Result<(), Violation> {
        if std::mem::replace(&mut self.renegotiation, true) {
            let error = PeerMisbehaved::TooManyRenegotiationRequests.into();
            return Err((error, Some(Alert::NoRenegotiation)));
        }
        self.seal_short(ALERT, &[WARNING, Alert::NoRenegotiation as u8], out);
        Ok(())
    }

    /// What was appended to `out` is on its way.
    pub(crate) const fn note_sent(&mut self) {
        if let Some(updates) = &mut self.updates {
            updates.answered = false;
        }
    }

    /// The bytes of the record that begins `bytes`, as its header says. `None` if there is no header, or a bad one.
    pub(crate) fn record_bytes(&self, bytes: &[u8]) -> Option<usize> {
        self.shape.record_bytes(bytes).ok()?
    }

    /// Bytes of a record before and behind its payload.
    pub(crate) const fn overhead(&self) -> (usize, usize) {
        (self.shape.front(), self.shape.back())
    }

    /// Makes the key fit for `records` more, if need be with a new one, which is told in `out`. Returns false if there may be
    /// no more: TLS 1.2 has no way to a new key.
    pub(crate) fn refresh(&mut self, records: u64, out: &mut Vec<u8>) -> bool {
        if self.ours.seq.saturating_add(records) < self.limit {
            return true;
        }
        if self.updates.is_none() {
            return false;
        }
        self.update_ours(out);
        true
    }

    /// Seals `record`, whose payload lies between the two parts of [`Self::overhead`].
    pub(crate) fn seal(&mut self, record: &mut [u8]) {
        self.ours.seal(self.shape, APPLICATION_DATA, record);
    }

    /// Appends our close_notify.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) {
        self.seal_short(ALERT, &[WARNING, CLOSE_NOTIFY], out);
    }

    fn seal_short(&mut self, kind: u8, payload: &[u8], out: &mut Vec<u8>) {
        let (start, (front, back)) = (out.len(), self.overhead());
        out.resize(start + front, 0);
        out.extend_from_slice(payload);
        out.resize(out.len() + back, 0);
        self.ours.seal(self.shape, kind, &mut out[start..]);
    }
}

/// The content type of a record of TLS 1.3, and the length of its content before type and padding (RFC 8446 §5.2).
fn unpad(inner: &[u8]) -> Result<(u8, usize), Violation> {
    if inner.len() > PLAIN_BYTES_MAX + 1 {
        return Err((Error::PeerSentOversizedRecord, Some(Alert::RecordOverflow)));
    }
    match inner.iter().rposition(|byte| *byte != 0) {
        Some(len) => Ok((inner[len], len)),
        None => Err((
            PeerMisbehaved::IllegalTlsInnerPlaintext.into(),
            Some(Alert::UnexpectedMessage),
        )),
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
