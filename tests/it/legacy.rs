//! The protocols before RFC 6455, with clients that share no code with Ringway, and Flash's policy.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::common::client::{
    BINARY, Client, PING, PONG, REQUEST, TEXT, dial, exchange, expect_end, read_head,
};
use crate::common::{Server, on_both_tiers, run, scratch, until};
use crate::gateway::{echo, target};
use crate::tls;

on_both_tiers!(
    hixie_76_opens_echoes_and_ends,
    hixie_75_opens_skips_what_it_does_not_know_and_ends_with_the_connection,
    nothing_of_it_is_served_without_the_option,
    what_breaks_the_protocol_ends_it,
    a_request_in_pieces_and_frames_behind_it_are_read,
    the_last_numbered_drafts_open_beside_version_13,
    pings_and_their_timeout_are_not_for_those_who_have_none,
    a_drain_tells_each_client_as_its_protocol_can,
    messages_of_others_arrive_if_they_are_text,
    a_client_that_does_not_read_is_not_read_either,
    a_gateway_speaks_base64_with_them,
    under_tls_the_location_says_so,
    flash_gets_a_policy_in_place_of_a_request,
);

/// The example of Hixie-76 §1.2, and the digest that answers it.
const HIXIE_76: &str = "GET /demo HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nOrigin: http://example.com\r\n\r\n^n:ds[4U";
const DIGEST: &[u8] = b"8jKS'y:G*Co,Wxa-";

/// The example of Hixie-75 §1.2, without its subprotocol.
const HIXIE_75: &str = "GET /demo HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
    Host: example.com\r\nOrigin: http://example.com\r\n\r\n";

/// An open connection of one of the two.
struct Old<S = TcpStream> {
    stream: S,
    head: String,
}

impl Old {
    fn open(server: &Server, request: &str) -> Self {
        Self::open_on(dial(&server.address()).expect("it listens"), request)
    }
}

impl<S: Read + Write> Old<S> {
    fn open_on(mut stream: S, request: &str) -> Self {
        stream.write_all(request.as_bytes()).expect("connected");
        Self::opened(stream)
    }

    /// Reads the answer to a request that was sent.
    fn opened(stream: S) -> Self {
        let mut old = Self {
            stream,
            head: String::new(),
        };
        while !old.head.ends_with("\r\n\r\n") {
            let byte = old.byte();
            old.head.push(char::from(byte));
        }
        if old.head.contains("Sec-WebSocket-Location") {
            let digest: Vec<u8> = (0..16).map(|_| old.byte()).collect();
            assert_eq!(digest, DIGEST);
        }
        old
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).expect("a byte");
        byte[0]
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("connected");
    }

    fn say(&mut self, text: &str) {
        self.send(&[b"\0", text.as_bytes(), b"\xFF"].concat());
    }

    /// The next message.
    fn hear(&mut self) -> String {
        assert_eq!(self.byte(), 0x00);
        let mut text = Vec::new();
        loop {
            match self.byte() {
                0xFF => return String::from_utf8(text).expect("UTF-8"),
                byte => text.push(byte),
            }
        }
    }

    fn echo(&mut self, text: &str) {
        self.say(text);
        let heard = self.hear();
        assert!(heard == text, "{} bytes", text.len());
    }

    fn expect_ff_00(&mut self) {
        assert_eq!([self.byte(), self.byte()], [0xFF, 0x00]);
    }
}

fn started(more: &[&str]) -> Server {
    let few = ["--workers=1", "--port=auto", "--interval=50ms"];
    Server::start(&[&few, more].concat())
}

/// Texts of many sizes, some of which come in many receives.
fn texts() -> impl Iterator<Item = String> {
    let sizes = [0, 1, 2, 125, 126, 4096, 5000, 16_384, 70_000, 300_000];
    sizes
        .into_iter()
        .map(|len| "κ".repeat(len / 2) + &"x".repeat(len % 2))
}

fn hixie_76_opens_echoes_and_ends(io: &str) {
    let server = started(&["--legacy", "--subprotocol=b,a", io]);
    let offering = HIXIE_76.replace("\r\nOrigin", "\r\nSec-WebSocket-Protocol: a\r\nOrigin");
    let mut old = Old::open(&server, &offering);
    let lines = "HTTP/1.1 101 WebSocket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Origin: http://example.com\r\nSec-WebSocket-Location: ws://example.com/demo\r\n\
        Sec-WebSocket-Protocol: a\r\n\r\n";
    assert_eq!(old.head, lines);
    texts().for_each(|text| old.echo(&text));
    // Many at once, and one that is cut.
    old.send(&b"\0one\xFF\0\xFF\0two\xFF".repeat(3000));
    for _ in 0..3000 {
        assert_eq!([old.hear(), old.hear(), old.hear()], ["one", "", "two"]);
    }
    for byte in "\0κόσμε".bytes().chain([0xFF]) {
        old.send(&[byte]);
    }
    assert_eq!(old.hear(), "κόσμε");
    old.send(b"\xFF\0");
    old.expect_ff_00();
    expect_end(&mut old.stream);
    let messages = texts().count() as u64 + 9001;
    assert_eq!(server.counter_reaching("messages_in", messages), [messages]);
    assert_eq!(
        server.counter_reaching("messages_out", messages),
        [messages]
    );
    assert_eq!(server.counter_reaching("handshakes_hixie", 1), [1]);
    until("the connection is over", || {
        server.counter("clients") == [0]
    });
    for name in ["closed_unclean", "violations", "drops"] {
        assert_eq!(server.counter(name), [0], "{name}");
    }
}

fn hixie_75_opens_skips_what_it_does_not_know_and_ends_with_the_connection(io: &str) {
    let server = started(&["--legacy", io]);
    let mut old = Old::open(&server, HIXIE_75);
    let lines = "HTTP/1.1 101 Web Socket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
        WebSocket-Origin: http://example.com\r\nWebSocket-Location: ws://example.com/demo\r\n\r\n";
    assert_eq!(old.head, lines);
    texts().for_each(|text| old.echo(&text));
    old.send(b"\x80\x03\0a\xFF\xFF\0\x01passed\xFF");
    old.echo("behind it");
    let stream = old.stream;
    stream.shutdown(std::net::Shutdown::Write).expect("open");
    until("the connection is over", || {
        server.counter("clients") == [0]
    });
    assert_eq!(server.counter_reaching("closed_unclean", 1), [1]);
    assert_eq!(server.counter("violations"), [0]);
}

fn nothing_of_it_is_served_without_the_option(io: &str) {
    let server = started(&[io]);
    for request in [HIXIE_75, HIXIE_76] {
        let answer = exchange(&server.address(), request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    }
    let answer = exchange(&server.address(), b"<policy-file-request/>\0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(server.counter("handshakes_hixie"), [0]);
    let output = run(
        "ringway",
        &["server", "--legacy", "--versions=8", "--print-config"],
    );
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("--legacy"), "{}", output.stderr);
}

fn what_breaks_the_protocol_ends_it(io: &str) {
    let server = started(&["--legacy", "--max-message=1000", io]);
    let long = [&b"\0"[..], &[b'x'; 1001]].concat();
    let wrong: [&[u8]; 4] = [b"\0\xC0\xAF\xFF", &long, b"\x01a\xFF", b"\x80\x01a"];
    for bytes in wrong {
        let mut old = Old::open(&server, HIXIE_76);
        old.echo(&"x".repeat(1000));
        old.send(bytes);
        old.expect_ff_00();
        expect_end(&mut old.stream);
    }
    for bytes in [wrong[0], wrong[1]] {
        let mut old = Old::open(&server, HIXIE_75);
        old.echo("x");
        old.send(bytes);
        expect_end(&mut old.stream);
    }
    assert_eq!(server.counter_reaching("violations", 6), [6]);
    // The keys of the second have no number.
    let bad = HIXIE_76.replace("12998 5 Y3 1  .P00", "129985Y31.P00");
    let answer = exchange(&server.address(), bad.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

fn a_request_in_pieces_and_frames_behind_it_are_read(io: &str) {
    let server = started(&["--legacy", io]);
    for request in [HIXIE_75, HIXIE_76] {
        let mut old = Old::open(&server, &format!("{request}\0early\x7F"));
        old.send(b"\xFF");
        assert_eq!(old.hear(), "early\x7F");
        let bytes = request.as_bytes();
        for cut in [1, 20, bytes.len() - 9, bytes.len() - 8, bytes.len() - 1] {
            let mut stream = dial(&server.address()).expect("it listens");
            stream.set_nodelay(true).expect("a socket");
            stream.write_all(&bytes[..cut]).expect("connected");
            // Each part shall be a receive of its own. The outcome is the same if it is not.
            thread::sleep(Duration::from_millis(5));
            stream.write_all(&bytes[cut..]).expect("connected");
            Old::opened(stream).echo("behind a request in pieces");
        }
    }
}

fn the_last_numbered_drafts_open_beside_version_13(io: &str) {
    let server = started(&["--legacy", io]);
    for version in ["7", "8", "13"] {
        let request = REQUEST.replace("Version: 13", &format!("Version: {version}"));
        let mut stream = dial(&server.address()).expect("it listens");
        stream.write_all(request.as_bytes()).expect("connected");
        let mut client = Client::opened(stream).expect("it opens");
        client.echo(BINARY, b"the frames are the same");
        client.close();
    }
    let mut stream = dial(&server.address()).expect("it listens");
    let request = REQUEST.replace("Version: 13", "Version: 6");
    stream.write_all(request.as_bytes()).expect("connected");
    let (head, _) = read_head(&mut stream).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    assert!(
        head.contains("\r\nSec-WebSocket-Version: 13, 8, 7\r\n"),
        "{head}"
    );
}

fn pings_and_their_timeout_are_not_for_those_who_have_none(io: &str) {
    let ping = ["--ping-interval=50ms", "--ping-timeout=50ms"];
    let server = started(&[&["--legacy", io], &ping[..]].concat());
    let mut olds = [HIXIE_75, HIXIE_76].map(|request| Old::open(&server, request));
    // Others are pinged, and dropped when they do not answer.
    let mut client = Client::connect(&server.address());
    assert_eq!(client.recv().first, PING);
    until("the one that does not answer is gone", || {
        server.counter("clients") == [2]
    });
    olds.iter_mut().for_each(|old| old.echo("still there"));
    // The idle timeout is for all.
    let server = started(&["--legacy", "--idle-timeout=100ms", io]);
    let mut old = Old::open(&server, HIXIE_76);
    old.expect_ff_00();
    let mut old = Old::open(&server, HIXIE_75);
    expect_end(&mut old.stream);
}

fn a_drain_tells_each_client_as_its_protocol_can(io: &str) {
    let mut server = started(&["--legacy", io]);
    let mut newer = Old::open(&server, HIXIE_76);
    let mut older = Old::open(&server, HIXIE_75);
    newer.echo("a");
    older.echo("b");
    server.signal("TERM");
    newer.expect_ff_00();
    newer.send(b"\xFF\0");
    expect_end(&mut newer.stream);
    expect_end(&mut older.stream);
    drop((newer, older));
    assert_eq!(server.wait(), Some(0));
}

fn messages_of_others_arrive_if_they_are_text(io: &str) {
    let server = Server::start_app("broadcast", io, &["--legacy"]);
    let mut olds = [HIXIE_75, HIXIE_76].map(|request| Old::open(&server, request));
    let mut client = Client::connect_to(&server.address(), "/demo");
    until("all are there", || {
        server.counter("clients").iter().sum::<u64>() == 3
    });
    let text = "κόσμε ".repeat(20_000);
    client.send(TEXT, b"text");
    client.send(BINARY, b"binary");
    client.send(TEXT, text.as_bytes());
    for old in &mut olds {
        assert_eq!(old.hear(), "text");
        assert!(old.hear() == text);
    }
    until("what no frame could carry is counted", || {
        let dropped = |name| server.counter(name).iter().sum::<u64>();
        dropped("late_dropped_closed") + dropped("drops") >= 2
    });
    olds[0].say("from an old one");
    assert_eq!(olds[1].hear(), "from an old one");
    loop {
        let frame = client.recv();
        if frame.payload == b"from an old one" {
            assert_eq!(frame.first, TEXT);
            break;
        }
    }
}

fn a_client_that_does_not_read_is_not_read_either(io: &str) {
    let server = started(&["--legacy", "--send-queue=64KiB", io]);
    let mut old = Old::open(&server, HIXIE_76);
    let text = "x".repeat(100_000);
    let mut writes = old.stream.try_clone().expect("a descriptor");
    let message = [b"\0", text.as_bytes(), b"\xFF"].concat();
    let sent = message.clone();
    let writer = thread::spawn(move || {
        for _ in 0..200 {
            writes.write_all(&sent).expect("it is read in the end");
        }
    });
    until("the server stops reading", || {
        server.counter("pauses") != [0]
    });
    let mut heard = vec![0; message.len()];
    for _ in 0..200 {
        old.stream.read_exact(&mut heard).expect("an echo");
        assert!(heard == message);
    }
    writer.join().expect("all is sent");
    assert_eq!(server.counter("drops"), [0]);
}

fn a_gateway_speaks_base64_with_them(io: &str) {
    let target = target(echo);
    let server = Server::start_gateway(&target.address, &[io, "--workers=1", "--legacy"]);
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let offers = |name: &str, header: &str, request: &str| {
        request.replacen("\r\nOrigin", &format!("\r\n{header}: {name}\r\nOrigin"), 1)
    };
    for (request, chosen) in [
        (HIXIE_76.to_owned(), None),
        (HIXIE_75.to_owned(), None),
        (
            offers("base64", "Sec-WebSocket-Protocol", HIXIE_76),
            Some("base64"),
        ),
        (
            offers("binary, base64", "WebSocket-Protocol", HIXIE_75),
            Some("base64"),
        ),
        (offers("binary", "Sec-WebSocket-Protocol", HIXIE_76), None),
    ] {
        let mut old = Old::open(&server, &request);
        let line = chosen.map(|name| format!("WebSocket-Protocol: {name}\r\n"));
        assert_eq!(
            old.head.contains("Protocol: "),
            chosen.is_some(),
            "{}",
            old.head
        );
        assert!(
            line.is_none_or(|line| old.head.contains(&line)),
            "{}",
            old.head
        );
        for piece in bytes.chunks(70_001) {
            old.say(&STANDARD.encode(piece));
        }
        let mut echoed = Vec::new();
        while echoed.len() < bytes.len() {
            echoed.extend(STANDARD.decode(old.hear()).expect("base64"));
        }
        assert!(echoed == bytes);
        if request.contains("Key1") {
            old.send(b"\xFF\0");
            old.expect_ff_00();
        }
    }
    let mut old = Old::open(&server, HIXIE_76);
    old.say("no base64!");
    old.expect_ff_00();
    expect_end(&mut old.stream);
    // A target that ends.
    let short = crate::gateway::target(|mut stream: TcpStream| {
        let mut bytes = [0; 3];
        stream.read_exact(&mut bytes).expect("sent");
        stream.write_all(b"bye").expect("it is read");
    });
    let server = Server::start_gateway(&short.address, &[io, "--workers=1", "--legacy"]);
    for request in [HIXIE_75, HIXIE_76] {
        let mut old = Old::open(&server, request);
        old.say(&STANDARD.encode("end"));
        assert_eq!(old.hear(), STANDARD.encode("bye"));
        if request == HIXIE_76 {
            old.expect_ff_00();
            old.send(b"\xFF\0");
        }
        expect_end(&mut old.stream);
    }
}

fn under_tls_the_location_says_so(io: &str) {
    let folder = scratch("legacy-tls");
    let server = tls::started(&folder, &["localhost"], &["--legacy", io]);
    for (request, location) in [
        (
            HIXIE_75,
            "\r\nWebSocket-Location: wss://example.com/demo\r\n",
        ),
        (
            HIXIE_76,
            "\r\nSec-WebSocket-Location: wss://example.com/demo\r\n",
        ),
    ] {
        let stream = tls::client(&server, &folder, "localhost", |_| {});
        let mut old = Old::open_on(stream, request);
        assert!(old.head.contains(location), "{}", old.head);
        texts().for_each(|text| old.echo(&text));
    }
}

fn flash_gets_a_policy_in_place_of_a_request(io: &str) {
    let server = started(&["--flash-policy=80,9000-9010", io]);
    let request = b"<policy-file-request/>\0";
    let policy = "<cross-domain-policy><allow-access-from domain=\"*\" to-ports=\"80,9000-9010\"/></cross-domain-policy>\0";
    assert_eq!(exchange(&server.address(), request), policy);
    let mut stream = dial(&server.address()).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    for byte in request {
        stream.write_all(&[*byte]).expect("connected");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the policy");
    assert_eq!(answer, policy);
    let other = exchange(&server.address(), b"<policy-file\r\n\r\n\r\n");
    assert!(other.starts_with("HTTP/1.1 400 "), "{other}");
    let mut client = Client::connect(&server.address());
    client.echo(TEXT, b"beside it");
    client.send(PING, b"");
    assert_eq!(client.recv().first, PONG);
    let output = run(
        "ringway",
        &["server", "--flash-policy=80;81", "--print-config"],
    );
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("80,9000-9010"), "{}", output.stderr);
}
