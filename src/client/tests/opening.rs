//! Opening handshakes over TCP: by URL, through a proxy, under TLS, with redirects; and what refuses one.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::{
    AcceptError, CloseCode, ConnectError, Connector, Deflate, Incoming, Options, accept, connect,
};

/// A listener, and its address.
pub(super) async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

/// A server of one connection that answers with `answer`, and returns the request.
pub(super) async fn answering(answer: impl Into<Vec<u8>>) -> (String, JoinHandle<String>) {
    let (listener, address) = listener().await;
    let answer = answer.into();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let request = read_head(&mut stream).await;
        stream.write_all(&answer).await.expect("open");
        stream.shutdown().await.expect("open");
        request
    });
    (address, task)
}

/// Reads up to the empty line.
pub(super) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("open"));
    }
    String::from_utf8(head).expect("text")
}

/// An echo server of `connections`.
async fn echo(connections: usize) -> (String, JoinHandle<()>) {
    let (listener, address) = listener().await;
    let task = tokio::spawn(async move {
        for _ in 0..connections {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut options = Options::default();
            options.deflate = Some(Deflate::default());
            let incoming = Incoming::read(stream, options).await.expect("a request");
            let request = incoming.request();
            let chosen = request.subprotocols().last().map(str::to_owned);
            let shown = format!("{} {:?}", request.path(), request.query());
            let headers = [("X-Shown", shown.as_str())];
            let accepted = incoming.accept(chosen.as_deref(), &headers);
            let mut websocket = accepted.await.expect("open");
            while let Some(message) = websocket.recv().await.expect("open") {
                websocket.send(message).await.expect("open");
            }
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_url_opens_with_all_that_was_agreed_on() {
    let (address, server) = echo(2).await;
    let mut plain = connect(&format!("ws://{address}")).await.expect("open");
    assert_eq!((plain.subprotocol(), plain.is_compressed()), (None, false));
    plain
        .close(CloseCode::NormalClosure, "")
        .await
        .expect("clean");
    let connector = Connector::new(format!("ws://{address}/chat?room=1"))
        .subprotocol("one")
        .subprotocol("two")
        .configure(|options| options.deflate = Some(Deflate::default()));
    let (mut websocket, response) = connector.connect().await.expect("open");
    assert_eq!(websocket.subprotocol(), Some("two"));
    assert_eq!(websocket.is_compressed(), cfg!(feature = "deflate"));
    assert_eq!(
        response.header("x-shown"),
        Some(&b"/chat Some(\"room=1\")"[..])
    );
    assert_eq!(response.url(), format!("ws://{address}/chat?room=1"));
    let long = "long ".repeat(1000);
    websocket.send(long.clone()).await.expect("open");
    let answer = websocket.recv().await.expect("open").expect("open");
    assert_eq!(answer.as_text(), Some(long.as_str()));
    websocket
        .close(CloseCode::NormalClosure, "")
        .await
        .expect("clean");
    server.await.expect("no panic");
}

#[tokio::test]
async fn the_request_says_what_it_was_told() {
    let (address, server) = answering("HTTP/1.1 404 Not Found\r\nX: y\r\n\r\nno such page").await;
    let connector = Connector::new(format!("ws://user:pass%20word@{address}/p"))
        .header("X-One", "1")
        .origin("https://example.com");
    let error = connector.connect().await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the server refused with status 404 (Not Found)"
    );
    assert!(!error.is_transient());
    let ConnectError::Refused(refused) = error else {
        panic!("{error}")
    };
    assert_eq!(refused.response.header("x"), Some(&b"y"[..]));
    assert_eq!(refused.body, "no such page");
    let request = server.await.expect("no panic");
    assert!(request.starts_with(&format!("GET /p HTTP/1.1\r\nHost: {address}\r\n")));
    for line in [
        "X-One: 1",
        "Origin: https://example.com",
        "Authorization: Basic dXNlcjpwYXNzIHdvcmQ=",
    ] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn what_opens_no_websocket_is_told_in_a_sentence() {
    let upgrade = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    for (answer, sentence) in [
        (
            format!("{upgrade}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
            "the server did not open a WebSocket: the Sec-WebSocket-Accept header does not answer our key",
        ),
        (
            "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
            "the server did not open a WebSocket: this is not an HTTP response",
        ),
        (
            "HTTP/1.1 503 Busy\r\n\r\n".to_owned(),
            "the server refused with status 503 (Service Unavailable)",
        ),
    ] {
        let (address, server) = answering(answer).await;
        let error = connect(&format!("ws://{address}"))
            .await
            .expect_err("refused");
        assert!(error.to_string().starts_with(sentence), "{error}");
        server.await.expect("no panic");
    }
    let (listener, address) = listener().await;
    drop(listener);
    let error = connect(&format!("ws://{address}"))
        .await
        .expect_err("nobody listens");
    let start = format!("cannot connect to 127.0.0.1 port {}: ", &address[10..]);
    assert!(error.to_string().starts_with(&start), "{error}");
    assert!(error.is_transient());
    for (url, sentence) in [
        (
            "http://h",
            "the URL begins neither with ws:// nor with wss://, or a proxy's not with http://",
        ),
        ("ws://h:x", "the URL's port is not a number from 1 to 65535"),
    ] {
        let error = connect(url).await.expect_err("no URL");
        assert_eq!(error.to_string(), sentence);
    }
    let bad = Connector::new(format!("ws://{address}")).header("Bad name", "x");
    assert!(bad.request_is_bad());
}

impl Connector {
    fn request_is_bad(&self) -> bool {
        let (near, _far) = tokio::io::duplex(10);
        let mut handshake = std::pin::pin!(self.handshake(near));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let polled = handshake.as_mut().poll(&mut cx);
        matches!(
            polled,
            std::task::Poll::Ready(Err(ConnectError::Request(_)))
        )
    }
}

#[tokio::test(start_paused = true)]
async fn an_opening_has_its_time() {
    let (near, _far) = tokio::io::duplex(1000);
    let error = Connector::new("ws://h")
        .handshake(near)
        .await
        .expect_err("no answer");
    assert!(matches!(error, ConnectError::Timeout));
    let (near, mut far) = tokio::io::duplex(1000);
    assert!(matches!(accept(near).await, Err(AcceptError::Timeout)));
    let mut answer = String::new();
    far.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn redirects_are_followed_and_secrets_stay_at_home() {
    let (last, server) = answering("HTTP/1.1 404 X\r\n\r\n").await;
    let (first, redirecting) = answering(format!(
        "HTTP/1.1 302 X\r\nLocation: http://{last}/there\r\n\r\n"
    ))
    .await;
    let connector = Connector::new(format!("ws://{first}/"))
        .basic_auth("user", "secret")
        .header("Cookie", "secret")
        .header("X-Open", "1");
    let error = connector.connect().await.expect_err("404");
    let ConnectError::Refused(refused) = error else {
        panic!("{error}")
    };
    assert_eq!(refused.response.url(), format!("ws://{last}/there"));
    assert!(
        redirecting
            .await
            .expect("no panic")
            .contains("Authorization: ")
    );
    let request = server.await.expect("no panic");
    assert!(request.contains("X-Open: 1\r\n"));
    assert!(
        !request.contains("Authorization") && !request.contains("Cookie"),
        "{request}"
    );

    let (address, _server) = answering("HTTP/1.1 302 X\r\nLocation: /\r\n\r\n").await;
    let never = Connector::new(format!("ws://{address}/")).redirects(0);
    let error = never.connect().await.expect_err("a redirect");
    assert!(matches!(error, ConnectError::Refused(_)), "{error}");
    let (address, _server) = answering("HTTP/1.1 302 X\r\nLocation: ftp://h/\r\n\r\n").await;
    let error = connect(&format!("ws://{address}/"))
        .await
        .expect_err("no WebSocket");
    assert_eq!(
        error.to_string(),
        "the redirect leads to something that is no WebSocket"
    );
}

#[tokio::test]
async fn a_proxy_opens_a_tunnel_or_says_why_not() {
    let (target, server) = echo(1).await;
    let (proxy, address) = listener().await;
    let wanted = target.clone();
    let proxying = tokio::spawn(async move {
        let (mut client, _) = proxy.accept().await.expect("a client");
        let request = read_head(&mut client).await;
        let mut server = TcpStream::connect(wanted).await.expect("it listens");
        client
            .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
            .await
            .expect("open");
        let copied = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        copied.map(|_| request)
    });
    let connector =
        Connector::new(format!("ws://{target}/")).proxy(format!("http://u:p@{address}"));
    let (mut websocket, _) = connector.connect().await.expect("open");
    websocket.send("through").await.expect("open");
    assert_eq!(
        websocket.recv().await.expect("open"),
        Some("through".into())
    );
    websocket
        .close(CloseCode::NormalClosure, "")
        .await
        .expect("clean");
    server.await.expect("no panic");
    let request = proxying.await.expect("no panic").expect("open");
    let expected = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
    );
    assert_eq!(request, expected);

    for (answer, sentence) in [
        (
            "HTTP/1.1 407 X\r\n\r\n",
            "the proxy wants other credentials (407)",
        ),
        (
            "HTTP/1.1 502 X\r\n\r\n",
            "the proxy refused with status 502",
        ),
    ] {
        let (address, _proxy) = answering(answer).await;
        let connector = Connector::new("ws://example.invalid/").proxy(format!("http://{address}"));
        let error = connector.connect().await.expect_err("refused");
        assert_eq!(error.to_string(), sentence);
    }
}

#[tokio::test]
async fn a_server_sees_the_request_and_may_refuse_it() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let incoming = Incoming::read(stream, Options::default())
            .await
            .expect("a request");
        let request = incoming.request();
        assert_eq!(request.origin(), Some("https://evil.example"));
        assert_eq!(request.header("x"), Some(&b"1"[..]));
        incoming.refuse(403, "not you").await.expect("open");
        let (stream, _) = listener.accept().await.expect("a client");
        let refused = accept(stream).await.expect_err("no WebSocket");
        assert!(matches!(refused, AcceptError::Refused(_)), "{refused}");
    });
    let connector = Connector::new(format!("ws://{address}"))
        .origin("https://evil.example")
        .header("X", "1");
    let error = connector.connect().await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the server refused with status 403 (Forbidden)"
    );
    let mut page = TcpStream::connect(&address).await.expect("it listens");
    page.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .expect("open");
    let mut answer = String::new();
    page.read_to_string(&mut answer).await.expect("open");
    assert!(
        answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
        "{answer}"
    );
    drop(page);
    server.await.expect("no panic");
}

#[tokio::test]
async fn frames_behind_a_head_are_the_first_messages() {
    let (near, mut far) = tokio::io::duplex(1000);
    let request = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    far.write_all(&[request.as_bytes(), b"\x81\x82\0\0\0\0hi\x81"].concat())
        .await
        .expect("open");
    let mut websocket = accept(near).await.expect("open");
    assert_eq!(websocket.recv().await.expect("open"), Some("hi".into()));
    far.write_all(b"\x81\0\0\0\0!").await.expect("open");
    assert_eq!(websocket.recv().await.expect("open"), Some("!".into()));
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

    use super::*;

    fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let certificate = made.cert.der().clone();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("usual")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a good key");
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("usual")
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    }

    #[tokio::test]
    async fn wss_opens_when_the_certificate_is_trusted_and_says_why_not() {
        let (server_config, client_config) = configs();
        let (listener, address) = listener().await;
        let port = address.rsplit_once(':').expect("a port").1.to_owned();
        let server = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(server_config);
            let (stream, _) = listener.accept().await.expect("a client");
            let tls = acceptor.accept(stream).await.expect("TLS");
            let mut websocket = accept(tls).await.expect("a handshake");
            while let Some(message) = websocket.recv().await.expect("open") {
                websocket.send(message).await.expect("open");
            }
            let (stream, _) = listener.accept().await.expect("a client");
            acceptor
                .accept(stream)
                .await
                .expect_err("it is not trusted");
            let (stream, _) = listener.accept().await.expect("a client");
            acceptor
                .accept(stream)
                .await
                .expect_err("the name is another one");
        });
        let trusting =
            |host| Connector::new(format!("wss://{host}:{port}/")).tls(client_config.clone());
        let (mut websocket, _) = trusting("localhost").connect().await.expect("open");
        assert!(websocket.get_ref().is_tls());
        for message in crate::tests::messages() {
            websocket.send(message.clone()).await.expect("open");
            assert!(websocket.recv().await.expect("open") == Some(message));
        }
        websocket
            .close(CloseCode::NormalClosure, "")
            .await
            .expect("clean");
        let (_, other) = configs();
        let distrusting = Connector::new(format!("wss://localhost:{port}/")).tls(other);
        for (connector, why) in [
            (
                distrusting,
                "TLS with localhost failed: invalid peer certificate: ",
            ),
            (
                trusting("127.0.0.1"),
                "TLS with 127.0.0.1 failed: invalid peer certificate: ",
            ),
        ] {
            let error = connector.connect().await.expect_err("refused");
            assert!(error.to_string().starts_with(why), "{error}");
            assert!(!error.is_transient());
        }
        server.await.expect("no panic");
    }
}
