//! permessage-bzip2 and permessage-snappy by real programs: negotiated, in both directions, within their limits. Without the
//! features the server says that it has neither. `scripts/compression-peers` lets Autobahn judge them.

use crate::common::run;

/// The sentence that an option gets in a build without its feature.
fn is_refused(option: &str, feature: &str) {
    let output = run("server", &[option]);
    assert_eq!(output.code, 2, "{}", output.stderr);
    let sentence = format!("{option}: this program was built without the feature {feature}");
    assert!(output.stderr.contains(&sentence), "{}", output.stderr);
}

#[test]
fn each_extension_needs_its_feature() {
    if !cfg!(feature = "bzip2") {
        is_refused("--bzip2", "bzip2");
    }
    if !cfg!(feature = "snappy") {
        is_refused("--snappy", "snappy");
    }
    #[cfg(all(feature = "bzip2", feature = "snappy"))]
    built::the_first_offer_that_is_wanted_gets_the_answer();
    for alone in ["--bzip2-level=3", "--bzip2-client-level=3"] {
        let output = run("server", &[alone]);
        assert_eq!(output.code, 2);
        assert!(
            output.stderr.contains("it is not given"),
            "{}",
            output.stderr
        );
    }
}

#[test]
fn bzip2_comes_back_within_its_levels() {
    #[cfg(feature = "bzip2")]
    built::bzip2_comes_back_within_its_levels();
    let output = run("server", &["--bzip2", "--bzip2-level=10"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("1 to 9"), "{}", output.stderr);
}

#[cfg(any(feature = "bzip2", feature = "snappy"))]
mod built {

    use ringway::proto::compression::{Hooks, Progress};

    use crate::common::Server;
    use crate::common::client::{Client, TEXT};
    use crate::common::on_both_tiers;
    #[cfg(feature = "bzip2")]
    use crate::common::process::pss;

    /// First byte of a compressed text message: FIN, RSV1, opcode.
    const COMPRESSED_TEXT: u8 = 0xC1;

    fn server(io: &str, more: &[&str]) -> Server {
        let common = ["--workers=1", "--port=auto", "--interval=50ms", io];
        Server::start(&[&common[..], more].concat())
    }

    /// A message as some inflater reads it whole.
    macro_rules! inflated {
        ($inflater:expr, $compressed:expr) => {{
            let mut out = vec![0; 1 << 10];
            let mut progress = Progress::new(0, 64 << 20);
            let hooks = Hooks {
                grow: &mut |out, filled| out.resize(2 * filled, 0),
                check: &mut |_| Ok(()),
            };
            let compressed: &[u8] = $compressed;
            let is_whole = $inflater.go_on(&mut progress, compressed, &mut out, usize::MAX, hooks);
            assert_eq!(is_whole, Ok(true));
            out.truncate(progress.end());
            out
        }};
    }

    #[cfg(all(feature = "bzip2", feature = "snappy"))]
    pub(super) fn the_first_offer_that_is_wanted_gets_the_answer() {
        let all = server("--io=epoll", &["--bzip2", "--snappy", "--deflate"]);
        let bzip2_only = server("--io=epoll", &["--bzip2"]);
        let offer = "permessage-snappy, permessage-bzip2, permessage-deflate";
        for (server, offer, expected) in [
            (&all, offer, Some("permessage-snappy")),
            (&bzip2_only, offer, Some("permessage-bzip2")),
            (
                &all,
                "permessage-deflate, permessage-snappy",
                Some("permessage-deflate; client_no_context_takeover"),
            ),
            (&bzip2_only, "permessage-snappy, permessage-deflate", None),
        ] {
            let (mut client, extension) = Client::offering(&server.address(), offer);
            assert_eq!(extension.as_deref(), expected, "{offer}");
            client.send(TEXT, b"short");
            client.expect(TEXT, b"short");
        }
    }

    #[cfg(feature = "bzip2")]
    mod bzip2 {
        use ringway::proto::bzip2::{Inflater, compress};

        use super::*;

        on_both_tiers!(
            a_bzip2_bomb_ends_with_1009_and_leaves_no_memory,
            what_is_no_bzip2_ends_with_1007,
        );

        pub(super) fn compressed(message: &[u8]) -> Vec<u8> {
            let mut out = Vec::new();
            let end = compress(9, message, &mut out, 0);
            out.truncate(end);
            out
        }

        pub(super) fn inflated(level_max: u8, compressed: &[u8]) -> Vec<u8> {
            inflated!(Inflater::new(level_max), compressed)
        }

        fn a_bzip2_bomb_ends_with_1009_and_leaves_no_memory(io: &str) {
            let server = server(io, &["--bzip2", "--max-message=1MiB"]);
            let worker = server.seats()[0];
            let bomb = compressed(&vec![b'0'; 64 << 20]);
            let mut idle = 0;
            for round in 0..12 {
                let (mut client, _) = Client::offering(&server.address(), "permessage-bzip2");
                client.send(COMPRESSED_TEXT, &bomb);
                client.expect_failed_with(1009);
                if round == 3 {
                    idle = pss(worker);
                }
            }
            let grown = pss(worker).saturating_sub(idle);
            assert!(grown < 12 << 20, "{grown} bytes more");
            // At the limit, in several turns, and one byte beyond it. Somebody else is served meanwhile.
            let (mut other, _) = Client::offering(&server.address(), "x-none");
            for (len, passes) in [(1 << 20, true), ((1 << 20) + 1, false)] {
                let (mut client, _) = Client::offering(&server.address(), "permessage-bzip2");
                let message: Vec<u8> = (0..len).map(|n| b"abcdefg\n"[n * n / 3 % 8]).collect();
                client.send(COMPRESSED_TEXT, &compressed(&message));
                other.echo(TEXT, b"meanwhile");
                if passes {
                    let frame = client.recv();
                    assert_eq!(frame.first, COMPRESSED_TEXT);
                    assert!(inflated(9, &frame.payload) == message);
                } else {
                    client.expect_failed_with(1009);
                }
            }
        }

        fn what_is_no_bzip2_ends_with_1007(io: &str) {
            let server = server(io, &["--bzip2"]);
            let good = compressed(&b"some text ".repeat(100));
            for bad in [
                &b"hello"[..],
                &[],
                &good[..good.len() - 1],
                &[&good[..], b"x"].concat(),
                &compressed(b"cut off \xe6\xb0"),
            ] {
                let (mut client, _) = Client::offering(&server.address(), "permessage-bzip2");
                client.send(COMPRESSED_TEXT, bad);
                client.expect_failed_with(1007);
            }
        }
    }

    #[cfg(feature = "bzip2")]
    pub(super) fn bzip2_comes_back_within_its_levels() {
        let options = ["--bzip2", "--bzip2-level=2", "--bzip2-client-level=1"];
        let server = server("--io=epoll", &options);
        let offer = "permessage-bzip2; client_max_compress_level; server_max_compress_level=3";
        let (mut client, extension) = Client::offering(&server.address(), offer);
        let expected = "permessage-bzip2; server_max_compress_level=3; client_max_compress_level=1";
        assert_eq!(extension.as_deref(), Some(expected));
        // A short message takes the smallest level, and a long one no larger than was agreed.
        for (len, level) in [(1000, b'1'), (400_000, b'2')] {
            let text = b"a text of eight times ".repeat(len / 22);
            client.send(TEXT, &text);
            let frame = client.recv();
            assert_eq!((frame.first, frame.payload[3]), (COMPRESSED_TEXT, level));
            assert!(bzip2::inflated(2, &frame.payload) == text);
        }
        client.send(TEXT, b"short");
        client.expect(TEXT, b"short");
        assert_eq!(server.counter_reaching("deflated", 2), [2]);
        // The client may send level 1 only.
        client.send(COMPRESSED_TEXT, &bzip2::compressed(b"hello"));
        client.expect(TEXT, b"hello");
        client.send(COMPRESSED_TEXT, &bzip2::compressed(&[b'x'; 150_000]));
        client.expect_failed_with(1007);
        let (_, extension) = Client::offering(&server.address(), "permessage-bzip2");
        assert_eq!(extension, None, "it cannot be told");
    }

    #[cfg(feature = "snappy")]
    mod snappy {
        use ringway::proto::snappy::{Compressor, Inflater};

        use super::*;

        on_both_tiers!(
            snappy_goes_on_from_message_to_message,
            a_snappy_bomb_ends_with_1009_and_what_is_none_with_1007,
        );

        fn compressed(begins: bool, message: &[u8]) -> Vec<u8> {
            let mut out = Vec::new();
            let end = Compressor::default().compress(begins, message, &mut out, 0);
            out.truncate(end);
            out
        }

        fn snappy_goes_on_from_message_to_message(io: &str) {
            let server = server(io, &["--snappy"]);
            for (offer, takeover) in [
                ("permessage-snappy", true),
                ("permessage-snappy; server_no_context_takeover", false),
            ] {
                let (mut client, extension) = Client::offering(&server.address(), offer);
                assert_eq!(extension.as_deref(), Some(offer));
                for (n, len) in [5000, 300, 2_000_000, 70_000].into_iter().enumerate() {
                    let text = b"a text that repeats itself ".repeat(len / 27);
                    client.send(COMPRESSED_TEXT, &compressed(n == 0, &text));
                    let frame = client.recv();
                    assert_eq!(frame.first, COMPRESSED_TEXT);
                    let begins = frame.payload.starts_with(b"\xff\x06\0\0sNaPpY");
                    assert_eq!(begins, n == 0 || !takeover, "message {n}");
                    let read = inflated!(Inflater::new(!begins), &frame.payload);
                    assert!(read == text, "message {n}");
                }
                // An empty message has no chunk at all.
                client.send(COMPRESSED_TEXT, b"");
                client.expect(TEXT, b"");
            }
            assert_eq!(server.counter_reaching("inflated", 10), [10]);
        }

        fn a_snappy_bomb_ends_with_1009_and_what_is_none_with_1007(io: &str) {
            let server = server(io, &["--snappy", "--max-message=1MiB"]);
            let good = compressed(true, &b"some text ".repeat(100));
            let mut changed = good.clone();
            changed[14] ^= 1; // the checksum
            for (bad, code) in [
                (&compressed(true, &vec![b'0'; 16 << 20])[..], 1009),
                (&compressed(true, &vec![b'0'; (1 << 20) + 1]), 1009),
                (&compressed(false, b"no identifier"), 1007),
                (&changed, 1007),
                (&good[..good.len() - 1], 1007),
                (&compressed(true, b"cut off \xe6\xb0"), 1007),
            ] {
                let (mut client, _) = Client::offering(&server.address(), "permessage-snappy");
                client.send(COMPRESSED_TEXT, bad);
                client.expect_failed_with(code);
            }
        }
    }
}
