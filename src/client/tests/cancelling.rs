//! Any future may be dropped at any of its Pendings: no message is lost, and none comes twice.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Cut, Cuts, all, few_messages, messages, pair, with_all_cuts};
use crate::{CloseCode, Deflate, Error, Message, Options, WebSocket};

fn options() -> Options {
    let mut options = Options::default();
    options.send_buffer_bytes = 100;
    options.fragment_bytes = Some(150);
    options
}

/// Sends, with futures dropped. The traffic says whether the message of a dropped one was taken.
async fn send<S>(websocket: &mut WebSocket<S>, cuts: &mut Cuts, message: &Message)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let sent = websocket.traffic().messages_sent;
    loop {
        match cuts.run(websocket.send(message.clone())).await {
            Some(result) => return result.expect("open"),
            None if websocket.traffic().messages_sent > sent => return,
            None => {}
        }
    }
}

async fn recv<S>(websocket: &mut WebSocket<S>, cuts: &mut Cuts) -> Result<Option<Message>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        if let Some(result) = cuts.run(websocket.recv()).await {
            return result;
        }
    }
}

async fn close<S>(websocket: &mut WebSocket<S>, cuts: &mut Cuts)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        if let Some(result) = cuts
            .run(websocket.close(CloseCode::NormalClosure, ""))
            .await
        {
            return result.expect("a clean end");
        }
    }
}

/// One side sends everything and closes, the other receives; the futures of one of them, or of both, are dropped.
async fn one_way(
    room: usize,
    options: Options,
    all: &[Message],
    cut: Cut,
    from_client: bool,
) -> usize {
    let (client, server) = pair(room, options);
    let (mut from, mut to) = if from_client {
        (client, server)
    } else {
        (server, client)
    };
    let messages = all.to_vec();
    let sending = tokio::spawn(async move {
        let mut cuts = Cuts::new(cut);
        for message in &messages {
            send(&mut from, &mut cuts, message).await;
        }
        close(&mut from, &mut cuts).await;
        cuts.pendings
    });
    let mut cuts = Cuts::new(cut);
    let mut seen = Vec::new();
    while let Some(message) = recv(&mut to, &mut cuts).await.expect("open") {
        seen.push(message);
    }
    assert!(
        seen == all,
        "{cut:?} in {room} bytes: {} of {}",
        seen.len(),
        all.len()
    );
    let pendings = sending.await.expect("no panic");
    pendings.max(cuts.pendings)
}

#[tokio::test]
async fn no_dropped_future_loses_or_doubles_a_message() {
    let all = few_messages();
    for room in [7, 64] {
        for from_client in [true, false] {
            with_all_cuts(async |cut| one_way(room, options(), &all, cut, from_client).await).await;
        }
    }
}

#[tokio::test]
async fn nor_of_a_long_message() {
    let all = messages();
    for n in [1, 2, 3, 7] {
        for from_client in [true, false] {
            one_way(3000, Options::default(), &all, Cut::Every(n), from_client).await;
        }
    }
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn nor_of_a_compressed_message() {
    let mut options = options();
    options.deflate = Some(Deflate {
        bytes_min: 0,
        ..Deflate::default()
    });
    let all = few_messages();
    with_all_cuts(async |cut| one_way(20, options, &all, cut, true).await).await;
}

#[tokio::test]
async fn nor_while_both_sides_send_and_receive_at_once() {
    let expected = few_messages();
    with_all_cuts(async |cut| {
        let (mut client, mut server) = pair(50, options());
        let echo = tokio::spawn(async move {
            let mut cuts = Cuts::new(cut);
            while let Some(message) = recv(&mut server, &mut cuts).await.expect("open") {
                send(&mut server, &mut cuts, &message).await;
            }
            cuts.pendings
        });
        let mut cuts = Cuts::new(cut);
        let mut seen = Vec::new();
        for message in &expected {
            send(&mut client, &mut cuts, message).await;
            seen.push(recv(&mut client, &mut cuts).await.expect("open"));
        }
        close(&mut client, &mut cuts).await;
        let seen: Vec<_> = seen.into_iter().flatten().collect();
        assert!(seen == expected, "{cut:?}");
        echo.await.expect("no panic").max(cuts.pendings)
    })
    .await;
}

#[tokio::test]
async fn a_message_sent_in_parts_and_read_in_chunks_is_whole() {
    with_all_cuts(async |cut| {
        let (mut client, mut server) = pair(13, options());
        let sending = tokio::spawn(async move {
            let mut cuts = Cuts::new(cut);
            for n in 0..10_u8 {
                let sent = client.traffic().payload_sent;
                let part = vec![n; 40];
                loop {
                    match cuts.run(client.send_part(part.clone(), n == 9)).await {
                        Some(result) => break result.expect("open"),
                        None if client.traffic().payload_sent > sent => break,
                        None => {}
                    }
                }
            }
            close(&mut client, &mut cuts).await;
            cuts.pendings
        });
        let mut cuts = Cuts::new(cut);
        let (mut seen, mut ends) = (Vec::new(), 0);
        loop {
            match cuts.run(server.recv_chunk()).await {
                None => continue,
                Some(Ok(None)) => break,
                Some(chunk) => {
                    let chunk = chunk.expect("open").expect("open");
                    assert_eq!(chunk.message_begins, seen.is_empty());
                    seen.extend_from_slice(&chunk.payload);
                    ends += u32::from(chunk.message_ends);
                }
            }
        }
        let expected: Vec<u8> = (0..10).flat_map(|n| [n; 40]).collect();
        assert_eq!((seen, ends), (expected, 1), "{cut:?}");
        sending.await.expect("no panic").max(cuts.pendings)
    })
    .await;
}

#[tokio::test]
async fn ready_and_flush_may_be_dropped_and_queue_takes_a_message_at_once() {
    let expected = few_messages();
    with_all_cuts(async |cut| {
        let (mut client, mut server) = pair(9, options());
        let receiving = tokio::spawn(async move { all(&mut server).await });
        let mut cuts = Cuts::new(cut);
        for message in &expected {
            while cuts.run(client.ready()).await.is_none() {}
            client.queue(message.clone()).expect("open");
        }
        while cuts.run(client.flush()).await.is_none() {}
        assert_eq!(client.waiting_bytes(), 0);
        close(&mut client, &mut cuts).await;
        assert!(receiving.await.expect("no panic") == expected, "{cut:?}");
        cuts.pendings
    })
    .await;
}

#[tokio::test]
async fn handles_of_a_spawned_connection_may_be_dropped_too() {
    let expected = few_messages();
    with_all_cuts(async |cut| {
        let mut options = options();
        options.handle_messages = 1;
        let (client, server) = pair(50, options);
        let (sender, mut receiver, driver) = client.split();
        let (answering, mut asked, far) = server.split();
        tokio::spawn(driver);
        tokio::spawn(far);
        tokio::spawn(async move {
            while let Some(message) = asked.recv().await.expect("open") {
                answering.send(message).await.expect("open");
            }
        });
        let to_send = expected.clone();
        let sending = tokio::spawn(async move {
            let mut cuts = Cuts::new(cut);
            for message in &to_send {
                // What was dropped was not handed over.
                while cuts.run(sender.send(message.clone())).await.is_none() {}
            }
            (sender, cuts.pendings)
        });
        let mut cuts = Cuts::new(cut);
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            if let Some(message) = cuts.run(receiver.recv()).await {
                seen.push(message.expect("open").expect("open"));
            }
        }
        assert!(seen == expected, "{cut:?}");
        let (sender, pendings) = sending.await.expect("no panic");
        let ended = loop {
            if let Some(ended) = cuts.run(sender.close(CloseCode::NormalClosure, "")).await {
                break ended;
            }
        };
        assert_eq!((ended.failure, ended.unsent), (None, 0));
        pendings.max(cuts.pendings)
    })
    .await;
}
