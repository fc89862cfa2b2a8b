//! Our records against the library's ordinary connections, in both roles and with every suite; and against records that no
//! ordinary peer would send.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, RootCertStore, ServerConfig,
    ServerConnection, SupportedCipherSuite, SupportedProtocolVersion, version,
};

use super::super::record::HEADER_BYTES;
use super::super::traffic::{prepare_client, prepare_server};
use super::*;

/// Which side is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

const ROLES: [Role; 2] = [Role::Server, Role::Client];

/// Goes on with the library's session until it waits for the peer or is open.
macro_rules! step {
    ($session:expr, $inbox:expr, $out:expr) => {
        loop {
            let status = $session.process_tls_records(&mut $inbox);
            let (discard, mut waits) = (status.discard, false);
            match status.state.unwrap() {
                ConnectionState::EncodeTlsData(mut data) => {
                    let filled = $out.len();
                    $out.resize(filled + (32 << 10), 0);
                    let len = data.encode(&mut $out[filled..]).unwrap();
                    $out.truncate(filled + len);
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => {
                    waits = true;
                }
                state => panic!("{state:?}"),
            }
            $inbox.drain(..discard);
            if waits {
                break;
            }
        }
    };
}

/// Makes a session and its peer shake hands, and takes it from the library.
macro_rules! shake {
    ($session:expr, $peer:expr, $session_of:expr) => {{
        let (mut session, mut told) = ($session, Told::default());
        let mut inbox = Vec::new();
        while session.is_handshaking() {
            inbox.extend($peer.sends());
            let mut out = Vec::new();
            step!(session, inbox, out);
            told.listen();
            $peer.gets(&out);
        }
        assert!(inbox.is_empty());
        let version = session.protocol_version().unwrap();
        let (secrets, session) = session.dangerous_into_kernel_connection().unwrap();
        Records::new(version, &secrets, &told, $session_of(session)).unwrap()
    }};
}

/// The library's ordinary connection on the other side.
struct Peer(Connection);

impl Peer {
    fn sends(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn says(&mut self, plain: &[u8]) -> Vec<u8> {
        self.0.writer().write_all(plain).unwrap();
        self.sends()
    }

    fn gets(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.0.read_tls(&mut bytes).unwrap();
            self.0.process_new_packets().unwrap();
        }
    }

    fn reads(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in bytes.chunks(4096) {
            self.gets(piece);
            let _ = self.0.reader().read_to_end(&mut all);
        }
        all
    }
}

/// The configurations of both sides.
struct World {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl World {
    fn new(suite: SupportedCipherSuite) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites = vec![suite];
        let provider = Arc::new(provider);
        let versions: &[&SupportedProtocolVersion] = &[match suite {
            SupportedCipherSuite::Tls12(_) => &version::TLS12,
            SupportedCipherSuite::Tls13(_) => &version::TLS13,
        }];
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        prepare_server(&mut server);
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        prepare_client(&mut client);
        Self {
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }

    fn open(&self, role: Role) -> (Records, Peer) {
        let name = ServerName::try_from("localhost").unwrap();
        match role {
            Role::Server => {
                let client = ClientConnection::new(self.client.clone(), name).unwrap();
                let mut peer = Peer(client.into());
                let session = UnbufferedServerConnection::new(self.server.clone()).unwrap();
                (shake!(session, peer, |_| None), peer)
            }
            Role::Client => {
                let server = ServerConnection::new(self.server.clone()).unwrap();
                let mut peer = Peer(server.into());
                let session = UnbufferedClientConnection::new(self.client.clone(), name).unwrap();
                (
                    shake!(session, peer, |session| Some(Box::new(session))),
                    peer,
                )
            }
        }
    }
}

/// The suites that can be made with the key of the certificate: ECDSA.
fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    let all = rustls::crypto::ring::ALL_CIPHER_SUITES.iter().copied();
    all.filter(|suite| !format!("{:?}", suite.suite()).contains("RSA"))
}

/// Every pair of sides.
fn all(mut body: impl FnMut(Records, Peer, &str)) {
    let mut seen = 0;
    for suite in suites() {
        let world = World::new(suite);
        for role in ROLES {
            let (mut records, mut peer) = world.open(role);
            // Tickets, which a server of TLS 1.3 sends after the handshake.
            let bytes = peer.sends();
            let (plain, result) = read(&mut records, &bytes, usize::MAX);
            assert_eq!((plain.len(), result), (0, Ok(Opened::More)));
            body(records, peer, &format!("{:?} {role:?}", suite.suite()));
            seen += 1;
        }
    }
    assert_eq!(seen, 12);
}

/// Opens `bytes`, which arrive in pieces of `step`.
fn read(records: &mut Records, bytes: &[u8], step: usize) -> (Vec<u8>, Result<Opened, Error>) {
    read_pieces(records, bytes.chunks(step), &mut Vec::new())
}

fn read_pieces<'a>(
    records: &mut Records,
    pieces: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> (Vec<u8>, Result<Opened, Error>) {
    let (mut held, mut plain) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        let reading = records.open(&mut held, out);
        plain.extend_from_slice(&held[reading.plain]);
        if reading.result != Ok(Opened::More) {
            return (plain, reading.result);
        }
        held.drain(..reading.used);
    }
    assert!(held.is_empty(), "{} bytes are left over", held.len());
    (plain, Ok(Opened::More))
}

/// Seals `plain` as a connection does.
fn seal(records: &mut Records, plain: &[u8]) -> Vec<u8> {
    let (mut sealed, (front, back)) = (Vec::new(), records.overhead());
    let count = plain.len().div_ceil(PLAIN_BYTES_MAX);
    assert!(records.refresh(count as u64, &mut sealed));
    for piece in plain.chunks(PLAIN_BYTES_MAX) {
        let start = sealed.len();
        sealed.resize(start + front, 0);
        sealed.extend_from_slice(piece);
        sealed.resize(sealed.len() + back, 0);
        records.seal(&mut sealed[start..]);
    }
    sealed
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251).to_le_bytes()[0]).collect()
}

/// Seals what an ordinary peer would not.
struct Forger {
    key: Key,
    shape: Shape,
    /// Opens our alerts.
    ours: Key,
}

impl Forger {
    fn of(records: &Records) -> Self {
        Self {
            key: records.peers.clone(),
            shape: records.shape,
            ours: records.ours.clone(),
        }
    }

    fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut record = vec![0; self.shape.front()];
        record.extend_from_slice(content);
        record.resize(record.len() + self.shape.back(), 0);
        self.key.seal(self.shape, kind, &mut record);
        record
    }

    /// The alert that `out` ends with.
    fn alert(&mut self, mut out: Vec<u8>) -> [u8; 2] {
        let (front, end) = (self.shape.front(), out.len());
        let kind = out[0];
        let opened = self.ours.open(self.shape, &mut out, (0, end), front);
        assert_eq!(opened.unwrap(), 2 + usize::from(self.shape == Shape::V1_3));
        let kind = match self.shape {
            Shape::V1_3 => out[front + 2],
            _ => kind,
        };
        assert_eq!(kind, ALERT);
        [out[front], out[front + 1]]
    }
}

/// What `records` says to a forged record, and with which alert.
fn refused(records: &mut Records, forger: &mut Forger, record: &[u8]) -> Alert {
    let mut out = Vec::new();
    let (plain, result) = read_pieces(records, std::iter::once(record), &mut out);
    assert!(result.is_err(), "{result:?}");
    assert!(plain.is_empty());
    let [level, alert] = forger.alert(out);
    assert_eq!(level, FATAL);
    let known = [
        Alert::UnexpectedMessage,
        Alert::BadRecordMac,
        Alert::RecordOverflow,
        Alert::IllegalParameter,
        Alert::DecodeError,
        Alert::ProtocolVersion,
        Alert::NoRenegotiation,
    ];
    *known
        .iter()
        .find(|a| **a as u8 == alert)
        .expect("a known alert")
}

/// A server's records, for one version.
fn server(is_1_3: bool) -> (Records, Forger) {
    let suite = suites().find(|s| matches!(s, SupportedCipherSuite::Tls13(_)) == is_1_3);
    let (records, _) = World::new(suite.unwrap()).open(Role::Server);
    let forger = Forger::of(&records);
    (records, forger)
}

#[test]
fn records_may_be_cut_at_every_byte() {
    all(|mut records, mut peer, name| {
        let mut bytes = peer.says(b"one");
        bytes.extend(peer.says(&pattern(300)));
        bytes.extend(peer.says(b"!"));
        let expected = [b"one", &pattern(300)[..], b"!"].concat();
        let seq = records.peers.seq;
        for cut in 0..=bytes.len() {
            records.peers.seq = seq;
            let (head, tail) = bytes.split_at(cut);
            let (plain, result) =
                read_pieces(&mut records, [head, tail].into_iter(), &mut Vec::new());
            assert_eq!(
                (plain, result),
                (expected.clone(), Ok(Opened::More)),
                "{name} {cut}"
            );
        }
        for step in [1, 2, 7, 100] {
            records.peers.seq = seq;
            assert_eq!(
                read(&mut records, &bytes, step).0,
                expected,
                "{name} {step}"
            );
        }
    });
}

#[test]
fn much_goes_both_ways() {
    all(|mut records, mut peer, name| {
        peer.0.set_buffer_limit(None);
        let plain = pattern(100_000);
        for step in [4096, usize::MAX] {
            let bytes = peer.says(&plain);
            assert_eq!(read(&mut records, &bytes, step).0, plain, "{name}");
            let sealed = seal(&mut records, &plain);
            assert!(
                sealed.len() <= plain.len() + 7 * 30,
                "as few records as possible"
            );
            assert_eq!(peer.reads(&sealed), plain, "{name}");
        }
    });
}

#[test]
fn every_changed_byte_is_refused() {
    all(|mut records, mut peer, name| {
        let bytes = peer.says(b"only this");
        let seq = records.peers.seq;
        for at in 0..bytes.len() {
            for bit in [1, 0x80] {
                records.peers.seq = seq;
                let mut changed = bytes.clone();
                changed[at] ^= bit;
                let mut out = Vec::new();
                let reading = records.open(&mut changed, &mut out);
                assert!(reading.plain.is_empty(), "{name} {at}");
                // A record that claims to be longer is not complete.
                let longer = reading.result.is_ok() && reading.used == 0 && (3..5).contains(&at);
                assert!(
                    longer || reading.result.is_err() && !out.is_empty(),
                    "{name} {at}"
                );
            }
        }
        records.peers.seq = seq;
        assert_eq!(read(&mut records, &bytes, usize::MAX).0, b"only this");
    });
}

#[test]
fn close_notify_ends_what_the_peer_sends() {
    all(|mut records, mut peer, name| {
        let mut bytes = peer.says(b"last");
        peer.0.send_close_notify();
        bytes.extend(peer.sends());
        let (plain, result) = read(&mut records, &bytes, usize::MAX);
        assert_eq!(
            (&plain[..], result),
            (&b"last"[..], Ok(Opened::PeerClosed)),
            "{name}"
        );
        let mut sealed = seal(&mut records, b"farewell");
        records.close(&mut sealed);
        peer.gets(&sealed);
        let mut all = Vec::new();
        // The reader fails with UnexpectedEof where a close_notify is missing.
        peer.0.reader().read_to_end(&mut all).unwrap();
        assert_eq!(all, b"farewell", "{name}");
    });
}

#[test]
fn keys_are_updated_by_either_side_in_every_place() {
    all(|mut records, mut peer, name| {
        if records.updates.is_none() {
            return;
        }
        for plan in 0..64_u32 {
            let (mut bytes, mut said) = (Vec::new(), Vec::new());
            for step in 0..6_u32 {
                match plan >> step & 1 {
                    0 => {
                        said.extend_from_slice(&[step.to_le_bytes()[0]; 20]);
                        bytes.extend(peer.says(&said[said.len() - 20..]));
                    }
                    _ => {
                        peer.0.refresh_traffic_keys().unwrap();
                        bytes.extend(peer.sends());
                    }
                }
            }
            let mut out = Vec::new();
            let pieces = bytes.chunks(1 + plan as usize);
            let (plain, result) = read_pieces(&mut records, pieces, &mut out);
            assert_eq!((plain, result), (said, Ok(Opened::More)), "{name} {plan}");
            let (front, back) = records.overhead();
            // One answer is enough for all.
            let answer = if plan > 0 { front + 5 + back } else { 0 };
            assert_eq!(out.len(), answer, "{name} {plan}");
            records.note_sent();
            out.extend(seal(&mut records, b"answer"));
            assert_eq!(peer.reads(&out), b"answer", "{name} {plan}");
        }
    });
}

#[test]
fn a_key_that_is_used_up_is_replaced_or_ends_the_session() {
    all(|mut records, mut peer, name| {
        let chacha = records.ours.aead.algorithm() == &ring::aead::CHACHA20_POLY1305;
        assert_eq!(
            records.limit,
            if chacha { u64::MAX } else { 1 << 23 },
            "{name}"
        );
        records.limit = records.ours.seq + 3;
        assert!(records.refresh(2, &mut Vec::new()));
        if records.updates.is_none() {
            let mut out = Vec::new();
            assert!(!records.refresh(3, &mut out) && out.is_empty());
            return;
        }
        records.limit = 3;
        for _ in 0..10 {
            let sealed = seal(&mut records, b"a record");
            assert!(records.ours.seq <= 3);
            assert_eq!(peer.reads(&sealed), b"a record", "{name}");
        }
        records.limit = u64::MAX;
        records.ours.seq = u64::MAX - 1;
        seal(&mut records, b"the counter does not overflow");
        assert_eq!(records.ours.seq, 1, "{name}");
    });
}

#[test]
fn a_client_resumes_with_the_tickets_that_came_after_the_handshake() {
    for suite in suites() {
        let world = World::new(suite);
        let (mut records, mut peer) = world.open(Role::Client);
        let tickets = peer.sends();
        assert_eq!(
            tickets.is_empty(),
            records.updates.is_none(),
            "TLS 1.3 only"
        );
        assert_eq!(read(&mut records, &tickets, 9).1, Ok(Opened::More));
        let (_, peer) = world.open(Role::Client);
        let kind = peer.0.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::Resumed), "{suite:?}");
    }
}

#[test]
fn a_record_that_nobody_may_send_gets_the_right_alert() {
    const TICKET: &[u8] = &[NEW_SESSION_TICKET, 0, 0, 1, 0];
    let cases: &[(u8, &[u8], Alert)] = &[
        (CHANGE_CIPHER_SPEC, &[1], Alert::UnexpectedMessage),
        (24, b"heartbeat", Alert::UnexpectedMessage),
        (ALERT, &[WARNING], Alert::DecodeError),
        (ALERT, &[WARNING, 0, 0], Alert::DecodeError),
        (ALERT, &[3, 0], Alert::IllegalParameter),
        (ALERT, &[], Alert::UnexpectedMessage),
        (HANDSHAKE, &[], Alert::UnexpectedMessage),
        (HANDSHAKE, TICKET, Alert::UnexpectedMessage),
        (HANDSHAKE, &[2, 0, 0, 1, 0], Alert::UnexpectedMessage),
        (HANDSHAKE, &[KEY_UPDATE, 0, 0, 2, 0, 0], Alert::DecodeError),
        (
            HANDSHAKE,
            &[KEY_UPDATE, 0, 0, 1, 2],
            Alert::IllegalParameter,
        ),
        (
            HANDSHAKE,
            &[KEY_UPDATE, 0, 0, 1, 0, KEY_UPDATE],
            Alert::UnexpectedMessage,
        ),
        (
            HANDSHAKE,
            &[CLIENT_HELLO, 0, 0, 1, 0],
            Alert::UnexpectedMessage,
        ),
    ];
    for (kind, content, alert) in cases {
        let (mut records, mut forger) = server(true);
        let record = forger.record(*kind, content);
        let got = refused(&mut records, &mut forger, &record);
        assert_eq!(got, *alert, "{kind} {content:?}");
    }
    for (kind, content) in [(CHANGE_CIPHER_SPEC, &[1][..]), (HANDSHAKE, TICKET)] {
        let (mut records, mut forger) = server(false);
        let record = forger.record(kind, content);
        let got = refused(&mut records, &mut forger, &record);
        assert_eq!(got, Alert::UnexpectedMessage);
    }
}

#[test]
fn a_header_that_nobody_may_send_is_refused_before_the_rest_arrives() {
    for is_1_3 in [true, false] {
        let excess = PLAIN_BYTES_MAX + if is_1_3 { 257 } else { 2049 };
        let [high, low] = u16::try_from(excess).unwrap().to_be_bytes();
        let unknown = [99, 3, 3, 0, 50];
        let cases: [([u8; HEADER_BYTES], Alert); 4] = [
            ([23, 3, 3, high, low], Alert::RecordOverflow),
            ([23, 3, 1, 0, 50], Alert::ProtocolVersion),
            ([23, 3, 3, 0, 15], Alert::BadRecordMac),
            (unknown, Alert::UnexpectedMessage),
        ];
        for (header, alert) in cases {
            let (mut records, mut forger) = server(is_1_3);
            let got = refused(&mut records, &mut forger, &header);
            assert_eq!(got, alert, "{header:?}");
        }
    }
    let (mut records, mut forger) = server(true);
    // In TLS 1.3 an alert is inside of a record of another type.
    let got = refused(&mut records, &mut forger, &[ALERT, 3, 3, 0, 50]);
    assert_eq!(got, Alert::UnexpectedMessage);
}

#[test]
fn padding_is_removed_and_only_padding_refused() {
    for padding in [0, 1, 200] {
        let (mut records, mut forger) = server(true);
        let mut content = b"text\x17".to_vec();
        content.resize(5 + padding, 0);
        let record = forger.record(0, &content);
        let (plain, result) = read(&mut records, &record, usize::MAX);
        assert_eq!(
            (&plain[..], result),
            (&b"text"[..], Ok(Opened::More)),
            "{padding}"
        );
        let record = forger.record(0, &vec![0; padding]);
        let got = refused(&mut records, &mut forger, &record);
        assert_eq!(got, Alert::UnexpectedMessage);
    }
}

#[test]
fn a_record_has_at_most_16_kib_of_plaintext() {
    for is_1_3 in [true, false] {
        let (mut records, mut forger) = server(is_1_3);
        let full = pattern(PLAIN_BYTES_MAX);
        let record = forger.record(APPLICATION_DATA, &full);
        assert_eq!(read(&mut records, &record, usize::MAX).0, full);
        let record = forger.record(APPLICATION_DATA, &pattern(PLAIN_BYTES_MAX + 1));
        let got = refused(&mut records, &mut forger, &record);
        assert_eq!(got, Alert::RecordOverflow);
    }
}

#[test]
fn empty_records_and_updates_are_bounded_where_no_message_comes_between() {
    for is_1_3 in [true, false] {
        let (mut records, mut forger) = server(is_1_3);
        for _ in 0..2 {
            for _ in 0..EMPTY_MAX {
                let record = forger.record(APPLICATION_DATA, b"");
                assert_eq!(read(&mut records, &record, usize::MAX).1, Ok(Opened::More));
            }
            let record = forger.record(APPLICATION_DATA, b"text");
            assert_eq!(read(&mut records, &record, usize::MAX).0, b"text");
        }
        let many: Vec<u8> = (0..=EMPTY_MAX)
            .flat_map(|_| forger.record(APPLICATION_DATA, b""))
            .collect();
        let got = refused(&mut records, &mut forger, &many);
        assert_eq!(got, Alert::UnexpectedMessage);
    }
    let world = World::new(suites().next().unwrap());
    let (mut records, mut peer) = world.open(Role::Server);
    let mut out = Vec::new();
    for round in 0..=UPDATES_MAX {
        peer.0.refresh_traffic_keys().unwrap();
        let bytes = peer.sends();
        let reading = records.open(&mut bytes.clone(), &mut out);
        assert_eq!(reading.result.is_ok(), round < UPDATES_MAX, "{round}");
    }
    assert!(
        out.len() < 60,
        "one answer, which was not sent, and an alert"
    );
}

#[test]
fn handshake_messages_may_be_spread_over_records_but_not_mixed_with_others() {
    let update = [KEY_UPDATE, 0, 0, 1, 0];
    for cut in 1..update.len() {
        let (mut records, mut forger) = server(true);
        let mut bytes = forger.record(HANDSHAKE, &update[..cut]);
        bytes.extend(forger.record(HANDSHAKE, &update[cut..]));
        let mut next = records.updates.as_ref().unwrap().peers;
        let (key, iv) = next.update(records.peers.aead.algorithm());
        forger.key = Key::new(key, iv);
        bytes.extend(forger.record(APPLICATION_DATA, b"new key"));
        assert_eq!(
            read(&mut records, &bytes, 3),
            (b"new key".to_vec(), Ok(Opened::More))
        );
        let piece = forger.record(HANDSHAKE, &update[..cut]);
        assert_eq!(read(&mut records, &piece, usize::MAX).1, Ok(Opened::More));
        let record = forger.record(APPLICATION_DATA, b"between");
        let got = refused(&mut records, &mut forger, &record);
        assert_eq!(got, Alert::UnexpectedMessage);
    }
}

#[test]
fn renegotiation_is_declined_once_and_then_refused() {
    let (mut records, mut forger) = server(false);
    let mut hello = vec![CLIENT_HELLO, 0, 1, 0];
    hello.resize(4 + 256, 7);
    let mut out = Vec::new();
    let record = forger.record(HANDSHAKE, &hello);
    let (_, result) = read_pieces(&mut records, record.chunks(50), &mut out);
    assert_eq!(result, Ok(Opened::More));
    assert_eq!(forger.alert(out), [WARNING, Alert::NoRenegotiation as u8]);
    let record = forger.record(HANDSHAKE, &hello);
    let got = refused(&mut records, &mut forger, &record);
    assert_eq!(got, Alert::NoRenegotiation);
}

#[test]
fn alerts_of_the_peer_end_the_session_by_their_name_and_get_no_answer() {
    for is_1_3 in [true, false] {
        let (mut records, mut forger) = server(is_1_3);
        let canceled = forger.record(ALERT, &[WARNING, 90]);
        assert_eq!(
            read(&mut records, &canceled, usize::MAX).1,
            Ok(Opened::More)
        );
        let fatal = forger.record(ALERT, &[FATAL, 40]);
        let mut out = Vec::new();
        let (_, result) = read_pieces(&mut records, std::iter::once(&fatal[..]), &mut out);
        let received = Error::AlertReceived(AlertDescription::HandshakeFailure);
        assert_eq!((result, out), (Err(received), vec![]));
    }
    let (mut records, mut forger) = server(false);
    for count in 1..=WARNINGS_MAX + 1 {
        let warning = forger.record(ALERT, &[WARNING, 90]);
        let result = read(&mut records, &warning, usize::MAX).1;
        assert_eq!(result.is_ok(), count <= WARNINGS_MAX);
    }
    let (mut records, mut forger) = server(true);
    // TLS 1.3 has no other warnings.
    let warning = forger.record(ALERT, &[WARNING, 41]);
    assert!(read(&mut records, &warning, usize::MAX).1.is_err());
}

#[test]
fn nothing_is_shown_of_keys() {
    let (records, _) = server(true);
    assert_eq!(format!("{records:?}"), "Records { shape: V1_3, .. }");
}

#[test]
fn an_open_connection_is_small() {
    // Two keys of 544 bytes with their schedules, and two secrets.
    let bytes = size_of::<Records>();
    assert!(bytes <= 1408, "{bytes}");
}
