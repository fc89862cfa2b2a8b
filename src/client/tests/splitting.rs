//! Connections with a task of their own.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::{End, all, few_messages, pair, raw};
use crate::{CloseCode, Error, Message, Options, Receiver, Role, Sender, Unsent};

fn spawned(options: Options) -> (Sender, Receiver, End) {
    let (client, server) = pair(100, options);
    let (sender, receiver) = client.spawn();
    (sender, receiver, server)
}

#[tokio::test]
async fn many_senders_share_a_connection_and_each_keeps_its_order() {
    let (sender, mut receiver, mut server) = spawned(Options::default());
    let sending: Vec<_> = (0..10)
        .map(|who| {
            let sender = sender.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    sender.send(format!("{who} {n}")).await.expect("open");
                }
            })
        })
        .collect();
    drop(sender);
    let mut next = [0; 10];
    for _ in 0..1000 {
        let message = server.recv().await.expect("open").expect("open");
        let text = message.as_text().expect("text");
        let (who, n) = text.split_once(' ').expect("two");
        let who: usize = who.parse().expect("a number");
        assert_eq!(n, next[who].to_string());
        next[who] += 1;
    }
    for sending in sending {
        sending.await.expect("no panic");
    }
    // All senders are gone, and the receiver is not: the connection stays open.
    for message in few_messages() {
        server.send(message.clone()).await.expect("open");
        assert_eq!(receiver.recv().await.expect("open"), Some(message));
    }
    drop(receiver);
    assert_eq!(all(&mut server).await, []);
    let frame = server.closed().expect("a Close");
    assert_eq!(frame.code, CloseCode::NormalClosure);
}

#[tokio::test]
async fn close_waits_for_what_was_sent_before_and_for_the_end() {
    let (sender, mut receiver, mut server) = spawned(Options::default());
    for message in few_messages() {
        sender.send(message).await.expect("open");
    }
    let other = sender.clone();
    let (ended, seen) = tokio::join!(sender.close(CloseCode::GoingAway, "done"), all(&mut server));
    assert!(seen == few_messages());
    assert_eq!((ended.failure.clone(), ended.unsent), (None, 0));
    assert_eq!(
        ended.close.clone().expect("a Close").code,
        CloseCode::GoingAway
    );
    assert_eq!(ended.traffic.messages_sent, seen.len() as u64);
    assert_eq!(receiver.recv().await.expect("closed"), None);
    assert_eq!(receiver.ended().await, ended);
    assert!(other.is_closed());
    assert!(matches!(other.send("more").await, Err(Error::Closed)));
    let refused = other.try_send("more");
    assert_eq!(refused, Err(Unsent::Closed("more".into())));
    assert_eq!(other.close(CloseCode::NormalClosure, "").await, ended);
}

#[tokio::test]
async fn a_full_queue_says_so_and_what_is_never_sent_is_counted() {
    let mut options = Options::default();
    (options.handle_messages, options.send_buffer_bytes) = (2, 10);
    let (client, server) = pair(10, options);
    let (sender, _receiver, driver) = client.split();
    // Nobody drives the connection yet.
    for n in 0..2 {
        sender.try_send(format!("{n}")).expect("room");
    }
    assert_eq!(sender.try_send("2"), Err(Unsent::Full("2".into())));
    let long = Message::Ping(vec![0; 126].into());
    assert_eq!(
        sender.try_send(long.clone()),
        Err(Unsent::TooLong(long.clone()))
    );
    assert!(matches!(sender.send(long).await, Err(Error::Misuse(_))));
    drop(server);
    driver.await;
    let ended = sender.ended().await;
    assert!(ended.failure.is_some());
    assert_eq!(ended.unsent + ended.traffic.messages_sent, 2);
}

#[tokio::test]
async fn a_receiver_that_is_gone_loses_messages_and_they_are_counted() {
    let (sender, receiver, mut server) = spawned(Options::default());
    drop(receiver);
    server.send("nobody").await.expect("open");
    server.send("hears this").await.expect("open");
    sender.send("sent").await.expect("open");
    assert_eq!(server.recv().await.expect("open"), Some("sent".into()));
    let (ended, _) = tokio::join!(sender.close(CloseCode::NormalClosure, ""), all(&mut server));
    assert_eq!(ended.traffic.discarded, 2);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_held_and_not_read_does_not_hold_the_end_up() {
    let mut options = Options::default();
    options.handle_messages = 1;
    let (websocket, mut far) = raw(Role::Client, options);
    let (sender, mut receiver) = websocket.spawn();
    // Ten messages, and never an answer to the Close.
    far.write_all(&b"\x81\x01m".repeat(10)).await.expect("open");
    let begin = Instant::now();
    let ended = sender.close(CloseCode::NormalClosure, "").await;
    assert_eq!(begin.elapsed().as_secs(), 5);
    let sentence = "the peer did not answer our Close in time";
    assert_eq!(ended.failure.as_deref(), Some(sentence));
    // One is in the channel. One waited for room there, and one was read ahead.
    let traffic = ended.traffic;
    assert_eq!((traffic.messages_received, traffic.discarded), (3, 2));
    assert_eq!(receiver.recv().await.expect("a message"), Some("m".into()));
    assert_eq!(receiver.recv().await.expect("ended"), None);
    let mut seen = Vec::new();
    far.read_to_end(&mut seen).await.expect("its end");
    assert_eq!(seen.len(), 6 + 2, "a Close");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_reads_late_gets_all_if_the_peer_closes() {
    let mut options = Options::default();
    options.handle_messages = 1;
    let (websocket, mut far) = raw(Role::Client, options);
    let (sender, mut receiver) = websocket.spawn();
    far.write_all(b"\x81\x011\x81\x012\x88\x00")
        .await
        .expect("open");
    drop(far);
    tokio::time::sleep(100 * options.close_timeout).await;
    assert_eq!(receiver.recv().await.expect("open"), Some("1".into()));
    assert_eq!(receiver.recv().await.expect("open"), Some("2".into()));
    assert_eq!(receiver.recv().await.expect("closed"), None);
    assert_eq!(sender.ended().await.traffic.discarded, 0);
}

#[tokio::test]
async fn a_receiver_that_is_dropped_while_a_message_waits_for_it_loses_that_one_too() {
    let mut options = Options::default();
    options.handle_messages = 1;
    let (sender, receiver, mut server) = spawned(options);
    for _ in 0..2 {
        server.send("unread").await.expect("open");
    }
    sender.send("sent").await.expect("open");
    assert_eq!(server.recv().await.expect("open"), Some("sent".into()));
    drop(receiver);
    let (ended, _) = tokio::join!(sender.close(CloseCode::NormalClosure, ""), all(&mut server));
    assert_eq!(
        (ended.traffic.messages_received, ended.traffic.discarded),
        (2, 1)
    );
}

#[tokio::test]
async fn a_code_that_may_not_be_sent_closes_with_1000_and_is_told() {
    let (sender, _receiver, mut server) = spawned(Options::default());
    let closing = sender.close(CloseCode::AbnormalClosure, "why");
    let (ended, _) = tokio::join!(closing, all(&mut server));
    let failure = ended.failure.expect("a misuse");
    assert!(failure.starts_with("not sent: "), "{failure}");
    let frame = server.closed().expect("a Close");
    assert_eq!(
        (frame.code, &*frame.reason),
        (CloseCode::NormalClosure, "why")
    );
}

#[tokio::test]
async fn a_failure_is_told_to_the_receiver_once_and_to_all_handles() {
    let (websocket, far) = raw(Role::Client, Options::default());
    let (sender, mut receiver) = websocket.spawn();
    drop(far);
    assert!(matches!(receiver.recv().await, Err(Error::Ended)));
    assert_eq!(receiver.recv().await.expect("told before"), None);
    let ended = sender.ended().await;
    let sentence = "the peer ended the connection without a close frame";
    assert_eq!(ended.failure.as_deref(), Some(sentence));
}

#[tokio::test]
async fn a_slow_receiver_stops_the_peer_and_not_the_senders() {
    let mut options = Options::default();
    options.handle_messages = 1;
    let (sender, mut receiver, mut server) = spawned(options);
    let (sink, stream) = futures_util::StreamExt::split(server);
    let answering = tokio::spawn(async move {
        let mut sink = sink;
        for n in 0..100 {
            let message = Message::from(format!("{n}"));
            futures_util::SinkExt::send(&mut sink, message)
                .await
                .expect("open");
        }
        sink
    });
    // Nobody receives, and yet what is sent leaves.
    let mut stream = stream;
    for n in 0..100 {
        sender.send(format!("{n}")).await.expect("open");
        let seen = futures_util::StreamExt::next(&mut stream)
            .await
            .expect("open");
        assert_eq!(seen.expect("open"), Message::from(format!("{n}")));
    }
    for n in 0..100 {
        let seen = receiver.recv().await.expect("open");
        assert_eq!(seen, Some(Message::from(format!("{n}"))));
    }
    let sink = answering.await.expect("no panic");
    server = sink.reunite(stream).expect("its halves");
    let (_, seen) = tokio::join!(sender.close(CloseCode::NormalClosure, ""), all(&mut server));
    assert_eq!(seen, []);
}
