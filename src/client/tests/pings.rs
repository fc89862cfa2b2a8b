//! Pings are answered whatever the program does, and ask whether a peer is there.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;

use super::{Cut, Cuts, End, pair, raw};
use crate::{Error, Message, Options, Role};

/// The next `count` bytes that came.
async fn read(far: &mut DuplexStream, count: usize) -> Vec<u8> {
    let mut seen = vec![0; count];
    far.read_exact(&mut seen).await.expect("open");
    seen
}

/// Polls once.
async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    Cuts::new(Cut::Every(1)).run(future).await
}

#[tokio::test]
async fn a_ping_is_answered_while_the_program_only_receives() {
    let (mut server, mut far) = raw(Role::Server, Options::default());
    far.write_all(b"\x89\x83\0\0\0\0abc").await.expect("open");
    assert!(poll_once(server.recv()).await.is_none(), "no message");
    assert_eq!(read(&mut far, 5).await, b"\x8a\x03abc");
}

#[tokio::test]
async fn and_while_it_only_sends() {
    let (mut server, mut far) = raw(Role::Server, Options::default());
    server.send("1").await.expect("open");
    far.write_all(b"\x89\x80\0\0\0\0").await.expect("open");
    server.send("2").await.expect("open");
    assert_eq!(read(&mut far, 8).await, b"\x81\x011\x81\x012\x8a\x00");
    // One message is read ahead, and kept. What is behind it waits.
    far.write_all(b"\x81\x81\0\0\0\0x\x89\x80\0\0\0\0")
        .await
        .expect("open");
    server.send("3").await.expect("open");
    server.flush().await.expect("open");
    assert_eq!(read(&mut far, 3).await, b"\x81\x013");
    assert_eq!(server.recv().await.expect("open"), Some("x".into()));
    assert!(poll_once(server.recv()).await.is_none());
    assert_eq!(read(&mut far, 2).await, b"\x8a\x00");
}

#[tokio::test]
async fn and_while_a_send_waits_for_a_peer_that_does_not_read() {
    let mut options = Options::default();
    options.send_buffer_bytes = 10;
    let (mut client, mut server) = pair(10, options);
    server.queue(Message::Ping("now".into())).expect("open");
    let (sent, ()) = tokio::join!(client.send(vec![0; 30]), async {
        server.flush().await.expect("open");
        assert_eq!(server.recv().await.expect("open"), Some(vec![0; 30].into()));
    });
    sent.expect("open");
    // The Pong came: the server would show it, and it is nothing that a peer may not send.
    client.flush().await.expect("open");
    assert!(poll_once(server.recv()).await.is_none());
    assert_eq!(server.traffic().bytes_received, client.traffic().bytes_sent);
    assert_eq!(client.traffic().bytes_sent, 6 + 30 + 6 + 3);
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_within_bounds() {
    let mut options = Options::default();
    options.send_buffer_bytes = 1000;
    let (near, mut far) = tokio::io::duplex(64);
    let mut server: End =
        crate::WebSocket::after_handshake(near, Role::Server, bytes::BytesMut::new(), options);
    // 1,000 Pings whose Pongs nobody reads.
    let mut cuts = Cuts::new(Cut::Every(1));
    for n in 0..1000_u16 {
        let [high, low] = n.to_be_bytes();
        let mut ping = &[0x89, 0x82, 0, 0, 0, 0, high, low][..];
        while !ping.is_empty() {
            let written = poll_once(far.write(ping)).await;
            ping = &ping[written.map_or(0, |written| written.expect("open"))..];
            assert!(cuts.run(server.recv()).await.is_none());
        }
    }
    assert!(server.waiting_bytes() < 1000 + 4);
    // The last one is answered.
    let (near, far) = (&mut server, &mut far);
    let last = async {
        loop {
            let pong = read(far, 4).await;
            assert_eq!(pong[..2], [0x8a, 2]);
            if pong[2..] == 999_u16.to_be_bytes() {
                return;
            }
        }
    };
    tokio::select! {
        () = last => {}
        received = near.recv() => panic!("{received:?}"),
    }
}

#[tokio::test]
async fn control_frames_are_shown_on_demand() {
    let mut options = Options::default();
    options.show_control = true;
    let (mut client, mut server) = pair(100, options);
    client
        .send(Message::Ping("are you there".into()))
        .await
        .expect("open");
    client
        .send(Message::Pong("here".into()))
        .await
        .expect("open");
    let expected = [
        Message::Ping("are you there".into()),
        Message::Pong("here".into()),
    ];
    for message in expected {
        assert_eq!(server.recv().await.expect("open"), Some(message));
    }
    let answer = client.recv().await.expect("open");
    assert_eq!(answer, Some(Message::Pong("are you there".into())));
    let long = client.send(Message::Ping(vec![0; 126].into())).await;
    assert!(matches!(long, Err(Error::Misuse(_))));
    client.send("goes on").await.expect("open");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_silent_is_asked_and_then_left() {
    let mut options = Options::default();
    options.ping_interval = Some(Duration::from_secs(30));
    let (mut client, mut server) = pair(100, options);
    // A peer that answers stays.
    let gone = tokio::time::timeout(Duration::from_secs(200), async {
        tokio::join!(client.recv(), server.recv())
    });
    gone.await.expect_err("both stay open");
    assert!(client.traffic().bytes_received > 0);
    let (mut client, far) = raw(Role::Client, options);
    let begin = Instant::now();
    let result = client.recv().await;
    assert!(matches!(result, Err(Error::PongTimeout)), "{result:?}");
    assert_eq!(begin.elapsed().as_secs(), 30 + 20);
    drop(far);
}
