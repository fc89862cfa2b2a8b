//! Messages arrive as they were sent, however the stream splits them.

use futures_util::{SinkExt as _, StreamExt};

use super::{ROOMS, all, messages, pair};
use crate::{CloseCode, Deflate, Direction, Message, Options, Text};

/// Sends everything both ways at once, and closes.
async fn exchange(room: usize, options: Options) {
    let (mut client, mut server) = pair(room, options);
    let echo = tokio::spawn(async move {
        while let Some(message) = server.recv().await.expect("open") {
            server.send(message).await.expect("open");
        }
        *server.traffic()
    });
    for message in messages() {
        client.send(message.clone()).await.expect("open");
        let answer = client.recv().await.expect("open").expect("open");
        assert!(answer == message, "{} bytes", message.len());
    }
    let closed = client.close(CloseCode::NormalClosure, "bye").await;
    closed.expect("a clean end");
    let far = echo.await.expect("no panic");
    let near = client.traffic();
    assert_eq!(near.messages_sent, 28);
    assert_eq!(near.payload_sent, far.payload_received);
    assert_eq!(near.bytes_sent, far.bytes_received);
    assert_eq!(far.bytes_sent, near.bytes_received);
    if options.deflate.is_some() {
        assert!(near.bytes_sent < near.payload_sent / 5, "compressed");
    }
}

#[tokio::test]
async fn messages_arrive_as_they_were_sent() {
    for room in ROOMS {
        exchange(room, Options::default()).await;
    }
}

#[tokio::test]
async fn messages_in_small_frames_arrive_whole() {
    let mut options = Options::default();
    for fragment_bytes in [1, 100, 5000] {
        options.fragment_bytes = Some(fragment_bytes);
        exchange(3000, options).await;
    }
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn compressed_messages_arrive_with_and_without_takeover() {
    let mut options = Options::default();
    for takeover in [false, true] {
        for window_bits in [9, 15] {
            let direction = Direction {
                takeover,
                window_bits,
            };
            options.deflate = Some(Deflate {
                sends: direction,
                receives: direction,
                ..Deflate::default()
            });
            for room in [7, 5000] {
                exchange(room, options).await;
            }
            options.fragment_bytes = Some(1000);
            exchange(100, options).await;
            options.fragment_bytes = None;
        }
    }
}

#[tokio::test]
async fn stream_and_sink_work_from_two_tasks() {
    for room in [1, 50, 100_000] {
        let mut options = Options::default();
        options.send_buffer_bytes = 200;
        let (client, mut server) = pair(room, options);
        let echo = tokio::spawn(async move {
            while let Some(message) = server.recv().await.expect("open") {
                server.send(message).await.expect("open");
            }
        });
        let (mut sink, stream) = StreamExt::split(client);
        let sending = tokio::spawn(async move {
            for n in 0..300 {
                sink.send(Message::from(format!("message {n}")))
                    .await
                    .expect("open");
            }
            sink.close().await.expect("open");
        });
        let seen: Vec<_> = stream.map(|message| message.expect("open")).collect().await;
        sending.await.expect("no panic");
        echo.await.expect("no panic");
        let expected: Vec<_> = (0..300)
            .map(|n| Message::from(format!("message {n}")))
            .collect();
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_send_waits_while_too_much_waits() {
    let mut options = Options::default();
    options.send_buffer_bytes = 1000;
    let (mut client, mut server) = pair(10, options);
    let mut taken = 0;
    while super::Cuts::new(super::Cut::Every(1))
        .run(client.ready())
        .await
        .is_some()
    {
        client.queue(vec![0; 100]).expect("open");
        taken += 1;
    }
    // Each has 6 bytes of header; 10 bytes are in the stream.
    assert_eq!(taken, 10);
    assert_eq!(client.waiting_bytes(), 10 * 106 - 10);
    client
        .start_close(CloseCode::NormalClosure, "")
        .expect("open");
    let (seen, closed) = tokio::join!(all(&mut server), client.close(CloseCode::NormalClosure, ""));
    closed.expect("clean");
    assert_eq!(seen.len(), 10);
}

#[tokio::test]
async fn large_payloads_arrive_and_shared_ones_are_not_changed() {
    let (mut client, mut server) = pair(1 << 20, Options::default());
    let text = Text::from("x".repeat(100_000));
    server.send(text.clone()).await.expect("open");
    let seen = client.recv().await.expect("open").expect("open");
    assert_eq!(seen.as_text(), Some(text.as_str()));
    let message = Message::from(vec![1; 50_000]);
    client.send(message.clone()).await.expect("open");
    assert_eq!(server.recv().await.expect("open"), Some(message.clone()));
    assert_eq!(
        message.payload(),
        [1; 50_000],
        "masking changed no payload that is shared"
    );
}
