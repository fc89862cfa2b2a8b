//! Messages larger than memory, in parts and in chunks.

use tokio::io::AsyncWriteExt as _;

use super::{Cut, Cuts, ROOMS, pair, raw};
use crate::{Error, Message, Options, Role};

fn unlimited() -> Options {
    let mut options = Options::default();
    (options.message_bytes_max, options.frame_bytes_max) = (u64::MAX, u64::MAX);
    options
}

#[test]
fn a_message_of_a_gibibyte_passes_through_in_bounded_memory() {
    let (mut client, mut server) = pair(256 << 10, unlimited());
    let part = bytes::Bytes::from(vec![7; 256 << 10]);
    let parts = (1 << 30) / part.len();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let counted = allocation_counter::measure(|| {
        let both = async {
            let sending = async {
                for n in 1..=parts {
                    client
                        .send_part(part.clone(), n == parts)
                        .await
                        .expect("open");
                }
            };
            let receiving = async {
                let (mut seen, mut is_whole) = (0, false);
                while !is_whole {
                    let chunk = server.recv_chunk().await.expect("open").expect("open");
                    seen += chunk.payload.len();
                    is_whole = chunk.message_ends;
                }
                seen
            };
            tokio::join!(sending, receiving).1
        };
        assert_eq!(runtime.block_on(both), 1 << 30);
    });
    assert!(counted.bytes_max < 4 << 20, "{} bytes", counted.bytes_max);
}

#[tokio::test]
async fn parts_are_frames_and_chunks_tell_where_frames_and_messages_end() {
    let (mut client, mut server) = pair(1 << 20, Options::default());
    client.send_part("a", false).await.expect("open");
    client.send_part("", false).await.expect("open");
    client
        .send(Message::Ping("between".into()))
        .await
        .expect("open");
    // Neither a whole message nor bytes may stand inside a text.
    assert!(matches!(client.send("whole").await, Err(Error::Misuse(_))));
    assert!(matches!(
        client.send_part(vec![1], true).await,
        Err(Error::Misuse(_))
    ));
    client.send_part("b", true).await.expect("open");
    client.send("next").await.expect("open");
    let mut seen = Vec::new();
    for _ in 0..4 {
        let chunk = server.recv_chunk().await.expect("open").expect("open");
        assert!(chunk.is_text && chunk.frame_ends);
        seen.push((chunk.payload, chunk.message_begins, chunk.message_ends));
    }
    let expected = [
        ("a", true, false),
        ("", false, false),
        ("b", false, true),
        ("next", true, true),
    ];
    assert_eq!(
        seen,
        expected.map(|(text, begins, ends)| (text.into(), begins, ends))
    );
    assert_eq!(server.traffic().messages_received, 2);
}

#[tokio::test]
async fn a_message_begun_in_chunks_ends_in_chunks() {
    for room in ROOMS {
        let (mut client, mut server) = pair(room, Options::default());
        let sending = tokio::spawn(async move {
            client.send_part(vec![1; 50], false).await.expect("open");
            client.send_part(vec![1; 50], true).await.expect("open");
            client.send("whole").await.expect("open");
            client
        });
        let first = server.recv_chunk().await.expect("open").expect("open");
        let mut seen = first.payload.len();
        let mut is_whole = first.message_ends;
        while !is_whole {
            assert!(matches!(server.recv().await, Err(Error::Misuse(_))));
            let chunk = server.recv_chunk().await.expect("open").expect("open");
            seen += chunk.payload.len();
            is_whole = chunk.message_ends;
        }
        assert_eq!(seen, 100);
        assert_eq!(server.recv().await.expect("open"), Some("whole".into()));
        sending.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_connection_that_ends_inside_a_message_says_so_to_recv_too() {
    let (mut client, mut server) = pair(100, Options::default());
    client.send_part("half", false).await.expect("open");
    server.recv_chunk().await.expect("open").expect("open");
    drop(client);
    assert!(matches!(server.recv_chunk().await, Err(Error::Ended)));
    assert_eq!(server.recv().await.expect("told before"), None);
}

#[tokio::test]
async fn a_message_that_is_half_assembled_goes_on_in_chunks() {
    let (mut client, mut server) = pair(1 << 20, Options::default());
    client.send_part("hal", false).await.expect("open");
    let begun = Cuts::new(Cut::Every(1)).run(server.recv()).await;
    assert!(begun.is_none());
    client.send_part("ves", true).await.expect("open");
    let first = server.recv_chunk().await.expect("open").expect("open");
    assert_eq!(
        (&first.payload[..], first.message_begins, first.message_ends),
        (&b"hal"[..], true, false)
    );
    assert!(first.frame_ends, "each part is a frame");
    let second = server.recv_chunk().await.expect("open").expect("open");
    assert_eq!(
        (
            &second.payload[..],
            second.message_begins,
            second.message_ends
        ),
        (&b"ves"[..], false, true)
    );
}

#[tokio::test]
async fn a_frame_that_is_half_assembled_goes_on_in_chunks() {
    let (mut client, mut far) = raw(Role::Client, Options::default());
    for (sent, ends) in [(&b"\x81\x06hal"[..], false), (b"ves", true)] {
        far.write_all(sent).await.expect("open");
        if !ends {
            let begun = Cuts::new(Cut::Every(1)).run(client.recv()).await;
            assert!(begun.is_none());
        }
        let chunk = client.recv_chunk().await.expect("open").expect("open");
        assert_eq!(chunk.payload, sent[sent.len() - 3..]);
        assert_eq!((chunk.frame_ends, chunk.message_ends), (ends, ends));
    }
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn a_compressed_message_is_one_chunk() {
    let mut options = Options::default();
    options.deflate = Some(crate::Deflate::default());
    options.fragment_bytes = Some(10);
    let (mut client, mut server) = pair(20, options);
    let text = "compressed ".repeat(100);
    let (sent, chunk) = tokio::join!(client.send(text.clone()), server.recv_chunk());
    sent.expect("open");
    let chunk = chunk.expect("open").expect("open");
    assert_eq!(chunk.payload, text.as_bytes());
    assert!(chunk.is_text && chunk.message_begins && chunk.message_ends);
}
