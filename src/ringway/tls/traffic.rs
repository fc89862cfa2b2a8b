//! The traffic secrets of TLS 1.3. The library gives keys away, but not the secrets from which the next keys are made,
//! other than in an object of 1.2 KiB per connection. It tells them to the key log of its configuration, though: two
//! secrets of 48 bytes at most, which are all that an update of keys needs (RFC 8446 §7.2).

use std::cell::Cell;
use std::sync::Arc;

use ring::aead::{Algorithm, LessSafeKey, NONCE_LEN, UnboundKey};
use ring::hkdf::{HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::{ClientConfig, KeyLog, ServerConfig};

/// Bytes of the longest secret: SHA-384.
const SECRET_BYTES_MAX: usize = 48;

/// Bytes of the longest key.
const KEY_BYTES_MAX: usize = 32;

thread_local! {
    /// What the session told that makes progress on this thread.
    static TOLD: Cell<Told> = const { Cell::new(Told { client: None, server: None }) };
}

/// The first secrets of both directions, as far as a session has told them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Told {
    pub(super) client: Option<Secret>,
    pub(super) server: Option<Secret>,
}

impl Told {
    /// Takes what the session told in its last step on this thread, in addition to what it told before.
    pub(crate) fn listen(&mut self) {
        let news = TOLD.take();
        self.client = news.client.or(self.client);
        self.server = news.server.or(self.server);
    }
}

/// The secret of one direction. It shows itself to nobody.
#[derive(Clone, Copy)]
pub(super) struct Secret {
    bytes: [u8; SECRET_BYTES_MAX],
    len: u8,
}

/// Length of something that is expanded.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Secret {
    /// `None` if it has the length of no hash of TLS 1.3.
    pub(super) fn new(secret: &[u8]) -> Option<Self> {
        let mut bytes = [0; SECRET_BYTES_MAX];
        if !matches!(secret.len(), 32 | 48) {
            return None;
        }
        bytes[..secret.len()].copy_from_slice(secret);
        let len = u8::try_from(secret.len()).ok()?;
        Some(Self { bytes, len })
    }

    /// Makes the next secret, and its key and IV.
    pub(super) fn update(
        &mut self,
        algorithm: &'static Algorithm,
    ) -> (LessSafeKey, [u8; NONCE_LEN]) {
        let mut next = [0; SECRET_BYTES_MAX];
        self.expand(b"traffic upd", &mut next[..usize::from(self.len)]);
        self.bytes = next;
        let (mut key, mut iv) = ([0; KEY_BYTES_MAX], [0; NONCE_LEN]);
        let key = &mut key[..algorithm.key_len()];
        self.expand(b"key", key);
        self.expand(b"iv", &mut iv);
        let key = UnboundKey::new(algorithm, key).expect("the key has its algorithm's length");
        (LessSafeKey::new(key), iv)
    }

    /// HKDF-Expand-Label without a context (RFC 8446 §7.1).
    fn expand(&self, label: &[u8], out: &mut [u8]) {
        let hash = match self.len {
            48 => HKDF_SHA384,
            _ => HKDF_SHA256,
        };
        let [len, label_len] = [out.len(), 6 + label.len()];
        let len = u16::try_from(len).expect("short").to_be_bytes();
        let label_len = [u8::try_from(label_len).expect("short")];
        let info: [&[u8]; 5] = [&len, &label_len, b"tls13 ", label, &[0]];
        Prk::new_less_safe(hash, &self.bytes[..usize::from(self.len)])
            .expand(&info, Length(out.len()))
            .and_then(|made| made.fill(out))
            .expect("what is asked for is short");
    }
}

/// Hears the secrets of TLS 1.3, and hands everything on to the key log that the configuration had.
#[derive(Debug)]
struct Ear(Arc<dyn KeyLog>);

impl KeyLog for Ear {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut told = TOLD.get();
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => told.client = Secret::new(secret),
            "SERVER_TRAFFIC_SECRET_0" => told.server = Secret::new(secret),
            _ => {}
        }
        TOLD.set(told);
        if self.0.will_log(label) {
            self.0.log(label, client_random, secret);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0")
            || self.0.will_log(label)
    }
}

/// Makes a server's configuration one whose connections can leave the library once they are open.
pub(crate) fn prepare_server(config: &mut ServerConfig) {
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(Ear(config.key_log.clone()));
}

/// The same for the client's role.
pub(crate) fn prepare_client(config: &mut ClientConfig) {
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(Ear(config.key_log.clone()));
}
