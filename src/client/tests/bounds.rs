//! What is refused before it costs anything, and how much a peer can make an endpoint take.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::opening::{answering, listener, read_head};
use super::raw;
use crate::{
    AcceptError, BadUrl, ConnectError, Connector, Deflate, Incoming, Options, Role, accept,
};
use ringway_proto::handshake::{Fault, Misuse};
use ringway_proto::http;

/// What the client makes of a server's answer.
async fn error_of(answer: &str, change: impl FnOnce(&mut Options)) -> ConnectError {
    let (address, server) = answering(answer).await;
    let connector = Connector::new(format!("ws://{address}/")).configure(change);
    let error = connector.connect().await.expect_err("no 101");
    server.await.expect("no panic");
    error
}

#[tokio::test]
async fn a_server_may_redirect_so_often_and_no_more() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        for n in 0..3 {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let request = read_head(&mut stream).await;
            assert!(request.starts_with(&format!("GET /{n} ")), "{request}");
            let answer = format!("HTTP/1.1 307 X\r\nLocation: /{}\r\n\r\n", n + 1);
            stream.write_all(answer.as_bytes()).await.expect("open");
        }
    });
    let connector = Connector::new(format!("ws://{address}/0")).redirects(2);
    let error = connector.connect().await.expect_err("redirects");
    assert!(matches!(error, ConnectError::TooManyRedirects), "{error}");
    assert_eq!(error.to_string(), "the server redirects too often");
    assert!(!error.is_transient());
    server.await.expect("no panic");
}

#[tokio::test]
async fn a_servers_head_has_its_limits() {
    let answer = "HTTP/1.1 404 X\r\nA: 1\r\nB: 2\r\n\r\n";
    for (bytes, headers, fault) in [
        (answer.len(), 2, None),
        (answer.len() - 1, 2, Some(http::Fault::HeadTooLarge)),
        (answer.len(), 1, Some(http::Fault::TooManyHeaders)),
    ] {
        let error = error_of(answer, |options| {
            (options.head_bytes_max, options.headers_max) = (bytes, headers);
        });
        match error.await {
            ConnectError::Refused(_) => assert_eq!(fault, None),
            ConnectError::Fault(Fault::Head(seen)) => assert_eq!(Some(seen), fault),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_clients_head_has_its_limits_and_the_client_is_told() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    for (bytes, headers, is_good) in [
        (request.len(), 5, true),
        (request.len() - 1, 5, false),
        (request.len(), 4, false),
    ] {
        let mut options = Options::default();
        (options.head_bytes_max, options.headers_max) = (bytes, headers);
        let (near, mut far) = tokio::io::duplex(1000);
        far.write_all(request.as_bytes()).await.expect("open");
        far.shutdown().await.expect("open");
        match Incoming::read(near, options).await {
            Ok(_) => assert!(is_good),
            Err(AcceptError::Refused(refusal)) => {
                assert!(!is_good);
                assert_eq!(refusal.status().0, 431);
                let mut answer = String::new();
                far.read_to_string(&mut answer).await.expect("text");
                assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Why the request cannot be sent.
async fn misuse(connector: Connector) -> ConnectError {
    let (near, _far) = tokio::io::duplex(1000);
    connector.handshake(near).await.expect_err("not sent")
}

#[tokio::test]
async fn a_request_has_one_user_who_can_be_named_and_one_origin() {
    let connector = || Connector::new("ws://name:password@h/");
    let alone = Connector::new("ws://h/").header("authorization", "Bearer 1");
    for twice in [
        connector().header("authorization", "Bearer 1"),
        alone.clone().basic_auth("name", "password"),
        alone.header("Authorization", "Bearer 2"),
        connector().origin("http://a").header("origin", "http://b"),
    ] {
        let error = misuse(twice).await;
        let is_repeated = matches!(error, ConnectError::Request(Misuse::Repeated));
        assert!(is_repeated, "{error}");
    }
    for (name, password) in [("a:b", "c"), ("a", "b\n")] {
        let error = misuse(connector().basic_auth(name, password)).await;
        let is_named = matches!(error, ConnectError::Url(BadUrl::User));
        assert!(is_named, "{error}");
    }
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn a_compression_that_is_out_of_range_opens_nothing() {
    let mut options = Options::default();
    options.deflate = Some(Deflate {
        level: 0,
        ..Deflate::default()
    });
    let error = misuse(Connector::new("ws://h/").options(options)).await;
    let is_told = matches!(error, ConnectError::Request(Misuse::Compression));
    assert!(is_told, "{error}");
    let (near, far) = tokio::io::duplex(1000);
    let connector = Connector::new("ws://h/");
    let (accepted, connected) = tokio::join!(
        async {
            let incoming = Incoming::read(near, options).await.expect("a request");
            incoming.accept(None, &[]).await.map(drop)
        },
        connector.handshake(far)
    );
    let is_told = matches!(accepted, Err(AcceptError::Misuse(Misuse::Compression)));
    assert!(is_told, "{accepted:?}");
    assert!(matches!(connected, Err(ConnectError::Io(_))), "no answer");
}

#[tokio::test]
async fn a_proxy_that_says_more_than_its_answer_is_no_way() {
    let (address, proxy) = answering("HTTP/1.1 200 OK\r\n\r\nSSH-2.0").await;
    let connector = Connector::new("ws://example.invalid/").proxy(format!("http://{address}"));
    let error = connector.connect().await.expect_err("no tunnel");
    let sentence =
        "the connection failed during the handshake: the proxy sent more than its answer";
    assert_eq!(error.to_string(), sentence);
    proxy.await.expect("no panic");
}

#[tokio::test]
async fn a_program_that_only_sends_takes_so_much_of_a_message_and_no_more() {
    let (mut server, mut far) = raw(Role::Server, Options::default());
    let payload = 900_000;
    let mut frame = b"\x82\xff\0\0\0\0\0\x0d\xbb\xa0\0\0\0\0".to_vec();
    frame.resize(frame.len() + payload, 7);
    far.write_all(&frame).await.expect("open");
    for _ in 0..100 {
        server.send("x").await.expect("open");
    }
    let taken = server.traffic().bytes_received;
    // It reads on until 64 KiB are there; a read has at most as much.
    assert!((64 << 10..=128 << 10).contains(&taken), "{taken} bytes");
    let message = server.recv().await.expect("open").expect("open");
    assert_eq!(message.len(), payload);
    assert_eq!(server.traffic().bytes_received, frame.len() as u64);
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_head_opens_nothing() {
    let (near, mut far) = tokio::io::duplex(1000);
    far.write_all(b"GET / HTTP/1.1\r\n").await.expect("open");
    far.shutdown().await.expect("open");
    assert!(matches!(accept(near).await, Err(AcceptError::Ended)));
}
