//! A WebSocket under a web framework: the examples themselves, and what is refused.

use http::{Method, Request, Version};
use tokio::net::TcpListener;

use crate::{CloseCode, Connector, Deflate, Options, accept_key, upgrade};

#[allow(dead_code, reason = "its `main` is for the example")]
#[path = "../../../examples/async_client.rs"]
mod async_client;
#[allow(dead_code, reason = "its `main` is for the example")]
#[path = "../../../examples/under_axum.rs"]
mod under_axum;
#[allow(dead_code, reason = "its `main` is for the example")]
#[path = "../../../examples/under_hyper.rs"]
mod under_hyper;

/// Echoes all kinds of messages there, and closes.
async fn is_echo(url: &str) {
    let connector = Connector::new(url).subprotocol("other").subprotocol("echo");
    let (mut websocket, _) = connector.connect().await.expect("open");
    for message in super::messages() {
        websocket.send(message.clone()).await.expect("open");
        assert!(websocket.recv().await.expect("open") == Some(message));
    }
    let closed = websocket.close(CloseCode::NormalClosure, "").await;
    closed.expect("a clean end");
    async_client::run(url, vec!["hello".to_owned()])
        .await
        .expect("an echo");
}

#[tokio::test]
async fn a_websocket_opens_under_axum() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async { axum::serve(listener, under_axum::application()).await });
    is_echo(&format!("ws://{address}/echo")).await;
    let page = crate::connect(&format!("ws://{address}/")).await;
    let refused = page.expect_err("a page").to_string();
    assert_eq!(refused, "the server refused with status 200 (OK)");
}

#[tokio::test]
async fn a_websocket_opens_under_hyper() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(under_hyper::serve(listener));
    is_echo(&format!("ws://{address}/")).await;
}

fn request(method: Method, version: Version) -> Request<()> {
    let request = Request::builder()
        .method(method)
        .version(version)
        .uri("http://example.com/chat?room=1")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "a, b")
        .header("sec-websocket-extensions", "permessage-deflate");
    request.body(()).expect("well-formed")
}

#[test]
fn a_request_in_http_types_is_checked_and_answered() {
    let mut good = request(Method::GET, Version::HTTP_11);
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        good.headers_mut()
            .insert(name, value.parse().expect("good"));
    }
    let mut options = Options::default();
    options.deflate = Some(Deflate::default());
    let (answer, upgraded) = upgrade(&good, &["b"], options).expect("accepted");
    assert_eq!(answer.status(), 101);
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().ok());
    let accept = Some(Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(header("sec-websocket-accept"), accept);
    assert_eq!(
        accept_key(b"dGhlIHNhbXBsZSBub25jZQ==").as_deref(),
        accept.flatten()
    );
    assert_eq!(accept_key(b"short"), None);
    assert_eq!(header("sec-websocket-protocol"), Some(Some("b")));
    assert_eq!(header("upgrade"), Some(Some("websocket")));
    let (near, _far) = tokio::io::duplex(1);
    let websocket = upgraded.websocket(near);
    assert_eq!(websocket.subprotocol(), Some("b"));
    assert_eq!(websocket.is_compressed(), cfg!(feature = "deflate"));

    let mut keyless = good.clone();
    keyless.headers_mut().remove("sec-websocket-key");
    let refusal = upgrade(&keyless, &[], options).expect_err("no key");
    assert_eq!(refusal.status(), 400);
    let page = request(Method::GET, Version::HTTP_11);
    let refusal = upgrade(&page, &[], options).expect_err("no WebSocket");
    assert_eq!(refusal.status(), 426);
    for (name, value) in [("upgrade", "websocket"), ("connection", "upgrade")] {
        assert_eq!(refusal.headers()[name], value);
    }
    options.deflate = Some(Deflate {
        level: 10,
        ..Deflate::default()
    });
    let refusal = upgrade(&good, &[], options).map(|(answer, _)| answer.status());
    let status = refusal.unwrap_or_else(|refusal| refusal.status());
    assert_eq!(status, if cfg!(feature = "deflate") { 500 } else { 101 });
}

#[test]
fn over_http_2_a_connect_is_answered_with_200_and_without_a_key() {
    let connect = request(Method::CONNECT, Version::HTTP_2);
    let (answer, upgraded) = upgrade(&connect, &["a"], Options::default()).expect("accepted");
    assert_eq!(answer.status(), 200);
    let names: Vec<_> = answer.headers().keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["sec-websocket-protocol"]);
    let (near, _far) = tokio::io::duplex(1);
    assert_eq!(upgraded.websocket(near).subprotocol(), Some("a"));
    let refusal = upgrade(
        &request(Method::GET, Version::HTTP_2),
        &[],
        Options::default(),
    );
    assert_eq!(refusal.expect_err("no CONNECT").status(), 426);
}
