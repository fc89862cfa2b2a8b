//! A client of rustls against our side, in memory.

use std::io::{Read as _, Write as _};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

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
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
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
    opened: Vec<u8>,
}

impl Pair {
    fn new(version: &'static rustls::SupportedProtocolVersion) -> Self {
        let (config, client) = configs(version);
        let mut server = Tls::default();
        server.begin(&config).unwrap();
        let (room, opened) = (Room::default(), Vec::new());
        Self {
            server,
            client,
            room,
            opened,
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
            last = self.server.open(piece, &mut self.room);
            self.opened.append(&mut self.room.plain);
            last.as_ref().map_err(Clone::clone)?;
        }
        last
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
            let mut out = Vec::new();
            self.server.take_output(&mut out);
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
                pair.server.held.capacity(),
                0,
                "an idle session holds nothing"
            );
            let mut sealed = Vec::new();
            assert!(pair.server.seal(b"answer", &mut sealed));
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
        let mut sealed = Vec::new();
        assert!(pair.server.seal(&plain, &mut sealed));
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
        let mut sealed = Vec::new();
        assert!(pair.server.seal(b"meanwhile", &mut sealed));
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
        let mut sealed = Vec::new();
        assert!(
            pair.server.seal(b"farewell", &mut sealed),
            "the other direction is open"
        );
        pair.server.close(&mut sealed);
        let len = sealed.len();
        pair.server.close(&mut sealed);
        assert!(!pair.server.seal(b"more", &mut sealed));
        assert_eq!(sealed.len(), len, "nothing follows a close_notify");
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
        let mut out = Vec::new();
        pair.server.take_output(&mut out);
        assert!(matches!(
            pair.client_gets(&out),
            Err(Error::AlertReceived(_))
        ));
        assert!(!pair.server.seal(b"more", &mut Vec::new()));
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
            assert!(pair.server.held.len() <= HELD_BYTES_MAX);
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
    assert!(!pair.server.seal(b"early", &mut Vec::new()));
    let hello = pair.client_sends();
    pair.server_gets(&hello[..hello.len() - 1], usize::MAX)
        .unwrap();
    let mut sealed = Vec::new();
    assert!(!pair.server.seal(b"early", &mut sealed));
    pair.server.close(&mut sealed);
    assert!(sealed.is_empty());
    pair.server_gets(&hello[hello.len() - 1..], usize::MAX)
        .unwrap();
    let mut out = Vec::new();
    pair.server.take_output(&mut out);
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
        let mut sealed = Vec::new();
        pair.server.take_output(&mut sealed);
        assert!(pair.server.seal(b"answer", &mut sealed));
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
            let mut pair = Pair {
                server,
                client,
                room: Room::default(),
                opened: Vec::new(),
            };
            pair.shake_hands(step);
            pair.client.writer().write_all(&[9; 300]).unwrap();
            let bytes = pair.client_sends();
            pair.server_gets(&bytes, step).unwrap();
            assert_eq!(pair.opened, [9; 300]);
        }
    }
}
