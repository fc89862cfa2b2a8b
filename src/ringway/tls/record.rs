//! One record of TLS: its header, and opening and sealing it where it lies (RFC 8446 §5, RFC 5246 §6.2.3).
//!
//! ```text
//!  1.3              header 5 │ payload, content type, padding │ tag 16
//!  1.2, AES-GCM     header 5 │ nonce 8 │ payload │ tag 16
//!  1.2, ChaCha20    header 5 │ payload │ tag 16
//! ```

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use rustls::{ConnectionTrafficSecrets, Error, ProtocolVersion};

/// Bytes of a record's header: content type, version, length.
pub(crate) const HEADER_BYTES: usize = 5;

/// Most plaintext in one record (RFC 8446 §5.1).
pub(crate) const PLAIN_BYTES_MAX: usize = 16 << 10;

const TAG_BYTES: usize = 16;

/// Bytes of the nonce that a record of TLS 1.2 with AES-GCM carries.
const EXPLICIT_BYTES: usize = 8;

/// Content types.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// The version in the header of every record, also in TLS 1.3.
const LEGACY_VERSION: [u8; 2] = [3, 3];

/// Alerts that we send (RFC 8446 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Alert {
    UnexpectedMessage = 10,
    BadRecordMac = 20,
    RecordOverflow = 22,
    IllegalParameter = 47,
    DecodeError = 50,
    ProtocolVersion = 70,
    InternalError = 80,
    NoRenegotiation = 100,
}

/// What ends a session, and the alert that tells the peer. No alert answers a fatal one of the peer.
pub(super) type Violation = (Error, Option<Alert>);

/// How the records of a session look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// TLS 1.3, every suite.
    V1_3,
    /// TLS 1.2 with AES-GCM.
    Gcm1_2,
    /// TLS 1.2 with ChaCha20-Poly1305.
    ChaCha1_2,
}

impl Shape {
    /// Bytes before the payload.
    pub(super) const fn front(self) -> usize {
        match self {
            Self::V1_3 | Self::ChaCha1_2 => HEADER_BYTES,
            Self::Gcm1_2 => HEADER_BYTES + EXPLICIT_BYTES,
        }
    }

    /// Bytes behind the payload.
    pub(super) const fn back(self) -> usize {
        match self {
            Self::V1_3 => 1 + TAG_BYTES,
            Self::Gcm1_2 | Self::ChaCha1_2 => TAG_BYTES,
        }
    }

    /// Most bytes behind the header (RFC 8446 §5.2, RFC 5246 §6.2.3).
    const fn body_bytes_max(self) -> usize {
        match self {
            Self::V1_3 => PLAIN_BYTES_MAX + 256,
            Self::Gcm1_2 | Self::ChaCha1_2 => PLAIN_BYTES_MAX + 2048,
        }
    }

    /// The bytes of the record that begins `bytes`, header included. `None` until its header is there.
    pub(super) fn record_bytes(self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        let &[kind, major, minor, high, low, ..] = bytes else {
            return Ok(None);
        };
        let known = match self {
            // The true type is inside.
            Self::V1_3 => kind == APPLICATION_DATA,
            _ => matches!(kind, CHANGE_CIPHER_SPEC..=APPLICATION_DATA),
        };
        if !known {
            let error = Error::General(format!("a record of content type {kind}"));
            return Err((error, Some(Alert::UnexpectedMessage)));
        }
        if [major, minor] != LEGACY_VERSION {
            let error = Error::General(format!("a record of version {major}.{minor}"));
            return Err((error, Some(Alert::ProtocolVersion)));
        }
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > self.body_bytes_max() {
            return Err((Error::PeerSentOversizedRecord, Some(Alert::RecordOverflow)));
        }
        if HEADER_BYTES + len < self.front() + self.back() {
            return Err((Error::DecryptError, Some(Alert::BadRecordMac)));
        }
        Ok(Some(HEADER_BYTES + len))
    }
}

/// The key of one direction, and the number of its next record.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) aead: LessSafeKey,
    iv: [u8; NONCE_LEN],
    pub(super) seq: u64,
}

impl Key {
    pub(super) fn new(aead: LessSafeKey, iv: [u8; NONCE_LEN]) -> Self {
        Self { aead, iv, seq: 0 }
    }

    /// A key that is no secret.
    #[cfg(feature = "fuzz")]
    pub(super) fn fixed(algorithm: &'static Algorithm, byte: u8) -> Self {
        let key = UnboundKey::new(algorithm, &[byte; 32]).expect("a key of 32 bytes");
        Self::new(LessSafeKey::new(key), [byte; NONCE_LEN])
    }

    /// The key that the library used up to record `seq`. `None` if it is of no suite that is known here.
    pub(super) fn extracted(seq: u64, secrets: &ConnectionTrafficSecrets) -> Option<Self> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        Some(Self {
            aead: LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?),
            iv: iv.as_ref().try_into().ok()?,
            seq,
        })
    }

    /// How records look with this key.
    pub(super) fn shape(&self, version: ProtocolVersion) -> Shape {
        match version {
            ProtocolVersion::TLSv1_3 => Shape::V1_3,
            _ if self.aead.algorithm() == &CHACHA20_POLY1305 => Shape::ChaCha1_2,
            _ => Shape::Gcm1_2,
        }
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, seq) in nonce[NONCE_LEN - 8..]
            .iter_mut()
            .zip(self.seq.to_be_bytes())
        {
            *byte ^= seq;
        }
        nonce
    }

    /// Opens the record `memory[at..end]`, whose header was checked. Its payload, with the inner type and padding of TLS 1.3,
    /// goes to `memory[to..]`, which ends at the record's own payload or before. Returns how long it is.
    pub(super) fn open(
        &mut self,
        shape: Shape,
        memory: &mut [u8],
        (at, end): (usize, usize),
        to: usize,
    ) -> Result<usize, Violation> {
        let refused = || (Error::DecryptError, Some(Alert::BadRecordMac));
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&memory[at..at + HEADER_BYTES]);
        let from = at + shape.front();
        let mut nonce = self.nonce();
        if shape == Shape::Gcm1_2 {
            nonce[NONCE_LEN - EXPLICIT_BYTES..].copy_from_slice(&memory[at + HEADER_BYTES..from]);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let in_out = &mut memory[to..end];
        let from = from - to..;
        let opened = match shape {
            Shape::V1_3 => self
                .aead
                .open_within(nonce, Aad::from(header), in_out, from),
            Shape::Gcm1_2 | Shape::ChaCha1_2 => {
                let len = end - at - shape.front() - shape.back();
                let aad = self.aad_1_2(header[0], len);
                self.aead.open_within(nonce, Aad::from(aad), in_out, from)
            }
        };
        let len = opened.map_err(|_| refused())?.len();
        // A peer would need centuries for so many records.
        self.seq = self.seq.checked_add(1).ok_or_else(refused)?;
        Ok(len)
    }

    /// Seals `record`: its payload lies behind [`Shape::front`] and before [`Shape::back`].
    pub(super) fn seal(&mut self, shape: Shape, kind: u8, record: &mut [u8]) {
        let (front, len) = (shape.front(), record.len());
        let body = u16::try_from(len - HEADER_BYTES).expect("a record is short");
        let [high, low] = body.to_be_bytes();
        let [major, minor] = LEGACY_VERSION;
        let outer = match shape {
            Shape::V1_3 => APPLICATION_DATA,
            Shape::Gcm1_2 | Shape::ChaCha1_2 => kind,
        };
        let header = [outer, major, minor, high, low];
        record[..HEADER_BYTES].copy_from_slice(&header);
        let nonce = self.nonce();
        if shape == Shape::Gcm1_2 {
            record[HEADER_BYTES..front].copy_from_slice(&nonce[NONCE_LEN - EXPLICIT_BYTES..]);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (body, tag) = record[front..].split_at_mut(len - front - TAG_BYTES);
        let sealed = match shape {
            Shape::V1_3 => {
                if let Some(inner) = body.last_mut() {
                    *inner = kind;
                }
                self.aead
                    .seal_in_place_separate_tag(nonce, Aad::from(header), body)
            }
            Shape::Gcm1_2 | Shape::ChaCha1_2 => {
                let aad = Aad::from(self.aad_1_2(kind, body.len()));
                self.aead.seal_in_place_separate_tag(nonce, aad, body)
            }
        };
        tag.copy_from_slice(sealed.expect("a record is short").as_ref());
        self.seq += 1;
    }

    /// What TLS 1.2 authenticates beside the payload.
    fn aad_1_2(&self, kind: u8, len: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.seq.to_be_bytes());
        aad[8] = kind;
        aad[9..11].copy_from_slice(&LEGACY_VERSION);
        let len = u16::try_from(len).expect("a record is short");
        aad[11..].copy_from_slice(&len.to_be_bytes());
        aad
    }
}
