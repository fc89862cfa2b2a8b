//! How `ringway client` reaches its server, and what ends it by itself: redirects, proxies, TLS, files of options, times.

use std::io::Read as _;

use super::{answer, client, fake, fake_websocket, open};
use crate::asking::proxy;
use crate::certificates::alice;
use crate::common::{Output, Server, scratch};
use crate::tls;

/// What ends a client after one message.
const ONCE: [&str; 2] = ["--count=1", "--linger=forever"];

#[track_caller]
fn expect(output: &Output, code: i32, stdout: &str) {
    let Output {
        code: got,
        stdout: out,
        stderr,
    } = output;
    assert_eq!((*got, &**out), (code, stdout), "{stderr}");
}

#[track_caller]
fn expect_told(output: &Output, code: i32, sentence: &str) {
    assert_eq!(output.code, code, "{}", output.stderr);
    assert!(output.stderr.contains(sentence), "{}", output.stderr);
}

#[test]
fn a_proxy_is_gone_through_or_says_why_not() {
    let server = Server::start(&["--workers=1"]);
    let url = server.address();
    // user:p@ss
    let (place, heads) = proxy("Basic dXNlcjpwQHNz");
    let through = format!("--proxy=http://user:p%40ss@{place}");
    let (output, _) = client(&[&[&*url, &through], &ONCE[..]].concat(), b"x\n");
    expect(&output, 0, "x\n");
    let heads = heads.lock().expect("nobody panics");
    let begin = format!("CONNECT {} HTTP/1.1\r\n", url.trim_start_matches("ws://"));
    assert!(
        heads.iter().all(|head| head.starts_with(&begin)),
        "{heads:?}"
    );
    assert_eq!(heads.len(), 1);
    drop(heads);
    let (output, _) = client(&[&url, &format!("--proxy=http://{place}")], b"");
    expect_told(&output, 3, "407");
    assert!(!output.stderr.contains("p%40ss"), "{}", output.stderr);
}

#[test]
fn a_certificate_of_ones_own_is_shown_to_a_server_that_wants_one() {
    let folder = scratch("console-certificate");
    let (alice, key, ca) = alice(&folder);
    let (cert, key) = (
        folder.write("alice.pem", &alice.pem()),
        folder.write("alice-key.pem", &key.serialize_pem()),
    );
    let wants = ["--workers=1", &format!("--client-ca={ca}")];
    let server = tls::started(&folder, &["localhost"], &wants);
    let address = server.address();
    let (_, port) = address.rsplit_once(':').expect("a port");
    let url = format!("wss://localhost:{port}/");
    let trust = format!("--cacert={}", folder.path("localhost.pem"));
    let own = [format!("--cert={cert}"), format!("--key={key}")];
    let all = [&*url, &trust, &own[0], &own[1]];
    let (output, _) = client(&[&all, &ONCE[..]].concat(), b"x\n");
    expect(&output, 0, "x\n");
    let (output, _) = client(&[&[&*url, &trust], &ONCE[..]].concat(), b"x\n");
    expect_told(&output, 3, "ertificate");
    let (output, _) = client(&[&url, &trust, &own[0]], b"");
    expect_told(&output, 2, "--key");
}

#[test]
fn options_come_from_a_file_and_the_command_line_wins() {
    let server = Server::start(&["--workers=1"]);
    let folder = scratch("console-config");
    let (printed, _) = client(
        &[
            &*server.address(),
            "--count=1",
            "--linger=forever",
            "--header=X-A: b",
            "--print-config",
        ],
        b"",
    );
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let file = format!("--config={}", folder.write("client.toml", &printed.stdout));
    let (output, _) = client(&[&file, "-v"], b"x\ny\n");
    expect(&output, 0, "x\n");
    assert!(output.stderr.contains("> X-A: b"), "{}", output.stderr);
    let (output, _) = client(&[&file, "--count=2"], b"x\ny\n");
    expect(&output, 0, "x\ny\n");
    let wrong = format!(
        "--config={}",
        folder.write("wrong.toml", "no-such-option = 1\n")
    );
    let (output, _) = client(&[&wrong], b"");
    expect_told(&output, 2, "no-such-option");
}

#[test]
fn a_time_is_up_and_a_ping_is_not_answered() {
    let server = Server::start(&["--workers=1"]);
    let (output, _) = client(
        &[&server.address(), "--for=200ms", "--linger=forever"],
        b"x\n",
    );
    expect(&output, 0, "x\n");
    // Opens, and answers nothing more.
    let (url, pinged) = {
        let (told, pinged) = std::sync::mpsc::channel();
        let url = fake(move |mut stream, head| {
            open(&mut stream, &head);
            let mut first = [0];
            let _ = stream.read_exact(&mut first);
            let _ = told.send(first[0]);
            let _ = stream.read_to_end(&mut Vec::new());
        });
        (url, pinged)
    };
    let times = [
        "--ping-interval=50ms",
        "--ping-timeout=100ms",
        "--linger=forever",
    ];
    let (output, _) = client(&[&[&*url], &times[..]].concat(), b"");
    expect_told(&output, 12, "did not answer a Ping in time");
    assert_eq!(pinged.recv(), Ok(0x89));
    // Says goodbye to a client that has said it first, and nothing else.
    let (output, _) = client(
        &[
            &fake_websocket(b""),
            "--for=50ms",
            "--close-timeout=100ms",
            "--linger=forever",
        ],
        b"",
    );
    expect_told(&output, 12, "did not answer our Close in time");
}

#[test]
fn redirects_unix_sockets_and_other_places_lead_to_the_server() {
    let server = Server::start(&["--workers=1"]);
    let url = server.address();
    let once = ["--count=1", "--linger=forever", "--show-handshake"];
    let to = format!("HTTP/1.1 302 Found\r\nLocation: {url}/there\r\nContent-Length: 0\r\n\r\n");
    let from = answer(to.leak());
    let (output, _) = client(&[&[&*from], &once[..]].concat(), b"x\n");
    assert_eq!(
        (output.code, &*output.stdout),
        (0, "x\n"),
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.contains("< HTTP/1.1 302 Found")
            && output.stderr.contains("> GET /there HTTP/1.1"),
        "{}",
        output.stderr
    );
    let to = format!("HTTP/1.1 302 Found\r\nLocation: {url}/there\r\nContent-Length: 0\r\n\r\n");
    let (output, _) = client(&[&answer(to.leak()), "--redirects=0"], b"");
    assert_eq!(output.code, 8, "{}", output.stderr);
    let place = format!("--to-address={}", url.trim_start_matches("ws://"));
    let (output, _) = client(
        &[&["ws://elsewhere.invalid/", &place], &once[..]].concat(),
        b"x\n",
    );
    assert_eq!(
        (output.code, &*output.stdout),
        (0, "x\n"),
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.contains("> Host: elsewhere.invalid"),
        "{}",
        output.stderr
    );
    let folder = scratch("console-unix");
    let unix = format!("ws+unix:{}", folder.path("socket"));
    let _server = Server::start(&["--workers=1", "--wsuri", &unix]);
    let (output, _) = client(&[&[&*unix], &once[..]].concat(), b"x\n");
    assert_eq!(
        (output.code, &*output.stdout),
        (0, "x\n"),
        "{}",
        output.stderr
    );
}

#[test]
fn tls_and_compression_are_shown() {
    let folder = scratch("console-tls");
    let server = tls::started(&folder, &["localhost"], &["--workers=1", "--deflate"]);
    let port = server
        .address()
        .rsplit_once(':')
        .expect("a port")
        .1
        .to_owned();
    let url = format!("wss://localhost:{port}/");
    let ca = format!("--cacert={}", folder.path("localhost.pem"));
    let all = [
        &*url,
        &ca,
        "--deflate",
        "-v",
        "--count=1",
        "--linger=forever",
    ];
    let (output, _) = client(&all, &[b"x".repeat(5000), b"\n".to_vec()].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    for shown in [
        "TLSv1.3, TLS13_AES",
        "certificate of CN=",
        "> Sec-WebSocket-Extensions: permessage-deflate",
        "* open: subprotocol none, permessage-deflate",
    ] {
        assert!(output.stderr.contains(shown), "{shown}: {}", output.stderr);
    }
    let (output, _) = client(&[&*url, "--linger=forever"], b"");
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(
        output.stderr.contains("or --insecure to take any"),
        "{}",
        output.stderr
    );
    let (output, _) = client(
        &[&*url, "--insecure", "--count=1", "--linger=forever"],
        b"x\n",
    );
    assert_eq!(
        (output.code, &*output.stdout),
        (0, "x\n"),
        "{}",
        output.stderr
    );
}
