//! Closing handshakes, and ends that are none.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::{all, pair, raw};
use crate::{CloseCode, Error, Options, Role, Violation};

#[tokio::test]
async fn each_side_may_close_and_the_other_learns_code_and_reason() {
    for from_client in [true, false] {
        let (client, server) = pair(100, Options::default());
        let (mut from, mut to) = match from_client {
            true => (client, server),
            false => (server, client),
        };
        let (closed, seen) = tokio::join!(from.close(CloseCode::GoingAway, "späť"), all(&mut to));
        closed.expect("a clean end");
        assert_eq!(seen, []);
        let frame = to.closed().expect("a Close");
        assert_eq!(
            (frame.code, frame.reason.as_str()),
            (CloseCode::GoingAway, "späť")
        );
        assert_eq!(from.closed().expect("its echo").code, CloseCode::GoingAway);
        for end in [&mut from, &mut to] {
            assert!(matches!(end.send("more").await, Err(Error::Closed)));
            end.close(CloseCode::NormalClosure, "")
                .await
                .expect("closed already");
            assert_eq!(end.recv().await.expect("closed"), None);
        }
    }
}

#[tokio::test]
async fn both_may_close_at_once_and_what_was_sent_before_is_received() {
    let (mut client, mut server) = pair(1000, Options::default());
    for end in [&mut client, &mut server] {
        end.queue("last words").expect("open");
        end.start_close(CloseCode::NormalClosure, "").expect("open");
        assert!(matches!(end.queue("more"), Err(Error::Closed)));
    }
    let (near, far) = tokio::join!(all(&mut client), all(&mut server));
    assert_eq!(
        (near, far),
        (vec!["last words".into()], vec!["last words".into()])
    );
}

#[tokio::test]
async fn what_comes_while_close_waits_is_discarded_and_counted() {
    let (mut client, mut server) = pair(1 << 20, Options::default());
    for n in 0..3 {
        server.send(format!("{n}")).await.expect("open");
    }
    let (closed, seen) = tokio::join!(client.close(CloseCode::NormalClosure, ""), all(&mut server));
    closed.expect("a clean end");
    assert_eq!(seen, []);
    assert_eq!(client.traffic().discarded, 3);
}

#[tokio::test]
async fn a_code_that_is_never_sent_is_misuse_and_the_connection_goes_on() {
    let (mut client, mut server) = pair(100, Options::default());
    let result = client.close(CloseCode::NoStatusRcvd, "").await;
    assert!(matches!(result, Err(Error::Misuse(_))));
    client.send("still here").await.expect("open");
    assert_eq!(
        server.recv().await.expect("open"),
        Some("still here".into())
    );
}

#[tokio::test]
async fn an_end_without_a_close_is_an_error_once() {
    for role in [Role::Client, Role::Server] {
        let (mut websocket, far) = raw(role, Options::default());
        drop(far);
        assert!(matches!(websocket.recv().await, Err(Error::Ended)));
        assert_eq!(websocket.recv().await.expect("told before"), None);
        assert!(matches!(websocket.send("x").await, Err(Error::Closed)));
    }
}

#[tokio::test]
async fn a_peer_at_fault_is_told_so_before_the_stream_ends() {
    let (mut client, mut far) = raw(Role::Client, Options::default());
    // A masked frame from a server, behind a good message.
    far.write_all(b"\x81\x02ok\x81\x81____")
        .await
        .expect("open");
    assert_eq!(client.recv().await.expect("good"), Some("ok".into()));
    let peer = tokio::spawn(async move {
        let mut seen = Vec::new();
        far.read_to_end(&mut seen).await.map(|_| seen)
    });
    let failed = client.recv().await.expect_err("masked");
    assert!(matches!(
        failed,
        Error::Violation(Violation::MaskedServerFrame)
    ));
    assert_eq!(
        failed.to_string(),
        "the peer broke the protocol: masked frame from a server"
    );
    let seen = peer.await.expect("no panic").expect("open");
    assert_eq!(seen[0], 0x88, "a Close");
    let key = [seen[2], seen[3], seen[4], seen[5]];
    assert_eq!([seen[6] ^ key[0], seen[7] ^ key[1]], 1002_u16.to_be_bytes());
}

#[cfg(feature = "deflate")]
#[tokio::test(start_paused = true)]
async fn compressed_text_that_is_no_utf_8_fails_the_connection() {
    use super::agreed;
    use crate::websocket::{Opened, WebSocket};

    let mut options = Options::default();
    options.deflate = Some(crate::Deflate::default());
    for bad in [&b"\xff"[..], b"a\xc3"] {
        let (near, mut far) = tokio::io::duplex(1000);
        let opened = Opened {
            compression: agreed(&options),
            ..Opened::default()
        };
        let mut client = WebSocket::opened(near, Role::Client, opened, options);
        // RFC 7692 §7.2.3.3: a block without compression, and the beginning of an empty one.
        let length = u8::try_from(bad.len()).expect("short");
        let block = [0xc1, 6 + length, 0, length, 0, !length, 0xff];
        let frame = [&block, bad, b"\0"].concat();
        far.write_all(&frame).await.expect("open");
        let failed = client.recv().await.expect_err("no text");
        let is_found = matches!(failed, Error::Violation(Violation::TextNotUtf8));
        assert!(is_found, "{failed}");
    }
}

#[tokio::test]
async fn limits_hold_for_frames_and_messages() {
    let mut options = Options::default();
    (options.frame_bytes_max, options.message_bytes_max) = (100, 150);
    for (frames, violation) in [
        (&b"\x82\x7e\x00\xc8"[..], Violation::FrameTooBig(200)),
        (b"\x02\x01x\x80\x7e\x01\x00", Violation::FrameTooBig(256)),
    ] {
        let (mut client, mut far) = raw(Role::Client, options);
        far.write_all(frames).await.expect("open");
        far.shutdown().await.expect("open");
        match client.recv().await {
            Err(Error::Violation(seen)) => assert_eq!(seen, violation),
            other => panic!("{other:?}"),
        }
    }
    let (mut client, mut far) = raw(Role::Client, options);
    far.write_all(&[&b"\x02\x64"[..], &[0; 100], b"\x80\x33"].concat())
        .await
        .expect("open");
    far.shutdown().await.expect("open");
    let result = client.recv().await;
    assert!(
        matches!(result, Err(Error::Violation(Violation::MessageTooBig(151)))),
        "{result:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_a_close_is_left_in_time() {
    let (mut client, far) = raw(Role::Client, Options::default());
    let begin = Instant::now();
    let result = client.close(CloseCode::NormalClosure, "").await;
    assert!(matches!(result, Err(Error::CloseTimeout)), "{result:?}");
    assert_eq!(begin.elapsed().as_secs(), 5);
    drop(far);
    // One that answers and does not end the stream has closed cleanly.
    let (mut client, mut far) = raw(Role::Client, Options::default());
    far.write_all(b"\x88\x02\x03\xe8").await.expect("open");
    client
        .close(CloseCode::NormalClosure, "")
        .await
        .expect("clean");
    assert_eq!(begin.elapsed().as_secs(), 10);
    // One that does not even read is left, too, and what it did not read is an error.
    let (near, _far) = tokio::io::duplex(10);
    let mut client = crate::WebSocket::after_handshake(
        near,
        Role::Client,
        bytes::BytesMut::new(),
        Options::default(),
    );
    client.queue("never read").expect("open");
    let result = client.close(CloseCode::NormalClosure, "").await;
    assert!(matches!(result, Err(Error::CloseTimeout)), "{result:?}");
    match client.flush().await {
        Err(Error::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
        other => panic!("{other:?}"),
    }
    assert_eq!(begin.elapsed(), Duration::from_secs(15));
}

#[tokio::test]
async fn a_close_that_was_sent_before_the_stream_broke_is_still_read() {
    let (mut client, mut far) = raw(Role::Client, Options::default());
    far.write_all(b"\x81\x01x\x88\x02\x03\xe9")
        .await
        .expect("open");
    drop(far);
    // Writing fails; what the peer has said is received nevertheless.
    let _ = client.send("x").await;
    assert_eq!(client.recv().await.expect("open"), Some("x".into()));
    assert_eq!(client.recv().await.expect("a Close"), None);
    assert_eq!(client.closed().expect("a Close").code, CloseCode::GoingAway);
}
