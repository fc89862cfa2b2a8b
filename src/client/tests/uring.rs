//! Connections on the tokio-uring runtime.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use tokio_uring::net::{TcpListener, TcpStream};

use super::{Cut, Cuts, messages};
use crate::{CloseCode, Connector, Error, Options, UringStream, WebSocket, accept};

type End = WebSocket<UringStream>;

/// Both ends of a connection over TCP, after their handshake.
async fn connected(options: Options) -> (End, End) {
    let (near, far) = streams().await;
    let connector = Connector::new("ws://h/").options(options);
    let (opened, accepted) = tokio::join!(connector.handshake(near), accept(far));
    (opened.expect("open").0, accepted.expect("a good request"))
}

async fn streams() -> (UringStream, UringStream) {
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = listener.local_addr().expect("bound");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (
        UringStream::new(near.expect("it listens")),
        UringStream::new(far.expect("a client").0),
    )
}

#[test]
fn messages_arrive_as_they_were_sent_also_when_futures_are_dropped() {
    tokio_uring::start(async {
        for n in [1, 2, 3, usize::MAX] {
            let (mut client, mut server) = connected(Options::default()).await;
            let echo = tokio_uring::spawn(async move {
                while let Some(message) = server.recv().await.expect("open") {
                    server.send(message).await.expect("open");
                }
                *server.traffic()
            });
            let mut cuts = Cuts::new(Cut::Every(n));
            for message in messages() {
                client.queue(message.clone()).expect("open");
                let answer = loop {
                    if let Some(received) = cuts.run_until_cut(client.recv()).await {
                        break received.expect("open").expect("open");
                    }
                    // This runtime gives the kernel its operations only before it sleeps.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                };
                assert!(answer == message, "{} bytes", message.len());
            }
            let closed = client.close(CloseCode::NormalClosure, "").await;
            closed.expect("a clean end");
            let far = echo.await.expect("no panic");
            assert_eq!(far.bytes_received, client.traffic().bytes_sent);
            assert_eq!(far.bytes_sent, client.traffic().bytes_received);
        }
    });
}

#[test]
fn a_read_that_brings_more_than_the_next_buffer_takes_loses_nothing() {
    tokio_uring::start(async {
        use tokio::io::AsyncWriteExt as _;

        let (mut near, mut far) = streams().await;
        let mut large = [0; 1000];
        let begun = Cuts::new(Cut::Every(1)).run(near.read(&mut large)).await;
        assert!(begun.is_none());
        far.write_all(b"abcdefgh").await.expect("open");
        far.shutdown().await.expect("open");
        let mut seen = Vec::new();
        let mut small = [0; 3];
        loop {
            match near.read(&mut small).await.expect("open") {
                0 => break,
                count => seen.push(small[..count].to_vec()),
            }
        }
        assert_eq!(seen, [&b"abc"[..], b"def", b"gh"]);
    });
}

#[test]
fn a_connection_that_is_dropped_while_it_waits_ends() {
    tokio_uring::start(async {
        let (mut client, mut server) = connected(Options::default()).await;
        // The read is in flight when the client goes.
        assert!(Cuts::new(Cut::Every(1)).run(client.recv()).await.is_none());
        drop(client);
        let ended = timeout(Duration::from_secs(30), server.recv()).await;
        let ended = ended.expect("the peer's end is seen");
        assert!(matches!(ended, Err(Error::Ended)), "{ended:?}");
    });
}

#[test]
fn handles_work_beside_a_task_of_the_runtime_and_deadlines_hold() {
    tokio_uring::start(async {
        let mut options = Options::default();
        options.ping_interval = Some(Duration::from_millis(10));
        let (client, mut server) = connected(options).await;
        let (sender, mut receiver, driver) = client.split();
        tokio_uring::spawn(driver);
        sender.send("hello").await.expect("open");
        assert_eq!(server.recv().await.expect("open"), Some("hello".into()));
        // A Ping: nothing else comes.
        let before = server.traffic().bytes_received;
        let pinged = async {
            loop {
                assert!(Cuts::new(Cut::Every(1)).run(server.recv()).await.is_none());
                if server.traffic().bytes_received > before {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let pinged = timeout(Duration::from_secs(30), pinged).await;
        pinged.expect("a Ping");
        server.start_close(CloseCode::GoingAway, "").expect("open");
        let (ended, left) = tokio::join!(receiver.recv(), server.recv());
        assert_eq!((ended.expect("clean"), left.expect("clean")), (None, None));
        let close = sender.ended().await.close.expect("the server's");
        assert_eq!(close.code, CloseCode::GoingAway);
    });
}
