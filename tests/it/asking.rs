//! How a client asks: further headers, credentials, proxies, redirects, Unix sockets. With `wsperf` as the client, and
//! servers and proxies of a few lines.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::common::{Output, PATIENCE, Server, on_both_tiers, run, scratch};
use crate::tls::started;

on_both_tiers!(
    a_request_has_the_headers_that_were_given,
    messages_go_through_a_proxy,
    tls_begins_behind_a_proxy_and_behind_a_redirect,
    a_proxy_that_does_not_let_through_says_why,
    a_redirect_is_followed_as_often_as_allowed,
    a_unix_socket_is_measured_as_a_port_is,
);

/// A listener whose connections are handed to `serve` with the head of their request, each on a thread of its own. Returns
/// the heads as well.
fn listen(
    serve: impl Fn(TcpStream, &str) + Clone + Send + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let heads = Arc::new(Mutex::new(Vec::new()));
    let heard = heads.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (serve, heard) = (serve.clone(), heard.clone());
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                // The driver also asks each listener of this process whether it is a statistics page.
                if head.starts_with("CONNECT ") || head.contains("Sec-WebSocket-Key: ") {
                    heard.lock().expect("nobody panics").push(head.clone());
                    serve(stream, &head);
                }
            });
        }
    });
    (address, heads)
}

/// A server that answers every request with `answer`.
fn answering(answer: &str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let answer = answer.to_owned();
    listen(move |mut stream, _| {
        let _ = stream.write_all(answer.as_bytes());
        // Its own end comes first, or the answer might be lost with a reset.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read(&mut [0; 1024]);
    })
}

/// A proxy for one user.
pub(crate) fn proxy(authorization: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    listen(move |mut client, head| {
        let wanted = format!("\r\nProxy-Authorization: {authorization}\r\n");
        if !head.contains(&wanted) {
            let _ = client.write_all(
                b"HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 11\r\n\r\nwho are you",
            );
            return;
        }
        let to = head.split(' ').nth(1).expect("a target");
        let Ok(mut server) = TcpStream::connect(to) else {
            let _ = client.write_all(b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n");
            return;
        };
        // In two pieces, as slow proxies send it.
        let _ = client.write_all(b"HTTP/1.0 200 Connection est");
        let _ = client.write_all(b"ablished\r\nProxy-Agent: test\r\n\r\n");
        let (mut from_server, mut to_client) = (
            server.try_clone().expect("a descriptor"),
            client.try_clone().expect("a descriptor"),
        );
        let back = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from_server, &mut to_client);
            let _ = to_client.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut client, &mut server);
        let _ = server.shutdown(std::net::Shutdown::Write);
        let _ = back.join();
    })
}

/// A short run, and what was printed.
fn echo(uri: &str, io: &str, more: &[&str]) -> Output {
    let arguments = [
        "echo",
        uri,
        "--connections=3",
        "--duration=200ms",
        "--warmup=0",
        "--cpus=none",
        "--format=json",
        io,
    ];
    run("wsperf", &[&arguments, more].concat())
}

/// Asserts that messages came back, and returns the result.
#[track_caller]
fn expect_messages(output: &Output) -> serde_json::Value {
    assert_eq!(output.code, 0, "{}", output.stderr);
    let result: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert!(result["messages"].as_u64() > Some(0), "{result}");
    assert_eq!(result["errors"], 0, "{result}");
    result
}

#[track_caller]
fn expect_failure(output: &Output, sentence: &str) {
    assert_eq!(output.code, 3, "{}{}", output.stdout, output.stderr);
    assert!(output.stderr.contains(sentence), "{}", output.stderr);
}

fn a_request_has_the_headers_that_were_given(io: &str) {
    let (address, heads) = answering("HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n");
    let directory = scratch("asking-headers");
    let file = directory.write("headers", "X-File: of a file\n\nX-Other:2\n");
    let uri = format!("ws://{address}/path?q");
    let output = echo(
        &uri,
        io,
        &[
            "--header=User-Agent: a browser, or so",
            "--header=X-Two: 2",
            &format!("--header-file={file}"),
            "--basic-auth=Aladdin:open sesame",
            "--cookie=a=1; b=2",
            "--origin=https://example.com",
        ],
    );
    expect_failure(&output, "the server answered 403 Forbidden");
    let heads = heads.lock().expect("nobody panics");
    let head = heads.first().expect("a request");
    assert!(head.starts_with("GET /path?q HTTP/1.1\r\n"), "{head}");
    for line in [
        "User-Agent: a browser, or so",
        "X-Two: 2",
        "X-File: of a file",
        "X-Other: 2",
        "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "Cookie: a=1; b=2",
        "Origin: https://example.com",
    ] {
        assert_eq!(
            head.lines().filter(|seen| *seen == line).count(),
            1,
            "{line}: {head}"
        );
    }
}

#[test]
fn what_cannot_be_asked_is_refused_before_anything_is_opened() {
    let directory = scratch("asking-bad");
    let bad = directory.write("bad", "X-A: 1\nno header\n");
    let cases = [
        (
            vec!["--header=Host: x".to_owned()],
            "written by the protocol",
        ),
        (
            vec![format!("--header-file={bad}")],
            "'no header' has no colon",
        ),
        (
            vec!["--header-file=/nowhere/at/all".to_owned()],
            "No such file",
        ),
        (
            vec!["--header=cookie: a".to_owned(), "--cookie=b".to_owned()],
            "leave one of them off",
        ),
        (
            vec!["--proxy=socks5://127.0.0.1:1".to_owned()],
            "no other kind is known",
        ),
        (vec!["--redirects=21".to_owned()], "--redirects"),
    ];
    for (arguments, sentence) in cases {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = run(
            "wsperf",
            &[&["echo", "ws://127.0.0.1:1"], &arguments[..]].concat(),
        );
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.stderr);
        assert!(
            output.stderr.contains(sentence),
            "{arguments:?}: {}",
            output.stderr
        );
    }
    let output = run(
        "wsperf",
        &["echo", "ws+unix:/a", "--proxy=http://127.0.0.1:1"],
    );
    assert!(
        output.stderr.contains("no proxy leads to a Unix socket"),
        "{}",
        output.stderr
    );
}

fn messages_go_through_a_proxy(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0"]);
    // user:p@ss, encoded as in a URI.
    let (proxy, heads) = proxy("Basic dXNlcjpwQHNz");
    let uri = server.address();
    let output = echo(
        &uri,
        io,
        &[
            &format!("--proxy=http://user:p%40ss@{proxy}"),
            "--size=20:0.5,100KiB:0.5",
        ],
    );
    let result = expect_messages(&output);
    let authority = uri.trim_start_matches("ws://");
    let heads = heads.lock().expect("nobody panics");
    assert_eq!(heads.len(), 3, "a tunnel for each connection");
    for head in heads.iter() {
        let begin = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        assert!(head.starts_with(&begin), "{head}");
    }
    // The server is found behind the proxy, and no secret is in the result.
    assert!(
        result["server"]["pids"].is_array() || result["server"].is_object(),
        "{result}"
    );
    assert_eq!(result["options"]["proxy"], proxy.to_string());
    assert!(!output.stdout.contains("p%40ss") && !output.stdout.contains("dXNlcjpwQHNz"));
}

/// The server is asked under TLS, the proxy and who redirects are not.
fn tls_begins_behind_a_proxy_and_behind_a_redirect(io: &str) {
    let folder = scratch("asking-tls");
    let server = started(&folder, &["localhost"], &["--tls=only", io]);
    let cacert = format!("--cacert={}", folder.path("localhost.pem"));
    let address = server.address();
    let (_, port) = address.rsplit_once(':').expect("a port");
    let uri = format!("wss://localhost:{port}/");
    let (proxy, heads) = proxy("Basic dTpw");
    let through = format!("--proxy=http://u:p@{proxy}");
    expect_messages(&echo(&uri, io, &[&cacert, &through]));
    let begin = format!("CONNECT localhost:{port} HTTP/1.1\r\n");
    let heads = heads.lock().expect("nobody panics");
    assert!(
        heads.iter().all(|head| head.starts_with(&begin)),
        "{heads:?}"
    );
    let (first, _) = answering(&format!(
        "HTTP/1.1 302 X\r\nLocation: {uri}\r\nContent-Length: 0\r\n\r\n"
    ));
    let first = format!("ws://{first}/");
    expect_messages(&echo(&first, io, &[&cacert, "--redirects=1"]));
    expect_failure(
        &echo(&first, io, &["--redirects=1"]),
        "invalid peer certificate",
    );
}

fn a_proxy_that_does_not_let_through_says_why(io: &str) {
    let through = |address: &SocketAddr, user: &str| {
        let proxy = format!("--proxy=http://{user}{address}");
        echo("ws://127.0.0.1:1/", io, &[&proxy, "--timeout=1s"])
    };
    let (address, _) = proxy("Basic dXNlcjpwQHNz");
    let refused = "the proxy answered 407 Proxy Authentication Required: who are you";
    expect_failure(&through(&address, ""), refused);
    expect_failure(&through(&address, "user:wrong@"), refused);
    // Nobody listens on port 1.
    expect_failure(
        &through(&address, "user:p%40ss@"),
        "the proxy answered 502 Bad Gateway",
    );
    let (address, _) = answering("SSH-2.0-OpenSSH_9.2\r\n");
    expect_failure(
        &through(&address, ""),
        "the proxy's answer is wrong: this is not an HTTP response",
    );
    let (address, _) = answering("HTTP/1.1 200 X\r\n\r\nand more");
    expect_failure(
        &through(&address, ""),
        "the proxy's answer is wrong: it goes on before the server was asked",
    );
    let endless = format!("HTTP/1.1 200 X\r\nX: {}", "x".repeat(100_000));
    let (address, _) = answering(&endless);
    expect_failure(
        &through(&address, ""),
        "the proxy's answer is wrong: the head of the response is too large",
    );
    let (silent, _) = listen(|mut stream, _| {
        let _ = stream.read(&mut [0; 1024]);
    });
    expect_failure(&through(&silent, ""), "no answer in time");
}

fn a_redirect_is_followed_as_often_as_allowed(io: &str) {
    let server = Server::start(&["--workers=1", "--port=0"]);
    let to = server.address().replacen("ws://", "http://", 1);
    let redirecting = |location: &str| {
        answering(&format!(
            "HTTP/1.1 302 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
    };
    let (second, second_heads) = redirecting(&format!("{to}/final?x"));
    let (first, first_heads) = redirecting(&format!("//{second}/second"));
    let uri = format!("ws://{first}/first");
    let secrets = ["--basic-auth=u:p", "--header=X-Kept: yes"];
    expect_failure(
        &echo(&uri, io, &[]),
        "the server answered 302 Found, Location: //",
    );
    let once = echo(&uri, io, &["--redirects=1"]);
    expect_failure(
        &once,
        "these are more than 1 redirects: the server answered 302 Found",
    );
    let result = expect_messages(&echo(
        &uri,
        io,
        &[&["--redirects=2"], &secrets[..]].concat(),
    ));
    assert_eq!(
        result["options"]["uri"],
        format!("{}/final?x", server.address())
    );
    let (first, second) = (
        first_heads.lock().expect("heads"),
        second_heads.lock().expect("heads"),
    );
    let (first, second) = (
        first.last().expect("a head"),
        second.last().expect("a head"),
    );
    assert!(
        first.contains("\r\nAuthorization: Basic dTpw\r\n"),
        "{first}"
    );
    assert!(second.starts_with("GET /second HTTP/1.1\r\n"), "{second}");
    assert!(
        !second.contains("Authorization") && second.contains("X-Kept: yes"),
        "{second}"
    );

    let (around, heads) = redirecting("/again");
    let output = echo(&format!("ws://{around}/"), io, &["--redirects=5"]);
    expect_failure(&output, "these are more than 5 redirects");
    assert_eq!(heads.lock().expect("heads").len(), 6);
    let (elsewhere, _) = redirecting("ftp://example.com/");
    let output = echo(&format!("ws://{elsewhere}/"), io, &["--redirects=5"]);
    expect_failure(
        &output,
        "the redirect leads to something that is no WebSocket",
    );
    let (nowhere, _) = answering("HTTP/1.1 301 X\r\nContent-Length: 0\r\n\r\n");
    let output = echo(&format!("ws://{nowhere}/"), io, &["--redirects=5"]);
    expect_failure(&output, "the redirect has no Location");
    // A server that opens at once needs none.
    expect_messages(&echo(&server.address(), io, &["--redirects=5"]));
}

fn a_unix_socket_is_measured_as_a_port_is(io: &str) {
    let directory = scratch(&format!("asking{}", io.replace('=', "-")));
    let uri = format!("ws+unix:{}", directory.path("s"));
    let _server = Server::start(&[&format!("--wsuri={uri}"), "--workers=2", "--port=0"]);
    let result = expect_messages(&echo(
        &format!("{uri}:/path?q"),
        io,
        &["--size=20:0.5,100KiB:0.5"],
    ));
    assert!(result["server"].is_object(), "it is found: {result}");
    // More connections than the accept queue has room for at once.
    let arguments = [
        "handshake",
        &uri,
        "--count=2000",
        "--low=400",
        "--high=500",
        "--cpus=none",
        "--format=json",
        io,
    ];
    let output = run("wsperf", &arguments);
    let result: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(
        (output.code, &result["errors"]),
        (0, &serde_json::json!(0)),
        "{result}"
    );
    let nobody = echo("ws+unix:/nowhere/at/all", io, &[]);
    expect_failure(
        &nobody,
        "connect to /nowhere/at/all: No such file or directory (os error 2): is a server listening",
    );
}

#[test]
fn the_testee_goes_to_a_unix_socket_and_names_every_address_that_failed() {
    let directory = scratch("asking-testee");
    let uri = format!("ws+unix:{}", directory.path("s"));
    let output = run("ringway", &["testee", &uri]);
    assert_eq!(output.code, 3);
    let path = directory.path("s");
    assert!(
        output.stderr.contains(&format!("connect to {path}: ")),
        "{}",
        output.stderr
    );
    let _server = Server::start(&[
        &format!("--wsuri={uri}"),
        "--workers=1",
        "--port=0",
        "--idle-timeout=100ms",
    ]);
    let output = run("ringway", &["testee", &uri]);
    assert!(
        output.stderr.contains("the server names no cases"),
        "{}",
        output.stderr
    );
}
