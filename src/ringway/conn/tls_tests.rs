//! A client of rustls against our side, in memory.

use std::io::{Read as _, Write as _};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::tls::traffic::prepare_server;

/// A server and a client that trusts it, for one version.
fn configs(
    version: &'static rustls::SupportedProtocolVersion,
) -> (Arc<ServerConfig>, ClientConnection) {
    configs_with(version, None)
}

/// The same, with a client that sends records of at most so many bytes.
fn configs_with(
    version: &'static rustls::SupportedProtocolVersion,
    record_bytes_max: Option<usize>,
) -> (Arc<ServerConfig>, ClientConnection) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    prepare_server(&mut server);
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.max_fragment_size = record_bytes_max;
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    (Arc::new(server), client)
}

/// Both sides of a connection, and what the server has opened.
struct Pair {
    server: Tls,
    client: ClientConnection,
    room: Room,
    buffers: Buffers,
    opened: Vec<u8>,
}

impl Pair {
    fn new(version: &'static rustls::SupportedProtocolVersion) -> Self {
        let (config, client) = configs(version);
        let mut server = Tls::default();
        server.begin(&config).unwrap();
        Self::of(server, client)
    }

    fn of(server: Tls, client: ClientConnection) -> Self {
        Self {
            server,
            client,
            room: Room::default(),
            buffers: Buffers::default(),
            opened: Vec::new(),
        }
    }

    /// What the client wants to send.
    fn client_sends(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Gives `bytes` to the server in pieces of `step`.
    fn server_gets(&mut self, bytes: &[u8], step: usize) -> Result<Opened, Error> {
        let mut last = Ok(Opened::More);
        for piece in bytes.chunks(step) {
            last = self.server_gets_piece(piece);
            last.as_ref().map_err(Clone::clone)?;
        }
        last
    }

    fn server_gets_piece(&mut self, piece: &[u8]) -> Result<Opened, Error> {
        let server = &mut self.server;
        let mut records = server.held().to_vec();
        if server.is_ready() {
            server.release(&mut self.buffers);
            records.extend_from_slice(piece);
        } else {
            let used = server.shake_hands(piece, &mut self.room, &mut self.buffers)?;
            if !server.is_ready() {
                return Ok(Opened::More);
            }
            records = self.room.inbox[used..].to_vec();
        }
        let reading = server.open(&mut records);
        self.opened.extend_from_slice(&records[reading.plain]);
        if reading.result.is_ok() {
            server.hold(&records[reading.used..], &mut self.buffers);
        }
        reading.result
    }

    /// What the server sends if it is to send `plain`. `None` if it cannot.
    fn server_seals(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let (front, back) = self.server.prepare(plain.len())?;
        let mut sealed = self.server.take_output();
        for piece in plain.chunks(PLAIN_BYTES_MAX) {
            let start = sealed.len();
            sealed.resize(start + front, 0);
            sealed.extend_from_slice(piece);
            sealed.resize(sealed.len() + back, 0);
            self.server.seal(&mut sealed[start..]);
        }
        Some(sealed)
    }

    fn client_gets(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            self.client.process_new_packets()?;
        }
        Ok(())
    }

    fn shake_hands(&mut self, step: usize) {
        for _ in 0..4 {
            let bytes = self.client_sends();
            self.server_gets(&bytes, step).unwrap();
            let out = self.server.take_output();
            self.client_gets(&out).unwrap();
        }
        assert!(!self.client.is_handshaking());
    }

    /// What the client reads of `sealed`.
    fn read(&mut self, sealed: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in sealed.chunks(4096) {
            self.client_gets(piece).unwrap();
            let _ = self.client.reader().read_to_end(&mut all);
        }
        all
    }
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn records_may_be_cut_at_every_byte() {
    for version in VERSIONS {
        for step in [1, 2, 7, 100, usize::MAX] {
            let mut pair = Pair::new(version);
            pair.shake_hands(step);
            pair.client.writer().write_all(b"one").unwrap();
            pair.client.writer().write_all(b"two").unwrap();
            let bytes = pair.client_sends();
            pair.server_gets(&bytes, step).unwrap();
            assert_eq!(pair.opened, b"onetwo");
            assert_eq!(
                std::mem::take(&mut pair.server.held)
                    .into_memory()
                    .capacity(),
                0,
                "an idle session holds nothing"
            );
            let sealed = pair.server_seals(b"answer").unwrap();
            assert_eq!(pair.read(&sealed), b"answer");
        }
    }
}

#[test]
fn much_output_has_few_records() {
    for version in VERSIONS {
        let mut pair = Pair::new(version);
        pair.shake_hands(usize::MAX);
        let plain: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let sealed = pair.server_seals(&plain).unwrap();
        // 7 records, each with at most 30 bytes of its own.
        assert!(sealed.len() <= plain.len() + 7 * 30, "{}", sealed.len());
        assert_eq!(pair.read(&sealed), plain);
    }
}

#[test]
fn output_between_two_halves_of_a_record_disturbs_neither() {
    for version in VERSIONS {
        let mut pair = Pair::new(version);
        pair.shake_hands(usize::MAX);
        pair.client.writer().write_all(&[7; 5000]).unwrap();
        let bytes = pair.client_sends();
        let (first, second) = bytes.split_at(1000);
        pair.server_gets(first, usize::MAX).unwrap();
        let sealed = pair.server_seals(b"meanwhile").unwrap();
        assert_eq!(pair.read(&sealed), b"meanwhile");
        pair.server_gets(second, usize::MAX).unwrap();
        assert_eq!(pair.opened, [7; 5000]);
    }
}

#[test]
fn close_notify_is_told_and_sent_once() {
    for version in VERSIONS {
        let mut pair = Pair::new(version);
        pair.shake_hands(usize::MAX);
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        let bytes = pair.client_sends();
        assert_eq!(pair.server_gets(&bytes, usize::MAX), Ok(Opened::PeerClosed));
        assert_eq!(pair.opened, b"last");
        let sealed = pair.server_seals(b"farewell");
        let mut sealed = sealed.expect("the other direction is open");
        pair.server.close();
        sealed.extend(pair.server.take_output());
        pair.server.close();
        assert_eq!(pair.server_seals(b"more"), None);
        assert!(!pair.server.has_output(), "nothing follows a close_notify");
        pair.client_gets(&sealed).unwrap();
        let mut all = Vec::new();
        // The reader fails with UnexpectedEof where a close_notify is missing.
        pair.client.reader().read_to_end(&mut all).unwrap();
        assert_eq!(all, b"farewell");
    }
}

#[test]
fn garbage_gets_an_alert_and_nothing_is_sealed_after_it() {
    for version in VERSIONS {
        let mut pair = Pair::new(version);
        pair.shake_hands(usize::MAX);
        pair.client.writer().write_all(b"whole").unwrap();
        let mut bytes = pair.client_sends();
        let mut garbage = vec![23, 3, 3, 0, 40];
        garbage.extend([0x55; 40]);
        bytes.extend(&garbage);
        assert!(pair.server_gets(&bytes, usize::MAX).is_err());
        assert_eq!(pair.opened, b"whole", "what came before it is kept");
        assert!(pair.server.has_output());
        let out = pair.server.take_output();
        assert!(matches!(
            pair.client_gets(&out),
            Err(Error::AlertReceived(_))
        ));
        assert_eq!(pair.server_seals(b"more"), None);
    }
}

#[test]
fn garbage_in_the_handshake_is_an_error_and_never_held_without_bound() {
    for first in 0..=255_u8 {
        let mut pair = Pair::new(&rustls::version::TLS13);
        let mut bytes = vec![HANDSHAKE, 3, 1, 0x40, 0];
        bytes.extend(vec![first; 16 << 10]);
        let mut failed = false;
        for _ in 0..20 {
            failed |= pair.server_gets(&bytes, 1000).is_err();
            assert!(pair.server.held().len() <= HELD_BYTES_MAX);
            if failed {
                break;
            }
        }
        assert!(failed, "{first}");
    }
}

#[test]
fn nothing_is_sealed_before_the_handshake_is_complete() {
    let mut pair = Pair::new(&rustls::version::TLS13);
    assert_eq!(pair.server_seals(b"early"), None);
    let hello = pair.client_sends();
    pair.server_gets(&hello[..hello.len() - 1], usize::MAX)
        .unwrap();
    assert_eq!(pair.server_seals(b"early"), None);
    pair.server.close();
    assert!(!pair.server.has_output());
    pair.server_gets(&hello[hello.len() - 1..], usize::MAX)
        .unwrap();
    let out = pair.server.take_output();
    pair.client_gets(&out).unwrap();
    assert!(!pair.client.is_handshaking());
}

#[test]
fn a_key_update_is_answered_and_both_directions_go_on() {
    let mut pair = Pair::new(&rustls::version::TLS13);
    pair.shake_hands(usize::MAX);
    for turn in 0..3 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(b"new key").unwrap();
        let bytes = pair.client_sends();
        pair.server_gets(&bytes, 1 + turn).unwrap();
        let sealed = pair.server_seals(b"answer").unwrap();
        assert_eq!(pair.read(&sealed), b"answer");
    }
    assert_eq!(pair.opened, b"new keynew keynew key");
}

#[test]
fn handshake_messages_may_be_spread_over_records_and_cut_anywhere() {
    for version in VERSIONS {
        for step in [1, 3, 50, usize::MAX] {
            let (config, client) = configs_with(version, Some(40));
            let mut server = Tls::default();
            server.begin(&config).unwrap();
            let mut pair = Pair::of(server, client);
            pair.shake_hands(step);
            pair.client.writer().write_all(&[9; 300]).unwrap();
            let bytes = pair.client_sends();
            pair.server_gets(&bytes, step).unwrap();
            assert_eq!(pair.opened, [9; 300]);
        }
    }
}
