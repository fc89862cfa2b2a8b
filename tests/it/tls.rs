//! TLS on the WebSocket port, against a client of rustls, OpenSSL's s_client and Python's ssl.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned};

use crate::common::client::{BINARY, CLOSE, Client, REQUEST, TEXT, dial, exchange, frame, noise};
use crate::common::{Scratch, Server, on_both_tiers, run, scratch, until};

on_both_tiers!(
    plain_and_tls_connections_share_a_port,
    messages_of_every_size_come_back,
    many_messages_at_once_come_back,
    a_slow_reader_gets_everything_in_order,
    a_plain_request_is_refused_where_all_must_speak_tls,
    a_certificate_is_chosen_by_name,
    a_client_with_another_protocol_only_is_refused,
    the_lowest_version_holds,
    the_cipher_suites_that_were_chosen_hold,
    an_encrypted_key_needs_its_password,
    a_proxy_header_comes_before_tls,
    the_end_without_close_notify_is_unclean,
    a_close_has_a_close_notify,
    a_handshake_that_never_ends_is_ended,
    garbage_after_the_handshake_ends_the_connection_alone,
    python_speaks_tls,
    the_driver_speaks_tls,
    the_driver_trusts_nobody_it_was_not_told_to,
    openssl_speaks_tls,
);

/// The files of a certificate for `name` and of its key.
pub(crate) fn certificate(folder: &Scratch, name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    (
        folder.write(&format!("{name}.pem"), &made.cert.pem()),
        folder.write(&format!("{name}.key"), &made.signing_key.serialize_pem()),
    )
}

/// A server with certificates for these names.
pub(crate) fn started(folder: &Scratch, names: &[&str], more: &[&str]) -> Server {
    let pairs: Vec<_> = names.iter().map(|name| certificate(folder, name)).collect();
    let (certs, keys): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let cert = format!("--cert={}", certs.join(","));
    let key = format!("--key={}", keys.join(","));
    let mut all = vec!["--port=auto", cert.as_str(), key.as_str()];
    if !more.iter().any(|option| option.starts_with("--workers")) {
        all.push("--workers=1");
    }
    all.extend(more);
    Server::start(&all)
}

pub(crate) type Tls = StreamOwned<ClientConnection, std::net::TcpStream>;

/// A client's configuration that trusts only the certificate in a file.
pub(crate) fn trusting(
    file: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let pem = std::fs::read(file).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem).expect("PEM"))
        .expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
}

/// A connection to the server at `address`, before its handshake.
pub(crate) fn begin(config: Arc<ClientConfig>, address: &str, name: &str) -> Tls {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let session = ClientConnection::new(config, name).expect("a session");
    StreamOwned::new(session, dial(address).expect("it listens"))
}

/// A client that trusts only the certificate of `name`, before its handshake.
pub(crate) fn client(
    server: &Server,
    folder: &Scratch,
    name: &str,
    set: impl FnOnce(&mut ClientConfig),
) -> Tls {
    let file = folder.path(&format!("{name}.pem"));
    let mut config = trusting(&file, rustls::DEFAULT_VERSIONS).with_no_client_auth();
    set(&mut config);
    begin(Arc::new(config), &server.address(), name)
}

/// An open WebSocket under TLS.
pub(crate) fn open(server: &Server, folder: &Scratch, name: &str) -> Tls {
    let mut tls = client(server, folder, name, |_| {});
    upgrade(&mut tls);
    tls
}

pub(crate) fn upgrade(tls: &mut Tls) {
    tls.write_all(REQUEST.as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tls.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
}

/// Asserts that the next frame is this one.
#[track_caller]
pub(crate) fn expect(tls: &mut Tls, first: u8, payload: &[u8]) {
    let head = unmasked_header(first, payload.len());
    let mut bytes = vec![0; head.len() + payload.len()];
    tls.read_exact(&mut bytes).expect("a frame");
    assert_eq!(&bytes[..head.len()], head);
    assert!(bytes[head.len()..] == *payload, "{} bytes", payload.len());
}

fn unmasked_header(first: u8, len: usize) -> Vec<u8> {
    let mut head = crate::common::client::header(first, len as u64);
    head[1] &= 0x7f;
    // The masking key is not there.
    let without_key = match len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    head.truncate(without_key);
    head
}

fn plain_and_tls_connections_share_a_port(tier: &str) {
    let folder = scratch("tls-share");
    let server = started(&folder, &["localhost"], &[tier]);
    let mut tls = open(&server, &folder, "localhost");
    let mut plain = Client::connect(&server.address());
    for _ in 0..3 {
        tls.write_all(&frame(TEXT, b"under TLS")).expect("sent");
        plain.echo(TEXT, b"plain");
        expect(&mut tls, TEXT, b"under TLS");
    }
    plain.close();
}

fn messages_of_every_size_come_back(tier: &str) {
    let folder = scratch("tls-sizes");
    let server = started(&folder, &["localhost"], &[tier]);
    let mut tls = open(&server, &folder, "localhost");
    for len in [
        0, 1, 125, 126, 4000, 4096, 9000, 16_384, 16_385, 65_536, 300_000, 3_000_000,
    ] {
        let payload = noise(len as u64, len);
        tls.write_all(&frame(BINARY, &payload)).expect("sent");
        expect(&mut tls, BINARY, &payload);
    }
}

fn many_messages_at_once_come_back(tier: &str) {
    let folder = scratch("tls-many");
    let server = started(&folder, &["localhost"], &[tier]);
    let mut tls = open(&server, &folder, "localhost");
    let mut all = Vec::new();
    for n in 0..2000_u32 {
        all.extend(frame(BINARY, &n.to_be_bytes()));
    }
    tls.write_all(&all).expect("sent");
    for n in 0..2000_u32 {
        expect(&mut tls, BINARY, &n.to_be_bytes());
    }
}

fn a_slow_reader_gets_everything_in_order(tier: &str) {
    let folder = scratch("tls-slow-reader");
    let more = [tier, "--send-queue=256KiB", "--sndbuf=8KiB"];
    let server = started(&folder, &["localhost"], &more);
    let mut tls = open(&server, &folder, "localhost");
    let messages: Vec<_> = (0..60_u16)
        .map(|n| noise(n.into(), 500 * usize::from(n)))
        .collect();
    for message in &messages {
        tls.write_all(&frame(BINARY, message)).expect("sent");
    }
    // Nothing is read until the server has had to wait.
    server.counter_reaching("partial_sends", 1);
    for message in &messages {
        expect(&mut tls, BINARY, message);
    }
    assert_eq!(server.counter("drops"), [0]);
}

fn a_plain_request_is_refused_where_all_must_speak_tls(tier: &str) {
    let folder = scratch("tls-only");
    let server = started(&folder, &["localhost"], &[tier, "--tls=only"]);
    let answer = exchange(&server.address(), REQUEST.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("wss://"), "{answer}");
    let mut tls = open(&server, &folder, "localhost");
    tls.write_all(&frame(TEXT, b"x")).expect("sent");
    expect(&mut tls, TEXT, b"x");
}

fn a_certificate_is_chosen_by_name(tier: &str) {
    let folder = scratch("tls-names");
    let server = started(
        &folder,
        &["localhost", "one.example", "two.example"],
        &[tier],
    );
    // Each client trusts only the certificate that it asks for.
    for name in ["two.example", "localhost", "one.example"] {
        open(&server, &folder, name);
    }
}

fn a_client_with_another_protocol_only_is_refused(tier: &str) {
    let folder = scratch("tls-alpn");
    let server = started(&folder, &["localhost"], &[tier]);
    let mut tls = client(&server, &folder, "localhost", |config| {
        config.alpn_protocols = vec![b"h2".to_vec()];
    });
    let error = tls.write_all(REQUEST.as_bytes()).expect_err("refused");
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
    let mut tls = client(&server, &folder, "localhost", |config| {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    });
    tls.write_all(REQUEST.as_bytes()).expect("sent");
    assert_eq!(tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    server.counter_reaching("handshakes_failed", 1);
}

fn the_lowest_version_holds(tier: &str) {
    let folder = scratch("tls-versions");
    let server = started(&folder, &["localhost"], &[tier, "--tls-min=1.3"]);
    open(&server, &folder, "localhost");
    let old = s_client(&server, &["-tls1_2"], b"");
    assert!(old.contains("alert protocol version"), "{old}");
}

fn the_cipher_suites_that_were_chosen_hold(tier: &str) {
    let folder = scratch("tls-ciphers");
    let chosen = "--tls-ciphers=ECDHE-ECDSA-AES128-GCM-SHA256";
    let server = started(&folder, &["localhost"], &[tier, chosen]);
    let other = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"];
    let other = s_client(&server, &other, b"");
    assert!(other.contains("alert handshake failure"), "{other}");
    let close = frame(CLOSE, b"\x03\xe8");
    let input = [REQUEST.as_bytes(), &close].concat();
    let old = s_client(&server, &["-tls1_2"], &input);
    assert!(old.contains("ECDHE-ECDSA-AES128-GCM-SHA256"), "{old}");
    // TLS 1.3 stays as it was.
    let new = s_client(&server, &["-tls1_3"], &input);
    assert!(new.contains("TLS_AES_256_GCM_SHA384"), "{new}");
    let only = [
        "--tls-ciphers=TLS_CHACHA20_POLY1305_SHA256",
        "--tls-min=1.3",
        tier,
    ];
    let server = started(&folder, &["localhost"], &only);
    let new = s_client(&server, &[], &input);
    assert!(new.contains("TLS_CHACHA20_POLY1305_SHA256"), "{new}");
}

/// Puts a password on the key in a file, with openssl.
pub(crate) fn encrypted(folder: &Scratch, key: &str, password: &str) -> String {
    let path = folder.path("encrypted.key");
    let password = format!("pass:{password}");
    let made = Command::new("openssl")
        .args(["pkey", "-aes256", "-in", key, "-out", &path])
        .args(["-passout", &password])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    path
}

fn an_encrypted_key_needs_its_password(tier: &str) {
    let folder = scratch("tls-password");
    let (cert, key) = certificate(&folder, "localhost");
    let key = encrypted(&folder, &key, "open: sesame");
    let file = folder.write("password", "open: sesame\n");
    let files = [format!("--cert={cert}"), format!("--key={key}")];
    let arguments = |more: &str| {
        let words = [
            "--port=auto",
            "--workers=1",
            tier,
            &files[0],
            &files[1],
            more,
        ];
        words.map(str::to_owned)
    };
    for password in [
        "--key-password=pass:open: sesame".to_owned(),
        format!("--key-password=file:{file}"),
    ] {
        let server = Server::start(&arguments(&password).each_ref().map(String::as_str));
        open(&server, &folder, "localhost");
    }
    for (password, sentence) in [
        (
            "--key-password=pass:other",
            "is not the password of this key",
        ),
        ("--key-password=file:/no/such/file", "No such file"),
        ("--key-password=env:RINGWAY_NOBODY_SETS_THIS", "not found"),
        ("--key-password=open", "as file:PATH, env:NAME or pass:TEXT"),
    ] {
        let words = arguments(password);
        let words: Vec<_> = ["server"]
            .into_iter()
            .chain(words.each_ref().map(String::as_str))
            .collect();
        let output = run("ringway", &words);
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(output.stderr.contains(sentence), "{}", output.stderr);
    }
}

/// However header and handshake are cut into receives, and for plain clients too.
fn a_proxy_header_comes_before_tls(tier: &str) {
    let folder = scratch("tls-proxy");
    let server = started(
        &folder,
        &["localhost"],
        &["--proxy-protocol=127.0.0.0/8", tier],
    );
    let header = b"PROXY TCP4 192.0.2.9 127.0.0.1 50000 9000\r\n";
    for cut in [1, header.len() - 1, header.len(), header.len() + 1, 100] {
        let mut tls = client(&server, &folder, "localhost", |_| {});
        tls.sock.set_nodelay(true).expect("a socket");
        let mut first = header.to_vec();
        tls.conn.write_tls(&mut first).expect("a hello");
        tls.sock.write_all(&first[..cut]).expect("connected");
        std::thread::sleep(Duration::from_millis(5));
        tls.sock.write_all(&first[cut..]).expect("connected");
        upgrade(&mut tls);
        tls.write_all(&frame(TEXT, b"behind both")).expect("sent");
        expect(&mut tls, TEXT, b"behind both");
    }
    let mut plain = dial(&server.address()).expect("it listens");
    plain
        .write_all(&[header, REQUEST.as_bytes()].concat())
        .expect("connected");
    Client::opened(plain)
        .expect("it opens")
        .echo(TEXT, b"plain");
    let mut bare = client(&server, &folder, "localhost", |_| {});
    assert!(bare.write_all(REQUEST.as_bytes()).is_err(), "it is reset");
    until("that is counted", || {
        server.counter("proxy_headers_bad") == [1]
    });
}

fn the_end_without_close_notify_is_unclean(tier: &str) {
    let folder = scratch("tls-truncated");
    let server = started(&folder, &["localhost"], &[tier]);
    let tls = open(&server, &folder, "localhost");
    tls.sock
        .shutdown(std::net::Shutdown::Write)
        .expect("connected");
    server.counter_reaching("closed_unclean", 1);
}

fn a_close_has_a_close_notify(tier: &str) {
    let folder = scratch("tls-close");
    let server = started(&folder, &["localhost"], &[tier]);
    let mut tls = open(&server, &folder, "localhost");
    tls.write_all(&frame(CLOSE, &1000_u16.to_be_bytes()))
        .expect("sent");
    let mut rest = Vec::new();
    // Fails with UnexpectedEof where a FIN comes without close_notify.
    tls.read_to_end(&mut rest).expect("an end");
    assert_eq!(rest, [CLOSE, 2, 3, 232]);
    assert_eq!(server.counter("closed_unclean"), [0]);
}

fn a_handshake_that_never_ends_is_ended(tier: &str) {
    let folder = scratch("tls-slow");
    let server = started(
        &folder,
        &["localhost"],
        &[tier, "--handshake-timeout=200ms"],
    );
    let mut silent = dial(&server.address()).expect("it listens");
    let mut slow = dial(&server.address()).expect("it listens");
    slow.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("sent");
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).expect("an end");
    assert!(rest.is_empty(), "nothing can be said in plaintext");
    silent.read_to_end(&mut rest).expect("an end");
    assert!(rest.starts_with(b"HTTP/1.1 408 "));
    server.counter_reaching("handshakes_failed", 2);
}

fn garbage_after_the_handshake_ends_the_connection_alone(tier: &str) {
    let folder = scratch("tls-garbage");
    let server = started(&folder, &["localhost"], &[tier]);
    let mut healthy = open(&server, &folder, "localhost");
    let mut tls = open(&server, &folder, "localhost");
    tls.write_all(&frame(TEXT, b"whole")).expect("sent");
    expect(&mut tls, TEXT, b"whole");
    let mut garbage = vec![23, 3, 3, 0, 40];
    garbage.extend([0x55; 40]);
    tls.sock.write_all(&garbage).expect("sent");
    let error = tls.read(&mut [0]).expect_err("an alert");
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    server.counter_reaching("closed_unclean", 1);
    healthy.write_all(&frame(TEXT, b"on")).expect("sent");
    expect(&mut healthy, TEXT, b"on");
}

fn host_and_port(server: &Server) -> String {
    server.address().replace("ws://", "")
}

/// What `openssl s_client` prints, with `input` for the server.
fn s_client(server: &Server, more: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            host_and_port(server).as_str(),
            "-ign_eof",
        ])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut stdin = child.stdin.take().expect("piped");
    // One that is refused does not read it.
    let _ = stdin.write_all(input);
    let output = child.wait_with_output().expect("it ends");
    drop(stdin);
    [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat()
}

fn openssl_speaks_tls(tier: &str) {
    let folder = scratch("tls-openssl");
    let server = started(&folder, &["localhost"], &[tier]);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut input = REQUEST.as_bytes().to_vec();
        input.extend(frame(TEXT, b"from openssl"));
        input.extend(frame(CLOSE, &[]));
        let output = s_client(&server, &[version, "-alpn", "http/1.1"], &input);
        assert!(output.contains("101 Switching Protocols"), "{output}");
        assert!(output.contains("from openssl"), "{output}");
        assert!(output.contains("ALPN protocol: http/1.1"), "{output}");
    }
}

/// Opens a WebSocket under TLS, and sends one frame byte by byte, each in a record of its own.
const PYTHON: &str = r#"
import socket, ssl, sys
host, port = sys.argv[1].rsplit(":", 1)
context = ssl.create_default_context(cafile=sys.argv[2])
context.maximum_version = getattr(ssl.TLSVersion, sys.argv[3])
with socket.create_connection((host, int(port)), timeout=60) as plain:
    with context.wrap_socket(plain, server_hostname="localhost") as tls:
        tls.sendall(sys.argv[4].encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += tls.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        for byte in b"\x81\x85\0\0\0\0hello":
            tls.sendall(bytes([byte]))
        got = b""
        while len(got) < 7:
            got += tls.recv(7)
        assert got == b"\x81\x05hello", got
        tls.unwrap()
print("done")
"#;

fn python_speaks_tls(tier: &str) {
    let folder = scratch("tls-python");
    let server = started(&folder, &["localhost"], &[tier]);
    for version in ["TLSv1_2", "TLSv1_3"] {
        let output = Command::new("python3")
            .args([
                "-c",
                PYTHON,
                &host_and_port(&server),
                &folder.path("localhost.pem"),
                version,
                REQUEST,
            ])
            .output()
            .expect("python3 is installed");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.stdout, b"done\n", "{stderr}");
    }
}

/// What `wsperf` says about a server of `localhost`, with its result as JSON.
fn drive(server: &Server, folder: &Scratch, arguments: &[&str]) -> (crate::common::Output, String) {
    let port = host_and_port(server);
    let (_, port) = port.rsplit_once(':').expect("a port");
    let uri = format!("wss://localhost:{port}/");
    let cacert = format!("--cacert={}", folder.path("localhost.pem"));
    let mut all = vec![arguments[0], uri.as_str(), "--format=json"];
    if !arguments.contains(&"--insecure") {
        all.push(&cacert);
    }
    all.extend(&arguments[1..]);
    (run("wsperf", &all), uri)
}

fn the_driver_speaks_tls(tier: &str) {
    let folder = scratch("tls-driver");
    let server = started(&folder, &["localhost"], &[tier, "--deflate"]);
    let short = [
        "--connections=3",
        "--duration=300ms",
        "--warmup=0",
        "--threads=1",
        tier,
    ];
    for more in [
        &["--size=20"][..],
        &["--size=20", "--in-flight=16"],
        &["--size=1KiB:1,16KiB:1,300KiB:1", "--in-flight=4"],
        &["--size=4KiB", "--payload=json", "--deflate", "--insecure"],
        &["--rate=500"],
    ] {
        let arguments = [&["echo"][..], &short, more].concat();
        let (output, _) = drive(&server, &folder, &arguments);
        assert_eq!(output.code, 0, "{more:?}: {}", output.stderr);
        let result: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        assert_eq!(result["errors"], 0, "{more:?}: {}", output.stdout);
        assert!(result["messages"].as_u64() > Some(0), "{}", output.stdout);
    }
    for more in [&[][..], &["--tls-resume"]] {
        let arguments = [
            &[
                "handshake",
                "--count=60",
                "--low=1",
                "--high=1",
                "--threads=1",
            ][..],
            more,
            &[tier],
        ]
        .concat();
        let (output, _) = drive(&server, &folder, &arguments);
        assert_eq!(output.code, 0, "{more:?}: {}", output.stderr);
        let result: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let count = |name: &str| result["driver"][0][name].as_u64().expect("a count");
        // The window begins with the first turn and ends with the last close.
        assert!(count("tls_handshakes") >= 50, "{}", output.stdout);
        let resumed_min = if more.is_empty() { 0 } else { 49 };
        assert!(count("tls_resumed") >= resumed_min, "{}", output.stdout);
        assert!(
            !more.is_empty() || count("tls_resumed") == 0,
            "{}",
            output.stdout
        );
    }
    assert_eq!(server.counter("closed_unclean"), [0]);
    // All but the first, one after the other.
    until("most have resumed", || {
        server.counter("tls_resumed")[0] >= 50
    });
    assert_eq!(server.counter("tls_failed"), [0]);
}

fn the_driver_trusts_nobody_it_was_not_told_to(tier: &str) {
    let folder = scratch("tls-trust");
    let server = started(&folder, &["elsewhere.example"], &[tier]);
    certificate(&folder, "localhost");
    let (output, uri) = drive(&server, &folder, &["echo", "--duration=300ms", tier]);
    assert_eq!(output.code, 3, "{}", output.stderr);
    let said = format!("no connection to {uri} could be opened: TLS: invalid peer certificate");
    assert!(output.stderr.contains(&said), "{}", output.stderr);
    until("that is counted", || server.counter("tls_failed")[0] > 0);
    assert_eq!(server.counter("tls_handshakes"), [0]);
    let plain = run("wsperf", &["echo", &server.address(), "--insecure"]);
    assert_eq!(plain.code, 2, "{}", plain.stderr);
    assert!(
        plain.stderr.contains("give a wss:// URI"),
        "{}",
        plain.stderr
    );
}
