//! The examples themselves, against servers of the tests.

use std::time::Duration;

use tokio::net::TcpListener;

use super::opening::{answering, listener};
use crate::{CloseCode, Connector, Incoming, Message, Options, Reconnecting, WebSocket, accept};

#[allow(dead_code, reason = "its `main` is for the example")]
#[allow(
    unreachable_patterns,
    reason = "in its own crate no enum is non-exhaustive"
)]
#[path = "../../../examples/broadcast_client.rs"]
mod broadcast_client;
#[cfg(feature = "tls")]
#[allow(dead_code, reason = "its `main` is for the example")]
#[path = "../../../examples/client_options.rs"]
mod client_options;
#[cfg(feature = "deflate")]
#[allow(dead_code, reason = "its `main` is for the example")]
#[path = "../../../examples/compressed_client.rs"]
mod compressed_client;
#[allow(dead_code, reason = "its `main` is for the example")]
#[path = "../../../examples/ping_client.rs"]
mod ping_client;
#[cfg(unix)]
#[allow(dead_code, reason = "its `main` is for the example")]
#[path = "../../../examples/unix_client.rs"]
mod unix_client;

async fn next(listener: &TcpListener) -> WebSocket<tokio::net::TcpStream> {
    let (stream, _) = listener.accept().await.expect("a client");
    accept(stream).await.expect("a handshake")
}

/// Sends everything back until the client closes.
async fn echo<S>(mut websocket: WebSocket<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(message) = websocket.recv().await.expect("open") {
        websocket.send(message).await.expect("open");
    }
}

/// What an example has written.
fn lines(out: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(out).expect("text");
    text.lines().collect()
}

#[tokio::test]
async fn ping_client_tells_the_round_trips_and_what_the_server_pings() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let mut websocket = next(&listener).await;
        let ping = Message::Ping(b"12345678".to_vec().into());
        websocket.send(ping).await.expect("open");
        websocket.send("hello").await.expect("open");
        assert_eq!(websocket.recv().await.expect("open"), None);
    });
    let mut out = Vec::new();
    let url = format!("ws://{address}");
    let ran = ping_client::run(&url, 3, Duration::from_millis(10), &mut out);
    ran.await.expect("an orderly end");
    server.await.expect("no panic");
    let (pongs, others): (Vec<_>, Vec<_>) = lines(&out)
        .into_iter()
        .partition(|line| line.starts_with("Pong "));
    assert_eq!(others, ["Ping of 8 bytes, answered", "received \"hello\""]);
    let last = pongs.last().expect("the one at which it ends");
    assert!(last.starts_with("Pong 3 after "), "{pongs:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn unix_client_speaks_over_a_unix_socket() {
    let name = format!("ringway-client-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = tokio::net::UnixListener::bind(&path).expect("a free name");
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        echo(accept(stream).await.expect("a handshake")).await;
    });
    let answer = unix_client::run(&path, "hello").await;
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(answer.expect("an echo"), Message::from("hello"));
    server.await.expect("no panic");
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn compressed_client_saves_more_when_it_is_told_to_and_works_without() {
    use crate::Deflate;

    /// Bytes of the client's messages on the wire, and what was agreed on.
    async fn ran(offer: Deflate, accepted: Option<Deflate>) -> (usize, String) {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move {
            let mut options = Options::default();
            options.deflate = accepted;
            let (stream, _) = listener.accept().await.expect("a client");
            let incoming = Incoming::read(stream, options).await.expect("a request");
            echo(incoming.accept(None, &[]).await.expect("open")).await;
        });
        let told = compressed_client::run(&format!("ws://{address}"), offer).await;
        let told = told.expect("an echo");
        server.await.expect("no panic");
        let (_, rest) = told.split_once(" were ").expect("bytes on the wire");
        let (bytes, _) = rest.split_once(' ').expect("a number");
        let (_, agreed) = told.split_once("agreed: ").expect("the end");
        (bytes.parse().expect("a number"), agreed.to_owned())
    }

    let advanced = compressed_client::advanced();
    let (plain, agreed) = ran(advanced, None).await;
    assert_eq!(agreed, "no compression");
    let (simple, agreed) = ran(Deflate::default(), Some(Deflate::default())).await;
    assert!(agreed.starts_with("permessage-deflate"), "{agreed}");
    let (small, agreed) = ran(advanced, Some(advanced)).await;
    assert_eq!(agreed, "permessage-deflate");
    assert!(simple < plain / 2, "{simple} of {plain}");
    assert!(small < simple, "{small} of {simple}");
}

#[tokio::test]
async fn broadcast_client_speaks_listens_and_comes_back() {
    let (listener, address) = listener().await;
    let url = format!("ws://{address}/room");
    let mut feed = Reconnecting::new(Connector::new(url.clone()));
    let mut out = Vec::new();
    let client = broadcast_client::run(&mut feed, "anna", Duration::from_millis(10), &mut out);
    let server = async {
        let mut first = next(&listener).await;
        first.send("tick 1").await.expect("open");
        let said = first.recv().await.expect("open").expect("open");
        first.start_close(CloseCode::GoingAway, "").expect("open");
        while let Ok(Some(_)) = first.recv().await {}
        // It comes back by itself.
        let mut again = next(&listener).await;
        again.send("tick 2").await.expect("open");
        let said_again = again.recv().await.expect("open").expect("open");
        [said, said_again]
    };
    let said = tokio::select! {
        said = server => said,
        ended = client => panic!("the client ended: {ended:?}"),
    };
    for said in &said {
        let text = said.as_text().expect("text");
        assert!(text.starts_with("anna: hello "), "{text}");
    }
    let connected = format!("connected to {url}");
    let lines = lines(&out);
    assert_eq!(lines[..2], [connected.as_str(), "tick 1"]);
    assert!(lines[2].starts_with("lost: 1001"), "{lines:?}");
    assert_eq!(lines[3], connected);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn client_options_are_what_the_server_sees() {
    let (address, server) = answering("HTTP/1.1 404 Not Found\r\n\r\n").await;
    let arguments = [
        &format!("ws://{address}/path"),
        "--header=X-One=1=2",
        "--subprotocol=b",
        "--subprotocol=a",
        "--origin=https://example.com",
    ];
    let arguments = arguments.map(str::to_owned);
    let refused = client_options::run(&arguments, &mut Vec::new()).await;
    let refused = refused.expect_err("404").to_string();
    assert_eq!(refused, "the server refused with status 404 (Not Found)");
    let request = server.await.expect("no panic");
    let request = request.to_ascii_lowercase();
    for line in [
        "get /path http/1.1",
        "x-one: 1=2",
        "sec-websocket-protocol: b, a",
        "origin: https://example.com",
    ] {
        assert!(request.lines().any(|seen| seen == line), "{request}");
    }

    let (address, server) = answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    let proxy = format!("--proxy=http://{address}");
    let arguments = ["ws://example.com/", &proxy].map(str::to_owned);
    let refused = client_options::run(&arguments, &mut Vec::new()).await;
    assert!(refused.expect_err("407").to_string().contains("407"));
    let request = server.await.expect("no panic");
    assert!(
        request.starts_with("CONNECT example.com:80 HTTP/1.1\r\n"),
        "{request}"
    );

    for (wrong, why) in [
        ("--ca=/nowhere/ca.pem", "No such file"),
        ("--colour=red", "there is no option --colour"),
        ("--header=X", "a header is NAME=VALUE"),
    ] {
        let refused = client_options::run(&[wrong.to_owned()], &mut Vec::new()).await;
        let refused = refused.expect_err(wrong).to_string();
        assert!(refused.contains(why), "{wrong}: {refused}");
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn client_options_trusts_the_certificates_of_a_file() {
    use std::sync::Arc;

    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::{ServerConfig, pki_types::PrivateKeyDer};

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a good key")));
    let (listener, address) = listener().await;
    let port = address.rsplit_once(':').expect("a port").1.to_owned();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let tls = acceptor.accept(stream).await.expect("TLS");
        echo(accept(tls).await.expect("a handshake")).await;
    });
    let name = format!("ringway-client-{}.pem", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, made.cert.pem()).expect("a file");
    let url = format!("wss://localhost:{port}/");
    let trust = format!("--ca={}", file.display());
    let mut out = Vec::new();
    let ran = client_options::run(&[url.clone(), trust], &mut out).await;
    std::fs::remove_file(&file).expect("it is there");
    ran.expect("an echo");
    server.await.expect("no panic");
    let connected = format!("connected to {url}");
    assert_eq!(
        lines(&out),
        [connected.as_str(), "received \"Hello, Ringway!\""]
    );
}
