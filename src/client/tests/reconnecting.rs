//! A connection that is opened again.

use std::time::Duration;

use tokio::net::TcpListener;

use super::{Cut, Cuts};
use crate::{
    Backoff, CloseCode, ConnectError, Connector, Error, Happening, Incoming, Options, Reconnecting,
    accept,
};

fn quick() -> Backoff {
    let mut backoff = Backoff::default();
    (backoff.first, backoff.max) = (Duration::from_millis(1), Duration::from_millis(5));
    backoff
}

/// A server that closes, breaks, is busy, is there again, breaks off, and is gone for good.
async fn unsteady(listener: TcpListener) {
    let next = async || listener.accept().await.expect("a client").0;
    let refuse = async |status| {
        let incoming = Incoming::read(next().await, Options::default()).await;
        let refused = incoming.expect("a request").refuse(status, "no").await;
        refused.expect("open");
    };
    let mut first = accept(next().await).await.expect("a handshake");
    first.send("first").await.expect("open");
    let closed = first.close(CloseCode::ServiceRestart, "again").await;
    closed.expect("clean");
    drop(next().await); // ends during the handshake
    refuse(503).await;
    let mut second = accept(next().await).await.expect("a handshake");
    let message = second.recv().await.expect("open").expect("open");
    second.send(message).await.expect("open");
    drop(second); // without a Close
    refuse(410).await;
}

fn shown(happening: Happening) -> String {
    match happening {
        Happening::Open(response) => format!("open {}", response.status()),
        Happening::Message(message) => message.as_text().expect("text").to_owned(),
        Happening::Lost(Ok(frame)) => frame.expect("a Close").to_string(),
        Happening::Lost(Err(_)) => "lost".to_owned(),
        Happening::Failed(ConnectError::Refused(refused)) => refused.response.status().to_string(),
        Happening::Failed(_) => "failed".to_owned(),
    }
}

#[tokio::test]
async fn every_end_is_told_and_followed_by_another_connection_also_when_futures_are_dropped() {
    for n in [1, 2, 3, 10] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("ws://{}", listener.local_addr().expect("bound"));
        let server = tokio::spawn(unsteady(listener));
        let mut feed = Reconnecting::with_backoff(Connector::new(url), quick());
        let mut cuts = Cuts::new(Cut::Every(n));
        let mut seen: Vec<String> = Vec::new();
        let last = loop {
            let Some(next) = cuts.run(feed.next()).await else {
                continue;
            };
            match next {
                Ok(happening) => seen.push(shown(happening.expect("nobody closed it"))),
                Err(error) => break error,
            }
            match seen.last().map(String::as_str) {
                Some("open 101") if seen.len() > 1 => feed.send("hello").await.expect("open"),
                Some("1012 (again)") => {
                    assert!(matches!(feed.send("nobody").await, Err(Error::Closed)));
                }
                _ => {}
            }
        };
        let expected = [
            "open 101",
            "first",
            "1012 (again)",
            "failed",
            "503",
            "open 101",
            "hello",
            "lost",
        ];
        assert_eq!(seen, expected);
        let sentence = "the server refused with status 410 (Gone)";
        assert_eq!(last.to_string(), sentence);
        assert!(feed.next().await.expect("given up").is_none());
        server.await.expect("no panic");
    }
}

#[tokio::test]
async fn attempts_are_limited_on_demand() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let mut backoff = quick();
    backoff.attempts_max = Some(3);
    let mut feed = Reconnecting::with_backoff(Connector::new(url), backoff);
    for _ in 0..2 {
        assert!(matches!(feed.next().await, Ok(Some(Happening::Failed(_)))));
    }
    assert!(matches!(
        feed.next().await,
        Err(ConnectError::Connect { .. })
    ));
    assert!(feed.next().await.expect("given up").is_none());
}

#[tokio::test]
async fn connections_that_do_not_stay_open_count_as_failures_and_stable_ones_begin_anew() {
    for (stable_after, failures) in [(Duration::MAX, 1), (Duration::ZERO, 3)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("ws://{}", listener.local_addr().expect("bound"));
        let server = tokio::spawn(async move {
            for _ in 0..4 {
                let stream = listener.accept().await.expect("a client").0;
                drop(accept(stream).await.expect("a handshake"));
            }
        });
        let mut backoff = quick();
        (backoff.attempts_max, backoff.stable_after) = (Some(4), stable_after);
        let mut feed = Reconnecting::with_backoff(Connector::new(url), backoff);
        for _ in 0..4 {
            let opened = feed.next().await.expect("it listens");
            assert!(matches!(opened, Some(Happening::Open(_))));
            let lost = feed.next().await.expect("there is another attempt");
            assert!(matches!(lost, Some(Happening::Lost(Err(_)))));
        }
        server.await.expect("no panic");
        // Nobody listens any more.
        for _ in 1..failures {
            let failed = feed.next().await.expect("there is another attempt");
            assert!(matches!(failed, Some(Happening::Failed(_))));
        }
        feed.next().await.expect_err("that was the last one");
    }
}

#[tokio::test]
async fn close_ends_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move {
        let stream = listener.accept().await.expect("a client").0;
        let mut websocket = accept(stream).await.expect("a handshake");
        websocket.recv().await.expect("clean")
    });
    let mut feed = Reconnecting::new(Connector::new(url));
    assert!(matches!(feed.next().await, Ok(Some(Happening::Open(_)))));
    assert!(feed.websocket().is_some());
    feed.close().await.expect("clean");
    assert!(feed.next().await.expect("closed").is_none());
    assert_eq!(server.await.expect("no panic"), None);
}
